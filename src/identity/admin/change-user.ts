/** One change of one user by an operator: its locks, its transaction and its audit row. */

import { problem } from '../../platform/lib/errors.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { findUserById, type User } from '../users/users.repo.ts'
import type { Actor, AuditedAction, Entry } from './audited-action.ts'
import type { LockForAction } from './lock-for-action.ts'
import type { FindUser } from './user-queries.ts'

export interface ChangeUser {
  /** @param work runs while the user is locked. @returns the user after the change; undefined when the change deleted it */
  change(
    ref: string,
    entry: Omit<Entry, 'userId'>,
    work: (tx: AccountTransaction, user: User) => Promise<unknown>,
    by: Actor,
  ): Promise<User | undefined>
  /** The same for a change that does not delete the user. */
  update(
    ref: string,
    entry: Omit<Entry, 'userId'>,
    work: (tx: AccountTransaction, user: User) => Promise<unknown>,
    by: Actor,
  ): Promise<User>
}

export interface ChangeUserDeps {
  accounts: Accounts
  audited: AuditedAction
  find: FindUser
  lockForAction: LockForAction
}

export function createChangeUser({ accounts, audited, find, lockForAction }: ChangeUserDeps): ChangeUser {
  const change: ChangeUser['change'] = async (ref, { event, detail, sessionId }, work, by) => {
    const { id } = await find(ref)
    const entry: Entry = { event, userId: id, detail: detail ?? null, sessionId: sessionId ?? null }
    return audited(entry, by, () =>
      accounts.transaction(event, by.context, async (tx) => {
        const user = await lockForAction(tx.trx, by, id)
        if (!user) throw problem('not_found', { cause: 'deleted meanwhile' })
        await work(tx, user)
        await tx.record({ ...entry, actor: by.actor })
        return findUserById(tx.trx, id)
      }),
    )
  }

  return { change, update: async (...args) => (await change(...args))! }
}
