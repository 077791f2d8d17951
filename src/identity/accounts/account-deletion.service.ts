/** A user deletes their own account. */

import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { StepUp } from '../factors/step-up.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { type EraseAccount, namelessContext } from './account-erasure.ts'

export interface AccountDeletionDeps {
  accounts: Accounts
  stepUp: StepUp
  eraseAccount: EraseAccount
}

export function createAccountDeletion({ accounts, stepUp, eraseAccount }: AccountDeletionDeps) {
  async function deleteOwn(
    principal: Principal,
    { current_password: password, code }: { current_password?: string; code?: string },
    context: RequestContext,
  ): Promise<void> {
    const proven = await stepUp(principal, { password, code }, context)
    await proven.commit(
      'user_delete',
      async (tx, { user }) => {
        await eraseAccount(tx, user)
        await tx.record({ userId: user.id })
      },
      namelessContext(context),
    )
  }

  return accounts.counted('user_delete', deleteOwn)
}
