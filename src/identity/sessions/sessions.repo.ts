import type { Selectable } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { SessionTable } from '../../platform/db/tables.ts'

export type Session = Selectable<SessionTable>

/** How a user has authenticated. */
export interface Authentication {
  /** RFC 8176: `pwd`; with a second factor also `otp` and `mfa`. */
  amr: string[]
  deviceId: string | null
  /** The current time by default. */
  authTime?: Date
}

export const insertSession = (trx: Transaction, session: Omit<Session, 'revoked_at' | 'revoke_reason'>): Promise<Session> =>
  trx
    .insertInto('sessions')
    .values({ ...session, revoked_at: null, revoke_reason: null })
    .returningAll()
    .executeTakeFirstOrThrow()

export const findSession = (db: Db, id: string): Promise<Session | undefined> =>
  db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirst()

/** Lock order: the user, then the session. */
export const lockSession = (trx: Transaction, id: string): Promise<Session | undefined> =>
  trx.selectFrom('sessions').selectAll().where('id', '=', id).forUpdate().executeTakeFirst()

export const touchSession = (trx: Transaction, id: string, at: Date) =>
  trx.updateTable('sessions').set({ last_used_at: at }).where('id', '=', id).execute()

/** Sets the authentication methods of the session (RFC 8176). */
export const updateAmr = (trx: Transaction, id: string, amr: string[]) =>
  trx.updateTable('sessions').set({ amr }).where('id', '=', id).execute()

/** Sets how and when the user of the session has authenticated. */
export const updateLevel = (trx: Transaction, id: string, amr: string[], authTime: Date) =>
  trx.updateTable('sessions').set({ amr, auth_time: authTime }).where('id', '=', id).execute()

export const revokeSession = (trx: Transaction, id: string, at: Date, reason: string) =>
  trx.updateTable('sessions').set({ revoked_at: at, revoke_reason: reason }).where('id', '=', id).where('revoked_at', 'is', null).execute()

export const revokeSessionsOf = (trx: Transaction, userId: string, at: Date, reason: string) =>
  trx
    .updateTable('sessions')
    .set({ revoked_at: at, revoke_reason: reason })
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .execute()

/** Sessions that are neither revoked nor expired: their access tokens may be valid. The most recently used session comes first. */
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

/**
 * The living sessions that can still be refreshed, or used by cookie. Users see these as their sessions.
 * @param idleSeconds a session by cookie that was not used for this time has ended
 */
export const findUsableSessions = (db: Db, userId: string, now: Date, idleSeconds: number): Promise<Session[]> =>
  db
    .selectFrom('sessions')
    .selectAll()
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now)
    .where((e) =>
      e.or([
        e.exists(
          e
            .selectFrom('refresh_tokens')
            .select('refresh_tokens.id')
            .whereRef('session_id', '=', 'sessions.id')
            .where('rotated_at', 'is', null)
            .where('refresh_tokens.expires_at', '>', now),
        ),
        e.and([
          e('last_used_at', '>', new Date(now.getTime() - idleSeconds * 1000)),
          e.exists(e.selectFrom('session_cookies').select('session_cookies.id').whereRef('session_id', '=', 'sessions.id')),
        ]),
      ]),
    )
    .orderBy('last_used_at', 'desc')
    .orderBy('id', 'desc')
    .execute()

/**
 * Deletes at most `limit` expired sessions, and as many that were revoked before `revokedBefore`, with their refresh tokens. One condition for
 * both would use no index. @returns how many
 */
export async function deleteDeadSessions(db: Db, now: Date, revokedBefore: Date, limit: number): Promise<number> {
  const oldest = (column: 'expires_at' | 'revoked_at', before: Date) =>
    db.selectFrom('sessions').select('id').where(column, '<', before).orderBy(column).limit(limit).forUpdate().skipLocked()
  const { numDeletedRows } = await db
    .with('expired', () => oldest('expires_at', now))
    .with('revoked', () => oldest('revoked_at', revokedBefore))
    .deleteFrom('sessions')
    .where('id', 'in', (e) => e.selectFrom('expired').select('id').unionAll(e.selectFrom('revoked').select('id')))
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}
