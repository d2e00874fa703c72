import { type Mutant, seed } from "./Mutant.js"

/** Bugs in who is alive. */
export const processMutants: ReadonlyArray<Mutant> = [
  seed("pid-reuse", "a process that got a dead one's id counts as that one", {
    file: "internal/process/node.ts",
    find: "if (stat.startTime !== other.startTime) {",
    replace: "if (stat.startTime === \"\") {",
    likely: ["ProcessIdentity", "knows that a process id is used by somebody else now"],
    important: true
  }),
  seed("zombies-live", "a zombie counts as alive", {
    file: "internal/process/node.ts",
    find: "return isZombie(stat) && !anyThreadLives(other.pid) ? \"dead\" : \"alive\"",
    replace: "return \"alive\"",
    likely: ["ProcessIdentity", "takes a zombie for dead"]
  }),
  seed("registry-per-layer", "every copy of the package has a registry of its own", {
    file: "internal/process/node.ts",
    find: "return holder[RealmKey] ??= makeRealm()",
    replace: "return makeRealm()",
    likely: ["guardsService", "one registry for all copies"]
  }),
  seed("boot-ignored", "who lived before a reboot, or on another machine, is looked for in our process table", {
    file: "internal/process/tokens.ts",
    find: "claim.bootId !== info.bootId || claim.pidNamespace",
    replace: "claim.pidNamespace",
    likely: ["ProcessIdentity", "cannot check another boot"]
  }),
  seed("namespace-ignored", "a process of another container is looked for in our process table", {
    file: "internal/process/tokens.ts",
    find: "claim.bootId !== info.bootId || claim.pidNamespace !== info.pidNamespace ||",
    replace: "claim.bootId !== info.bootId ||",
    likely: ["ProcessIdentity", "cannot check another boot"]
  }),
  seed("time-namespace-ignored", "start times are compared across time namespaces", {
    file: "internal/process/tokens.ts",
    find: "return claim.timeNamespace === info.timeNamespace ? inProcessTable(claim) : \"unknown\"",
    replace: "return inProcessTable(claim)",
    likely: ["ProcessIdentity", "does not check start times across time namespaces"]
  }),
  seed("threads-are-us", "another worker thread of our own process counts as checkable", {
    file: "internal/process/tokens.ts",
    find: "if (claim.pid === info.pid && claim.startTime === info.startTime) {",
    replace: "if (claim.pid === info.pid && claim.startTime === \"\") {",
    likely: ["ProcessIdentity"]
  }),
  seed("retired-tokens-live", "a token that was retired still counts as alive", {
    file: "internal/process/tokens.ts",
    find: "void tokens.live.delete(token)",
    replace: "void token",
    likely: ["ProcessIdentity", "knows its own tokens"]
  })
]
