import { type Mutant, seed } from "./Mutant.js"

/** Bugs in the line of a process, in acquisitions, holds and critical sections, and in the canonical names of locks. */
export const serviceMutants: ReadonlyArray<Mutant> = [
  seed("attempt-interruptible", "an attempt of the engine is cut off when its caller is interrupted", {
    file: "internal/wait.ts",
    find: "unsafeStart(runtimeOf(parent, runtimeFlags), effect)",
    replace: "unsafeStart(runtimeOf(parent), effect)",
    also: [{
      file: "internal/wait.ts",
      find: "Effect.suspend(() => Patience.undo(fiber, giveBack))",
      replace: "Fiber.interrupt(fiber)"
    }],
    likely: ["guardsService", "is never cut off"],
    important: true
  }),
  seed("late-grant-kept", "what a step still obtains after its caller was interrupted is not given back", {
    file: "internal/acquisition.ts",
    find: "(answer) => answer._tag === \"Grant\" ? answer.release : contender.end",
    replace: "() => Effect.void",
    likely: ["guardsService", "what it obtains is given back"]
  }),
  seed("grant-kept-on-interruption", "whoever is interrupted just as the lock is granted keeps it for ever", {
    file: "internal/fileLock.ts",
    find: "Effect.onInterrupt(restore(Effect.void), () => Hold.release(hold))",
    replace: "restore(Effect.void)",
    likely: ["guardsService", "gives back what it obtained"]
  }),
  seed("lost-turn", "whoever is interrupted while waiting in line stays in it", {
    file: "internal/acquisition.ts",
    find: "Effect.onInterrupt(restore(wait.bell.wait), () => Handoff.abandon(line, ticket, wait.wish.handoff))",
    replace: "restore(wait.bell.wait)",
    likely: ["guardsService", "passes on a turn"],
    important: true
  }),
  seed("served-ticket-lost", "a turn that comes at the moment of an interruption is lost for good", {
    file: "internal/handoff.ts",
    find: "? Effect.sync(() => line.giveBack(ticket))",
    replace: "? Effect.sync(() => ticket.served ? undefined : line.giveBack(ticket))",
    likely: ["guardsService", "passes on a turn"]
  }),
  seed("passed-lock-lost", "a lock that is passed on at the moment of an interruption is lost for good", {
    file: "internal/handoff.ts",
    find: "ticket.passed === undefined\n",
    replace: "ticket.passed === undefined || ticket.served\n",
    likely: ["handoff", "loses nothing"],
    important: true
  }),
  seed("handoff-unbounded", "a process passes the lock among its own fibers for ever", {
    file: "internal/handoff.ts",
    find: "Duration.lessThan(age, budget)",
    replace: "Duration.lessThan(Duration.zero, budget)",
    likely: ["handoff", "ends with its budget"]
  }),
  seed("lost-lock-passed-on", "a lock that is lost is passed on", {
    file: "internal/handoff.ts",
    find: " && tenure.loss === undefined && line",
    replace: " && line",
    likely: ["handoff", "does not pass on a lock that is lost"]
  }),
  seed("label-passed-on", "others see the label of whom the lock was passed on from", {
    file: "internal/line.ts",
    find: "next.guise?.label !== ticket.guise?.label || ",
    replace: "",
    likely: ["handoff", "does not let others see a label"]
  }),
  seed("expired-ticket-kept", "whoever runs out of time in line stays in it", {
    file: "internal/acquisition.ts",
    find: "      line.giveBack(ticket)\n      return wait.fail(\"Timeout\")",
    replace: "      return wait.fail(\"Timeout\")",
    likely: ["guardsService", "is left by whom it did not serve"]
  }),
  seed("line-kept-after-failure", "a failed acquisition keeps its place at the head of the line", {
    file: "internal/acquisition.ts",
    find: "          line.giveBack(ticket)\n          return Effect.failCause(cause)",
    replace: "          return Effect.failCause(cause)",
    likely: ["guardsService", "is left by whom the engine did not serve"]
  }),
  seed("timeout-not-in-line", "the timeout does not count while waiting in line", {
    file: "internal/acquisition.ts",
    find: "    if (wait.expired) {",
    replace: "    if (wait.expired && line.holder === undefined) {",
    likely: ["guardsService", "is left by whom it did not serve"]
  }),
  seed("timeout-not-at-the-engine", "the timeout does not count while another process holds the lock", {
    file: "internal/wait.ts",
    find: "    return this.expired || this.exhausted",
    replace: "    return this.exhausted",
    likely: ["FileLock", "in memory waits a whole lease of silence"]
  }),
  seed("no-patience", "a caller waits for ever for a storage that does not answer", {
    file: "internal/wait.ts",
    find: "      if (this.outOfPatience) {",
    replace: "      if (this.outOfPatience && this.exhausted) {",
    likely: ["guardsService", "does not answer"]
  }),
  seed("bell-forgets", "a ring while nobody waits is lost", {
    file: "internal/bell.ts",
    find: "      this.rung = true",
    replace: "      this.rung = false",
    likely: ["guardsService", "keeps a ring"]
  }),
  seed("line-is-a-stack", "whoever came last is served first", {
    file: "internal/line.ts",
    find: "this.link(previous, ticket, previous === undefined ? this.first : previous.next)",
    replace: "this.link(undefined, ticket, this.first)",
    likely: ["FileLock", "in memory serves the fibers of a process first come, first served"]
  }),
  seed("line-by-arrival-at-it", "whoever is slower to find the lock's name loses its place to those who came later", {
    file: "internal/line.ts",
    find: "previous.arrival > arrival",
    replace: "previous.arrival > arrival + 1_000_000",
    likely: ["guardsService", "serves who came first"]
  }),
  seed("racing-patience", "patience is a race of children, which an interruption of the caller reaches", {
    file: "internal/patience.ts",
    find: "  const bell = new Bell()\n",
    replace:
      "  if (fiber.unsafePoll() === null) {\n    return Effect.raceFirst(Effect.as(Fiber.await(fiber), true), Effect.as(Effect.sleep(patience), false))\n  }\n  const bell = new Bell()\n",
    likely: ["FileLock", "in memory is free again after an interruption"]
  }),
  seed("no-release-on-failure", "a body that fails keeps the lock", {
    file: "internal/body.ts",
    find: "            return Sections.close(section)\n",
    replace: "            return Exit.isSuccess(exit) ? Sections.close(section) : Effect.void\n",
    likely: ["FileLock", "in memory releases on success, failure, defect and interruption alike"],
    important: true
  }),
  seed("several-unsorted", "several locks are taken in the order in which they were named", {
    file: "internal/fileLock.ts",
    find: "    Array.sort(targets, byLockPath),",
    replace: "    Array.fromIterable(targets),",
    likely: ["FileLock", "in memory takes several locks in one order"]
  }),
  seed("several-kept", "when one of several locks cannot be had, the others are kept until the scope ends", {
    file: "internal/fileLock.ts",
    find: "          restore,\n          Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))",
    replace: "          restore",
    likely: ["guardsService", "are given back at once"]
  }),
  seed("own-handle-waited-for", "a fiber waits for the handle that it holds itself", {
    file: "internal/fileLock.ts",
    find: "&& !wait.expired && (yield* Sections.isOwn(outer))",
    replace: "&& wait.expired && (yield* Sections.isOwn(outer))",
    likely: ["FileLock", "in memory says Deadlock at once"]
  }),
  seed("storage-failure-is-taken", "a storage that fails looks like a lock that is merely taken", {
    file: "internal/fileLock.ts",
    find: "error.reason === \"Timeout\" && error.cause === undefined",
    replace: "error.reason === \"Timeout\"",
    likely: ["guardsService", "does not answer"]
  }),
  seed("loss-is-not-told", "a body goes on when its lock is lost", {
    file: "internal/tenure.ts",
    find: "      stop()\n    }",
    replace: "      void stop\n    }",
    likely: ["guardsLease", "declares itself lost"],
    important: true
  }),
  seed("loss-is-success", "a body that ended well although its lock was lost counts as a success", {
    file: "internal/body.ts",
    find: "Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)",
    replace: "Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)",
    likely: ["guardsService", "has not succeeded if its lock was lost"]
  }),
  seed("deaf-caller", "a body that can be interrupted runs on when its caller is one that cannot", {
    file: "internal/body.ts",
    find: "Effect.interruptible(Fiber.await(fiber))",
    replace: "Fiber.await(fiber)",
    likely: ["FileLock", "in memory interrupts what can be interrupted of a body"]
  }),
  seed("handles-forgotten", "a lock acquired inside a critical section cannot be re-entered once that is over", {
    file: "internal/body.ts",
    find: "Sections.forget(section)",
    replace: "FiberRef.set(Sections.current, around)",
    likely: ["FileLock", "in memory is re-entered where a handle"]
  }),
  seed("siblings-ignored", "fibers that re-enter a critical section do not exclude one another", {
    file: "internal/acquisition.ts",
    find: "    const ticket = line.draw(wait.bell.ring, wait.wish.arrival)",
    replace: "    const ticket = line.draw(wait.bell.ring, wait.wish.arrival)\n    ticket.served = true",
    likely: ["FileLock", "in memory keeps siblings that re-enter out of each other's way"]
  }),
  seed("section-stays-open", "a critical section can be re-entered after its end", {
    file: "internal/sections.ts",
    find: "    section.open = false",
    replace: "    section.open = section.open && true",
    likely: ["FileLock", "in memory does not let a fiber in that outlived the critical section"]
  }),
  seed("section-ends-early", "a critical section ends although a fiber that re-entered it is still inside", {
    file: "internal/sections.ts",
    find: "return section.users > 0 ? Effect.void : section.end",
    replace: "return section.open ? Effect.void : section.end",
    likely: ["FileLock", "in memory stays locked until the last fiber that re-entered has left"]
  }),
  seed("section-of-another-path", "a critical section on one path lets in to another path", {
    file: "internal/sections.ts",
    find: "openOf(innermost(sections, lockPath))",
    replace: "openOf(lockPath === \"\" ? undefined : HashMap.toValues(sections.byName)[0])",
    likely: ["FileLock", "in memory locks the same paths each time"]
  }),
  seed("no-canonical-names", "two spellings of a path are two locks", {
    file: "internal/lockFile/names.ts",
    find: "const canonical = yield* canonicalize(absolute, 0)",
    replace: "const canonical = yield* Effect.as(canonicalize(absolute, 0), absolute)",
    likely: ["FileLock", "in memory takes one lock for all spellings of a file"],
    important: true
  }),
  seed("dangling-links-kept", "a link to a file that is not there yet is another lock than that file", {
    file: "internal/lockFile/names.ts",
    find: "return Effect.matchEffect(fs.readLink(normal), {",
    replace: "return Effect.matchEffect(fs.readLink(`${normal}.none`), {",
    likely: ["FileLock", "in memory takes one lock for all spellings of a file"]
  })
]
