/** The first look at a request, before Fastify routes it: reads the head strictly and looks up the target. */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { hasTwoCredentials } from '../../identity/access/request-credentials.ts'
import { ALLOWED } from '../../platform/http/refuse.ts'
import { systemClock } from '../../platform/lib/clock.ts'
import { type ErrorCode, type Problem, problem } from '../../platform/lib/errors.ts'
import type { Client } from '../../platform/request/client-address.ts'
import { attachContext } from '../../platform/request/request-context.ts'
import { readTraceContext } from '../../platform/request/trace-context.ts'
import { NO_TRACING, type Tracing } from '../../platform/telemetry/tracing.ts'
import type { AskedRequests } from './asked-request.ts'
import type { Exchange } from './exchange.ts'
import { isProxied } from './proxied-methods.ts'
import { matchTarget, originForm, readHost, readTarget, repeatedField, WHOLE_SERVER } from './request-target.ts'
import { type RouteTable, routesFor } from './route-table.ts'

const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/

export interface ReceiveDeps {
  table: RouteTable
  readClient: (req: IncomingMessage) => Client
  /** Default: no request is recorded. */
  tracing?: Pick<Tracing, 'begin'>
  /** Null: no proxy asks about requests. */
  askedRequests?: AskedRequests | null
  /** Fields of a header section; more answer 431. */
  maxHeaders: number
  /** Length of a request target; a longer target answers 414. */
  maxTargetBytes: number
}

/** Makes the exchange of a request and attaches it. Never throws: an error becomes `refusal`. */
export type Receive = (req: IncomingMessage) => Exchange

export const createReceive =
  ({ table, readClient, tracing = NO_TRACING, askedRequests = null, maxHeaders, maxTargetBytes }: ReceiveDeps): Receive =>
  (req) => {
    const given = req.headers['x-request-id']
    const client = readClient(req)
    const startedAt = systemClock.steady()
    const trace = readTraceContext(req.headers, client.viaTrustedProxy)
    const exchange: Exchange = {
      requestId: typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID(),
      trace,
      startedAt,
      client,
      ip: client.address,
      userAgent: req.headers['user-agent'] ?? null,
      host: '',
      target: null,
      refusal: null,
      node: null,
      route: null,
      label: 'none',
      principal: undefined,
      decisions: [],
      fields: [],
      error: null,
      upstream: null,
      upstreamCookie: null,
      expectsContinue: false,
      isUpgrade: false,
      isPreflight: false,
      asked: null,
      recording: tracing.begin(trace, client.viaTrustedProxy, startedAt),
      onClosed: null,
    }
    attachContext(req, exchange)
    if (askedRequests?.isAsked(req)) exchange.refusal = askedRequests.describe(req, exchange)
    exchange.refusal ??= read(req, table, exchange, maxHeaders, maxTargetBytes)
    return exchange
  }

const hostInvalid = () => problem('header_invalid', { detail: 'The header host is missing or malformed. Send the name of the server.' })

function read(req: IncomingMessage, table: RouteTable, exchange: Exchange, maxHeaders: number, maxTargetBytes: number): Problem | null {
  const refuse = (code: ErrorCode, cause: string) => problem(code, { cause })
  let url = req.url ?? ''
  if (!isProxied(req.method ?? '')) return problem('method_not_allowed', { headers: { allow: ALLOWED } })
  if (url.length > maxTargetBytes) return refuse('target_too_long', `${url.length} bytes`)
  if (req.rawHeaders.length > maxHeaders * 2) return refuse('headers_too_large', `${req.rawHeaders.length / 2} fields`)
  const repeated = repeatedField(req.rawHeaders)
  if (repeated) return problem('header_invalid', { detail: `The header ${repeated} is repeated. Send it once.` })
  const coding = req.headers['transfer-encoding']
  // RFC 9112 §6.1. Node accepts codings below chunked, and would pass their bytes on without their name
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') return problem('transfer_coding_unsupported')
  if (hasTwoCredentials(req.headers))
    return problem('header_invalid', { detail: 'The request has two credentials. Send a bearer token, or an API key in x-api-key.' })
  if (!exchange.client.isReadable)
    return problem('header_invalid', { detail: 'The header forwarded is malformed. Send it in the form of RFC 7239.' })
  const given = req.headers.host
  // HTTP/1.0 has no Host: health checks of balancers leave it out
  const host = given === undefined && req.httpVersion === '1.0' ? '' : readHost(given)
  if (host === null) return hostInvalid()
  exchange.host = host
  if (url.charCodeAt(0) !== 0x2f) {
    if (isAboutServer(req)) {
      exchange.target = WHOLE_SERVER
      return null
    }
    url = originForm(req)
    // every later reader sees the form that was checked
    req.url = url
  }
  const target = readTarget(url)
  if (typeof target === 'string') return problem('target_ambiguous', { detail: `The request target is refused: ${target}.` })
  const node = matchTarget(table, host, target)
  if (typeof node === 'string') return problem('target_ambiguous', { detail: `The request target is refused: ${node}.` })
  const isOwn = node === null ? target.path === '/' : node.own
  if (host === '' && isOwn && target.path !== '/health') return hostInvalid()
  exchange.target = target
  exchange.node = node
  return null
}

/** RFC 9112 §3.2.4: an absolute target without path and query asks the same. */
const isAboutServer = (req: IncomingMessage): boolean =>
  req.method === 'OPTIONS' && (req.url === '*' || (originForm(req) === '/' && !req.url!.endsWith('/')))

/** The request is a WebSocket handshake on a route that allows it. Every other `Upgrade` is ignored (RFC 9110 §7.8). Never throws. */
export type IsHandshake = (req: IncomingMessage) => boolean

export const createIsHandshake =
  (table: RouteTable): IsHandshake =>
  (req) => {
    const { method, headers, httpVersion } = req
    // a list leaves the choice to the server; HTTP/1.0 has no Upgrade
    if (headers.upgrade?.toLowerCase() !== 'websocket' || httpVersion !== '1.1') return false
    const host = readHost(headers.host)
    const target = readTarget(originForm(req))
    if (host === null || typeof target === 'string') return false
    const node = matchTarget(table, host, target)
    if (node === null || typeof node === 'string' || node.own) return false
    return routesFor(node, target.path).find(({ methods }) => methods === null || methods.has(method!))?.websocket ?? false
  }
