/**
 * Where a question is asked: a directory, a script to run in processes, and how long to go on.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Bundle from "../test/torture/Bundle.js"
import * as ChildProcess from "../test/torture/ChildProcess.js"
import type * as Contestants from "./Contestants.js"
import * as Messages from "./messages.js"

/** What every question gets. */
export interface Stage {
  /** Where scripts lie. */
  readonly root: string
  /** Where locks lie. */
  readonly directory: string
  /** `worker.ts` as one file. */
  readonly script: string
  /** How often everybody has a turn. */
  readonly rounds: number
  /** Whether it is only to be seen that everything works. */
  readonly quick: boolean
}

/** A process with one contestant in it. */
export type Worker = ChildProcess.Child<Messages.Command, Messages.Message>

/** The folder that has the peers. */
export const installation = fileURLToPath(new URL("./package.json", import.meta.url))

/** A stage below `root`, which goes with whoever made `root`. */
export const make = (
  root: string,
  options: { readonly rounds: number; readonly quick: boolean }
): Effect.Effect<Stage> =>
  Effect.gen(function*() {
    const script = yield* Bundle.make(fileURLToPath(new URL("./worker.ts", import.meta.url)), root)
    const directory = Path.join(root, "paths")
    Fs.mkdirSync(directory, { recursive: true })
    return { ...options, root, directory, script }
  })

let directories = 0

/** An empty directory. */
export const freshDirectory = (stage: Stage): string => {
  const directory = Path.join(stage.directory, String(++directories))
  Fs.mkdirSync(directory)
  return directory
}

/** A path nobody had before, with the counter at zero in it: some peers lock only what exists. */
export const freshPath = (stage: Stage): string => {
  const path = Path.join(freshDirectory(stage), "counter")
  Fs.writeFileSync(path, "0")
  return path
}

/** Starts a process; it ends with the scope. */
export const spawn = (
  stage: Stage,
  contestant: Contestants.Name
): Effect.Effect<Worker, ChildProcess.UnexpectedExit, Scope.Scope> =>
  ChildProcess.spawn({
    script: stage.script,
    argument: JSON.stringify({ contestant, installation }),
    commands: Messages.Command,
    messages: Messages.Message
  }).pipe(Effect.tap((worker) => hear(worker, "ready")))

interface Tagged {
  readonly _tag: string
}

type Heard<Out extends Tagged, Tag extends Out["_tag"]> = Extract<Out, { readonly _tag: Tag }>

const isA = <Out extends Tagged, Tag extends Out["_tag"]>(message: Out, tag: Tag): message is Heard<Out, Tag> =>
  message._tag === tag

/** The next message of a kind. What fails has not been measured: that ends the run. */
export const hear = <In, Out extends Tagged, Tag extends Out["_tag"]>(
  worker: ChildProcess.Child<In, Out>,
  tag: Tag
): Effect.Effect<Heard<Out, Tag>, ChildProcess.UnexpectedExit> =>
  ChildProcess.receive(
    worker,
    (message): message is Heard<Out, Tag> => isA(message, tag) || message._tag === "failed"
  ).pipe(
    Effect.tap((message) => isA(message, tag) ? Effect.void : Effect.dieMessage(JSON.stringify(message)))
  )

/** Asks and waits for the answer. */
export const ask = <Tag extends Messages.Message["_tag"]>(worker: Worker, command: Messages.Command, tag: Tag) =>
  Effect.zipRight(worker.send(command), hear(worker, tag))
