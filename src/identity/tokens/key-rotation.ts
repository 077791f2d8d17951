/**
 * Rotates the signing keys in the database: `next → current → retired`. A new key is published before it signs, so that verifiers can fetch
 * every kid in time. An old key verifies until the last token that it signed has expired.
 */
import { randomBytes } from 'node:crypto'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, inTransaction, type Transaction } from '../../platform/db/database.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { generateKey } from './key-material.ts'
import type { KeySealing } from './key-sealing.ts'
import { deleteKeysRetiredBefore, deleteNextKey, findKeys, insertKey, type KeyRow, lockKeys, promoteNext } from './keyring.repo.ts'

export interface RotateOptions {
  now?: boolean
  alongside?: (trx: Transaction, kid: string) => Promise<void>
}

export interface KeyRotation {
  /** Checks the secret key, and generates missing keys. @throws WrongSecretKey */
  prepare(): Promise<void>
  /** @returns whether any of the keys that were read has changed its state */
  promoteWhenDue(rows: KeyRow[]): Promise<boolean>
  /** @returns the kid of the new key */
  rotate(options: RotateOptions): Promise<string>
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
      if (!rows.some((r) => r.state === 'current')) await insertNew(trx, 'current', await databaseNow(trx))
      else await adoptAlgorithm(trx, rows)
    })

  /** When the configured algorithm has changed, publishes a key for it. This key waits like every new key. */
  async function adoptAlgorithm(trx: Transaction, rows: KeyRow[]): Promise<void> {
    const [currentRow, nextRow] = (['current', 'next'] as const).map((state) => rows.find((r) => r.state === state))
    if (currentRow?.algorithm === tokens.algorithm || nextRow?.algorithm === tokens.algorithm) return
    if (nextRow) await deleteNextKey(trx)
    await insertNew(trx, 'next', await activation(trx))
  }

  /** @returns a time by which every gateway has polled twice and every cached JWKS has expired */
  async function activation(trx: Transaction): Promise<Date> {
    const waitMs = (2 * tokens.keyPollSeconds + tokens.jwksMaxAgeSeconds) * 1000
    return new Date((await databaseNow(trx)).getTime() + waitMs)
  }

  async function insertNew(trx: Transaction, state: 'current' | 'next', activatesAt: Date): Promise<string> {
    const kid = randomBytes(9).toString('base64url')
    const { algorithm } = tokens
    const { privateBytes, publicJwk } = await generateKey(algorithm, kid)
    const row = { kid, algorithm, state, public_jwk: JSON.stringify(publicJwk), activates_at: activatesAt }
    await insertKey(trx, { ...row, ...sealing.seal(row, privateBytes) })
    return kid
  }

  /** Every token of a key that retired before this time has expired. A slow gateway may sign with the old key for two more polls. */
  const lastUse = (at: Date) => new Date(at.getTime() - (tokens.accessTtlSeconds + 2 * tokens.keyPollSeconds + 60) * 1000)

  async function promoteWhenDue(rows: KeyRow[]): Promise<boolean> {
    const isOld = (r: KeyRow, at: Date) => r.state === 'retired' && r.retired_at! < lastUse(at)
    const reading = await databaseNow(db)
    const isDue = rows.some((r) => (r.state === 'next' && r.activates_at <= reading) || isOld(r, reading))
    if (!isDue) return false
    return inTransaction(db, async (trx) => {
      await lockKeys(trx)
      const at = await databaseNow(trx)
      const next = (await findKeys(trx)).find((r) => r.state === 'next')
      if (next && next.activates_at <= at) {
        await promoteNext(trx, at)
        logger.info({ kid: next.kid, algorithm: next.algorithm }, 'a new signing key is in use')
      }
      await deleteKeysRetiredBefore(trx, lastUse(at))
      return true
    })
  }

  const rotate = ({ now: atOnce = false, alongside }: RotateOptions) =>
    inTransaction(db, async (trx) => {
      await lockKeys(trx)
      await deleteNextKey(trx)
      const kid = await insertNew(trx, 'next', atOnce ? await databaseNow(trx) : await activation(trx))
      if (atOnce) await promoteNext(trx, await databaseNow(trx))
      await alongside?.(trx, kid)
      return kid
    })

  return { prepare, promoteWhenDue, rotate }
}
