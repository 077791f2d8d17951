/** The servers behind a route: who is next, whether it is well, how many requests it takes at a time, and the connections to it. */
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

/** undici and Node would take 16 KiB of an upstream's. */
export const MAX_RESPONSE_HEADER_BYTES = 65_536

export interface Upstream {
  /** `<route>:<n>`, for metrics. Never an address. */
  name: string
  origin: string
  /** Of the origin, for `net.connect`. */
  address: { isTls: boolean; host: string; port: number }
  /** The Host that it is asked for. */
  authority: string
  /** The connections of the moment: another pool once its name leads somewhere else. */
  pool(): Pool
  /** For a connection that is none of the pool's. TLS is verified, against the operator's CA if there is one. */
  connectOptions: { lookup: LookupFunction; ca?: Buffer; cert?: Buffer; key?: Buffer }
  observe(seconds: number): void
  countRetry(): void
}

/** One request's place at an upstream. */
export interface UpstreamSlot {
  upstream: Upstream
  /** The upstream answered, or failed by its own fault; what is said first counts. */
  report(hasAnswered: boolean): void
  /** Gives the place back. */
  leave(): void
}

export interface Upstreams {
  /**
   * Weighted round robin over the servers of a route that are well, those with a free place first; else the queue of the one whose turn it is.
   * @throws unavailable while every breaker is open, overloaded when the queue is full or took too long
   */
  enter(route: Route, client: Waiter): UpstreamSlot | Promise<UpstreamSlot>
  /** For the second try of a request. @param besides not this one @returns null when there is no other with a free place */
  enterAgain(route: Route, besides: Upstream): UpstreamSlot | null
  /** The error is of a connection that had served before and brought no byte since our request: it was closed as we wrote. */
  diedUnused(error: unknown): boolean
  /** `<route>:<n>` and its breaker, for metrics. */
  states(): Iterable<[name: string, state: CircuitState]>
  close(): Promise<void>
}

export interface UpstreamsDeps {
  routes: readonly Route[]
  clock: Clock
  logger: Logger
  metrics: Metrics
  /** Undefined: as the system does. */
  resolve: Resolve | undefined
}

interface Member {
  upstream: Upstream
  breaker: CircuitBreaker
  bulkhead: Bulkhead
  weight: number
  /** Smooth weighted round robin: grows by the weight each turn, the winner pays for all. */
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
          connector(options, (...result) => {
            if (result[1]) staleConnections.watch(result[1])
            callback(...result)
          }),
        // below what servers use (Node 5 s), so that we do not send on a connection that is being closed
        keepAliveTimeout: 4000,
        keepAliveMaxTimeout: 4000,
        maxHeaderSize: MAX_RESPONSE_HEADER_BYTES,
        // forward.ts keeps it: undici's own is up to a second late
        headersTimeout: 0,
      })
    let pool = createPool()
    dns.watch(address.host, () => {
      logger.info({ upstream: name }, 'the name of an upstream leads somewhere else: new connections')
      const left = pool
      pool = createPool()
      // what is in flight there ends as it would have
      left.close().catch(() => {})
    })
    const breaker = createCircuitBreaker(route.breaker, clock, (state) => {
      if (state === 'open')
        logger.warn({ reason: 'upstream_breaker_open', upstream: name, retry_ms: breaker.waitMs() }, 'an upstream fails')
      else logger.info({ upstream: name }, 'an upstream answers again')
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
    let isTold = false
    return {
      upstream,
      report(hasAnswered) {
        if (isTold) return
        isTold = true
        breaker.report(isTrial, hasAnswered, askedAt)
      },
      leave() {
        bulkhead.giveBack()
        if (isTrial && !isTold) breaker.release()
      },
    }
  }

  function enter(route: Route, client: Waiter): UpstreamSlot | Promise<UpstreamSlot> {
    const ring = members.get(route)!
    const member = choose(ring)
    if (!member) throw noneIsWell(route, ring)
    if (member.bulkhead.take()) return slotOf(member)
    return member.bulkhead.wait(client, member.upstream.name).then(() => {
      if (member.breaker.permits()) return slotOf(member)
      // it fell ill while we waited: another one, or nobody
      member.bulkhead.giveBack()
      return enter(route, client)
    })
  }

  return {
    enter,
    enterAgain(route, besides) {
      const member = choose(members.get(route)!, besides)
      return member?.bulkhead.take() ? slotOf(member) : null
    },
    diedUnused: staleConnections.wereUnused,
    *states() {
      for (const ring of members.values()) for (const { upstream, breaker } of ring) yield [upstream.name, breaker.state()]
    },
    close: async () => {
      staleConnections.stop()
      dns.stop()
      // what is in flight has had its time: the server closed before us
      await Promise.all([...members.values()].flat().map((member) => member.close()))
    },
  }
}

function noneIsWell({ name }: Route, ring: readonly Member[]): Problem {
  const seconds = Math.ceil(Math.min(...ring.map((m) => m.breaker.waitMs())) / 1000)
  return unavailable(`every upstream of route ${name} has failed of late`, Math.max(1, seconds))
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
