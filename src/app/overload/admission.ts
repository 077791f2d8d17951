/** Decides whether a request may begin while this process is busy. It looks at no request while the process is not busy. */
import type { LoadLevel } from './loop-watch.ts'

/**
 * health: always answered. login: login and refresh, without which a client cannot even begin. known: the credential was proven before, so that
 * only little work is left. other: the rest.
 */
export type Priority = 'health' | 'login' | 'known' | 'other'

/** The label of `shed_total`. */
export type ShedReason = 'in_flight' | 'loop_delay' | 'heap' | 'descriptors'

export interface Admission {
  /** False: every request may begin. For each request, so it must stay cheap. */
  isBusy(): boolean
  /** @returns why the request must be refused; null: it may begin */
  judge(priority: Priority): ShedReason | null
}

export interface AdmissionDeps {
  /** By the configuration; 0: no limit. */
  maxInFlight: number
  /** What fits into the heap. */
  mostInHeap: number
  /** Requests in flight, without streams. */
  inFlight(): number
  /** Of them logins and refreshes. */
  loginsInFlight(): number
  loopLevel(): LoadLevel
  heapLevel(): LoadLevel
  /** No request may open a connection to its upstream. */
  isDescriptorScarce(): boolean
}

/** Most logins and refreshes at a time that a late loop does not refuse. */
const LOGINS = 200

export function createAdmission(deps: AdmissionDeps): Admission {
  const { maxInFlight, mostInHeap, inFlight, loginsInFlight, loopLevel, heapLevel, isDescriptorScarce } = deps
  const max = Math.min(maxInFlight || Number.POSITIVE_INFINITY, mostInHeap)
  const tenth = max === Number.POSITIVE_INFINITY ? 0 : Math.floor(max / 10)
  // the last tenth is for logins and refreshes, and the tenth before it for known credentials
  const bounds: Record<Priority, number> = { health: Number.POSITIVE_INFINITY, login: max, known: max - tenth, other: max - 2 * tenth }
  const maxLogins = max === Number.POSITIVE_INFINITY ? LOGINS : Math.max(1, tenth)
  const full: ShedReason = mostInHeap === max ? 'heap' : 'in_flight'
  const refusedFrom: Record<Priority, number> = { health: 3, login: 2, known: 2, other: 1 }

  const isTooMuch = (level: LoadLevel, priority: Priority): boolean =>
    level >= refusedFrom[priority] && (priority !== 'login' || loginsInFlight() >= maxLogins)

  return {
    isBusy: () => inFlight() >= bounds.other || loopLevel() > 0 || heapLevel() > 0 || isDescriptorScarce(),
    judge(priority) {
      if (priority !== 'health' && isDescriptorScarce()) return 'descriptors'
      if (inFlight() >= bounds[priority]) return full
      if (isTooMuch(loopLevel(), priority)) return 'loop_delay'
      return isTooMuch(heapLevel(), priority) ? 'heap' : null
    },
  }
}
