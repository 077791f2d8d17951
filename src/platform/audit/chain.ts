/**
 * The chain of sealed batches. Each batch holds the head of the previous batch, and a MAC. A batch is appended only after a batch with a valid
 * MAC. The newest MAC therefore vouches for all batches, also for batches under old secret keys.
 */
import { databaseNow, type Transaction } from '../db/database.ts'
import type { Secrets } from '../vault/secrets.ts'
import { type Batch, findHead, insertBatch, lockChain } from './batches.repo.ts'
import { sha256 } from './row.ts'

const BATCH_MAC = 'audit batch'

/** The newest batch is not ours: nothing may be appended to it. */
export class BrokenChain extends Error {}

/** `<number>:<hash>`: with it, verification finds changed and removed rows up to this batch. */
export const headText = ({ number, head }: Pick<Batch, 'number' | 'head'>): string => `${number}:${head}`

export function readHead(text: string): { number: number; head: string } | null {
  const [, number, head] = /^([1-9]\d{0,8}):([0-9a-f]{64})$/.exec(text) ?? []
  return head ? { number: Number(number), head } : null
}

type Contents = Omit<Batch, 'head' | 'mac'>

export const headOf = ({ number, previous, sealed_at, size, root, is_adopted, removed_through }: Contents): string =>
  sha256(JSON.stringify([number, previous, sealed_at.toISOString(), size, root, is_adopted, removed_through]))

export const isVouchedFor = (secrets: Secrets, { head, mac }: Batch): boolean => secrets.verifyMac(BATCH_MAC, head, mac)

/** Locks the chain until the transaction ends; logins never wait for this lock. @throws BrokenChain */
export async function lockHead(trx: Transaction, secrets: Secrets): Promise<Batch | null> {
  await lockChain(trx)
  const head = (await findHead(trx)) ?? null
  if (!head) return null
  const isWhole = head.head === headOf(head)
  if (isWhole && !secrets.knows(head.mac))
    throw new BrokenChain(
      `batch ${head.number} of the audit log was sealed under another secret key: set that key as PORTCULLIS_SECRET_KEY_PREVIOUS`,
    )
  if (!isWhole || !isVouchedFor(secrets, head))
    throw new BrokenChain(`batch ${head.number} of the audit log was changed: see portcullis audit verify`)
  return head
}

export type Sealing = Pick<Batch, 'size' | 'root' | 'is_adopted'> & { removed_through?: number }

/** @param head the result of `lockHead` in this transaction */
export async function appendBatch(trx: Transaction, secrets: Secrets, head: Batch | null, sealing: Sealing): Promise<Batch> {
  const contents: Contents = {
    number: (head?.number ?? 0) + 1,
    previous: head?.head ?? null,
    sealed_at: await databaseNow(trx),
    removed_through: head?.removed_through ?? 0,
    ...sealing,
  }
  const hash = headOf(contents)
  const batch = { ...contents, head: hash, mac: secrets.mac(BATCH_MAC, hash) }
  await insertBatch(trx, batch)
  return batch
}
