/** The connections of the public listener: replaces Node's own handling of unusual requests, counts requests, and closes connections. */
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import type { Config } from '../platform/config/schema.ts'
import { endsByClose, resetConnection } from '../platform/http/cut.ts'
import { busyWith, type RefusalObserver, writeRaw } from '../platform/http/refuse.ts'
import { readWithoutOffer } from '../platform/http/upgrade-offer.ts'
import type { Clock } from '../platform/lib/clock.ts'
import { problem } from '../platform/lib/errors.ts'
import type { Metrics } from '../platform/telemetry/metrics.ts'
import { exchangeOf } from '../proxy/routing/exchange.ts'
import { boundAnswer } from './half-closed.ts'
import type { Gate } from './overload/gate.ts'
import type { TakeConnection } from './tls-alpn.ts'

/** A client must read some of its response within this time, unless a route's idleMs is longer. */
const STALLED_MS = 30_000

export interface Connections {
  /** The request sent `Expect: 100-continue`, and has no answer yet. */
  expectsContinue(req: IncomingMessage): boolean
  /** The request sent another value of Expect. */
  expectsTheUnknown(req: IncomingMessage): boolean
  isUpgrade(req: IncomingMessage): boolean
  /** Counts a request of this connection. @returns true for its last request: the response then has `connection: close` */
  countRequest(socket: Socket): boolean
  /** New connections may be silent for as long as these routes allow. */
  expectRoutes(routes: Config['routes']): void
  /** Stops listening. Connections without a request close within a second, others after their response, all of them at `timeoutMs`. */
  close(timeoutMs: number): Promise<void>
}

export interface ConnectionsDeps {
  server: http.Server
  /** Hands a request to the generation in force. */
  route(req: IncomingMessage, res: http.ServerResponse): void
  /** Takes no more connections. Resolves when all of them are closed. */
  closeServer(): Promise<unknown>
  config: Config
  clock: Clock
  observer: RefusalObserver
  metrics: Metrics
  gate: Pick<Gate, 'refuses' | 'acceptance' | 'refuseConnection' | 'listening' | 'isTight'>
  /** The request is a WebSocket handshake on a route that allows it. */
  isHandshake(req: IncomingMessage): boolean
  /** Sees each new connection first. Null: nobody does. */
  takeConnection: TakeConnection | null
}

/** Sets up the server, before it listens. */
export function takeConnections({
  server,
  route,
  closeServer,
  config,
  clock,
  observer,
  metrics,
  gate,
  isHandshake,
  takeConnection,
}: ConnectionsDeps): Connections {
  const expecting = new WeakSet<IncomingMessage>()
  const expectingOther = new WeakSet<IncomingMessage>()
  const upgrading = new WeakSet<IncomingMessage>()
  server.maxHeadersCount = 0 // default 2000, and further fields are dropped silently: we count them and answer 431
  // by default Node closes our half at once, and the answer is lost
  Object.assign(server, { httpAllowHalfOpen: true }) // missing in @types/node
  server.maxConnections = config.server.maxConnections
  // with several workers, Node would otherwise pass a connection over the limit from worker to worker for ever
  Object.assign(server, { dropMaxConnection: true }) // missing in @types/node
  server.on('drop', () => metrics.connectionsRefused.inc())
  server.once('listening', () => {
    server.maxConnections = gate.listening()
  })
  const open = countOpen(server, gate, takeConnection)

  // a client that does not read its response holds a connection and memory; an upstream's silence is bounded by the route's idleMs
  const expectRoutes = (routes: Config['routes']) => {
    server.timeout = Math.max(STALLED_MS, ...routes.map(({ timeouts }) => timeouts.idleMs))
  }
  expectRoutes(config.routes)
  const closeStalled = (socket: Socket) => {
    const busy = busyWith(socket)
    if (busy !== null && socket.writableLength === 0) return
    if (busy) exchangeOf(busy.req).error ??= problem('request_timeout', { cause: 'the client has read almost nothing for too long' })
    if (busy && endsByClose(busy.req)) resetConnection(socket)
    else socket.destroy()
  }
  server.on('timeout', closeStalled)

  /** Every request comes here, before any work. */
  const receive = (req: IncomingMessage, res: http.ServerResponse) => {
    if (!gate.refuses(req, res)) route(req, res)
  }
  server.on('request', receive)

  // without these listeners Node itself answers 100 and 417, and drops CONNECT, before authorisation
  server.on('checkContinue', (req: IncomingMessage, res: http.ServerResponse) => {
    expecting.add(req)
    receive(req, res)
  })
  server.on('checkExpectation', (req: IncomingMessage, res: http.ServerResponse) => {
    expectingOther.add(req)
    receive(req, res)
  })
  // Node removes its own listeners from this socket: without ours, an error would end the process
  server.on('connect', (_req: IncomingMessage, socket: Socket) => {
    socket.on('error', () => socket.destroy()).setTimeout(server.timeout, () => socket.destroy())
    if (busyWith(socket)) socket.destroy()
    else writeRaw(socket, 'method_not_allowed', observer, clock)
  })
  server.on('upgrade', (req: IncomingMessage, socket: Socket, head: Buffer) => {
    if (!isHandshake(req)) return readWithoutOffer(server, req, socket, head)
    socket.on('error', () => socket.destroy())
    // behind an unanswered request a 101 cannot be sent
    if (busyWith(socket)) return void socket.destroy()
    upgrading.add(req)
    // Node has removed its own listener
    socket.on('timeout', () => closeStalled(socket))
    // bytes that came with the request belong to the stream
    if (head.length) socket.unshift(head)
    const res = new http.ServerResponse(req)
    res.assignSocket(socket)
    res.on('finish', () => socket.destroySoon())
    receive(req, res)
  })

  const countRequest = createRequestCount(config.server.maxRequestsPerSocket)
  return {
    expectsContinue: (req) => expecting.has(req),
    expectsTheUnknown: (req) => expectingOther.has(req),
    isUpgrade: (req) => upgrading.has(req),
    countRequest: (socket) => countRequest(socket) || gate.isTight(open.size),
    expectRoutes,
    close: createClose(server, closeServer, clock, open),
  }
}

