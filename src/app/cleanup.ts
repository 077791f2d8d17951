/** Removes expired, revoked and old rows in batches, on one replica at a time. */
import { deleteDevicesUnseenSince } from '../identity/accounts/devices.repo.ts'
import { deleteExpiredLinks } from '../identity/accounts/links.repo.ts'
import { deleteExpiredPending } from '../identity/accounts/pending-registrations.repo.ts'
import { deleteDeadApiKeys } from '../identity/api-keys/api-keys.repo.ts'
import { countRefreshTokens, deleteExpiredRefreshTokens, forgetRetriesBefore } from '../identity/sessions/refresh-tokens.repo.ts'
import { deleteExpiredRevocations } from '../identity/sessions/revocations.repo.ts'
import { deleteDeadSessions } from '../identity/sessions/sessions.repo.ts'
import { deleteExpiredUsedTokens } from '../identity/tokens/used-tokens.repo.ts'
import type { AuditRetention } from '../platform/audit/retention.ts'
import type { Config } from '../platform/config/schema.ts'
import { type Db, databaseNow, withAdvisoryLock } from '../platform/db/database.ts'
import { deleteEndedCounters } from '../platform/limits/counters.repo.ts'
import { deleteOldMails } from '../platform/mail/outbox.repo.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import type { Metrics } from '../platform/telemetry/metrics.ts'

export interface CleanupResult {
  sessions: number
  refreshTokens: number
  auditRows: number
}

const LOCK = 7610003
const DAY_MS = 86_400_000
/** Rows of sent and abandoned mails are kept this long; they name no recipient. */
const MAILS_DAYS = 30
/** A device that was not seen for this time counts as new. */
const DEVICES_DAYS = 180

export interface CleanupDeps {
  db: Db
  /** False on the embedded database: it has one connection, and no other process. */
  needsLock: boolean
  config: Config['auth']
  removeOldAudit: AuditRetention
  metrics: Metrics
  logger: Logger
  batch?: number
}

/** @returns the numbers of removed rows, or null while another replica runs the cleanup */
export function createCleanup(deps: CleanupDeps): () => Promise<CleanupResult | null> {
  const { db, needsLock, config, removeOldAudit, metrics, logger, batch = 1000 } = deps

  async function clean(on: Db): Promise<CleanupResult> {
    const now = await databaseNow(on)
    const revokedBefore = new Date(now.getTime() - config.cleanup.revokedRetentionDays * DAY_MS)
    const sessions = await inBatches((limit) => deleteDeadSessions(on, now, revokedBefore, limit))
    const refreshTokens = await inBatches((limit) => deleteExpiredRefreshTokens(on, now, limit))
    metrics.cleanupDeleted.inc({ kind: 'api_keys' }, await inBatches((limit) => deleteDeadApiKeys(on, revokedBefore, limit)))
    await deleteExpiredUsedTokens(on, now)
    await deleteExpiredRevocations(on, now)
    await deleteEndedCounters(on, now)
    await deleteExpiredLinks(on, now)
    await deleteExpiredPending(on, now)
    await deleteDevicesUnseenSince(on, new Date(now.getTime() - DEVICES_DAYS * DAY_MS))
    await inBatches((limit) => deleteOldMails(on, new Date(now.getTime() - MAILS_DAYS * DAY_MS), limit))
    // last, because it throws when the audit log was tampered with
    const auditRows = await removeOldAudit(on, batch)
    metrics.cleanupDeleted.inc({ kind: 'sessions' }, sessions)
    metrics.cleanupDeleted.inc({ kind: 'refresh_tokens' }, refreshTokens)
    metrics.cleanupDeleted.inc({ kind: 'audit_rows' }, auditRows)
    metrics.refreshTokenRows.set(await countRefreshTokens(on))
    metrics.cleanupLastSuccess.set(now.getTime() / 1000)
    logger.info({ sessions, refresh_tokens: refreshTokens, audit_rows: auditRows }, 'the cleanup has finished')
    return { sessions, refreshTokens, auditRows }
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

/** Erases the stored answers to repeated refreshes once their grace period has ended. */
export const createRetryErasure =
  (db: Db, { graceSeconds }: Config['auth']['refresh']) =>
  async (): Promise<void> => {
    await forgetRetriesBefore(db, new Date((await databaseNow(db)).getTime() - graceSeconds * 1000))
  }
