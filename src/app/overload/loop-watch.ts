/**
 * Measures how late the event loop is. Requests that the loop has not read yet wait in the kernel, where nothing can see them: the delay of
 * a timer says how long.
 */
import type { Clock } from '../../platform/lib/clock.ts'

/** How much must be refused: nothing, requests whose credential must be proven first, or all. */
export type LoadLevel = 0 | 1 | 2

export interface LoopWatch {
  /** For each request: one look at the clock. A round of a busy loop may last for seconds, and no timer runs before its end. */
  level(): LoadLevel
  /** For a timer. @returns after how many milliseconds it must be called again */
  tick(): number
}

export interface LoopWatchDeps {
  clock: Pick<Clock, 'steady'>
  /** Above it some requests are refused, and above one and a half times of it all. Milliseconds; 0: none. */
  maxDelayMs: number
}

const TICK_MS = 50
/** Requests are refused no longer than the loop is busy. */
const BUSY_TICK_MS = 10

/**
 * Judged is the mean of the last two rounds, because a single pause up to twice the bound, such as a collection of garbage, is no overload:
 * the requests that it delayed are answered sooner than they are refused and sent again. The level falls only below half of its bound.
 */
export function createLoopWatch({ clock, maxDelayMs }: LoopWatchDeps): LoopWatch {
  const bounds = [0, maxDelayMs, maxDelayMs * 1.5] as const
  let dueAt = clock.steady() + TICK_MS
  let delayBefore = 0
  let level: LoadLevel = 0

  const delayNow = () => Math.max(0, clock.steady() - dueAt)

  function raise(meanMs: number): void {
    if (maxDelayMs === 0) return
    if (meanMs > bounds[2]) level = 2
    else if (meanMs > bounds[1] && level < 1) level = 1
  }

  function lower(meanMs: number): void {
    if (level === 2 && meanMs < bounds[2] / 2) level = 1
    if (level === 1 && meanMs < bounds[1] / 2) level = 0
  }

  return {
    level() {
      raise((delayBefore + delayNow()) / 2)
      return level
    },
    tick() {
      const delayMs = delayNow()
      const meanMs = (delayBefore + delayMs) / 2
      raise(meanMs)
      lower(meanMs)
      delayBefore = delayMs
      const waitMs = level > 0 ? BUSY_TICK_MS : TICK_MS
      dueAt = clock.steady() + waitMs
      return waitMs
    },
  }
}
