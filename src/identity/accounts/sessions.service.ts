/** Users list and end their own sessions. */
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { deviceName } from '../../platform/request/device-name.ts'
import type { Principal } from '../access/principal.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { idleTtlSeconds } from '../sessions/session-life.ts'
import { findUsableSessions, type Session } from '../sessions/sessions.repo.ts'
import { showsFactor } from '../tokens/amr.ts'
import { lockUser } from '../users/users.repo.ts'

export interface SessionView {
  id: string
  /** Such as `Firefox on Linux`. */
  device: string | null
  ip: string | null
  /** Of the address at the login: two letters of ISO 3166-1. */
  country: string | null
  created_at: string
  last_used_at: string
  expires_at: string
  /** The user authenticated with a second factor. */
  mfa: boolean
}

export const viewOfSession = (session: Session): SessionView => ({
  id: session.id,
  device: deviceName(session.user_agent),
  ip: session.ip,
  country: session.country,
  created_at: session.created_at.toISOString(),
  last_used_at: session.last_used_at.toISOString(),
  expires_at: session.expires_at.toISOString(),
  mfa: showsFactor(session.amr),
})

export function createSessions({ db, accounts, config }: { db: Db; accounts: Accounts; config: Config }) {
  async function list(userId: string): Promise<SessionView[]> {
    return (await findUsableSessions(db, userId, await databaseNow(db), idleTtlSeconds(config))).map(viewOfSession)
  }

  /** @throws not_found, also when the session is another user's, or has ended */
  async function end(userId: string, sessionId: string, context: AuditContext): Promise<void> {
    await accounts.transaction('session_end', context, async ({ lockUserAndSession, record, revoke }) => {
      const { session } = await lockUserAndSession(userId, sessionId)
      if (session?.user_id !== userId || session.revoked_at) throw problem('not_found')
      await record({ userId, sessionId })
      await revoke.session(userId, sessionId, 'ended')
    })
  }

  async function endOthers({ id: userId, sessionId }: Principal, context: AuditContext): Promise<void> {
    await accounts.transaction('sessions_end_others', context, async ({ trx, record, revoke }) => {
      await lockUser(trx, userId)
      await record({ userId, sessionId })
      await revoke.otherSessions(userId, sessionId, 'ended')
    })
  }

  return { list, end: accounts.counted('session_end', end), endOthers: accounts.counted('sessions_end_others', endOthers) }
}

export type Sessions = ReturnType<typeof createSessions>
