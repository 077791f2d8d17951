/**
 * The public listener. It belongs to the process: it takes connections, and hands each request to the generation in force. A reload puts
 * another generation in force, while the listener and its connections stay.
 */
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import net, { type AddressInfo, type Socket } from 'node:net'
import type { Config } from '../platform/config/schema.ts'
import { type RefusalObserver, refuseConnection } from '../platform/http/refuse.ts'
import type { Clock } from '../platform/lib/clock.ts'
import type { Metrics } from '../platform/telemetry/metrics.ts'
import type { AcmeFollower } from './acme.ts'
import type { Certificate } from './certificate.ts'
import { type Connections, takeConnections } from './connections.ts'
import type { Gate } from './overload/gate.ts'

/** What answers the requests of one configuration. */
export interface Handlers {
  handle(req: IncomingMessage, res: ServerResponse): void
  /** The request is a WebSocket handshake on a route that allows it. */
  isHandshake(req: IncomingMessage): boolean
  /** For refusals of bytes that are no request: lower-case name, value. */
  rawFields: readonly string[]
  /** For refusals of a request before any work: lower-case name, value. */
  errorFields(req: IncomingMessage): readonly string[]
  /** Answers that follow have `connection: close`. */
  close(): Promise<void>
}

export interface Listener {
  /** Of http or of https. */
  server: http.Server
  connections: Connections
  /** Each request from now on goes to these handlers. Requests in flight stay where they are. */
  use(handlers: Handlers, routes: Config['routes']): void
  /** @returns the address as a URL */
  listen(address: { host: string; port: number }): Promise<string>
  /** Stops listening. Connections without a request close within a second, others after their response, all of them at `timeoutMs`. */
  close(timeoutMs: number): Promise<void>
}

export interface ListenerDeps {
  config: Config
  clock: Clock
  observer: RefusalObserver
  metrics: Metrics
  gate: Gate
  /** Of files. Null: plain HTTP, or a certificate that ACME brings: until then TLS handshakes fail. */
  certificate: Certificate | null
  /** Answers challenges of an ACME server before anything else sees them. Null: no ACME. */
  acme: Pick<AcmeFollower, 'answerHttp' | 'takeConnection'> | null
}

/** A busy process takes few new connections, and a connection that finds the queue full may never be answered. The kernel may allow fewer. */
const BACKLOG = 4096

export function createListener({ config, clock, observer, metrics, gate, certificate, acme }: ListenerDeps): Listener {
  const isTls = certificate !== null || acme !== null
  const server = createNodeServer(config.server, isTls, certificate)
  let current: Handlers = NONE
  const handle = (req: IncomingMessage, res: ServerResponse) => current.handle(req, res)
  server.on('clientError', (error, socket) => refuseConnection(error, socket as Socket, observer, clock, current.rawFields))
  const connections = takeConnections({
    server,
    route: acme ? (req, res) => acme.answerHttp(req, res, () => handle(req, res)) : handle,
    takeConnection: acme?.takeConnection ?? null,
    isHandshake: (req) => current.isHandshake(req),
    closeServer: () => Promise.all([current.close(), closeServer()]),
    config,
    clock,
    observer,
    metrics,
    gate,
  })
  /** `localhost` has two addresses on most machines. */
  const others: net.Server[] = []

  const closeServer = () =>
    new Promise<void>((resolve) => {
      for (const other of others) other.close()
      server.close(() => resolve())
    })

  /** Passes the connections of another address to the one server. */
  async function listenBeside(host: string, port: number): Promise<void> {
    const other = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => void server.emit('connection', socket))
    try {
      await once(other.listen({ host, port, backlog: BACKLOG }), 'listening')
      others.push(other)
    } catch {
      // the machine has the name for an address, but not the address
    }
  }

  return {
    server,
    connections,
    use(handlers, routes) {
      current = handlers
      connections.expectRoutes(routes)
    },
    async listen({ host, port }) {
      await once(server.listen({ host, port, backlog: BACKLOG }), 'listening')
      const { address, port: taken } = server.address() as AddressInfo
      const beside = host === 'localhost' ? (await lookup(host, { all: true })).filter((found) => found.address !== address) : []
      for (const found of beside) await listenBeside(found.address, taken)
      return `${isTls ? 'https' : 'http'}://${address.includes(':') ? `[${address}]` : address}:${taken}`
    },
    close: (timeoutMs) => connections.close(timeoutMs),
  }
}

/** Before the first generation nothing listens. */
const NONE: Handlers = {
  handle: (_req, res) => void res.destroy(),
  isHandshake: () => false,
  rawFields: [],
  errorFields: () => [],
  close: async () => {},
}

function createNodeServer(config: Config['server'], isTls: boolean, certificate: Certificate | null): http.Server {
  const options = {
    maxHeaderSize: config.maxHeaderBytes,
    requireHostHeader: false,
    headersTimeout: config.headersTimeoutMs,
    handshakeTimeout: config.headersTimeoutMs, // of TLS; default 120 s
    insecureHTTPParser: false,
    connectionsCheckingInterval: 250, // default 30 s: too coarse for deadlines of 10 s; frequent checks are short
    requestTimeout: config.requestTimeoutMs,
    keepAliveTimeout: config.keepAliveTimeoutMs,
  }
  // a stream may be silent for long, so that Node has no timeout of its own for a connection: idleMs of the route bounds it
  if (!isTls) return http.createServer(options)
  const pair = certificate && { cert: certificate.cert, key: certificate.key }
  // Node's own list lacks http/1.0, and would refuse the handshake of a client that offers only that
  return https.createServer({ ...options, ...pair, ALPNProtocols: ['http/1.1', 'http/1.0'], allowHalfOpen: true }) as http.Server
}
