/**
 * Runs work after the answer was sent, so that the time of the answer reveals nothing about the work. Jobs run one after another, so a
 * flood of them uses one database connection. The number of waiting jobs is bounded.
 */
import { causeText, Problem, problem } from '../../platform/lib/errors.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'

export interface BackgroundQueue {
  /** @param what names the work in the log, if it fails. @throws overloaded */
  add(what: string, requestId: string | null, work: () => Promise<unknown>): void
  /** Resolves when all added work is done. */
  settled(): Promise<unknown>
}

const RETRY_AFTER_SECONDS = 5

export function createBackgroundQueue(logger: Logger, max = 256): BackgroundQueue {
  let last: Promise<unknown> = Promise.resolve()
  let waiting = 0
  return {
    add(what, requestId, work) {
      if (waiting >= max)
        throw problem('overloaded', {
          cause: `too many jobs wait in the background queue: ${what}`,
          headers: { 'retry-after': String(RETRY_AFTER_SECONDS) },
        })
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
