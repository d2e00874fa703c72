import { isPlatformError, type PlatformError, SystemError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Files } from "./files.js"

const isFile = (path: string, { type }: FileSystem.File.Info) =>
  type === "File" ? Effect.void : Effect.fail(
    new SystemError({
      reason: "BadResource",
      module: "FileSystem",
      method: "open",
      pathOrDescriptor: path,
      description: `it is a ${type.toLowerCase()}`
    })
  )

const modeOf = ({ mode }: FileSystem.File.Info): number => mode & 0o7777

/** Closes what is open at the end. That this fails is a defect to the service; to us, what was written may not be there. */
const closing = <A>(self: Effect.Effect<A, PlatformError, Scope.Scope>): Effect.Effect<A, PlatformError> =>
  Effect.catchSomeDefect(
    Effect.scoped(self),
    (defect) => isPlatformError(defect) ? Option.some(Effect.fail(defect)) : Option.none()
  )

/** Whole files over any `FileSystem`. */
export const make = (fs: FileSystem.FileSystem): Files => ({
  read: (path) => Effect.zipRight(Effect.flatMap(fs.stat(path), (info) => isFile(path, info)), fs.readFile(path)),
  attributes: (path) =>
    Effect.matchEffect(fs.stat(path), {
      onFailure: (error) =>
        error._tag === "SystemError" && error.reason === "NotFound" ? Effect.succeed(undefined) : Effect.fail(error),
      onSuccess: (info) =>
        Effect.as(isFile(path, info), {
          mode: modeOf(info),
          uid: Option.getOrUndefined(info.uid),
          gid: Option.getOrUndefined(info.gid)
        })
    }),
  create: (path, content, attributes, fsync) =>
    closing(Effect.gen(function*() {
      const file = yield* fs.open(path, { flag: "wx", ...(attributes === undefined ? {} : { mode: attributes.mode }) })
      if (content.length > 0) yield* file.writeAll(content)
      if (attributes !== undefined) {
        const info = yield* file.stat
        const uid = Option.getOrElse(info.uid, () => -1)
        const gid = Option.getOrElse(info.gid, () => -1)
        const { gid: wantedGid = gid, uid: wantedUid = uid } = attributes
        if (uid !== wantedUid || gid !== wantedGid) yield* fs.chown(path, wantedUid, wantedGid)
        // A change of the owner takes some bits away.
        if (uid !== wantedUid || gid !== wantedGid || modeOf(info) !== attributes.mode) {
          yield* fs.chmod(path, attributes.mode)
        }
      }
      if (fsync) yield* file.sync
    })),
  rename: fs.rename,
  remove: (path) => fs.remove(path),
  list: (directory) => fs.readDirectory(directory),
  // Windows opens no directory, and some file systems sync none.
  syncDirectory: (directory) =>
    Effect.ignore(closing(Effect.flatMap(fs.open(directory, { flag: "r" }), (file) => file.sync)))
})
