/**
 * Rotates the signing keys in the database: `next → current → retired`. A new key is published before it signs, so that verifiers can fetch
 * every kid in time. An old key verifies until the last token that it signed has expired. A key that leaked is deleted at once.
 */
import { randomBytes } from 'node:crypto'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, inTransaction, type Transaction } from '../../platform/db/database.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { type Algorithm, DEFAULT_ALGORITHM, generateKey } from './key-material.ts'
import type { KeySealing } from './key-sealing.ts'
import { deleteKeys, findKeys, insertKey, type KeyRow, lockKeys, promoteNext, raiseLifetimes } from './keyring.repo.ts'
import { verifiesUntil } from './retired-key.ts'

/** The caller's transaction must also revoke the removed keys, since other gateways hold them in memory. */
export interface KeyChange {
  /** The new key; after a removal, the key that signs now. */
  kid: string
  removed: string[]
}

export interface KeyRotation {
  /** Checks the secret key, and generates missing keys. @throws WrongSecretKey */
  prepare(): Promise<void>
  /** @returns whether any of the keys that were read has changed its state */
  promoteWhenDue(rows: KeyRow[]): Promise<boolean>
  /** Publishes a new key that signs later. */
  rotate(trx: Transaction): Promise<KeyChange>
  /** Removes the key that signs. The published next key signs at once, or else a new key. */
  replaceCurrent(trx: Transaction): Promise<KeyChange>
  /** Removes this key. @returns null when there is no such key */
  remove(trx: Transaction, kid: string): Promise<KeyChange | null>
}

export interface KeyRotationDeps {
  db: Db
  sealing: KeySealing
  tokens: Config['tokens']
  logger: Logger
}

export function createKeyRotation({ db, sealing, tokens, logger }: KeyRotationDeps): KeyRotation {
  const prepare = () =>
    inTransaction(db, async (trx) => {
      await lockKeys(trx)
      await sealing.checkCanary(trx)
      const rows = await findKeys(trx)
      // a retired key that was tampered with is ignored, as on reading. Other keys must be ours, or the start fails
      for (const row of rows) if (row.state !== 'retired' || sealing.isOurs(row)) await sealing.sealAgain(trx, row)
      await raiseLifetimes(trx, tokens.accessTtlSeconds)
      if (!rows.some((r) => r.state === 'current')) await insertNew(trx, 'current', algorithmAfter(undefined), await databaseNow(trx))
      else await adoptAlgorithm(trx, rows)
    })

  /** @param existing the key that the new key follows */
  const algorithmAfter = (existing: KeyRow | undefined): Algorithm =>
    tokens.algorithm === 'auto' ? ((existing?.algorithm as Algorithm | undefined) ?? DEFAULT_ALGORITHM) : tokens.algorithm

  /** When the configured algorithm has changed, publishes a key for it. This key waits like every new key. */
  async function adoptAlgorithm(trx: Transaction, rows: KeyRow[]): Promise<void> {
    const { current, next } = byState(rows)
    const wanted = algorithmAfter(current)
    if (current?.algorithm === wanted || next?.algorithm === wanted) return
    if (next) await deleteKeys(trx, [next.kid])
    await insertNew(trx, 'next', wanted, await activation(trx))
  }

  /** @returns a time by which every gateway has polled twice and every cached JWKS has expired */
  async function activation(trx: Transaction): Promise<Date> {
    const waitMs = (2 * tokens.keyPollSeconds + tokens.jwksMaxAgeSeconds) * 1000
    return new Date((await databaseNow(trx)).getTime() + waitMs)
  }

  async function insertNew(trx: Transaction, state: 'current' | 'next', algorithm: Algorithm, activatesAt: Date): Promise<string> {
    // hex: no kid looks like an option of a command
    const kid = randomBytes(9).toString('hex')
    const { privateBytes, publicJwk } = await generateKey(algorithm, kid)
    const row = { kid, algorithm, state, public_jwk: JSON.stringify(publicJwk), activates_at: activatesAt }
    await insertKey(trx, { ...row, lifetime_seconds: tokens.accessTtlSeconds, ...sealing.seal(row, privateBytes) })
    return kid
  }

  async function promote(trx: Transaction, { kid, algorithm }: KeyRow, at: Date): Promise<void> {
    await promoteNext(trx, at)
    logger.info({ kid, algorithm }, 'a new signing key is in use')
  }

  async function promoteWhenDue(rows: KeyRow[]): Promise<boolean> {
    const isSpent = (row: KeyRow, at: Date) => row.state === 'retired' && verifiesUntil(row, tokens) < at
    const reading = await databaseNow(db)
    const isDue = rows.some((row) => (row.state === 'next' && row.activates_at <= reading) || isSpent(row, reading))
    if (!isDue) return false
    return inTransaction(db, async (trx) => {
      await lockKeys(trx)
      const at = await databaseNow(trx)
      const found = await findKeys(trx)
      const { next } = byState(found)
      if (next && next.activates_at <= at) await promote(trx, next, at)
      await deleteKeys(
        trx,
        found.filter((row) => isSpent(row, at)).map(({ kid }) => kid),
      )
      return true
    })
  }

  async function rotate(trx: Transaction): Promise<KeyChange> {
    await lockKeys(trx)
    const at = await databaseNow(trx)
    const { current, next } = byState(await findKeys(trx))
    // gateways sign with a due key, although its row may not say so yet
    const isSigning = next !== undefined && next.activates_at <= at
    if (isSigning) await promote(trx, next, at)
    const removed = next && !isSigning ? [next.kid] : []
    await deleteKeys(trx, removed)
    const follows = isSigning ? next : current
    return { kid: await insertNew(trx, 'next', algorithmAfter(follows), await activation(trx)), removed }
  }

  async function replaceCurrent(trx: Transaction): Promise<KeyChange> {
    await lockKeys(trx)
    const { current, next } = byState(await findKeys(trx))
    const removed = current ? [current.kid] : []
    await deleteKeys(trx, removed)
    const at = await databaseNow(trx)
    if (!next) return { kid: await insertNew(trx, 'current', algorithmAfter(current), at), removed }
    // verifiers know this key already. It lay beside the key that leaked, so a key that is younger than the leak follows
    await promote(trx, next, at)
    await insertNew(trx, 'next', algorithmAfter(next), await activation(trx))
    return { kid: next.kid, removed }
  }

  async function remove(trx: Transaction, kid: string): Promise<KeyChange | null> {
    await lockKeys(trx)
    const rows = await findKeys(trx)
    const row = rows.find((key) => key.kid === kid)
    if (!row) return null
    if (row.state === 'current') return replaceCurrent(trx)
    await deleteKeys(trx, [kid])
    return { kid: byState(rows).current!.kid, removed: [kid] }
  }

  return { prepare, promoteWhenDue, rotate, replaceCurrent, remove }
}

const byState = (rows: readonly KeyRow[]) => ({
  current: rows.find(({ state }) => state === 'current'),
  next: rows.find(({ state }) => state === 'next'),
})
