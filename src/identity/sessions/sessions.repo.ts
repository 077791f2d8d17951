import type { Selectable } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { SessionTable } from '../../platform/db/tables.ts'

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

/** By what the session's owner has shown who they are. */
export const updateAmr = (trx: Transaction, id: string, amr: string[]) =>
  trx.updateTable('sessions').set({ amr }).where('id', '=', id).execute()

export const revokeSession = (trx: Transaction, id: string, at: Date, reason: string) =>
  trx.updateTable('sessions').set({ revoked_at: at, revoke_reason: reason }).where('id', '=', id).where('revoked_at', 'is', null).execute()

export const revokeSessionsOf = (trx: Transaction, userId: string, at: Date, reason: string) =>
  trx
    .updateTable('sessions')
    .set({ revoked_at: at, revoke_reason: reason })
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .execute()

/** Neither ended nor at their absolute end: an access token of theirs may be good. The one that was used last comes first. */
export const findLivingSessions = (db: Db | Transaction, userId: string, now: Date): Promise<Session[]> =>
  db
    .selectFrom('sessions')
    .selectAll()
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now)
    .orderBy('last_used_at', 'desc')
    .orderBy('id', 'desc')
    .execute()

/** Those of the living that can still be refreshed: what their owner would call sessions. */
export const findUsableSessions = (db: Db, userId: string, now: Date): Promise<Session[]> =>
  db
    .selectFrom('sessions')
    .selectAll()
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now)
    .where((e) =>
      e.exists(
        e
          .selectFrom('refresh_tokens')
          .select('refresh_tokens.id')
          .whereRef('session_id', '=', 'sessions.id')
          .where('rotated_at', 'is', null)
          .where('refresh_tokens.expires_at', '>', now),
      ),
    )
    .orderBy('last_used_at', 'desc')
    .orderBy('id', 'desc')
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
