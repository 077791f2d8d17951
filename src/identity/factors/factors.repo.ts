import type { Selectable } from 'kysely'
import type { Transaction } from '../../platform/db/database.ts'
import type { BackupCodeTable, TotpFactorTable } from '../../platform/db/tables.ts'

export type TotpFactor = Selectable<TotpFactorTable>
export type BackupCode = Selectable<BackupCodeTable>

export const findConfirmedFactor = (trx: Transaction, userId: string): Promise<TotpFactor | undefined> =>
  trx.selectFrom('totp_factors').selectAll().where('user_id', '=', userId).where('confirmed_at', 'is not', null).executeTakeFirst()

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

/** Deletes every factor and backup code of a user. @returns whether the user had a confirmed factor */
export async function deleteFactors(trx: Transaction, userId: string): Promise<boolean> {
  await trx.deleteFrom('backup_codes').where('user_id', '=', userId).execute()
  const deleted = await trx.deleteFrom('totp_factors').where('user_id', '=', userId).returning('confirmed_at').execute()
  return deleted.some(({ confirmed_at }) => confirmed_at !== null)
}

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

/** Factors that are sealed under another key than `keyId`, in the order of their ids, after the id `after`. */
export const findStaleFactors = (trx: Transaction, keyId: string, after: string, limit: number): Promise<TotpFactor[]> =>
  trx
    .selectFrom('totp_factors')
    .selectAll()
    .where('secret_sealed', 'not like', `v1.${keyId}.%`)
    .$if(after !== '', (query) => query.where('id', '>', after))
    .orderBy('id')
    .limit(limit)
    .execute()

/** Changes nothing when another process has sealed the factor meanwhile. */
export const updateSeal = (trx: Transaction, { id, secret_sealed }: TotpFactor, sealed: string) =>
  trx.updateTable('totp_factors').set({ secret_sealed: sealed }).where('id', '=', id).where('secret_sealed', '=', secret_sealed).execute()
