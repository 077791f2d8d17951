/** A user deletes their own account. The password is needed again, unless the user has just logged in. */

import type { Clock } from '../../platform/lib/clock.ts'
import { invalidField } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import { isFresh } from '../credentials/freshness.ts'
import type { PasswordCheck } from '../credentials/password-check.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { type EraseAccount, namelessContext } from './account-erasure.ts'

export interface AccountDeletionDeps {
  accounts: Accounts
  clock: Clock
  passwordCheck: PasswordCheck
  eraseAccount: EraseAccount
}

export function createAccountDeletion({ accounts, clock, passwordCheck, eraseAccount }: AccountDeletionDeps) {
  async function deleteOwn(
    principal: Principal,
    { current_password }: { current_password?: string },
    context: RequestContext,
  ): Promise<void> {
    if (current_password === undefined && !isFresh(principal, clock.now()))
      throw invalidField('current_password', 'required', 'is needed, unless you logged in within 5 minutes')
    const checked = current_password === undefined ? undefined : await passwordCheck(principal, current_password, context)
    await accounts.transaction('user_delete', namelessContext(context), async (tx) => {
      const user = await tx.lockCaller(principal, checked?.password_hash)
      await eraseAccount(tx, user)
      await tx.record({ userId: user.id })
    })
  }

  return accounts.counted('user_delete', deleteOwn)
}
