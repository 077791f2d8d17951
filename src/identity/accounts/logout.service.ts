/** Ends one session, or all of them with the API keys that they made. After the answer none of their tokens works at any gateway. */
import type { AuditContext } from '../../platform/audit/audit.ts'
import { databaseNow } from '../../platform/db/database.ts'
import { revokeApiKeysOfSessions } from '../api-keys/api-keys.repo.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import type { Judgement, RefreshTokens } from '../sessions/refresh-tokens.ts'
import { findLivingSessions } from '../sessions/sessions.repo.ts'

/** The session of an access token, or a refresh token of the session. */
export type SessionProof = { sessionId: string; userId: string } | { refreshToken: string }

/** A thief who used a session may have made keys with it. The caller raises the epochs of the user, so that caches refuse the keys. */
async function endKeysOfSessions({ trx, record }: AccountTransaction, userId: string): Promise<void> {
  const now = await databaseNow(trx)
  const ending = (await findLivingSessions(trx, userId, now)).map(({ id }) => id)
  for (const { id } of await revokeApiKeysOfSessions(trx, userId, ending, now))
    await record({ event: 'api_key_revoke', userId, detail: id })
}

export function createLogout({ accounts, refreshTokens }: { accounts: Accounts; refreshTokens: RefreshTokens }) {
  /**
   * An unknown refresh token is not an error, since its session has already ended. A used or expired refresh token ends no other session than
   * its own. @returns what the refresh token was
   */
  return async (proof: SessionProof, scope: 'session' | 'all', context: AuditContext): Promise<Judgement> => {
    const place = 'refreshToken' in proof ? await refreshTokens.locate(proof.refreshToken) : null
    if ('refreshToken' in proof && !place) return 'unknown'
    const { userId, sessionId } = 'refreshToken' in proof ? { userId: place!.user_id, sessionId: place!.session_id } : proof
    const event = scope === 'all' ? 'logout_all' : 'logout'
    const judgement = await accounts.transaction(event, context, async (tx): Promise<Judgement> => {
      const { user, session } = await tx.lockUserAndSession(userId, sessionId)
      if (!user || !session) return 'unknown'
      const judged = place ? await refreshTokens.judge(tx, place, context) : 'current'
      if (judged === 'revoked' || judged === 'reused') return judged
      if (scope === 'all' && judged === 'current') {
        await tx.record({ userId, sessionId })
        await endKeysOfSessions(tx, userId)
        await tx.revoke.allSessions(userId, 'logout_all')
      } else {
        await tx.record({ event: 'logout', userId, sessionId })
        await tx.revoke.session(userId, sessionId, 'logout')
      }
      return judged
    })
    refreshTokens.report(judgement, context)
    accounts.count(event, judgement === 'reused' ? 'refresh_reused' : 'success')
    return judgement
  }
}
