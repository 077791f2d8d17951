import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { ApiKeyTable } from '../../platform/db/tables.ts'
import type { User } from '../users/users.repo.ts'

export type ApiKey = Selectable<ApiKeyTable>

const hashOf = (digest: string) => Buffer.from(digest, 'base64url')

export const insertApiKey = (
  trx: Transaction,
  {
    digest,
    ...key
  }: Pick<ApiKey, 'id' | 'user_id' | 'name' | 'hint' | 'roles' | 'scopes' | 'created_at' | 'expires_at' | 'session_id'> & {
    digest: string
  },
): Promise<ApiKey> =>
  trx
    .insertInto('api_keys')
    .values({ ...key, key_hash: hashOf(digest), last_used_at: null, revoked_at: null })
    .returningAll()
    .executeTakeFirstOrThrow()

export const countLivingApiKeys = async (trx: Transaction, userId: string, now: Date): Promise<number> =>
  Number(
    (
      await trx
        .selectFrom('api_keys')
        .select((e) => e.fn.countAll().as('n'))
        .where('user_id', '=', userId)
        .where('revoked_at', 'is', null)
        .where((e) => e.or([e('expires_at', 'is', null), e('expires_at', '>', now)]))
        .executeTakeFirstOrThrow()
    ).n,
  )

/** Counts revoked keys too. */
export const countApiKeysMadeSince = async (trx: Transaction, userId: string, since: Date): Promise<number> =>
  Number(
    (
      await trx
        .selectFrom('api_keys')
        .select((e) => e.fn.countAll().as('n'))
        .where('user_id', '=', userId)
        .where('created_at', '>', since)
        .executeTakeFirstOrThrow()
    ).n,
  )

/** Keys that are not revoked, newest first. Expired keys are included until the next cleanup. */
export const findApiKeysOf = (db: Db, userId: string, limit: number): Promise<ApiKey[]> =>
  db
    .selectFrom('api_keys')
    .selectAll()
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()

export type KeyOwner = Pick<
  User,
  'username' | 'email' | 'email_verified_at' | 'roles' | 'token_epoch' | 'disabled_at' | 'password_must_change' | 'mfa_enabled' | 'metadata'
>

/** Reads a key and its owner in one statement, so that they belong to the same moment. */
export async function findApiKey(db: Db, digest: string): Promise<{ key: ApiKey; owner: KeyOwner } | undefined> {
  const row = await db
    .selectFrom('api_keys')
    .innerJoin('users', 'users.id', 'api_keys.user_id')
    .selectAll('api_keys')
    .select([
      'users.username',
      'users.email',
      'users.email_verified_at',
      'users.roles as owner_roles',
      'users.token_epoch',
      'users.disabled_at',
      'users.password_must_change',
      'users.mfa_enabled',
      'users.metadata',
    ])
    .where('key_hash', '=', hashOf(digest))
    .executeTakeFirst()
  return row && { key: row, owner: { ...row, roles: row.owner_roles } }
}

/** The caller holds the lock of the owner. @returns the key; undefined when it belongs to another user or is revoked already */
export const revokeApiKey = (trx: Transaction, userId: string, id: string, at: Date): Promise<ApiKey | undefined> =>
  trx
    .updateTable('api_keys')
    .set({ revoked_at: at })
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .returningAll()
    .executeTakeFirst()

/** Revokes all keys of a user. Caches accept them until the epoch of the owner is raised. */
export const revokeApiKeysOf = (trx: Transaction, userId: string, at: Date) =>
  trx
    .updateTable('api_keys')
    .set({ revoked_at: at })
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .returning('id')
    .execute()

/** Revokes the keys that these sessions of a user made. Caches accept them until the epoch of the owner is raised. */
export const revokeApiKeysOfSessions = async (trx: Transaction, userId: string, sessionIds: readonly string[], at: Date) =>
  sessionIds.length === 0
    ? []
    : trx
        .updateTable('api_keys')
        .set({ revoked_at: at })
        .where('user_id', '=', userId)
        .where('session_id', 'in', sessionIds)
        .where('revoked_at', 'is', null)
        .returning('id')
        .execute()

/** A session replaces another session of its user, and takes over the keys that the other session made. */
export const moveApiKeys = (trx: Transaction, userId: string, from: string, to: string) =>
  trx.updateTable('api_keys').set({ session_id: to }).where('user_id', '=', userId).where('session_id', '=', from).execute()

/** Writes at most once a minute, over all gateways. */
export const touchApiKey = (db: Db, id: string) =>
  db
    .updateTable('api_keys')
    .set({ last_used_at: sql`clock_timestamp()` })
    .where('id', '=', id)
    .where((e) => e.or([e('last_used_at', 'is', null), e('last_used_at', '<', sql<Date>`clock_timestamp() - interval '1 minute'`)]))
    .execute()

/** Deletes at most `limit` keys that expired before `before`, and as many that were revoked before. @returns how many */
export async function deleteDeadApiKeys(db: Db, before: Date, limit: number): Promise<number> {
  const oldest = (column: 'expires_at' | 'revoked_at') =>
    db.selectFrom('api_keys').select('id').where(column, '<', before).orderBy(column).limit(limit)
  const { numDeletedRows } = await db
    .with('expired', () => oldest('expires_at'))
    .with('revoked', () => oldest('revoked_at'))
    .deleteFrom('api_keys')
    .where('id', 'in', (e) => e.selectFrom('expired').select('id').unionAll(e.selectFrom('revoked').select('id')))
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}
