/** By what a user can log in without the help of an administrator. The last way in is never removed by the user. */
import type { Config } from '../../platform/config/schema.ts'
import type { Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { findPasskeysOf } from '../factors/passkeys.repo.ts'
import { hasProvenAddress } from '../users/proven-address.ts'
import { hasPassword, type User } from '../users/users.repo.ts'
import { findLinkedLoginsOf } from './linked-logins.repo.ts'

export interface WaysIn {
  /** @param without the id of a linked login or of a passkey. @throws last_credential */
  assertOther(trx: Transaction, user: User, without: string): Promise<void>
}

export interface WaysInDeps {
  auth: Pick<Config['auth'], 'emailLogin'>
  /** Whether a provider of the configuration has this issuer. */
  isConfigured(issuer: string): boolean
  /** Null where passkeys are not enabled. */
  rpId: string | null
}

export function createWaysIn({ auth, isConfigured, rpId }: WaysInDeps): WaysIn {
  return {
    async assertOther(trx, user, without) {
      if (hasPassword(user)) return
      if (auth.emailLogin === 'on' && hasProvenAddress(user)) return
      // what the configuration no longer knows is no way in
      const logins = (await findLinkedLoginsOf(trx, user.id)).filter(({ issuer }) => isConfigured(issuer))
      const passkeys = (await findPasskeysOf(trx, user.id)).filter(({ rp_id }) => rp_id === rpId)
      if (![...logins, ...passkeys].some(({ id }) => id !== without)) throw problem('last_credential')
    },
  }
}
