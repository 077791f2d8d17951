/** Finds the passkey that has signed, checks its answer, and uses the answer up under the lock of its user. */
import type { AuthenticationResponseJSON } from '@simplewebauthn/server'
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { Problem } from '../../platform/lib/errors.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { findUserById, type User } from '../users/users.repo.ts'
import { type Ceremonies, type PasskeyAnswer, type Purpose, passkeyRefused, type Signed } from './passkey-ceremonies.ts'
import { findPasskeyByCredential, type Passkey, updatePasskey } from './passkeys.repo.ts'
import type { Shown } from './second-factor.ts'

export type SignedAnswer = PasskeyAnswer<AuthenticationResponseJSON>

export interface FoundPasskey {
  passkey: Passkey
  /** Its owner before the lock. */
  user: User
}

export interface CheckedPasskey extends FoundPasskey {
  signed: Signed
}

export interface PasskeyCheck {
  /** Finds the passkey that an answer names. Nothing of the answer is proven. @throws passkey_refused */
  find(answer: SignedAnswer): Promise<FoundPasskey>
  /** @throws passkey_refused */
  check(purpose: Purpose, answer: SignedAnswer, found: FoundPasskey): Promise<CheckedPasskey>
  /**
   * Call it in the transaction of the change that needs the passkey, after the lock of the user.
   * @throws passkey_refused when the passkey was removed, when the challenge was used, and when the count of signatures falls: the key may
   * have been copied
   */
  use(trx: Transaction, checked: CheckedPasskey, now: Date): Promise<Shown & { type: 'passkey' }>
}

/** Where passkeys are not enabled, none is accepted. */
export const NO_PASSKEYS: PasskeyCheck = {
  find: async () => {
    throw passkeyRefused('passkeys are not enabled')
  },
  check: async () => {
    throw passkeyRefused('passkeys are not enabled')
  },
  use: async () => {
    throw passkeyRefused('passkeys are not enabled')
  },
}

/** Writes the audit row of a refusal: a key that was copied is seen there. */
export async function recordRefusal<T>(
  accounts: Pick<Accounts, 'record'>,
  event: string,
  userId: string,
  context: AuditContext,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof Problem && error.code === 'passkey_refused')
      await accounts.record(event, { outcome: error.code, userId, detail: String(error.cause) }, context)
    throw error
  }
}

export function createPasskeyCheck({ db, ceremonies }: { db: Db; ceremonies: Ceremonies }): PasskeyCheck {
  return {
    async find(answer) {
      const passkey = await findPasskeyByCredential(db, Buffer.from(answer.credential.id, 'base64url'))
      const user = passkey && (await findUserById(db, passkey.user_id))
      if (!user) throw passkeyRefused('the passkey is unknown')
      return { passkey, user }
    },

    async check(purpose, answer, { passkey, user }) {
      if (purpose.for === 'factor' && purpose.userId !== user.id) throw passkeyRefused('the passkey is of another user')
      return { passkey, user, signed: await ceremonies.finishRequest(purpose, answer, passkey, user.passkey_handle) }
    },

    async use(trx, { passkey, signed }, now) {
      const current = await findPasskeyByCredential(trx, passkey.credential_id)
      if (current?.id !== passkey.id) throw passkeyRefused('the passkey was removed')
      const before = Number(current.sign_count)
      if ((before > 0 || signed.signCount > 0) && signed.signCount <= before)
        throw passkeyRefused(`the count of signatures has fallen from ${before} to ${signed.signCount}`)
      await ceremonies.useUp(trx, signed)
      await updatePasskey(trx, passkey.id, { sign_count: String(signed.signCount), is_backed_up: signed.isBackedUp, last_used_at: now })
      return { type: 'passkey', amr: signed.amr }
    },
  }
}
