/**
 * Exact limits for credentials: each attempt is counted where it is decided. (Routes use leases: admission.ts.) rate-limiter-flexible
 * counts. It rejects with a result when a limit is reached, and with an Error when its store fails; this file separates the two cases. Redis, Postgres and
 * RateLimiterMemory end a window by their own clocks, so the end of a window is compared with the system's clock.
 */
import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { systemClock } from '../lib/clock.ts'
import type { RedisConnections } from '../redis/redis.ts'
import type { RedisGuard } from '../redis/redis-guard.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { createKeyTable } from './key-table.ts'

export interface Limit {
  name: string
  /** Separates names: a route's policy may have the name of a credential limit. */
  scope: 'route' | 'credential'
  limit: number
  windowSeconds: number
  /** A refusal is not cached here, because a counted request may be refunded. */
  isRefundable?: boolean
  /** Counted in the database, even while Redis is available. */
  isDurable?: boolean
}

const nameOf = ({ scope, name }: Limit) => `${scope}:${name}`
const rowOf = (limit: Limit, key: string) => `${nameOf(limit)}:${key}`
/** Identifies the counts: a changed limit of the same name starts with new counts. */
export const idOf = (limit: Limit): string => `${nameOf(limit)}:${limit.limit}:${limit.windowSeconds}`

/** The part of the limit that each of `shares` processes may admit while each counts for itself. */
export const shareOf = (limit: Limit, shares: number): Limit => ({ ...limit, limit: Math.max(1, Math.floor(limit.limit / shares)) })

/** The limit of a network that holds many customers. */
export const timesLimit = (limit: Limit, times: number): Limit => (times === 1 ? limit : { ...limit, limit: limit.limit * times })

/** Where a decision was made: by Redis, in this process because no Redis is configured, or by the fallback while Redis is away. */
export type Tier = 'redis' | 'memory' | 'local' | 'database' | 'open' | 'closed'

export interface Decision {
  isAllowed: boolean
  policy: string
  limit: number
  windowSeconds: number
  remaining: number
  /** Until the window ends, at least 1. */
  resetSeconds: number
  tier: Tier
}

/** A decision whose count can be refunded. */
export interface CountedDecision extends Decision {
  /** Requests in this window so far, this one included. */
  used: number
  /** End of the window, by `systemClock.steady()`. */
  endsAt: number
}

/** The place to count while Redis is away. */
export type Fallback = { kind: 'local' } | { kind: 'database' }

/** Counters in Postgres, for credential limits while Redis is away. */
export interface CounterTable {
  /** Adds `points`; @returns the count in this window and milliseconds to its end */
  add(key: string, points: number, windowSeconds: number): Promise<{ count: number; msLeft: number }>
  clear(key: string): Promise<void>
}

export interface Limiter {
  /** Counts one request of `key` and decides. `key` is a canonical identity: never a path. */
  consume(limit: Limit, key: string, fallback: Fallback): Promise<CountedDecision>
  /** Decides without counting. */
  peek(limit: Limit, key: string, fallback: Fallback): Promise<Decision>
  /** Refunds one request where it was counted, unless its window has ended: the next window gets no extra room. */
  refund(limit: Limit, key: string, counted: Pick<CountedDecision, 'tier' | 'endsAt'>): Promise<void>
  /** Sets the count of a durable limit to zero. */
  clear(limit: Limit & { isDurable: true }, key: string): Promise<void>
}

export interface LimiterDeps {
  redis: RedisConnections | null
  guard: RedisGuard
  /** Processes that share the load while each counts for itself. */
  shares: number
  counters: CounterTable
  metrics: Metrics
}

/** A method of rate-limiter-flexible's store limiters that is missing in its types. */
interface Remembering {
  getInMemoryBlockMsBeforeExpire(key: string): number
}

interface Counted {
  count: number
  msLeft: number
}

