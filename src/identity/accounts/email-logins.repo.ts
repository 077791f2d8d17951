import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'
import type { EmailLoginTable } from '../../platform/db/tables.ts'

export type EmailLogin = Selectable<EmailLoginTable>

export const insertEmailLogin = (trx: Transaction, login: EmailLogin) => trx.insertInto('email_logins').values(login).execute()

/** With `unlocks` of the account, by which its wrong codes count. */
export const findEmailLoginByFlow = (db: Db, hash: Buffer): Promise<(EmailLogin & { unlocks: number }) | undefined> =>
  db
    .selectFrom('email_logins')
    .innerJoin('users', 'users.id', 'email_logins.user_id')
    .selectAll('email_logins')
    .select('unlocks')
    .where('flow_hash', '=', hash)
    .executeTakeFirst()

export const findEmailLoginByLink = (db: Db, hash: Buffer): Promise<EmailLogin | undefined> =>
  db.selectFrom('email_logins').selectAll().where('link_hash', '=', hash).executeTakeFirst()

/** Deletes the login. Only one of several concurrent callers gets the row, so code and link work once. */
export const takeEmailLogin = (trx: Transaction, id: string): Promise<EmailLogin | undefined> =>
  trx.deleteFrom('email_logins').where('id', '=', id).returningAll().executeTakeFirst()

/** Deletes all logins of a user but `kept` that live: first those of known devices, and of these the newest. */
export async function trimEmailLogins(
  trx: Transaction,
  { id, session_epoch }: { id: string; session_epoch: number },
  kept: number,
): Promise<void> {
  const living = trx
    .selectFrom('email_logins')
    .select('id')
    .where('user_id', '=', id)
    .where('session_epoch', '=', session_epoch)
    .where('expires_at', '>', sql<Date>`clock_timestamp()`)
    .orderBy('is_known', 'desc')
    .orderBy('id', 'desc')
    .limit(kept)
  await trx.deleteFrom('email_logins').where('user_id', '=', id).where('id', 'not in', living).execute()
}

export const deleteExpiredEmailLogins = (db: Db, now: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'email_logins', 'expires_at', now, limit)
