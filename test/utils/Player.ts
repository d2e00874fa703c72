export { type SimulatedProcess as Player, start } from "./SimulatedProcess.js"
