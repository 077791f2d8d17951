/** Operators list, rotate and revoke the signing keys. A removed key is revoked like a session: every gateway learns it at once. */

import { problem } from '../../platform/lib/errors.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import type { KeyChange } from '../tokens/key-rotation.ts'
import type { Keyring, KeyStatus } from '../tokens/keyring.ts'
import type { Actor, AuditedAction } from './audited-action.ts'
import type { LockForAction } from './lock-for-action.ts'

export interface KeyActionsDeps {
  accounts: Accounts
  audited: AuditedAction
  keyring: Keyring
  lockForAction: LockForAction
}

export function createKeyActions({ accounts, audited, keyring, lockForAction }: KeyActionsDeps) {
  /** @param detail the kid that the audit row names @returns the status of the changed key */
  const change = (
    event: string,
    by: Actor,
    work: (tx: Parameters<Parameters<Accounts['transaction']>[2]>[0]) => Promise<KeyChange>,
    detail?: string,
  ): Promise<KeyStatus> =>
    audited({ event, detail: detail ?? null }, by, async () => {
      const { kid } = await accounts.transaction(event, by.context, async (tx) => {
        await lockForAction(tx.trx, by)
        const changed = await work(tx)
        for (const removed of changed.removed) await tx.revoke.key(removed)
        await tx.record({ actor: by.actor, detail: detail ?? changed.kid })
        return changed
      })
      await keyring.reloadChanges()
      return keyring.status().find((status) => status.kid === kid)!
    })

  return {
    keys: (): Promise<KeyStatus[]> => keyring.list(),

    /** @param options.now the key that signs leaked: it is removed. @returns the new key */
    rotateKey: ({ now }: { now: boolean }, by: Actor): Promise<KeyStatus> =>
      change('key_rotate', by, ({ trx }) => (now ? keyring.replaceCurrent(trx) : keyring.rotate(trx))),

    /** Removes this key, whatever its state. @returns the key that signs now. @throws not_found */
    revokeKey: (kid: string, by: Actor): Promise<KeyStatus> =>
      change(
        'key_revoke',
        by,
        async ({ trx }) => {
          const changed = await keyring.remove(trx, kid)
          if (!changed) throw problem('not_found', { detail: 'There is no signing key with this kid.' })
          return changed
        },
        kid,
      ),
  }
}
