/** End one session, or all of them. When this has answered, no token of theirs works anywhere. */
import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { type Db, inTransaction } from '../../platform/db/database.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { RefreshTokens } from '../sessions/refresh-tokens.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
import { lockSession } from '../sessions/sessions.repo.ts'
import { lockUser } from '../users/users.repo.ts'

/** Proven by an access token, or by holding a refresh token of the session. */
export type SessionProof = { sessionId: string; userId: string } | { refreshToken: string }

export interface LogoutDeps {
  db: Db
  metrics: Metrics
  audit: Audit
  sessionRevoker: SessionRevoker
  revocations: Revocations
  refreshTokens: RefreshTokens
}

export function createLogout({ db, metrics, audit, sessionRevoker, revocations, refreshTokens }: LogoutDeps) {
  /** An unknown refresh token is no error: what the caller wants is so already. */
  return async (proof: SessionProof, scope: 'session' | 'all', context: AuditContext): Promise<void> => {
    const place = 'refreshToken' in proof ? await refreshTokens.locate(proof.refreshToken) : proof
    if (!place) return
    const { userId, sessionId } = place
    const revocation = await inTransaction(db, async (trx) => {
      const user = await lockUser(trx, userId)
      const session = await lockSession(trx, sessionId)
      // a dead session's refresh token proves nothing that could end the others
      if (!user || !session || ('refreshToken' in proof && session.revoked_at)) return null
      await audit.record(trx, { event: scope === 'all' ? 'logout_all' : 'logout', outcome: 'success', userId, sessionId, context })
      return scope === 'all'
        ? sessionRevoker.endAllSessions(trx, userId, 'logout_all')
        : sessionRevoker.endSession(trx, userId, sessionId, 'logout')
    })
    if (revocation) await revocations.announce(revocation)
    metrics.accountEvents.inc({ event: scope === 'all' ? 'logout_all' : 'logout', outcome: 'success' })
  }
}
