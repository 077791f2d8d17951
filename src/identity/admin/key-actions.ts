/** Operators list and rotate the signing keys. */

import type { Audit } from '../../platform/audit/audit.ts'
import type { Keyring, KeyStatus } from '../tokens/keyring.ts'
import type { Actor, AuditedAction } from './audited-action.ts'
import type { LockForAction } from './lock-for-action.ts'

export interface KeyActionsDeps {
  audit: Audit
  audited: AuditedAction
  keyring: Keyring
  lockForAction: LockForAction
}

export function createKeyActions({ audit, audited, keyring, lockForAction }: KeyActionsDeps) {
  return {
    keys: (): Promise<KeyStatus[]> => keyring.list(),

    rotateKey(options: { now: boolean }, by: Actor): Promise<KeyStatus> {
      const event = 'key_rotate'
      return audited({ event }, by, () =>
        keyring.rotate({
          ...options,
          // in the keyring's own transaction, which revokes nothing
          async alongside(trx, kid) {
            await lockForAction(trx, by)
            await audit.record(trx, { event, outcome: 'success', detail: kid, actor: by.actor, context: by.context })
          },
        }),
      )
    },
  }
}
