/** Connections to upstreams: one pool an origin, who is next among a route's origins, and what a connection's death says. */
import diagnostics from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { buildConnector, Pool } from 'undici'
import { problem } from '../errors.ts'
import type { Route } from './routes.ts'

/** More at a time than this are not queued for, where they would have no deadline: they are told at once. */
const MAX_CONNECTIONS = 1024

export interface Upstream {
  /** `<route>:<n>`, for metrics. Never an address. */
  name: string
  origin: string
  /** The Host that the upstream is asked for. */
  authority: string
  pool: Pool
  /** Takes one of the pool's connections. @returns gives it back. @throws overloaded */
  admit(): () => void
}

export interface Upstreams {
  /** Round robin, each as often as its weight says. */
  next(route: Route): Upstream
  /** The error is of a connection that had served before and brought no byte since our request: it was closed as we wrote. */
  diedUnused(error: unknown): boolean
  close(): Promise<void>
}

interface SharedPool {
  pool: Pool
  admit(): () => void
}

export function createUpstreams(routes: readonly Route[]): Upstreams {
  const pools = new Map<string, SharedPool>()
  const rings = new Map<Route, { ring: Upstream[]; at: number }>()
  const deaths = watchDeaths()

  const poolFor = (origin: string, connectMs: number): SharedPool => {
    const key = `${origin} ${connectMs}`
    const shared = pools.get(key) ?? createPool(origin, connectMs, deaths.watch)
    pools.set(key, shared)
    return shared
  }

  for (const route of routes) {
    const distinct = [...new Set(route.origins)]
    const ring = interleave(route.origins).map((origin) => ({
      name: `${route.name}:${distinct.indexOf(origin)}`,
      origin,
      authority: new URL(origin).host,
      ...poolFor(origin, route.timeouts.connectMs),
    }))
    rings.set(route, { ring, at: 0 })
  }

  return {
    next(route) {
      const state = rings.get(route)!
      const upstream = state.ring[state.at]!
      state.at = (state.at + 1) % state.ring.length
      return upstream
    },
    diedUnused: deaths.wereUnused,
    close: async () => {
      deaths.stop()
      // what is in flight has had its time: the server closed before us
      await Promise.all([...pools.values()].map(({ pool }) => pool.destroy()))
    },
  }
}

function createPool(origin: string, connectMs: number, watch: (socket: Socket) => void): SharedPool {
  const connector = buildConnector({ timeout: connectMs })
  let taken = 0
  const pool = new Pool(origin, {
    connections: MAX_CONNECTIONS,
    pipelining: 1,
    connect: (options, callback) =>
      connector(options, (...result) => {
        if (result[1]) watch(result[1] as Socket)
        callback(...result)
      }),
    // below what servers use (Node 5 s), so that we do not send on a connection that is being closed
    keepAliveTimeout: 4000,
    keepAliveMaxTimeout: 4000,
    // undici would take 16 KiB of response headers only
    maxHeaderSize: 65_536,
  })
  return {
    pool,
    admit() {
      if (taken >= MAX_CONNECTIONS)
        throw problem('overloaded', { cause: `${taken} requests at ${origin}`, headers: { 'retry-after': '1' } })
      taken++
      return () => void taken--
    },
  }
}

/** undici tells when it writes a request to a socket; what the socket had read by then tells whether it brought anything since. */
function watchDeaths() {
  const bytesAtSend = new WeakMap<Socket, number>()
  const socketOf = new WeakMap<Error, Socket>()
  const byPort = new Map<number, Socket>()
  const onSend = (message: unknown) => {
    const { socket } = message as { socket: Socket }
    bytesAtSend.set(socket, socket.bytesRead)
  }
  diagnostics.subscribe('undici:client:sendHeaders', onSend)
  return {
    watch(socket: Socket) {
      const port = socket.localPort!
      byPort.set(port, socket)
      socket.prependListener('error', (error) => socketOf.set(error, socket))
      socket.once('close', () => byPort.delete(port))
    },
    wereUnused(error: unknown): boolean {
      if (!(error instanceof Error)) return false
      const port = (error as { socket?: { localPort?: number } }).socket?.localPort
      const socket = socketOf.get(error) ?? byPort.get(port ?? 0)
      const before = socket && bytesAtSend.get(socket)
      return before !== undefined && before > 0 && socket!.bytesRead === before
    },
    stop: () => void diagnostics.unsubscribe('undici:client:sendHeaders', onSend),
  }
}

/** `a a a b` → `a a b a`: a heavy origin does not get its share in one burst. */
function interleave(origins: readonly string[]): string[] {
  const total = origins.length
  const share = new Map<string, number>()
  for (const origin of origins) share.set(origin, (share.get(origin) ?? 0) + 1)
  const credit = new Map<string, number>([...share.keys()].map((o) => [o, 0]))
  return origins.map(() => {
    for (const [origin, weight] of share) credit.set(origin, credit.get(origin)! + weight)
    const [chosen] = [...credit].reduce((best, entry) => (entry[1] > best[1] ? entry : best))
    credit.set(chosen, credit.get(chosen)! - total)
    return chosen
  })
}
