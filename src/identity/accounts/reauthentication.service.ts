/** A signed-in user authenticates again (RFC 9470). The session ends, and a new session replaces it. */

import type { AuditContext } from '../../platform/audit/audit.ts'
import { databaseNow } from '../../platform/db/database.ts'
import { invalidField } from '../../platform/lib/errors.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import { moveApiKeys } from '../api-keys/api-keys.repo.ts'
import type { PasswordCheck } from '../credentials/password-check.ts'
import { notifyOfBackupCode } from '../factors/backup-code-notice.ts'
import { type CodeAttempts, wrongCode } from '../factors/code-attempts.ts'
import type { SecondFactor } from '../factors/second-factor.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { authenticationOf } from '../sessions/lock-caller.ts'
import type { SessionOpener } from '../sessions/open-session.ts'
import { findUserById, type User } from '../users/users.repo.ts'
import { WITH_FACTOR } from './login-mfa.service.ts'

export interface ReauthenticationDeps {
  accounts: Accounts
  outbox: Outbox
  passwordCheck: PasswordCheck
  factor: SecondFactor
  codeAttempts: CodeAttempts
  sessionOpener: SessionOpener
}

export function createReauthentication({ accounts, outbox, passwordCheck, factor, codeAttempts, sessionOpener }: ReauthenticationDeps) {
  async function reauthenticate(principal: Principal, input: { password: string; code?: string }, context: RequestContext) {
    const checked = await passwordCheck(principal, input.password, context)
    if (checked.mfa_enabled && input.code === undefined)
      throw invalidField('code', 'required', 'is needed, because a second factor is set up')
    const attempt = { user: checked, known: { kind: 'session' as const, id: principal.sessionId }, event: 'reauthenticate', context }
    const { opened } = checked.mfa_enabled
      ? await codeAttempts.count(attempt, () => replaceSession(principal, checked, input.code!, context))
      : await replaceSession(principal, checked, null, context)
    return sessionOpener.answer(opened)
  }

  const replaceSession = (principal: Principal, checked: User, code: string | null, context: AuditContext) =>
    accounts.transaction('reauthenticate', context, async (tx) => {
      const { trx } = tx
      const user = await tx.lockCaller(principal, checked.password_hash)
      const now = await databaseNow(trx)
      const shown = code === null ? null : await factor.use(trx, user.id, code, now)
      // a factor may have been set up while the password was checked
      if (user.mfa_enabled && !shown) throw wrongCode()
      await notifyOfBackupCode(trx, outbox, { user, shown, now, context })
      const { deviceId } = await authenticationOf(trx, principal)
      await tx.revoke.session(user.id, principal.sessionId, 'reauthenticate')
      const current = (await findUserById(trx, user.id))!
      const opened = await sessionOpener.open(tx, current, { amr: shown ? WITH_FACTOR : ['pwd'], deviceId }, context)
      await moveApiKeys(trx, user.id, principal.sessionId, opened.session.id)
      await tx.record({ userId: user.id, sessionId: opened.session.id })
      return { shown: shown!, opened }
    })

  return accounts.counted('reauthenticate', reauthenticate)
}
