import { sql } from 'kysely'
import { uuidv7 } from 'uuidv7'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'

/**
 * The end of a session or API key, of a user's tokens below an epoch, or of a signing key. `until`, in milliseconds: every such token has
 * expired by then, and every gateway has read that the signing key is gone.
 */
export type Revocation = { until: number } & ({ sessionId: string } | { userId: string; minEpoch: number } | { kid: string })

/** For `account-transaction.ts` alone: no other file can make a `RevokingTransaction`. */
export const OPENED_HERE = Symbol('account transaction')

/** The part of an account transaction that writes revocations. */
export interface RevokingTransaction {
  readonly [OPENED_HERE]: true
  readonly trx: Transaction
  /** The revocations of this transaction so far. `insertRevocation` adds to them. */
  readonly revocations: Revocation[]
}

/** Writes a revocation. Its transaction announces it after the commit. */
export async function insertRevocation({ trx, revocations }: RevokingTransaction, revocation: Revocation): Promise<void> {
  await trx.insertInto('revocations').values(rowOf(revocation)).execute()
  revocations.push(revocation)
}

const rowOf = (revocation: Revocation) => ({
  id: uuidv7(),
  session_id: 'sessionId' in revocation ? revocation.sessionId : null,
  user_id: 'userId' in revocation ? revocation.userId : null,
  min_epoch: 'userId' in revocation ? revocation.minEpoch : null,
  kid: 'kid' in revocation ? revocation.kid : null,
  expires_at: new Date(revocation.until),
})

export interface RevocationPage {
  revocations: Revocation[]
  /** For the next call: the oldest transaction that had not ended at this one. */
  low: string
  /** The database's time at this call, in milliseconds. */
  databaseMs: number
}

/** Reads the revocations of transaction `low` and of later transactions. A cursor by id would miss a transaction that commits late. */
export async function findRevocationsSince(db: Db, low: string): Promise<RevocationPage> {
  const { rows } = await sql<{
    low: string
    session_id: string | null
    user_id: string | null
    min_epoch: number | null
    kid: string | null
    until: string | number | null
    database_ms: string | number
  }>`
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS low, always.database_ms, r.session_id, r.user_id, r.min_epoch, r.kid,
           (extract(epoch FROM r.expires_at) * 1000)::float8 AS until
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS database_ms) AS always
    LEFT JOIN revocations r ON r.xid >= ${low}::text::xid8 AND r.expires_at > now()`.execute(db)
  const revocations = rows.flatMap((r): Revocation[] => {
    const until = Number(r.until)
    if (r.session_id) return [{ sessionId: r.session_id, until }]
    if (r.kid) return [{ kid: r.kid, until }]
    return r.user_id ? [{ userId: r.user_id, minEpoch: r.min_epoch!, until }] : []
  })
  return { revocations, low: rows[0]!.low, databaseMs: Number(rows[0]!.database_ms) }
}

const WRITE_BACK_ROWS = 1000

/** Writes revocations that the database has lost. Several processes may write the same revocation: duplicates do no harm. */
export async function writeBackRevocations(db: Db, lost: readonly Revocation[]): Promise<void> {
  for (let first = 0; first < lost.length; first += WRITE_BACK_ROWS)
    await db
      .insertInto('revocations')
      .values(lost.slice(first, first + WRITE_BACK_ROWS).map(rowOf))
      .execute()
}

export const deleteExpiredRevocations = (db: Db, now: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'revocations', 'expires_at', now, limit)
