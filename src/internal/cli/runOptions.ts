import type * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as NodeUtil from "node:util"
import * as Times from "./duration.js"
import * as ExitCode from "./exitCode.js"

/** What `run` is asked for. */
export interface RunOptions {
  readonly path: string
  readonly command: readonly [string, ...ReadonlyArray<string>]
  readonly timeout: Duration.DurationInput | "infinity"
  readonly mode: "exclusive" | "shared"
  readonly label: string
  readonly conflictExitCode: number
}

/** The options, and what is said of them in the help. Those with one letter are those of flock(1). */
export const options = {
  timeout: { type: "string", short: "w", description: `How long to wait for the lock: ${Times.understood}` },
  nonblock: { type: "boolean", short: "n", description: "Do not wait: the same as --timeout 0" },
  shared: { type: "boolean", short: "s", description: "Share the lock with others that share it" },
  exclusive: { type: "boolean", short: "x", description: "Share the lock with nobody, which is the default" },
  label: { type: "string", short: "l", description: "What others are told; by default the command" },
  "conflict-exit-code": {
    type: "string",
    short: "E",
    description: `What to exit with when the lock is not obtained, by default ${ExitCode.notObtained}`
  },
  command: { type: "string", short: "c", description: "A command for the shell, instead of COMMAND..." }
} as const

const valued = new Set(Object.values(options).flatMap((option) => option.type === "string" ? [option.short] : []))

const isOption = (text: string): boolean => text.startsWith("-") && text !== "-"

/** How many of the arguments are options, with their values: the first that is none is the path, as for flock(1). */
const countOptions = (args: ReadonlyArray<string>): number => {
  let index = 0
  for (; index < args.length; index++) {
    const text = args[index] ?? ""
    if (!isOption(text) || text === "--") break
    if (text.startsWith("--")) {
      const name = text.slice(2)
      if (Object.entries(options).some(([known, { type }]) => known === name && type === "string")) index++
    } else if ([...text].findIndex((letter) => valued.has(letter as never)) === text.length - 1) {
      index++
    }
  }
  return Math.min(index, args.length)
}

/** What stands in front of the path. */
export interface Values {
  readonly timeout?: string | undefined
  readonly nonblock?: boolean | undefined
  readonly shared?: boolean | undefined
  readonly exclusive?: boolean | undefined
  readonly label?: string | undefined
  readonly "conflict-exit-code"?: string | undefined
  readonly command?: string | undefined
}

/** Checks what is asked for. On the left it is said what is wrong with it. */
export const make = (values: Values, [path, ...others]: ReadonlyArray<string>): Either.Either<RunOptions, string> => {
  // flock(1) has it behind the path.
  const isForShell = others[0] === "-c" || others[0] === "--command"
  const shell = isForShell ? others[1] : values.command
  const command = isForShell ? [] : others[0] === "--" ? others.slice(1) : others
  if (path === undefined) return Either.left("PATH is missing")
  if (isForShell && others.length !== 2) {
    return Either.left("--command behind PATH takes one line of the shell, and nothing else")
  }
  if (path === "") return Either.left("PATH is empty")
  if (shell !== undefined && command.length > 0) return Either.left("there is a COMMAND beside --command")
  const [name, ...args] = shell === undefined ? command : [process.env["SHELL"] ?? "/bin/sh", "-c", shell]
  if (name === undefined || name === "") return Either.left("COMMAND is missing")
  if (values.shared === true && values.exclusive === true) {
    return Either.left("--shared and --exclusive exclude each other")
  }
  const timeout = Times.parse(values.nonblock === true ? "0" : values.timeout ?? "infinity")
  if (Either.isLeft(timeout)) return Either.left(timeout.left)
  const code = values["conflict-exit-code"] ?? String(ExitCode.notObtained)
  if (!/^\d{1,3}$/.test(code) || Number(code) > 255) {
    return Either.left(`--conflict-exit-code ${JSON.stringify(code)} is not a number from 0 to 255`)
  }
  return Either.right({
    path,
    command: [name, ...args],
    timeout: timeout.right,
    mode: values.shared === true ? "shared" : "exclusive",
    label: values.label ?? shell ?? [name, ...args].join(" "),
    conflictExitCode: Number(code)
  })
}

const withHelp = { ...options, help: { type: "boolean", short: "h" } } as const

const split = (args: ReadonlyArray<string>) => {
  const count = countOptions(args)
  return { own: args.slice(0, count), rest: args.slice(args[count] === "--" ? count + 1 : count) }
}

/** Whether the help is wanted, and not the command's own. */
export const asksForHelp = (args: ReadonlyArray<string>): boolean =>
  NodeUtil.parseArgs({ args: split(args).own, options: withHelp, strict: false }).values.help === true

/** Reads the arguments of `run`. On the left it is said what is wrong with them. */
export const parse = (args: ReadonlyArray<string>): Either.Either<RunOptions, string> => {
  const { own, rest } = split(args)
  return Either.flatMap(
    Either.try({
      try: () => NodeUtil.parseArgs({ args: own, options, strict: true, allowPositionals: false }).values,
      // The first sentence says what is wrong, the others what could be meant.
      catch: (error) => error instanceof Error ? error.message.split(/\.\s/)[0] ?? "" : String(error)
    }),
    (values) => make(values, rest)
  )
}
