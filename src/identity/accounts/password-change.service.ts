/** Changes the password of the caller. Every session ends, and the caller gets a new session. */

import { invalidField } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import { moveApiKeys } from '../api-keys/api-keys.repo.ts'
import { type PasswordPolicy, SAME_PASSWORD } from '../credentials/password-policy.ts'
import { normalPassword, type Passwords } from '../credentials/passwords.ts'
import type { StepUp } from '../factors/step-up.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { authenticationOf } from '../sessions/lock-caller.ts'
import type { SessionOpener } from '../sessions/open-session.ts'
import { findUserById, updateUser } from '../users/users.repo.ts'
import { WITH_FACTOR } from './login-mfa.service.ts'

export interface PasswordChangeDeps {
  accounts: Accounts
  outbox: Outbox
  passwords: Passwords
  policy: PasswordPolicy
  stepUp: StepUp
  sessionOpener: SessionOpener
}

export interface PasswordChangeInput {
  current_password: string
  new_password: string
  code?: string
}

export function createPasswordChange({ accounts, outbox, passwords, policy, stepUp, sessionOpener }: PasswordChangeDeps) {
  async function change(principal: Principal, input: PasswordChangeInput, context: RequestContext) {
    const proven = await stepUp(principal, { password: input.current_password, code: input.code }, context)
    const isSame = normalPassword(input.new_password) === normalPassword(input.current_password)
    const fault = isSame ? SAME_PASSWORD : await policy(input.new_password, [proven.user.username, proven.user.email])
    if (fault) throw invalidField('new_password', fault.code, fault.detail)
    const password_hash = await passwords.hash(input.new_password)

    const opened = await proven.commit('password_change', async (tx, { user: { id: userId }, now, shown }) => {
      const { trx } = tx
      await updateUser(trx, userId, { password_hash, password_must_change: false })
      await tx.revoke.allSessions(userId, 'password_change')
      const user = (await findUserById(trx, userId))!
      const before = await authenticationOf(trx, principal)
      const how = shown ? { amr: WITH_FACTOR, deviceId: before.deviceId } : before
      const replaced = await sessionOpener.open(tx, user, how, context)
      await moveApiKeys(trx, userId, principal.sessionId, replaced.session.id)
      await tx.record({ userId, sessionId: replaced.session.id })
      const data = noticeContextOf(now, context)
      await outbox.post(trx, { template: 'password_changed', data, to: user.email, userId })
      return replaced
    })
    return sessionOpener.answer(opened)
  }

  return accounts.counted('password_change', change)
}
