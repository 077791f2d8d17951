/**
 * Changes the password of the caller, or sets the first password. Every session ends, and the caller gets a new session. A session by cookie stays, with a new cookie.
 */

import type { AuditContext } from '../../platform/audit/audit.ts'
import { invalidField } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import { moveApiKeys } from '../api-keys/api-keys.repo.ts'
import { type PasswordPolicy, SAME_PASSWORD } from '../credentials/password-policy.ts'
import { normalPassword, type Passwords } from '../credentials/passwords.ts'
import { amrOf, type Shown } from '../factors/second-factor.ts'
import type { StepUp } from '../factors/step-up.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { type CookieWish, type SessionChoice, wishOf } from '../sessions/cookie-values.ts'
import { authenticationOf, cookieOf } from '../sessions/lock-caller.ts'
import type { SessionOpener } from '../sessions/open-session.ts'
import { BY_PASSWORD, showsFactor, withFactor } from '../tokens/amr.ts'
import { findUserById, hasPassword, updateUser } from '../users/users.repo.ts'

export interface PasswordChangeDeps {
  accounts: Accounts
  outbox: Outbox
  passwords: Passwords
  policy: PasswordPolicy
  stepUp: StepUp
  sessionOpener: SessionOpener
}

export interface PasswordChangeInput extends SessionChoice {
  /** May be left out by a user who has no password. */
  current_password?: string
  new_password: string
  code?: string
}

interface Renewal {
  now: Date
  shown: Shown | null
  wish: CookieWish | null
}

export function createPasswordChange({ accounts, outbox, passwords, policy, stepUp, sessionOpener }: PasswordChangeDeps) {
  async function change(principal: Principal, input: PasswordChangeInput, context: RequestContext) {
    const proven = await stepUp(principal, { password: input.current_password, code: input.code }, context)
    if (input.current_password === undefined && hasPassword(proven.user)) throw invalidField('current_password', 'required', 'is missing')
    const isSame = input.current_password !== undefined && normalPassword(input.new_password) === normalPassword(input.current_password)
    const fault = isSame ? SAME_PASSWORD : await policy(input.new_password, [proven.user.username, proven.user.email])
    if (fault) throw invalidField('new_password', fault.code, fault.detail)
    const password_hash = await passwords.hash(input.new_password)

    const opened = await proven.commit('password_change', async (tx, { user: { id: userId }, now, shown }) => {
      const { trx } = tx
      await updateUser(trx, userId, { password_hash, password_must_change: false })
      const replaced = await raiseOrReplace(tx, principal, { now, shown, wish: wishOf(input) }, context)
      const { user } = replaced
      await tx.record({ userId, sessionId: replaced.session.id })
      const data = noticeContextOf(now, context)
      await outbox.post(trx, { template: 'password_changed', data, to: user.email, userId })
      return replaced
    })
    return sessionOpener.answer(opened)
  }

  /** Ends every other session. */
  async function raiseOrReplace(tx: AccountTransaction, principal: Principal, { now, shown, wish }: Renewal, context: AuditContext) {
    const { trx, revoke } = tx
    const { id: userId, sessionId } = principal
    const held = await cookieOf(trx, principal)
    if (held) {
      await revoke.otherSessions(userId, sessionId, 'password_change')
      // workers read the user again
      await revoke.outdateTokens(userId)
      const { amr, auth_time } = held.cookie
      const level = shown
        ? { amr: withFactor(BY_PASSWORD, amrOf(shown)), auth_time: now }
        : { amr, auth_time: showsFactor(amr) ? auth_time : now }
      return sessionOpener.raise(tx, (await findUserById(trx, userId))!, held.session, { ...held.cookie, ...level })
    }
    await revoke.allSessions(userId, 'password_change')
    const user = (await findUserById(trx, userId))!
    const before = await authenticationOf(trx, principal)
    const how = shown ? { amr: withFactor(BY_PASSWORD, amrOf(shown)), deviceId: before.deviceId } : before
    const replaced = await sessionOpener.open(tx, user, { ...how, wish }, context)
    await moveApiKeys(trx, userId, sessionId, replaced.session.id)
    return replaced
  }

  return accounts.counted('password_change', change)
}
