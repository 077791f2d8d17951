/** What a user sees of the own sessions, and can end of them. */
import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, inTransaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { deviceName } from '../../platform/request/device-name.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Principal } from '../access/principal.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
import { findUsableSessions, lockSession, type Session } from '../sessions/sessions.repo.ts'
import { lockUser } from '../users/users.repo.ts'

export interface SessionView {
  id: string
  /** Such as `Firefox on Linux`. */
  device: string | null
  ip: string | null
  created_at: string
  last_used_at: string
  expires_at: string
  /** A second factor was shown. */
  mfa: boolean
}

export const viewOfSession = (session: Session): SessionView => ({
  id: session.id,
  device: deviceName(session.user_agent),
  ip: session.ip,
  created_at: session.created_at.toISOString(),
  last_used_at: session.last_used_at.toISOString(),
  expires_at: session.expires_at.toISOString(),
  mfa: session.amr.includes('otp'),
})

export interface SessionsDeps {
  db: Db
  metrics: Metrics
  audit: Audit
  sessionRevoker: SessionRevoker
  revocations: Revocations
}

export function createSessions({ db, metrics, audit, sessionRevoker, revocations }: SessionsDeps) {
  async function list(userId: string): Promise<SessionView[]> {
    return (await findUsableSessions(db, userId, await databaseNow(db))).map(viewOfSession)
  }

  /** @throws not_found, alike for one that is somebody else's, and one that has ended */
  async function end(userId: string, sessionId: string, by: { actor?: string; context: AuditContext }): Promise<void> {
    const revocation = await inTransaction(db, async (trx) => {
      await lockUser(trx, userId)
      const session = await lockSession(trx, sessionId)
      if (session?.user_id !== userId || session.revoked_at) throw problem('not_found')
      await audit.record(trx, { event: 'session_end', outcome: 'success', userId, sessionId, ...by })
      return sessionRevoker.endSession(trx, userId, sessionId, 'ended')
    })
    await revocations.announce(revocation)
  }

  async function endOthers({ id: userId, sessionId }: Principal, context: AuditContext): Promise<void> {
    const ended = await inTransaction(db, async (trx) => {
      await lockUser(trx, userId)
      await audit.record(trx, { event: 'sessions_end_others', outcome: 'success', userId, sessionId, context })
      return sessionRevoker.endOtherSessions(trx, userId, sessionId, 'ended')
    })
    await Promise.all(ended.map(revocations.announce))
  }

  const counted = <A extends unknown[], R>(event: string, work: (...args: A) => Promise<R>) =>
    countOutcome((outcome) => metrics.accountEvents.inc({ event, outcome }), work)
  return { list, end: counted('session_end', end), endOthers: counted('sessions_end_others', endOthers) }
}

export type Sessions = ReturnType<typeof createSessions>
