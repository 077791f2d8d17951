/** Whatever is done to accounts, by whom and from where, somebody is left who may administer. */
import type { Config } from '../../platform/config/schema.ts'
import type { Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { adminRoles } from './roles.ts'
import { findOtherAdmin, lockAdmins, type User } from './users.repo.ts'

/**
 * Asked by every change that may take an admin away, with the user's lock held, before it writes.
 * @param after what the user will be; null: gone
 * @throws last_admin
 */
export type KeepAdmin = (trx: Transaction, user: User, after: Pick<User, 'roles' | 'disabled_at'> | null) => Promise<void>

export function createLastAdmin(defined: Config['auth']['roles']): KeepAdmin {
  const roles = adminRoles(defined)
  const isAdmin = (user: Pick<User, 'roles' | 'disabled_at'>) => !user.disabled_at && user.roles.some((role) => roles.includes(role))
  return async (trx, user, after) => {
    if (!isAdmin(user) || (after && isAdmin(after))) return
    // one at a time over all gateways: two who take each other's role away must not both see the other one left
    await lockAdmins(trx)
    if (!(await findOtherAdmin(trx, roles, user.id))) throw problem('last_admin')
  }
}
