/**
 * Leases: a share of a limit that this process may use up without asking. Each is counted in Redis before it is used, and dies with its
 * sub-window, so that no number of processes exceeds the limit in any window; hot keys cost a call per lease.
 */
import type { AskForLease } from './lease-script.ts'
import { SUB_WINDOWS } from './windows.ts'

/** One key's. Times are of the clock that `now` reads. */
export interface Lease {
  /** In Redis. */
  key: string
  /** Requests that may still be admitted, until then. */
  left: number
  until: number
  /** Of the whole limit, as Redis saw it at the last grant. */
  leftInRedis: number
  /** When some of what is counted no longer is: until then nothing is asked for if there was nothing. */
  freesAt: number
  subWindow: number
  /** In this sub-window. */
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

/** What it knows of its key's traffic is lost with it: it stays for a sub-window after its end. */
export const isLeaseOver = (lease: Lease, { windowSeconds }: LeaseRules, now: number): boolean =>
  lease.refill === null && now >= lease.until + (windowSeconds * 1000) / SUB_WINDOWS && !isOut(lease, now)

/** Nothing is left, here or in Redis, and nothing is ours to return. */
export const isOut = ({ left, returned, leftInRedis, freesAt }: Lease, now: number): boolean =>
  leftInRedis === 0 && now < freesAt && left === 0 && returned === 0

/** Uses one up. */
export function takeOne(lease: Lease, now: number): boolean {
  if (lease.left === 0 || now >= lease.until) return false
  lease.left--
  return true
}

/** Small ones are asked for when somebody needs them: most keys are not hot. */
const AHEAD_FROM = 8

/** So little is left that the next lease should be under way. */
export const isRunningLow = (lease: Lease, rules: LeaseRules, now: number): boolean =>
  lease.granted >= AHEAD_FROM &&
  lease.left * 4 < lease.granted &&
  lease.leftInRedis > 0 &&
  lease.refill === null &&
  expected(lease, rules, now) > lease.left

/** What the rest of the sub-window takes if it goes on as it has. */
function expected({ granted, left, until }: Lease, { windowSeconds }: LeaseRules, now: number): number {
  const restMs = Math.max(0, until - now)
  const passedMs = Math.max(1, (windowSeconds * 1000) / SUB_WINDOWS - restMs)
  return Math.ceil(((granted - left) * restMs) / passedMs)
}

/** Asks for more; one request at a time for each key. Rejects as Redis does. @param need requests that wait, and use what they get at once */
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
  // told once: whether a call that failed was heard nobody knows
  lease.returned = 0
  const { subWindow, ...grant } = await ask({ key, limit, windowSeconds, need, want, returned, returnedFrom })
  if (subWindow !== lease.subWindow) {
    // a part of the window passed while we asked
    giveUp(lease)
    lease.subWindow = subWindow
    lease.granted = 0
  }
  lease.left += grant.granted
  lease.granted += grant.granted
  // Redis looked at its clock after we asked: by ours the sub-window ends a little later than this
  lease.until = askedAt + grant.endsInMs
  lease.leftInRedis = grant.left
  lease.freesAt = now() + grant.freesInMs
}

/** What was not used goes back with the next request. (After a Redis that lost its counts that is more than it knows of: it forgot as much before.) */
function giveUp(lease: Lease): void {
  if (lease.left === 0) return
  lease.granted -= lease.left
  lease.returned = lease.left
  lease.returnedFrom = lease.subWindow
  lease.left = 0
}

/** A little more than the last sub-window took; or what the rest of this one will take, at most twice as much as so far. */
function nextSize(lease: Lease, rules: LeaseRules, now: number): number {
  const { granted, until } = lease
  const size = now >= until ? (granted * 9) / 8 : Math.min(granted, expected(lease, rules, now))
  return Math.ceil(Math.min(size, rules.limit / SUB_WINDOWS))
}
