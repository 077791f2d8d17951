/** The stages of a request, in their order. A new stage is a new line. */

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { authorize } from '../identity/access/access-policy.ts'
import type { Authenticate } from '../identity/access/authenticate.ts'
import type { CookieAuthentication } from '../identity/access/authenticate-cookie.ts'
import type { Principal } from '../identity/access/principal.ts'
import { asBearerHeader, hasCredential } from '../identity/access/request-credentials.ts'
import type { Geo } from '../platform/geo/geo.ts'
import { setFields } from '../platform/http/fields.ts'
import { ALLOWED } from '../platform/http/refuse.ts'
import { Problem, problem } from '../platform/lib/errors.ts'
import { pushLimitFields } from '../platform/limits/limiter.ts'
import { beginSpan, type Recording, runInSpan } from '../platform/telemetry/recording.ts'
import type { Cors } from './cors.ts'
import type { AllowedFields } from './forward/allowed-fields.ts'
import type { Forward } from './forward/forward.ts'
import type { Streams } from './forward/streams.ts'
import type { BridgeWebSocket } from './forward/websocket.ts'
import type { RequireHttps } from './https-only.ts'
import type { RouteLimits } from './rate-limit.ts'
import { type Asked, type Authenticated, type Exchange, exchangeOf, type Received, type Routed } from './routing/exchange.ts'
import { matchRoute } from './routing/match-route.ts'
import type { IsHandshake, Receive } from './routing/receive.ts'
import { WHOLE_SERVER } from './routing/request-target.ts'
import type { AssertServiceWorker } from './routing/service-worker.ts'
import { ANSWERED, type Answered, type Call, stagesFrom } from './stages.ts'

export interface PipelineDeps {
  receive: Receive
  isHandshake: IsHandshake
  /** Milliseconds since the epoch. */
  now: () => number
  geo: Geo
  assertServiceWorker: AssertServiceWorker
  requireHttps: RequireHttps
  answerRoot: AnswerRoot
  cors: Cors
  authenticate: Authenticate
  /** Null: browsers have no session cookie. */
  cookies: Pick<CookieAuthentication, 'authenticate'> | null
  limits: RouteLimits
  /** The headers of a yes to a proxy that asks. Null: no proxy asks. */
  allowedFields: AllowedFields | null
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
  isHandshake: IsHandshake
  /** The first hook of the listener, for every request, also of the gateway's own endpoints. Answers, throws, or calls `done`. */
  enter(request: FastifyRequest, reply: FastifyReply, done: Done): void
  /** For requests that none of our endpoints serves: the hook of the scope of proxied requests. `done` is called with an error or never. */
  run(request: FastifyRequest, reply: FastifyReply, done: Done): void
  /** The names of the stages, in their order. */
  stages: readonly string[]
}

