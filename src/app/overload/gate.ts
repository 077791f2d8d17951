/**
 * The gate before every request: while this process is busy, it refuses requests before any work. A refusal costs a small part of a request:
 * it has no exchange, no hooks and no log line of its own. Otherwise a process that refuses many requests would have no time for the others.
 */
import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Config } from '../../platform/config/schema.ts'
import { oauthError } from '../../platform/http/oauth-error.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem, problemBody } from '../../platform/lib/errors.ts'
import { HEAP_BYTES } from '../../platform/lib/heap-limit.ts'
import { isLingering, linger } from '../../platform/request/drain.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { type Metrics, methodLabel } from '../../platform/telemetry/metrics.ts'
import { type Admission, createAdmission, type ShedReason } from './admission.ts'
import { createDescriptors, readDescriptors } from './descriptors.ts'
import { createHeapWatch, roomInHeap } from './heap-watch.ts'
import { createLoopWatch } from './loop-watch.ts'
import { createPauses } from './pauses.ts'
import { createClassify, createIsLogin } from './priority.ts'
import { createSlowBodies } from './slow-bodies.ts'
import { whenClosed } from './when-closed.ts'

export interface Gate {
  /** @returns true when the request was refused, and answered */
  refuses(req: IncomingMessage, res: ServerResponse): boolean
  /** The listener is open: the files and the memory of the start are known. @returns how many connections it may accept */
  listening(): number
  /** Judges a connection that was accepted. @param open all connections, with this one */
  acceptance(socket: Socket, open: number): ShedReason | null
  /** Answers a connection that is not served, and closes it. */
  refuseConnection(socket: Socket, reason: ShedReason): void
  /** Each response must close its connection, so that others get a turn. @param open all connections */
  isTight(open: number): boolean
  stop(): void
}

export interface GateDeps {
  config: Pick<Config, 'server' | 'auth' | 'database'>
  clock: Pick<Clock, 'now'>
  /** Of this machine, also where a test moves the time: it measures how late the loop is. */
  steady: Pick<Clock, 'steady'>
  logger: Logger
  metrics: Pick<Metrics, 'shed' | 'requests' | 'errors' | 'ownFailures'>
  /** Requests in flight, without streams. */
  inFlight(): number
  /** The credential was proven before, and is remembered. */
  isKnown(headers: IncomingHttpHeaders): boolean
  /** Fields by which pages of other origins may read a refusal: lower-case name, value … @param req null: nothing of it was read */
  fields(req: IncomingMessage | null): readonly string[]
  random?: () => number
}

/** Clients that were refused together must not come back together. Seconds. */
const RETRY_AFTER = [1, 5] as const
/** A longer rest of a body is not read: the connection is closed. */
const MAX_UNREAD_BYTES = 65_536
/** Descriptors for the admin listener, Redis and files. */
const RESERVED = 24
const EMBEDDED_FILES = 16
/** Connections that are being refused at a time. More are closed without an answer. */
const REFUSED_AT_ONCE = { heap: 500, descriptors: 12 } as const
const TIGHT = 0.75
/** A client reads its refusal within this time. */
const REFUSED_MS = 1000
const LOG_MS = 10_000

/** For the admin listener, the stores and files of one process. */
export const reservedDescriptors = ({ database }: Pick<Config, 'database'>): number =>
  RESERVED + database.poolSize + (database.url === 'embedded' ? EMBEDDED_FILES : 0)

