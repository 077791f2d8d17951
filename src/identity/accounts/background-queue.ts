/**
 * Work that is done after its answer has gone, so that the answer's time tells nothing of it. One after the other: a flood of it takes one
 * connection to the database, and no more than so many wait.
 */
import { causeText, Problem, problem } from '../../platform/lib/errors.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'

export interface BackgroundQueue {
  /** @param what for the log, if it fails. @throws overloaded */
  add(what: string, requestId: string | null, work: () => Promise<unknown>): void
  /** When all that was added is done. */
  settled(): Promise<unknown>
}

const RETRY_AFTER_SECONDS = 5

export function createBackgroundQueue(logger: Logger, max = 256): BackgroundQueue {
  let last: Promise<unknown> = Promise.resolve()
  let waiting = 0
  return {
    add(what, requestId, work) {
      if (waiting >= max)
        throw problem('overloaded', { cause: `too many wait: ${what}`, headers: { 'retry-after': String(RETRY_AFTER_SECONDS) } })
      waiting++
      last = last
        .then(work)
        .catch((error) => {
          const reason = error instanceof Problem ? error.code : 'internal'
          logger.error({ reason, request_id: requestId, cause: causeText(error) }, `${what} failed`)
        })
        .finally(() => waiting--)
    },
    settled: () => last,
  }
}
