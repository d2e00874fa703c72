import * as ExitCode from "./exitCode.js"

/** How a process ends: by a code of its own, or by a signal. */
export type Ending =
  | { readonly _tag: "Exit"; readonly code: number }
  | { readonly _tag: "Signal"; readonly signal: NodeJS.Signals }

export const exit = (code: number): Ending => ({ _tag: "Exit", code })

export const signal = (signal: NodeJS.Signals): Ending => ({ _tag: "Signal", signal })

/**
 * Signals that a shell asks for: after Ctrl-C it goes on with a script unless the command has died of it, too. Others would leave a core
 * file of the wrong process.
 */
const passedOn = new Set<NodeJS.Signals>(["SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE"])

/** Ends this process in that way. Nothing is run after it. */
export const end = (ending: Ending): void => {
  if (ending._tag === "Signal" && passedOn.has(ending.signal)) {
    process.removeAllListeners(ending.signal)
    process.kill(process.pid, ending.signal)
  }
  process.exit(ending._tag === "Signal" ? ExitCode.ofSignal(ending.signal) : ending.code)
}
