/** Decides whether a request may begin while this process is busy. It looks at no request while the process is not busy. */
import type { LoadLevel } from './loop-watch.ts'

/**
 * health: always answered. login: login and refresh, without which a client cannot even begin. known: the credential was proven before, so that
 * only little work is left. other: the rest, and logins beyond their own share.
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
  /** Requests in flight, without streams, and without requests that wait for their own client. */
  inFlight(): number
  /** Of them logins and refreshes. */
  loginsInFlight(): number
  loopLevel(): LoadLevel
  heapLevel(): LoadLevel
  /** No request may open a connection to its upstream. */
  isDescriptorScarce(): boolean
}

/** The share of logins and refreshes where nothing bounds the requests in flight: a late loop does not refuse so many. */
const LOGINS = 200

export function createAdmission(deps: AdmissionDeps): Admission {
  const { maxInFlight, mostInHeap, inFlight, loginsInFlight, loopLevel, heapLevel, isDescriptorScarce } = deps
  const max = Math.min(maxInFlight || Number.POSITIVE_INFINITY, mostInHeap)
  const tenth = max === Number.POSITIVE_INFINITY ? 0 : Math.floor(max / 10)
  const bounds = { known: max - tenth, other: max - 2 * tenth } as const
  const loginShare = max === Number.POSITIVE_INFINITY ? LOGINS : Math.max(1, tenth)
  const full: ShedReason = mostInHeap === max ? 'heap' : 'in_flight'
  const refusedFrom = { known: 2, other: 1 } as const

  /** Logins within their own tenth take no room from other requests. */
  const besideLogins = () => inFlight() - Math.min(tenth, loginsInFlight())

  return {
    isBusy: () => besideLogins() >= bounds.other || loopLevel() > 0 || heapLevel() > 0 || isDescriptorScarce(),
    judge(priority) {
      if (priority === 'health') return null
      if (isDescriptorScarce()) return 'descriptors'
      if (priority === 'login' && loginsInFlight() < loginShare) return inFlight() >= max ? full : null
      const as = priority === 'known' ? 'known' : 'other'
      if (besideLogins() >= bounds[as]) return full
      if (loopLevel() >= refusedFrom[as]) return 'loop_delay'
      return heapLevel() >= refusedFrom[as] ? 'heap' : null
    },
  }
}
