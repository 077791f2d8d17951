/**
 * Seals audit rows: rows whose order is final go into a batch, and their tree hash goes into the chain. An empty batch is sealed, too: the head
 * in the log is thus never older than the interval, and a removed end of the audit log contradicts it.
 */
import { type Db, databaseNow, inTransaction, type Transaction } from '../db/database.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Secrets } from '../vault/secrets.ts'
import { type Audit, COMMAND_LINE } from './audit.ts'
import { type Batch, countUnsealed, findBatch, findSettledRows, findUnsignedRows, markSealed, type WaitingRow } from './batches.repo.ts'
import { appendBatch, BrokenChain, headText, lockHead } from './chain.ts'
import { rootOf } from './merkle.ts'
import { judge, leafOf } from './row.ts'

/** A gateway writes this row when a head that it has seen is gone. Verification reports it as a cut off end. */
export const HEAD_LOST = { event: 'audit_seal', outcome: 'audit_head_lost' } as const

export interface SealerDeps {
  db: Db
  secrets: Secrets
  audit: Audit
  sealSeconds: number
  metrics: Metrics
  logger: Logger
  batchSize?: number
}

export interface Sealer {
  /** Seals every settled row now. @returns the new head; null when the chain is broken */
  seal(): Promise<string | null>
  /** The same, unless another gateway has just sealed. */
  sealWhenDue(): Promise<string | null>
}

/** Where a batch starts. */
interface Start {
  after: WaitingRow | null
  /** `after` is a row from before rows had MACs. */
  isAdopting: boolean
}

interface Step {
  head: Batch | null
  isNew: boolean
  /** Rows that are not sealed, because none of our keys verifies their MAC. */
  refused: number
  /** Null: no row is left. */
  next: Start | null
  /** A head that was in the chain at the last step and is gone now. */
  lost: string | null
}

export function createSealer({ db, secrets, audit, sealSeconds, metrics, logger, batchSize = 1000 }: SealerDeps): Sealer {
  let seen: Batch | null = null

  /** Seals at most one batch. */
  async function step(trx: Transaction, start: Start, minAgeMs: number): Promise<Step> {
    const head = await lockHead(trx, secrets)
    const lost = seen && !(await holds(trx, head, seen)) ? headText(seen) : null
    if (lost) await audit.record(trx, { ...HEAD_LOST, detail: lost, context: COMMAND_LINE })
    const idle: Step = { head, isNew: false, refused: 0, next: null, lost }
    if (head && (await databaseNow(trx)).getTime() - head.sealed_at.getTime() < minAgeMs) return idle

    // rows from before rows had MACs are sealed first, without a check; after the first other batch no such row is sealed
    const unsigned = !head || head.is_adopted ? await findUnsignedRows(trx, start.isAdopting ? start.after : null, batchSize) : []
    if (unsigned.length > 0)
      return { ...idle, head: await append(trx, head, unsigned, true), isNew: true, next: { after: unsigned.at(-1)!, isAdopting: true } }

    const after = start.isAdopting ? null : start.after
    const page = await findSettledRows(trx, after, batchSize)
    const good = page.filter((row) => judge(secrets, row) === 'good')
    const rest = { refused: page.length - good.length, next: page.length === batchSize ? { after: page.at(-1)!, isAdopting: false } : null }
    const isNew = good.length > 0 || after === null
    return { ...idle, ...rest, isNew, head: isNew ? await append(trx, head, good, false) : head }
  }

  async function append(trx: Transaction, head: Batch | null, rows: WaitingRow[], is_adopted: boolean): Promise<Batch> {
    const leaves = rows.toSorted((a, b) => (a.id < b.id ? -1 : 1)).map(leafOf)
    const batch = await appendBatch(trx, secrets, head, { size: rows.length, root: rootOf(leaves), is_adopted })
    await markSealed(
      trx,
      batch.number,
      rows.map((row) => row.id),
    )
    return batch
  }

  async function run(minAgeMs: number): Promise<string | null> {
    let refused = 0
    let next: Start | null = { after: null, isAdopting: false }
    for (let isFirst = true; next; isFirst = false) {
      const start: Start = next
      const done: Step = await inTransaction(db, (trx) => step(trx, start, isFirst ? minAgeMs : 0))
      if (done.lost) logger.error({ reason: HEAD_LOST.outcome, head: done.lost }, 'the audit log was cut off: a sealed batch is gone')
      if (done.isNew) logger.info({ head: headText(done.head!), rows: done.head!.size }, 'audit_sealed')
      seen = done.head
      next = done.next
      refused += done.refused
    }
    if (refused > 0)
      logger.error({ reason: 'audit_row_forged', rows: refused }, 'the audit log has rows that no gateway wrote: see audit verify')
    metrics.auditUnsealed.set(await countUnsealed(db))
    if (seen) metrics.auditLastSealed.set(seen.sealed_at.getTime() / 1000)
    return seen && headText(seen)
  }

  const orReport = async (work: Promise<string | null>): Promise<string | null> => {
    try {
      return await work
    } catch (error) {
      if (!(error instanceof BrokenChain)) throw error
      logger.error({ reason: 'audit_chain_broken', cause: error.message }, 'the audit log is not sealed')
      return null
    }
  }

  return {
    seal: () => orReport(run(0)),
    // replicas wake at different times: a gateway seals nothing when another gateway has just sealed
    sealWhenDue: () => orReport(run(sealSeconds * 900)),
  }
}

/** Whether `seen` is still in the chain that ends in `head`, or was removed by retention. */
async function holds(trx: Transaction, head: Batch | null, seen: Batch): Promise<boolean> {
  if (!head || head.number < seen.number) return false
  return seen.number <= head.removed_through || (await findBatch(trx, seen.number))?.head === seen.head
}
