/** The connections of the public listener: what Node decides by itself that a gateway must decide, and how they all end. */
import http, { type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Config } from '../platform/config/schema.ts'
import { busyWith, type RefusalObserver, writeRaw } from '../platform/http/refuse.ts'
import type { Clock } from '../platform/lib/clock.ts'
import { problem } from '../platform/lib/errors.ts'
import type { Metrics } from '../platform/telemetry/metrics.ts'
import { exchangeOf } from '../proxy/routing/exchange.ts'

/** How long a client may take next to nothing of what is written to it, unless a route's idleMs is longer. */
const STALLED_MS = 30_000

export interface Connections {
  /** The request asked for `100-continue`, and nobody has answered it. */
  expectsContinue(req: IncomingMessage): boolean
  /** The request asked for something else with Expect. */
  expectsTheUnknown(req: IncomingMessage): boolean
  isUpgrade(req: IncomingMessage): boolean
  /** Counts a request of this connection. @returns true for its last one: the answer says `connection: close` */
  countRequest(socket: Socket): boolean
  /** Stops listening; connections without a request go within a second, the others after their answer, all of them at `timeoutMs`. */
  close(timeoutMs: number): Promise<void>
}

export interface ConnectionsDeps {
  app: FastifyInstance
  config: Config
  clock: Clock
  observer: RefusalObserver
  metrics: Metrics
}

/** Takes the server of `app` in hand, before it listens. */
export function takeConnections({ app, config, clock, observer, metrics }: ConnectionsDeps): Connections {
  const { server } = app
  const expecting = new WeakSet<IncomingMessage>()
  const expectingOther = new WeakSet<IncomingMessage>()
  const upgrading = new WeakSet<IncomingMessage>()
  server.maxHeadersCount = 0 // default 2000, and what is beyond is dropped silently: we count and answer 431
  server.maxConnections = config.server.maxConnections
  // of several workers: else Node hands a connection that one has no room for to the next, for ever
  Object.assign(server, { dropMaxConnection: true }) // @types/node does not know it yet
  server.on('drop', () => metrics.connectionsRefused.inc())

  // a client that does not read its answer holds the connection and what is written to it; silence alone is judged by the route's idleMs
  server.timeout = Math.max(STALLED_MS, ...config.routes.map(({ timeouts }) => timeouts.idleMs))
  const closeStalled = (socket: Socket) => {
    const busy = busyWith(socket)
    if (busy !== null && socket.writableLength === 0) return
    if (busy) exchangeOf(busy.req).error ??= problem('request_timeout', { cause: 'the client has read next to nothing for too long' })
    socket.destroy()
  }
  server.on('timeout', closeStalled)

  // without these listeners Node answers 100, 417 and nothing by itself, before anybody is authorised
  server.on('checkContinue', (req: IncomingMessage, res: http.ServerResponse) => {
    expecting.add(req)
    app.routing(req, res)
  })
  server.on('checkExpectation', (req: IncomingMessage, res: http.ServerResponse) => {
    expectingOther.add(req)
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
    socket.on('timeout', () => closeStalled(socket))
    // bytes that came with the request are the stream's first: back they go
    if (head.length) socket.unshift(head)
    const res = new http.ServerResponse(req)
    res.assignSocket(socket)
    res.on('finish', () => socket.destroySoon())
    app.routing(req, res)
  })

  return {
    expectsContinue: (req) => expecting.has(req),
    expectsTheUnknown: (req) => expectingOther.has(req),
    isUpgrade: (req) => upgrading.has(req),
    countRequest: createRequestCount(config.server.maxRequestsPerSocket),
    close: createClose(app, Boolean(config.server.tls)),
  }
}

function createClose(app: FastifyInstance, isTls: boolean): Connections['close'] {
  const { server } = app
  const connections = new Set<Socket>()
  // under TLS a response hangs on the socket that was secured, not on the one that was accepted
  server.on(isTls ? 'secureConnection' : 'connection', (socket: Socket) => {
    // each request that is pipelined listens for its end
    socket.setMaxListeners(0)
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
  })
  return async (timeoutMs) => {
    // Node's closeIdleConnections leaves those that never sent a whole request
    const idle = setInterval(() => {
      for (const socket of connections) if (busyWith(socket) === null) socket.destroySoon()
    }, 500)
    // a stream may have no end
    const end = setTimeout(() => server.closeAllConnections(), timeoutMs)
    await app.close()
    clearInterval(idle)
    clearTimeout(end)
  }
}

/** Node's own maxRequestsPerSocket says `close` and leaves the connection open, and answers what follows with an empty 503. */
function createRequestCount(max: number): (socket: Socket) => boolean {
  if (max === 0) return () => false
  const counts = new WeakMap<Socket, number>()
  return (socket) => {
    const count = (counts.get(socket) ?? 0) + 1
    counts.set(socket, count)
    return count >= max
  }
}
