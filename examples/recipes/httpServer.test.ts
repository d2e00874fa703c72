import { FileSystem, HttpClient, HttpClientRequest, HttpRouter } from "@effect/platform"
import { HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import { FileLock, LockedFile, NodeFileLock } from "effect-filelock"

const Notes = LockedFile.json(Schema.Array(Schema.String))

/** Several servers may serve one file. A request waits for its lock for at most 1 second. */
const app = (file: string) =>
  HttpRouter.empty.pipe(
    HttpRouter.get(
      "/notes",
      Effect.flatMap(Notes.read(file, { timeout: "1 second" }), (notes) => HttpServerResponse.json(notes))
    ),
    HttpRouter.post(
      "/notes",
      Effect.gen(function*() {
        const note = yield* (yield* HttpServerRequest.HttpServerRequest).text
        yield* Notes.update(file, (notes) => [...Option.getOrElse(notes, () => []), note], { timeout: "1 second" })
        return HttpServerResponse.empty({ status: 201 })
      })
    ),
    HttpRouter.catchTag("LockAcquisitionError", (error) =>
      Effect.as(
        Effect.logWarning(error.message),
        HttpServerResponse.text("busy", { status: 503, headers: { "retry-after": "1" } })
      ))
  )

it.scopedLive("no note of simultaneous requests is lost, and a locked file is no server error", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped()}/notes.json`
    yield* HttpServer.serveEffect(app(file))
    const client = yield* HttpClient.HttpClient
    const post = (note: string) =>
      Effect.map(client.execute(HttpClientRequest.bodyText(HttpClientRequest.post("/notes"), note)), (_) => _.status)

    const notes = Array.from({ length: 20 }, (_, index) => `note ${index}`)
    const statuses = yield* Effect.forEach(notes, post, { concurrency: "unbounded" })
    assert.deepStrictEqual(new Set(statuses), new Set([201]))
    assert.sameMembers((yield* (yield* client.get("/notes")).json) as Array<unknown>, notes)

    assert.strictEqual(yield* FileLock.withLock(post("one too many"), file), 503)
  }).pipe(Effect.provide(Layer.merge(NodeHttpServer.layerTest, NodeFileLock.layer))))
