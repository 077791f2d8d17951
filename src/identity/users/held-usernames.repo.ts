/**
 * A username that was given up is held for its user while access tokens with this name are valid. The table keeps a hash of the name: a
 * deleted account leaves no name behind.
 */
import { createHash } from 'node:crypto'
import { sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { User } from './users.repo.ts'

const hashOf = (username: string) => createHash('sha256').update(`held username|${username}`).digest()

/** @param seconds the lifetime of an access token */
export async function holdUsername(trx: Transaction, { id, username }: Pick<User, 'id' | 'username'>, seconds: number): Promise<void> {
  if (username === null) return
  const row = { user_id: id, held_until: sql<Date>`clock_timestamp() + make_interval(secs => ${seconds})` }
  await trx
    .insertInto('held_usernames')
    .values({ name_hash: hashOf(username), ...row })
    .onConflict((c) => c.column('name_hash').doUpdateSet(row))
    .execute()
}

interface Named {
  id: string | null
  username: string | null
}

/**
 * Whether the name is held for another user. Call it after the name was written: then the unique index has waited for the change that gives
 * the name up.
 */
export async function isHeld(db: Db | Transaction, { id, username }: Named): Promise<boolean> {
  if (username === null) return false
  const held = await db
    .selectFrom('held_usernames')
    .select('user_id')
    .where('name_hash', '=', hashOf(username))
    .where('held_until', '>', sql<Date>`clock_timestamp()`)
    .executeTakeFirst()
  return held !== undefined && held.user_id !== id
}

/** See `isHeld`. @throws username_taken while the name is held for another user */
export async function assertNotHeld(db: Db | Transaction, named: Named): Promise<void> {
  if (await isHeld(db, named))
    throw problem('username_taken', {
      cause: 'another account gave the name up a moment ago',
      detail: 'The username was given up a moment ago, and is held for a while. Choose another username.',
    })
}

export const deleteEndedHolds = (db: Db, now: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'held_usernames', 'held_until', now, limit)
