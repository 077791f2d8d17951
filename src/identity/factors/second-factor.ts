/** Checks a code of an authenticator app or a backup code, and uses it up. */
import type { Transaction } from '../../platform/db/database.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import { type Secrets, UnreadableSecret } from '../../platform/vault/secrets.ts'
import { hasPassword, type User } from '../users/users.repo.ts'
import { backupCodeMac, isSameMac, readBackupCode } from './backup-codes.ts'
import { findConfirmedFactor, findUnusedBackupCodes, type TotpFactor, useBackupCode, useStep } from './factors.repo.ts'
import { stepOf } from './totp.ts'

export type Shown = { type: 'totp' } | { type: 'backup'; left: number }

export interface SecondFactor {
  /**
   * Call it in the transaction of the change that needs the code, after the lock of the user: the code is used up only with that change.
   * @returns null when the code is wrong, or was used. @throws 503 when the seed cannot be read: a factor is never skipped
   */
  use(trx: Transaction, userId: string, code: string, now: Date): Promise<Shown | null>
  seal(factor: Owned, seed: Buffer): string
  /** @throws 503 as `use` does */
  open(factor: Owned & { secret_sealed: string }): Buffer
}

/** RFC 8176: a password and a code are several factors. */
export const WITH_FACTOR = ['pwd', 'otp', 'mfa']

/** After a sign-in with a provider. RFC 8176 has no word for it. */
export const FEDERATED = ['fed']
export const PROVIDER_AND_FACTOR = ['fed', 'otp', 'mfa']

/** What a user shows who proves again who they are: a password, or a login of a provider where there is no password. */
export const amrOf = (user: Pick<User, 'password_hash'>, hasFactor: boolean): string[] =>
  hasPassword(user) ? (hasFactor ? WITH_FACTOR : ['pwd']) : hasFactor ? PROVIDER_AND_FACTOR : FEDERATED

type Owned = Pick<TotpFactor, 'id' | 'user_id'>

const locationOf = ({ id, user_id }: Owned) => ({ table: 'totp_factors', row: id, column: 'secret_sealed', owner: user_id })

export const sealFactor = (secrets: Secrets, factor: Owned, seed: Buffer): string => secrets.seal(locationOf(factor), seed)

/** @throws UnreadableSecret */
export const unsealFactor = (secrets: Secrets, factor: Owned & { secret_sealed: string }): Buffer =>
  secrets.open(locationOf(factor), factor.secret_sealed)

export function createSecondFactor({ secrets }: { secrets: Secrets }): SecondFactor {
  function open(factor: Owned & { secret_sealed: string }): Buffer {
    try {
      return unsealFactor(secrets, factor)
    } catch (error) {
      throw error instanceof UnreadableSecret ? unavailable(error) : error
    }
  }

  async function useBackup(trx: Transaction, userId: string, seed: Buffer, code: string, now: Date): Promise<Shown | null> {
    const unused = await findUnusedBackupCodes(trx, userId)
    const mac = backupCodeMac(seed, code)
    const match = unused.find(({ code_mac }) => isSameMac(code_mac, mac))
    return match && (await useBackupCode(trx, match.id, now)) ? { type: 'backup', left: unused.length - 1 } : null
  }

  return {
    async use(trx, userId, code, now) {
      const factor = await findConfirmedFactor(trx, userId)
      if (!factor) return null
      const seed = open(factor)
      if (readBackupCode(code) !== null) return useBackup(trx, userId, seed, code, now)
      const step = stepOf(code, seed, now)
      return step !== null && (await useStep(trx, factor.id, step)) ? { type: 'totp' } : null
    },
    seal: (factor, seed) => sealFactor(secrets, factor, seed),
    open,
  }
}