export function createPipeline(deps: PipelineDeps): Pipeline {
  const {
    now,
    geo,
    answerRoot,
    assertServiceWorker,
    requireHttps,
    cors,
    authenticate,
    cookies,
    limits,
    allowedFields,
    forward,
    bridge,
    streams,
    ownMethods,
    isStopping,
  } = deps

  const entrance = stagesFrom<Exchange>()
    .learn('canonical', assertCanonical) //                                         400 405 414 417 431
    .answer('serverOptions', serverOptions) //                                      204 429
    .answer('httpsOnly', requireHttps) //                                           308
    .answer('preflight', preflight) //                                              204

  const proxied = stagesFrom<Received>()
    .answer('rootPage', rootPage) //                                                200
    .learn('route', (exchange, { request }) => toRoute(exchange, request.raw)) //   404 405 400
    .check('network', assertNetwork) //                                             403
    .check('country', (exchange) => assertCountry(exchange, geo)) //                403
    .check('serviceWorker', (exchange, { request }) => assertServiceWorker(exchange, request.raw)) // 403
    .check('upgrade', assertUpgrade) //                                             400 426
    .check('limitClient', limitClient) //                                           429
    .answer('passPreflight', passPreflight) //                                      502 503 504
    .learn('authenticate', identify) //                                             401 403 429 503
    .check('authorize', ({ route, principal }) => authorize(route.access, principal, now)) // 401 403
    .check('limitPrincipal', (exchange) => limits.principal(exchange)) //           429
    .answer('forward', leave) //                                                    408 413 429 502 503 504

  /** `OPTIONS *` asks about the server as a whole, and often whether it lives (RFC 9110 §9.3.7). */
  function serverOptions(exchange: Received, { reply, fail }: Call): Answered | undefined {
    if (exchange.target !== WHOLE_SERVER || exchange.asked) return undefined
    const answer = () => {
      pushLimitFields(exchange.fields, exchange.decisions)
      setFields(reply, exchange.fields).code(204).header('allow', ALLOWED).send()
    }
    const counted = limits.address(exchange)
    if (counted instanceof Promise) counted.then(answer).catch(fail)
    else answer()
    return ANSWERED
  }

  /** A browser treats a preflight response without CORS headers as a refusal. */
  function preflight(exchange: Received, { request, reply }: Call): Answered | undefined {
    if (!cors.enter(exchange, request.raw)) return undefined
    if (exchange.asked?.admitsAll2xx)
      throw problem('forbidden', { cause: 'a preflight of a route with cors.mode own, which this proxy cannot hand to the client' })
    setFields(reply, exchange.fields).code(204).send()
    return ANSWERED
  }

  /** A preflight never has a credential, so that the upstream is asked without any (Fetch standard §3.2.2). */
  function passPreflight(exchange: Routed, call: Call): Answered | undefined {
    if (!exchange.isPreflight) return undefined
    exchange.principal = null
    return leave(exchange as Authenticated, call)
  }

  function rootPage(exchange: Received, call: Call): Answered | undefined {
    return exchange.node === null && exchange.target.path === '/' && !exchange.asked ? answerRoot(exchange, call) : undefined
  }

  function toRoute(exchange: Received, request: IncomingMessage): Routed {
    const method = exchange.isPreflight ? request.headers['access-control-request-method'] : request.method
    // another proxy may not ask about our own endpoints: it sends requests for them here
    exchange.route = matchRoute(exchange, method!, exchange.asked ? () => [] : ownMethods)
    exchange.label = exchange.route.name
    if (exchange.route.servers.length === 0 && !exchange.asked)
      throw problem('route_not_found', { cause: `route ${exchange.route.name} has no upstream: only another proxy asks about it` })
    cors.addFields(exchange as Routed, request)
    return exchange as Routed
  }

  /** A request with a cookie counts as anonymous only after the cookie was judged, and is no session: any text could be a cookie. */
  function limitClient(exchange: Routed, call: Call): Promise<void> | void {
    const isJudgedLater = cookies !== null && call.request.raw.headers.cookie !== undefined && !exchange.isPreflight
    return limits.client(exchange, isJudgedLater || hasCredential(credentialsOf(exchange, call)))
  }

  function identify(exchange: Routed, call: Call): Authenticated | Promise<Authenticated> {
    const principal = authenticate(credentialsOf(exchange, call), exchange.client)
    if (principal instanceof Promise) return principal.then((proven) => Object.assign(exchange, { principal: proven }))
    if (principal === null && cookies !== null && call.request.raw.headers.cookie !== undefined)
      return identifyByCookie(exchange, call.request.raw, cookies)
    exchange.principal = principal
    return exchange as Authenticated
  }

  function identifyByCookie(
    exchange: Routed,
    request: IncomingMessage,
    known: NonNullable<PipelineDeps['cookies']>,
  ): Authenticated | Promise<Authenticated> {
    let principal: Principal | null | Promise<Principal | null>
    try {
      principal = known.authenticate(request, exchange, exchange.route.cookieRule)
    } catch (error) {
      return refuseCookie(exchange, error)
    }
    if (!(principal instanceof Promise)) return settle(exchange, principal)
    return principal.then(
      (proven) => settle(exchange, proven),
      (error) => refuseCookie(exchange, error),
    )
  }

  function settle(exchange: Routed, principal: Principal | null): Authenticated | Promise<Authenticated> {
    exchange.principal = principal
    const counted = principal === null ? limits.anonymous(exchange) : undefined
    return counted instanceof Promise ? counted.then(() => exchange as Authenticated) : (exchange as Authenticated)
  }

  /** A request that another site sent counts too. While the database is away, nobody is known to be anonymous. */
  async function refuseCookie(exchange: Routed, error: unknown): Promise<never> {
    if (error instanceof Problem && error.code === 'origin_untrusted') await limits.anonymous(exchange)
    throw error
  }

  /** Every stage has passed: another proxy forwards the request. */
  function allow(exchange: Authenticated, asked: Asked, { request, reply }: Call): Answered {
    asked.isAllowed = true
    pushLimitFields(exchange.fields, exchange.decisions)
    setFields(setFields(reply, exchange.fields), allowedFields!(exchange, request.raw)).code(200).header('cache-control', 'no-store').send()
    return ANSWERED
  }

  function leave(exchange: Authenticated, call: Call): Answered {
    if (exchange.asked) return allow(exchange, exchange.asked, call)
    const { request, reply, fail } = call
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
        openStream: (isAnswer, end) => streams.open('sse', isAnswer, { method: request.method, exchange }, end),
      })
    return ANSWERED
  }

  return {
    receive: deps.receive,
    isHandshake: deps.isHandshake,
    enter(request, reply, done) {
      const exchange = exchangeOf(request.raw)
      if (entrance.pass(exchange, { request, reply, fail: done }) === ANSWERED) return
      if (exchange.node?.own) {
        setFields(reply, exchange.fields)
        if (exchange.expectsContinue) reply.raw.writeContinue()
        if (exchange.recording) return runEndpoint(exchange.recording, done)
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

/** Hooks and the handler of an own endpoint. The span ends with the request. */
function runEndpoint(recording: Recording, done: Done): void {
  recording.stage = beginSpan(recording, 'endpoint', 'internal', recording.server)
  runInSpan(recording, recording.stage, done)
}

export function assertCanonical(exchange: Exchange): Received {
  if (exchange.refusal) throw exchange.refusal
  return exchange as Received
}

/** The headers that hold the credential of a request. */
function credentialsOf({ isUpgrade, isPreflight }: Routed, { request: { raw } }: Call): IncomingHttpHeaders {
  if (isPreflight) return NO_HEADERS
  return isUpgrade ? asBearerHeader(raw.headers) : raw.headers
}
const NO_HEADERS: IncomingHttpHeaders = {}

export function assertNetwork({ route: { networks }, client }: Routed): void {
  if (networks && !networks.allows(client.address)) throw problem('forbidden', { cause: "the client's network is not allowed" })
}

export function assertCountry({ route: { countries }, client }: Routed, geo: Geo): void {
  if (countries === null) return
  const country = geo.countryOf(client)
  if (!countries.permits(country)) throw problem('country_refused', { cause: `the country of the client is ${country ?? 'unknown'}` })
}

/** Checks a WebSocket handshake on a route that allows it. Other offers of a protocol were ignored before (see IsHandshake). */
export function assertUpgrade({ isUpgrade, route, asked }: Routed, { request: { raw } }: Call): void {
  if (!isUpgrade) return
  const { headers, method } = raw
  // an upgrade that is not allowed is ignored, and another proxy could not know that
  if (!route.websocket && asked) throw problem('forbidden', { cause: `route ${route.name} allows no WebSocket` })
  if (!route.websocket) throw problem('internal', { cause: 'an upgrade on a route without WebSocket' })
  if (method !== 'GET') throw problem('upgrade_unsupported', { cause: `${method} with an upgrade to ${headers.upgrade}` })
  if (!/^[A-Za-z0-9+/]{22}==$/.test(String(headers['sec-websocket-key'] ?? '')))
    throw problem('header_invalid', { detail: 'The header sec-websocket-key is missing or malformed. Send 16 random bytes in base64.' })
  // RFC 6455 §4.4
  if (headers['sec-websocket-version'] !== '13')
    throw problem('upgrade_required', { headers: { 'sec-websocket-version': '13', upgrade: 'websocket' } })
}
