/** Somebody deletes the own account: shows the password again, unless that was just done, and is forgotten. */

import type { Audit } from '../../platform/audit/audit.ts'
import { type Db, inTransaction } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Principal } from '../access/principal.ts'
import { isFresh } from '../credentials/freshness.ts'
import { lockCaller, type PasswordCheck } from '../credentials/password-check.ts'
import { field } from '../credentials/password-policy.ts'
import type { Revocations } from '../sessions/revocations.ts'
import { type EraseAccount, namelessContext } from './account-erasure.ts'

export interface AccountDeletionDeps {
  db: Db
  audit: Audit
  clock: Clock
  passwordCheck: PasswordCheck
  eraseAccount: EraseAccount
  revocations: Revocations
  metrics: Metrics
}

export function createAccountDeletion({ db, audit, clock, passwordCheck, eraseAccount, revocations, metrics }: AccountDeletionDeps) {
  async function deleteOwn(
    principal: Principal,
    { current_password }: { current_password?: string },
    context: RequestContext,
  ): Promise<void> {
    // who authenticated just now is not asked again
    if (current_password === undefined && !isFresh(principal, clock.now()))
      throw problem('validation_failed', { errors: field('current_password', 'is needed, unless you logged in within 5 minutes') })
    const checked = current_password === undefined ? undefined : await passwordCheck(principal, current_password, context)
    const revocation = await inTransaction(db, async (trx) => {
      const user = await lockCaller(trx, principal, checked?.password_hash)
      const ended = await eraseAccount(trx, user)
      await audit.record(trx, { event: 'user_delete', outcome: 'success', userId: user.id, context: namelessContext(context) })
      return ended
    })
    await revocations.announce(revocation)
  }

  return countOutcome((outcome) => metrics.accountEvents.inc({ event: 'user_delete', outcome }), deleteOwn)
}
