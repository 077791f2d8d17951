/** A new password: every session ends, and the caller gets a new one. */

import type { Audit } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, inTransaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Principal } from '../access/principal.ts'
import { authenticationOf, lockCaller, type PasswordCheck } from '../credentials/password-check.ts'
import { field, type PasswordPolicy } from '../credentials/password-policy.ts'
import { normalPassword, type Passwords } from '../credentials/passwords.ts'
import type { SessionOpener } from '../sessions/open-session.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
import { findUserById, updateUser } from '../users/users.repo.ts'

export interface PasswordChangeDeps {
  db: Db
  audit: Audit
  outbox: Outbox
  passwords: Passwords
  policy: PasswordPolicy
  passwordCheck: PasswordCheck
  sessionRevoker: SessionRevoker
  sessionOpener: SessionOpener
  revocations: Revocations
  metrics: Metrics
}

export interface PasswordChangeInput {
  current_password: string
  new_password: string
}

export function createPasswordChange({
  db,
  audit,
  outbox,
  passwords,
  policy,
  passwordCheck,
  sessionRevoker,
  sessionOpener,
  revocations,
  metrics,
}: PasswordChangeDeps) {
  async function change(principal: Principal, input: PasswordChangeInput, context: RequestContext) {
    const checked = await passwordCheck(principal, input.current_password, context)
    const isSame = normalPassword(input.new_password) === normalPassword(input.current_password)
    const fault = isSame ? 'must differ from the current one' : await policy(input.new_password, [checked.username, checked.email])
    if (fault) throw problem('validation_failed', { errors: field('new_password', fault) })
    const password_hash = await passwords.hash(input.new_password)

    const { revocation, ...opened } = await inTransaction(db, async (trx) => {
      const { id: userId } = await lockCaller(trx, principal, checked.password_hash)
      await updateUser(trx, userId, { password_hash, password_must_change: false })
      const ended = await sessionRevoker.endAllSessions(trx, userId, 'password_change')
      const user = (await findUserById(trx, userId))!
      const session = await sessionOpener.open(trx, user, await authenticationOf(trx, principal), context)
      await audit.record(trx, { event: 'password_change', outcome: 'success', userId, sessionId: session.session.id, context })
      await outbox.post(trx, {
        template: 'password_changed',
        data: noticeContextOf(await databaseNow(trx), context),
        to: user.email,
        userId,
      })
      return { revocation: ended, ...session }
    })
    await revocations.announce(revocation)
    return sessionOpener.answer(opened)
  }

  return countOutcome((outcome) => metrics.accountEvents.inc({ event: 'password_change', outcome }), change)
}
