/** The servers behind a route: the balancing between them, their health, their slots, and the connections to them. */
import { readFileSync } from 'node:fs'
import type { LookupFunction } from 'node:net'
import { buildConnector, Pool } from 'undici'
import type { Clock } from '../../platform/lib/clock.ts'
import { type Problem, unavailable } from '../../platform/lib/errors.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Route, Server } from '../routing/route-table.ts'
import { type Bulkhead, createBulkhead, type Waiter } from './bulkhead.ts'
import { type CircuitBreaker, type CircuitState, createCircuitBreaker } from './circuit-breaker.ts'
import { createDnsCache, type Resolve } from './dns.ts'
import { watchStaleConnections } from './stale-connections.ts'

/** The defaults of undici and Node are 16 KiB. */
export const MAX_RESPONSE_HEADER_BYTES = 65_536

export interface Upstream {
  /** `<route>:<n>`, for metrics. Never an address. */
  name: string
  origin: string
  /** Of the origin, for `net.connect`. */
  address: { isTls: boolean; host: string; port: number }
  /** The value of the Host header. */
  authority: string
  /** The present connections: a new pool once the name resolves to other addresses. */
  pool(): Pool
  /** For a connection outside the pool. TLS is verified, against the operator's CA if there is one. */
  connectOptions: { lookup: LookupFunction; ca?: Buffer; cert?: Buffer; key?: Buffer }
  observe(seconds: number): void
  countRetry(): void
}

/** The slot of one request at an upstream. */
export interface UpstreamSlot {
  upstream: Upstream
  /** The upstream answered, or failed by its own fault. Only the first report counts. */
  report(hasAnswered: boolean): void
  /** Frees the slot. */
  leave(): void
}

export interface Upstreams {
  /**
   * Weighted round robin over the healthy servers of a route. Servers with a free slot go first; else the request queues at the server
   * whose turn it is.
   * @throws unavailable while every breaker is open, overloaded when the queue is full or took too long
   */
  enter(route: Route, waiter: Waiter): UpstreamSlot | Promise<UpstreamSlot>
  /** For the second try of a request. @param besides the server to leave out @returns null when no other server has a free slot */
  enterAgain(route: Route, besides: Upstream): UpstreamSlot | null
  /** True for the error of a connection that had served before and received no byte since our request: it was closed as we wrote. */
  wasStale(error: unknown): boolean
  /** `<route>:<n>` and the state of its breaker, for metrics. */
  states(): Iterable<[name: string, state: CircuitState]>
  close(): Promise<void>
}

export interface UpstreamsDeps {
  routes: readonly Route[]
  clock: Clock
  logger: Logger
  metrics: Metrics
  /** Undefined: the system's resolver. */
  resolve: Resolve | undefined
}

interface Member {
  upstream: Upstream
  breaker: CircuitBreaker
  bulkhead: Bulkhead
  weight: number
  /** Smooth weighted round robin: each turn adds the weight; the chosen server pays the total. */
  credit: number
  close(): Promise<void>
}

