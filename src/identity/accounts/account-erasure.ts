/**
 * An account goes, and with it all that is known of the person: sessions, factors, devices, keys, links, mails that wait. What
 * happened to it stays in the audit log, under an id that leads to nobody any more.
 */
import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import type { Transaction } from '../../platform/db/database.ts'
import type { Revocation } from '../sessions/revocations.repo.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
import type { KeepAdmin } from '../users/last-admin.ts'
import type { User } from '../users/users.repo.ts'
import { deleteAccount } from './account-erasure.repo.ts'
import { deletePendingOf } from './pending-registrations.repo.ts'

export interface AccountErasureDeps {
  audit: Audit
  sessionRevoker: SessionRevoker
  keepAdmin: KeepAdmin
}

/** Part of a transaction that holds the user's lock. Announce what it returns after the commit. @throws last_admin */
export type EraseAccount = (trx: Transaction, user: User) => Promise<Revocation>

export function createAccountErasure({ audit, sessionRevoker, keepAdmin }: AccountErasureDeps): EraseAccount {
  return async (trx, user) => {
    await keepAdmin(trx, user, null)
    // the revocation outlives the rows: tokens and cached keys are refused until they would have expired
    const revocation = await sessionRevoker.endAllSessions(trx, user.id, 'deleted')
    await audit.erase(trx, user.id)
    await deletePendingOf(trx, user.email_canonical)
    await deleteAccount(trx, user)
    return revocation
  }
}

/** Of the row that tells of a deletion: what led to it stays findable, who it came from does not. */
export const namelessContext = ({ requestId }: AuditContext): AuditContext => ({ ip: null, userAgent: null, requestId })
