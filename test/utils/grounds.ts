export { inMemoryOnly, onEveryFileSystem, type TestDirectory as Ground } from "./fileSystems.js"
