/** The life of a proxied request, written once, top to bottom. A new stage is a new line. */

import { randomUUID } from 'node:crypto'
import { type IncomingMessage, METHODS } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { authorize } from '../identity/access/access-policy.ts'
import type { Authenticate } from '../identity/access/authenticate.ts'
import { hasCredential, hasTwoCredentials } from '../identity/access/request-credentials.ts'
import { type ErrorCode, Problem, problem } from '../platform/lib/errors.ts'
import { pushLimitFields } from '../platform/limits/limiter.ts'
import type { Client } from '../platform/request/client-address.ts'
import { attachContext } from '../platform/request/request-context.ts'
import type { Forward } from './forward/forward.ts'
import type { Streams } from './forward/streams.ts'
import type { BridgeWebSocket } from './forward/websocket.ts'
import type { RouteLimits } from './rate-limit.ts'
import { type Exchange, exchangeOf } from './routing/exchange.ts'
import { matchTarget, readHost, readTarget, repeatedField } from './routing/request-target.ts'
import { FORM_TEXTS, type Route, type RouteTable, routesFor } from './routing/route-table.ts'

export interface PipelineDeps {
  /** Milliseconds since the epoch. */
  now: () => number
  table: RouteTable
  readClient: (req: IncomingMessage) => Client
  authenticate: Authenticate
  limits: RouteLimits
  forward: Forward
  bridge: BridgeWebSocket
  /** Methods of our own endpoint at a path; none where there is none. */
  ownMethods(path: string): string[]
  isStopping(): boolean
  streams: Streams
  /** Fields of a header section; more answer 431. */
  maxHeaders: number
}

export interface Pipeline {
  /** Stage 1, before Fastify routes: the exchange, with the target and Host read strictly and looked up. Never throws. */
  receive(req: IncomingMessage): Exchange
  /** Stages 2 to 8: an `onRequest` hook of the scope that everything proxied is in. `done` is called with an error or never: nothing follows. */
  run(request: FastifyRequest, reply: FastifyReply, done: (error: Error) => void): void
}

export function createPipeline({
  now,
  table,
  readClient,
  authenticate,
  limits,
  forward,
  bridge,
  ownMethods,
  isStopping,
  streams,
  maxHeaders,
}: PipelineDeps): Pipeline {
  /** A stage refuses by throwing; only what it returns is waited for. Warm, nothing is. */
  const stages: ((exchange: Exchange, req: IncomingMessage) => Promise<void> | void)[] = [
    (exchange, { method }) => {
      const route = match(exchange, method!, ownMethods) //                   404 405 400
      exchange.route = route
      exchange.label = route.name
    },
    // CORS preflights have been answered by now                              (app/server.ts)
    assertNetwork, //                                                         403
    assertWebSocket, //                                                       400 426
    (exchange, { headers }) => limits.client(exchange, hasCredential(headers)), // 429
    (exchange, { headers }) => {
      const principal = authenticate(headers, exchange.client) //               401 429 503
      if (!(principal instanceof Promise)) exchange.principal = principal
      else
        return principal.then((proven) => {
          exchange.principal = proven
        })
    },
    ({ route, principal }) => authorize(route!.access, principal, now), //    401 403
    (exchange) => limits.principal(exchange), //                              429
  ]

  function passStages(exchange: Exchange, req: IncomingMessage, from = 0): Promise<void> | void {
    for (let i = from; i < stages.length; i++) {
      const waiting = stages[i]!(exchange, req)
      if (waiting) return waiting.then(() => passStages(exchange, req, i + 1))
    }
  }

  /** 408 413 429 502 503 504 */
  function leave(exchange: Exchange, request: FastifyRequest, reply: FastifyReply, fail: (error: Error) => void): void {
    const ownFields = () => {
      const { fields, decisions } = exchange
      pushLimitFields(fields, decisions)
      if (isStopping() && !fields.includes('connection')) fields.push('connection', 'close')
      return fields
    }
    const route = exchange.route!
    if (exchange.isUpgrade) return void bridge(request, reply, exchange, route, ownFields).catch(fail)
    forward(request.raw, exchange, route, {
      response: reply.raw,
      ownFields,
      begin: () => reply.hijack(),
      fail,
      openStream: (end) => streams.open('sse', exchange, end),
    })
  }

  return {
    receive: (req) => receive(req, { table, readClient, maxHeaders }),
    run(request, reply, done) {
      const exchange = exchangeOf(request.raw)
      const waiting = passStages(exchange, request.raw)
      if (waiting) waiting.then(() => leave(exchange, request, reply, done)).catch(done)
      else leave(exchange, request, reply, done)
    },
  }
}

/** All that Node knows, but CONNECT, which would be a tunnel, and TRACE, which shows our headers to the client. */
export const PROXIED_METHODS: readonly string[] = METHODS.filter((m) => m !== 'CONNECT' && m !== 'TRACE')
const KNOWN = new Set(PROXIED_METHODS)

