/** Fastify for the requests of one configuration, with the defaults that a gateway cannot accept switched off. It has no listener of its own. */
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Config } from '../platform/config/schema.ts'
import type { Clock } from '../platform/lib/clock.ts'
import { problem } from '../platform/lib/errors.ts'
import { isLingering } from '../platform/request/drain.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import type { Cors } from '../proxy/cors.ts'
import { strictTransport } from '../proxy/https-only.ts'
import type { Pipeline } from '../proxy/pipeline.ts'
import { verifyPathOf } from '../proxy/routing/asked-request.ts'
import { exchangeOf } from '../proxy/routing/exchange.ts'
import { PROXIED_METHODS } from '../proxy/routing/proxied-methods.ts'
import { WHOLE_SERVER } from '../proxy/routing/request-target.ts'
import type { AnswerNavigation } from './answer-navigation.ts'
import type { Connections } from './connections.ts'
import { createErrorHandler } from './error-handler.ts'
import type { Handlers } from './listener.ts'
import type { Observer } from './observe.ts'

/** Largest body of the gateway's own endpoints, in bytes. Proxied bodies never pass Fastify's parsers. */
const OWN_BODY_BYTES = 16_384

/** Compiles route schemas into functions; by default Fastify's own compilers. */
export type SchemaCompilers = NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>

export interface ServerDeps {
  config: Config
  clock: Clock
  logger: Logger
  pipeline: Pipeline
  cors: Cors
  observer: Observer
  connections: Connections
  answerNavigation: AnswerNavigation | null
  compilers?: SchemaCompilers | undefined
}

export function createServer(deps: ServerDeps): FastifyInstance {
  const { config, clock, logger, pipeline, cors, observer, connections, answerNavigation, compilers } = deps
  const verifyPath = verifyPathOf(config.auth.prefix)
  const handleError = createErrorHandler({ clock, logger, cors, authPrefix: config.auth.prefix, answerNavigation })
  const app: FastifyInstance = Fastify({
    ...OPTIONS,
    // never listens: the listener of the process hands requests over
    serverFactory: () => http.createServer(),
    genReqId: (req) => exchangeOf(req).requestId,
    ...(compilers && { schemaController: { compilersFactory: compilers } }),
    // the exchange is made here because upgrades and bad targets reach no earlier hook
    rewriteUrl: (req) => beginExchange(req as IncomingMessage),
    // this runs before any hook, so it repeats what the hooks do
    frameworkErrors(error, request, reply) {
      const exchange = exchangeOf(request.raw as IncomingMessage)
      observer.begin(exchange, request.raw as IncomingMessage, reply.raw as ServerResponse)
      void handleError(exchange.refusal ?? error, request, reply)
    },
  })
  app.setErrorHandler(handleError)
  for (const method of PROXIED_METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: true })

  /** @returns the target for Fastify's router: a refused request must still reach the hook that answers it */
  function beginExchange(req: IncomingMessage): string {
    const exchange = pipeline.receive(req)
    const { expect, upgrade } = req.headers
    exchange.expectsContinue = expect !== undefined && connections.expectsContinue(req)
    exchange.isUpgrade ||= upgrade !== undefined && connections.isUpgrade(req)
    if (isLingering(req.socket)) exchange.refusal = problem('request_malformed', { cause: 'bytes after a refused body' })
    if (expect !== undefined && connections.expectsTheUnknown(req)) exchange.refusal = problem('expectation_failed')
    if (exchange.asked) return verifyPath
    return exchange.refusal || exchange.target === WHOLE_SERVER ? '/' : req.url!
  }

  addEntrance(app, pipeline, observer, connections, strictTransport(config.server))
  return app
}

export const handlersOf = (app: FastifyInstance, { isHandshake }: Pipeline, { rawFields, errorFields }: Cors): Handlers => ({
  handle: app.routing,
  isHandshake,
  rawFields,
  errorFields,
  close: () => app.close(),
})

/** The first hook of every request, and the fields of every response. */
function addEntrance(
  app: FastifyInstance,
  pipeline: Pipeline,
  observer: Observer,
  connections: Connections,
  strictTransport: string | null,
): void {
  app.addHook('onRequest', (request, reply, done) => {
    const exchange = exchangeOf(request.raw)
    observer.begin(exchange, request.raw, reply.raw)
    // every stage and every answer is about the request of the proxy's client, and not about the question
    if (exchange.asked) request.raw.url = exchange.asked.target
    // with `TE: chunked` Node would send chunks to HTTP/1.0 (RFC 9112 §6.1: never)
    if (request.raw.httpVersion === '1.0') reply.raw.useChunkedEncodingByDefault = false
    const { fields } = exchange
    fields.push('x-request-id', exchange.requestId)
    if (connections.countRequest(request.raw.socket)) fields.push('connection', 'close')
    if (strictTransport && exchange.client.isSecure) fields.push('strict-transport-security', strictTransport)
    pipeline.enter(request, reply, done)
  })
}

const OPTIONS: FastifyServerOptions = {
  logger: false, //                     two lines a request; ours is one, see observe.ts
  bodyLimit: OWN_BODY_BYTES,
  return503OnClosing: false, //         default true: fails requests that a graceful stop should finish
  trustProxy: false, //                 client-address.ts reads addresses; a number here would trust nobody
  exposeHeadRoutes: true,
  // by default it drops and coerces
  ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: true, useDefaults: false, keywords: ['documented'] } },
}
