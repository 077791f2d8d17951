/**
 * The circuit breaker of the database. A call that gets no answer in time has the database examined. While the examination says that the
 * database is away, every call fails at once. A slow statement does not open the breaker, because the examination succeeds.
 */
import { systemClock } from '../lib/clock.ts'
import { startDeadline } from '../lib/deadline.ts'
import { causeText } from '../lib/errors.ts'
import type { Logger } from '../telemetry/logger.ts'
import { AnswerTimeout, DatabaseUnavailable, isRefused, sqlState } from './unavailable.ts'

export interface Breaker {
  isOpen(): boolean
  /** @throws DatabaseUnavailable while the breaker is open */
  assertClosed(): void
  /** The same promise. It rejects when the breaker opens, or after `limitMs`. */
  wait<T>(work: Promise<T>, limitMs: number | null): Promise<T>
  /** Has the database examined, unless that is under way. */
  suspect(): void
  stop(): void
}

export interface BreakerDeps {
  /** Rejects when the database cannot be used. `silenceMs`: how long a server may say nothing. */
  examine(silenceMs: number): Promise<void>
  onOpen(): void
  logger: Logger
  /** For the log. */
  name: string
}

/** A call without an answer for this long has the database examined, again and again. */
const SUSPICIOUS_MS = 700
const SILENCE_MS = 250
/** Also a server that is slow when it comes back is found. */
const PATIENT_SILENCE_MS = 500
const PAUSE_MS = 500
/** Between two examinations while calls wait. */
const GAP_MS = 250

export function createBreaker({ examine, onOpen, logger, name }: BreakerDeps): Breaker {
  let reason: DatabaseUnavailable | null = null
  let isExamining = false
  let isStopped = false
  let examinedAt = Number.NEGATIVE_INFINITY
  let answeredAt = Number.NEGATIVE_INFINITY
  let timer: NodeJS.Timeout | null = null
  const waiting = new Set<(cause: unknown) => void>()

  function open(error: unknown): void {
    const before = reason
    reason = error instanceof DatabaseUnavailable ? error : new DatabaseUnavailable(error)
    if (before === null) {
      logger.warn(
        { reason: 'db_breaker_open', database: name, cause: causeText(error) },
        'a database is away: it is not called until it is back',
      )
      onOpen()
    }
    for (const fail of waiting) fail(reason.cause)
    later(PAUSE_MS)
  }

  function close(): void {
    if (reason === null) return
    reason = null
    logger.info({ reason: 'db_breaker_closed', database: name }, 'a database is back')
  }

  function later(ms: number): void {
    if (timer || isStopped) return
    timer = setTimeout(() => {
      timer = null
      void look()
    }, ms).unref()
  }

  async function look(): Promise<void> {
    if (isExamining || isStopped) return
    isExamining = true
    const startedAt = systemClock.steady()
    try {
      await examine(reason ? PATIENT_SILENCE_MS : SILENCE_MS)
      if (!isStopped) close()
    } catch (error) {
      // an answer to another call shows that the server is only slow to take connections. While open, only an examination counts
      const isThere = reason === null && answeredAt >= startedAt && !isRefused(error)
      if (!isStopped && !isThere) open(error)
    } finally {
      isExamining = false
      examinedAt = systemClock.steady()
    }
  }

  function suspect(): void {
    if (reason || isExamining) return
    const sinceMs = systemClock.steady() - examinedAt
    if (sinceMs >= GAP_MS) void look()
    else later(GAP_MS - sinceMs)
  }

  function assertClosed(): void {
    if (reason) throw new DatabaseUnavailable(reason.cause)
  }

  return {
    isOpen: () => reason !== null,
    assertClosed,
    suspect,
    wait: (work, limitMs) =>
      new Promise((resolve, reject) => {
        let endSuspicion = () => {}
        const beginSuspicion = () => {
          endSuspicion = startDeadline(SUSPICIOUS_MS, () => {
            suspect()
            beginSuspicion()
          })
        }
        const end = () => {
          endSuspicion()
          endLimit()
          waiting.delete(fail)
        }
        const fail = (cause: unknown) => {
          end()
          // each caller has an error of its own
          reject(new DatabaseUnavailable(cause))
        }
        const endLimit = limitMs === null ? () => {} : startDeadline(limitMs, () => fail(new AnswerTimeout()))
        beginSuspicion()
        waiting.add(fail)
        work.then(
          (value) => {
            answeredAt = systemClock.steady()
            end()
            resolve(value)
          },
          (error) => {
            if (sqlState(error)) answeredAt = systemClock.steady()
            end()
            reject(error)
          },
        )
        if (reason) fail(reason.cause)
      }),
    stop() {
      isStopped = true
      if (timer) clearTimeout(timer)
    },
  }
}
