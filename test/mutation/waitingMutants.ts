import { type Mutant, seed } from "./Mutant.js"

const queue = "internal/lockFile/queue.ts"
const hints = "internal/lockFile/hints.ts"
const attempt = "internal/lockFile/attempt.ts"
const sight = "internal/lockFile/sight.ts"
const probe = "internal/lockFile/probe.ts"

/** Bugs in how processes and fibers wait. */
export const waitingMutants: ReadonlyArray<Mutant> = [
  seed("wake-up-dropped", "a change of the lock file wakes nobody", {
    file: hints,
    find: "        contest.woken = contest.place === \"behind\"\n        ring()\n",
    replace: "        contest.woken = contest.place === \"behind\"\n",
    likely: ["waiting", "ends at the very moment of the release"],
    important: true
  }),
  seed("deaf-for-ever", "a path that has just gone counts as one that cannot be watched", {
    file: hints,
    find: "isGone(Cause.squash(cause)) ? told(path) : giveUp(path)",
    replace: "isGone(Cause.squash(cause)) ? Effect.void : giveUp(path)",
    likely: ["waiting", "finds nothing to watch any more"]
  }),
  seed("watch-outlives-waiter", "a watch goes on when its waiter has gone", {
    file: hints,
    find: "watcher = yield* Effect.forkScoped(Effect.interruptible(watch(path)))",
    replace: "watcher = yield* Effect.forkDaemon(Effect.interruptible(watch(path)))",
    likely: ["waiting", "The watchers of a process"]
  }),
  seed("watch-trusted-for-ever", "a watch is trusted for as long as it tells nothing", {
    file: sight,
    find: "    now - at > trust\n",
    replace: "    now - at > trust * 1_000_000n\n",
    likely: ["waiting", "goes on by its schedule"]
  }),
  seed("watch-trusted-from-before", "a watch is trusted to have seen what happened before it began", {
    file: sight,
    find: "sight.foundAt > watching.since + beginning",
    replace: "true",
    likely: ["waiting", "is over soon after that"]
  }),
  seed("ended-step-watched", "a step that has ended already wakes whoever waits for it", {
    file: "internal/wait.ts",
    find: "    const at = begun.unsafePoll()\n    if (at !== null) {\n      return at\n    }\n",
    replace: "",
    likely: ["guardsService", "asks an engine that answers at once"]
  }),
  seed("leftovers-of-a-wait", "a lock is given back while its holder still closes what it waited with", {
    file: "internal/acquisition.ts",
    find: "Effect.zipRight(Fiber.await(closing), grant.release)",
    replace: "grant.release",
    likely: ["guardsService", "when nothing of its wait is left"]
  }),
  seed("hurry-delays", "whoever begins to wait for an owner puts off the look at all others", {
    file: probe,
    find: "timer === undefined || due > now + BigInt(shortest * 1e6)",
    replace: "timer === undefined || due > 0n",
    likely: ["probe", "however often others"]
  }),
  seed("no-hurry", "a new owner is looked at no sooner than the old ones", {
    file: probe,
    find: "timer === undefined || due > now + BigInt(shortest * 1e6)",
    replace: "timer === undefined",
    likely: ["probe", "by whoever begins to wait beside one"]
  }),
  seed("probe-outlives-waiters", "the timer of the probe goes on when nobody waits any more", {
    file: probe,
    find: "            if (mourners.size === 0) {\n              stop()\n            }\n",
    replace: "",
    likely: ["probe", "is asked for by nobody"]
  }),
  seed("tireless-probe", "an owner that has been in the way for long is asked for as often as a new one", {
    file: probe,
    find: "Math.max(shortest, Math.min((Number(now - since) / 1e6) * part, longest))",
    replace: "shortest",
    likely: ["probe", "ever less often"]
  }),
  seed("tired-probe", "the longer an owner has been in the way, the later its death is noticed, without an end", {
    file: probe,
    find: "Math.min((Number(now - since) / 1e6) * part, longest)",
    replace: "(Number(now - since) / 1e6) * part",
    likely: ["probe", "ever less often"]
  }),
  seed("never-outrun", "whoever is next asks for the lock each time that another process takes it again in its turn", {
    file: attempt,
    find: "return before?.instance === instance && before.token !== token && now < before.until",
    replace: "return false",
    likely: ["queue", "asks for the lock a few times only"]
  }),
  seed("rests-beside-a-free-lock", "whoever is next leaves the lock alone for a turn although nobody has it", {
    file: attempt,
    find: "(stamp) => stamp === undefined ? undefined : Duration.nanos(contest.restsUntil - now)",
    replace: "() => Duration.nanos(contest.restsUntil - now)",
    likely: ["queue", "finds free within the turn"]
  }),
  seed("outrun-and-forgotten", "whoever was outrun in another process's turn is not told when that is over", {
    file: attempt,
    find: "{ holder: contest.owner, lookAgain: Duration.nanos(contest.restsUntil - at) }",
    replace: "{ holder: contest.owner }",
    likely: ["queue", "at the end of the turn in which it was outrun"]
  }),
  seed("losses-forgotten", "whoever was outrun on the way to the head is woken by each change there all the same", {
    file: queue,
    find: "          waiter.losses += 1\n",
    replace: "",
    likely: ["queue", "the sooner the oftener it was outrun"]
  }),
  seed("outrun-and-watching", "whoever was outrun on the way to the head goes on watching it", {
    file: hints,
    find: "contest.ahead !== undefined && contest.losses === 0",
    replace: "contest.ahead !== undefined",
    also: [{ file: hints, find: "now < contest.restsUntil || deaf", replace: "deaf" }],
    likely: ["queue", "the sooner the oftener it was outrun"]
  }),
  seed("rests-never-shorter", "whoever was outrun often looks again no sooner than whoever was outrun once", {
    file: queue,
    find: "(yield* rest) / waiter.losses",
    replace: "yield* rest",
    likely: ["queue", "the sooner the oftener it was outrun"]
  }),
  seed("behind-without-alarm", "whoever is behind learns of nothing but changes at the head", {
    file: attempt,
    find: "lookAgain: Queue.lookAgain(contest, now)",
    replace: "lookAgain: contest.losses > 0 ? Queue.lookAgain(contest, now) : undefined",
    likely: ["queue", "takes its place when that one dies"]
  }),
  seed("line-ignored", "whoever has had the lock for long takes it again although another process is next", {
    file: queue,
    find: "        return Effect.orElseSucceed(fs.exists(nextOf(lockPath)), () => false)",
    replace: "        return Effect.succeed(false)",
    likely: ["queue", "lets the one who is next go first when it has had its turn"],
    important: true
  }),
  seed("endless-turn", "a turn never ends", {
    file: queue,
    find: "        if (now - had.since < turn) {",
    replace: "        if (now - had.since < turn * 1_000_000n) {",
    likely: ["queue", "lets the one who is next go first when it has had its turn"]
  }),
  seed("no-turn", "whoever has had the lock looks each time who is next", {
    file: queue,
    find: "        if (now - had.since < turn) {",
    replace: "        if (now < had.since) {",
    likely: ["queue", "does not even look who is next within its turn"]
  }),
  seed("nobody-is-cold", "a process lines up although it has not had the lock for long", {
    file: queue,
    find: "had === undefined || now - had.last > cold",
    replace: "had === undefined || now - had.last > cold * 1_000_000n",
    likely: ["queue", "looks for nobody when that was a while ago"]
  }),
  seed("slot-kept", "whoever was next keeps its place when it goes away", {
    file: queue,
    find: "leaving === undefined ? Effect.void : Effect.asVoid(Patience.runWith(leaving))",
    replace: "leaving === undefined ? Effect.void : Effect.void",
    likely: ["queue", "is so no more once it has waited for long enough"],
    important: true
  }),
  seed("dead-is-next", "a process that was next and has died stays next", {
    file: queue,
    find: "(yield* judge.judge(nextPath, look))._tag === \"Stale\"",
    replace: "(yield* judge.judge(nextPath, look))._tag === undefined",
    likely: ["queue", "another one is next when the one that was has died"]
  }),
  seed("no-courtesy", "whoever waits behind another process asks for the lock all the same", {
    file: queue,
    find: "waiter.place = now - since < courtesy ? \"behind\" : \"alone\"",
    replace: "waiter.place = \"alone\"",
    likely: ["queue", "is let go first for a while"]
  }),
  seed("endless-courtesy", "a process that stands still at the head stops all who wait behind it", {
    file: queue,
    find: "waiter.place = now - since < courtesy ? \"behind\" : \"alone\"",
    replace: "waiter.place = \"behind\"",
    likely: ["queue", "and then passed by"]
  }),
  seed("try-lines-up", "whoever only tries takes a place in line", {
    file: attempt,
    find: "    if (!request.waits || contest.slot !== undefined) {",
    replace: "    if (contest.slot !== undefined) {",
    likely: ["queue", "asks once only, and for nobody"]
  }),
  seed("answer-from-before", "whoever asks is told what was found out before", {
    file: "internal/flights.ts",
    find: "        this.under.set(key, undefined)\n      }\n",
    replace: "        this.under.delete(key)\n      }\n",
    likely: ["flights", "is asked a third time"]
  }),
  seed("flight-lost", "whoever comes while a question is asked is never answered", {
    file: "internal/flights.ts",
    find: "        this.under.set(key, flight)\n",
    replace: "",
    likely: ["flights", "is asked once now, and once for all"]
  })
]
