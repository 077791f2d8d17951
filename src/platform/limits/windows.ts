/**
 * A limit over any span of one window. Admitted requests are counted in sub-windows, ten to a window. A sub-window counts until one window
 * after its last request. This is the version in memory; lease-script.ts has the same rule for Redis.
 */
export const SUB_WINDOWS = 10
/** A sub-window counts at most until one window after its end: no more than this number count at one time. */
const KEPT = SUB_WINDOWS + 1

export interface Window {
  /** By index modulo KEPT. */
  counts: number[]
  /** Until when each sub-window counts. */
  untils: number[]
  /** Indices of sub-windows since the clock's beginning: all sub-windows that count lie between these two. */
  oldest: number
  newest: number
  used: number
}

export const createWindow = (): Window => ({
  counts: new Array(KEPT).fill(0),
  untils: new Array(KEPT).fill(0),
  oldest: 0,
  newest: 0,
  used: 0,
})

/**
 * Counts one request at `now`, if the limit has room. When the clock goes back, the newest sub-window is used. @param length of a
 * sub-window
 */
export function take(window: Window, limit: number, now: number, length: number): boolean {
  const { counts, untils } = window
  while (window.used > 0 && untils[window.oldest % KEPT]! <= now) {
    window.used -= counts[window.oldest % KEPT]!
    counts[window.oldest % KEPT] = 0
    window.oldest++
  }
  const current = Math.max(window.newest, Math.floor(now / length))
  if (window.used === 0) window.oldest = current
  if (window.used >= limit) return false
  // not earlier: `newest` must point to a sub-window that counts
  window.newest = current
  const slot = window.newest % KEPT
  counts[slot]!++
  untils[slot] = Math.max(untils[slot]!, now + SUB_WINDOWS * length)
  window.used++
  return true
}

/** When the oldest counted requests no longer count. */
export function freesAt({ untils, counts, oldest, newest }: Window): number {
  let index = oldest
  while (index < newest && counts[index % KEPT] === 0) index++
  return untils[index % KEPT]!
}

/** Nothing is counted any more. */
export const isEmptyAt = ({ untils, newest }: Window, now: number): boolean => now >= untils[newest % KEPT]!
