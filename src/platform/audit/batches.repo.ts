import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../db/database.ts'
import type { AuditBatchTable } from '../db/tables.ts'

export type Batch = Selectable<AuditBatchTable>

/** Until the transaction ends, no other process writes batches. */
export const lockChain = (trx: Transaction) => sql`SELECT pg_advisory_xact_lock(7610004)`.execute(trx)

export const findHead = (db: Db | Transaction): Promise<Batch | undefined> =>
  db.selectFrom('audit_batches').selectAll().orderBy('number', 'desc').limit(1).executeTakeFirst()

export const findBatch = (trx: Transaction, number: number): Promise<Batch | undefined> =>
  trx.selectFrom('audit_batches').selectAll().where('number', '=', number).executeTakeFirst()

export const insertBatch = (trx: Transaction, batch: Batch) => trx.insertInto('audit_batches').values(batch).execute()

export const findBatchesAfter = (trx: Transaction, number: number | null, limit: number): Promise<Batch[]> =>
  trx
    .selectFrom('audit_batches')
    .selectAll()
    .$if(number !== null, (q) => q.where('number', '>', number))
    .orderBy('number')
    .limit(limit)
    .execute()

const FACTS = ['id', 'at', 'event', 'outcome', 'user_id', 'session_id', 'actor', 'detail', 'request_id', 'personal', 'mac'] as const

export type WaitingRow = Awaited<ReturnType<typeof findSettledRows>>[number]

interface Position {
  xid: string
  id: string
}

const isAfter = ({ xid, id }: Position) => sql<boolean>`(xid, id) > (${xid}::text::xid8, ${id}::uuid)`

/**
 * Rows whose transaction has ended, and before which no transaction is still running: no earlier row can appear any more. Rows of a restored
 * dump count as settled, too: their transaction numbers come from another server and may be higher than ours.
 */
export const findSettledRows = (trx: Transaction, after: Position | null, limit: number) =>
  trx
    .selectFrom('audit_log')
    .select([...FACTS, sql<string>`xid::text`.as('xid')])
    .where('batch', 'is', null)
    .where(sql<boolean>`(xid < pg_snapshot_xmin(pg_current_snapshot()) OR xid >= pg_snapshot_xmax(pg_current_snapshot()))`)
    .$if(after !== null, (q) => q.where(isAfter(after!)))
    .orderBy('xid')
    .orderBy('id')
    .limit(limit)
    .execute()

/**
 * Rows from before rows had MACs. The migration left no process running that writes them. In the order of the index of unsealed rows: another
 * order would read all rows that are sealed already, for each batch.
 */
export const findUnsignedRows = (trx: Transaction, after: Position | null, limit: number) =>
  trx
    .selectFrom('audit_log')
    .select([...FACTS, sql<string>`xid::text`.as('xid')])
    .where('batch', 'is', null)
    .where('mac', 'is', null)
    .$if(after !== null, (q) => q.where(isAfter(after!)))
    .orderBy('xid')
    .orderBy('id')
    .limit(limit)
    .execute()

/** @throws when a row is gone or already sealed */
export async function markSealed(trx: Transaction, batch: number, ids: string[]): Promise<void> {
  if (ids.length === 0) return
  const { numUpdatedRows } = await trx
    .updateTable('audit_log')
    .set({ batch })
    .where('id', 'in', ids)
    .where('batch', 'is', null)
    .executeTakeFirstOrThrow()
  if (Number(numUpdatedRows) !== ids.length) throw new Error('rows of the audit log disappeared while they were being sealed')
}

export async function countUnsealed(db: Db): Promise<number> {
  const { n } = await db
    .selectFrom('audit_log')
    .select((e) => e.fn.countAll().as('n'))
    .where('batch', 'is', null)
    .executeTakeFirstOrThrow()
  return Number(n)
}

/** @returns the number of rows that were deleted with the batches */
export async function deleteBatchesThrough(trx: Transaction, number: number): Promise<number> {
  const { numDeletedRows } = await trx.deleteFrom('audit_log').where('batch', '<=', number).executeTakeFirstOrThrow()
  await trx.deleteFrom('audit_batches').where('number', '<=', number).execute()
  return Number(numDeletedRows)
}

/** For verification: rows with their personal data. */
const withPersonal = (trx: Transaction) =>
  trx
    .selectFrom('audit_log as l')
    .leftJoin('audit_personal as p', 'p.event_id', 'l.id')
    .select([...FACTS.map((name) => `l.${name}` as const), 'l.batch', 'p.salt', 'p.ip', 'p.user_agent'])

export type StoredRow = Awaited<ReturnType<typeof findSealedRowsAfter>>[number]

export const findSealedRowsAfter = (trx: Transaction, after: { batch: number; id: string } | null, limit: number) =>
  withPersonal(trx)
    .where('l.batch', 'is not', null)
    .$if(after !== null, (q) => q.where((e) => e(e.refTuple('l.batch', 'l.id'), '>', e.tuple(after!.batch, after!.id))))
    .orderBy('l.batch')
    .orderBy('l.id')
    .limit(limit)
    .execute()

export const findUnsealedRowsAfter = (trx: Transaction, after: string | null, limit: number): Promise<StoredRow[]> =>
  withPersonal(trx)
    .where('l.batch', 'is', null)
    .$if(after !== null, (q) => q.where('l.id', '>', after!))
    .orderBy('l.id')
    .limit(limit)
    .execute()

/** The last erasure of each of these users. */
export const findErasures = (trx: Transaction, userIds: string[]) =>
  trx
    .selectFrom('audit_log')
    .select((e) => ['user_id', e.fn.max('at').as('at')])
    .where('event', '=', 'audit_erase')
    .where('user_id', 'in', userIds)
    .groupBy('user_id')
    .execute()
