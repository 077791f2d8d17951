import type { Selectable } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'
import type { LinkTable } from '../../platform/db/tables.ts'

export type LinkRow = Selectable<LinkTable>

export const insertLink = (trx: Transaction, link: LinkRow) => trx.insertInto('links').values(link).execute()

export const findLink = (db: Db | Transaction, hash: Buffer, purpose: LinkRow['purpose']): Promise<LinkRow | undefined> =>
  db.selectFrom('links').selectAll().where('token_hash', '=', hash).where('purpose', '=', purpose).executeTakeFirst()

/** The newest link comes first. */
export const findLinksOf = (db: Db | Transaction, userId: string, purpose: LinkRow['purpose']): Promise<LinkRow[]> =>
  db.selectFrom('links').selectAll().where('user_id', '=', userId).where('purpose', '=', purpose).orderBy('id', 'desc').execute()

/** Deletes the link. Only one of several concurrent callers gets the row, so a link works once. */
export const takeLink = (trx: Transaction, id: string): Promise<LinkRow | undefined> =>
  trx.deleteFrom('links').where('id', '=', id).returningAll().executeTakeFirst()

export const deleteLinksOf = (trx: Transaction, userId: string, purpose: LinkRow['purpose']) =>
  trx.deleteFrom('links').where('user_id', '=', userId).where('purpose', '=', purpose).execute()

/** Deletes all links of a user for a purpose but the newest `kept`. */
export const trimLinks = (trx: Transaction, userId: string, purpose: LinkRow['purpose'], kept: number) =>
  trx
    .deleteFrom('links')
    .where('user_id', '=', userId)
    .where('purpose', '=', purpose)
    .where('id', 'not in', (q) =>
      q.selectFrom('links').select('id').where('user_id', '=', userId).where('purpose', '=', purpose).orderBy('id', 'desc').limit(kept),
    )
    .execute()

export const deleteExpiredLinks = (db: Db, now: Date, limit: number): Promise<number> => deleteOldest(db, 'links', 'expires_at', now, limit)
