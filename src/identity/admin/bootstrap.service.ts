/** Creates the first admin, before the gateway listens. An existing user is never promoted. */

import { uuidv7 } from 'uuidv7'
import { COMMAND_LINE } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { Db } from '../../platform/db/database.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { readAccount } from '../accounts/register.service.ts'
import type { PasswordPolicy } from '../credentials/password-policy.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { canonicalEmail, canonicalUsername, isUsername } from '../users/canonical-login.ts'
import { adminRoles } from '../users/roles.ts'
import { findAdmin, findUserByLogin, insertUser, lockAdmins } from '../users/users.repo.ts'

export interface BootstrapInput {
  email: string
  password: string
  /** False in the demo only. */
  mustChangePassword: boolean
}

export interface BootstrapDeps {
  db: Db
  accounts: Accounts
  config: Config
  passwords: Passwords
  policy: PasswordPolicy
  logger: Logger
}

export async function bootstrapAdmin(
  { email, password, mustChangePassword }: BootstrapInput,
  { db, accounts, config, passwords, policy, logger }: BootstrapDeps,
): Promise<void> {
  const roles = adminRoles(config.auth.roles)
  if (await findAdmin(db, roles)) return
  const local = canonicalUsername(email.split('@')[0] ?? '').replace(/[^a-z0-9._-]/g, '')
  const username = isUsername(local) ? local : 'admin'
  const takesUsername = config.auth.username !== 'off'
  const account = await readAccount({ ...(takesUsername ? { username } : {}), email, password }, policy, config.auth)
  const password_hash = await passwords.hash(password)
  await accounts.transaction('admin_bootstrap', COMMAND_LINE, async ({ trx, record }) => {
    await lockAdmins(trx)
    if (await findAdmin(trx, roles)) return
    if (await findUserByLogin(trx, canonicalEmail(email))) {
      logger.warn(
        { reason: 'bootstrap_refused' },
        'PORTCULLIS_ADMIN_EMAIL belongs to a user without the role admin, and users are never promoted here; use portcullis users grant',
      )
      return
    }
    const free = (await findUserByLogin(trx, username)) ? `admin-${uuidv7().slice(-8)}` : username
    const user = await insertUser(trx, {
      id: uuidv7(),
      ...account,
      username: takesUsername ? free : null,
      is_email_vouched: true,
      password_hash,
      roles: ['admin'],
      password_must_change: mustChangePassword,
    })
    await record({ userId: user.id, actor: 'environment' })
    logger.info({ user: user.id }, 'the first admin was created')
  })
}
