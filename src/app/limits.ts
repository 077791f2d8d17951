/** Builds the limits: credential limits count exactly, limits of routes count by leases. */
import { type Admission, createAdmission } from '../platform/limits/admission.ts'
import { createCounterTable } from '../platform/limits/counters.repo.ts'
import { createLimiter, type Limiter } from '../platform/limits/limiter.ts'
import { NO_GUARD } from '../platform/redis/redis-guard.ts'
import type { Platform } from './platform.ts'

export interface Limits {
  limiter: Limiter
  admission: Admission
  /** False also when Redis is connected but does not answer. */
  isRedisUp(): boolean
  isBreakerOpen(): boolean
}

/** @param processes number of processes that share the limits while Redis is not available */
export function createLimits({ redis, db, metrics, clock }: Platform, processes: number): Limits {
  const guard = redis?.guard ?? NO_GUARD
  return {
    limiter: createLimiter({ redis, guard, shares: processes, counters: createCounterTable(db), metrics }),
    admission: createAdmission({ redis: redis?.client ?? null, guard, shares: processes, metrics, now: () => clock.steady() }),
    isRedisUp: () => redis === null || redis.isUp(),
    isBreakerOpen: () => !guard.mayCall(),
  }
}
