/** The first admin, made once before anybody can reach the gateway, and never by promoting somebody who is there already. */

import { sql } from 'kysely'
import { uuidv7 } from 'uuidv7'
import { COMMAND_LINE, insertAudit } from '../audit/audit.repo.ts'
import type { Config } from '../config/schema.ts'
import { type Db, inTransaction } from '../db/database.ts'
import type { Logger } from '../logger.ts'
import { canonicalEmail, canonicalUsername, isUsername } from './canonical-login.ts'
import type { Passwords } from './passwords.ts'
import { readAccount } from './register.service.ts'
import { findAdmin, findUserByLogin, insertUser } from './users.repo.ts'

export interface BootstrapInput {
  email: string
  password: string
  /** False in the demo only. */
  mustChangePassword: boolean
}

export async function bootstrapAdmin(
  { email, password, mustChangePassword }: BootstrapInput,
  { db, config, passwords, logger }: { db: Db; config: Config; passwords: Passwords; logger: Logger },
): Promise<void> {
  if (await findAdmin(db)) return
  const local = canonicalUsername(email.split('@')[0] ?? '').replace(/[^a-z0-9._-]/g, '')
  const username = isUsername(local) ? local : 'admin'
  const account = readAccount({ username, email, password }, config.auth.password)
  const password_hash = await passwords.hash(password)
  await inTransaction(db, async (trx) => {
    await sql`SELECT pg_advisory_xact_lock(7610002)`.execute(trx)
    if (await findAdmin(trx)) return
    if (await findUserByLogin(trx, canonicalEmail(email))) {
      logger.warn(
        { reason: 'bootstrap_refused' },
        'PORTCULLIS_ADMIN_EMAIL belongs to a user who is no admin: nobody is promoted; use portcullis users grant',
      )
      return
    }
    const free = (await findUserByLogin(trx, username)) ? `admin-${uuidv7().slice(-8)}` : username
    const user = await insertUser(trx, {
      id: uuidv7(),
      ...account,
      username: free,
      password_hash,
      roles: ['admin'],
      password_must_change: mustChangePassword,
    })
    await insertAudit(trx, { event: 'admin_bootstrap', outcome: 'success', userId: user.id, actor: 'environment', origin: COMMAND_LINE })
    logger.info({ user: user.id }, 'the first admin was created')
  })
}
