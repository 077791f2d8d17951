/**
 * The deadlines of one exchange with an upstream: for its response headers, for the whole exchange, and for a client that stops reading.
 * Plain data and functions: each request has a watchdog, and one object costs less than an object of closures.
 */
import { memoize } from '../../platform/lib/memoize.ts'
import type { Route } from '../routing/route-table.ts'
import { createDeadlines, type Wait } from '../upstream/deadlines.ts'

export interface Watchdog {
  readonly timeouts: Route['timeouts']
  /** Called when a deadline has passed, with the cause for the log. */
  readonly giveUp: (cause: string) => void
  readonly total: NodeJS.Timeout | undefined
  headers: Wait | null
  /** False once the headers have come, or do not matter any more. */
  isExpecting: boolean
  stalled: NodeJS.Timeout | undefined
  /** Counts this exchange while its client does not read. Null: it does not count. */
  stalls: Stalls | null
}

/** Responses that wait for their clients now, of the whole process. Event streams do not count. */
export interface Stalls {
  open: number
}

export function startWatchdog(timeouts: Route['timeouts'], giveUp: (cause: string) => void): Watchdog {
  const { totalMs } = timeouts
  const total = totalMs > 0 ? setTimeout(() => giveUp(`not done in totalMs = ${totalMs}`), totalMs) : undefined
  return { timeouts, giveUp, total, headers: null, isExpecting: true, stalled: undefined, stalls: null }
}

/** The upstream has everything that it may wait for: the deadline for its headers begins. */
export function expectHeaders(watchdog: Watchdog): void {
  if (!watchdog.isExpecting) return
  const { headersMs } = watchdog.timeouts
  watchdog.headers = deadlinesOf(headersMs).begin(() => watchdog.giveUp(`no response headers within headersMs = ${headersMs}`))
}

export function headersCame(watchdog: Watchdog): void {
  watchdog.isExpecting = false
  if (watchdog.headers) deadlinesOf(watchdog.timeouts.headersMs).end(watchdog.headers)
  watchdog.headers = null
}

/** The client does not read the response; undici's own deadline is paused meanwhile. @param stalls null for an event stream */
export function clientStalls(watchdog: Watchdog, stalls: Stalls | null): void {
  const { idleMs } = watchdog.timeouts
  watchdog.stalls = stalls
  if (stalls) stalls.open++
  watchdog.stalled = setTimeout(() => watchdog.giveUp(`the client has read nothing for idleMs = ${idleMs}`), idleMs)
}

export function clientReads(watchdog: Watchdog): void {
  clearTimeout(watchdog.stalled)
  if (watchdog.stalls) watchdog.stalls.open--
  watchdog.stalls = null
}

/** Ends all deadlines. */
export function endWatchdog(watchdog: Watchdog): void {
  headersCame(watchdog)
  clearTimeout(watchdog.total)
  clientReads(watchdog)
}

/** Routes with the same headersMs share a list. */
const deadlinesOf = memoize(createDeadlines)
