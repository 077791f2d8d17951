/** Someone who is signed in shows the password again. Guesses count against the account as those at login do. */
import type { Db, Transaction } from '../db/database.ts'
import { problem } from '../errors.ts'
import type { Principal } from '../gateway/principal.ts'
import type { ClientOrigin } from '../http/networks.ts'
import { lockSession } from '../sessions/sessions.repo.ts'
import type { CredentialLimits } from './credential-limits.ts'
import type { Passwords } from './passwords.ts'
import { findUserById, lockUser, type User } from './users.repo.ts'

/** @returns the user whose password it is. @throws invalid_credentials, rate_limited */
export type PasswordCheck = (userId: string, password: string, client: ClientOrigin) => Promise<User>

export function createPasswordCheck({ db, passwords, limits }: { db: Db; passwords: Passwords; limits: CredentialLimits }): PasswordCheck {
  return (userId, password, client) =>
    limits.login(client, { id: userId }, async () => {
      const user = await findUserById(db, userId)
      const matches = await passwords.verify(user?.password_hash ?? null, password)
      if (!user || !matches)
        throw problem('invalid_credentials', { cause: 'wrong current password', detail: 'The current password is wrong.' })
      return user
    })
}

/**
 * Locks user and session of the caller, and refuses when what the request was let in by no longer holds: a change that was checked before
 * a logout, a disabling or another change must not be committed after it.
 * @param checkedHash the password hash that the caller's password was compared with, if it was
 */
export async function lockCaller(trx: Transaction, principal: Principal, checkedHash?: string): Promise<User> {
  const user = await lockUser(trx, principal.id)
  const session = await lockSession(trx, principal.sessionId)
  const holds = user && !user.disabled_at && user.token_epoch <= principal.epoch && session && !session.revoked_at
  if (!holds) throw problem('token_revoked', { cause: 'revoked while the request ran' })
  if (checkedHash !== undefined && user.password_hash !== checkedHash)
    throw problem('invalid_credentials', { cause: 'the password changed while it was checked' })
  return user
}
