import type { Selectable } from 'kysely'
import type { Db, SessionTable, Transaction } from '../db/database.ts'

export type Session = Selectable<SessionTable>

export const insertSession = (trx: Transaction, session: Omit<Session, 'revoked_at' | 'revoke_reason'>): Promise<Session> =>
  trx
    .insertInto('sessions')
    .values({ ...session, revoked_at: null, revoke_reason: null })
    .returningAll()
    .executeTakeFirstOrThrow()

/** Second lock, after the user's. */
export const lockSession = (trx: Transaction, id: string): Promise<Session | undefined> =>
  trx.selectFrom('sessions').selectAll().where('id', '=', id).forUpdate().executeTakeFirst()

export const touchSession = (trx: Transaction, id: string, at: Date) =>
  trx.updateTable('sessions').set({ last_used_at: at }).where('id', '=', id).execute()

export const revokeSession = (trx: Transaction, id: string, at: Date, reason: string) =>
  trx.updateTable('sessions').set({ revoked_at: at, revoke_reason: reason }).where('id', '=', id).where('revoked_at', 'is', null).execute()

export const revokeSessionsOf = (trx: Transaction, userId: string, at: Date, reason: string) =>
  trx
    .updateTable('sessions')
    .set({ revoked_at: at, revoke_reason: reason })
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .execute()

/** Expired sessions, and those revoked before `revokedBefore`; their refresh tokens go with them. @returns how many, at most `limit` */
export async function deleteDeadSessions(db: Db, now: Date, revokedBefore: Date, limit: number): Promise<number> {
  const dead = db
    .selectFrom('sessions')
    .select('id')
    .where((e) => e.or([e('expires_at', '<', now), e('revoked_at', '<', revokedBefore)]))
    .limit(limit)
    .forUpdate()
    .skipLocked()
  const { numDeletedRows } = await db.deleteFrom('sessions').where('id', 'in', dead).executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}
