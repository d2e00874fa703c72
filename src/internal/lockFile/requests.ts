import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import type { Disk, DiskError } from "./disk.js"
import { parseLeftover, type Syntax } from "./paths.js"
import type { Place, Protocol } from "./protocol.js"

/** A waiter, and the text of its request file. */
export interface Requested {
  readonly holder: LockHolder
  readonly text: string
}

/** The one that has waited for longer comes first. */
const byTime = Order.mapInput(Order.number, ({ holder }: Requested) => holder.acquiredAt.epochMillis)

/** The processes that wait for a lock, as the request files beside it tell, those that have waited for longer in front. */
export const list = (
  options: {
    readonly disk: Disk
    readonly syntax: Syntax
    readonly protocol: Protocol
    readonly identity: ProcessIdentity
  },
  place: Place
): Effect.Effect<ReadonlyArray<Requested>, DiskError> => {
  const { disk, identity, protocol, syntax } = options
  const directory = syntax.dirname(place.lockPath)
  return Effect.gen(function*() {
    const names = yield* disk.list(directory)
    const tokens = Array.filterMap(names, (name) => {
      const leftover = parseLeftover(syntax.join(directory, name))
      return leftover?.prefix === place.prefix ? Option.fromNullable(leftover.token) : Option.none()
    })
    const found: Array<Requested> = []
    for (const token of tokens) {
      const seen = yield* protocol.readRequest(place, token)
      if (seen._tag === "Record" && seen.holder.token === token && (yield* identity.isAlive(seen.holder)) !== "dead") {
        found.push(seen)
      }
    }
    return Array.sort(found, byTime)
  })
}
