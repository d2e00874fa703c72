/**
 * All orders in which a few threads can take their steps, up to the order of steps that do not depend on each other: a search
 * with replay, by dynamic partial-order reduction with source sets (Abdulla, Aronis, Jonsson and Sagonas 2014) and sleep sets (Godefroid 1996).
 *
 * It is sound for what it is used for: two steps that are independent lead to the same state in both orders and neither decides
 * whether the other can happen, so that a violation that one order shows the other shows as well. Steps that count as dependent
 * without need only make the search longer.
 */

/** What a step touches, as sets of bits. Two steps are independent when neither writes what the other touches. */
export interface Footprint {
  readonly reads: number
  readonly writes: number
}

/** One execution, as far as it has come. */
export interface Execution {
  /** Who could go next, and what that would touch. */
  readonly enabled: () => ReadonlyMap<number, Footprint>
  /** Lets a thread take its step. Answers with the threads that have one more step to take because of it. */
  readonly go: (thread: number) => ReadonlyArray<number>
  /** Is told when nobody can go on any more. */
  readonly end: () => void
}

export interface Result {
  /** Executions to the end. */
  readonly executions: number
  /** Executions that were given up, because another shows the same. */
  readonly pruned: number
  readonly steps: number
  readonly longest: number
}

const dependent = (left: Footprint, right: Footprint): boolean =>
  (left.writes & (right.reads | right.writes)) !== 0 || (right.writes & left.reads) !== 0

const nothing: Footprint = { reads: 0, writes: 0 }

interface Node {
  readonly enabled: ReadonlyMap<number, Footprint>
  readonly backtrack: Set<number>
  readonly done: Set<number>
  /** Threads whose next step was explored from here, or from before in a way that is the same. */
  readonly sleep: ReadonlyMap<number, Footprint>
  chosen: number
  /** Threads that have one more step to take because of the one that was chosen. */
  enables: ReadonlyArray<number>
  /** By thread, the latest step that must have come before, itself included. */
  clock: ReadonlyMap<number, number>
}

const isBefore = (stack: ReadonlyArray<Node>, index: number, clock: ReadonlyMap<number, number>): boolean =>
  (clock.get(stack[index]?.chosen ?? -1) ?? -1) >= index

/**
 * For each thread that could go next: the earlier steps that race with it, because nothing else orders the two. From before such a
 * step one of those has to be tried that can begin the other order.
 */
const findRaces = (stack: ReadonlyArray<Node>, enabled: ReadonlyMap<number, Footprint>): void => {
  for (const [thread, footprint] of enabled) {
    const clock = clockOf(stack, thread, footprint)
    const earlier: Array<number> = []
    for (let index = stack.length - 1; index >= 0; index--) {
      const node = stack[index]
      const step = node?.enabled.get(node.chosen)
      if (node === undefined || step === undefined || !isBefore(stack, index, clock)) {
        continue
      }
      const isDirect = earlier.every((between) => !isBefore(stack, index, stack[between]?.clock ?? new Map()))
      earlier.push(index)
      if (node.chosen !== thread && isDirect && dependent(step, footprint)) {
        const initials = beginnings(stack, index, thread, clock)
        if (initials.every((initial) => !node.backtrack.has(initial))) {
          const possible = initials.filter((initial) => node.enabled.has(initial))
          const awake = possible.find((initial) => !node.sleep.has(initial)) ?? possible[0]
          for (const other of awake === undefined ? node.enabled.keys() : [awake]) node.backtrack.add(other)
        }
      }
    }
  }
}

/** Of what came after the step at `index` and not because of it, `thread` last: the threads that can be first. */
const beginnings = (
  stack: ReadonlyArray<Node>,
  index: number,
  thread: number,
  clock: ReadonlyMap<number, number>
): ReadonlyArray<number> => {
  const apart: Array<number> = []
  const seen = new Set<number>()
  const initials: Array<number> = []
  for (let next = index + 1; next <= stack.length; next++) {
    const node = stack[next]
    const chosen = node?.chosen ?? thread
    const own = node?.clock ?? clock
    if (node !== undefined && isBefore(stack, index, own)) {
      continue
    }
    if (!seen.has(chosen) && apart.every((before) => !isBefore(stack, before, own))) {
      initials.push(chosen)
    }
    seen.add(chosen)
    apart.push(next)
  }
  return initials
}

/** What must have come before a step of `thread` now. */
const clockOf = (stack: ReadonlyArray<Node>, thread: number, footprint: Footprint): Map<number, number> => {
  const clock = new Map<number, number>()
  // Its n-th step comes after the n-th that others have given it, and not after those that give it more.
  let given = stack.filter(({ chosen }) => chosen === thread).length
  stack.forEach((node) => {
    const step = node.enabled.get(node.chosen)
    const isNext = node.enables.some((other) => other === thread && given-- === 0)
    if (step !== undefined && (node.chosen === thread || isNext || dependent(step, footprint))) {
      for (const [other, index] of node.clock) {
        clock.set(other, Math.max(index, clock.get(other) ?? -1))
      }
    }
  })
  return clock.set(thread, stack.length)
}

/** Explores until nothing is left to try, or `isOver` says that it is enough. */
export const explore = (start: () => Execution, isOver: () => boolean = () => false): Result => {
  const stack: Array<Node> = []
  let executions = 0
  let pruned = 0
  let steps = 0
  let longest = 0
  for (;;) {
    const execution = start()
    for (const node of stack) {
      node.enables = execution.go(node.chosen)
    }
    let before = stack.at(-1)
    for (;;) {
      const enabled = execution.enabled()
      findRaces(stack, enabled)
      const sleep = new Map<number, Footprint>()
      if (before !== undefined) {
        const step = before.enabled.get(before.chosen)
        for (
          const [thread, footprint] of [
            ...before.sleep,
            ...[...before.done].map((thread) => [thread, before?.enabled.get(thread)] as const)
          ]
        ) {
          if (
            step !== undefined && footprint !== undefined && thread !== before.chosen && !dependent(step, footprint)
          ) {
            sleep.set(thread, footprint)
          }
        }
      }
      const awake = [...enabled.keys()].filter((thread) => !sleep.has(thread))
      const chosen = awake[0]
      if (chosen === undefined) {
        if (enabled.size === 0) {
          executions++
          execution.end()
        } else {
          pruned++
        }
        break
      }
      const footprint = enabled.get(chosen) ?? nothing
      const node: Node = {
        enabled,
        backtrack: new Set([chosen]),
        done: new Set<number>(),
        sleep,
        chosen,
        enables: [],
        clock: clockOf(stack, chosen, footprint)
      }
      stack.push(node)
      before = node
      node.enables = execution.go(chosen)
    }
    steps += stack.length
    longest = Math.max(longest, stack.length)
    if (isOver() || !advance(stack)) {
      return { executions, pruned, steps, longest }
    }
  }
}

/** Goes back to the last state where something else is still to be tried; `false` if there is none. */
const advance = (stack: Array<Node>): boolean => {
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    node.done.add(node.chosen)
    for (const thread of node.backtrack) {
      if (!node.done.has(thread) && !node.sleep.has(thread)) {
        node.chosen = thread
        node.clock = clockOf(stack, thread, node.enabled.get(thread) ?? nothing)
        stack.push(node)
        return true
      }
    }
  }
  return false
}
