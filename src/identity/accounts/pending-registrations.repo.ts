import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { PendingRegistrationTable } from '../../platform/db/tables.ts'

export type PendingRegistration = Selectable<PendingRegistrationTable>
/** Of somebody who becomes a user once the address is proven; not one that only keeps a name. */
export type TruePendingRegistration = PendingRegistration & { password_hash: string }

const living = sql<boolean>`expires_at > clock_timestamp()`

export const insertPending = (trx: Transaction, pending: PendingRegistration) =>
  trx.insertInto('pending_registrations').values(pending).execute()

/** @param login canonical: an e-mail address when it holds an `@`, else a username. Of several the newest. */
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

/** The name is kept for somebody, of whatever kind. */
export const isPendingName = async (db: Db | Transaction, username: string): Promise<boolean> =>
  (await db.selectFrom('pending_registrations').select('id').where('username', '=', username).where(living).executeTakeFirst()) !==
  undefined

/** A name is free again once its time is over, not only when cleanup comes round. */
export const dropExpiredPending = (trx: Transaction, username: string) =>
  trx.deleteFrom('pending_registrations').where('username', '=', username).where('expires_at', '<=', sql<Date>`clock_timestamp()`).execute()

/** Another link for the same registration: the older one is dead. An id of nobody changes nothing. */
export const renewPending = (trx: Transaction, id: string, tokenHash: Buffer, expiresAt: Date) =>
  trx.updateTable('pending_registrations').set({ token_hash: tokenHash, expires_at: expiresAt }).where('id', '=', id).execute()

export const findPendingByToken = (trx: Transaction, hash: Buffer): Promise<PendingRegistration | undefined> =>
  trx.selectFrom('pending_registrations').selectAll().where('token_hash', '=', hash).executeTakeFirst()

/** All that wait for one address, always in the same order: only one of them becomes a user. */
export const lockPendingOf = (trx: Transaction, emailCanonical: string): Promise<PendingRegistration[]> =>
  trx.selectFrom('pending_registrations').selectAll().where('email_canonical', '=', emailCanonical).orderBy('id').forUpdate().execute()

export const deletePendingOf = (trx: Transaction, emailCanonical: string) =>
  trx.deleteFrom('pending_registrations').where('email_canonical', '=', emailCanonical).execute()

export const deleteExpiredPending = (db: Db, now: Date) => db.deleteFrom('pending_registrations').where('expires_at', '<=', now).execute()
