/**
 * The time of the database. All gateways share the database, so they agree on the time, whatever the clocks of their machines say. Each read
 * of the revocations measures it. Between two measurements the steady clock counts, so a change of the machine's clock has no effect.
 */
import type { Clock } from './clock.ts'

/** One question for the time of the database. All values are milliseconds. */
export interface TimeMeasurement {
  /** The answer: the database's time at some moment between the question and its answer. */
  databaseMs: number
  /** By the steady clock. */
  askedAt: number
  answeredAt: number
}

export interface DatabaseClock extends Clock {
  measure(measurement: TimeMeasurement): void
  /** How far the clock of this machine is ahead of the database; 0 before the first measurement. */
  skewSeconds(): number
}

/**
 * @param isCorrected false: `now` stays the time of `local`, and the measurements only show the skew
 */
export function createDatabaseClock(local: Clock, isCorrected = true): DatabaseClock {
  /** The database's time minus the steady clock. */
  let base: number | null = null
  const steady = () => local.steady()
  const databaseNow = () => (base === null ? local.now() : Math.floor(base + local.steady()))
  return {
    now: isCorrected ? databaseNow : () => local.now(),
    steady,
    measure({ databaseMs, askedAt, answeredAt }) {
      // the true value lies between these two. A slow answer says little, so it never moves a better value
      const [lowest, highest] = [databaseMs - answeredAt, databaseMs - askedAt]
      base = base === null ? (lowest + highest) / 2 : Math.min(highest, Math.max(lowest, base))
    },
    skewSeconds: () => (base === null ? 0 : (local.now() - base - local.steady()) / 1000),
  }
}
