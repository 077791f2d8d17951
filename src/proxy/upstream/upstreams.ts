/** The servers behind a route: the balancing between them, their health, their slots, and the connections to them. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { createSecureContext } from 'node:tls'
import { buildConnector, Client, type Dispatcher, Pool } from 'undici'
import type { Clock } from '../../platform/lib/clock.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import type { SampledTrace } from '../../platform/telemetry/fast-metrics.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import { type Exchange, exchangeOf } from '../routing/exchange.ts'
import type { Route, Server } from '../routing/route-table.ts'
import { type Candidate, leastBusy, takeTurn } from './balancing.ts'
import { type Bulkhead, createBulkhead, type Holder, type Waiter } from './bulkhead.ts'
import { type CircuitBreaker, type CircuitState, createCircuitBreaker, type Outcome } from './circuit-breaker.ts'
import { createDnsCache, type Resolve } from './dns.ts'
import { type CheckedServer, createAsk, type HealthCheck, type HealthRules, startHealthCheck } from './health-checks.ts'
import { createStickySessions, type StickySessions, stickyKeyOf } from './sticky-sessions.ts'
import { watchRequests, watchSocket } from './upstream-sockets.ts'

/** The defaults of undici and Node are 16 KiB. */
export const MAX_RESPONSE_HEADER_BYTES = 65_536

export interface Upstream extends CheckedServer {
  /** `<route>:<n>`, for metrics. Never an address. */
  name: string
  origin: string
  /** The present connections: a new pool once the name resolves to other addresses. */
  pool(): Pool
  /** A connection of its own, for one request. Close it after the request was dispatched: it closes when the request is done. */
  freshConnection(): Dispatcher
  observe(seconds: number, trace: SampledTrace | null): void
  countRetry(): void
}

/** The slot of one request at an upstream. */
export interface UpstreamSlot {
  upstream: Upstream
  /** What the request has shown about its upstream. Only the first report counts. @param path of the request, without its query */
  report(outcome: Outcome, path: string): void
  /** The request has a connection. */
  connected(): void
  /** Frees the slot. */
  leave(): void
}

export interface Upstreams {
  /**
   * Balances over the healthy servers of a route, by its `balance`. Servers with a free slot go first; else the request queues at the
   * server whose turn it is. A sticky client waits for a slot of its own server.
   * @throws unavailable while every breaker is open, overloaded when the queue is full or took too long
   */
  enter(route: Route, waiter: Waiter, request: IncomingMessage): UpstreamSlot | Promise<UpstreamSlot>
  /** For another try of a request. @param besides the servers to leave out @returns null when no other server has a free slot */
  enterAgain(route: Route, besides: readonly Upstream[], request: IncomingMessage): UpstreamSlot | null
  /** True for the error of a connection that could not be opened. */
  couldNotConnect(error: unknown): boolean
}

/** The servers of one configuration. */
export interface PreparedUpstreams extends Upstreams {
  /** Puts them in force. Servers that are no longer used finish their requests, and get no further checks. */
  commit(): void
  /** The configuration is not used. */
  cancel(): void
}

/** The servers of this process. They outlive a configuration: a server that did not change keeps its connections, its health and its queue. */
export interface UpstreamServers {
  /** @throws when a file of TLS cannot be used */
  prepare(routes: readonly Route[]): PreparedUpstreams
  /** `<route>:<n>` and the state of its breaker, for metrics. */
  states(): Iterable<[name: string, state: CircuitState]>
  /** `<route>:<n>` and the result of its health checks, for metrics. Only servers with checks. */
  checked(): Iterable<[name: string, isHealthy: boolean]>
  close(): Promise<void>
}

export interface UpstreamsDeps {
  clock: Clock
  logger: Logger
  metrics: Metrics
  secrets: Secrets
  /** Undefined: the system's resolver. */
  resolve: Resolve | undefined
}

/** One server of one route. */
interface Backend {
  /** Everything that it was made from. */
  key: string
  upstream: Upstream
  breaker: CircuitBreaker
  bulkhead: Bulkhead
  /** Null without active checks, and before `start`. */
  health: HealthCheck | null
  rename(name: string): void
  /** Begins the checks of its health and of its addresses. */
  start(): void
  /** Ends the checks. Requests that have it still finish. */
  retire(): void
  destroy(): Promise<void>
}

