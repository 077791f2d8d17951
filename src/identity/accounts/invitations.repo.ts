import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'
import type { InvitationTable } from '../../platform/db/tables.ts'

export type Invitation = Selectable<InvitationTable>

const living = sql<boolean>`expires_at > clock_timestamp()`

/** Replaces the invitation that the address has. */
export const putInvitation = (trx: Transaction, { id, email_canonical, ...rest }: Invitation): Promise<Invitation> =>
  trx
    .insertInto('invitations')
    .values({ id, email_canonical, ...rest })
    .onConflict((c) => c.column('email_canonical').doUpdateSet({ id, ...rest }))
    .returningAll()
    .executeTakeFirstOrThrow()

export const findInvitation = (db: Db | Transaction, tokenHash: Buffer): Promise<Invitation | undefined> =>
  db.selectFrom('invitations').selectAll().where('token_hash', '=', tokenHash).where(living).executeTakeFirst()

/** Of several calls at the same moment, one gets the invitation. */
export const takeInvitation = (trx: Transaction, tokenHash: Buffer): Promise<Invitation | undefined> =>
  trx.deleteFrom('invitations').where('token_hash', '=', tokenHash).where(living).returningAll().executeTakeFirst()

export const lockInvitation = (trx: Transaction, id: string): Promise<Invitation | undefined> =>
  trx.selectFrom('invitations').selectAll().where('id', '=', id).forUpdate().executeTakeFirst()

export const renewInvitation = (
  trx: Transaction,
  id: string,
  change: Pick<Invitation, 'token_hash' | 'expires_at' | 'invited_by'>,
): Promise<Invitation> => trx.updateTable('invitations').set(change).where('id', '=', id).returningAll().executeTakeFirstOrThrow()

export const deleteInvitation = (trx: Transaction, id: string): Promise<Invitation | undefined> =>
  trx.deleteFrom('invitations').where('id', '=', id).returningAll().executeTakeFirst()

/** Newest first; also those that have expired, until the cleanup removes them. */
export const listInvitations = (db: Db, limit: number): Promise<Invitation[]> =>
  db.selectFrom('invitations').selectAll().orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit).execute()

export const deleteExpiredInvitations = (db: Db, until: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'invitations', 'expires_at', until, limit)
