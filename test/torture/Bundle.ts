/**
 * Makes one JavaScript file of a worker written in TypeScript.
 *
 * A harness that kills and restarts a process every few milliseconds cannot pay for a compiler at each start.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { fileURLToPath } from "node:url"
import * as Compiler from "./Compiler.js"
import * as TemporaryDirectory from "./TemporaryDirectory.js"

/** Compiles `entry` with everything it imports into `directory`; returns the path of the script. */
export const make = (entry: string, directory: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    await Compiler.bundle([entry], directory)
    return Compiler.scriptOf(entry, directory)
  })

/** Compiles `entry` into a directory that goes with the scope. */
export const makeTemporary = (entry: URL): Effect.Effect<string, never, Scope.Scope> =>
  Effect.flatMap(TemporaryDirectory.make("script"), (directory) => make(fileURLToPath(entry), directory))
