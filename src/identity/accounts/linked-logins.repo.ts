import type { Selectable } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { LinkedLoginTable, ProviderLoginTable } from '../../platform/db/tables.ts'

export type LinkedLogin = Selectable<LinkedLoginTable>
export type ProviderLogin = Selectable<ProviderLoginTable>

export const findLinkedLogin = (db: Db | Transaction, issuer: string, subject: string): Promise<LinkedLogin | undefined> =>
  db.selectFrom('linked_logins').selectAll().where('issuer', '=', issuer).where('subject', '=', subject).executeTakeFirst()

/** In the order in which they were linked. */
export const findLinkedLoginsOf = (db: Db | Transaction, userId: string): Promise<LinkedLogin[]> =>
  db.selectFrom('linked_logins').selectAll().where('user_id', '=', userId).orderBy('created_at').orderBy('id').execute()

/** @returns false when the login, or another login of the same issuer, is linked already */
export async function insertLinkedLogin(trx: Transaction, login: LinkedLogin): Promise<boolean> {
  const row = await trx
    .insertInto('linked_logins')
    .values(login)
    .onConflict((c) => c.doNothing())
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export const touchLinkedLogin = (trx: Transaction, id: string, change: Pick<LinkedLogin, 'email' | 'last_used_at' | 'provider'>) =>
  trx.updateTable('linked_logins').set(change).where('id', '=', id).execute()

export const deleteLinkedLogin = (trx: Transaction, id: string) => trx.deleteFrom('linked_logins').where('id', '=', id).execute()

export const deleteLinkedLoginsOf = (trx: Transaction, userId: string) =>
  trx.deleteFrom('linked_logins').where('user_id', '=', userId).execute()

export const insertProviderLogin = (trx: Transaction, login: ProviderLogin) => trx.insertInto('provider_logins').values(login).execute()

/** After the second factor. @returns false when the login is unknown, or has a session */
export async function giveSession(trx: Transaction, id: string, sessionId: string): Promise<boolean> {
  const { numUpdatedRows } = await trx
    .updateTable('provider_logins')
    .set({ session_id: sessionId })
    .where('id', '=', id)
    .where('session_id', 'is', null)
    .executeTakeFirstOrThrow()
  return Number(numUpdatedRows) === 1
}

/** How the session was opened. Undefined: not with a provider. */
export const findProviderLoginOf = (
  db: Db | Transaction,
  sessionId: string,
): Promise<(ProviderLogin & Pick<LinkedLogin, 'issuer'>) | undefined> =>
  db
    .selectFrom('provider_logins')
    .innerJoin('linked_logins', 'linked_logins.id', 'provider_logins.linked_login_id')
    .selectAll('provider_logins')
    .select('issuer')
    .where('session_id', '=', sessionId)
    .executeTakeFirst()

/** The sessions that a linked login has opened. @param sid of one session at the provider; null: all */
export const findSessionsOfLogin = (
  trx: Transaction,
  linkedLoginId: string,
  sid: string | null,
): Promise<{ session_id: string | null }[]> =>
  trx
    .selectFrom('provider_logins')
    .select('session_id')
    .where('linked_login_id', '=', linkedLoginId)
    .where('session_id', 'is not', null)
    .$if(sid !== null, (q) => q.where('provider_sid', '=', sid))
    .execute()

/** The linked logins that have opened a session under this session of the provider. */
export const findLoginsBySid = (db: Db, issuer: string, sid: string): Promise<LinkedLogin[]> =>
  db
    .selectFrom('linked_logins')
    .selectAll()
    .where('issuer', '=', issuer)
    .where('id', 'in', (q) => q.selectFrom('provider_logins').select('linked_login_id').where('provider_sid', '=', sid))
    .execute()

/** Sign-ins whose second factor was never shown. */
export async function deleteUnfinishedLogins(db: Db, before: Date, limit: number): Promise<number> {
  const { numDeletedRows } = await db
    .deleteFrom('provider_logins')
    .where('id', 'in', (q) =>
      q
        .selectFrom('provider_logins')
        .select('id')
        .where('session_id', 'is', null)
        .where('created_at', '<=', before)
        .orderBy('created_at')
        .limit(limit)
        .forUpdate()
        .skipLocked(),
    )
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}
