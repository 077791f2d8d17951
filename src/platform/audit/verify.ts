/**
 * Verifies that the audit log is what the gateways wrote: every batch, every row and the personal data beside the rows. It reads one snapshot,
 * page by page. It trusts only data that the newest MAC vouches for.
 */
import { type Db, inSnapshot, type Transaction } from '../db/database.ts'
import type { Secrets } from '../vault/secrets.ts'
import {
  type Batch,
  findBatchesAfter,
  findErasures,
  findHead,
  findSealedRowsAfter,
  findUnsealedRowsAfter,
  type StoredRow,
} from './batches.repo.ts'
import { headOf, headText, isVouchedFor } from './chain.ts'
import { createMerkleTree } from './merkle.ts'
import { commitmentOf, judge, leafOf, personOf } from './row.ts'
import { HEAD_LOST } from './sealer.ts'

export type FaultKind =
  | 'changed row'
  | 'missing row'
  | 'inserted row'
  | 'reordered rows'
  | 'changed personal data'
  | 'missing personal data'
  | 'changed batch'
  | 'missing batch'
  | 'inserted batch'
  | 'forged MAC'
  | 'unknown key'
  | 'broken chain'
  | 'cut off end'
  | 'head not found'

export interface Fault {
  kind: FaultKind
  detail: string
}

export interface Verification {
  faults: number
  batches: number
  rows: number
  /** Rows that are not sealed yet. Whether rows are missing among them cannot be verified. */
  unsealed: number
  /** Rows whose personal data was erased with a record of the erasure. */
  erased: number
  /** Batches up to this number were removed by retention. */
  removedThrough: number
  /** Null when nothing was ever sealed. */
  head: string | null
  sealedAt: Date | null
}

export interface VerifyOptions {
  /** An earlier head from the log: everything up to it must still be there. */
  head?: { number: number; head: string } | undefined
  pageSize?: number
  /** Called for each fault as soon as it is found. */
  report(fault: Fault): void
}

export const verifyAudit = (db: Db, secrets: Secrets, options: VerifyOptions): Promise<Verification> =>
  inSnapshot(db, (trx) => verify(trx, secrets, options))

