import { Console, Effect, Layer } from "effect"
import * as FileLock from "effect-filelock/FileLock"
import * as FlockBackend from "effect-filelock/FlockBackend"

const Locks = FileLock.layerBackend().pipe(Layer.provide(FlockBackend.layer))

/** Meanwhile `flock --nonblock PATH.lock true` fails in a shell. */
export const alone = (path: string) =>
  Console.log("alone among all programs that use flock(2)").pipe(
    FileLock.withLock(path, { timeout: "10 seconds" }),
    Effect.provide(Locks)
  )
