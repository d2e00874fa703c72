/**
 * A connection through this process that can be cut as a cable is: what is sent goes nowhere, and nobody is told.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"

/** A way to a server on loopback. */
export interface Link {
  readonly port: number
  /** Nothing gets through any more, in either direction. */
  readonly cut: () => void
  /** What was sent meanwhile arrives. */
  readonly mend: () => void
}

/** Makes a way to a port. */
export const make = (to: number): Effect.Effect<Link, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.async<{ readonly server: Net.Server; readonly sockets: Set<Net.Socket> }>((resume) => {
        const sockets = new Set<Net.Socket>()
        const server = Net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (near) => {
          const far = Net.connect({ port: to, host: "127.0.0.1", allowHalfOpen: true })
          for (const [from, into] of [[near, far], [far, near]] as const) {
            sockets.add(from)
            from.on("data", (data) => into.write(data))
            from.on("end", () => into.end())
            from.on("close", () => {
              sockets.delete(from)
              into.destroy()
            })
            from.on("error", () => {})
          }
          if (!isCut.has(server)) near.resume()
          else far.pause()
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets })))
      }),
      ({ server, sockets }) =>
        Effect.sync(() => {
          for (const socket of sockets) socket.destroy()
          server.close()
        })
    ),
    ({ server, sockets }) => {
      const address = server.address()
      return {
        port: typeof address === "object" && address !== null ? address.port : 0,
        cut: () => {
          isCut.add(server)
          for (const socket of sockets) socket.pause()
        },
        mend: () => {
          isCut.delete(server)
          for (const socket of sockets) socket.resume()
        }
      }
    }
  )

const isCut = new WeakSet<Net.Server>()
