import { constVoid } from "effect/Function"
import type { Mode } from "../LockBackend.js"
import type { LockHolder } from "../LockHolder.js"
import type { Tenure } from "./tenure.js"

/** What others are told about a holder. A lock is passed on only to whom its record suits. */
export interface Guise {
  readonly mode: Mode
  readonly label: string | undefined
}

/** A place in a line. */
export interface Ticket {
  /** Who came first is served first, even if it reached the line later. */
  readonly arrival: number
  /** From now on the owner of the ticket is inside, whether it has noticed or not. */
  served: boolean
  /** The lock, if it came with the turn. Whoever gives the ticket back gives it back, too. */
  passed: Tenure | undefined
  readonly guise: Guise | undefined
  readonly wake: () => void
  previous: Ticket | undefined
  next: Ticket | undefined
}

/**
 * First come, first served: one is inside, the others wait in a line.
 *
 * Every step is synchronous, so that no interruption can come between a change here and the record of who caused it. A ticket
 * that was drawn must be given back, whether it was served or not.
 */
export class Line {
  /** Who holds the lock that the line is for, where that is known. */
  holder: LockHolder | undefined
  private occupied = false
  private first: Ticket | undefined
  private last: Ticket | undefined

  constructor(private readonly onEmpty: () => void = constVoid) {}

  /** Draws a ticket. It is served at once when nobody is inside. */
  draw(wake: () => void, arrival: number, guise?: Guise): Ticket {
    const ticket: Ticket = {
      arrival,
      served: !this.occupied,
      passed: undefined,
      guise,
      wake,
      previous: undefined,
      next: undefined
    }
    if (ticket.served) {
      this.occupied = true
      return ticket
    }
    let previous = this.last
    while (previous !== undefined && previous.arrival > arrival) {
      previous = previous.previous
    }
    this.link(previous, ticket, previous === undefined ? this.first : previous.next)
    return ticket
  }

  /** Whoever is inside goes, and the next one is in. */
  private leave(): void {
    this.holder = undefined
    const next = this.first
    if (next === undefined) {
      this.occupied = false
      this.onEmpty()
      return
    }
    this.serve(next)
  }

  private serve(ticket: Ticket): void {
    this.unlink(ticket)
    ticket.served = true
    ticket.wake()
  }

  /** Whoever is inside goes, and the next one is in and has the lock; `false` if there is none whom it suits. */
  passOn(ticket: Ticket, tenure: Tenure): boolean {
    const next = this.first
    if (next === undefined || next.guise?.label !== ticket.guise?.label || next.guise?.mode !== ticket.guise?.mode) {
      return false
    }
    next.passed = tenure
    this.serve(next)
    return true
  }

  /** Gives a ticket back, served or not. */
  giveBack(ticket: Ticket): void {
    if (ticket.served) {
      this.leave()
    } else {
      this.unlink(ticket)
    }
  }

  private link(previous: Ticket | undefined, ticket: Ticket, next: Ticket | undefined): void {
    ticket.previous = previous
    ticket.next = next
    if (previous === undefined) {
      this.first = ticket
    } else {
      previous.next = ticket
    }
    if (next === undefined) {
      this.last = ticket
    } else {
      next.previous = ticket
    }
  }

  private unlink(ticket: Ticket): void {
    if (ticket.previous === undefined) {
      this.first = ticket.next
    } else {
      ticket.previous.next = ticket.next
    }
    if (ticket.next === undefined) {
      this.last = ticket.previous
    } else {
      ticket.next.previous = ticket.previous
    }
    ticket.previous = ticket.next = undefined
  }
}

/** The lines of all locks that somebody wants or holds now. */
export class Lines {
  private readonly lines = new Map<string, Line>()

  /** The line of a lock; draw from it before anything else can run, or it may be gone. */
  at(key: string): Line {
    let line = this.lines.get(key)
    if (line === undefined) {
      line = new Line(() => void this.lines.delete(key))
      this.lines.set(key, line)
    }
    return line
  }
}
