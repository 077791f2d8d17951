/**
 * The gate before every request: while this process is busy, it refuses requests before any work. A refusal costs a small part of a request:
 * it has no exchange, no hooks and no log line of its own. Otherwise a process that refuses many requests would have no time for the others.
 */
import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Config } from '../../platform/config/schema.ts'
import { oauthError } from '../../platform/http/oauth-error.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem, problemBody } from '../../platform/lib/errors.ts'
import { isLingering, linger } from '../../platform/request/drain.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { type Metrics, methodLabel } from '../../platform/telemetry/metrics.ts'
import { createAdmission, type ShedReason } from './admission.ts'
import { createLoopWatch } from './loop-watch.ts'
import { createClassify } from './priority.ts'

export interface Gate {
  /** @returns true when the request was refused, and answered */
  refuses(req: IncomingMessage, res: ServerResponse): boolean
  stop(): void
}

export interface GateDeps {
  config: Pick<Config, 'server' | 'auth'>
  clock: Pick<Clock, 'now'>
  /** Of this machine, also where a test moves the time: it measures how late the loop is. */
  steady: Pick<Clock, 'steady'>
  logger: Logger
  metrics: Pick<Metrics, 'shed' | 'requests' | 'errors'>
  /** Requests in flight, without streams. */
  inFlight(): number
  /** The credential was proven before, and is remembered. */
  isKnown(headers: IncomingHttpHeaders): boolean
  /** Fields of every refusal: lower-case name, value … */
  fields(): readonly string[]
  random?: () => number
}

/** Clients that were refused together must not come back together. Seconds. */
const RETRY_AFTER = [1, 5] as const
/** A longer rest of a body is not read: the connection is closed. */
const MAX_UNREAD_BYTES = 65_536
const LOG_MS = 10_000

export function createGate({ config, clock, steady, logger, metrics, inFlight, isKnown, fields, random = Math.random }: GateDeps): Gate {
  const { maxInFlight, maxLoopDelayMs } = config.server.overload
  const { prefix } = config.auth
  const loop = createLoopWatch({ clock: steady, maxDelayMs: maxLoopDelayMs })
  const classify = createClassify(prefix, isKnown)
  let loginsInFlight = 0
  const admission = createAdmission({
    maxInFlight,
    inFlight,
    loginsInFlight: () => loginsInFlight,
    loopLevel: loop.level,
    heapLevel: () => 0,
  })
  const report = createReport(logger, steady)
  const overloaded = problem('overloaded')
  const oauthBody = JSON.stringify(oauthError(overloaded, prefix).body)
  const oauthPaths = ['/token', '/introspect', '/revoke'].map((path) => prefix + path)

  let timer = setTimeout(tick, loop.tick()).unref()
  function tick(): void {
    timer = setTimeout(tick, loop.tick()).unref()
    report.tick()
  }

  function countLogin(res: ServerResponse): void {
    loginsInFlight++
    res.once('close', () => loginsInFlight--)
  }

  function count(reason: ShedReason, method: string): void {
    metrics.shed.inc({ reason })
    metrics.requests.bind({ method: methodLabel(method), route: 'none', status: '503' }).count++
    metrics.errors.inc({ code: 'overloaded', route: 'none' })
    report.refused(reason)
  }

  function refuse(req: IncomingMessage, res: ServerResponse): void {
    const requestId = randomUUID()
    const isOAuth = oauthPaths.includes(req.url!)
    const body = isOAuth ? oauthBody : JSON.stringify(problemBody(overloaded, requestId, clock.now(), prefix))
    const [least, most] = RETRY_AFTER
    const head = [
      ...fields(),
      'content-type',
      isOAuth ? 'application/json' : 'application/problem+json',
      'content-length',
      String(Buffer.byteLength(body)),
      'retry-after',
      String(least + Math.floor(random() * (most - least + 1))),
      'cache-control',
      'no-store',
      'x-content-type-options',
      'nosniff',
      'x-request-id',
      requestId,
    ]
    if (!canGoOn(req)) {
      head.push('connection', 'close')
      // the rest of the body must not be read as a request (RFC 9112 §9.6)
      linger(req.socket)
    }
    res.writeHead(503, overloaded.title, head)
    res.end(body)
  }

  return {
    refuses(req, res) {
      if (!admission.isBusy()) return false
      // a connection after a refused body: its bytes are no requests
      if (isLingering(req.socket)) return false
      const priority = classify(req.url ?? '', req.headers)
      const reason = admission.judge(priority)
      if (reason === null) {
        if (priority === 'login') countLogin(res)
        return false
      }
      count(reason, req.method ?? '')
      refuse(req, res)
      return true
    },
    stop: () => clearTimeout(timer),
  }
}

/** Node reads and drops a short rest of the body after the response. */
function canGoOn({ complete, headers }: IncomingMessage): boolean {
  if (headers.upgrade !== undefined || headers.expect !== undefined) return false
  if (complete) return true
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) <= MAX_UNREAD_BYTES
}

/** One line when the refusals begin, one every ten seconds, and one after the last: never one for each. */
function createReport(logger: Logger, clock: Pick<Clock, 'steady'>): { refused(reason: ShedReason): void; tick(): void } {
  let refused = 0
  let total = 0
  let reasonOfAll: ShedReason | null = null
  let loggedAt = 0
  return {
    refused(reason) {
      refused++
      total++
      if (reasonOfAll !== null) return
      reasonOfAll = reason
      loggedAt = clock.steady()
      logger.warn({ reason: 'overloaded', shed: reason }, 'this process is busy: it refuses requests with 503')
    },
    tick() {
      if (reasonOfAll === null || clock.steady() - loggedAt < LOG_MS) return
      loggedAt = clock.steady()
      if (refused > 0) logger.warn({ reason: 'overloaded', shed: reasonOfAll, requests: total }, 'this process is still busy')
      else {
        logger.info({ reason: 'overloaded', shed: reasonOfAll, requests: total }, 'this process refuses no more requests')
        reasonOfAll = null
        total = 0
      }
      refused = 0
    },
  }
}