/** A server in the order and with the weight of one configuration. */
interface Member extends Candidate {
  backend: Backend
  upstream: Upstream
  breaker: CircuitBreaker
  bulkhead: Bulkhead
  name: string
  stickyKey: string
}

export function createUpstreams({ clock, logger, metrics, secrets, resolve }: UpstreamsDeps): UpstreamServers {
  const stopWatching = watchRequests()
  const connectErrors = new WeakSet<object>()
  const dns = createDnsCache(resolve)
  /** In force. */
  let backends = new Set<Backend>()
  /** No longer used, but perhaps with requests in flight. */
  const retired = new Set<Backend>()

  function createBackend(route: Route, server: Server, tls: TlsFiles, key: string, firstName: string): Backend {
    const { protocol, hostname, host, port } = new URL(server.origin)
    const isTls = protocol === 'https:'
    const address = { isTls, host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || (isTls ? 443 : 80) }
    const connectOptions = { lookup: dns.lookupOf(address.host), ...tls }
    const connector = buildConnector({ timeout: route.timeouts.connectMs, ...connectOptions } as buildConnector.BuildOptions)
    const { max, keepAliveMs } = route.connections
    const options: Client.Options = {
      pipelining: 1,
      connect: (options, callback) =>
        // the name for TLS is the upstream's, whatever Host the first client sent
        connector(route.preserveHost ? { ...options, servername: '' } : options, (...result) => {
          if (result[0]) connectErrors.add(result[0])
          else watchSocket(result[1])
          callback(...result)
        }),
      // a server's own Keep-Alive shortens it, with a second to spare
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      keepAliveTimeoutThreshold: 1000,
      maxHeaderSize: MAX_RESPONSE_HEADER_BYTES,
      // watchdog.ts keeps this deadline: undici's own is up to a second late
      headersTimeout: 0,
    }
    const createPool = () => new Pool(server.origin, { ...options, connections: max })
    let pool = createPool()
    /** Requests that are in flight on the old pool end regularly, and a request that comes late finds the new pool. */
    const leavePool = () => {
      const left = pool
      pool = createPool()
      return left.close().catch(() => {})
    }
    const onChange = (state: CircuitState) => {
      if (state === 'open')
        logger.warn(
          { reason: 'upstream_breaker_open', upstream: upstream.name, retry_ms: breaker.waitMs() },
          'an upstream is unhealthy: its circuit breaker has opened',
        )
      else logger.info({ upstream: upstream.name }, 'an upstream is healthy again: its circuit breaker has closed')
    }
    const probe = () => isReachable(connector, { protocol, hostname: address.host, host, port })
    const breaker = createCircuitBreaker(route.breaker, { clock, probe, onChange })
    let seconds = metrics.upstreamSeconds.bind({ upstream: firstName })
    const upstream: Upstream = {
      name: firstName,
      origin: server.origin,
      address,
      authority: authorityOf(route, server),
      pool: () => pool,
      freshConnection: () => new Client(server.origin, options),
      connectOptions,
      observe: (s, trace) => seconds.observe(s, trace),
      countRetry: () => metrics.upstreamRetries.inc({ upstream: upstream.name }),
    }
    let unwatch = () => {}
    const backend: Backend = {
      key,
      upstream,
      breaker,
      bulkhead: createBulkhead(route.connections),
      health: null,
      rename(name) {
        if (name === upstream.name) return
        upstream.name = name
        seconds = metrics.upstreamSeconds.bind({ upstream: name })
      },
      start() {
        unwatch = dns.watch(address.host, () => {
          logger.info({ upstream: upstream.name }, 'the name of an upstream resolves to other addresses: new connections are opened')
          void leavePool()
        })
        backend.health = route.health && checkHealth(upstream, route.health)
      },
      retire() {
        unwatch()
        backend.health?.stop()
        retired.add(backend)
        void leavePool().then(() => retired.delete(backend))
      },
      destroy: () => pool.destroy(),
    }
    return backend
  }

  function checkHealth(upstream: Upstream, rules: HealthRules): HealthCheck {
    return startHealthCheck({
      rules,
      ask: createAsk(upstream, rules),
      onResult: (cause) => metrics.upstreamHealthChecks.inc({ upstream: upstream.name, outcome: cause === null ? 'passed' : 'failed' }),
      onChange(isHealthy, cause) {
        const { name } = upstream
        if (isHealthy) logger.info({ upstream: name }, 'an upstream passes its health checks again: it gets requests')
        else
          logger.warn({ reason: 'upstream_unhealthy', upstream: name, cause }, 'an upstream fails its health checks: it gets no requests')
      },
    })
  }

  const slotOf = ({ upstream, breaker, bulkhead }: Member, holder: Holder): UpstreamSlot => {
    let isTrial = breaker.begin()
    const at = clock.now()
    let isReported = false
    return {
      upstream,
      report(outcome, path) {
        if (isReported) return
        isReported = true
        breaker.report(isTrial, outcome, { at, path })
      },
      connected() {
        if (isTrial && !isReported && breaker.connected()) isTrial = false
      },
      leave() {
        bulkhead.giveBack(holder)
        if (isTrial && !isReported) breaker.release()
      },
    }
  }

  /** @param rings the servers of each route */
  function balance(rings: ReadonlyMap<Route, Member[]>, stickySessions: ReadonlyMap<Route, StickySessions>): Upstreams {
    /** Null: no breaker permits a request. */
    function choose(route: Route, ring: readonly Member[], request: IncomingMessage, besides: readonly Upstream[] = NONE): Member | null {
      if (ring.length === 1) return ring[0]!.breaker.permits() && !besides.includes(ring[0]!.upstream) ? ring[0]! : null
      const permitted = ring.filter((m) => m.breaker.permits() && !besides.includes(m.upstream))
      const able = route.health ? healthyOf(permitted) : permitted
      if (route.balance === 'sticky') return stickySessions.get(route)!.choose(able, request)
      const free = able.filter((m) => m.bulkhead.hasFree())
      const candidates = free.length ? free : able
      return takeTurn(route.balance === 'leastConnections' ? leastBusy(candidates) : candidates)
    }

    function enter(route: Route, waiter: Waiter, request: IncomingMessage): UpstreamSlot | Promise<UpstreamSlot> {
      const ring = rings.get(route)!
      const member = choose(route, ring, request)
      if (!member) throw noneIsHealthy(route, ring)
      const holder = holderOf(exchangeOf(request))
      if (member.bulkhead.take(holder)) return slotOf(member, holder)
      return member.bulkhead.wait(waiter, member.upstream.name, holder).then(() => {
        if (member.breaker.permits()) return slotOf(member, holder)
        // its breaker opened while we waited: try another server
        member.bulkhead.giveBack(holder)
        return enter(route, waiter, request)
      })
    }

    return {
      enter,
      enterAgain(route, besides, request) {
        const member = choose(route, rings.get(route)!, request, besides)
        const holder = holderOf(exchangeOf(request))
        return member?.bulkhead.take(holder) ? slotOf(member, holder) : null
      },
      couldNotConnect: (error) => typeof error === 'object' && error !== null && connectErrors.has(error),
    }
  }

  function prepare(routes: readonly Route[]): PreparedUpstreams {
    const reusable = Map.groupBy(backends, ({ key }) => key)
    const rings = new Map<Route, Member[]>()
    const stickySessions = new Map<Route, StickySessions>()
    const fresh: Backend[] = []

    function join(route: Route, server: Server, i: number): Member {
      const tls = readTls(server, `route ${route.name}`)
      const key = keyOf(route, server, tls)
      const name = `${route.name}:${i}`
      const known = reusable.get(key)?.shift()
      const backend = known ?? createBackend(route, server, tls, key, name)
      if (!known) fresh.push(backend)
      const { upstream, breaker, bulkhead } = backend
      return { backend, upstream, breaker, bulkhead, name, weight: server.weight, credit: 0, stickyKey: stickyKeyOf(route.servers, i) }
    }
    const cancel = () => {
      for (const backend of fresh) void backend.destroy()
    }

    try {
      for (const route of routes) {
        const members: Member[] = []
        rings.set(route, members)
        for (const [i, server] of route.servers.entries()) members.push(join(route, server, i))
        const { name, path, stickyBy } = route
        if (route.balance === 'sticky') stickySessions.set(route, createStickySessions({ name, path, by: stickyBy, secrets }))
      }
    } catch (error) {
      cancel()
      throw error
    }

    return {
      ...balance(rings, stickySessions),
      commit() {
        const next = new Set<Backend>()
        for (const { backend, name } of [...rings.values()].flat()) {
          backend.rename(name)
          next.add(backend)
        }
        // in this order, a name that both use keeps its addresses
        for (const backend of fresh) backend.start()
        for (const backend of backends) if (!next.has(backend)) backend.retire()
        backends = next
      },
      cancel,
    }
  }

  return {
    prepare,
    *states() {
      for (const { upstream, breaker } of backends) yield [upstream.name, breaker.state()]
    },
    *checked() {
      for (const { upstream, health } of backends) if (health) yield [upstream.name, health.isHealthy()]
    },
    close: async () => {
      for (const { health } of backends) health?.stop()
      stopWatching()
      dns.stop()
      // requests in flight have had their time: the listener closed first
      await Promise.all([...backends, ...retired].map((backend) => backend.destroy()))
    },
  }
}

