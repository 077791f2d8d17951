/** The public listener: Fastify with every default that a gateway must refuse, refused. */
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Server } from 'node:https'
import type { Socket } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Config } from '../platform/config/schema.ts'
import { setFields } from '../platform/http/fields.ts'
import { busyWith, refuseConnection, writeRaw } from '../platform/http/refuse.ts'
import type { Clock } from '../platform/lib/clock.ts'
import { problem } from '../platform/lib/errors.ts'
import { isLingering } from '../platform/request/drain.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import type { Metrics } from '../platform/telemetry/metrics.ts'
import { createCors } from '../proxy/cors.ts'
import { createHttpsLocation, strictTransport } from '../proxy/https-only.ts'
import { assertCanonical, type Pipeline, PROXIED_METHODS } from '../proxy/pipeline.ts'
import { exchangeOf } from '../proxy/routing/exchange.ts'
import { type Certificate, readCertificate, watchCertificate } from './certificate.ts'
import { createErrorHandler } from './error-handler.ts'
import type { Observer } from './observe.ts'

/** Largest body of our own endpoints. Proxied bodies never pass Fastify's parsers. */
const OWN_BODY_BYTES = 16_384

/** How long a client may take next to nothing of what is written to it, unless a route's idleMs is longer. */
const STALLED_MS = 30_000

/** What makes functions of route schemas: Fastify's own unless told otherwise. */
export type SchemaCompilers = NonNullable<NonNullable<FastifyServerOptions['schemaController']>['compilersFactory']>

export interface ServerDeps {
  config: Config
  clock: Clock
  logger: Logger
  pipeline: Pipeline
  observer: Observer
  metrics: Metrics
  compilers?: SchemaCompilers | undefined
}

export interface PublicServer {
  app: FastifyInstance
  /** Stops listening; connections that carry no request go within a second, the others after their answer, all of them at `timeoutMs`. */
  close(timeoutMs: number): Promise<void>
}

