import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Order from "effect/Order"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import type { Disk, DiskError } from "./disk.js"
import { parseLeftover, type Syntax } from "./paths.js"
import type { Place, Protocol } from "./protocol.js"
import * as Record from "./record.js"

/** A waiter, and the text of its request file. */
export interface Requested {
  readonly holder: LockHolder
  readonly text: string
}

/** The one that has waited for longer comes first. */
const byTime = Order.mapInput(Order.number, ({ holder }: Requested) => holder.acquiredAt.epochMillis)

/** Whether locks with other names may have the same names beside them: then a request file does not say which one it is for. */
export const isShared = ({ lockPath, prefix }: Place): boolean => prefix !== lockPath

/** What the request files beside a lock tell. */
export interface Requests {
  /** The processes that wait for the lock, those that have waited for longer in front. */
  readonly list: (place: Place) => Effect.Effect<ReadonlyArray<Requested>, DiskError>
  /** Whether there is a request file with a token, and its process lives and can be told. */
  readonly isRequested: (place: Place, token: string) => Effect.Effect<boolean>
}

export const make = (options: {
  readonly disk: Disk
  readonly syntax: Syntax
  readonly protocol: Protocol
  readonly identity: ProcessIdentity
}): Requests => {
  const { disk, identity, protocol, syntax } = options
  const listings = new Map<string, Fiber.RuntimeFiber<ReadonlyArray<string>, DiskError>>()

  /** Those that ask for the names in a directory at the same time wait for one answer. */
  const namesIn = (directory: string): Effect.Effect<ReadonlyArray<string>, DiskError> =>
    Effect.withFiberRuntime((fiber) => {
      let listing = listings.get(directory)
      if (listing === undefined) {
        listing = Runtime.startUninterruptible(fiber, disk.list(directory))
        if (listing.unsafePoll() === null) {
          listings.set(directory, listing)
          listing.addObserver(() => listings.delete(directory))
        }
      }
      return Effect.flatten(Fiber.await(listing))
    })

  const tokenOf = (directory: string, { prefix }: Place) => {
    const beginning = `${syntax.basename(prefix)}.`
    return (name: string): ReadonlyArray<string> => {
      const leftover = name.startsWith(beginning) ? parseLeftover(syntax.join(directory, name)) : undefined
      const { isContent, isOfClaim, token } = leftover ?? {}
      return token === undefined || isOfClaim === true || isContent === true ? [] : [token]
    }
  }

  return {
    list: (place) => {
      const directory = syntax.dirname(place.lockPath)
      return isShared(place) ? Effect.succeed([]) : Effect.gen(function*() {
        const tokens = Array.flatMap(yield* namesIn(directory), tokenOf(directory, place))
        const found: Array<Requested> = []
        for (const token of tokens) {
          const seen = yield* protocol.readRequest(place, token)
          if (
            seen._tag === "Record" && seen.holder.token === token && (yield* identity.isAlive(seen.holder)) !== "dead"
          ) {
            found.push(seen)
          }
        }
        return Array.sort(found, byTime)
      })
    },
    isRequested: (place, token) =>
      isShared(place) ? Exit.succeed(false) : Immediate.matchEffect(protocol.readRequest(place, token), {
        onFailure: () => Exit.succeed(false),
        onSuccess: (seen): Effect.Effect<boolean> =>
          seen._tag === "Record" && Record.hasToken(seen, token) && identity.canReach?.(seen.holder) === true
            ? Immediate.map(identity.isAlive(seen.holder), (liveness) => liveness !== "dead")
            : Exit.succeed(false)
      })
  }
}
