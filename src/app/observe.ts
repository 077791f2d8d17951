/** Writes one log line and counts one request in the metrics for each request. Keeps the last errors for the admin API. */

import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Config } from '../platform/config/schema.ts'
import type { RefusalObserver } from '../platform/http/refuse.ts'
import { type Clock, systemClock } from '../platform/lib/clock.ts'
import { causeText, type Problem, problem } from '../platform/lib/errors.ts'
import { memoize } from '../platform/lib/memoize.ts'
import { visibleText } from '../platform/lib/visible-text.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import { createLineWriter, type Logger } from '../platform/telemetry/logger.ts'
import { type Metrics, methodLabel } from '../platform/telemetry/metrics.ts'
import { finishRequestRecording } from '../proxy/forward/record-request.ts'
import type { Exchange } from '../proxy/routing/exchange.ts'

export interface Observer extends RefusalObserver {
  /** Observes one request to its end. */
  begin(exchange: Exchange, req: IncomingMessage, res: ServerResponse): void
  /** Requests that have begun and not ended, with streams. */
  inFlight(): number
  /** Newest first. */
  lastErrors(): ErrorRecord[]
  /** What is logged from now on. */
  logBy(config: Config['log']): void
}

export interface ObserverDeps {
  config: Config['log']
  clock: Clock
  logger: Logger
  metrics: Metrics
  random?: () => number
}

const KEPT_ERRORS = 100
/** In the order of arrival: many share one millisecond. */
type Kept = ErrorRecord & { sequence: number }
/** nginx's status for a client that left before its response. */
const CLIENT_CLOSED = 499

