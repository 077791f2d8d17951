import { sql } from 'kysely'
import { uuidv7 } from 'uuidv7'
import type { Db, Transaction } from '../../platform/db/database.ts'

/** A session that is over, or a user whose tokens below an epoch are. `until`: milliseconds; later every such token has expired. */
export type Revocation = { until: number } & ({ sessionId: string } | { userId: string; minEpoch: number })

export const insertRevocation = (trx: Transaction, revocation: Revocation) =>
  trx
    .insertInto('revocations')
    .values({
      id: uuidv7(),
      session_id: 'sessionId' in revocation ? revocation.sessionId : null,
      user_id: 'userId' in revocation ? revocation.userId : null,
      min_epoch: 'userId' in revocation ? revocation.minEpoch : null,
      expires_at: new Date(revocation.until),
    })
    .execute()

export interface RevocationPage {
  revocations: Revocation[]
  /** What the next call asks for: the oldest transaction that had not ended when this one looked. */
  low: string
}

/** Everything written by transaction `low` or a later one. An id cursor would miss a transaction that commits late. */
export async function findRevocationsSince(db: Db, low: string): Promise<RevocationPage> {
  const { rows } = await sql<{
    low: string
    session_id: string | null
    user_id: string | null
    min_epoch: number | null
    until: string | number | null
  }>`
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS low, r.session_id, r.user_id, r.min_epoch,
           (extract(epoch FROM r.expires_at) * 1000)::float8 AS until
    FROM (SELECT 1) AS always
    LEFT JOIN revocations r ON r.xid >= ${low}::text::xid8 AND r.expires_at > now()`.execute(db)
  const revocations = rows.flatMap((r): Revocation[] => {
    const until = Number(r.until)
    if (r.session_id) return [{ sessionId: r.session_id, until }]
    return r.user_id ? [{ userId: r.user_id, minEpoch: r.min_epoch!, until }] : []
  })
  return { revocations, low: rows[0]!.low }
}

export const deleteExpiredRevocations = (db: Db, now: Date) => db.deleteFrom('revocations').where('expires_at', '<', now).execute()
