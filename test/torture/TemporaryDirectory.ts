/**
 * A directory for one test.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

/** Creates an empty directory, which every user may enter; it goes with the scope. */
export const make = (name: string): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const path = Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), `effect-filelock-${name}-`)))
      Fs.chmodSync(path, 0o755)
      return path
    }),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
  )