export function createGate({ config, clock, steady, logger, metrics, inFlight, isKnown, fields, random = Math.random }: GateDeps): Gate {
  const { maxInFlight, maxLoopDelayMs } = config.server.overload
  const { prefix } = config.auth
  const loop = createLoopWatch({ clock: steady, maxDelayMs: maxLoopDelayMs })
  const heap = createHeapWatch(HEAP_BYTES)
  const { maxConnections } = config.server
  const reserved = reservedDescriptors(config)
  let descriptors = createDescriptors({ limit: null, used: 0, reserved, maxConnections, maxInFlight })
  let served = maxConnections
  let scarce: 'heap' | 'descriptors' = 'descriptors'
  const isLogin = createIsLogin(prefix)
  const classify = createClassify(isLogin, isKnown)
  const bodies = createSlowBodies(steady)
  let logins = 0
  let admission = admissionFor(Number.POSITIVE_INFINITY)
  const pauses = createPauses(steady)
  const report = createReport(logger, steady)
  const overloaded = problem('overloaded')
  const oauthBody = JSON.stringify(oauthError(overloaded, prefix).body)
  const oauthPaths = ['/token', '/introspect', '/revoke'].map((path) => prefix + path)

  let timer = setTimeout(tick, loop.tick()).unref()
  function tick(): void {
    timer = setTimeout(tick, loop.tick()).unref()
    heap.tick()
    descriptors.tick()
    bodies.tick()
    pauses.tick(loop.level() > 0)
    report.tick()
  }

  function admissionFor(mostInHeap: number): Admission {
    return createAdmission({
      maxInFlight,
      mostInHeap,
      inFlight: () => inFlight() - bodies.count(),
      loginsInFlight: () => logins - bodies.logins(),
      loopLevel: loop.level,
      heapLevel: heap.level,
      isDescriptorScarce: () => descriptors.isScarce(),
    })
  }

  /** For each request that may begin: without a body, and apart from logins, it costs two or three look-ups. */
  function begin(req: IncomingMessage, res: ServerResponse): false {
    const isOneLogin = isLogin(req.url!)
    if (isOneLogin) {
      logins++
      whenClosed(req, res, () => logins--)
    }
    // the body of an upgrade belongs to the stream
    if (hasBody(req) && !req.complete) bodies.watch(req, res, isOneLogin)
    return false
  }

  function count(reason: ShedReason, method: string): void {
    metrics.shed.inc({ reason })
    metrics.requests.bind({ method: methodLabel(method), route: 'none', status: '503' }).count++
    metrics.errors.inc({ code: 'overloaded', route: 'none' })
    metrics.ownFailures.bind({ route: 'none' }).count++
    report.refused(reason)
  }

  function headOf(req: IncomingMessage | null, requestId: string, body: string, isOAuth: boolean): string[] {
    const [least, most] = RETRY_AFTER
    return [
      ...fields(req),
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
  }

  function refuse(req: IncomingMessage, res: ServerResponse, reason: ShedReason): void {
    const requestId = randomUUID()
    const isOAuth = oauthPaths.includes(req.url!)
    const body = isOAuth ? oauthBody : JSON.stringify(problemBody(overloaded, requestId, clock.now(), prefix))
    const head = headOf(req, requestId, body, isOAuth)
    const isReadable = canGoOn(req)
    // a connection costs memory and a descriptor
    const isLast = reason === 'descriptors' || reason === 'heap'
    if (isLast || !isReadable) head.push('connection', 'close')
    // the rest of the body must not be read as a request (RFC 9112 §9.6)
    if (!isReadable) linger(req.socket)
    res.writeHead(503, overloaded.title, head)
    res.end(body)
    if (reason === 'loop_delay' && !hasBody(req)) pauses.add(req.socket)
  }

  /** Under TLS the handshake would be work. */
  function answerAndClose(socket: Socket, isReadable: boolean): void {
    socket.on('error', () => socket.destroy())
    if (!isReadable) return void socket.destroy()
    const requestId = randomUUID()
    const body = JSON.stringify(problemBody(overloaded, requestId, clock.now(), prefix))
    const lines = headOf(null, requestId, body, false).map((text, i) => (i % 2 === 0 ? `${text}: ` : `${text}\r\n`))
    socket.end(`HTTP/1.1 503 ${overloaded.title}\r\n${lines.join('')}connection: close\r\n\r\n${body}`)
    // bytes that nobody has read would reset the connection, and the answer would be lost
    socket.resume()
    const timer = setTimeout(() => socket.destroy(), REFUSED_MS).unref()
    socket.once('close', () => clearTimeout(timer))
  }

  return {
    refuses(req, res) {
      // a connection after a refused body: its bytes are no requests
      if (!admission.isBusy() || isLingering(req.socket)) return begin(req, res)
      const reason = admission.judge(classify(req.url!, req.headers))
      if (reason === null) return begin(req, res)
      count(reason, req.method ?? '')
      refuse(req, res, reason)
      return true
    },
    listening() {
      const room = roomInHeap(HEAP_BYTES)
      descriptors = createDescriptors({
        ...readDescriptors(),
        reserved,
        maxConnections,
        maxInFlight: maxInFlight || Number.POSITIVE_INFINITY,
      })
      served = Math.min(maxConnections, descriptors.connections, room.connections)
      scarce = room.connections < descriptors.connections ? 'heap' : 'descriptors'
      admission = admissionFor(room.requests)
      if (served < maxConnections / 2)
        logger.warn(
          { reason: 'overloaded', shed: scarce, connections: served },
          `this process serves fewer connections than server.maxConnections, because ${scarce === 'heap' ? 'its heap is small (--max-old-space-size)' : 'it may open few files (ulimit -n, LimitNOFILE)'}`,
        )
      return served < maxConnections ? Math.min(maxConnections, served + REFUSED_AT_ONCE[scarce]) : maxConnections
    },
    acceptance(socket, open) {
      if (!descriptors.admits(fdOf(socket))) return 'descriptors'
      if (heap.level() === 2) return 'heap'
      return open > served ? scarce : null
    },
    refuseConnection(socket, reason) {
      count(reason, '')
      answerAndClose(socket, config.server.tls === undefined)
    },
    isTight: (open) => served < maxConnections && open > served * TIGHT,
    stop() {
      clearTimeout(timer)
      pauses.tick(false)
    },
  }
}

const fdOf = (socket: Socket): number => (socket as Socket & { _handle?: { fd?: number } })._handle?.fd ?? -1

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0

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