/** Connections that the gate refuses never reach Node's parser. @returns the open connections, also those before the end of a TLS handshake */
function countOpen(
  server: http.Server,
  gate: ConnectionsDeps['gate'],
  takeConnection: ConnectionsDeps['takeConnection'],
): ReadonlySet<Socket> {
  const open = new Set<Socket>()
  const nodesOwn = server.listeners('connection') as ((socket: Socket) => void)[]
  const pass = (socket: Socket) => {
    for (const take of nodesOwn) take.call(server, socket)
  }
  server.removeAllListeners('connection').on('connection', (socket: Socket) => {
    // a connection is announced again when its parser is replaced
    if (!open.has(socket)) {
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      const reason = gate.acceptance(socket, open.size)
      if (reason !== null) return gate.refuseConnection(socket, reason)
      if (takeConnection) return takeConnection(socket, () => pass(socket))
    }
    pass(socket)
  })
  return open
}

function createClose(
  server: http.Server,
  closeServer: () => Promise<unknown>,
  clock: Clock,
  open: ReadonlySet<Socket>,
): Connections['close'] {
  const connections = new Set<Socket>()
  // under TLS, responses belong to the TLS socket, not to the accepted socket
  server.on(server instanceof https.Server ? 'secureConnection' : 'connection', (socket: Socket) => {
    // a connection is announced again when its parser is replaced
    if (connections.has(socket)) return
    // each pipelined request adds a listener
    socket.setMaxListeners(0)
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
    // behind Node's own listener
    socket.once('end', () => boundAnswer(socket, clock))
  })
  return async (timeoutMs) => {
    // Node's closeIdleConnections misses connections that never sent a whole request
    const idle = setInterval(() => {
      for (const socket of connections) if (busyWith(socket) === null) socket.destroySoon()
    }, 500)
    // a stream may never end
    const end = setTimeout(() => {
      for (const socket of connections) {
        const busy = busyWith(socket)
        if (busy && endsByClose(busy.req)) resetConnection(socket)
      }
      server.closeAllConnections()
      // Node's list lacks connections whose request waits to be read again
      for (const socket of connections) socket.destroy()
      for (const socket of open) socket.destroy()
    }, timeoutMs)
    await closeServer()
    clearInterval(idle)
    clearTimeout(end)
  }
}

/** Node's own maxRequestsPerSocket sends `close` but keeps the connection open, and answers further requests with an empty 503. */
function createRequestCount(max: number): (socket: Socket) => boolean {
  if (max === 0) return () => false
  const counts = new WeakMap<Socket, number>()
  return (socket) => {
    const count = (counts.get(socket) ?? 0) + 1
    counts.set(socket, count)
    return count >= max
  }
}
