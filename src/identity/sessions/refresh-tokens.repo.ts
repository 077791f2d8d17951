import type { Selectable } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
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

/** The child was used, so its parent can no longer be repeated. */
export const forgetRetry = (trx: Transaction, id: string) =>
  trx.updateTable('refresh_tokens').set({ retry_nonce: null, retry_key_id: null }).where('id', '=', id).execute()

export const forgetRetriesBefore = (db: Db, before: Date) =>
  db
    .updateTable('refresh_tokens')
    .set({ retry_nonce: null, retry_key_id: null })
    .where('retry_nonce', 'is not', null)
    .where('rotated_at', '<', before)
    .execute()

export async function deleteExpiredRefreshTokens(db: Db, before: Date, limit: number): Promise<number> {
  const expired = db.selectFrom('refresh_tokens').select('id').where('expires_at', '<', before).limit(limit)
  const { numDeletedRows } = await db.deleteFrom('refresh_tokens').where('id', 'in', expired).executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}

export const countRefreshTokens = async (db: Db): Promise<number> =>
  Number(
    (
      await db
        .selectFrom('refresh_tokens')
        .select((e) => e.fn.countAll().as('n'))
        .executeTakeFirstOrThrow()
    ).n,
  )