export async function createServer({ config, clock, logger, pipeline, observer, metrics, compilers }: ServerDeps): Promise<PublicServer> {
  const { tls, headersTimeoutMs, requestTimeoutMs, keepAliveTimeoutMs, maxRequestsPerSocket } = config.server
  const certificate = tls ? readCertificate(tls) : null
  const listening = {
    maxHeaderSize: config.server.maxHeaderBytes,
    requireHostHeader: false,
    headersTimeout: headersTimeoutMs,
    handshakeTimeout: headersTimeoutMs, // of TLS; default 120 s
    insecureHTTPParser: false,
    connectionsCheckingInterval: 250, // default 30 s: a deadline of 10 s would mean 40; and few at a time, so that thousands stop nobody
  }
  const expecting = new WeakSet<IncomingMessage>()
  const upgrading = new WeakSet<IncomingMessage>()
  const unmet = new WeakSet<IncomingMessage>()
  const app = Fastify({
    // Fastify hands `http` to a plain listener alone, and `https` to one with TLS
    ...(certificate ? { https: { ...listening, cert: certificate.cert, key: certificate.key } as never } : { http: listening as never }),
    logger: false, //                     two lines a request; ours is one, see observe.ts
    bodyLimit: OWN_BODY_BYTES,
    requestTimeout: requestTimeoutMs, //  default 0: a request may take for ever
    keepAliveTimeout: keepAliveTimeoutMs,
    connectionTimeout: 0, //              a stream may be silent for long: idleMs bounds it
    return503OnClosing: false, //         default true: fails requests that a graceful stop should finish
    forceCloseConnections: 'idle',
    trustProxy: false, //                 networks.ts reads addresses; a number here would trust nobody
    exposeHeadRoutes: true,
    genReqId: (req) => exchangeOf(req as IncomingMessage).requestId,
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: true, useDefaults: false } }, // defaults: drop and coerce
    ...(compilers && { schemaController: { compilersFactory: compilers } }),
    // the exchange is made here because upgrades and bad targets pass nothing earlier
    rewriteUrl(raw) {
      const req = raw as IncomingMessage
      const exchange = pipeline.receive(req)
      const { expect, upgrade } = req.headers
      exchange.expectsContinue = expect !== undefined && expecting.has(req)
      exchange.isUpgrade = upgrade !== undefined && upgrading.has(req)
      if (isLingering(req.socket)) exchange.refusal = problem('request_malformed', { cause: 'behind a refused body' })
      if (expect !== undefined && unmet.has(req)) exchange.refusal = problem('expectation_failed')
      // a refused target must still reach the hook that answers it
      return exchange.refusal ? '/' : req.url!
    },
    clientErrorHandler: (error, socket) => refuseConnection(error, socket as Socket, observer, clock),
    // before any hook, so what the hooks do is done here
    frameworkErrors(error, request, reply) {
      const exchange = exchangeOf(request.raw as IncomingMessage)
      observer.begin(exchange, request.raw as IncomingMessage, reply.raw as ServerResponse)
      void handleError(exchange.refusal ?? error, request as never, reply as never)
    },
  })
  const handleError = createErrorHandler({ clock, logger })
  app.setErrorHandler(handleError)
  for (const method of PROXIED_METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: true })

  const addCors = createCors(config.cors)
  const hsts = strictTransport(config.server)
  const isLastOf = countRequests(maxRequestsPerSocket)
  const httpsLocation = createHttpsLocation(config)
  app.addHook('onRequest', (request, reply, done) => {
    const exchange = exchangeOf(request.raw)
    observer.begin(exchange, request.raw, reply.raw)
    const { fields } = exchange
    fields.push('x-request-id', exchange.requestId)
    if (isLastOf(request.raw.socket)) fields.push('connection', 'close')
    if (hsts && exchange.client.isSecure) fields.push('strict-transport-security', hsts)
    assertCanonical(exchange)
    if (config.server.httpsOnly && !exchange.client.isSecure && exchange.target?.path !== '/health')
      return void setFields(reply, fields).code(308).header('location', httpsLocation(request.raw)).send()
    const isPreflight = addCors(request, fields)
    // a browser takes a preflight without headers as a no
    if (isPreflight) return void setFields(reply, fields).code(204).send()
    if (exchange.node?.own) {
      setFields(reply, fields)
      if (exchange.expectsContinue) reply.raw.writeContinue()
    }
    done()
  })
  const server = app.server
  const stopWatching = tls && certificate ? watchCertificate(tls, server as unknown as Server, certificate, logger, showExpiry) : () => {}
  function showExpiry({ notAfter }: Certificate): void {
    metrics.tlsNotAfter.collectFrom(() => notAfter / 1000)
  }
  if (certificate) showExpiry(certificate)
  server.maxHeadersCount = 0 //           default 2000, and what is beyond is dropped silently: we count and answer 431
  // a client that does not read its answer holds the connection and what is written to it; silence alone is judged by the route's idleMs
  server.timeout = Math.max(STALLED_MS, ...config.routes.map(({ timeouts }) => timeouts.idleMs))
  const stalled = (socket: Socket) => {
    const busy = busyWith(socket)
    if (busy !== null && socket.writableLength === 0) return
    if (busy) exchangeOf(busy.req).error ??= problem('request_timeout', { cause: 'the client has read next to nothing for too long' })
    socket.destroy()
  }
  server.on('timeout', stalled)
  server.maxConnections = config.server.maxConnections
  // of several workers: else Node hands what one has no room for round for ever
  Object.assign(server, { dropMaxConnection: true }) // @types/node does not know it yet
  server.on('drop', () => metrics.connectionsRefused.inc())
  // without these listeners Node answers 100, 417 and nothing by itself, before anybody is authorised
  server.on('checkContinue', (req: IncomingMessage, res: ServerResponse) => {
    expecting.add(req)
    app.routing(req, res)
  })
  server.on('checkExpectation', (req: IncomingMessage, res: ServerResponse) => {
    unmet.add(req)
    app.routing(req, res)
  })
  // Node takes its own listeners off such a socket: without one of ours an error on it would end the process
  server.on('connect', (_req: IncomingMessage, socket: Socket) => {
    socket.on('error', () => socket.destroy()).setTimeout(server.timeout, () => socket.destroy())
    if (busyWith(socket)) socket.destroy()
    else writeRaw(socket, 'method_not_allowed', observer, clock)
  })
  server.on('upgrade', (req: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => socket.destroy())
    // behind a request that is not answered yet there is nobody who waits for a 101
    if (busyWith(socket)) return void socket.destroy()
    upgrading.add(req)
    // Node has taken its own listener off
    socket.on('timeout', () => stalled(socket))
    // bytes that came with the request are the stream's first: back they go
    if (head.length) socket.unshift(head)
    const res = new http.ServerResponse(req)
    res.assignSocket(socket)
    res.on('finish', () => socket.destroySoon())
    app.routing(req, res)
  })

  const connections = new Set<Socket>()
  // under TLS a response hangs on the socket that was secured, not on the one that was accepted
  server.on(certificate ? 'secureConnection' : 'connection', (socket: Socket) => {
    // each request that is pipelined listens for its end
    socket.setMaxListeners(0)
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
  })
  return {
    app,
    async close(timeoutMs) {
      stopWatching()
      // Node's closeIdleConnections leaves those that never sent a whole request
      const isIdle = (socket: Socket) => busyWith(socket) === null
      const idle = setInterval(() => {
        for (const socket of connections) if (isIdle(socket)) socket.destroySoon()
      }, 500)
      // a stream may have no end
      const end = setTimeout(() => server.closeAllConnections(), timeoutMs)
      await app.close()
      clearInterval(idle)
      clearTimeout(end)
    },
  }
}

/** Node's own maxRequestsPerSocket says `close` and leaves the connection open, and answers what follows with an empty 503. */
function countRequests(max: number): (socket: Socket) => boolean {
  if (max === 0) return () => false
  const counts = new WeakMap<Socket, number>()
  return (socket) => {
    const count = (counts.get(socket) ?? 0) + 1
    counts.set(socket, count)
    return count >= max
  }
}
