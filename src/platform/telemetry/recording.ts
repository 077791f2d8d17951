/** The spans of one request that is recorded. They are plain objects until the request has ended: nothing of them leaves before. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { systemClock } from '../lib/clock.ts'
import { Problem } from '../lib/errors.ts'
import { newSpanId, type TraceContext } from '../request/trace-context.ts'

export type SpanKind = 'server' | 'client' | 'internal'
export type Attributes = Record<string, string | number>

export interface Span {
  name: string
  readonly kind: SpanKind
  /** 16 hexadecimal digits. */
  readonly id: string
  /** Null: the first span of its trace. */
  readonly parentId: string | null
  /** By the steady clock, like `endedAt`. Milliseconds. */
  readonly startedAt: number
  /** Null: it goes on. */
  endedAt: number | null
  readonly attributes: Attributes
  /** The code of an error, a status or the kind of a failure. */
  errorType: string | null
  /** The error is the gateway's, or a server's behind it. */
  isFailed: boolean
}

export interface Recording {
  readonly trace: TraceContext
  /** Of the whole request. Its name comes with its end. */
  readonly server: Span
  /** All spans but `server`. */
  readonly spans: Span[]
  /** The stage that answers the request, or the last stage that has begun. Null before the first. */
  stage: Span | null
  /** The request to the upstream that is under way. */
  sending: Span | null
  /** Set when the request has ended. */
  isFinished: boolean
  /** Takes the recording of a request that has ended. */
  readonly deliver: (finished: Recording) => void
}

/** A request with more parts has no spans for the rest, so that one request cannot fill the queue. */
const MAX_SPANS = 256

/** @param attributes of the span of the request */
export function newRecording(trace: TraceContext, startedAt: number, attributes: Attributes, deliver: Recording['deliver']): Recording {
  const { spanId, parentSpanId } = trace
  const server = spanOf('request', 'server', spanId, parentSpanId, startedAt, { ...attributes })
  return { trace, server, spans: [], stage: null, sending: null, isFinished: false, deliver }
}

const spanOf = (name: string, kind: SpanKind, id: string, parentId: string | null, startedAt: number, attributes: Attributes): Span => ({
  name,
  kind,
  id,
  parentId,
  startedAt,
  endedAt: null,
  attributes,
  errorType: null,
  isFailed: false,
})

/** @param startedAt default: now */
export function beginSpan(
  recording: Recording,
  name: string,
  kind: SpanKind,
  parent: Span,
  attributes: Attributes = {},
  startedAt = systemClock.steady(),
): Span {
  const span = spanOf(name, kind, newSpanId(), parent.id, startedAt, attributes)
  if (!recording.isFinished && recording.spans.length < MAX_SPANS) recording.spans.push(span)
  return span
}

/** Only the first call counts. */
export function endSpan(span: Span, error?: unknown): void {
  if (span.endedAt !== null) return
  span.endedAt = systemClock.steady()
  if (error !== undefined) fail(span, error)
}

/** A refusal is an error of the client: its code is named, and nothing has failed. The text of an error may hold anything. */
export function fail(span: Span, error: unknown): void {
  span.errorType = error instanceof Problem ? error.code : 'internal'
  span.isFailed = !(error instanceof Problem) || error.status >= 500
}

/** Spans that still go on end here. Only the first call counts. */
export function finishRecording(recording: Recording): void {
  if (recording.isFinished) return
  recording.isFinished = true
  const now = systemClock.steady()
  recording.server.endedAt ??= now
  for (const span of recording.spans) span.endedAt ??= now
  recording.deliver(recording)
}

interface Active {
  recording: Recording
  span: Span
}

/** What runs for a recorded request. For other requests nothing runs in it, so that it costs them nothing. */
const active = new AsyncLocalStorage<Active>()

/** Calls `run`. What it starts and awaits belongs to the span. */
export const runInSpan = <T>(recording: Recording, span: Span, run: () => T): T => active.run({ recording, span }, run)

/** Records work that has just ended, if it was for a recorded request. */
export function recordEnded(name: string, attributes: Attributes, seconds: number, error?: unknown): void {
  const current = active.getStore()
  if (current === undefined || current.recording.isFinished) return
  endSpan(beginSpan(current.recording, name, 'client', current.span, attributes, systemClock.steady() - seconds * 1000), error)
}

/** Records how long `work` takes, if it is for a recorded request. Otherwise it only calls `work`. */
export function recorded<T>(name: string, kind: SpanKind, attributes: Attributes, work: () => Promise<T>): Promise<T> {
  const current = active.getStore()
  if (current === undefined || current.recording.isFinished) return work()
  return withSpan(beginSpan(current.recording, name, kind, current.span, attributes), work)
}

async function withSpan<T>(span: Span, work: () => Promise<T>): Promise<T> {
  try {
    const result = await work()
    endSpan(span)
    return result
  } catch (error) {
    endSpan(span, error)
    throw error
  }
}