const MAX_TARGET = 8192
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/

type Reading = Pick<PipelineDeps, 'table' | 'readClient' | 'maxHeaders'>

function receive(req: IncomingMessage, { table, readClient, maxHeaders }: Reading): Exchange {
  const given = req.headers['x-request-id']
  const client = readClient(req)
  const exchange: Exchange = {
    requestId: typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID(),
    startedAt: performance.now(),
    client,
    ip: client.address,
    userAgent: req.headers['user-agent'] ?? null,
    host: '',
    target: null,
    refusal: null,
    node: null,
    route: null,
    label: 'none',
    principal: null,
    decisions: [],
    fields: [],
    error: null,
    upstream: null,
    expectsContinue: false,
    isUpgrade: false,
    onClosed: null,
  }
  attachContext(req, exchange)
  exchange.refusal = read(req, table, exchange, maxHeaders)
  return exchange
}

function read(req: IncomingMessage, table: RouteTable, exchange: Exchange, maxHeaders: number): Problem | null {
  const refuse = (code: ErrorCode, cause: string) => problem(code, { cause })
  const url = req.url ?? ''
  if (!KNOWN.has(req.method ?? ''))
    return problem('method_not_allowed', { headers: { allow: 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS' } })
  if (url.length > MAX_TARGET) return refuse('target_too_long', `${url.length} characters`)
  if (req.rawHeaders.length > maxHeaders * 2) return refuse('headers_too_large', `${req.rawHeaders.length / 2} fields`)
  const repeated = repeatedField(req.rawHeaders)
  if (repeated) return problem('header_invalid', { detail: `The header ${repeated} is repeated.` })
  if (hasTwoCredentials(req.headers))
    return problem('header_invalid', { detail: 'Send one credential: a bearer token or an API key in x-api-key.' })
  if (!exchange.client.isReadable) return problem('header_invalid', { detail: 'The header forwarded is malformed.' })
  const host = readHost(req.headers.host)
  if (host === null) return problem('header_invalid', { detail: 'The header host is missing or malformed.' })
  exchange.host = host
  const target = readTarget(url)
  if (typeof target === 'string') return problem('target_ambiguous', { detail: `The request target is refused: ${target}.` })
  const node = matchTarget(table, host, target)
  if (typeof node === 'string') return problem('target_ambiguous', { detail: `The request target is refused: ${node}.` })
  exchange.target = target
  exchange.node = node
  return null
}

/** The longest path has won already; its methods decide, never a shorter route. */
function match({ node, target }: Exchange, method: string, ownMethods: PipelineDeps['ownMethods']): Route {
  if (node?.own) {
    // Fastify has what it serves; what comes here is another method, or nothing
    const allow = ownMethods(target!.path)
    throw allow.length ? problem('method_not_allowed', { headers: { allow: allow.join(', ') } }) : problem('route_not_found')
  }
  if (!node) throw problem('route_not_found')
  const candidates = routesFor(node, target!.path)
  if (!candidates.length) throw problem('route_not_found', { cause: 'the path differs in case' })
  const route = candidates.find((r) => r.methods === null || r.methods.has(method))
  if (!route) {
    const allow = [...new Set(candidates.flatMap((r) => [...r.methods!]))].sort().join(', ')
    throw problem('method_not_allowed', { headers: { allow } })
  }
  const refused = target!.forms & ~route.allowedForms
  if (refused !== 0) {
    const forms = FORM_TEXTS.filter(([bit]) => (refused & bit) !== 0).map(([, text]) => text)
    throw problem('target_ambiguous', {
      detail: `The request target is refused: ${forms.join(' and ')} in the path, which this route does not allow.`,
    })
  }
  return route
}

function assertNetwork({ route, client }: Exchange): void {
  if (route!.networks && !route!.networks.allows(client.address)) throw problem('forbidden', { cause: 'the network of the client' })
}

function assertWebSocket({ isUpgrade, route }: Exchange, { headers, method }: IncomingMessage): void {
  if (!isUpgrade) return
  if (!route!.websocket) throw problem('upgrade_unsupported', { cause: `no upgrade to ${headers.upgrade} on this route` })
  if (headers.upgrade?.toLowerCase() !== 'websocket' || method !== 'GET')
    throw problem('upgrade_unsupported', { cause: `${method} with an upgrade to ${headers.upgrade}` })
  if (!/^[A-Za-z0-9+/]{22}==$/.test(String(headers['sec-websocket-key'] ?? '')))
    throw problem('header_invalid', { detail: 'The header sec-websocket-key is missing or malformed.' })
  // RFC 6455 §4.4
  if (headers['sec-websocket-version'] !== '13')
    throw problem('upgrade_required', { headers: { 'sec-websocket-version': '13', upgrade: 'websocket' } })
}

/** For our own endpoints: the same refusal that `run` begins with. */
export function assertCanonical(exchange: Exchange): void {
  if (exchange.refusal instanceof Problem) throw exchange.refusal
}
