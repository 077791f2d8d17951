/** An operator creates a user. */

import { randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import type { Config } from '../../platform/config/schema.ts'
import type { Db } from '../../platform/db/database.ts'
import { asTaken, readAccount, refuseTaken } from '../accounts/register.service.ts'
import type { PasswordPolicy } from '../credentials/password-policy.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { assertNotHeld } from '../users/held-usernames.repo.ts'
import { insertUser, type User } from '../users/users.repo.ts'
import type { Actor, AuditedAction } from './audited-action.ts'
import type { LockForAction } from './lock-for-action.ts'
import type { AssertRolesFit } from './role-actions.ts'

export interface NewAccount {
  username?: string | undefined
  email: string
  /** Generated unless it is given. */
  password?: string | undefined
  roles: string[]
  mustChangePassword: boolean
}

export interface CreateUserDeps {
  db: Db
  accounts: Accounts
  audited: AuditedAction
  passwords: Passwords
  policy: PasswordPolicy
  auth: Pick<Config['auth'], 'username'>
  assertKnownRole: (role: string) => void
  assertFits: AssertRolesFit
  lockForAction: LockForAction
}

export function createUserCreation({
  db,
  accounts,
  audited,
  passwords,
  policy,
  auth,
  assertKnownRole,
  assertFits,
  lockForAction,
}: CreateUserDeps) {
  /** @returns also the password, if it was generated */
  return async (input: NewAccount, by: Actor): Promise<{ user: User; password: string | null }> => {
    const password = input.password ?? randomBytes(18).toString('base64url')
    input.roles.forEach(assertKnownRole)
    const account = await readAccount({ ...input, password }, policy, auth)
    const roles = [...new Set(input.roles)].sort()
    assertFits(roles)
    const entry = { event: 'user_create', detail: roles.join(' ') }
    const user = await audited(entry, by, async () => {
      await refuseTaken(db, account)
      const password_hash = await passwords.hash(password)
      const created = accounts.transaction('user_create', by.context, async ({ trx, record }) => {
        await lockForAction(trx, by)
        const row = {
          id: uuidv7(),
          ...account,
          is_email_vouched: true,
          password_hash,
          roles,
          password_must_change: input.mustChangePassword,
        }
        const made = await insertUser(trx, row)
        await assertNotHeld(trx, made)
        await record({ ...entry, userId: made.id, actor: by.actor })
        return made
      })
      return created.catch((error) => {
        throw asTaken(error)
      })
    })
    return { user, password: input.password === undefined ? password : null }
  }
}
