/**
 * The parent's side of a child process: starts it, exchanges messages with it, signals it, and ends it with the scope.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as NodeProcess from "node:child_process"
import { millis } from "./Monotonic.js"

/** How a process ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** When the parent heard of it, on the machine's clock. */
  readonly at: number
}

/** One running process. */
export interface Child<In, Out> {
  readonly pid: number
  /** What it sends. */
  readonly messages: Queue.Dequeue<Out>
  readonly send: (message: In) => Effect.Effect<void>
  /** `false` if it had already ended. Never reaches another process: a pid is not used again before its end was seen here. */
  readonly signal: (signal: NodeJS.Signals) => boolean
  readonly isRunning: () => boolean
  readonly exit: Effect.Effect<Exit>
  /** What it has printed. */
  readonly output: () => string
}

/** What to start. */
export interface Options<In, InEncoded extends NodeProcess.Serializable, Out, OutEncoded> {
  /** A script for Node. */
  readonly script: string
  /** Sent as the script's first argument. */
  readonly argument?: string | undefined
  /** Put before `node`, for example to enter another namespace. */
  readonly prefix?: ReadonlyArray<string> | undefined
  /** Give up the parent's user and group. */
  readonly uid?: number | undefined
  readonly commands: Schema.Schema<In, InEncoded>
  readonly messages: Schema.Schema<Out, OutEncoded>
}

/** Starts a process and ends it with the scope, by SIGKILL if need be. */
export const spawn = <In, InEncoded extends NodeProcess.Serializable, Out, OutEncoded>(
  options: Options<In, InEncoded, Out, OutEncoded>
): Effect.Effect<Child<In, Out>, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function*() {
      const exit = yield* Deferred.make<Exit>()
      const messages = yield* Queue.unbounded<Out>()
      const [command, ...args] = [
        ...(options.prefix ?? []),
        process.execPath,
        options.script,
        options.argument ?? "{}"
      ]
      const child = NodeProcess.spawn(command ?? process.execPath, args, {
        stdio: ["ignore", "pipe", "pipe", "ipc"],
        ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid })
      })
      const pid = child.pid
      if (pid === undefined) return yield* Effect.dieMessage(`could not start ${command}`)
      let running = true
      let output = ""
      const decode = Schema.decodeUnknownSync(options.messages)
      const encode = Schema.encodeSync(options.commands)
      child.on("message", (message) => {
        Queue.unsafeOffer(messages, decode(message))
      })
      child.on("exit", (code, signal) => {
        running = false
        Deferred.unsafeDone(exit, Effect.succeed({ code, signal, at: millis() }))
      })
      // A message to a process that is being killed may fail; its exit says all there is to say.
      child.on("error", () => {})
      for (const stream of [child.stdout, child.stderr]) {
        stream?.on("data", (chunk) => {
          output = (output + String(chunk)).slice(-8_000)
        })
      }
      const self: Child<In, Out> = {
        pid,
        messages,
        send: (message) =>
          Effect.sync(() => {
            if (running && child.connected) child.send(encode(message), () => {})
          }),
        signal: (signal) => running && child.kill(signal),
        isRunning: () => running,
        exit: Deferred.await(exit),
        output: () => output
      }
      return self
    }),
    (child) => Effect.suspend(() => child.signal("SIGKILL") ? Effect.asVoid(child.exit) : Effect.void)
  )

/** A process that ended although it should not have. */
export class UnexpectedExit extends Schema.TaggedError<UnexpectedExit>()("UnexpectedExit", {
  pid: Schema.Number,
  code: Schema.NullOr(Schema.Number),
  signal: Schema.NullOr(Schema.String),
  output: Schema.String
}) {
  override get message(): string {
    return `process ${this.pid} ended (code ${this.code}, signal ${this.signal}): ${this.output}`
  }
}

/** Waits for the next message that `accept` takes, passing over the others; fails if the process ends first. */
export const receive = <In, Out, B extends Out>(
  child: Child<In, Out>,
  accept: (message: Out) => message is B
): Effect.Effect<B, UnexpectedExit> => {
  const next: Effect.Effect<B> = Effect.flatMap(
    Queue.take(child.messages),
    (message) => accept(message) ? Effect.succeed(message) : next
  )
  return Effect.raceFirst(
    next,
    Effect.flatMap(
      child.exit,
      ({ code, signal }) => new UnexpectedExit({ pid: child.pid, code, signal, output: child.output() })
    )
  )
}

/** What `receive` may accept: the messages of these kinds. */
export const isOf =
  <Message extends { readonly _tag: string }>() =>
  <Tag extends Message["_tag"]>(...tags: ReadonlyArray<Tag>) =>
  (message: Message): message is Extract<Message, { readonly _tag: Tag }> => tags.some((tag) => tag === message._tag)

/** Before a command: runs it in a pid namespace of its own, which ends with it. Only root may make one. */
export const newPidNamespace: ReadonlyArray<string> = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
