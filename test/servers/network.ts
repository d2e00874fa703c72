/**
 * A way from a program to a server on this machine that can be cut as a cable is: a network namespace at the end of a veth pair where such
 * a one may be made, and a connection through this process elsewhere.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import * as Link from "./link.js"

/** The way to one server. */
export interface Way {
  readonly host: string
  readonly port: number
  /** Nothing gets through any more, and nobody is told. */
  readonly cut: () => void
  readonly mend: () => void
}

/** Where a program starts from. */
export interface Network {
  /** What it is made of. */
  readonly kind: "namespace" | "process"
  /** The addresses, beside loopback, that a server has to listen to. */
  readonly addresses: ReadonlyArray<string>
  /** Put before the program's command. */
  readonly prefix: ReadonlyArray<string>
  readonly wayTo: (port: number) => Effect.Effect<Way, never, Scope.Scope>
}

const ip = (...args: ReadonlyArray<string>): boolean =>
  ChildProcess.spawnSync("ip", args, { stdio: "ignore" }).status === 0

/** One that goes with the scope. */
export const make: Effect.Effect<Network, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const id = process.pid % 0xffff
      const name = `filelock-${id}`
      const near = `fl${id}`
      const subnet = `10.203.${id >> 8}.${(id & 0x3f) << 2}`.split(".")
      const at = (host: number) => [...subnet.slice(0, 3), String(Number(subnet[3]) + host)].join(".")
      const isMade = ip("netns", "add", name) &&
        ip("link", "add", near, "type", "veth", "peer", "name", "far", "netns", name) &&
        ip("address", "add", `${at(1)}/30`, "dev", near) && ip("link", "set", near, "up") &&
        ip("-n", name, "address", "add", `${at(2)}/30`, "dev", "far") && ip("-n", name, "link", "set", "far", "up")
      return { name, near, address: at(1), isMade }
    }),
    ({ name, near }) =>
      Effect.sync(() => {
        ip("link", "delete", near)
        ip("netns", "delete", name)
      })
  ),
  ({ address, isMade, name }): Network =>
    isMade
      ? {
        kind: "namespace",
        addresses: [address],
        prefix: ["ip", "netns", "exec", name],
        wayTo: (port) =>
          Effect.succeed({
            host: address,
            port,
            // The other end: a server that listens to this one must not lose its address.
            cut: () => void ip("-n", name, "link", "set", "far", "down"),
            mend: () => void ip("-n", name, "link", "set", "far", "up")
          })
      }
      : {
        kind: "process",
        addresses: [],
        prefix: [],
        wayTo: (port) => Effect.map(Link.make(port), (link) => ({ ...link, host: "127.0.0.1" }))
      }
)