export function createUpstreams({ routes, clock, logger, metrics, resolve }: UpstreamsDeps): Upstreams {
  const staleConnections = watchStaleConnections()
  const dns = createDnsCache(resolve)
  const members = new Map<Route, Member[]>()
  for (const route of routes)
    members.set(
      route,
      route.servers.map((server, i) => join(route, server, `${route.name}:${i}`)),
    )

  function join(route: Route, server: Server, name: string): Member {
    const { protocol, hostname, host, port } = new URL(server.origin)
    const isTls = protocol === 'https:'
    const address = { isTls, host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || (isTls ? 443 : 80) }
    const connectOptions = { lookup: dns.lookupOf(address.host), ...readTls(server, `route ${route.name}`) }
    const connector = buildConnector({ timeout: route.timeouts.connectMs, ...connectOptions } as buildConnector.BuildOptions)
    const createPool = () =>
      new Pool(server.origin, {
        connections: route.connections.max,
        pipelining: 1,
        connect: (options, callback) =>
          // the name for TLS is the upstream's, whatever Host the first client sent
          connector(route.preserveHost ? { ...options, servername: '' } : options, (...result) => {
            if (result[1]) staleConnections.watch(result[1])
            callback(...result)
          }),
        // below the usual timeouts of servers (Node 5 s), so that we do not send on a connection that is being closed
        keepAliveTimeout: 4000,
        keepAliveMaxTimeout: 4000,
        maxHeaderSize: MAX_RESPONSE_HEADER_BYTES,
        // watchdog.ts keeps this deadline: undici's own is up to a second late
        headersTimeout: 0,
      })
    let pool = createPool()
    dns.watch(address.host, () => {
      logger.info({ upstream: name }, 'the name of an upstream resolves to other addresses: new connections are opened')
      const left = pool
      pool = createPool()
      // requests that are in flight on the old pool end regularly
      left.close().catch(() => {})
    })
    const breaker = createCircuitBreaker(route.breaker, clock, (state) => {
      if (state === 'open')
        logger.warn(
          { reason: 'upstream_breaker_open', upstream: name, retry_ms: breaker.waitMs() },
          'an upstream is unhealthy: its circuit breaker has opened',
        )
      else logger.info({ upstream: name }, 'an upstream is healthy again: its circuit breaker has closed')
    })
    const seconds = metrics.upstreamSeconds.bind({ upstream: name })
    const upstream: Upstream = {
      name,
      origin: server.origin,
      address,
      authority: route.hostHeader ?? host,
      pool: () => pool,
      connectOptions,
      observe: (s) => seconds.observe(s),
      countRetry: () => metrics.upstreamRetries.inc({ upstream: name }),
    }
    return {
      upstream,
      breaker,
      bulkhead: createBulkhead(route.connections),
      weight: server.weight,
      credit: 0,
      close: () => pool.destroy(),
    }
  }

  /** Null: no breaker permits a request. */
  function choose(ring: readonly Member[], besides?: Upstream): Member | null {
    if (ring.length === 1) return ring[0]!.breaker.permits() && ring[0]!.upstream !== besides ? ring[0]! : null
    const able = ring.filter((m) => m.breaker.permits() && m.upstream !== besides)
    const free = able.filter((m) => m.bulkhead.hasFree())
    const candidates = free.length ? free : able
    let total = 0
    let chosen: Member | null = null
    for (const member of candidates) {
      member.credit += member.weight
      total += member.weight
      if (!chosen || member.credit > chosen.credit) chosen = member
    }
    if (chosen) chosen.credit -= total
    return chosen
  }

  const slotOf = ({ upstream, breaker, bulkhead }: Member): UpstreamSlot => {
    const isTrial = breaker.begin()
    const askedAt = clock.now()
    let isReported = false
    return {
      upstream,
      report(hasAnswered) {
        if (isReported) return
        isReported = true
        breaker.report(isTrial, hasAnswered, askedAt)
      },
      leave() {
        bulkhead.giveBack()
        if (isTrial && !isReported) breaker.release()
      },
    }
  }

  function enter(route: Route, waiter: Waiter): UpstreamSlot | Promise<UpstreamSlot> {
    const ring = members.get(route)!
    const member = choose(ring)
    if (!member) throw noneIsHealthy(route, ring)
    if (member.bulkhead.take()) return slotOf(member)
    return member.bulkhead.wait(waiter, member.upstream.name).then(() => {
      if (member.breaker.permits()) return slotOf(member)
      // its breaker opened while we waited: try another server
      member.bulkhead.giveBack()
      return enter(route, waiter)
    })
  }

  return {
    enter,
    enterAgain(route, besides) {
      const member = choose(members.get(route)!, besides)
      return member?.bulkhead.take() ? slotOf(member) : null
    },
    wasStale: staleConnections.wereUnused,
    *states() {
      for (const ring of members.values()) for (const { upstream, breaker } of ring) yield [upstream.name, breaker.state()]
    },
    close: async () => {
      staleConnections.stop()
      dns.stop()
      // requests in flight have had their time: the listener closed first
      await Promise.all([...members.values()].flat().map((member) => member.close()))
    },
  }
}

function noneIsHealthy({ name }: Route, ring: readonly Member[]): Problem {
  const seconds = Math.ceil(Math.min(...ring.map((m) => m.breaker.waitMs())) / 1000)
  return unavailable(`every upstream of route ${name} has failed recently`, Math.max(1, seconds))
}

function readTls({ tls }: Server, where: string): { ca?: Buffer; cert?: Buffer; key?: Buffer } {
  const files = Object.entries(tls ?? {}) as ['ca' | 'cert' | 'key', string][]
  return Object.fromEntries(
    files.map(([what, path]) => {
      try {
        return [what, readFileSync(path)]
      } catch (error) {
        throw new Error(`${where}: the upstream's tls.${what} cannot be read`, { cause: error })
      }
    }),
  )
}