/** The Host that the server gets, unless the client's is preserved. */
export const authorityOf = (route: Route, { origin }: Server): string =>
  route.hostHeader ?? (route.preserveHost ? route.host : null) ?? new URL(origin).host

/** A server with the same key can be kept: nothing that it was made from has changed. */
function keyOf(route: Route, server: Server, tls: TlsFiles): string {
  const { name, connections, breaker, health, timeouts, preserveHost } = route
  const files = Object.entries(tls).map(([what, file]) => [what, createHash('sha256').update(file).digest('hex')])
  return JSON.stringify([
    name,
    server.origin,
    authorityOf(route, server),
    preserveHost,
    connections,
    { ...breaker, statuses: [...breaker.statuses] },
    health && { ...health, expect: [...health.expect] },
    timeouts.connectMs,
    files,
  ])
}

/** A proxy's address stands for all clients behind it, so that it has no share. */
function holderOf({ principal, client }: Exchange): Holder {
  if (client.isExempt) return null
  return principal?.id ?? (client.isProxy ? null : client.limitKey)
}

const NONE: readonly Upstream[] = []

/** A server closes a connection at once when nothing listens behind it, as behind a port that a container runtime forwards. */
const PROBE_MS = 250

/** Opens a connection, with TLS where the origin has it. @returns false when there is none, or when it is closed at once */
function isReachable(connect: buildConnector.connector, options: buildConnector.Options): Promise<boolean> {
  return new Promise((resolve) => {
    connect(options, (error, socket) => {
      if (error) return resolve(false)
      const stays = setTimeout(() => {
        resolve(true)
        socket.destroy()
      }, PROBE_MS)
      socket
        .on('error', () => {})
        .once('close', () => {
          clearTimeout(stays)
          resolve(false)
        })
      socket.resume().once('end', () => socket.destroy())
    })
  })
}

