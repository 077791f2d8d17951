import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'
import type { PendingRegistrationTable } from '../../platform/db/tables.ts'

export type PendingRegistration = Selectable<PendingRegistrationTable>
/** Becomes a user once the address is proven. Other rows only reserve a username. */
export type TruePendingRegistration = PendingRegistration & { password_hash: string }

const living = sql<boolean>`expires_at > clock_timestamp()`

export const insertPending = (trx: Transaction, pending: PendingRegistration) =>
  trx.insertInto('pending_registrations').values(pending).execute()

/** @param login canonical: an e-mail address when it holds an `@`, else a username. @returns the newest of several */
export const findPendingByLogin = (db: Db | Transaction, login: string): Promise<TruePendingRegistration | undefined> =>
  db
    .selectFrom('pending_registrations')
    .selectAll()
    .where(login.includes('@') ? 'email_canonical' : 'username', '=', login)
    .where('password_hash', 'is not', null)
    .where(living)
    .orderBy('created_at', 'desc')
    .limit(1)
    .$narrowType<{ password_hash: string }>()
    .executeTakeFirst()

/** @returns whether any pending registration reserves the username */
export const isPendingName = async (db: Db | Transaction, username: string): Promise<boolean> =>
  (await db.selectFrom('pending_registrations').select('id').where('username', '=', username).where(living).executeTakeFirst()) !==
  undefined

/** Frees the username of an expired registration at once, without waiting for the cleanup. */
export const dropExpiredPending = (trx: Transaction, username: string) =>
  trx.deleteFrom('pending_registrations').where('username', '=', username).where('expires_at', '<=', sql<Date>`clock_timestamp()`).execute()

/** Replaces the link of a registration: the older link no longer works. An unknown id changes nothing. */
export const renewPending = (trx: Transaction, id: string, tokenHash: Buffer, expiresAt: Date) =>
  trx.updateTable('pending_registrations').set({ token_hash: tokenHash, expires_at: expiresAt }).where('id', '=', id).execute()

export const findPendingByToken = (trx: Transaction, hash: Buffer): Promise<PendingRegistration | undefined> =>
  trx.selectFrom('pending_registrations').selectAll().where('token_hash', '=', hash).executeTakeFirst()

/** Locks all pending registrations of an address, always in the same order: only one of them becomes a user. */
export const lockPendingOf = (trx: Transaction, emailCanonical: string): Promise<PendingRegistration[]> =>
  trx.selectFrom('pending_registrations').selectAll().where('email_canonical', '=', emailCanonical).orderBy('id').forUpdate().execute()

export const deletePendingOf = (trx: Transaction, emailCanonical: string) =>
  trx.deleteFrom('pending_registrations').where('email_canonical', '=', emailCanonical).execute()

export const deleteExpiredPending = (db: Db, now: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'pending_registrations', 'expires_at', now, limit)
