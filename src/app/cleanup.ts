/**
 * Removes expired, revoked and old rows in batches, on one replica at a time. Each batch is a transaction of its own, so that no lock
 * lasts. Each step runs whatever happened to the other steps.
 */
import { deleteDevicesUnseenSince } from '../identity/accounts/devices.repo.ts'
import { deleteExpiredEmailLogins } from '../identity/accounts/email-logins.repo.ts'
import { deleteExpiredInvitations } from '../identity/accounts/invitations.repo.ts'
import { deleteUnfinishedLogins } from '../identity/accounts/linked-logins.repo.ts'
import { deleteExpiredLinks } from '../identity/accounts/links.repo.ts'
import { deleteExpiredPending } from '../identity/accounts/pending-registrations.repo.ts'
import { deleteDeadApiKeys } from '../identity/api-keys/api-keys.repo.ts'
import { deleteExpiredFlows } from '../identity/providers/login-flows.repo.ts'
import { countRefreshTokens, deleteExpiredRefreshTokens, forgetRetriesBefore } from '../identity/sessions/refresh-tokens.repo.ts'
import { deleteExpiredRevocations } from '../identity/sessions/revocations.repo.ts'
import { deleteDeadSessions } from '../identity/sessions/sessions.repo.ts'
import { deleteExpiredUsedTokens } from '../identity/tokens/used-tokens.repo.ts'
import { deleteEndedHolds } from '../identity/users/held-usernames.repo.ts'
import type { AuditRetention } from '../platform/audit/retention.ts'
import type { Config } from '../platform/config/schema.ts'
import { type Db, databaseNow, isTimeout, withAdvisoryLock } from '../platform/db/database.ts'
import { causeText } from '../platform/lib/errors.ts'
import { deleteEndedCounters } from '../platform/limits/counters.repo.ts'
import { deleteOldMails } from '../platform/mail/outbox.repo.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import type { Metrics } from '../platform/telemetry/metrics.ts'

export interface CleanupResult {
  sessions: number
  refreshTokens: number
  auditRows: number
}

/** Some steps failed; the others are done. */
export class CleanupFailed extends Error {
  readonly result: CleanupResult
  constructor(result: CleanupResult, failures: readonly string[]) {
    super(`the cleanup could not finish: ${failures.join('; ')}`)
    this.result = result
  }
}

const LOCK = 7610003
const DAY_MS = 86_400_000
const BATCH = 5000
/** A session takes its refresh tokens with it. */
const SESSIONS_BATCH = 500
/** Rows of sent and abandoned mails are kept this long; they name no recipient. */
const MAILS_DAYS = 30
/** Longer than a second factor may take. */
const UNFINISHED_MS = 3_600_000
/** An administrator sees for this time that nobody has accepted an invitation. */
const INVITATIONS_DAYS = 7
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

/** Removes rows of one kind. @returns their number */
type Step = (on: Db, now: Date) => Promise<number>

/** @returns the numbers of removed rows, or null while another replica runs the cleanup. @throws CleanupFailed after all steps have run */
export function createCleanup(deps: CleanupDeps): () => Promise<CleanupResult | null> {
  const { db, needsLock, config, removeOldAudit, metrics, logger, batch = BATCH } = deps
  const days = (now: Date, count: number) => new Date(now.getTime() - count * DAY_MS)

  /** A step of batches that end with the first batch that is not full. */
  const batches =
    (remove: (on: Db, now: Date, limit: number) => Promise<number>, size = batch): Step =>
    (on, now) =>
      removeInBatches((limit) => remove(on, now, limit), size)

  const steps: Record<string, Step> = {
    // before the sessions: a session then has few tokens left, which are deleted with it
    refresh_tokens: batches(deleteExpiredRefreshTokens),
    sessions: batches(
      (on, now, limit) => deleteDeadSessions(on, now, days(now, config.cleanup.revokedRetentionDays), limit),
      Math.min(batch, SESSIONS_BATCH),
    ),
    api_keys: batches((on, now, limit) => deleteDeadApiKeys(on, days(now, config.cleanup.revokedRetentionDays), limit)),
    used_tokens: batches(deleteExpiredUsedTokens),
    revocations: batches(deleteExpiredRevocations),
    limit_counters: batches(deleteEndedCounters),
    links: batches(deleteExpiredLinks),
    email_logins: batches(deleteExpiredEmailLogins),
    pending_registrations: batches(deleteExpiredPending),
    login_flows: batches(deleteExpiredFlows),
    provider_logins: batches((on, now, limit) => deleteUnfinishedLogins(on, new Date(now.getTime() - UNFINISHED_MS), limit)),
    invitations: batches((on, now, limit) => deleteExpiredInvitations(on, days(now, INVITATIONS_DAYS), limit)),
    held_usernames: batches(deleteEndedHolds),
    devices: batches((on, now, limit) => deleteDevicesUnseenSince(on, days(now, DEVICES_DAYS), limit)),
    mails: batches((on, now, limit) => deleteOldMails(on, days(now, MAILS_DAYS), limit)),
    audit_rows: (on) => removeOldAudit(on, batch),
  }

  async function clean(on: Db): Promise<CleanupResult> {
    const now = await databaseNow(on)
    const removed: Record<string, number> = {}
    const failures: string[] = []
    const attempt = async (kind: string, work: () => Promise<void>) => {
      try {
        await work()
      } catch (error) {
        failures.push(`${kind}: ${causeText(error)}`)
        metrics.cleanupFailures.inc({ kind })
        logger.error({ reason: 'cleanup_failed', kind, cause: causeText(error) }, 'a step of the cleanup failed')
      }
    }
    for (const [kind, remove] of Object.entries(steps))
      await attempt(kind, async () => {
        removed[kind] = await remove(on, now)
        metrics.cleanupDeleted.inc({ kind }, removed[kind])
      })
    await attempt('count', async () => metrics.refreshTokenRows.set(await countRefreshTokens(on)))
    const { sessions = 0, refresh_tokens = 0, audit_rows = 0 } = removed
    const result = { sessions, refreshTokens: refresh_tokens, auditRows: audit_rows }
    if (failures.length > 0) throw new CleanupFailed(result, failures)
    metrics.cleanupLastSuccess.set(now.getTime() / 1000)
    logger.info({ sessions, refresh_tokens, audit_rows }, 'the cleanup has finished')
    return result
  }

  return () => (needsLock ? withAdvisoryLock(db, LOCK, clean) : clean(db))
}

/** A batch that takes too long is tried again with fewer rows. */
async function removeInBatches(remove: (limit: number) => Promise<number>, size: number): Promise<number> {
  let total = 0
  for (let limit = size; ; ) {
    try {
      const removed = await remove(limit)
      total += removed
      if (removed < limit) return total
    } catch (error) {
      if (limit === 1 || !isTimeout(error)) throw error
      limit = Math.ceil(limit / 4)
    }
  }
}

/** Erases the stored answers to repeated refreshes once their grace period has ended. */
export const createRetryErasure =
  (db: Db, { graceSeconds }: Config['auth']['refresh']) =>
  async (): Promise<void> => {
    const before = new Date((await databaseNow(db)).getTime() - graceSeconds * 1000)
    await removeInBatches((limit) => forgetRetriesBefore(db, before, limit), BATCH)
  }
