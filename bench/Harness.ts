/**
 * What the questions run on: a temporary directory, the bundled worker, fresh paths, and processes.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Bundle from "../test/torture/Bundle.js"
import * as ChildProcess from "../test/torture/ChildProcess.js"
import type * as Competitors from "./Competitors.js"
import * as LocksMessages from "./locksMessages.js"
import * as Messages from "./messages.js"

/** The input of each question. */
export interface Harness {
  /** The temporary directory of this run. */
  readonly root: string
  /** The directory of the locks. */
  readonly directory: string
  /** How often each competitor is measured. */
  readonly rounds: number
  /** Whether this run only checks that the question works. */
  readonly quick: boolean
}

/** A process with one competitor. */
export type Worker = ChildProcess.Child<Messages.Command, Messages.Message>

/** A process with many locks of this package. */
export type LocksWorker = ChildProcess.Child<LocksMessages.Command, LocksMessages.Message>

/** The root of the repository. */
export const repository = fileURLToPath(new URL("..", import.meta.url))

/** A file in the directory where the peers are installed. */
export const installation = Path.join(repository, "bench", "package.json")

const workers = ["worker", "locksWorker", "filesWorker"]

/** Bundles the workers below `root`. */
export const make = (
  root: string,
  options: { readonly rounds: number; readonly quick: boolean }
): Effect.Effect<Harness> =>
  Effect.gen(function*() {
    yield* Effect.forEach(workers, (name) => Bundle.make(Path.join(repository, "bench", `${name}.ts`), root))
    const directory = Path.join(root, "paths")
    Fs.mkdirSync(directory)
    return { ...options, root, directory }
  })

let directories = 0

/** Creates an empty directory. */
export const freshDirectory = (harness: Harness): string => {
  const directory = Path.join(harness.directory, String(++directories))
  Fs.mkdirSync(directory)
  return directory
}

/** Creates a file with the counter 0: some peers lock only files that exist. */
export const freshPath = (harness: Harness): string => {
  const path = Path.join(freshDirectory(harness), "counter")
  Fs.writeFileSync(path, "0")
  return path
}

/** Starts a process with one competitor. The scope ends the process. */
export const spawn = (
  harness: Harness,
  competitor: Competitors.Name,
  servers: typeof Competitors.Servers.Type = {}
): Effect.Effect<Worker, ChildProcess.UnexpectedExit, Scope.Scope> =>
  ChildProcess.spawn({
    script: Path.join(harness.root, "worker.cjs"),
    argument: JSON.stringify({ competitor, installation, servers }),
    commands: Messages.Command,
    messages: Messages.Message
  }).pipe(Effect.tap((worker) => receive(worker, "ready")))

/** Starts a process that holds, or waits for, many locks. The scope ends the process. */
export const spawnLocks = (
  harness: Harness,
  settings: typeof LocksMessages.Settings.Type = {}
): Effect.Effect<LocksWorker, ChildProcess.UnexpectedExit, Scope.Scope> =>
  ChildProcess.spawn({
    script: Path.join(harness.root, "locksWorker.cjs"),
    argument: JSON.stringify(settings),
    commands: LocksMessages.Command,
    messages: LocksMessages.Message
  }).pipe(Effect.tap((worker) => receive(worker, "ready")))

interface Tagged {
  readonly _tag: string
}

type Received<Out extends Tagged, Tag extends Out["_tag"]> = Extract<Out, { readonly _tag: Tag }>

const hasTag = <Out extends Tagged, Tag extends Out["_tag"]>(message: Out, tag: Tag): message is Received<Out, Tag> =>
  message._tag === tag

/** Waits for the next message of a kind. A failure in the process ends the run. */
export const receive = <In, Out extends Tagged, Tag extends Out["_tag"]>(
  worker: ChildProcess.Child<In, Out>,
  tag: Tag
): Effect.Effect<Received<Out, Tag>, ChildProcess.UnexpectedExit> =>
  ChildProcess.receive(
    worker,
    (message): message is Received<Out, Tag> => hasTag(message, tag) || message._tag === "failed"
  ).pipe(
    Effect.tap((message) => hasTag(message, tag) ? Effect.void : Effect.dieMessage(JSON.stringify(message)))
  )

/** Sends a command and waits for the next message of a kind. */
export const request = <In, Out extends Tagged, Tag extends Out["_tag"]>(
  worker: ChildProcess.Child<In, Out>,
  command: In,
  tag: Tag
): Effect.Effect<Received<Out, Tag>, ChildProcess.UnexpectedExit> =>
  Effect.zipRight(worker.send(command), receive(worker, tag))
