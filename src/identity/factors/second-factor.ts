/** The factors of a user: a code of an authenticator app, a backup code, or a passkey. A code is checked and used up here. */
import { randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import { type Secrets, UnreadableSecret } from '../../platform/vault/secrets.ts'
import { BY_CODE } from '../tokens/amr.ts'
import { BACKUP_CODES, backupCodeMac, isSameMac, newBackupCode, readBackupCode } from './backup-codes.ts'
import {
  type BackupCodeKey,
  deleteTotp,
  findBackupCodeKey,
  findConfirmedFactor,
  findUnusedBackupCodes,
  insertBackupCodeKey,
  replaceBackupCodes,
  type TotpFactor,
  useBackupCode,
  useStep,
} from './factors.repo.ts'
import { findPasskeysOf } from './passkeys.repo.ts'
import { stepOf } from './totp.ts'

/** What the user has shown. `amr` of a passkey: see passkey-ceremonies.ts */
export type Shown = { type: 'totp' } | { type: 'backup'; left: number } | { type: 'passkey'; amr: readonly string[] }

export const amrOf = (shown: Shown): readonly string[] => (shown.type === 'passkey' ? shown.amr : BY_CODE)

export type FactorMethod = 'totp' | 'passkey' | 'backup_code'

export interface SecondFactor {
  /**
   * Call it in the transaction of the change that needs the code, after the lock of the user: the code is used up only with that change.
   * @returns null when the code is wrong, or was used. @throws 503 when the seed cannot be read: a factor is never skipped
   */
  use(trx: Transaction, userId: string, code: string, now: Date): Promise<Shown | null>
  /** What a login may show after its first step. */
  methodsOf(db: Db, userId: string): Promise<FactorMethod[]>
  /** Makes new backup codes. The old codes are no longer valid. */
  renewBackupCodes(trx: Transaction, userId: string): Promise<string[]>
  /** Removes the authenticator app. Backup codes stay valid while the user has a passkey. @returns whether a factor is left */
  removeTotp(trx: Transaction, totp: TotpFactor): Promise<boolean>
  seal(factor: Owned, seed: Buffer): string
  /** @throws 503 as `use` does */
  open(factor: Owned & { secret_sealed: string }): Buffer
}

type Owned = Pick<TotpFactor, 'id' | 'user_id'>

const locationOf = ({ id, user_id }: Owned) => ({ table: 'totp_factors', row: id, column: 'secret_sealed', owner: user_id })
const locationOfKey = ({ id, user_id }: Owned) => ({ table: 'backup_code_keys', row: id, column: 'secret_sealed', owner: user_id })

export const sealFactor = (secrets: Secrets, factor: Owned, seed: Buffer): string => secrets.seal(locationOf(factor), seed)

/** @throws UnreadableSecret */
export const unsealFactor = (secrets: Secrets, factor: Owned & { secret_sealed: string }): Buffer =>
  secrets.open(locationOf(factor), factor.secret_sealed)

export const sealBackupCodeKey = (secrets: Secrets, row: Owned, key: Buffer): string => secrets.seal(locationOfKey(row), key)

/** @throws UnreadableSecret */
export const unsealBackupCodeKey = (secrets: Secrets, row: BackupCodeKey): Buffer => secrets.open(locationOfKey(row), row.secret_sealed)

const KEY_BYTES = 32

/** @param deps.rpId null where passkeys are not enabled */
export function createSecondFactor({ secrets, rpId }: { secrets: Secrets; rpId: string | null }): SecondFactor {
  function readable(open: () => Buffer): Buffer {
    try {
      return open()
    } catch (error) {
      throw error instanceof UnreadableSecret ? unavailable(error) : error
    }
  }

  const open = (factor: Owned & { secret_sealed: string }): Buffer => readable(() => unsealFactor(secrets, factor))

  /** A passkey of another name works no longer. */
  const hasUsablePasskey = async (db: Db | Transaction, userId: string): Promise<boolean> =>
    (await findPasskeysOf(db, userId)).some(({ rp_id }) => rp_id === rpId)

  /** @returns null when the user never had backup codes */
  async function backupKeyOf(trx: Transaction, userId: string): Promise<Buffer | null> {
    const row = await findBackupCodeKey(trx, userId)
    if (row) return readable(() => unsealBackupCodeKey(secrets, row))
    const totp = await findConfirmedFactor(trx, userId)
    return totp ? open(totp) : null
  }

  async function storeBackupKey(trx: Transaction, userId: string, key: Buffer): Promise<Buffer> {
    const row = { id: uuidv7(), user_id: userId }
    await insertBackupCodeKey(trx, { ...row, secret_sealed: sealBackupCodeKey(secrets, row, key) })
    return key
  }

  async function useBackup(trx: Transaction, userId: string, code: string, now: Date): Promise<Shown | null> {
    const key = await backupKeyOf(trx, userId)
    if (!key) return null
    const unused = await findUnusedBackupCodes(trx, userId)
    const mac = backupCodeMac(key, code)
    const match = unused.find(({ code_mac }) => isSameMac(code_mac, mac))
    return match && (await useBackupCode(trx, match.id, now)) ? { type: 'backup', left: unused.length - 1 } : null
  }

  return {
    async use(trx, userId, code, now) {
      if (readBackupCode(code) !== null) return useBackup(trx, userId, code, now)
      const totp = await findConfirmedFactor(trx, userId)
      const step = totp ? stepOf(code, open(totp), now) : null
      return totp && step !== null && (await useStep(trx, totp.id, step)) ? { type: 'totp' } : null
    },
    async methodsOf(db, userId) {
      const [totp, hasUsable] = await Promise.all([findConfirmedFactor(db, userId), hasUsablePasskey(db, userId)])
      return [...(totp ? (['totp'] as const) : []), ...(hasUsable ? (['passkey'] as const) : []), 'backup_code']
    },
    async renewBackupCodes(trx, userId) {
      const key = (await backupKeyOf(trx, userId)) ?? (await storeBackupKey(trx, userId, randomBytes(KEY_BYTES)))
      const codes = Array.from({ length: BACKUP_CODES }, newBackupCode)
      await replaceBackupCodes(
        trx,
        userId,
        codes.map((code) => ({ id: uuidv7(), code_mac: backupCodeMac(key, code) })),
      )
      return codes
    },
    async removeTotp(trx, totp) {
      const userId = totp.user_id
      const isLeft = await hasUsablePasskey(trx, userId)
      if (isLeft && !(await findBackupCodeKey(trx, userId))) await storeBackupKey(trx, userId, open(totp))
      await deleteTotp(trx, userId)
      return isLeft
    },
    seal: (factor, seed) => sealFactor(secrets, factor, seed),
    open,
  }
}
