import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'
import type { RefreshTokenTable } from '../../platform/db/tables.ts'

export type RefreshToken = Selectable<RefreshTokenTable>

/** Finds the session and user of a token, without a lock. The result only names the rows to lock. */
export const findRefreshToken = (db: Db, hash: Buffer) =>
  db
    .selectFrom('refresh_tokens')
    .innerJoin('sessions', 'sessions.id', 'refresh_tokens.session_id')
    .select(['refresh_tokens.id', 'refresh_tokens.session_id', 'refresh_tokens.rotated_at', 'sessions.user_id'])
    .where('token_hash', '=', hash)
    .executeTakeFirst()

/** Lock order: the user, the session, then the token. */
export const lockRefreshToken = (trx: Transaction, id: string): Promise<RefreshToken | undefined> =>
  trx.selectFrom('refresh_tokens').selectAll().where('id', '=', id).forUpdate().executeTakeFirst()

export const findChild = (trx: Transaction, parentId: string): Promise<RefreshToken | undefined> =>
  trx.selectFrom('refresh_tokens').selectAll().where('parent_id', '=', parentId).executeTakeFirst()

export const insertRefreshToken = (
  trx: Transaction,
  token: Pick<RefreshToken, 'id' | 'session_id' | 'token_hash' | 'parent_id' | 'created_at' | 'expires_at'>,
) =>
  trx
    .insertInto('refresh_tokens')
    .values({ ...token, rotated_at: null, retry_nonce: null, retry_key_id: null })
    .execute()

export const markRotated = (trx: Transaction, id: string, at: Date, retry: { nonce: Buffer; keyId: string } | null) =>
  trx
    .updateTable('refresh_tokens')
    .set({ rotated_at: at, retry_nonce: retry?.nonce ?? null, retry_key_id: retry?.keyId ?? null })
    .where('id', '=', id)
    .execute()

/** Moves the time of the rotation into the future: a retry is a retry for `seconds` more. */
export const prolongRetry = (db: Db, hash: Buffer, seconds: number) =>
  db
    .updateTable('refresh_tokens')
    .set({ rotated_at: sql`clock_timestamp() + make_interval(secs => ${seconds})` })
    .where('token_hash', '=', hash)
    .where('retry_nonce', 'is not', null)
    .execute()

/** The child was used, so its parent can no longer be repeated. */
export const forgetRetry = (trx: Transaction, id: string) =>
  trx.updateTable('refresh_tokens').set({ retry_nonce: null, retry_key_id: null }).where('id', '=', id).execute()

/** @returns how many, at most `limit` */
export async function forgetRetriesBefore(db: Db, before: Date, limit: number): Promise<number> {
  const ended = db
    .selectFrom('refresh_tokens')
    .select('id')
    .where('retry_nonce', 'is not', null)
    .where('rotated_at', '<', before)
    .orderBy('rotated_at')
    .limit(limit)
  const { numUpdatedRows } = await db
    .updateTable('refresh_tokens')
    .set({ retry_nonce: null, retry_key_id: null })
    .where('id', 'in', ended)
    .where('retry_nonce', 'is not', null)
    .executeTakeFirstOrThrow()
  return Number(numUpdatedRows)
}

export const deleteExpiredRefreshTokens = (db: Db, before: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'refresh_tokens', 'expires_at', before, limit)

/** Above a million: the estimate of the last ANALYZE, because counting reads the whole table. */
export async function countRefreshTokens(db: Db): Promise<number> {
  const { rows } = await sql<{ n: string }>`
    SELECT CASE WHEN reltuples > 1000000 THEN reltuples::bigint ELSE (SELECT count(*) FROM refresh_tokens) END AS n
    FROM pg_class WHERE oid = 'refresh_tokens'::regclass`.execute(db)
  return Number(rows[0]!.n)
}