export function createObserver({ config: first, clock, logger, metrics, random = Math.random }: ObserverDeps): Observer {
  let config = first
  let skipped = new Set(config.skip)
  const writeLine = createLineWriter(logger)
  // two lists, so that a flood of 401s does not push out a 502
  const kept: { server: Kept[]; client: Kept[] } = { server: [], client: [] }
  let sequence = 0
  let inFlight = 0
  metrics.inFlight.collectFrom(() => inFlight)

  /** Looked up by name, because hashing all labels would cost more. */
  const seriesOf = memoize((route: string) => ({
    overhead: metrics.overheadSeconds.bind({ route }),
    ownFailures: metrics.ownFailures.bind({ route }),
    ofDecision: memoize((decision: 'allowed' | 'refused') => metrics.verifications.bind({ route, decision })),
    ofMethod: memoize((method: string) => ({
      seconds: metrics.requestSeconds.bind({ route, method }),
      ofStatus: memoize((status: number) => metrics.requests.bind({ method, route, status: String(status) })),
    })),
  }))
  function count({ label, upstream, startedAt, asked, error, trace }: Exchange, method: string, status: number, seconds: number): void {
    const series = seriesOf(label)
    const ofMethod = series.ofMethod(method)
    ofMethod.ofStatus(status).count++
    const kept = trace.isSampled ? trace : null
    ofMethod.seconds.observe(seconds, kept)
    if (asked) series.ofDecision(asked.isAllowed ? 'allowed' : 'refused').count++
    if (error && status >= 500 && isOwnFailure(error)) series.ownFailures.count++
    if (upstream) series.overhead.observe((upstream.askedAt - startedAt) / 1000, kept)
  }

  function keep(record: ErrorRecord): void {
    const ring = record.status >= 500 ? kept.server : kept.client
    ring.push({ ...record, sequence: sequence++ })
    if (ring.length > KEPT_ERRORS) ring.shift()
  }

  function end(exchange: Exchange, req: IncomingMessage, res: ServerResponse): void {
    inFlight--
    const isComplete = res.writableFinished || res.statusCode === 101
    const status = res.headersSent || res.statusCode === 101 ? res.statusCode : CLIENT_CLOSED
    const seconds = (systemClock.steady() - exchange.startedAt) / 1000
    const method = methodLabel(req.method ?? '')
    const route = exchange.label
    count(exchange, method, status, seconds)
    const { error } = exchange
    if (error) {
      metrics.errors.inc({ code: error.code, route })
      keep({
        timestamp: new Date(clock.now()).toISOString(),
        request_id: exchange.requestId,
        code: error.code,
        status: error.status,
        route,
        method,
        cause: visibleText(error.cause === undefined ? error.message : causeText(error.cause)),
      })
    }
    write(exchange, method, status, seconds, isComplete)
    if (exchange.recording) finishRequestRecording(exchange, { method, version: req.httpVersion, status, isComplete })
  }

  function write(exchange: Exchange, method: string, status: number, seconds: number, isComplete: boolean): void {
    const { error, upstream, principal, client, target, asked } = exchange
    const isFailure = status >= 400 || !isComplete
    if (!isFailure && (skipped.has(target?.path ?? '') || (config.sample < 1 && random() >= config.sample))) return
    const outcome = error && (isComplete || status === CLIENT_CLOSED) ? error.code : isComplete ? 'ok' : 'broken_off'
    const who = principal ? `,"user":${quote(principal.id)},"session":${quote(principal.sessionId)}` : ''
    const kind = asked ? ',"kind":"verify"' : ''
    const where = upstream ? `,"upstream":${quote(upstream.origin)}` : ''
    // a path may hold personal data, so that it is logged only where it is asked for
    const what = config.path && target && error?.code === 'route_not_found' ? `,"path":${quoteVisible(target.path)}` : ''
    const why = error?.cause === undefined ? '' : `,"cause":${quoteVisible(causeText(error.cause))}`
    writeLine(
      status >= 500 ? 'error' : 'info',
      `"request_id":"${exchange.requestId}","trace_id":"${exchange.trace.traceId}","method":"${method}"${kind},"route":${quote(exchange.label)},"status":${status},` +
        `"ms":${Math.round(seconds * 10_000) / 10},"ip":${quote(client.address)}${who},"outcome":"${outcome}"${what}${where}${why},"msg":"request"`,
    )
  }

  return {
    begin(exchange, req, res) {
      inFlight++
      let isOver = false
      const over = () => {
        if (isOver) return
        isOver = true
        if (isBehindAnother) req.socket.off('close', over)
        end(exchange, req, res)
        exchange.onClosed?.()
      }
      res.on('close', over)
      // a response that waits behind another on its connection may never emit its end
      const isBehindAnother = !res.socket
      if (isBehindAnother) req.socket.on('close', over)
    },
    refused(code) {
      const requestId = randomUUID()
      const { status } = problem(code)
      metrics.requests.bind({ method: 'OTHER', route: 'none', status: String(status) }).count++
      metrics.errors.inc({ code, route: 'none' })
      logger.info({ request_id: requestId, route: 'none', status, outcome: code }, 'request')
      return requestId
    },
    logBy(next) {
      config = next
      skipped = new Set(next.skip)
    },
    inFlight: () => inFlight,
    lastErrors() {
      const { server, client } = kept
      const room = KEPT_ERRORS - server.length
      const shown = [...server, ...(room > 0 ? client.slice(-room) : [])]
      return shown.sort((a, b) => b.sequence - a.sequence).map(({ sequence: _, ...record }) => record)
    },
  }
}

/** Wrong credentials, limits, other issuers and upstreams are not failures of the gateway. */
const isOwnFailure = ({ code, isOfUpstream }: Problem): boolean =>
  !isOfUpstream && (code === 'internal' || code === 'unavailable' || code === 'overloaded')

/** For ids, addresses and names of the configuration: they hold no text from outside. */
const quote = (text: string): string => JSON.stringify(text)
const quoteVisible = (text: string): string => quote(visibleText(text))

/** Merges the records of several processes: as many as one process keeps, newest first. Client errors never push out server errors. */
export function newestErrors(records: ErrorRecord[]): ErrorRecord[] {
  const newest = records.toSorted((a, b) => b.timestamp.localeCompare(a.timestamp))
  const server = newest.filter(({ status }) => status >= 500).slice(0, KEPT_ERRORS)
  const client = newest.filter(({ status }) => status < 500).slice(0, KEPT_ERRORS - server.length)
  const shown = new Set([...server, ...client])
  return newest.filter((record) => shown.has(record))
}
