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
}

export function startWatchdog(timeouts: Route['timeouts'], giveUp: (cause: string) => void): Watchdog {
  const { totalMs } = timeouts
  const total = totalMs > 0 ? setTimeout(() => giveUp(`not done in totalMs = ${totalMs}`), totalMs) : undefined
  return { timeouts, giveUp, total, headers: null, isExpecting: true, stalled: undefined }
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

/** The client does not read the response; undici's own deadline is paused meanwhile. */
export function clientStalls(watchdog: Watchdog): void {
  const { idleMs } = watchdog.timeouts
  watchdog.stalled = setTimeout(() => watchdog.giveUp(`the client has read nothing for idleMs = ${idleMs}`), idleMs)
}

export const clientReads = (watchdog: Watchdog): void => clearTimeout(watchdog.stalled)

/** Ends all deadlines. */
export function endWatchdog(watchdog: Watchdog): void {
  headersCame(watchdog)
  clearTimeout(watchdog.total)
  clearTimeout(watchdog.stalled)
}

/** Routes with the same headersMs share a list. */
const deadlinesOf = memoize(createDeadlines)