/** A check may be wrong: when every server fails its checks, all of them get requests. */
function healthyOf(permitted: readonly Member[]): readonly Member[] {
  const healthy = permitted.filter(({ backend }) => backend.health?.isHealthy() !== false)
  return healthy.length ? healthy : permitted
}

function noneIsHealthy({ name }: Route, ring: readonly Member[]): Problem {
  const seconds = Math.ceil(Math.min(...ring.map((m) => m.breaker.waitMs())) / 1000)
  return problem('unavailable', {
    cause: `every upstream of route ${name} has failed recently`,
    headers: { 'retry-after': String(Math.max(1, seconds)) },
    isOfUpstream: true,
  })
}

type TlsFiles = { ca?: Buffer; cert?: Buffer; key?: Buffer }

function readTls({ tls }: Server, where: string): TlsFiles {
  const paths = Object.entries(tls ?? {}) as ['ca' | 'cert' | 'key', string][]
  const files: TlsFiles = Object.fromEntries(
    paths.map(([what, path]) => {
      try {
        return [what, readFileSync(path)]
      } catch (error) {
        throw new Error(`${where}: the upstream's tls.${what} cannot be read`, { cause: error })
      }
    }),
  )
  try {
    if (paths.length) createSecureContext(files)
  } catch (error) {
    throw new Error(`${where}: the files of the upstream's tls are not certificates with their key`, { cause: error })
  }
  return files
}
