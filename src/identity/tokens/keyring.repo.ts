import { sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { SigningKeyTable } from '../../platform/db/tables.ts'

export type KeyRow = Pick<
  SigningKeyTable,
  'kid' | 'algorithm' | 'state' | 'public_jwk' | 'public_mac' | 'private_sealed' | 'activates_at' | 'lifetime_seconds'
> & {
  created_at: Date
  retired_at: Date | null
}

/** Serialises every change of keys, over all processes, until the transaction ends. */
export const lockKeys = (trx: Transaction) => sql`SELECT pg_advisory_xact_lock(7610001)`.execute(trx)

export const findKeys = (db: Db | Transaction): Promise<KeyRow[]> =>
  db.selectFrom('signing_keys').selectAll().orderBy('created_at').execute()

export const insertKey = (trx: Transaction, row: Omit<KeyRow, 'created_at' | 'retired_at'>) =>
  trx.insertInto('signing_keys').values(row).execute()

export const updateSealed = (trx: Transaction, kid: string, sealed: { private_sealed: string; public_mac: string }) =>
  trx.updateTable('signing_keys').set(sealed).where('kid', '=', kid).execute()

/** `current` → `retired`, then `next` → `current`. The order satisfies the unique index on `current`. */
export async function promoteNext(trx: Transaction, now: Date): Promise<void> {
  await trx.updateTable('signing_keys').set({ state: 'retired', retired_at: now }).where('state', '=', 'current').execute()
  await trx.updateTable('signing_keys').set({ state: 'current' }).where('state', '=', 'next').execute()
}

export async function deleteKeys(trx: Transaction, kids: readonly string[]): Promise<void> {
  if (kids.length > 0) await trx.deleteFrom('signing_keys').where('kid', 'in', kids).execute()
}

/** A key that signs, or will sign, issues tokens of this lifetime. So did every key from before this was stored. */
export const raiseLifetimes = (trx: Transaction, seconds: number) =>
  trx
    .updateTable('signing_keys')
    .set({ lifetime_seconds: seconds })
    .where((row) =>
      row.or([row('lifetime_seconds', 'is', null), row.and([row('state', '!=', 'retired'), row('lifetime_seconds', '<', seconds)])]),
    )
    .execute()

/** The longest lifetime of an access token that a key has signed, in seconds. */
export async function findLongestLifetime(trx: Transaction): Promise<number> {
  const row = await trx
    .selectFrom('signing_keys')
    .select((keys) => keys.fn.max('lifetime_seconds').as('seconds'))
    .executeTakeFirst()
  return row?.seconds ?? 0
}

export const findCanary = (db: Db | Transaction) => db.selectFrom('secret_canary').select('sealed').executeTakeFirst()

export const saveCanary = (trx: Transaction, sealed: string) =>
  trx
    .insertInto('secret_canary')
    .values({ sealed })
    .onConflict((c) => c.column('only_row').doUpdateSet({ sealed }))
    .execute()
