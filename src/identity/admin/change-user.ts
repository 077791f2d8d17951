/** One change of one user by an operator: its locks, its transaction and its audit row. */

import type { Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { assertStillValid } from '../sessions/lock-caller.ts'
import { lockSession } from '../sessions/sessions.repo.ts'
import { findUserById, lockUser, lockUserForShare, type User } from '../users/users.repo.ts'
import type { Actor, AuditedAction, Entry } from './audited-action.ts'
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
}

export function createChangeUser({ accounts, audited, find }: ChangeUserDeps): ChangeUser {
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

/**
 * Locks the user of this id, and the operator, whose session must still be valid. Users are locked in the order of their ids, since two
 * operators may change each other.
 * @throws token_revoked
 */
export async function lockForAction(trx: Transaction, { principal }: Actor, id?: string): Promise<User | undefined> {
  const ids = [id, principal?.id].filter((userId) => userId !== undefined)
  const locked = new Map<string, User | undefined>()
  for (const userId of [...new Set(ids)].sort()) locked.set(userId, await (userId === id ? lockUser : lockUserForShare)(trx, userId))
  if (principal) assertStillValid(principal, locked.get(principal.id), await lockSession(trx, principal.sessionId))
  return id === undefined ? undefined : locked.get(id)
}
