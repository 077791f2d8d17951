/** Runs background jobs at their intervals. */
import type { Logger } from '../telemetry/logger.ts'

export interface Job {
  name: string
  everySeconds: number
  /** Delay before the first run; at most the interval. */
  firstAfterSeconds?: number
  run(): Promise<unknown>
  /** Asks a run to end soon, because the gateway stops. */
  stop?(): void
}

/**
 * Each job starts again one interval after its last run ended. A failed run is logged, and the next run follows as usual.
 * @returns stops all jobs and waits for the runs in progress
 */
export function schedule(jobs: readonly Job[], logger: Logger): () => Promise<void> {
  let isStopped = false
  const timers = new Set<NodeJS.Timeout>()
  const running = new Set<Promise<unknown>>()

  const plan = (job: Job, seconds: number): void => {
    if (isStopped) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      const run = job
        .run()
        .catch((error) => logger.warn({ reason: 'job_failed', job: job.name, cause: String(error) }, 'a background job failed'))
        .finally(() => {
          running.delete(run)
          plan(job, job.everySeconds)
        })
      running.add(run)
    }, seconds * 1000).unref()
    timers.add(timer)
  }
  for (const job of jobs) plan(job, Math.min(job.firstAfterSeconds ?? job.everySeconds, job.everySeconds))

  return async () => {
    isStopped = true
    for (const timer of timers) clearTimeout(timer)
    for (const job of jobs) job.stop?.()
    await Promise.allSettled(running)
  }
}
