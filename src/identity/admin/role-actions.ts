/** Operators grant and revoke roles. Access tokens that carry the old roles are outdated. */

import { ROLE_NAME } from '../../platform/config/schema.ts'
import { invalidField } from '../../platform/lib/errors.ts'
import type { AccountTransaction } from '../sessions/account-transaction.ts'
import { couldFitToken } from '../tokens/access-tokens.ts'
import type { KeepAdmin } from '../users/last-admin.ts'
import type { Grants } from '../users/roles.ts'
import { type User, updateUser } from '../users/users.repo.ts'
import type { Actor } from './audited-action.ts'
import type { ChangeUser } from './change-user.ts'

export interface RoleActionsDeps {
  update: ChangeUser['update']
  keepAdmin: KeepAdmin
  assertKnownRole: (role: string) => void
  assertFits: AssertRolesFit
}

const ROLE = new RegExp(ROLE_NAME)

/** @throws validation_failed for a role that the configuration does not define */
export const createAssertKnownRole = (known: readonly string[]) => (role: string) => {
  if (!known.includes(role)) throw invalidField('role', 'unknown_role', `must be one of these: ${known.join(', ')}`)
}

/** @throws validation_failed when no access token could carry these roles with their scopes */
export type AssertRolesFit = (roles: readonly string[]) => void

export const createAssertRolesFit =
  (grantsOf: (roles: readonly string[]) => Grants): AssertRolesFit =>
  (roles) => {
    if (!couldFitToken(grantsOf(roles)))
      throw invalidField('role', 'too_many', 'does not fit: with this role, the access token of the user would be too long')
  }

export function createRoleActions({ update, keepAdmin, assertKnownRole, assertFits }: RoleActionsDeps) {
  async function setRoles({ trx, revoke }: AccountTransaction, user: User, roles: string[]): Promise<void> {
    // a grant only adds a role, and a revocation only removes one
    if (roles.length === user.roles.length) return
    await keepAdmin(trx, user, { ...user, roles })
    await updateUser(trx, user.id, { roles: [...roles].sort() })
    await revoke.outdateTokens(user.id)
  }

  return {
    async grant(ref: string, role: string, by: Actor): Promise<User> {
      assertKnownRole(role)
      const entry = { event: 'role_grant', detail: role }
      return update(
        ref,
        entry,
        async (tx, user) => {
          const roles = [...new Set([...user.roles, role])]
          if (roles.length > user.roles.length) assertFits(roles)
          await setRoles(tx, user, roles)
        },
        by,
      )
    },

    /** The configuration may no longer know the role. */
    async revoke(ref: string, role: string, by: Actor): Promise<User> {
      if (!ROLE.test(role)) throw invalidField('role', 'format', 'must be the name of a role: a-z, digits, _ . : -')
      const without = (user: User) => user.roles.filter((r) => r !== role)
      return update(ref, { event: 'role_revoke', detail: role }, (tx, user) => setRoles(tx, user, without(user)), by)
    },
  }
}
