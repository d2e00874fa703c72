/**
 * What an OpenTelemetry SDK receives of a program that uses locks.
 */
import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import * as Path from "@effect/platform/Path"

import { assert, describe, it } from "@effect/vitest"
import { SpanStatusCode } from "@opentelemetry/api"
import { InMemoryLogRecordExporter, SimpleLogRecordProcessor } from "@opentelemetry/sdk-logs"
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  PeriodicExportingMetricReader
} from "@opentelemetry/sdk-metrics"
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import * as FileLock from "../src/FileLock.js"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"

/** An SDK that keeps what it is told, and the labels by which this program's metrics are known. */
const makeSdk = Effect.sync(() => {
  const spans = new InMemorySpanExporter()
  const metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const logs = new InMemoryLogRecordExporter()
  const metricReader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 })
  const layer = NodeSdk.layer(() => ({
    resource: { serviceName: "locks" },
    spanProcessor: new SimpleSpanProcessor(spans),
    metricReader,
    logRecordProcessor: new SimpleLogRecordProcessor(logs)
  }))
  /** The points of a metric that have the label of the test. */
  const pointsOf = (name: string, program: string) =>
    Effect.promise(async () => {
      metrics.reset()
      await metricReader.forceFlush()
      return metrics.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
        .filter(({ descriptor }) => descriptor.name === name)
        .flatMap(({ dataPoints, descriptor }) => {
          assert.notStrictEqual(descriptor.description, "")
          return dataPoints.filter(({ attributes }) => attributes["program"] === program).map(({ value }) => value)
        })
    })
  return { layer, logs, pointsOf, spans }
})

const locks = Layer.provide(FileLock.layer, Layer.merge(MemoryFileSystem.layer, Path.layer))

/** Does something while another fiber holds a lock. */
const whileHeld = <A, E, R>(path: string, self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const holder = yield* Effect.fork(FileLock.withLock(Effect.sleep("2 seconds"), path))
    yield* TestClock.adjust(0)
    const exit = yield* Effect.exit(self)
    yield* TestClock.adjust("2 seconds")
    yield* Fiber.join(holder)
    return Exit.isSuccess(exit) ? [exit.value] : []
  })

describe("An OpenTelemetry SDK", () => {
  it.scoped("receives the spans of acquisitions and of critical sections, each with its path and outcome", () =>
    Effect.gen(function*() {
      const { layer, spans } = yield* makeSdk
      yield* Effect.gen(function*() {
        yield* Effect.withSpan(FileLock.withLock(Effect.withSpan(Effect.void, "body"), "/tasks.json"), "request")
        yield* Effect.exit(FileLock.withLock(Effect.fail("no"), "/tasks.json"))
        yield* whileHeld("/tasks.json", FileLock.withLock(Effect.void, "/tasks.json", { timeout: 0 }))
        yield* Effect.exit(FileLock.withLock(Effect.void, ""))
        // The exporter forgets them at the end of the SDK.
        const finished = spans.getFinishedSpans()
        const seen = finished.map(({ attributes, name, status }) => [
          name,
          attributes["path"],
          attributes["outcome"],
          status.code === SpanStatusCode.OK
        ])
        assert.deepStrictEqual(seen, [
          ["FileLock.acquire", "/tasks.json", "acquired", true],
          ["body", undefined, undefined, true],
          ["FileLock.hold", "/tasks.json", "succeeded", true],
          ["request", undefined, undefined, true],
          ["FileLock.acquire", "/tasks.json", "acquired", true],
          ["FileLock.hold", "/tasks.json", "failed", false],
          ["FileLock.acquire", "/tasks.json", "acquired", true],
          ["FileLock.acquire", "/tasks.json", "Timeout", false],
          ["FileLock.hold", "/tasks.json", "succeeded", true],
          ["FileLock.acquire", "", "InvalidPath", false]
        ])
        const named = (name: string) => finished.find((span) => span.name === name)
        const idOf = (name: string) => named(name)?.spanContext().spanId
        const parentOf = (name: string) => named(name)?.parentSpanContext?.spanId
        assert.strictEqual(parentOf("FileLock.acquire"), idOf("request"))
        assert.strictEqual(parentOf("FileLock.hold"), idOf("request"))
        assert.strictEqual(parentOf("body"), idOf("FileLock.hold"))
      }).pipe(Effect.provide(Layer.merge(locks, layer)))
    }))

  it.scoped("receives the metrics by their names, with the labels of the program", () =>
    Effect.gen(function*() {
      const { layer, pointsOf } = yield* makeSdk
      yield* Effect.gen(function*() {
        const points = (name: string) => pointsOf(name, "receives metrics")
        yield* FileLock.withLock(Effect.void, "/a")
        const [held] = yield* whileHeld(
          "/a",
          Effect.zipLeft(
            points("effect_filelock_held"),
            Effect.exit(FileLock.withLock(Effect.void, "/a", { timeout: 0 }))
          )
        )
        assert.deepStrictEqual([held, yield* points("effect_filelock_held")], [[1], [0]])
        assert.deepStrictEqual(yield* points("effect_filelock_acquisitions_total"), [2])
        assert.deepStrictEqual(yield* points("effect_filelock_timeouts_total"), [1])
        for (const name of ["effect_filelock_wait_milliseconds", "effect_filelock_hold_milliseconds"]) {
          const [histogram] = yield* points(name)
          assert.deepInclude(histogram, { count: 2 })
        }
      }).pipe(Effect.tagMetrics("program", "receives metrics"), Effect.provide(Layer.merge(locks, layer)))
    }))

  it.scoped("receives the log of a wait, and of its end", () =>
    Effect.gen(function*() {
      const { layer, logs } = yield* makeSdk
      yield* Effect.gen(function*() {
        const holder = yield* Effect.fork(FileLock.withLock(Effect.sleep("2 seconds"), "/a", { label: "holder" }))
        yield* TestClock.adjust(0)
        const waiter = yield* Effect.fork(FileLock.withLock(Effect.void, "/a"))
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.joinAll([holder, waiter])
        const seen = logs.getFinishedLogRecords().map(({ body, severityText }) => `${severityText} ${String(body)}`)
        assert.match(seen[0] ?? "", /^INFO Waiting for \/a\.lock .*"holder"/)
        assert.match(seen[1] ?? "", /^INFO Acquired \/a\.lock after 2s/)
        assert.lengthOf(seen, 2)
      }).pipe(Effect.provide(Layer.merge(locks, layer)))
    }))
})
