/**
 * Erases an account with all personal data: sessions, factors, devices, keys, links and waiting mails. The audit log keeps the events of
 * the account, under an id that no longer identifies a person.
 */
import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { AccountTransaction } from '../sessions/account-transaction.ts'
import { holdUsername } from '../users/held-usernames.repo.ts'
import type { KeepAdmin } from '../users/last-admin.ts'
import type { User } from '../users/users.repo.ts'
import { deleteAccount } from './account-erasure.repo.ts'
import { deletePendingOf } from './pending-registrations.repo.ts'

export interface AccountErasureDeps {
  audit: Audit
  keepAdmin: KeepAdmin
  tokens: Pick<Config['tokens'], 'accessTtlSeconds'>
}

/** @param user locked by this transaction. @throws last_admin */
export type EraseAccount = (tx: AccountTransaction, user: User) => Promise<void>

export function createAccountErasure({ audit, keepAdmin, tokens }: AccountErasureDeps): EraseAccount {
  return async ({ trx, revoke }, user) => {
    await keepAdmin(trx, user, null)
    // the revocation outlives the rows: tokens and cached keys are refused until they would have expired
    await revoke.allSessions(user.id, 'deleted')
    await audit.erase(trx, user.id)
    await deletePendingOf(trx, user.email_canonical)
    await deleteAccount(trx, user)
    await holdUsername(trx, user, tokens.accessTtlSeconds)
  }
}

/** For the audit row of a deletion. The request can be found by its id; the address and the device are left out. */
export const namelessContext = ({ requestId }: AuditContext): AuditContext => ({ ip: null, userAgent: null, requestId })
