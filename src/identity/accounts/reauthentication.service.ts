/**
 * A signed-in user authenticates again (RFC 9470). The session of a caller by token ends, and a new session replaces it. A session by cookie
 * stays, with a new cookie.
 */

import type { AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { invalidField, problem } from '../../platform/lib/errors.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import { moveApiKeys } from '../api-keys/api-keys.repo.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { PasswordCheck } from '../credentials/password-check.ts'
import { notifyOfBackupCode } from '../factors/backup-code-notice.ts'
import { type CodeAttempts, wrongCode } from '../factors/code-attempts.ts'
import { passkeyRefused } from '../factors/passkey-ceremonies.ts'
import { type PasskeyCheck, recordRefusal, type SignedAnswer } from '../factors/passkey-check.ts'
import { amrOf, type SecondFactor, type Shown } from '../factors/second-factor.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { type CookieWish, type SessionChoice, wishOf } from '../sessions/cookie-values.ts'
import { authenticationOf, cookieOf } from '../sessions/lock-caller.ts'
import type { Opened, SessionOpener } from '../sessions/open-session.ts'
import { BY_PASSWORD, firstStepsOf, withFactor } from '../tokens/amr.ts'
import { findUserById, hasPassword, type User } from '../users/users.repo.ts'

export interface ReauthenticationDeps {
  db: Db
  accounts: Accounts
  outbox: Outbox
  passwordCheck: PasswordCheck
  factor: SecondFactor
  codeAttempts: CodeAttempts
  passkeyCheck: PasskeyCheck
  limits: Pick<CredentialLimits, 'passkey'>
  sessionOpener: SessionOpener
}

type Use = (trx: Transaction, now: Date) => Promise<Shown | null>

export interface ReauthenticationInput extends SessionChoice {
  /** May be left out by a user who has a second factor and no password. */
  password?: string
  code?: string
  /** In place of the password and the code. */
  passkey?: SignedAnswer
}

export function createReauthentication(deps: ReauthenticationDeps) {
  const { db, accounts, outbox, passwordCheck, factor, codeAttempts, passkeyCheck, limits, sessionOpener } = deps

  async function reauthenticate(principal: Principal, input: ReauthenticationInput, context: RequestContext) {
    if (input.passkey !== undefined) return sessionOpener.answer(await byPasskey(principal, input.passkey, input, context))
    const checked =
      input.password === undefined ? await withoutPassword(principal) : await passwordCheck(principal, input.password, context)
    if (checked.mfa_enabled && input.code === undefined)
      throw invalidField('code', 'required', 'is needed, because a second factor is set up')
    const attempt = { user: checked, known: { kind: 'session' as const, id: principal.sessionId }, event: 'reauthenticate', context }
    const { opened } = checked.mfa_enabled
      ? await codeAttempts.count(attempt, () =>
          raise(principal, checked, { ...input, use: (trx, now) => factor.use(trx, checked.id, input.code!, now) }, context),
        )
      : await raise(principal, checked, { session: input.session, remember: input.remember, use: null }, context)
    return sessionOpener.answer(opened)
  }

  const byPasskey = (principal: Principal, answer: SignedAnswer, { session, remember }: SessionChoice, context: RequestContext) =>
    limits.passkey(context.client, () =>
      recordRefusal(accounts, 'reauthenticate', principal.id, context, async () => {
        const { id, sessionId } = principal
        const found = await passkeyCheck.find(answer)
        if (found.user.id !== id) throw passkeyRefused('the passkey is of another user')
        const checked = await passkeyCheck.check({ for: 'reauthenticate', sessionId }, answer, found)
        const use: Use = (trx, now) => passkeyCheck.use(trx, checked, now)
        return (await raise(principal, checked.user, { session, remember, use }, context)).opened
      }),
    )

  /** @throws validation_failed when the user has a password, or no factor to show instead */
  async function withoutPassword({ id }: Principal): Promise<User> {
    const user = await findUserById(db, id)
    if (!user) throw problem('token_revoked', { cause: 'the user was deleted' })
    if (hasPassword(user)) throw invalidField('password', 'required', 'is missing')
    if (!user.mfa_enabled)
      throw invalidField('password', 'required', 'is not set: confirm with a linked login, or set a password with a mailed link')
    return user
  }

  const raise = (principal: Principal, checked: User, { use, ...choice }: SessionChoice & { use: Use | null }, context: AuditContext) =>
    accounts.transaction('reauthenticate', context, async (tx) => {
      const { trx } = tx
      const user = await tx.lockCaller(principal, checked.password_hash)
      const now = await databaseNow(trx)
      const shown = use && (await use(trx, now))
      // a factor may have been set up while the password was checked
      if (user.mfa_enabled && !shown) throw wrongCode()
      await notifyOfBackupCode(trx, outbox, { user, shown, now, context })
      const held = await cookieOf(trx, principal)
      const first = shown?.type === 'passkey' ? [] : hasPassword(user) ? BY_PASSWORD : await firstStepsBefore(trx, principal)
      const amr = shown ? withFactor(first, amrOf(shown)) : [...first]
      const opened = held
        ? await sessionOpener.raise(tx, user, held.session, {
            ...held.cookie,
            is_persistent: choice.remember ?? held.cookie.is_persistent,
            amr,
            auth_time: now,
          })
        : await replaceSession(tx, principal, { amr, wish: wishOf(choice) }, context)
      await tx.record({ userId: user.id, sessionId: opened.session.id })
      return { shown: shown!, opened }
    })

  /** A user without a password shows a code alone. */
  const firstStepsBefore = async (trx: Transaction, principal: Principal) => firstStepsOf((await authenticationOf(trx, principal)).amr)

  async function replaceSession(
    tx: AccountTransaction,
    principal: Principal,
    how: { amr: string[]; wish: CookieWish | null },
    context: AuditContext,
  ): Promise<Opened> {
    const { trx } = tx
    const { deviceId } = await authenticationOf(trx, principal)
    await tx.revoke.session(principal.id, principal.sessionId, 'reauthenticate')
    const current = (await findUserById(trx, principal.id))!
    const opened = await sessionOpener.open(tx, current, { ...how, deviceId }, context)
    await moveApiKeys(trx, principal.id, principal.sessionId, opened.session.id)
    return opened
  }

  return accounts.counted('reauthenticate', reauthenticate)
}
