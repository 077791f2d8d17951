/** Removes what is dead, in batches, on one replica at a time. */
import type { Config } from '../config/schema.ts'
import { type Db, databaseNow, withAdvisoryLock } from '../db/database.ts'
import { deleteEndedCounters } from '../limits/counters.repo.ts'
import type { Logger } from '../logger.ts'
import type { Metrics } from '../metrics.ts'
import { deleteExpiredRevocations } from '../sessions/revocations.repo.ts'
import { deleteDeadSessions } from '../sessions/sessions.repo.ts'
import { countRefreshTokens, deleteExpiredRefreshTokens, forgetRetriesBefore } from '../tokens/refresh-tokens.repo.ts'

export interface CleanupResult {
  sessions: number
  refreshTokens: number
}

const LOCK = 7610003
const DAY_MS = 86_400_000

export interface CleanupDeps {
  db: Db
  /** False on the embedded database: it has one connection, and no other process. */
  needsLock: boolean
  config: Config['auth']
  metrics: Metrics
  logger: Logger
  batch?: number
}

/** @returns what was removed, or null when another replica is at it */
export function createCleanup({ db, needsLock, config, metrics, logger, batch = 1000 }: CleanupDeps): () => Promise<CleanupResult | null> {
  async function clean(on: Db): Promise<CleanupResult> {
    const now = await databaseNow(on)
    const revokedBefore = new Date(now.getTime() - config.cleanup.revokedRetentionDays * DAY_MS)
    const sessions = await inBatches((limit) => deleteDeadSessions(on, now, revokedBefore, limit))
    const refreshTokens = await inBatches((limit) => deleteExpiredRefreshTokens(on, now, limit))
    await deleteExpiredRevocations(on, now)
    await deleteEndedCounters(on, now)
    metrics.cleanupDeleted.inc({ kind: 'sessions' }, sessions)
    metrics.cleanupDeleted.inc({ kind: 'refresh_tokens' }, refreshTokens)
    metrics.refreshTokenRows.set(await countRefreshTokens(on))
    metrics.cleanupLastSuccess.set(now.getTime() / 1000)
    logger.info({ sessions, refresh_tokens: refreshTokens }, 'cleanup is done')
    return { sessions, refreshTokens }
  }

  async function inBatches(remove: (limit: number) => Promise<number>): Promise<number> {
    let total = 0
    for (;;) {
      const removed = await remove(batch)
      total += removed
      if (removed < batch) return total
    }
  }

  return () => (needsLock ? withAdvisoryLock(db, LOCK, clean) : clean(db))
}

/** What a repeated refresh could be answered from is erased once grace is over. */
export const createRetryErasure =
  (db: Db, { graceSeconds }: Config['auth']['refresh']) =>
  async (): Promise<void> => {
    await forgetRetriesBefore(db, new Date((await databaseNow(db)).getTime() - graceSeconds * 1000))
  }
