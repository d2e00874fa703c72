/**
 * Makes one JavaScript file of a worker written in TypeScript.
 *
 * A harness that kills and restarts a process every few milliseconds cannot pay for a compiler at each start.
 */
import * as Effect from "effect/Effect"
import * as Esbuild from "esbuild"
import * as Path from "node:path"

/** Compiles `entry` with everything it imports into `directory`; returns the path of the script. */
export const make = (entry: string, directory: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    const outfile = Path.join(directory, `${Path.basename(entry, ".ts")}.cjs`)
    await Esbuild.build({
      entryPoints: [entry],
      outfile,
      bundle: true,
      platform: "node",
      format: "cjs",
      target: "node20",
      logLevel: "warning"
    })
    return outfile
  })
