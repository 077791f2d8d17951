/** After a failure Redis is not called for a moment. Then one call tries it; other requests do without Redis until that call succeeds. */
export interface RedisGuard {
  /** A caller that gets true must call Redis, and report `succeeded` or `failed`. */
  tryAsk(): boolean
  succeeded(): void
  failed(): void
  isOpen(): boolean
}

const OPEN_MS = 1000

export function createRedisGuard(now: () => number): RedisGuard {
  let openUntil = 0
  return {
    tryAsk() {
      if (now() < openUntil) return false
      if (openUntil > 0) openUntil = now() + OPEN_MS
      return true
    },
    succeeded() {
      openUntil = 0
    },
    failed() {
      openUntil = now() + OPEN_MS
    },
    isOpen: () => now() < openUntil,
  }
}
