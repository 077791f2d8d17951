/** Keeps at least one enabled administrator: refuses changes of accounts that would remove the last. */
import type { Config } from '../../platform/config/schema.ts'
import type { Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { adminRoles } from './roles.ts'
import { findOtherAdmin, lockAdmins, type User } from './users.repo.ts'

/**
 * Called by every change that may remove an administrator, before it writes and while it holds the lock of the user.
 * @param after the user after the change; null when the user is deleted
 * @throws last_admin
 */
export type KeepAdmin = (trx: Transaction, user: User, after: Pick<User, 'roles' | 'disabled_at'> | null) => Promise<void>

export function createLastAdmin(defined: Config['auth']['roles']): KeepAdmin {
  const roles = adminRoles(defined)
  const isAdmin = (user: Pick<User, 'roles' | 'disabled_at'>) => !user.disabled_at && user.roles.some((role) => roles.includes(role))
  return async (trx, user, after) => {
    if (!isAdmin(user) || (after && isAdmin(after))) return
    // one change at a time over all gateways: two admins who remove each other's role must not both succeed
    await lockAdmins(trx)
    if (!(await findOtherAdmin(trx, roles, user.id))) throw problem('last_admin')
  }
}
