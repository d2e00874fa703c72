/**
 * The locks of a worker, over any engine. Each loads nothing of the others.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as FileLock from "../../src/FileLock.js"
import type { LockBackend } from "../../src/LockBackend.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"
import * as Platform from "./Platform.js"

/** What keeps the locks, and where its server is. */
export const Settings = Schema.Union(
  /** `NodeFileLock.layer`. */
  Schema.TaggedStruct("lockFiles", {}),
  /** `FileLock.layer` over the services of `@effect/platform-node`. */
  Schema.TaggedStruct("platform", {}),
  Schema.TaggedStruct("flock", {}),
  Schema.TaggedStruct("postgres", { url: Schema.String }),
  Schema.TaggedStruct("redis", { url: Schema.String })
)

/** One of them. */
export type Settings = typeof Settings.Type

/** Whether grants have fencing numbers. */
export const hasFences = ({ _tag }: Settings): boolean => _tag === "postgres" || _tag === "redis"

/** The locks of one process. */
export const layer = (engine: Settings, settings: FileLock.Settings = {}): Layer.Layer<FileLock.FileLock> => {
  switch (engine._tag) {
    case "lockFiles":
      return NodeFileLock.layerWith(settings)
    case "platform":
      return Layer.provide(FileLock.layerWith(settings), Platform.layer)
    case "flock":
      return over(async () => (await import("../../src/FlockBackend.js")).layerWith(settings), settings)
    case "postgres":
      return over(async () => {
        const PostgresBackend = await import("../../src/PostgresBackend.js")
        return PostgresBackend.layerConnection({ url: Redacted.make(engine.url) }, settings)
      }, settings)
    case "redis":
      return over(async () => {
        const [{ Redis }, RedisBackend] = await Promise.all([import("ioredis"), import("../../src/RedisBackend.js")])
        const client = Layer.scoped(
          RedisBackend.RedisClient,
          Effect.map(
            Effect.acquireRelease(
              Effect.sync(() => new Redis(engine.url)),
              (redis) => Effect.sync(() => redis.disconnect())
            ),
            RedisBackend.fromIoredis
          )
        )
        return Layer.provide(RedisBackend.layerWith(settings), client)
      }, settings)
  }
}

const over = (
  load: () => Promise<Layer.Layer<LockBackend>>,
  settings: FileLock.Settings
): Layer.Layer<FileLock.FileLock> =>
  Layer.provide(FileLock.layerBackend(settings), Layer.unwrapEffect(Effect.promise(load)))