async function verify(trx: Transaction, secrets: Secrets, { head: known, pageSize = 2000, report }: VerifyOptions): Promise<Verification> {
  const newest = (await findHead(trx)) ?? null
  const newestNumber = newest?.number ?? 0
  const result: Verification = {
    faults: 0,
    batches: 0,
    rows: 0,
    unsealed: 0,
    erased: 0,
    removedThrough: newest?.removed_through ?? 0,
    head: newest && headText(newest),
    sealedAt: newest?.sealed_at ?? null,
  }
  const fault = (kind: FaultKind, detail: string) => {
    result.faults++
    report({ kind, detail })
  }

  // rows and batches are read side by side, both in the order of the batches
  const sealed = pages<StoredRow>(async (last) => {
    const page = await findSealedRowsAfter(trx, last && { batch: last.batch!, id: last.id }, pageSize)
    await verifyBeside(page)
    return page
  })
  const advance = async () => (await sealed.next()).value ?? null
  let row = await advance()
  async function countRowsOf(number: number, visit: (row: StoredRow) => void = () => {}): Promise<number> {
    let count = 0
    for (; row?.batch === number; row = await advance()) {
      visit(row)
      count++
    }
    result.rows += count
    return count
  }

  let headAtKnown: string | null = null
  const noteHead = (number: number, head: string | null) => {
    if (number === known?.number) headAtKnown = head
  }

  let before: Pick<Batch, 'number' | 'head'> | null = null
  for await (const batch of pages<Batch>((last) => findBatchesAfter(trx, last?.number ?? null, pageSize))) {
    result.batches++
    verifyLink(batch, before)
    verifyBatch(batch)
    if (!before) noteHead(batch.number - 1, batch.previous)
    noteHead(batch.number, batch.head)
    await verifyStrays(batch.number)
    await verifyRows(batch)
    before = batch
  }
  await verifyStrays(Number.POSITIVE_INFINITY)
  await verifyUnsealed()
  if (known) verifyKnown(known)
  return result

  function verifyLink({ number, previous }: Batch, last: Pick<Batch, 'number' | 'head'> | null): void {
    const expected = (last?.number ?? result.removedThrough) + 1
    if (number > expected) fault('missing batch', number - 1 === expected ? `${expected}` : `${expected} to ${number - 1}`)
    else if (number < expected) fault('inserted batch', `${number}: the first batch kept is ${expected}`)
    else if (last ? previous !== last.head : (previous === null) !== (number === 1))
      fault('broken chain', `batch ${number} does not follow batch ${number - 1}`)
  }

  function verifyBatch(batch: Batch): void {
    if (batch.head !== headOf(batch)) fault('changed batch', `${batch.number}`)
    if (isVouchedFor(secrets, batch)) return
    if (secrets.knows(batch.mac)) fault('forged MAC', `of batch ${batch.number}`)
    // a batch under an earlier secret key is vouched for by the batches after it
    else if (batch.number === newestNumber) fault('unknown key', `the newest batch, ${batch.number}, was sealed under another secret key`)
  }

  async function verifyRows(batch: Batch): Promise<void> {
    const where = `batch ${batch.number}, sealed at ${batch.sealed_at.toISOString()}`
    const tree = createMerkleTree()
    const bad: string[] = []
    let ofOtherKeys = 0
    const count = await countRowsOf(batch.number, (next) => {
      tree.add(leafOf(next))
      const verdict = judge(secrets, next)
      if (verdict === 'unknown key') ofOtherKeys++
      const isBad = verdict === 'forged' || (verdict === 'unsigned') !== batch.is_adopted
      // bounded, because an attacker may have inserted any number of rows
      if (isBad && bad.length < MAX_NAMED) bad.push(next.id)
    })
    for (const id of bad) fault(count > batch.size ? 'inserted row' : 'changed row', `${id} in ${where}`)
    if (count < batch.size) fault('missing row', `${batch.size - count} of ${batch.size} of ${where}`)
    else if (count > batch.size && bad.length === 0) fault('inserted row', `${count - batch.size} too many in ${where}`)
    if (count !== batch.size || bad.length > 0 || tree.root() === batch.root) return
    if (batch.is_adopted) fault('changed row', `in ${where}: which row is unknown, because these rows are from before rows had MACs`)
    else if (ofOtherKeys > 0)
      fault('changed row', `in ${where}: which row is unknown, because ${ofOtherKeys} have a MAC under another secret key`)
    else fault('reordered rows', `the rows in ${where} were sealed in other batches`)
  }

  /** Rows of an earlier batch that does not exist. */
  async function verifyStrays(number: number): Promise<void> {
    while (row && row.batch! < number) {
      const batch = row.batch!
      const count = await countRowsOf(batch)
      if (batch > newestNumber) fault('cut off end', `batch ${batch} is gone, ${count} of its rows are there`)
      else if (batch <= result.removedThrough) fault('inserted row', `${count} in batch ${batch}, which was removed as a whole`)
    }
  }

  async function verifyUnsealed(): Promise<void> {
    const waiting = pages<StoredRow>(async (last) => {
      const page = await findUnsealedRowsAfter(trx, last?.id ?? null, pageSize)
      await verifyBeside(page)
      return page
    })
    for await (const next of waiting) {
      result.unsealed++
      const verdict = judge(secrets, next)
      const isGood = verdict === 'good' || (verdict === 'unsigned' && (newest === null || newest.is_adopted))
      if (!isGood) fault('inserted row', `${next.id}, not sealed yet: no gateway wrote it, or it was changed since`)
    }
  }

  function verifyKnown({ number, head }: { number: number; head: string }): void {
    if (headAtKnown === head) return
    if (number > newestNumber) fault('cut off end', `batch ${number} of that head is gone, the newest batch is ${newestNumber || 'none'}`)
    else if (number < result.removedThrough) fault('head not found', `batch ${number} was removed by retention: use a newer head`)
    else fault('head not found', `batch ${number} has another head`)
  }

  /** Checks the personal data beside these rows, and looks for rows in which a gateway reports a lost head. */
  async function verifyBeside(page: StoredRow[]): Promise<void> {
    const bare: { row: StoredRow; person: string | null }[] = []
    for (const next of page) {
      const { salt, ip, user_agent } = next
      if (next.event === HEAD_LOST.event && next.outcome === HEAD_LOST.outcome)
        fault('cut off end', `at ${next.at.toISOString()} a gateway found head ${next.detail} gone`)
      if (next.personal !== null && salt === null) bare.push({ row: next, person: personOf(next) })
      else if (salt !== null && next.personal !== commitmentOf({ salt, ip, user_agent }))
        fault('changed personal data', `of row ${next.id}`)
    }
    const people = bare.map(({ person }) => person).filter((person) => person !== null && UUID.test(person))
    const erasures = people.length > 0 ? await findErasures(trx, [...new Set(people as string[])]) : []
    const erasedAt = new Map(erasures.map(({ user_id, at }) => [user_id, at]))
    for (const { row: next, person } of bare) {
      const at = erasedAt.get(person)
      if (at && next.at <= at) result.erased++
      else fault('missing personal data', `of row ${next.id}: no erasure of its user is recorded`)
    }
  }
}

const MAX_NAMED = 1000
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** The next page is read while this page is verified. */
async function* pages<R>(find: (last: R | null) => Promise<R[]>): AsyncGenerator<R, undefined> {
  for (let page = await find(null); page.length > 0; ) {
    const next = find(page.at(-1)!)
    // awaited below; until then its failure must not count as unhandled
    next.catch(() => {})
    yield* page
    page = await next
  }
}
