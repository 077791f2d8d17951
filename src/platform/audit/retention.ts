/**
 * Removes old audit rows: whole batches from the beginning, with their rows. Each removal appends a batch that records the last batch removed.
 * By this record, verification distinguishes retention from an unlawful deletion.
 */
import { type Db, databaseNow, inTransaction, type Transaction } from '../db/database.ts'
import type { Secrets } from '../vault/secrets.ts'
import { type Audit, COMMAND_LINE } from './audit.ts'
import { deleteBatchesThrough, findBatchesAfter } from './batches.repo.ts'
import { appendBatch, lockHead } from './chain.ts'
import { rootOf } from './merkle.ts'

export interface RetentionDeps {
  secrets: Secrets
  audit: Audit
  /** 0: rows are never removed. */
  retentionDays: number
}

/** Removes in steps of at most `limit` batches and about `limit` rows. @returns the number of rows removed. @throws BrokenChain */
export type AuditRetention = (on: Db, limit: number) => Promise<number>

const DAY_MS = 86_400_000

export function createAuditRetention({ secrets, audit, retentionDays }: RetentionDeps): AuditRetention {
  /** @returns null when no batch is old enough */
  async function removeSome(trx: Transaction, before: Date, limit: number): Promise<number | null> {
    const head = await lockHead(trx, secrets)
    if (!head) return null
    let removed_through: number | null = null
    let size = 0
    for (const batch of await findBatchesAfter(trx, null, limit)) {
      size += batch.size
      if (batch.sealed_at >= before || (removed_through !== null && size > limit)) break
      removed_through = batch.number
    }
    if (removed_through === null) return null
    const rows = await deleteBatchesThrough(trx, removed_through)
    const detail = `${rows} rows, up to batch ${removed_through}`
    if (rows > 0)
      await audit.record(trx, { event: 'audit_retention', outcome: 'success', actor: 'retention', detail, context: COMMAND_LINE })
    await appendBatch(trx, secrets, head, { size: 0, root: rootOf([]), is_adopted: head.is_adopted, removed_through })
    return rows
  }

  return async (on, limit) => {
    if (retentionDays === 0) return 0
    const before = new Date((await databaseNow(on)).getTime() - retentionDays * DAY_MS)
    for (let total = 0; ; ) {
      const rows = await inTransaction(on, (trx) => removeSome(trx, before, limit))
      if (rows === null) return total
      total += rows
    }
  }
}
