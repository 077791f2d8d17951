import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'

/** The clean-up goes by the clock of the database, and that of a gateway may differ: see MARGIN_SECONDS of revoke-sessions.ts. */
const MARGIN_MS = 660_000

/** Marks a token as used. Only one of several concurrent calls succeeds. @returns false when it was used before */
export async function markUsed(db: Db | Transaction, issuer: string, jti: string, expiresAt: Date): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await db
    .insertInto('used_tokens')
    .values({ issuer, jti, expires_at: new Date(expiresAt.getTime() + MARGIN_MS) })
    .onConflict((c) => c.columns(['issuer', 'jti']).doNothing())
    .executeTakeFirstOrThrow()
  return Number(numInsertedOrUpdatedRows) === 1
}

export const deleteExpiredUsedTokens = (db: Db, now: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'used_tokens', 'expires_at', now, limit)
