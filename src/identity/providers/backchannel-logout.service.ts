/** A provider ends sessions here (OpenID Connect Back-Channel Logout 1.0). */
import type { Db } from '../../platform/db/database.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import { findLinkedLogin, findLoginsBySid, findSessionsOfLogin, type LinkedLogin } from '../accounts/linked-logins.repo.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { markUsed } from '../tokens/used-tokens.repo.ts'
import { lockUser } from '../users/users.repo.ts'
import { logoutTokenInvalid } from './openid-provider.ts'
import type { LogoutToken, Provider } from './provider.ts'

export interface BackchannelLogoutDeps {
  db: Db
  accounts: Accounts
  limits: CredentialLimits
}

export function createBackchannelLogout({ db, accounts, limits }: BackchannelLogoutDeps) {
  async function loginsOf({ issuer }: Provider, { subject, sid }: LogoutToken): Promise<LinkedLogin[]> {
    if (subject === null) return findLoginsBySid(db, issuer, sid!)
    const linked = await findLinkedLogin(db, issuer, subject)
    return linked ? [linked] : []
  }

  /**
   * Ends the session that the token names, or all sessions of its subject. An unknown subject or session is no error: it has no session here.
   * @throws logout_token_invalid, provider_unavailable
   */
  return (provider: Provider, token: string, context: RequestContext): Promise<void> =>
    limits.provider(context.client, async () => {
      const read = await provider.readLogoutToken(token)
      const logins = await loginsOf(provider, read)
      await accounts.transaction('provider_logout', context, async (tx) => {
        if (!(await markUsed(tx.trx, `logout ${provider.issuer}`, read.jti, read.expiresAt))) throw logoutTokenInvalid('it was used before')
        // users are locked in the order of their ids
        for (const { id, user_id } of logins.toSorted((a, b) => (a.user_id < b.user_id ? -1 : 1))) {
          const user = await lockUser(tx.trx, user_id)
          if (!user) continue
          const sessions = await findSessionsOfLogin(tx.trx, id, read.sid)
          for (const { session_id } of sessions) await tx.revoke.session(user.id, session_id!, 'provider_logout')
          await tx.record({ userId: user.id, actor: `provider:${provider.id}`, detail: `${sessions.length} sessions` })
        }
      })
    })
}
