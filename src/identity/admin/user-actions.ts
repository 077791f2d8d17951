/** Operators disable, enable, unlock and delete users, force password changes, and remove second factors. */

import { databaseNow } from '../../platform/db/database.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { type EraseAccount, namelessContext } from '../accounts/account-erasure.ts'
import { forgetCountriesOf } from '../accounts/login-countries.repo.ts'
import { deleteFactors } from '../factors/factors.repo.ts'
import type { KeepAdmin } from '../users/last-admin.ts'
import { raiseUnlocks, type User, updateUser } from '../users/users.repo.ts'
import type { Actor } from './audited-action.ts'
import type { ChangeUser } from './change-user.ts'

export interface UserActionsDeps {
  changeUser: ChangeUser
  outbox: Outbox
  keepAdmin: KeepAdmin
  eraseAccount: EraseAccount
}

export function createUserActions({ changeUser: { change, update }, outbox, keepAdmin, eraseAccount }: UserActionsDeps) {
  const disable = (ref: string, by: Actor): Promise<User> =>
    update(
      ref,
      { event: 'user_disable' },
      async ({ trx, revoke }, user) => {
        const disabled_at = user.disabled_at ?? (await databaseNow(trx))
        await keepAdmin(trx, user, { ...user, disabled_at })
        await updateUser(trx, user.id, { disabled_at })
        await revoke.allSessions(user.id, 'disabled')
      },
      by,
    )

  const enable = (ref: string, by: Actor): Promise<User> =>
    update(ref, { event: 'user_enable' }, ({ trx }, user) => updateUser(trx, user.id, { disabled_at: null }), by)

  const unlock = (ref: string, by: Actor): Promise<User> =>
    update(
      ref,
      { event: 'user_unlock' },
      async ({ trx }, user) => {
        // the next login may come from any country
        await forgetCountriesOf(trx, user.id)
        await raiseUnlocks(trx, user.id)
      },
      by,
    )

  const forcePasswordChange = (ref: string, by: Actor): Promise<User> =>
    update(
      ref,
      { event: 'password_change_force' },
      async ({ trx, revoke }, user) => {
        await updateUser(trx, user.id, { password_must_change: true })
        await revoke.allSessions(user.id, 'password_change_forced')
      },
      by,
    )

  const resetFactor = (ref: string, by: Actor): Promise<User> =>
    update(
      ref,
      { event: 'factor_reset' },
      async ({ trx, revoke }, user) => {
        const hadFactor = await deleteFactors(trx, user.id)
        // the operator at the command line holds the database, and helps where mails do not arrive
        const must_confirm_login = by.principal !== undefined && (hadFactor || user.must_confirm_login)
        await updateUser(trx, user.id, { mfa_enabled: false, must_confirm_login })
        // the user must not learn the administrator's address or device
        const data = { at: (await databaseNow(trx)).toISOString(), ip: null, device: null }
        if (hadFactor) await outbox.post(trx, { template: 'factor_disabled', data, to: user.email, userId: user.id, isByOther: true })
        await revoke.allSessions(user.id, 'factor_reset')
      },
      by,
    )

  async function remove(ref: string, by: Actor): Promise<void> {
    await change(ref, { event: 'user_delete' }, eraseAccount, { ...by, context: namelessContext(by.context) })
  }

  return { disable, enable, unlock, forcePasswordChange, resetFactor, remove }
}
