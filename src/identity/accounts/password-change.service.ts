/** Changes the password of the caller. Every session ends, and the caller gets a new session. */

import { databaseNow } from '../../platform/db/database.ts'
import { invalidField } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { PasswordCheck } from '../credentials/password-check.ts'
import { type PasswordPolicy, SAME_PASSWORD } from '../credentials/password-policy.ts'
import { normalPassword, type Passwords } from '../credentials/passwords.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { authenticationOf } from '../sessions/lock-caller.ts'
import type { SessionOpener } from '../sessions/open-session.ts'
import { findUserById, updateUser } from '../users/users.repo.ts'

export interface PasswordChangeDeps {
  accounts: Accounts
  outbox: Outbox
  passwords: Passwords
  policy: PasswordPolicy
  passwordCheck: PasswordCheck
  sessionOpener: SessionOpener
}

export interface PasswordChangeInput {
  current_password: string
  new_password: string
}

export function createPasswordChange({ accounts, outbox, passwords, policy, passwordCheck, sessionOpener }: PasswordChangeDeps) {
  async function change(principal: Principal, input: PasswordChangeInput, context: RequestContext) {
    const checked = await passwordCheck(principal, input.current_password, context)
    const isSame = normalPassword(input.new_password) === normalPassword(input.current_password)
    const fault = isSame ? SAME_PASSWORD : await policy(input.new_password, [checked.username, checked.email])
    if (fault) throw invalidField('new_password', fault.code, fault.detail)
    const password_hash = await passwords.hash(input.new_password)

    const opened = await accounts.transaction('password_change', context, async (tx) => {
      const { trx } = tx
      const { id: userId } = await tx.lockCaller(principal, checked.password_hash)
      await updateUser(trx, userId, { password_hash, password_must_change: false })
      await tx.revoke.allSessions(userId, 'password_change')
      const user = (await findUserById(trx, userId))!
      const replaced = await sessionOpener.open(tx, user, await authenticationOf(trx, principal), context)
      await tx.record({ userId, sessionId: replaced.session.id })
      const data = noticeContextOf(await databaseNow(trx), context)
      await outbox.post(trx, { template: 'password_changed', data, to: user.email, userId })
      return replaced
    })
    return sessionOpener.answer(opened)
  }

  return accounts.counted('password_change', change)
}
