/** Who is signed in shows again who they are (RFC 9470): the session ends, and a new one takes its place. */

import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, inTransaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Principal } from '../access/principal.ts'
import { authenticationOf, lockCaller, type PasswordCheck } from '../credentials/password-check.ts'
import { notifyOfBackupCode } from '../factors/backup-code-notice.ts'
import { type CodeAttempts, wrongCode } from '../factors/code-attempts.ts'
import type { SecondFactor } from '../factors/second-factor.ts'
import type { SessionOpener } from '../sessions/open-session.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
import { findUserById, type User } from '../users/users.repo.ts'
import { WITH_FACTOR } from './login-mfa.service.ts'

export interface ReauthenticationDeps {
  db: Db
  audit: Audit
  outbox: Outbox
  passwordCheck: PasswordCheck
  factor: SecondFactor
  codeAttempts: CodeAttempts
  sessionRevoker: SessionRevoker
  sessionOpener: SessionOpener
  revocations: Revocations
  metrics: Metrics
}

export function createReauthentication(deps: ReauthenticationDeps) {
  const { db, audit, outbox, passwordCheck, factor, codeAttempts, sessionRevoker, sessionOpener, revocations, metrics } = deps

  async function reauthenticate(principal: Principal, input: { password: string; code?: string }, context: RequestContext) {
    const checked = await passwordCheck(principal, input.password, context)
    if (checked.mfa_enabled && input.code === undefined)
      throw problem('validation_failed', { errors: [{ field: 'code', detail: 'is needed: a second factor is set up' }] })
    const guess = { user: checked, known: { kind: 'session' as const, id: principal.sessionId }, event: 'reauthenticate', context }
    const { opened, revocation } = checked.mfa_enabled
      ? await codeAttempts.count(guess, () => replaceSession(principal, checked, input.code!, context))
      : await replaceSession(principal, checked, null, context)
    await revocations.announce(revocation)
    return sessionOpener.answer(opened)
  }

  const replaceSession = (principal: Principal, checked: User, code: string | null, context: AuditContext) =>
    inTransaction(db, async (trx) => {
      const user = await lockCaller(trx, principal, checked.password_hash)
      const now = await databaseNow(trx)
      const shown = code === null ? null : await factor.use(trx, user.id, code, now)
      // a factor may have been set up while the password was checked
      if (user.mfa_enabled && !shown) throw wrongCode()
      await notifyOfBackupCode(trx, outbox, { user, shown, now, context })
      const { deviceId } = await authenticationOf(trx, principal)
      const revocation = await sessionRevoker.endSession(trx, user.id, principal.sessionId, 'reauthenticate')
      const current = (await findUserById(trx, user.id))!
      const opened = await sessionOpener.open(trx, current, { amr: shown ? WITH_FACTOR : ['pwd'], deviceId }, context)
      await audit.record(trx, { event: 'reauthenticate', outcome: 'success', userId: user.id, sessionId: opened.session.id, context })
      return { shown: shown!, opened, revocation }
    })

  return countOutcome((outcome) => metrics.accountEvents.inc({ event: 'reauthenticate', outcome }), reauthenticate)
}
