/** After a failure Redis is left alone for a moment; then one caller tries, and the others go on without it until that has succeeded. */
export interface RedisGuard {
  /** Whoever gets true asks, and says how it went. */
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
