/**
 * Notices that this process did not run for a while: it was stopped, its machine slept, or its event loop was blocked. After a pause Node
 * serves requests before it runs timers, so a caller asks here for each request.
 */
import type { Clock } from './clock.ts'

export interface PauseWatch {
  /** Until then no pause is noticed. */
  start(): void
  stop(): void
  /** Reports a pause, each pause once. It costs two readings of a clock. */
  look(): void
}

const BEAT_MS = 250

/**
 * @param clock of this machine. The steady clock may stand still while a machine sleeps, and the wall clock may be set: the longer time counts
 * @param onPause called with the milliseconds of each pause
 */
export function createPauseWatch(clock: Clock, minimumMs: number, onPause: (ms: number) => void): PauseWatch {
  let timer: NodeJS.Timeout | null = null
  /** A later reading shows a pause. Infinite while the watch is off. */
  let steadyLimit = Number.POSITIVE_INFINITY
  let wallLimit = Number.POSITIVE_INFINITY

  function mark(steady: number, wall: number): void {
    steadyLimit = steady + BEAT_MS + minimumMs
    wallLimit = wall + BEAT_MS + minimumMs
  }

  function look(): void {
    const steady = clock.steady()
    const wall = clock.now()
    if (steady < steadyLimit && wall < wallLimit) return
    const pauseMs = Math.max(steady - steadyLimit, wall - wallLimit) + BEAT_MS + minimumMs
    mark(steady, wall)
    onPause(pauseMs)
  }

  return {
    start() {
      mark(clock.steady(), clock.now())
      timer = setInterval(() => {
        look()
        mark(clock.steady(), clock.now())
      }, BEAT_MS).unref()
    },
    stop() {
      if (timer) clearInterval(timer)
      timer = null
      steadyLimit = wallLimit = Number.POSITIVE_INFINITY
    },
    look,
  }
}
