import { type Mutant, seed } from "./Mutant.js"

const place = "internal/lockFile/place.ts"
const judge = "internal/lockFile/judge.ts"
const look = "internal/lockFile/look.ts"
const heartbeat = "internal/lockFile/heartbeat.ts"
const engine = "internal/lockFile/engine.ts"

const t2 = "if (!Look.isSame(judged, yield* Look.look(fs, path)) || (yield* isOverdue(ours))) {"

/** Bugs in the steps of `docs/protocol.md`. */
export const protocolMutants: ReadonlyArray<Mutant> = [
  seed("t2-skipped", "a takeover does not look again before it replaces what it judged", {
    file: place,
    find: t2,
    replace: "if (yield* isOverdue(ours)) {",
    likely: ["lockFileGuards", "leaves a successor alone"],
    important: true
  }),
  seed("t2-anything", "a takeover replaces whatever is there, if something is", {
    file: place,
    find: t2,
    replace: "if ((yield* Look.look(fs, path))._tag === \"Absent\" || (yield* isOverdue(ours))) {",
    likely: ["lockFileGuards", "leaves a successor alone"]
  }),
  seed("t2-nothing", "a takeover takes a place that is free now for the one it judged", {
    file: place,
    find: t2,
    replace:
      "const now = yield* Look.look(fs, path)\n      if (now._tag !== \"Absent\" && !Look.isSame(judged, now) || (yield* isOverdue(ours))) {",
    likely: ["guards", "does not put its record where nothing is"]
  }),
  seed("t2-age", "a takeover that stood still for so long that its claim may be judged goes on", {
    file: place,
    find: t2,
    replace: "if (!Look.isSame(judged, yield* Look.look(fs, path))) {",
    likely: ["guardsLease", "claim is too old"]
  }),
  seed("beats-are-the-same", "a record that was refreshed since it was judged counts as the same", {
    file: look,
    find: "? now._tag === \"Recorded\" && now.text === judged.text",
    replace: "? now._tag === \"Recorded\" && now.holder.token === judged.holder.token",
    likely: ["guardsLease", "heard of again"]
  }),
  seed("no-doubt", "a creation that took longer than the grace allows is believed", {
    file: place,
    find: "if (created._tag === \"Right\" && (yield* Moment.since(ours.heardAt)) <= doubt) {",
    replace: "if (created._tag === \"Right\") {",
    likely: ["lockFileGuards", "does not believe in what it wrote"],
    important: true
  }),
  seed("no-doubt-by-wall-clock", "a machine that was suspended during a creation does not doubt it", {
    file: "internal/lockFile/moment.ts",
    find: "Math.max(Number(nanos - moment.nanos) / 1e6, millis - moment.millis)",
    replace: "Number(nanos - moment.nanos) / 1e6",
    likely: ["guards", "by the wall clock"]
  }),
  seed("no-doubt-by-monotonic-clock", "a wall clock that is set back hides how long a creation took", {
    file: "internal/lockFile/moment.ts",
    find: "Math.max(Number(nanos - moment.nanos) / 1e6, millis - moment.millis)",
    replace: "millis - moment.millis",
    likely: ["guards", "by the monotonic clock"]
  }),
  seed("no-doubt-about-claims", "a claim that took long to create is believed", {
    file: place,
    find: "if (created._tag === \"Right\" && (yield* Moment.since(ours.heardAt)) <= doubt) {",
    replace: "if (created._tag === \"Right\" && (level > 0 || (yield* Moment.since(ours.heardAt)) <= doubt)) {",
    likely: ["guards", "believes no claim"]
  }),
  seed("doubt-unlinked", "a record in doubt is removed without the claim", {
    file: place,
    find: "      return yield* settle(path, ours, level, label)",
    replace:
      "      yield* Effect.ignore(fs.remove(path))\n      yield* retire(ours)\n      return yield* placeAt(path, level, label, look)",
    likely: ["guards", "is not robbed, nor robs anybody"]
  }),
  seed("doubt-busy-unlinked", "a record in doubt that somebody is about to replace is removed without the claim", {
    file: place,
    find: "        yield* retire(ours)\n        return taken\n      }\n      yield* remove(path, ours)",
    replace:
      "        yield* retire(ours)\n        return taken\n      }\n      ours.doubtful = false\n      ours.heardAt = yield* Moment.now\n      yield* remove(path, ours)",
    likely: ["guards", "is not robbed, nor robs anybody"]
  }),
  seed("doubt-abandoned", "a record in doubt that somebody is about to replace is left behind", {
    file: place,
    find: "        yield* retire(ours)\n        return taken\n      }\n      yield* remove(path, ours)",
    replace: "        yield* retire(ours)\n        return taken\n      }",
    likely: ["guards", "does not wait for its own record"]
  }),
  seed("removal-unseen", "a release removes whatever is there, without looking", {
    file: place,
    find: "      if (!(yield* isOurs(path, ours))) {\n        return false\n      }",
    replace: "",
    likely: ["lockFileGuards", "removes nothing but its own record"]
  }),
  seed("late-removal-unclaimed", "a release that is late removes its record without the claim", {
    file: place,
    find: "if (!ours.doubtful && !(yield* isOverdue(ours))) {",
    replace: "if (!ours.doubtful) {",
    likely: ["guardsLease", "in a late release"],
    important: true
  }),
  seed(
    "failed-write-unlinked",
    "the file of a write that failed is removed at once, whoever has replaced it meanwhile",
    {
      file: place,
      find: "            : retire(ours)\n          return exists",
      replace:
        "            : Effect.zipRight(exists ? Effect.void : Effect.ignore(fs.remove(path)), retire(ours))\n          return exists",
      likely: ["guards", "removes nothing when the write fails"]
    }
  ),
  seed("failed-write-looked-at", "the file of a write that failed is removed at once, if it is not written yet", {
    file: place,
    find: "            : retire(ours)\n          return exists",
    replace:
      "            : Effect.zipRight(seen._tag === \"Broken\" ? Effect.ignore(fs.remove(path)) : Effect.void, retire(ours))\n          return exists",
    likely: ["guards", "leaves its unwritten file to the grace, if the write fails while"]
  }),
  seed("token-retired-early", "a token is retired before its record is removed", {
    file: place,
    find: "Effect.orElse(removeOnce(path, ours), () =>",
    replace: "Effect.orElse(Effect.zipRight(retire(ours), removeOnce(path, ours)), () =>",
    likely: ["guards", "to whom the token lives"]
  }),
  seed("token-issued-late", "a token is entered only after its record can be seen", {
    file: "internal/process/tokens.ts",
    find: "    tokens.live.add(token)\n",
    replace: "    late.set(token, () => tokens.live.add(token))\n",
    also: [
      {
        file: "internal/process/tokens.ts",
        find: "/** A process from what it is,",
        replace: "export const late = new Map<string, () => void>()\n\n/** A process from what it is,"
      },
      {
        file: place,
        find: "yield* Effect.either(fs.writeFileString(path, ours.text, { flag: \"wx\" }))",
        replace:
          "yield* Effect.either(fs.writeFileString(path, ours.text, { flag: \"wx\" }))\n      Tokens.late.get(ours.holder.token)?.()"
      },
      {
        file: place,
        find: "import * as Record from \"./record.js\"",
        replace: "import * as Tokens from \"../process/tokens.js\"\nimport * as Record from \"./record.js\""
      }
    ],
    likely: ["lockFileGuards", "is alive to its own process"]
  }),
  seed("lost-create", "a create whose answer was lost on its way is not known for one's own", {
    file: place,
    find: "const isOurs = Look.hasToken(seen, ours.holder.token)",
    replace: "const isOurs = Look.hasToken(seen, \"\")",
    likely: ["guards", "answer was lost"]
  }),
  seed("lost-rename", "a rename whose answer was lost on its way counts as failed", {
    file: place,
    find: "        if (!Look.hasToken(seen, ours.holder.token)) {",
    replace: "        if (seen._tag !== \"Absent\" || renamed.left._tag === \"SystemError\") {",
    likely: ["guards", "answer was lost"]
  }),
  seed("dead-claim-blocks", "a dead process's claim is never judged", {
    file: place,
    find: "      const taken = yield* takeOverAt(claimPath, look, level + 1, label)",
    replace:
      "      if (level < maxLevels) {\n        return busy()\n      }\n      const taken = yield* takeOverAt(claimPath, look, level + 1, label)",
    likely: ["guards", "takes the claim of a process that died"],
    important: true
  }),
  seed("live-claim-robbed", "a claim is taken over without judging its owner", {
    file: place,
    find: "      const verdict = yield* judge.judge(claimPath, look)\n      if (verdict._tag !== \"Stale\") {",
    replace:
      "      const verdict = yield* judge.judge(claimPath, look)\n      if (verdict._tag !== \"Stale\" && level > 2) {",
    likely: ["guards", "leaves a living process's claim alone"]
  }),
  seed("claim-left", "what is done under the claim leaves it behind", {
    file: place,
    find:
      "          Effect.map(isOverdue(claimed.ours), (overdue) => overdue ? Option.none() : Option.some(result))).pipe(\n            Effect.ensuring(remove(claimOf(path), claimed.ours))\n          ))",
    replace:
      "          Effect.map(isOverdue(claimed.ours), (overdue) => overdue ? Option.none() : Option.some(result))))",
    likely: ["guardsLease", "leaves no claim behind"]
  }),
  seed("sweep-skipped", "a claim that a dead process left is never looked for", {
    file: "internal/lockFile/attempt.ts",
    find: "enter(contest, sweep.isDue(lockPath))",
    replace: "enter(contest, false)",
    likely: ["guards", "nothing but its claim"]
  }),
  seed("judged-by-age", "a holder that is alive by proof loses its lock when it has had it for longer than a lease", {
    file: judge,
    find: "          if (liveness !== \"unknown\") {",
    replace:
      "          if (look.holder.acquiredAt.epochMillis + Duration.toMillis(lease) < (yield* Clock.currentTimeMillis)) {\n            return stale\n          }\n          if (liveness !== \"unknown\") {",
    likely: ["guards", "alive by proof"]
  }),
  seed("lease-for-the-local", "a holder that is alive by proof loses its lock when it is silent for a lease", {
    file: judge,
    find: "            return liveness === \"alive\" ? live : stale",
    replace: "            if (liveness === \"dead\") {\n              return stale\n            }",
    likely: ["guards", "alive by proof"],
    important: true
  }),
  seed("dead-judged-by-lease", "a holder that is dead by proof keeps its lock for a lease", {
    file: judge,
    find: "            return liveness === \"alive\" ? live : stale",
    replace: "            if (liveness === \"alive\") {\n              return live\n            }",
    likely: ["FileLock", "in memory takes over from a dead process at once"]
  }),
  seed("suspended-observer", "an observer that was suspended counts the time as the holder's silence", {
    file: judge,
    find: "known.key === key && now - known.last <= maxPause",
    replace: "known.key === key && maxPause > 0n",
    likely: ["guardsLease", "observer itself was suspended"]
  }),
  seed("beats-unheard", "beats do not count", {
    file: judge,
    find: "const unchanged = unchangedFor(path, look.text, now, leaseNanos / 4n)",
    replace: "const unchanged = unchangedFor(path, look.holder.token, now, leaseNanos / 4n)",
    likely: ["FileLock", "in memory waits a whole lease of silence"]
  }),
  seed("no-grace", "a file that is not written yet is taken over at once", {
    file: judge,
    find: "return unchanged >= graceNanos ? stale",
    replace: "return unchanged >= 0n ? stale",
    likely: ["guards", "who is still writing"]
  }),
  seed("broken-by-content", "two files that are not written yet are taken for the same", {
    file: look,
    find: "identity: `${inodeOf(info)}:${modifiedAt(info)}:${text}`",
    replace: "identity: text",
    likely: ["guards", "that has its inode"]
  }),
  seed("broken-without-time", "a file that is not written yet is taken for another one that had its inode", {
    file: look,
    find: "identity: `${inodeOf(info)}:${modifiedAt(info)}:${text}`",
    replace: "identity: `${inodeOf(info)}:${text}`",
    likely: ["guards", "that has its inode"]
  }),
  seed("broken-without-inode", "a file that is not written yet is taken for another one of the same time", {
    file: look,
    find: "identity: `${inodeOf(info)}:${modifiedAt(info)}:${text}`",
    replace: "identity: `${modifiedAt(info)}:${text}`",
    likely: ["guards", "because the wall clock was set back"]
  }),
  seed("links-followed", "a symbolic link at the lock's place is followed", {
    file: look,
    find: "onSuccess: () => Effect.succeed(foreign(\"a symbolic link\")),",
    replace: "onSuccess: () => read(fs, path),",
    likely: ["guards", "a symbolic link to an empty file"]
  }),
  seed("no-size-limit", "a file of any size is taken for a record that was not written to its end", {
    file: look,
    find: "    if (info.size > Record.maxRecordBytes) {",
    replace: "    if (info.size > 1e9) {",
    also: [{
      file: look,
      find: "    if (bytes.length > Record.maxRecordBytes) {",
      replace: "    if (bytes.length > 1e9) {"
    }],
    likely: ["guards", "larger than any record"]
  }),
  seed("foreign-is-broken", "another tool's file is taken for a record that was not written to its end", {
    file: look,
    find: "    if (!Record.isTorn(text)) {",
    replace: "    if (!Record.isTorn(text) && text === \"\") {",
    likely: ["guards", "another tool's file"]
  }),
  seed("beat-by-path", "a beat is written to whatever is at the path", {
    file: heartbeat,
    find: "      yield* file.writeAll(new TextEncoder().encode(Record.formatBeat(++beats)))",
    replace: "      yield* fs.writeFileString(path, ours.text.replace(\"0000000000\", Record.formatBeat(++beats)))",
    likely: ["guardsLease", "never writes into"]
  }),
  seed("beat-not-compared", "a beat does not look whether its file is still the one at the path", {
    file: heartbeat,
    find: "      if (Option.getOrElse(info.ino, () => -1) !== inode) {",
    replace: "      if (Option.getOrElse(info.ino, () => -1) === -1) {",
    likely: ["guardsLease", "never writes into"]
  }),
  seed("no-beats", "a holder does not beat", {
    file: heartbeat,
    find: "Effect.forever(Effect.zipRight(inTime(beat(opened)), Effect.sleep(interval)))",
    replace: "Effect.zipRight(inTime(beat(opened)), Effect.never)",
    likely: ["FileLock", "in memory keeps a lock for many leases, beating"]
  }),
  seed("late-beat-unclaimed", "a beat that is late is made while somebody may be about to replace the record", {
    file: heartbeat,
    find: "silent > allowed ? beatLate(opened) : beat(opened)",
    replace: "silent > allowed + 1e9 ? beatLate(opened) : beat(opened)",
    likely: ["guardsLease", "declares itself lost"]
  }),
  seed("beat-cut-off", "a beat is cut off when its lock is released, or lost", {
    file: heartbeat,
    find: "turn.withPermits(1)(Effect.uninterruptible(beatOnce(opened)))",
    replace: "turn.withPermits(1)(beatOnce(opened))",
    likely: ["guardsLease", "neither cuts the beat off"]
  }),
  seed("handle-closed-early", "the handle is closed while a beat is still being written through it", {
    file: heartbeat,
    find: "Effect.forkDaemon(turn.withPermits(1)(Scope.close(scope, exit)))",
    replace: "Effect.forkDaemon(Scope.close(scope, exit))",
    likely: ["guardsLease", "neither cuts the beat off"]
  }),
  seed("no-deadline", "a holder that cannot beat goes on as long as it likes", {
    file: heartbeat,
    find: "Effect.timeoutFail({ duration: limit(silent), onTimeout: () => expired })",
    replace: "Effect.timeoutFail({ duration: \"1 hour\", onTimeout: () => expired })",
    likely: ["guardsLease", "before anybody else can have the lock"]
  }),
  seed(
    "verify-late-unclaimed",
    "after a pause, verify believes the record although somebody may be about to replace it",
    {
      file: heartbeat,
      find: "    silent <= allowed\n",
      replace: "    silent <= allowed + 1e9\n",
      likely: ["guardsLease", "is not told by verify"]
    }
  ),
  seed("break-any", "breaking a lock removes whoever holds it now", {
    file: engine,
    find: "if (look._tag !== \"Recorded\" || look.holder.token !== token) {",
    replace: "if (look._tag !== \"Recorded\") {",
    likely: ["FileLock", "in memory tells who holds a lock, and breaks exactly that claim"]
  }),
  seed("break-at-once", "a living owner whose lock is broken while it releases removes a successor's", {
    file: engine,
    find: "Effect.sleep(isDead ? Duration.zero : Judge.publishDoubt)",
    replace: "Effect.sleep(Duration.zero)",
    likely: ["guards", "removes no successor's record when its lock is broken"]
  }),
  seed("dead-owner-unnoticed", "waiters do not probe whether the owner is dead", {
    file: engine,
    find: "hints ??= Hints.make({ fs, probe, contest, ring })",
    replace: "hints ??= Hints.make({ fs, probe: { register: () => Effect.void, hurry: Effect.void }, contest, ring })",
    likely: ["guards", "begins as soon as the owner is dead"]
  })
]
