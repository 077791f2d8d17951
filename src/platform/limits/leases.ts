/**
 * Leases: a share of a limit that this process may use up without asking. Each lease is counted in Redis before it is used, and expires
 * with its sub-window. So no number of processes exceeds the limit in any window. A hot key costs one call per lease.
 */
import type { AskForLease } from './lease-script.ts'
import { SUB_WINDOWS } from './windows.ts'

/** The lease of one key. Times are of the clock that `now` reads. */
export interface Lease {
  /** The key in Redis. */
  key: string
  /** Requests that may still be admitted before `until`. */
  left: number
  until: number
  /** The rest of the whole limit, as Redis saw it at the last grant. */
  leftInRedis: number
  /** When some counted requests no longer count. If nothing was left, nothing is requested until then. */
  freesAt: number
  subWindow: number
  /** Requests that were granted in this sub-window. */
  granted: number
  returned: number
  returnedFrom: number
  waiting: number
  refill: Promise<void> | null
}

export interface LeaseRules {
  limit: number
  windowSeconds: number
}

export const createLease = (key: string): Lease => ({
  key,
  left: 0,
  until: 0,
  leftInRedis: 0,
  freesAt: 0,
  subWindow: -1,
  granted: 0,
  returned: 0,
  returnedFrom: -1,
  waiting: 0,
  refill: null,
})

/** A lease also remembers the traffic of its key, so it is kept for a sub-window after its end. */
export const isLeaseOver = (lease: Lease, { windowSeconds }: LeaseRules, now: number): boolean =>
  lease.refill === null && now >= lease.until + (windowSeconds * 1000) / SUB_WINDOWS && !isOut(lease, now)

/** Nothing is left, here or in Redis, and nothing is to be returned. */
export const isOut = ({ left, returned, leftInRedis, freesAt }: Lease, now: number): boolean =>
  leftInRedis === 0 && now < freesAt && left === 0 && returned === 0

/** Uses up one request of the lease. */
export function takeOne(lease: Lease, now: number): boolean {
  if (lease.left === 0 || now >= lease.until) return false
  lease.left--
  return true
}

/** Smaller leases are not refilled ahead: most keys are not hot. */
const AHEAD_FROM = 8

/** So little is left that the next lease should be requested now. */
export const isRunningLow = (lease: Lease, rules: LeaseRules, now: number): boolean =>
  lease.granted >= AHEAD_FROM &&
  lease.left * 4 < lease.granted &&
  lease.leftInRedis > 0 &&
  lease.refill === null &&
  expected(lease, rules, now) > lease.left

/** The expected use in the rest of the sub-window, at the rate so far. */
function expected({ granted, left, until }: Lease, { windowSeconds }: LeaseRules, now: number): number {
  const restMs = Math.max(0, until - now)
  const passedMs = Math.max(1, (windowSeconds * 1000) / SUB_WINDOWS - restMs)
  return Math.ceil(((granted - left) * restMs) / passedMs)
}

/**
 * Requests more from Redis, with one call at a time for each key. Rejects as Redis does. @param need requests that wait and are admitted at
 * once
 */
export function refill(lease: Lease, rules: LeaseRules, need: number, ask: AskForLease, now: () => number): Promise<void> {
  lease.refill ??= askForMore(lease, rules, need, ask, now).finally(() => {
    lease.refill = null
  })
  return lease.refill
}

async function askForMore(lease: Lease, rules: LeaseRules, need: number, ask: AskForLease, now: () => number): Promise<void> {
  const askedAt = now()
  if (askedAt >= lease.until) giveUp(lease)
  const { limit, windowSeconds } = rules
  const { key, returned, returnedFrom } = lease
  const want = nextSize(lease, rules, askedAt)
  // sent only once: after a failed call it is unknown whether Redis received it
  lease.returned = 0
  const { subWindow, ...grant } = await ask({ key, limit, windowSeconds, need, want, returned, returnedFrom })
  if (subWindow !== lease.subWindow) {
    // a sub-window ended while we asked
    giveUp(lease)
    lease.subWindow = subWindow
    lease.granted = 0
  }
  lease.left += grant.granted
  lease.granted += grant.granted
  // Redis read its clock after we asked: by our clock the sub-window ends a little later than this
  lease.until = askedAt + grant.endsInMs
  lease.leftInRedis = grant.left
  lease.freesAt = now() + grant.freesInMs
}

/**
 * Unused requests are returned with the next call. (A Redis that lost its counts gets back more than it knows of; but it lost at least as
 * much before.)
 */
function giveUp(lease: Lease): void {
  if (lease.left === 0) return
  lease.granted -= lease.left
  lease.returned = lease.left
  lease.returnedFrom = lease.subWindow
  lease.left = 0
}

/** The size of the next lease: a little more than the last sub-window used, or the expected use of this one, at most doubling it. */
function nextSize(lease: Lease, rules: LeaseRules, now: number): number {
  const { granted, until } = lease
  const size = now >= until ? (granted * 9) / 8 : Math.min(granted, expected(lease, rules, now))
  return Math.ceil(Math.min(size, rules.limit / SUB_WINDOWS))
}
