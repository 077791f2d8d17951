/**
 * The deadlines of one exchange with an upstream: for its response headers, for the whole exchange, and for a client that stops reading.
 */
import { memoize } from '../../platform/lib/memoize.ts'
import type { Route } from '../routing/route-table.ts'
import { createDeadlines, type Wait } from '../upstream/deadlines.ts'

export interface Watchdog {
  /** The upstream has everything that it may wait for: the deadline for its headers begins. */
  expectHeaders(): void
  headersCame(): void
  /** The client does not read the response; undici's own deadline is paused meanwhile. */
  clientStalls(): void
  clientReads(): void
  /** Ends all deadlines. */
  end(): void
}

/** @param giveUp called when a deadline has passed, with the cause for the log */
export function createWatchdog({ totalMs, headersMs, idleMs }: Route['timeouts'], giveUp: (cause: string) => void): Watchdog {
  const deadlines = deadlinesOf(headersMs)
  const total = totalMs > 0 ? setTimeout(() => giveUp(`not done in totalMs = ${totalMs}`), totalMs) : undefined
  let headers: Wait | null = null
  let isExpecting = true
  let stalled: NodeJS.Timeout | undefined

  function headersCame(): void {
    isExpecting = false
    if (headers) deadlines.end(headers)
    headers = null
  }

  return {
    expectHeaders() {
      if (isExpecting) headers = deadlines.begin(() => giveUp(`no response headers within headersMs = ${headersMs}`))
    },
    headersCame,
    clientStalls() {
      stalled = setTimeout(() => giveUp(`the client has read nothing for idleMs = ${idleMs}`), idleMs)
    },
    clientReads: () => clearTimeout(stalled),
    end() {
      headersCame()
      clearTimeout(total)
      clearTimeout(stalled)
    },
  }
}

/** Routes with the same headersMs share a list. */
const deadlinesOf = memoize(createDeadlines)