export function createLimiter({ redis, guard, shares, counters, metrics }: LimiterDeps): Limiter {
  const shared = new Map<string, RateLimiterAbstract>()
  const local = new Map<string, RateLimiterMemory>()
  const bounds = new WeakMap<RateLimiterAbstract, (key: string) => string>()

  const remember = <T>(map: Map<string, T>, key: string, make: () => T): T => {
    const known = map.get(key) ?? make()
    map.set(key, known)
    return known
  }
  const sharedLimiter = (limit: Limit) =>
    remember(shared, idOf(limit), () =>
      redis
        ? new RateLimiterRedis({
            storeClient: redis.client,
            keyPrefix: `portcullis:limit:${nameOf(limit)}`,
            points: limit.limit,
            duration: limit.windowSeconds,
            // an exhausted key is cached here until its window ends: no further call to Redis
            ...(limit.isRefundable ? {} : { inMemoryBlockOnConsumed: limit.limit }),
            rejectIfRedisNotReady: true,
          })
        : inMemory(limit),
    )

  const localLimiter = (limit: Limit) => remember(local, idOf(limit), () => inMemory(limit))

  function inMemory(limit: Limit): RateLimiterMemory {
    const limiter = new RateLimiterMemory({ keyPrefix: nameOf(limit), points: limit.limit, duration: limit.windowSeconds })
    bounds.set(limiter, createKeyBound(limit.windowSeconds * 1000))
    return limiter
  }
  const boundKey = (limiter: RateLimiterAbstract, key: string) => bounds.get(limiter)?.(key) ?? key

  async function consume(limit: Limit, key: string, fallback: Fallback): Promise<CountedDecision> {
    return report(await decide(limit, key, 1, fallback))
  }

  async function decide(limit: Limit, key: string, points: 0 | 1, fallback: Fallback): Promise<CountedDecision> {
    if (limit.isDurable) return countInDatabase(limit, key, points)
    // a cached refusal: Redis is not called
    const limiter = sharedLimiter(limit)
    const blockedMs = redis ? (limiter as unknown as Remembering).getInMemoryBlockMsBeforeExpire(limiter.getKey(key)) : 0
    if (blockedMs > 0) return decision(limit, { count: limit.limit + points, msLeft: blockedMs }, points, 'redis')
    // only store failures reject here: a reached limit is a count
    const counted = guard.mayCall() ? await guard.run(() => count(limiter, limit, key, points)).catch(() => null) : null
    if (counted) return decision(limit, counted, points, redis ? 'redis' : 'memory')
    if (fallback.kind === 'database') return countInDatabase(limit, key, points)
    const share = shareOf(limit, shares)
    return decision(share, await count(localLimiter(share), share, key, points), points, 'local')
  }

  const countInDatabase = async (limit: Limit, key: string, points: 0 | 1) =>
    decision(limit, await counters.add(rowOf(limit, key), points, limit.windowSeconds), points, 'database')

  async function count(limiter: RateLimiterAbstract, limit: Limit, key: string, points: 0 | 1): Promise<Counted> {
    const full = { count: 0, msLeft: limit.windowSeconds * 1000 }
    if (points === 0) {
      const known = await limiter.get(boundKey(limiter, key))
      return known ? { count: known.consumedPoints, msLeft: known.msBeforeNext } : full
    }
    try {
      const { consumedPoints, msBeforeNext } = await limiter.consume(boundKey(limiter, key))
      return { count: consumedPoints, msLeft: msBeforeNext }
    } catch (rejection) {
      if (!(rejection instanceof RateLimiterRes)) throw rejection
      return { count: Math.max(rejection.consumedPoints, limit.limit + 1), msLeft: rejection.msBeforeNext }
    }
  }

  function decision({ name, limit, windowSeconds }: Limit, { count: used, msLeft }: Counted, points: 0 | 1, tier: Tier): CountedDecision {
    const endsAt = systemClock.steady() + msLeft
    const isAllowed = points === 1 ? used <= limit : used < limit
    const resetSeconds = Math.max(1, Math.ceil(msLeft / 1000))
    return { isAllowed, policy: name, limit, windowSeconds, used, remaining: Math.max(0, limit - used), resetSeconds, tier, endsAt }
  }

  function report(made: CountedDecision): CountedDecision {
    metrics.limitDecisions.bind({ policy: made.policy, decision: made.isAllowed ? 'allowed' : 'limited', tier: made.tier }).count++
    return made
  }

  return {
    consume,
    peek: (limit, key, fallback) => decide(limit, key, 0, fallback),
    async refund(limit, key, { tier, endsAt }) {
      if (systemClock.steady() >= endsAt) return
      if (tier === 'database') await counters.add(rowOf(limit, key), -1, limit.windowSeconds)
      else if (guard.mayCall()) await guard.run(() => sharedLimiter(limit).reward(boundKey(sharedLimiter(limit), key), 1))
    },
    clear: (limit, key) => counters.clear(rowOf(limit, key)),
  }
}

/** The key, or its shared bucket once there are too many keys. Uses the clock of RateLimiterMemory, which cannot be injected. */
function createKeyBound(windowMs: number): (key: string) => string {
  const stateOf = createKeyTable({ make: (name) => ({ name, endsAt: 0 }), isOver: ({ endsAt }) => systemClock.now() >= endsAt })
  return (key) => {
    const state = stateOf(key)
    if (systemClock.now() >= state.endsAt) state.endsAt = systemClock.now() + windowMs
    return state.name
  }
}

/** IETF draft-ietf-httpapi-ratelimit-headers: RateLimit-Policy and RateLimit, one item a policy. Appended as name, value, name, value … */
export function pushLimitFields(fields: string[], decisions: readonly Decision[]): void {
  if (decisions.length === 0) return
  let policies = ''
  let limits = ''
  for (const { policy, limit, windowSeconds, remaining, resetSeconds } of decisions) {
    if (policies !== '') {
      policies += ', '
      limits += ', '
    }
    policies += `"${policy}";q=${limit};w=${windowSeconds}`
    limits += `"${policy}";r=${remaining};t=${resetSeconds}`
  }
  fields.push('ratelimit-policy', policies, 'ratelimit', limits)
}

/** The same fields for an error; with Retry-After when a decision refuses. */
export function limitHeaders(decisions: readonly Decision[]): Record<string, string> {
  const fields: string[] = []
  pushLimitFields(fields, decisions)
  const waits = decisions.filter((d) => !d.isAllowed).map((d) => d.resetSeconds)
  if (waits.length) fields.push('retry-after', String(Math.max(...waits)))
  return Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, i) => fields.slice(2 * i, 2 * i + 2)))
}
