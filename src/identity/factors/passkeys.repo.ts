import type { Selectable } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { PasskeyTable } from '../../platform/db/tables.ts'

export type Passkey = Selectable<PasskeyTable>

/** More make lists and requests long, and no user has so many devices. */
export const MAX_PASSKEYS = 20

export const insertPasskey = (trx: Transaction, passkey: Passkey) => trx.insertInto('passkeys').values(passkey).execute()

/** The oldest comes first. */
export const findPasskeysOf = (db: Db | Transaction, userId: string): Promise<Passkey[]> =>
  db.selectFrom('passkeys').selectAll().where('user_id', '=', userId).orderBy('id').execute()

export const findPasskeyByCredential = (db: Db | Transaction, credentialId: Buffer): Promise<Passkey | undefined> =>
  db.selectFrom('passkeys').selectAll().where('credential_id', '=', credentialId).executeTakeFirst()

/** Call it after the lock of the user. */
export const updatePasskey = (
  trx: Transaction,
  id: string,
  change: Partial<Pick<Passkey, 'name' | 'sign_count' | 'is_backed_up' | 'last_used_at'>>,
) => trx.updateTable('passkeys').set(change).where('id', '=', id).execute()

export const deletePasskey = (trx: Transaction, id: string) => trx.deleteFrom('passkeys').where('id', '=', id).execute()

export async function deletePasskeysOf(trx: Transaction, userId: string): Promise<number> {
  return (await trx.deleteFrom('passkeys').where('user_id', '=', userId).returning('id').execute()).length
}

/** The random id of a user for authenticators. It is made at the first call, and never changes. */
export async function passkeyHandleOf(trx: Transaction, userId: string, fresh: Buffer): Promise<Buffer> {
  const { passkey_handle } = await trx
    .updateTable('users')
    .set((e) => ({ passkey_handle: e.fn.coalesce('passkey_handle', e.val(fresh)) }))
    .where('id', '=', userId)
    .returning('passkey_handle')
    .executeTakeFirstOrThrow()
  return passkey_handle!
}
