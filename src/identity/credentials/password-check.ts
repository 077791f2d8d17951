/** Someone who is signed in shows the password again. CodeAttempts count against the session, as those of a known device do at login. */

import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { type Db, inTransaction, type Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { Authentication } from '../sessions/open-session.ts'
import { lockSession, type Session } from '../sessions/sessions.repo.ts'
import { findUserById, lockUser, lockUserForShare, type User } from '../users/users.repo.ts'
import type { CredentialLimits } from './credential-limits.ts'
import type { Passwords } from './passwords.ts'

/** @returns the user whose password it is. @throws invalid_credentials, rate_limited */
export type PasswordCheck = (principal: Principal, password: string, context: RequestContext) => Promise<User>

export interface PasswordCheckDeps {
  db: Db
  audit: Audit
  passwords: Passwords
  limits: CredentialLimits
}

export function createPasswordCheck({ db, audit, passwords, limits }: PasswordCheckDeps): PasswordCheck {
  const refused = (userId: string, sessionId: string, context: AuditContext) =>
    inTransaction(db, (trx) => audit.record(trx, { event: 'password_check', outcome: 'invalid_credentials', userId, sessionId, context }))

  return async (principal, password, context) => {
    const { id, sessionId } = principal
    const user = await findUserById(db, id)
    if (!user) throw problem('token_revoked', { cause: 'the user is gone' })
    // a session has its own budget: strangers who guess at the account do not keep its owner from changing the password
    return limits.login(context.client, user, { kind: 'session', id: sessionId }, async () => {
      if (await passwords.verify(user.password_hash, password, 'known')) return user
      await refused(id, sessionId, context)
      throw problem('invalid_credentials', { cause: 'wrong current password', detail: 'The current password is wrong.' })
    })
  }
}

/**
 * Locks user and session of the caller, and refuses when what the request was let in by no longer holds: a change that was checked before
 * a logout, a disabling or another change must not be committed after it.
 * @param checkedHash the password hash that the caller's password was compared with, if it was
 */
export async function lockCaller(trx: Transaction, principal: Principal, checkedHash?: string): Promise<User> {
  const user = assertStillValid(principal, await lockUser(trx, principal.id), await lockSession(trx, principal.sessionId))
  if (checkedHash !== undefined && user.password_hash !== checkedHash)
    throw problem('invalid_credentials', { cause: 'the password changed while it was checked' })
  return user
}

/** The same for who changes something else than the own account. */
export async function lockActor(trx: Transaction, principal: Principal): Promise<void> {
  assertStillValid(principal, await lockUserForShare(trx, principal.id), await lockSession(trx, principal.sessionId))
}

/** What the caller was let in by still holds. @param user of the caller, locked, as is the session. @throws token_revoked */
export function assertStillValid(principal: Principal, user: User | undefined, session: Session | undefined): User {
  const holds = user && !user.disabled_at && user.token_epoch <= principal.epoch && session && !session.revoked_at
  if (!holds) throw problem('token_revoked', { cause: 'revoked while the request ran' })
  return user
}

/** What the caller has shown stays shown in a session that takes the place of the caller's own. A factor is no fresher by a password. */
export async function authenticationOf(trx: Transaction, principal: Principal): Promise<Authentication> {
  const { amr, device_id, auth_time } = (await lockSession(trx, principal.sessionId))!
  return { amr, deviceId: device_id, ...(amr.includes('otp') ? { authTime: auth_time } : {}) }
}
