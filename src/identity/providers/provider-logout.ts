/** The logout at the provider (OpenID Connect RP-Initiated Logout 1.0): the browser goes there after the session here has ended. */
import type { Db } from '../../platform/db/database.ts'
import { type Secrets, UnreadableSecret } from '../../platform/vault/secrets.ts'
import { findProviderLoginOf } from '../accounts/linked-logins.repo.ts'
import type { Provider } from './provider.ts'
import type { Providers } from './providers.ts'

export interface ProviderLogoutDeps {
  db: Db
  secrets: Secrets
  providers: Providers
  /** Where the provider leads back to. The operator registers it there. */
  returnUrl: string
}

/** @returns the page of the provider. Null when the session did not begin there, or the provider has no such page */
export type ProviderLogout = (userId: string, sessionId: string) => Promise<{ provider: Provider; url: URL } | null>

export function createProviderLogout({ db, secrets, providers, returnUrl }: ProviderLogoutDeps): ProviderLogout {
  return async (userId, sessionId) => {
    const login = await findProviderLoginOf(db, sessionId)
    const provider = login && providers.withIssuer(login.issuer)
    if (!provider) return null
    const place = { table: 'provider_logins', row: login.id, column: 'id_token_sealed', owner: userId }
    const url = await provider.logoutUrl(login.id_token_sealed === null ? null : open(place, login.id_token_sealed), returnUrl)
    return url && { provider, url }
  }

  /** Under another secret key the provider asks the user. */
  function open(place: Parameters<Secrets['open']>[0], sealed: string): string | null {
    try {
      return secrets.open(place, sealed).toString()
    } catch (error) {
      if (error instanceof UnreadableSecret) return null
      throw error
    }
  }
}
