/** Someone who is signed in shows the password again. Guesses count against the account as those at login do. */
import type { Db } from '../db/database.ts'
import { problem } from '../errors.ts'
import type { ClientOrigin } from '../http/networks.ts'
import type { CredentialLimits } from './credential-limits.ts'
import type { Passwords } from './passwords.ts'
import { findUserById, type User } from './users.repo.ts'

/** @returns the user whose password it is. @throws invalid_credentials, rate_limited */
export type PasswordCheck = (userId: string, password: string, client: ClientOrigin) => Promise<User>

export function createPasswordCheck({ db, passwords, limits }: { db: Db; passwords: Passwords; limits: CredentialLimits }): PasswordCheck {
  return async (userId, password, client) => {
    const attempt = await limits.login(client, { id: userId })
    const user = await findUserById(db, userId)
    if (!user || !(await passwords.verify(user.password_hash, password))) {
      throw problem('invalid_credentials', { cause: 'wrong current password', detail: 'The current password is wrong.' })
    }
    await attempt.succeeded()
    return user
  }
}
