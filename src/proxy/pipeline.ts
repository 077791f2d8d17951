/** The stages of a request, in their order. A new stage is a new line. */

import type { IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { authorize } from '../identity/access/access-policy.ts'
import type { Authenticate } from '../identity/access/authenticate.ts'
import { hasCredential } from '../identity/access/request-credentials.ts'
import { setFields } from '../platform/http/fields.ts'
import { problem } from '../platform/lib/errors.ts'
import { pushLimitFields } from '../platform/limits/limiter.ts'
import type { AddCors } from './cors.ts'
import type { Forward } from './forward/forward.ts'
import type { Streams } from './forward/streams.ts'
import type { BridgeWebSocket } from './forward/websocket.ts'
import type { RequireHttps } from './https-only.ts'
import type { RouteLimits } from './rate-limit.ts'
import { type Authenticated, type Exchange, exchangeOf, type Received, type Routed } from './routing/exchange.ts'
import { matchRoute } from './routing/match-route.ts'
import type { Receive } from './routing/receive.ts'
import { ANSWERED, type Answered, type Call, stagesFrom } from './stages.ts'

export interface PipelineDeps {
  receive: Receive
  /** Milliseconds since the epoch. */
  now: () => number
  requireHttps: RequireHttps
  answerRoot: AnswerRoot
  addCors: AddCors
  authenticate: Authenticate
  limits: RouteLimits
  forward: Forward
  bridge: BridgeWebSocket
  streams: Streams
  /** Methods of the gateway's own endpoint at a path; empty when there is none. */
  ownMethods(path: string): string[]
  isStopping(): boolean
}

/** Answers a request for `/` that no route takes, or returns undefined: it then answers route_not_found. */
export type AnswerRoot = (exchange: Received, call: Call) => Answered | undefined

type Done = (error?: Error) => void

export interface Pipeline {
  /** Before Fastify routes: makes the exchange. Never throws. */
  receive: Receive
  /** The first hook of the listener, for every request, also of the gateway's own endpoints. Answers, throws, or calls `done`. */
  enter(request: FastifyRequest, reply: FastifyReply, done: Done): void
  /** For requests that none of our endpoints serves: the hook of the scope of proxied requests. `done` is called with an error or never. */
  run(request: FastifyRequest, reply: FastifyReply, done: Done): void
  /** The names of the stages, in their order. */
  stages: readonly string[]
}

export function createPipeline(deps: PipelineDeps): Pipeline {
  const { now, answerRoot, requireHttps, addCors, authenticate, limits, forward, bridge, streams, ownMethods, isStopping } = deps

  const entrance = stagesFrom<Exchange>()
    .learn('canonical', assertCanonical) //                                         400 405 414 417 431
    .answer('httpsOnly', requireHttps) //                                           308
    .answer('preflight', preflight) //                                              204

  const proxied = stagesFrom<Received>()
    .answer('rootPage', rootPage) //                                                200
    .learn('route', (exchange, { request }) => toRoute(exchange, request.raw)) //   404 405 400
    .check('network', assertNetwork) //                                             403
    .check('upgrade', assertUpgrade) //                                             400 426
    .check('limitClient', (exchange, { request }) => limits.client(exchange, hasCredential(request.raw.headers))) // 429
    .learn('authenticate', identify) //                                             401 429 503
    .check('authorize', ({ route, principal }) => authorize(route.access, principal, now)) // 401 403
    .check('limitPrincipal', (exchange) => limits.principal(exchange)) //           429
    .answer('forward', leave) //                                                    408 413 429 502 503 504

  /** A browser treats a preflight response without CORS headers as a refusal. */
  function preflight({ fields }: Received, { request, reply }: Call): Answered | undefined {
    if (!addCors(request, fields)) return undefined
    setFields(reply, fields).code(204).send()
    return ANSWERED
  }

  function rootPage(exchange: Received, call: Call): Answered | undefined {
    return exchange.node === null && exchange.target.path === '/' ? answerRoot(exchange, call) : undefined
  }

  function toRoute(exchange: Received, { method }: IncomingMessage): Routed {
    exchange.route = matchRoute(exchange, method!, ownMethods)
    exchange.label = exchange.route.name
    return exchange as Routed
  }

  function identify(exchange: Routed, { request }: Call): Authenticated | Promise<Authenticated> {
    const principal = authenticate(request.raw.headers, exchange.client)
    if (principal instanceof Promise) return principal.then((proven) => Object.assign(exchange, { principal: proven }))
    exchange.principal = principal
    return exchange as Authenticated
  }

  function leave(exchange: Authenticated, { request, reply, fail }: Call): Answered {
    const ownFields = () => {
      const { fields, decisions } = exchange
      pushLimitFields(fields, decisions)
      if (isStopping() && !fields.includes('connection')) fields.push('connection', 'close')
      return fields
    }
    if (exchange.isUpgrade) void bridge(request, reply, exchange, ownFields).catch(fail)
    else
      forward(request.raw, exchange, {
        response: reply.raw,
        ownFields,
        begin: () => reply.hijack(),
        fail,
        openStream: (isAnswer, end) => streams.open('sse', isAnswer, exchange, end),
      })
    return ANSWERED
  }

  return {
    receive: deps.receive,
    enter(request, reply, done) {
      const exchange = exchangeOf(request.raw)
      if (entrance.pass(exchange, { request, reply, fail: done }) === ANSWERED) return
      if (exchange.node?.own) {
        setFields(reply, exchange.fields)
        if (exchange.expectsContinue) reply.raw.writeContinue()
      }
      done()
    },
    run(request, reply, done) {
      // `enter` has let this request pass
      const exchange = exchangeOf(request.raw) as Received
      const waiting = proxied.pass(exchange, { request, reply, fail: done })
      if (waiting instanceof Promise) waiting.catch(done)
    },
    stages: [...entrance.names, ...proxied.names],
  }
}

function assertCanonical(exchange: Exchange): Received {
  if (exchange.refusal) throw exchange.refusal
  return exchange as Received
}

function assertNetwork({ route: { networks }, client }: Routed): void {
  if (networks && !networks.allows(client.address)) throw problem('forbidden', { cause: "the client's network is not allowed" })
}

/** A WebSocket upgrade passes only on a route that allows it; no other upgrade ever passes. */
function assertUpgrade({ isUpgrade, route }: Routed, { request: { raw } }: Call): void {
  if (!isUpgrade) return
  const { headers, method } = raw
  if (!route.websocket) throw problem('upgrade_unsupported', { cause: `no upgrade to ${headers.upgrade} on this route` })
  if (headers.upgrade?.toLowerCase() !== 'websocket' || method !== 'GET')
    throw problem('upgrade_unsupported', { cause: `${method} with an upgrade to ${headers.upgrade}` })
  if (!/^[A-Za-z0-9+/]{22}==$/.test(String(headers['sec-websocket-key'] ?? '')))
    throw problem('header_invalid', { detail: 'The header sec-websocket-key is missing or malformed. Send 16 random bytes in base64.' })
  // RFC 6455 §4.4
  if (headers['sec-websocket-version'] !== '13')
    throw problem('upgrade_required', { headers: { 'sec-websocket-version': '13', upgrade: 'websocket' } })
}
