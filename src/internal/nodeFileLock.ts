import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as NodePath from "node:path"
import type { FileLock, Settings as Input } from "../FileLock.js"
import type { LockKey } from "../LockBackend.js"
import { ProcessIdentity } from "../ProcessIdentity.js"
import * as internal from "./lock/fileLock.js"
import { WaitQueues } from "./lock/waitQueue.js"
import * as NodeFiles from "./lockedFile/nodeFiles.js"
import * as Backend from "./lockFile/backend.js"
import * as NodeDisk from "./lockFile/nodeDisk.js"
import * as Settings from "./settings.js"

/** The engine for one lease, for as many layers as use it. */
interface Shared {
  readonly engine: Backend.Engine
  layers: number
}

/** What the absolute path of a guarded file says by itself. */
interface Spelling {
  readonly directory: string
  readonly name: string
  /** If the path is canonical; nothing if its lock file can have no name. */
  readonly key: Option.Option<LockKey>
}

/** How many are remembered. */
const maxSpellings = 4096

/** What all layers of a process have in common. */
interface Registry {
  readonly disk: NodeDisk.NodeDisk
  readonly queues: WaitQueues
  readonly engines: WeakMap<ProcessIdentity, Map<number, Shared>>
}

const RegistryKey: unique symbol = Symbol.for("effect-filelock/Registry@1")

/** Every copy of this package in a process shares it. */
const registry = (): Registry => {
  const holder: typeof globalThis & { [RegistryKey]?: Registry } = globalThis
  return holder[RegistryKey] ??= { disk: NodeDisk.make(), queues: new WaitQueues(), engines: new WeakMap() }
}

/** The engine over a disk of Node. The calls of a lock whose directory is known to be local end without suspending. */
export const makeEngine = (
  disk: NodeDisk.NodeDisk,
  identity: ProcessIdentity,
  lease: Duration.Duration
): Backend.Engine => {
  const { paths, ...engine } = Backend.make({ disk, syntax: NodePath, identity, lease })
  const spellings = new Map<string, Spelling>()

  /** `undefined` for what `canonical` refuses, or has to look into. */
  const spell = (file: string): Spelling | undefined => {
    const known = spellings.get(file)
    if (known !== undefined || paths.check(file) !== undefined) {
      return known
    }
    const directory = NodeDisk.directoryOf(file)
    const name = file.slice(file.lastIndexOf(NodePath.sep) + 1)
    if (name === "" || name === "." || name === "..") {
      return undefined
    }
    if (spellings.size >= maxSpellings) {
      spellings.clear()
    }
    const spelling = { directory, name, key: paths.key(NodeDisk.join(directory, name)) }
    spellings.set(file, spelling)
    return spelling
  }

  return {
    ...engine,
    canonical: (path) =>
      Effect.try(() => NodeDisk.directoryOf(disk.absolute(path))).pipe(
        Effect.flatMap(disk.classify),
        // `paths` says what is wrong.
        Effect.ignore,
        Effect.zipRight(paths.canonical(path)),
        Effect.tap(({ lockPath }) => disk.classify(NodePath.dirname(lockPath)))
      ),
    immediate: (path) => {
      try {
        const file = disk.absolute(path)
        const spelling = spell(file)
        if (spelling === undefined || disk.isLocal(spelling.directory) !== true) {
          return Option.none()
        }
        const { directory, key, name } = spelling
        const canonical = disk.locate(directory, file)
        if (canonical === directory) {
          return key
        }
        // A link on the way may lead elsewhere by now.
        return canonical === undefined || disk.isLocal(canonical) !== true
          ? Option.none()
          : paths.key(NodeDisk.join(canonical, name))
      } catch {
        // `canonical` says what is wrong.
        return Option.none()
      }
    }
  }
}

/** The engine that all layers with this identity and lease share, until the scope closes. */
const sharedEngine = (
  { disk, engines }: Registry,
  identity: ProcessIdentity,
  lease: Duration.Duration
): Effect.Effect<Backend.Engine, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const byLease = engines.get(identity) ?? new Map<number, Shared>()
      engines.set(identity, byLease)
      const millis = Duration.toMillis(lease)
      const shared = byLease.get(millis) ?? { engine: makeEngine(disk, identity, lease), layers: 0 }
      byLease.set(millis, shared)
      shared.layers += 1
      return shared
    }),
    (shared) => {
      shared.layers -= 1
      return shared.layers === 0 ? shared.engine.close : Effect.void
    }
  ).pipe(Effect.map(({ engine }) => engine))

export const make = (input: Input): Effect.Effect<Context.Tag.Service<FileLock>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const settings = yield* Settings.decodeOrDie(input)
    const shared = registry()
    const engine = yield* sharedEngine(shared, yield* ProcessIdentity, settings.lease)
    return internal.make(engine, settings, shared.queues, () => NodeFiles.make(shared.disk))
  })
