import { systemClock } from '../../platform/lib/clock.ts'

/** Deadlines of one length for many waits. A timer for each wait would cost a request more than most of its stages. */
export interface Deadlines {
  /** @param onLate called once, unless the wait ended before */
  begin(onLate: () => void): Wait
  end(wait: Wait): void
}

/**
 * An entry of a linked list, in the order of beginnings, which is the order of ends. A removed entry holds no references. (A Set would not
 * do: its outgrown tables point at their successors and would keep every request alive until the next full collection.)
 */
export interface Wait {
  dueAt: number
  onLate: (() => void) | null
  previous: Wait | null
  next: Wait | null
}

/** @param ms from the beginning of each wait */
export function createDeadlines(ms: number): Deadlines {
  const ends: Wait = { dueAt: 0, onLate: null, previous: null, next: null }
  ends.previous = ends.next = ends
  let isWatching = false

  function watch(): void {
    const first = ends.next!
    isWatching = first !== ends
    if (isWatching) setTimeout(sweep, Math.max(1, first.dueAt - systemClock.steady())).unref()
  }

  function sweep(): void {
    const now = systemClock.steady()
    try {
      while (ends.next !== ends && ends.next!.dueAt <= now) {
        const { onLate } = ends.next!
        end(ends.next!)
        onLate!()
      }
    } finally {
      watch()
    }
  }

  function end(wait: Wait): void {
    if (wait.next === null) return
    wait.previous!.next = wait.next
    wait.next.previous = wait.previous
    wait.previous = wait.next = wait.onLate = null
  }

  return {
    begin(onLate) {
      const wait = { dueAt: systemClock.steady() + ms, onLate, previous: ends.previous, next: ends }
      ends.previous!.next = wait
      ends.previous = wait
      if (!isWatching) watch()
      return wait
    },
    end,
  }
}
