/** Ends one session, or all of them. After the answer no token of these sessions works at any gateway. */
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import type { RefreshTokens } from '../sessions/refresh-tokens.ts'

/** The session of an access token, or a refresh token of the session. */
export type SessionProof = { sessionId: string; userId: string } | { refreshToken: string }

export function createLogout({ accounts, refreshTokens }: { accounts: Accounts; refreshTokens: RefreshTokens }) {
  /** An unknown refresh token is not an error, since its session has already ended. */
  return async (proof: SessionProof, scope: 'session' | 'all', context: AuditContext): Promise<void> => {
    const place = 'refreshToken' in proof ? await refreshTokens.locate(proof.refreshToken) : proof
    if (!place) return
    const { userId, sessionId } = place
    const event = scope === 'all' ? 'logout_all' : 'logout'
    await accounts.transaction(event, context, async ({ lockUserAndSession, record, revoke }) => {
      const { user, session } = await lockUserAndSession(userId, sessionId)
      // the refresh token of an ended session may not end the other sessions
      if (!user || !session || ('refreshToken' in proof && session.revoked_at)) return
      await record({ userId, sessionId })
      if (scope === 'all') await revoke.allSessions(userId, 'logout_all')
      else await revoke.session(userId, sessionId, 'logout')
    })
    accounts.count(event, 'success')
  }
}
