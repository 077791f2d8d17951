import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'
import type { PendingLinkTable, PendingRegistrationTable } from '../../platform/db/tables.ts'

export type PendingRegistration = Selectable<PendingRegistrationTable>
/** Becomes a user once the address is proven. Other rows only reserve a username. */
export type TruePendingRegistration = PendingRegistration & { password_hash: string }

const living = sql<boolean>`expires_at > clock_timestamp()`

/** The first keys of the advisory locks. The second key is a hash: two names with the same hash only wait for each other. */
const ADDRESS_LOCK = 7610101
const NAME_LOCK = 7610102

/** Serialises registrations of an address and their completion. Taken before the lock of a name. */
export const lockPendingAddress = (trx: Transaction, emailCanonical: string) =>
  sql`SELECT pg_advisory_xact_lock(${ADDRESS_LOCK}::int, hashtext(${emailCanonical}))`.execute(trx)

/** Serialises registrations of a username. */
export const lockPendingName = (trx: Transaction, username: string) =>
  sql`SELECT pg_advisory_xact_lock(${NAME_LOCK}::int, hashtext(${username}))`.execute(trx)

export const insertPending = (trx: Transaction, pending: PendingRegistration) =>
  trx.insertInto('pending_registrations').values(pending).execute()

export const insertPendingLink = (trx: Transaction, link: Selectable<PendingLinkTable>) =>
  trx.insertInto('pending_links').values(link).execute()

/** The registrations of an address that may become its user, newest first. */
export const findPendingOf = (db: Db | Transaction, emailCanonical: string): Promise<TruePendingRegistration[]> =>
  db
    .selectFrom('pending_registrations')
    .selectAll()
    .where('email_canonical', '=', emailCanonical)
    .where('password_hash', 'is not', null)
    .where(living)
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .$narrowType<{ password_hash: string }>()
    .execute()

/** Every registration of an address, newest first: also rows that only reserve a username. */
export const findAllPendingOf = (trx: Transaction, emailCanonical: string): Promise<PendingRegistration[]> =>
  trx
    .selectFrom('pending_registrations')
    .selectAll()
    .where('email_canonical', '=', emailCanonical)
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .execute()

/** @returns whether a pending registration of another address reserves the username */
export const isPendingName = async (db: Db | Transaction, username: string, emailCanonical: string | null): Promise<boolean> =>
  (await db
    .selectFrom('pending_registrations')
    .select('id')
    .where('username', '=', username)
    .where('email_canonical', 'is distinct from', emailCanonical)
    .where(living)
    .limit(1)
    .executeTakeFirst()) !== undefined

/** Keeps the registration until the end of its newest link. */
export const prolongPending = (trx: Transaction, id: string, expiresAt: Date) =>
  trx.updateTable('pending_registrations').set({ expires_at: expiresAt }).where('id', '=', id).execute()

/** The registration of a link that has not expired. */
export const findPendingByLink = (db: Db | Transaction, hash: Buffer): Promise<TruePendingRegistration | undefined> =>
  db
    .selectFrom('pending_links')
    .innerJoin('pending_registrations', 'pending_registrations.id', 'pending_links.pending_id')
    .selectAll('pending_registrations')
    .where('pending_links.token_hash', '=', hash)
    .where('pending_links.expires_at', '>', sql<Date>`clock_timestamp()`)
    .where('pending_registrations.expires_at', '>', sql<Date>`clock_timestamp()`)
    .where('password_hash', 'is not', null)
    .$narrowType<{ password_hash: string }>()
    .executeTakeFirst()

export const deletePending = (trx: Transaction, ids: readonly string[]) =>
  trx
    .deleteFrom('pending_registrations')
    .where('id', '=', sql<string>`ANY(${[...ids]}::uuid[])`)
    .execute()

export const deletePendingOf = (trx: Transaction, emailCanonical: string) =>
  trx.deleteFrom('pending_registrations').where('email_canonical', '=', emailCanonical).execute()

/** Deletes all links of a registration but the newest `kept`. */
export const trimPendingLinks = (trx: Transaction, pendingId: string, kept: number) =>
  trx
    .deleteFrom('pending_links')
    .where('pending_id', '=', pendingId)
    .where('token_hash', 'not in', (q) =>
      q.selectFrom('pending_links').select('token_hash').where('pending_id', '=', pendingId).orderBy('created_at', 'desc').limit(kept),
    )
    .execute()

export const deleteExpiredPending = (db: Db, now: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'pending_registrations', 'expires_at', now, limit)
