/**
 * Seals what was written: rows whose order nothing can change any more go into a batch, a tree hash over them into the chain. An empty
 * batch is sealed, too: the head that is told to the log is never older than the interval, so whoever cuts off the end contradicts it.
 */
import { type Db, databaseNow, inTransaction, type Transaction } from '../db/database.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Secrets } from '../vault/secrets.ts'
import { type Audit, COMMAND_LINE } from './audit.ts'
import {
  type Batch,
  countUnsealed,
  findBatch,
  findSettledRows,
  findUnsignedRows,
  markSealed,
  type SealableRow,
  type WaitingRow,
} from './batches.repo.ts'
import { appendBatch, BrokenChain, headText, lockHead } from './chain.ts'
import { rootOf } from './merkle.ts'
import { judge, leafOf } from './row.ts'

/** What verification takes for a cut: written by a gateway that had seen the head. */
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
  /** Everything that is settled, now. @returns the new head; null when the chain is broken */
  seal(): Promise<string | null>
  /** The same, unless another gateway has just done it. */
  sealWhenDue(): Promise<string | null>
}

interface Step {
  head: Batch | null
  isNew: boolean
  /** Rows that are not sealed: no key at hand vouches for them. */
  refused: number
  /** Where the next batch goes on; null: nothing is left. */
  next: { after: WaitingRow | null } | null
  /** A head that was in the chain when it was last looked at, and is gone. */
  lost: string | null
}

export function createSealer({ db, secrets, audit, sealSeconds, metrics, logger, batchSize = 1000 }: SealerDeps): Sealer {
  let seen: Batch | null = null

  /** One transaction, one batch. */
  async function step(trx: Transaction, after: WaitingRow | null, minAgeMs: number): Promise<Step> {
    const head = await lockHead(trx, secrets)
    const lost = seen && !(await holds(trx, head, seen)) ? headText(seen) : null
    if (lost) await audit.record(trx, { ...HEAD_LOST, detail: lost, context: COMMAND_LINE })
    const idle: Step = { head, isNew: false, refused: 0, next: null, lost }
    if (head && (await databaseNow(trx)).getTime() - head.sealed_at.getTime() < minAgeMs) return idle

    // rows from before there were MACs are sealed as they are, before anything else, and never again
    const unsigned = !head || head.is_adopted ? await findUnsignedRows(trx, batchSize) : []
    if (unsigned.length > 0) return { ...idle, head: await append(trx, head, unsigned, true), isNew: true, next: { after: null } }

    const page = await findSettledRows(trx, after, batchSize)
    const good = page.filter((row) => judge(secrets, row) === 'good')
    const rest = { refused: page.length - good.length, next: page.length === batchSize ? { after: page.at(-1)! } : null }
    const isNew = good.length > 0 || after === null
    return { ...idle, ...rest, isNew, head: isNew ? await append(trx, head, good, false) : head }
  }

  async function append(trx: Transaction, head: Batch | null, rows: SealableRow[], is_adopted: boolean): Promise<Batch> {
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
    let next: Step['next'] = { after: null }
    for (let isFirst = true; next; isFirst = false) {
      const { after } = next
      const done: Step = await inTransaction(db, (trx) => step(trx, after, isFirst ? minAgeMs : 0))
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

  const orTell = async (work: Promise<string | null>): Promise<string | null> => {
    try {
      return await work
    } catch (error) {
      if (!(error instanceof BrokenChain)) throw error
      logger.error({ reason: 'audit_chain_broken', cause: error.message }, 'the audit log is not sealed')
      return null
    }
  }

  return {
    seal: () => orTell(run(0)),
    // replicas wake at different times: who comes soon after another has nothing to do
    sealWhenDue: () => orTell(run(sealSeconds * 900)),
  }
}

/** Whether `seen` is still a part of the chain that ends in `head`, or was lawfully removed from it. */
async function holds(trx: Transaction, head: Batch | null, seen: Batch): Promise<boolean> {
  if (!head || head.number < seen.number) return false
  return seen.number <= head.removed_through || (await findBatch(trx, seen.number))?.head === seen.head
}
