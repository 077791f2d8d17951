/** Somebody deletes the own account: shows the password again, unless that was just done, and is forgotten. */
import type { Audit, RequestOrigin } from '../audit/audit.ts'
import type { Clock } from '../clock.ts'
import { type Db, inTransaction } from '../db/database.ts'
import { problem } from '../errors.ts'
import type { Principal } from '../gateway/principal.ts'
import type { ClientOrigin } from '../http/networks.ts'
import type { Metrics } from '../metrics.ts'
import type { Revocations } from '../sessions/revocations.ts'
import { type EraseAccount, namelessOrigin } from './account-erasure.ts'
import { isFresh } from './freshness.ts'
import { telling } from './outcome.ts'
import { lockCaller, type PasswordCheck } from './password-check.ts'
import { field } from './password-policy.ts'

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
    client: ClientOrigin,
    origin: RequestOrigin,
  ): Promise<void> {
    // who authenticated just now is not asked again
    if (current_password === undefined && !isFresh(principal, clock.now()))
      throw problem('validation_failed', { errors: field('current_password', 'is needed, unless you logged in within 5 minutes') })
    const checked = current_password === undefined ? undefined : await passwordCheck(principal, current_password, client, origin)
    const revocation = await inTransaction(db, async (trx) => {
      const user = await lockCaller(trx, principal, checked?.password_hash)
      const ended = await eraseAccount(trx, user)
      await audit.record(trx, { event: 'user_delete', outcome: 'success', userId: user.id, origin: namelessOrigin(origin) })
      return ended
    })
    await revocations.announce(revocation)
  }

  return telling((outcome) => metrics.accountEvents.inc({ event: 'user_delete', outcome }), deleteOwn)
}
