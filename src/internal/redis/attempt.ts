import * as Effect from "effect/Effect"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import * as OwnHolder from "../ownHolder.js"
import type { Command } from "./server.js"

/**
 * A record that is to be put at a lock, and the commands that may still put it there. Where no answer came, the next try is made with the
 * same record: what is at the lock then is known to be ours, whichever command put it there.
 */
export class Attempt {
  /** Whether it is not known what the last command has done. */
  inDoubt = false
  /** The commands that have not ended. */
  readonly underWay = new Set<Command>()

  constructor(readonly holder: LockHolder, readonly record: string) {}

  sent(command: Command): void {
    this.underWay.add(command)
    command.addObserver(() => this.underWay.delete(command))
  }

  /** Whether its record may be at the lock, or come there. */
  get mayBeThere(): boolean {
    return this.inDoubt || this.underWay.size > 0
  }
}

export const make = (identity: ProcessIdentity, label: string | undefined): Effect.Effect<Attempt> =>
  Effect.map(OwnHolder.make(identity, label), (holder) => new Attempt(holder, OwnHolder.encode(holder)))
