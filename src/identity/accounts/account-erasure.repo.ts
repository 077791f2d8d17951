import type { Transaction } from '../../platform/db/database.ts'
import type { User } from '../users/users.repo.ts'

/** Deletes the user, every row that refers to the user, and the mails to the user. */
export async function deleteAccount(trx: Transaction, { id }: User): Promise<void> {
  // sent mails too: the error of an attempt that failed may name the address
  await trx.deleteFrom('outbox').where('user_id', '=', id).execute()
  await trx.deleteFrom('users').where('id', '=', id).execute()
}
