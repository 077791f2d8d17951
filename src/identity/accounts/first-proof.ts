/**
 * The first proof of an address by its mailbox alone. Anybody can register with any address, so the person who made the account may be a
 * stranger to the owner of the mailbox.
 */
import { revokeApiKeysOf } from '../api-keys/api-keys.repo.ts'
import { deleteFactors } from '../factors/factors.repo.ts'
import type { AccountTransaction } from '../sessions/account-transaction.ts'
import { updateUser } from '../users/users.repo.ts'
import { deleteDevicesOf } from './devices.repo.ts'
import { deleteLinkedLoginsOf } from './linked-logins.repo.ts'

/**
 * Removes everything that can log in and was added before the proof. Each new kind of credential is removed here too: passkeys.
 * The caller replaces the password and ends the sessions.
 */
export async function removeUnprovenCredentials(tx: AccountTransaction, userId: string, now: Date): Promise<void> {
  const hadFactor = await deleteFactors(tx.trx, userId)
  await updateUser(tx.trx, userId, { mfa_enabled: false })
  if (hadFactor) await tx.record({ event: 'mfa_disable', userId, detail: 'first proof of the address' })
  await endApiKeys(tx, userId, now)
  await deleteDevicesOf(tx.trx, userId)
  await deleteLinkedLoginsOf(tx.trx, userId)
}

/** Revokes all API keys of a user. The caller raises the epochs of the user, so that caches refuse the keys. */
export async function endApiKeys({ trx, record }: AccountTransaction, userId: string, now: Date): Promise<void> {
  for (const { id } of await revokeApiKeysOf(trx, userId, now)) await record({ event: 'api_key_revoke', userId, detail: id })
}
