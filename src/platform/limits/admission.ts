/**
 * Admits or refuses requests of a route. The decision comes from a lease of Redis, from this process's memory or, while Redis is away, from
 * the route's fallback. A lease with requests left decides at once.
 */

import type { RedisClient } from '../redis/redis.ts'
import type { RedisGuard } from '../redis/redis-guard.ts'
import type { FastCounter } from '../telemetry/fast-metrics.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { createKeyTable } from './key-table.ts'
import { type AskForLease, createLeaseScript } from './lease-script.ts'
import { createLease, isLeaseOver, isOut, isRunningLow, type Lease, refill, takeOne } from './leases.ts'
import { type Decision, idOf, type Limit, shareOf, type Tier } from './limiter.ts'
import { createWindow, freesAt, isEmptyAt, SUB_WINDOWS, take, type Window } from './windows.ts'

/** Counts one request of `key`, a canonical identity, and decides. A promise only while Redis is asked. */
export type Admit = (key: string) => Decision | Promise<Decision>

export type OnRedisDown = 'local' | 'open' | 'closed'

export interface Admission {
  /** All bindings of the same limit share its counts. */
  bind(limit: Limit, onRedisDown: OnRedisDown): Admit
}

export interface AdmissionDeps {
  redis: RedisClient | null
  guard: RedisGuard
  /** Processes that share the load while each counts for itself. */
  shares: number
  metrics: Metrics
  /** Milliseconds that never go back. */
  now: () => number
  ask?: AskForLease
}

/** Retry-After while Redis is away: Redis may be back by then. */
const AWAY_SECONDS = 1

export function createAdmission({ redis, guard, shares, metrics, now, ask }: AdmissionDeps): Admission {
  const script = ask ?? (redis ? createLeaseScript(redis) : null)
  const bound = new Map<string, Record<OnRedisDown, Admit>>()

  function inMemory(limit: Limit, tier: Tier): (key: string) => Decision {
    const length = (limit.windowSeconds * 1000) / SUB_WINDOWS
    const windowOf = createKeyTable<Window>({ make: createWindow, isOver: (window) => isEmptyAt(window, now()) })
    const decisionOf = createDecisions(limit, tier, metrics)
    return (key) => {
      const window = windowOf(key)
      const time = now()
      const isAllowed = take(window, limit.limit, time, length)
      return decisionOf(isAllowed, limit.limit - window.used, freesAt(window) - time)
    }
  }

  function byLease(limit: Limit, ask: AskForLease, away: (key: string) => Decision, leaseOf: (key: string) => Lease): Admit {
    const decisionOf = createDecisions(limit, 'redis', metrics)
    const guarded: AskForLease = (request) => guard.run(() => ask(request))

    /** Null: Redis must be asked first. */
    function decide(lease: Lease, time: number): Decision | null {
      if (takeOne(lease, time)) return decisionOf(true, lease.left + lease.leftInRedis, lease.freesAt - time)
      return isOut(lease, time) ? decisionOf(false, 0, lease.freesAt - time) : null
    }

    async function wait(key: string, lease: Lease): Promise<Decision> {
      lease.waiting++
      try {
        for (;;) {
          await (lease.refill ?? refill(lease, limit, lease.waiting, guarded, now))
          const decision = decide(lease, now())
          if (decision) return decision
          if (!lease.refill && !guard.mayCall()) return away(key)
        }
      } catch {
        return away(key)
      } finally {
        lease.waiting--
      }
    }

    return (key) => {
      const lease = leaseOf(key)
      const time = now()
      const decision = decide(lease, time)
      if (!decision) return lease.refill || guard.mayCall() ? wait(key, lease) : away(key)
      // no request waits for this refill: requests that waited were granted by the call before
      if (isRunningLow(lease, limit, time) && guard.mayCall()) refill(lease, limit, 0, guarded, now).catch(() => {})
      return decision
    }
  }

  function bindAll(limit: Limit): Record<OnRedisDown, Admit> {
    if (!script) {
      const admit = inMemory(limit, 'memory')
      return { local: admit, open: admit, closed: admit }
    }
    const leaseOf = createKeyTable<Lease>({
      make: (key) => createLease(`portcullis:lease:${idOf(limit)}:${key}`),
      isOver: (lease) => isLeaseOver(lease, limit, now()),
    })
    const [open, closed] = [createDecisions(limit, 'open', metrics), createDecisions(limit, 'closed', metrics)]
    const admitBy = (away: (key: string) => Decision) => byLease(limit, script, away, leaseOf)
    return {
      local: admitBy(inMemory(shareOf(limit, shares), 'local')),
      open: admitBy(() => open(true, limit.limit, limit.windowSeconds * 1000)),
      closed: admitBy(() => closed(false, 0, AWAY_SECONDS * 1000)),
    }
  }

  return {
    bind(limit, onRedisDown) {
      const id = idOf(limit)
      const admits = bound.get(id) ?? bindAll(limit)
      bound.set(id, admits)
      return admits[onRedisDown]
    },
  }
}

type DecisionMaker = (isAllowed: boolean, remaining: number, freesInMs: number) => Decision

/** Makes decisions and counts them. */
function createDecisions({ name, limit, windowSeconds }: Limit, tier: Tier, metrics: Metrics): DecisionMaker {
  const counterOf = (decision: 'allowed' | 'limited'): FastCounter => metrics.limitDecisions.bind({ policy: name, decision, tier })
  const [allowed, limited] = [counterOf('allowed'), counterOf('limited')]
  return (isAllowed, remaining, freesInMs) => {
    const tally = isAllowed ? allowed : limited
    tally.count++
    return { isAllowed, policy: name, limit, windowSeconds, remaining, resetSeconds: Math.max(1, Math.ceil(freesInMs / 1000)), tier }
  }
}
