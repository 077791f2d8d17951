import { sql } from 'kysely'
import { uuidv7 } from 'uuidv7'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'

/**
 * The end of a session or API key, of a user's tokens below an epoch, of a signing key, or of what another issuer vouches for. `until`, in
 * milliseconds: every such token has expired by then, and every gateway has read that the signing key is gone.
 */
export type Revocation = { until: number } & ({ sessionId: string } | { userId: string; minEpoch: number } | { kid: string } | Block)

/** A block of a subject or token of another issuer, or its end. Of one key, the highest version counts. */
export interface Block {
  /** See issuers/block-keys.ts. */
  blockKey: string
  /** When it was written, in milliseconds since the epoch. */
  version: number
  isLifted: boolean
}

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
  block_key: 'blockKey' in revocation ? revocation.blockKey : null,
  version: 'blockKey' in revocation ? revocation.version : null,
  is_lifted: 'blockKey' in revocation ? revocation.isLifted : null,
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
    block_key: string | null
    version: string | number | null
    is_lifted: boolean | null
    until: string | number | null
    database_ms: string | number
  }>`
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS low, always.database_ms, r.session_id, r.user_id, r.min_epoch, r.kid,
           r.block_key, r.version::float8 AS version, r.is_lifted,
           (extract(epoch FROM r.expires_at) * 1000)::float8 AS until
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS database_ms) AS always
    LEFT JOIN revocations r ON r.xid >= ${low}::text::xid8 AND r.expires_at > now()`.execute(db)
  const revocations = rows.flatMap((r): Revocation[] => {
    const until = Number(r.until)
    if (r.session_id) return [{ sessionId: r.session_id, until }]
    if (r.kid) return [{ kid: r.kid, until }]
    if (r.block_key !== null) return [{ blockKey: r.block_key, version: Number(r.version), isLifted: r.is_lifted!, until }]
    return r.user_id ? [{ userId: r.user_id, minEpoch: r.min_epoch!, until }] : []
  })
  return { revocations, low: rows[0]!.low, databaseMs: Number(rows[0]!.database_ms) }
}

/** Each waits for the other changes of the same block. */
const BLOCK_LOCK = 7610022

/**
 * Writes a block or its end in place of what was written for its key before. The end of a block is not announced: a client that can write to the
 * channel must not be able to lift a block. Every gateway reads it at its next poll.
 * @param until milliseconds
 * @returns false: there was nothing to lift
 */
export async function writeBlock(
  tx: RevokingTransaction,
  { blockKey, isLifted }: Pick<Block, 'blockKey' | 'isLifted'>,
  until: number,
): Promise<boolean> {
  const { trx } = tx
  await sql`SELECT pg_advisory_xact_lock(${BLOCK_LOCK}::int, hashtext(${blockKey}))`.execute(trx)
  const before = await trx
    .selectFrom('revocations')
    .select(['version', 'is_lifted', 'expires_at'])
    .where('block_key', '=', blockKey)
    .execute()
  const now = (await databaseNow(trx)).getTime()
  const isBlocked = before.some(({ is_lifted, expires_at }) => !is_lifted && expires_at.getTime() > now)
  if (isLifted && !isBlocked) return false
  await trx.deleteFrom('revocations').where('block_key', '=', blockKey).execute()
  const version = Math.max(now, ...before.map((row) => Number(row.version) + 1))
  const revocation = { blockKey, version, isLifted, until }
  if (isLifted) await trx.insertInto('revocations').values(rowOf(revocation)).execute()
  else await insertRevocation(tx, revocation)
  return true
}

export interface StandingBlock {
  blockKey: string
  blockedAt: Date
  until: Date
}

/** @returns the blocks in force, newest first */
export async function findBlocks(db: Db, limit: number): Promise<StandingBlock[]> {
  const rows = await db
    .selectFrom('revocations')
    .select(['block_key', 'version', 'expires_at'])
    .where('block_key', 'is not', null)
    .where('is_lifted', '=', false)
    .where('expires_at', '>', sql<Date>`now()`)
    .orderBy('version', 'desc')
    .limit(limit)
    .execute()
  return rows.map((row) => ({ blockKey: row.block_key!, blockedAt: new Date(Number(row.version)), until: row.expires_at }))
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
