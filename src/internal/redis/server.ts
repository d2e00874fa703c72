import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import { BackendError } from "../../LockBackend.js"
import { formatDuration } from "../../LockHolder.js"
import { type Alarm, timerOf } from "../lock/timer.js"
import * as Runtime from "../runtime.js"
import { quote } from "../text.js"
import type { Client, RedisError } from "./client.js"

/** A command that the server has not carried out, as far as it is known. */
export class CommandError extends Data.TaggedError("CommandError")<{
  readonly reason: "BackendUnavailable" | "Foreign"
  readonly cause: Error
  /** Whether it may succeed later. */
  readonly passes: boolean
}> {
  get refusal(): BackendError {
    return new BackendError({ reason: this.reason, cause: this.cause })
  }
}

/** A command on its way. It is never interrupted: what has been sent cannot be taken back. */
export type Command = Fiber.RuntimeFiber<unknown, RedisError>

/** What a script has answered: what became of it, and the details. */
export type Answer = readonly [outcome: string, ...details: ReadonlyArray<string>]

/** The server, as the engine asks it. */
export interface Server {
  /** Sends a script, with the two keys of a lock. */
  readonly send: (script: string, name: string, args: ReadonlyArray<string>) => Effect.Effect<Command>
  /** Waits for an answer for at most `limit` milliseconds. */
  readonly answerTo: (command: Command, limit: number) => Effect.Effect<Answer, CommandError>
  /** Both. */
  readonly run: (
    script: string,
    name: string,
    args: ReadonlyArray<string>,
    limit: number
  ) => Effect.Effect<Answer, CommandError>
  /** Something else than a text is at the name of a lock. */
  readonly isForeign: (type: string, name: string) => CommandError
  /** The lock was granted so long ago that it may be gone by now. */
  readonly isLate: () => CommandError
  readonly isStrange: (answer: unknown) => CommandError
  readonly onConnected: () => void
  readonly onDisconnected: (error: RedisError) => void
}

const messageOf = (error: unknown): string =>
  Predicate.hasProperty(error, "message") && typeof error.message === "string" && error.message !== ""
    ? error.message
    // Node's attempts to connect to several addresses have messages of their own.
    : Predicate.hasProperty(error, "code") && typeof error.code === "string"
    ? error.code
    : String(error)

const isAnswer = (value: unknown): value is Answer =>
  Array.isArray(value) && value.length > 0 && value.every(Predicate.isString)

/** A name of a lock, and of the hash beside it. */
const keysOf = (name: string): ReadonlyArray<string> => [name, `${name}:fence`]

export const make = (client: Client): Server => {
  /** The last error of the connection, until it stands again. */
  let connectionError: CommandError | undefined
  /** Commands that wait for a connection are told why there will be none. */
  const listeners = new Set<(error: CommandError) => void>()

  const failure = (
    what: string,
    cause: unknown,
    { passes = true, reason = "BackendUnavailable" }: Partial<Pick<CommandError, "passes" | "reason">> = {}
  ) => new CommandError({ reason, passes, cause: new Error(`Redis at ${client.address} ${what}`, { cause }) })

  /** Before Redis 7, the error of a command in a script is in the middle of a longer text. */
  const explain = ({ cause }: RedisError): CommandError => {
    const message = messageOf(cause).replace(/\.+$/, "")
    if (/\b(NOAUTH|WRONGPASS)\b/.test(message)) {
      return failure(
        `refuses this client: ${message}. Give the client the user and the password of the server`,
        cause,
        {
          passes: false
        }
      )
    }
    if (/\bNOPERM\b|ACL failure|The user executing the script/.test(message)) {
      return failure(
        `refuses this user: ${message}. Allow it EVAL, the commands of the scripts, and their keys and channels`,
        cause,
        { passes: false }
      )
    }
    if (/\bREADONLY\b/.test(message)) {
      return failure(`is a replica, which can keep no locks: ${message}. Connect the client to the primary`, cause)
    }
    return failure(`cannot be asked: ${message}. Check that the server runs and can be reached`, cause)
  }

  const isStrange: Server["isStrange"] = (answer) =>
    failure("has answered with something else than what was asked. Check what the client does with answers", answer, {
      passes: false
    })

  const unanswered = (limit: number) =>
    connectionError ??
      failure(
        `did not answer within ${formatDuration(limit)}. Check that the server runs and can be reached`,
        undefined
      )

  const send: Server["send"] = (script, name, args) => Effect.forkDaemon(client.eval(script, keysOf(name), args))

  const answerTo: Server["answerTo"] = (command, limit) =>
    Effect.withFiberRuntime((fiber) =>
      Effect.async<Answer, CommandError>((resume) => {
        const timer = timerOf(fiber)
        const end = () => {
          timer.cancel(fiber, alarm)
          listeners.delete(fail)
          command.removeObserver(observe)
        }
        const answer = (answered: Effect.Effect<Answer, CommandError>) => {
          end()
          resume(answered)
        }
        const fail = (error: CommandError) => answer(Effect.fail(error))
        const alarm: Alarm = { at: Runtime.monotonic(fiber) + limit, run: () => fail(unanswered(limit)) }
        const observe = (exit: Exit.Exit<unknown, RedisError>) =>
          answer(
            Effect.filterOrElse(Effect.mapError(exit, explain), isAnswer, (value) => Effect.fail(isStrange(value)))
          )
        timer.add(fiber, alarm)
        listeners.add(fail)
        command.addObserver(observe)
        return Effect.sync(end)
      })
    )

  return {
    send,
    answerTo,
    run: (script, name, args, limit) => Effect.flatMap(send(script, name, args), (command) => answerTo(command, limit)),
    isForeign: (type, name) =>
      failure(`has a ${type} at the key ${quote(name)}`, undefined, { passes: false, reason: "Foreign" }),
    isLate: () => failure("has answered too late. Check how busy this process is", undefined),
    isStrange,
    onConnected: () => {
      connectionError = undefined
    },
    onDisconnected: (error) => {
      connectionError = explain(error)
      if (!connectionError.passes) {
        for (const fail of [...listeners]) fail(connectionError)
      }
    }
  }
}
