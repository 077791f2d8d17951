/** Connections to upstreams: one pool an origin, and who is next among a route's origins. */
import { Pool } from 'undici'
import type { Route } from './routes.ts'

export interface Upstream {
  /** `<route>:<n>`, for metrics. Never an address. */
  name: string
  origin: string
  /** The Host that the upstream is asked for. */
  authority: string
  pool: Pool
}

export interface Upstreams {
  /** Round robin, each as often as its weight says. */
  next(route: Route): Upstream
  close(): Promise<void>
}

export function createUpstreams(routes: readonly Route[]): Upstreams {
  const pools = new Map<string, Pool>()
  const rings = new Map<Route, { ring: Upstream[]; at: number }>()

  const poolFor = (origin: string, connectMs: number): Pool => {
    const key = `${origin} ${connectMs}`
    const pool =
      pools.get(key) ??
      new Pool(origin, {
        connections: 256,
        pipelining: 1,
        connect: { timeout: connectMs },
        // below what servers use (Node 5 s), so that we do not send on a connection that is being closed
        keepAliveTimeout: 4000,
        keepAliveMaxTimeout: 4000,
        // undici would take 16 KiB of response headers only
        maxHeaderSize: 65_536,
      })
    pools.set(key, pool)
    return pool
  }

  for (const route of routes) {
    const distinct = [...new Set(route.origins)]
    const ring = interleave(route.origins).map((origin) => ({
      name: `${route.name}:${distinct.indexOf(origin)}`,
      origin,
      authority: new URL(origin).host,
      pool: poolFor(origin, route.timeouts.connectMs),
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
    close: async () => {
      // what is in flight has had its time: the server closed before us
      await Promise.all([...pools.values()].map((pool) => pool.destroy()))
    },
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
