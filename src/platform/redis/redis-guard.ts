/**
 * Keeps requests away from a Redis that fails. A PING each second asks whether Redis answers. After a failure no request calls Redis until a
 * PING has succeeded: a request is never the probe.
 */
import { systemClock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { recorded } from '../telemetry/recording.ts'
import { causeOf, isAnswer, kindOf, REDIS_ERROR_KINDS, type RedisErrorKind } from './error-kinds.ts'

/** What callers of Redis see. */
export interface RedisGuard {
  /** False while Redis is not called. */
  mayCall(): boolean
  /** Runs a call with its deadline. A failure closes Redis for all callers until a PING succeeds. Rejects as the call does. */
  run<T>(call: () => Promise<T>): Promise<T>
}

export interface RedisWatch extends RedisGuard {
  /** There is a new connection: it is asked at once. */
  connected(): void
  /** A connection failed or was lost. */
  lost(error: unknown): void
  /** Counts an error that Redis answered. Whether a call failed for it is reported by `run`. */
  answered(error: unknown): void
  /** A call failed on which no limit depends. */
  noticed(error: unknown, message: string): void
  stop(): void
}

export interface RedisWatchOptions {
  logger: Logger
  metrics: Pick<Metrics, 'redisErrors'>
  /** Replaced by stars in log lines. */
  secrets: readonly string[]
  /** Errors after which the client library itself repeats the call, so that the call does not fail. */
  repeated: readonly RedisErrorKind[]
  isConnected(): boolean
  ping(): Promise<unknown>
  /** Writes a value of its own. After an error that Redis answered, a PING alone proves nothing. */
  write(): Promise<unknown>
}

/** Without Redis: every call runs in this process. */
export const NO_GUARD: RedisGuard = { mayCall: () => true, run: (call) => call() }

const OF_REDIS = { 'db.system.name': 'redis' }
/** The longest wait for an answer about a limit. */
export const CALL_MS = 50
export const BEAT_MS = 1000
const PROBE_MS = 500
/** So long Redis must answer before the log reports that it is back: a Redis that fails again and again is not a line each time. */
const STEADY_MS = 2000

const AWAY = 'redis is not available: limits are counted by each worker until it is back, unless onRedisDown of a route says otherwise'

export function watchRedis({ logger, metrics, secrets, repeated, isConnected, ping, write }: RedisWatchOptions): RedisWatch {
  let isAvailable = false
  let isStopped = false
  let failures = 0
  /** The failure that is looked into was answered by Redis. */
  let wasAnswered = false
  /** The last kind in the log, null once the log has reported that Redis is back. */
  let loggedKind: RedisErrorKind | null = null
  let hasReportedUp = false
  let availableSince = 0
  /** A kind in the log that closed nothing. */
  let noticedKind: RedisErrorKind | null = null
  let timer: NodeJS.Timeout | undefined
  for (const kind of REDIS_ERROR_KINDS) metrics.redisErrors.inc({ kind }, 0)

  const count = (error: unknown): RedisErrorKind => {
    const kind = kindOf(error) ?? loggedKind ?? 'reset'
    metrics.redisErrors.inc({ kind })
    return kind
  }
  /** Errors that Redis answered are counted where they arrive. */
  const countOnce = (error: unknown): RedisErrorKind => (isAnswer(error) ? (kindOf(error) ?? 'other') : count(error))

  function open(kind: RedisErrorKind, error: unknown): void {
    failures++
    wasAnswered = isAnswer(error)
    if (kind !== loggedKind) logger.warn({ reason: 'redis_away', kind, cause: causeOf(error, secrets) }, AWAY)
    loggedKind = kind
    if (!isAvailable) return
    isAvailable = false
    schedule(PROBE_MS)
  }

  function failed(error: unknown): void {
    if (!isStopped) open(countOnce(error), error)
  }

  function available(): void {
    const now = systemClock.steady()
    if (!isAvailable) availableSince = now
    isAvailable = true
    noticedKind = null
    if (loggedKind === null ? hasReportedUp : now - availableSince < STEADY_MS) return
    loggedKind = null
    hasReportedUp = true
    logger.info('redis is available')
  }

  async function beat(): Promise<void> {
    const before = failures
    try {
      if (!isConnected()) return
      // a slow answer is no failure of a heartbeat, but a request would not wait for it
      await withDeadline(ping(), isAvailable ? BEAT_MS : CALL_MS)
      if (!isAvailable && wasAnswered) await withDeadline(write(), CALL_MS)
      if (failures === before && !isStopped) available()
    } catch (error) {
      failed(error)
    }
  }

  function schedule(ms: number): void {
    clearTimeout(timer)
    if (isStopped) return
    timer = setTimeout(() => void beat().finally(() => schedule(isAvailable ? BEAT_MS : PROBE_MS)), ms).unref()
  }

  function notice(kind: RedisErrorKind, error: unknown, message: string): void {
    if (kind === noticedKind || kind === loggedKind) return
    noticedKind = kind
    logger.warn({ reason: 'redis_error', kind, cause: causeOf(error, secrets) }, message)
  }

  schedule(PROBE_MS)
  return {
    mayCall: () => isAvailable,
    async run(call) {
      try {
        return await recorded('redis', 'client', OF_REDIS, () => withDeadline(call(), CALL_MS))
      } catch (error) {
        failed(error)
        throw error
      }
    },
    connected: () => schedule(0),
    lost(error) {
      if (!isStopped) open(count(error), error)
    },
    answered(error) {
      const kind = count(error)
      if (repeated.includes(kind)) notice(kind, error, 'redis did not take a call: it was repeated')
    },
    noticed(error, message) {
      if (!isStopped) notice(countOnce(error), error, message)
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
    },
  }
}
