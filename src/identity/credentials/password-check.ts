/** Checks the password of a signed-in user again. Attempts count against the session, as attempts of a known device do at login. */

import type { Db } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { findUserById, type User } from '../users/users.repo.ts'
import type { CredentialLimits } from './credential-limits.ts'
import type { Passwords } from './passwords.ts'

/** @returns the user. @throws invalid_credentials, rate_limited */
export type PasswordCheck = (principal: Principal, password: string, context: RequestContext) => Promise<User>

export interface PasswordCheckDeps {
  db: Db
  accounts: Accounts
  passwords: Passwords
  limits: CredentialLimits
}

export function createPasswordCheck({ db, accounts, passwords, limits }: PasswordCheckDeps): PasswordCheck {
  return async ({ id, sessionId }, password, context) => {
    const user = await findUserById(db, id)
    if (!user) throw problem('token_revoked', { cause: 'the user was deleted' })
    // a session has its own budget: attempts of strangers do not keep the owner from changing the password
    return limits.login(context.client, user, { kind: 'session', id: sessionId }, async () => {
      if (await passwords.verify(user.password_hash, password, 'known')) return user
      await accounts.record('password_check', { outcome: 'invalid_credentials', userId: id, sessionId }, context)
      throw problem('invalid_credentials', { cause: 'wrong current password', detail: 'The current password is wrong.' })
    })
  }
}
