import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import { assert, it } from "@effect/vitest"
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  PeriodicExportingMetricReader
} from "@opentelemetry/sdk-metrics"
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
import { Effect, Layer } from "effect"
import { FileLock, NodeFileLock } from "effect-filelock"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

const report = Effect.log("the report is written").pipe(Effect.withSpan("report"))

it.scopedLive("a program's locks are in its traces and metrics", () =>
  Effect.gen(function*() {
    const path = Path.join(Fs.mkdtempSync(Path.join(Os.tmpdir(), "locks-")), "report")
    // In a program: OTLPTraceExporter and OTLPMetricExporter of @opentelemetry/exporter-*-otlp-http.
    const spans = new InMemorySpanExporter()
    const metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
    const metricReader = new PeriodicExportingMetricReader({ exporter: metrics })
    const sdk = NodeSdk.layer(() => ({
      resource: { serviceName: "reports" },
      spanProcessor: new SimpleSpanProcessor(spans),
      metricReader
    }))

    yield* Effect.gen(function*() {
      yield* FileLock.withLock(report, path)
      const names = spans.getFinishedSpans().map(({ name }) => name)
      assert.deepStrictEqual(names, ["FileLock.acquire", "report", "FileLock.hold"])
      yield* Effect.promise(() => metricReader.forceFlush())
      const exported = metrics.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics)
        .flatMap(({ metrics }) => metrics.map(({ descriptor }) => descriptor.name))
      assert.include(exported, "effect_filelock_acquisitions_total")
    }).pipe(
      // Each label is a dimension of the metrics.
      Effect.tagMetrics("queue", "nightly"),
      Effect.provide(Layer.merge(NodeFileLock.layer, sdk))
    )
  }))
