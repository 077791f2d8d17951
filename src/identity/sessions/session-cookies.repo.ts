import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { SessionCookieTable } from '../../platform/db/tables.ts'
import type { CookiePurpose } from './cookie-values.ts'

export type SessionCookie = Selectable<SessionCookieTable>

export const insertSessionCookie = (trx: Transaction, cookie: Omit<SessionCookie, 'superseded_at'>): Promise<SessionCookie> =>
  trx
    .insertInto('session_cookies')
    .values({ ...cookie, superseded_at: null })
    .returningAll()
    .executeTakeFirstOrThrow()

export const findSessionCookie = (trx: Transaction, id: string): Promise<SessionCookie | undefined> =>
  trx.selectFrom('session_cookies').selectAll().where('id', '=', id).executeTakeFirst()

/** The caller holds the lock of the session. @returns the values that were current until now */
export const supersedeSessionCookies = (trx: Transaction, sessionId: string, at: Date): Promise<SessionCookie[]> =>
  trx
    .updateTable('session_cookies')
    .set({ superseded_at: at })
    .where('session_id', '=', sessionId)
    .where('superseded_at', 'is', null)
    .returningAll()
    .execute()

/**
 * Takes authentication methods from each value of a session. An earlier value may have shown less than the session, and gains nothing.
 * The caller raises the epoch of the user, so that workers read them again.
 */
export async function shrinkCookieAmr(trx: Transaction, sessionId: string, shrink: (amr: readonly string[]) => string[]): Promise<void> {
  const values = await trx.selectFrom('session_cookies').select(['id', 'amr']).where('session_id', '=', sessionId).execute()
  for (const { id, amr } of values)
    await trx
      .updateTable('session_cookies')
      .set({ amr: shrink(amr) })
      .where('id', '=', id)
      .execute()
}

/** A value with its session and its user. */
export interface FoundCookie {
  id: string
  amr: string[]
  auth_time: Date
  superseded_at: Date | null
  session_id: string
  last_used_at: Date
  expires_at: Date
  revoked_at: Date | null
  user_id: string
  email: string
  email_verified_at: Date | null
  roles: string[]
  token_epoch: number
  disabled_at: Date | null
  password_must_change: boolean
  metadata: { public?: Record<string, unknown>; admin?: Record<string, unknown> }
  /** The database's clock at this moment. */
  now: Date
}

const cookies = (db: Db) =>
  db
    .selectFrom('session_cookies as c')
    .innerJoin('sessions as s', 's.id', 'c.session_id')
    .innerJoin('users as u', 'u.id', 's.user_id')
    .select(['c.id', 'c.amr', 'c.auth_time', 'c.superseded_at'])
    .select(['s.id as session_id', 's.last_used_at', 's.expires_at', 's.revoked_at'])
    .select(['u.id as user_id', 'u.email', 'u.email_verified_at', 'u.roles', 'u.token_epoch', 'u.disabled_at'])
    .select(['u.password_must_change', 'u.metadata', sql<Date>`clock_timestamp()`.as('now')])

export const findCookieByHash = (db: Db, purpose: CookiePurpose, hash: Buffer): Promise<FoundCookie | undefined> =>
  cookies(db).where('c.token_hash', '=', hash).where('c.purpose', '=', purpose).executeTakeFirst()

export const findCookieById = (db: Db, id: string): Promise<FoundCookie | undefined> =>
  cookies(db).where('c.id', '=', id).executeTakeFirst()

/** Writes at most once in `everySeconds`, over all gateways. A late write never sets the time back. */
export const touchCookieSession = (db: Db, sessionId: string, everySeconds: number) =>
  db
    .updateTable('sessions')
    .set({ last_used_at: sql`greatest(last_used_at, clock_timestamp())` })
    .where('id', '=', sessionId)
    .where('last_used_at', '<', sql<Date>`clock_timestamp() - make_interval(secs => ${everySeconds})`)
    .execute()
