/** Delivers spans to an OpenTelemetry collector, in batches. A collector that is away costs spans, and never a request. */

import { randomUUID } from 'node:crypto'
import {
  createTraceState,
  type HrTime,
  SpanKind as Kind,
  ROOT_CONTEXT,
  type SpanContext,
  SpanStatusCode,
  TraceFlags,
} from '@opentelemetry/api'
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  type ReadableSpan,
  type Sampler,
  SamplingDecision,
  type SpanExporter,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace'
import type { SamplerName, TracingSettings } from '../config/tracing-variables.ts'
import { systemClock } from '../lib/clock.ts'
import { VERSION } from '../lib/version.ts'
import type { Logger } from './logger.ts'
import type { Metrics } from './metrics.ts'
import type { Recording, Span, SpanKind } from './recording.ts'

export interface SpanExport {
  /** Whether a trace without a decision is recorded. */
  isChosen(traceId: string): boolean
  deliver(finished: Recording): void
  close(): Promise<void>
}

interface Deps {
  logger: Logger
  metrics: Pick<Metrics, 'spansExported' | 'spansDropped'>
}

/** A stop waits no longer for the collector. */
const CLOSE_MS = 2000

export function openSpanExport(settings: TracingSettings, { logger, metrics }: Deps): SpanExport {
  const { maxQueue, maxBatch, delayMs, exportTimeoutMs } = settings
  /** Spans that wait for a delivery. The processor drops without a word what exceeds its queue, so that nothing may exceed it. */
  let waiting = 0
  const report = reportOf(logger)

  function drop(reason: 'queue' | 'export', count: number, cause: string): void {
    metrics.spansDropped.inc({ reason }, count)
    report.dropped(count, cause)
  }

  const exporter = exporterOf(settings)
  const counting: SpanExporter = {
    export(spans, done) {
      waiting -= spans.length
      exporter.export(spans, (result) => {
        if (result.error === undefined && result.code === SUCCESS) {
          metrics.spansExported.inc(spans.length)
          report.delivered()
        } else drop('export', spans.length, causeOf(result.error))
        done(result)
      })
    },
    forceFlush: async () => exporter.forceFlush?.(),
    shutdown: () => exporter.shutdown(),
  }
  const processor = new BatchSpanProcessor({
    exporter: counting,
    maxQueueSize: maxQueue,
    maxExportBatchSize: maxBatch,
    scheduledDelayMillis: delayMs,
    exportTimeoutMillis: exportTimeoutMs,
  })
  const sampler = samplerOf(settings)
  const readable = readableOf(settings)

  return {
    isChosen: (traceId) => sampler.shouldSample(ROOT_CONTEXT, traceId, '', Kind.SERVER, {}, []).decision !== SamplingDecision.NOT_RECORD,
    deliver(finished) {
      const spans = readable(finished)
      // a trace with holes is worth less than none
      if (waiting + spans.length > maxQueue) return drop('queue', spans.length, 'the queue is full')
      waiting += spans.length
      for (const span of spans) processor.onEnd(span)
    },
    async close() {
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, CLOSE_MS)
      })
      // a failure was counted, and logged, where the exporter reported it
      await Promise.race([processor.shutdown().catch(() => undefined), late])
      clearTimeout(timer)
    },
  }
}

/** `ExportResultCode.SUCCESS` of a package that this one does not depend on. */
const SUCCESS = 0

/** The text of an answer may hold anything, and the address may hold a password: neither is in the log. */
function causeOf(error: (Error & { code?: unknown }) | undefined): string {
  if (typeof error?.code === 'number') return `the collector answered ${error.code}`
  return typeof error?.code === 'string' ? error.code : 'the collector did not take them in time'
}

/** One line when spans begin to be dropped, and one when they are delivered again; at most one such pair a minute. */
function reportOf(logger: Logger) {
  let dropped = 0
  let isReported = false
  let nextAt = Number.NEGATIVE_INFINITY
  return {
    dropped(count: number, cause: string) {
      dropped += count
      const now = systemClock.steady()
      if (isReported || now < nextAt) return
      isReported = true
      nextAt = now + REPORT_MS
      logger.warn({ reason: 'spans_dropped', cause }, 'spans were dropped: requests do not wait for the collector of traces')
    },
    delivered() {
      if (isReported) logger.info({ dropped }, 'spans are delivered again')
      isReported = false
      dropped = 0
    },
  }
}
const REPORT_MS = 60_000

function exporterOf({ url, protocol, headers, timeoutMs, compression, ca, cert, key }: TracingSettings): SpanExporter {
  const Exporter = protocol === 'http/json' ? JsonExporter : ProtobufExporter
  return new Exporter({
    url,
    headers,
    timeoutMillis: timeoutMs,
    // the enum of a package that this one does not depend on
    compression: compression as never,
    httpAgentOptions: { keepAlive: true, ...(ca !== undefined && { ca }), ...(cert !== undefined && { cert, key: key! }) },
  })
}

/** Of a trace without a decision of a trusted proxy. */
function samplerOf({ sampler, ratio }: Pick<TracingSettings, 'sampler' | 'ratio'>): Sampler {
  switch (sampler.replace('parentbased_', '') as Exclude<SamplerName, `parentbased_${string}`>) {
    case 'always_on':
      return new AlwaysOnSampler()
    case 'always_off':
      return new AlwaysOffSampler()
    case 'traceidratio':
      return new TraceIdRatioBasedSampler(ratio)
  }
}

const KINDS: Record<SpanKind, Kind> = { server: Kind.SERVER, client: Kind.CLIENT, internal: Kind.INTERNAL }

/** @returns turns the spans of a request into those of OpenTelemetry */
function readableOf({ serviceName, resourceAttributes }: TracingSettings): (finished: Recording) => ReadableSpan[] {
  const instance = { 'service.instance.id': randomUUID(), 'service.version': VERSION, 'process.pid': process.pid }
  const resource = defaultResource().merge(resourceFromAttributes({ ...instance, ...resourceAttributes, 'service.name': serviceName }))
  const instrumentationScope = { name: 'portcullis', version: VERSION }

  return ({ trace, server, spans }) => {
    const { traceId, state } = trace
    // one measure for all spans of a request, so that their order stays
    const offset = systemClock.now() - systemClock.steady()
    const contextOf = (spanId: string): SpanContext => ({
      traceId,
      spanId,
      traceFlags: TraceFlags.SAMPLED,
      ...(state !== '' && { traceState: createTraceState(state) }),
    })

    const toReadable = (span: Span): ReadableSpan => {
      const endedAt = span.endedAt!
      const context = contextOf(span.id)
      return {
        name: span.name,
        kind: KINDS[span.kind],
        spanContext: () => context,
        ...(span.parentId !== null && { parentSpanContext: { ...contextOf(span.parentId), isRemote: span === server } }),
        startTime: timeOf(span.startedAt + offset),
        endTime: timeOf(endedAt + offset),
        duration: timeOf(endedAt - span.startedAt),
        ended: true,
        status: span.isFailed ? { code: SpanStatusCode.ERROR, message: span.errorType! } : { code: SpanStatusCode.UNSET },
        attributes: span.errorType === null ? span.attributes : { ...span.attributes, 'error.type': span.errorType },
        links: [],
        events: [],
        resource,
        instrumentationScope,
        droppedAttributesCount: 0,
        droppedEventsCount: 0,
        droppedLinksCount: 0,
      }
    }
    return [server, ...spans].map(toReadable)
  }
}

/** @param ms milliseconds, with a fraction @returns seconds and nanoseconds */
function timeOf(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000)
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)]
}
