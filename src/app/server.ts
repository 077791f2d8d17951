/** The public listener: Fastify, with the defaults that a gateway cannot accept switched off. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:https'
import type { Socket } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Config } from '../platform/config/schema.ts'
import { refuseConnection } from '../platform/http/refuse.ts'
import type { Clock } from '../platform/lib/clock.ts'
import { problem } from '../platform/lib/errors.ts'
import { isLingering } from '../platform/request/drain.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import type { Metrics } from '../platform/telemetry/metrics.ts'
import type { Cors } from '../proxy/cors.ts'
import { strictTransport } from '../proxy/https-only.ts'
import type { Pipeline } from '../proxy/pipeline.ts'
import { exchangeOf } from '../proxy/routing/exchange.ts'
import { PROXIED_METHODS } from '../proxy/routing/receive.ts'
import { WHOLE_SERVER } from '../proxy/routing/request-target.ts'
import type { AnswerNavigation } from './answer-navigation.ts'
import { type Certificate, readCertificate, watchCertificate } from './certificate.ts'
import { type Connections, takeConnections } from './connections.ts'
import { createErrorHandler } from './error-handler.ts'
import type { Observer } from './observe.ts'
import type { Gate } from './overload/gate.ts'

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
  metrics: Metrics
  gate: Gate
  answerNavigation: AnswerNavigation | null
  compilers?: SchemaCompilers | undefined
}

export interface PublicServer {
  app: FastifyInstance
  /** Stops listening. Connections without a request close within a second, others after their response, all of them at `timeoutMs`. */
  close(timeoutMs: number): Promise<void>
}

export function createServer(deps: ServerDeps): PublicServer {
  const { config, clock, logger, pipeline, cors, observer, metrics, gate, answerNavigation, compilers } = deps
  const { tls } = config.server
  const certificate = tls ? readCertificate(tls) : null
  const handleError = createErrorHandler({ clock, logger, cors, authPrefix: config.auth.prefix, answerNavigation })
  const app = Fastify({
    ...listenerOptions(config.server, certificate),
    genReqId: (req) => exchangeOf(req as IncomingMessage).requestId,
    ...(compilers && { schemaController: { compilersFactory: compilers } }),
    // the exchange is made here because upgrades and bad targets reach no earlier hook
    rewriteUrl: (req) => beginExchange(req as IncomingMessage),
    clientErrorHandler: (error, socket) => refuseConnection(error, socket as Socket, observer, clock, cors.rawFields),
    // this runs before any hook, so it repeats what the hooks do
    frameworkErrors(error, request, reply) {
      const exchange = exchangeOf(request.raw as IncomingMessage)
      observer.begin(exchange, request.raw as IncomingMessage, reply.raw as ServerResponse)
      void handleError(exchange.refusal ?? error, request, reply)
    },
  }) as unknown as FastifyInstance // of http or https: the difference is in `server` alone
  const connections = takeConnections({ app, config, clock, observer, metrics, gate, isHandshake: pipeline.isHandshake })
  app.setErrorHandler(handleError)
  for (const method of PROXIED_METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: true })

  /** @returns the target for Fastify's router: a refused request must still reach the hook that answers it */
  function beginExchange(req: IncomingMessage): string {
    const exchange = pipeline.receive(req)
    const { expect, upgrade } = req.headers
    exchange.expectsContinue = expect !== undefined && connections.expectsContinue(req)
    exchange.isUpgrade = upgrade !== undefined && connections.isUpgrade(req)
    if (isLingering(req.socket)) exchange.refusal = problem('request_malformed', { cause: 'bytes after a refused body' })
    if (expect !== undefined && connections.expectsTheUnknown(req)) exchange.refusal = problem('expectation_failed')
    return exchange.refusal || exchange.target === WHOLE_SERVER ? '/' : req.url!
  }

  addEntrance(app, pipeline, observer, connections, strictTransport(config.server))
  const stopWatching = certificate ? followCertificate(tls!, certificate) : () => {}

  /** @returns stops following */
  function followCertificate(files: NonNullable<typeof tls>, first: Certificate): () => void {
    const showExpiry = ({ notAfter }: Certificate) => metrics.tlsNotAfter.collectFrom(() => notAfter / 1000)
    showExpiry(first)
    return watchCertificate(files, app.server as unknown as Server, first, logger, showExpiry)
  }

  return {
    app,
    async close(timeoutMs) {
      stopWatching()
      await connections.close(timeoutMs)
    },
  }
}

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
    // with `TE: chunked` Node would send chunks to HTTP/1.0 (RFC 9112 §6.1: never)
    if (request.raw.httpVersion === '1.0') reply.raw.useChunkedEncodingByDefault = false
    const { fields } = exchange
    fields.push('x-request-id', exchange.requestId)
    if (connections.countRequest(request.raw.socket)) fields.push('connection', 'close')
    if (strictTransport && exchange.client.isSecure) fields.push('strict-transport-security', strictTransport)
    pipeline.enter(request, reply, done)
  })
}

function listenerOptions(server: Config['server'], certificate: Certificate | null): FastifyServerOptions {
  const node = {
    maxHeaderSize: server.maxHeaderBytes,
    requireHostHeader: false,
    headersTimeout: server.headersTimeoutMs,
    handshakeTimeout: server.headersTimeoutMs, // of TLS; default 120 s
    insecureHTTPParser: false,
    connectionsCheckingInterval: 250, // default 30 s: too coarse for deadlines of 10 s; frequent checks are short
  }
  // Fastify reads `http` only for a plain listener, and `https` only for a TLS listener
  // Node's own list lacks http/1.0, and would refuse the handshake of a client that offers only that
  const tls = certificate && { cert: certificate.cert, key: certificate.key, ALPNProtocols: ['http/1.1', 'http/1.0'] }
  const listener = tls ? { https: { ...node, ...tls, allowHalfOpen: true } } : { http: node }
  return {
    ...listener,
    logger: false, //                     two lines a request; ours is one, see observe.ts
    bodyLimit: OWN_BODY_BYTES,
    requestTimeout: server.requestTimeoutMs, // default 0: a request may take for ever
    keepAliveTimeout: server.keepAliveTimeoutMs,
    connectionTimeout: 0, //              a stream may be silent for long: idleMs bounds it
    return503OnClosing: false, //         default true: fails requests that a graceful stop should finish
    forceCloseConnections: 'idle',
    trustProxy: false, //                 client-address.ts reads addresses; a number here would trust nobody
    exposeHeadRoutes: true,
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: true, useDefaults: false } }, // by default it drops and coerces
  }
}
