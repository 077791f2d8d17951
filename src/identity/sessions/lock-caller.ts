/** Locks the user and the session of a caller, and checks that the request may still go on. */

import type { Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { showsFactor } from '../tokens/amr.ts'
import { lockUser, type User } from '../users/users.repo.ts'
import { findSessionCookie, type SessionCookie } from './session-cookies.repo.ts'
import { type Authentication, lockSession, type Session } from './sessions.repo.ts'

/** The part of a `Principal` that names the rows that must still be valid. */
export interface Caller {
  id: string
  sessionId: string
  epoch: number
}

/**
 * For a change of the caller's own account. A change that was checked before a logout, a disabling or another change must not be committed
 * after it.
 * @param checkedHash the password hash that the caller's password was compared with
 * @throws token_revoked, invalid_credentials
 */
export async function lockCaller(trx: Transaction, caller: Caller, checkedHash?: string): Promise<User> {
  const user = assertStillValid(caller, await lockUser(trx, caller.id), await lockSession(trx, caller.sessionId))
  if (checkedHash !== undefined && user.password_hash !== checkedHash)
    throw problem('invalid_credentials', { cause: 'the password changed while it was checked' })
  return user
}

/** @param user the caller, locked by this transaction, like the session. @throws token_revoked */
export function assertStillValid(caller: Caller, user: User | undefined, session: Session | undefined): User {
  const isValid = user && !user.disabled_at && user.token_epoch <= caller.epoch && session && !session.revoked_at
  if (!isValid) throw problem('token_revoked', { cause: 'revoked while the request ran' })
  return user
}

/**
 * The authentication of the caller's session, for the session that replaces it. The time of a second factor is kept, since a password alone
 * does not renew it.
 */
export async function authenticationOf(trx: Transaction, caller: Caller): Promise<Authentication> {
  const { amr, device_id, auth_time } = (await lockSession(trx, caller.sessionId))!
  return { amr, deviceId: device_id, ...(showsFactor(amr) ? { authTime: auth_time } : {}) }
}

/** The session of a caller by cookie, with the value that the caller sent. @returns null for a caller by token */
export async function cookieOf(
  trx: Transaction,
  { sessionId, cookieId }: Pick<Caller, 'sessionId'> & { cookieId: string | null },
): Promise<{ session: Session; cookie: SessionCookie } | null> {
  if (cookieId === null) return null
  const session = (await lockSession(trx, sessionId))!
  return { session, cookie: (await findSessionCookie(trx, cookieId))! }
}
