import type { Selectable } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { BackupCodeKeyTable, BackupCodeTable, TotpFactorTable } from '../../platform/db/tables.ts'
import { deletePasskeysOf } from './passkeys.repo.ts'

export type TotpFactor = Selectable<TotpFactorTable>
export type BackupCode = Selectable<BackupCodeTable>
export type BackupCodeKey = Selectable<BackupCodeKeyTable>

export const findConfirmedFactor = (db: Db | Transaction, userId: string): Promise<TotpFactor | undefined> =>
  db.selectFrom('totp_factors').selectAll().where('user_id', '=', userId).where('confirmed_at', 'is not', null).executeTakeFirst()

export const findWaitingFactor = (trx: Transaction, userId: string): Promise<TotpFactor | undefined> =>
  trx.selectFrom('totp_factors').selectAll().where('user_id', '=', userId).where('confirmed_at', 'is', null).executeTakeFirst()

/** Replaces a factor that was never confirmed. */
export async function replaceWaitingFactor(trx: Transaction, factor: Pick<TotpFactor, 'id' | 'user_id' | 'secret_sealed' | 'created_at'>) {
  await trx.deleteFrom('totp_factors').where('user_id', '=', factor.user_id).where('confirmed_at', 'is', null).execute()
  await trx
    .insertInto('totp_factors')
    .values({ ...factor, confirmed_at: null })
    .execute()
}

export const insertConfirmedFactor = (
  trx: Transaction,
  factor: Pick<TotpFactor, 'id' | 'user_id' | 'secret_sealed' | 'created_at' | 'confirmed_at'>,
) => trx.insertInto('totp_factors').values(factor).execute()

export const confirmFactor = (trx: Transaction, id: string, at: Date) =>
  trx.updateTable('totp_factors').set({ confirmed_at: at }).where('id', '=', id).execute()

/** @returns false when this step or a later step was used before */
export async function useStep(trx: Transaction, id: string, step: number): Promise<boolean> {
  const used = await trx
    .updateTable('totp_factors')
    .set({ last_step: step })
    .where('id', '=', id)
    .where('last_step', '<', step)
    .returning('id')
    .executeTakeFirst()
  return used !== undefined
}

/** Deletes every factor and backup code of a user, and every passkey. @returns whether the user had a factor */
export async function deleteFactors(trx: Transaction, userId: string): Promise<boolean> {
  await deleteBackupCodes(trx, userId)
  const hadTotp = await deleteTotp(trx, userId)
  return (await deletePasskeysOf(trx, userId)) > 0 || hadTotp
}

/** @returns whether the user had a confirmed authenticator app */
export async function deleteTotp(trx: Transaction, userId: string): Promise<boolean> {
  const deleted = await trx.deleteFrom('totp_factors').where('user_id', '=', userId).returning('confirmed_at').execute()
  return deleted.some(({ confirmed_at }) => confirmed_at !== null)
}

/** With the last factor, backup codes end. */
export async function deleteBackupCodes(trx: Transaction, userId: string): Promise<void> {
  await trx.deleteFrom('backup_codes').where('user_id', '=', userId).execute()
  await trx.deleteFrom('backup_code_keys').where('user_id', '=', userId).execute()
}

export const findBackupCodeKey = (trx: Transaction, userId: string): Promise<BackupCodeKey | undefined> =>
  trx.selectFrom('backup_code_keys').selectAll().where('user_id', '=', userId).executeTakeFirst()

export const insertBackupCodeKey = (trx: Transaction, row: BackupCodeKey) => trx.insertInto('backup_code_keys').values(row).execute()

export const findUnusedBackupCodes = (trx: Transaction, userId: string): Promise<BackupCode[]> =>
  trx.selectFrom('backup_codes').selectAll().where('user_id', '=', userId).where('used_at', 'is', null).execute()

/** @returns false when the code was used meanwhile */
export async function useBackupCode(trx: Transaction, id: string, at: Date): Promise<boolean> {
  const used = await trx
    .updateTable('backup_codes')
    .set({ used_at: at })
    .where('id', '=', id)
    .where('used_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return used !== undefined
}

export async function replaceBackupCodes(trx: Transaction, userId: string, codes: Pick<BackupCode, 'id' | 'code_mac'>[]) {
  await trx.deleteFrom('backup_codes').where('user_id', '=', userId).execute()
  await trx
    .insertInto('backup_codes')
    .values(codes.map((code) => ({ ...code, user_id: userId, used_at: null })))
    .execute()
}

type Sealing = 'totp_factors' | 'backup_code_keys'

/** Secrets that are sealed under another key than `keyId`, in the order of their ids, after the id `after`. */
export const findStaleSecrets = (
  trx: Transaction,
  table: Sealing,
  keyId: string,
  after: string,
  limit: number,
): Promise<Pick<BackupCodeKey, 'id' | 'user_id' | 'secret_sealed'>[]> =>
  trx
    .selectFrom(table)
    .select(['id', 'user_id', 'secret_sealed'])
    .where('secret_sealed', 'not like', `v1.${keyId}.%`)
    .$if(after !== '', (query) => query.where('id', '>', after))
    .orderBy('id')
    .limit(limit)
    .execute()

/** Changes nothing when another process has sealed the secret meanwhile. */
export const updateSeal = (
  trx: Transaction,
  table: Sealing,
  { id, secret_sealed }: Pick<BackupCodeKey, 'id' | 'secret_sealed'>,
  sealed: string,
) => trx.updateTable(table).set({ secret_sealed: sealed }).where('id', '=', id).where('secret_sealed', '=', secret_sealed).execute()
