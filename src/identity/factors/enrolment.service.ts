/** Sets up a second factor, confirms it by its first code, removes it, and renews its backup codes. */

import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, inTransaction, type Transaction } from '../../platform/db/database.ts'
import { invalidField, problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { cookieOf } from '../sessions/lock-caller.ts'
import type { SessionOpener } from '../sessions/open-session.ts'
import { shrinkCookieAmr } from '../sessions/session-cookies.repo.ts'
import { lockSession, updateAmr } from '../sessions/sessions.repo.ts'
import { BY_CODE, withFactor, withoutFactors } from '../tokens/amr.ts'
import { findUserById, hasPassword, type User, updateUser } from '../users/users.repo.ts'
import { type CodeAttempts, wrongCode } from './code-attempts.ts'
import {
  confirmFactor,
  deleteBackupCodes,
  findConfirmedFactor,
  findUnusedBackupCodes,
  findWaitingFactor,
  replaceWaitingFactor,
  type TotpFactor,
  useStep,
} from './factors.repo.ts'
import { findPasskeysOf } from './passkeys.repo.ts'
import type { SecondFactor, Shown } from './second-factor.ts'
import type { Proof, StepUp } from './step-up.ts'
import { enrolmentOf, newSeed, stepOf } from './totp.ts'

export interface EnrolmentDeps {
  db: Db
  config: Config
  accounts: Accounts
  outbox: Outbox
  stepUp: StepUp
  factor: SecondFactor
  codeAttempts: CodeAttempts
  sessionOpener: SessionOpener
}

/** After this time, the enrolment must begin again. */
const CONFIRM_WITHIN_MS = 15 * 60_000

export function createEnrolment(deps: EnrolmentDeps) {
  const { db, config, accounts, outbox, stepUp, factor, codeAttempts, sessionOpener } = deps
  const issuer = config.auth.mfa.issuer ?? new URL(config.server.publicUrl).hostname

  /** @param proof the password may be left out by a user who has none */
  async function enrol(principal: Principal, proof: Proof, context: RequestContext) {
    const seed = newSeed()
    const change = await stepUp(principal, proof, context)
    if (proof.password === undefined && hasPassword(change.user)) throw invalidField('password', 'required', 'is missing')
    return change.commit('mfa_enrol', async ({ trx, record }, { user, now }) => {
      if (await findConfirmedFactor(trx, user.id)) throw problem('mfa_already_enabled')
      const row = { id: uuidv7(), user_id: user.id, created_at: now }
      await replaceWaitingFactor(trx, { ...row, secret_sealed: factor.seal(row, seed) })
      await record({ userId: user.id, sessionId: principal.sessionId })
      const { secret, otpauthUri, qrSvg } = enrolmentOf(seed, issuer, user.username ?? user.email)
      return { secret, otpauth_uri: otpauthUri, qr_svg: qrSvg }
    })
  }

  /**
   * Finishes what `enrol` began under the step-up rule: only its answer showed the seed. The confirmation counts as use of the factor in its
   * own session. Every other session ends. A session by cookie gets a new cookie.
   */
  async function confirm(principal: Principal, code: string, context: AuditContext) {
    const attempt = {
      user: await ownerOf(principal),
      known: { kind: 'session' as const, id: principal.sessionId },
      event: 'mfa_confirm',
      context,
    }
    const { codes, given } = await codeAttempts.count(attempt, () =>
      accounts.transaction('mfa_confirm', context, async (tx) => {
        const { trx, lockCaller, record, revoke } = tx
        const user = await lockCaller(principal)
        if (await findConfirmedFactor(trx, user.id)) throw problem('mfa_already_enabled')
        const waiting = await findWaitingFactor(trx, user.id)
        const now = await databaseNow(trx)
        if (!waiting || now.getTime() - waiting.created_at.getTime() > CONFIRM_WITHIN_MS)
          throw problem('mfa_not_enabled', { detail: 'Begin with POST {auth}/mfa/totp, and confirm within 15 minutes.' })
        const seed = factor.open(waiting)
        const step = stepOf(code, seed, now)
        // the confirmation uses up its code
        if (step === null || !(await useStep(trx, waiting.id, step))) throw wrongCode()
        await confirmFactor(trx, waiting.id, now)
        await updateUser(trx, user.id, { mfa_enabled: true })
        const amrBefore = (await lockSession(trx, principal.sessionId))!.amr
        await updateAmr(trx, principal.sessionId, withFactor(amrBefore, BY_CODE))
        await revoke.otherSessions(user.id, principal.sessionId, 'factor_enabled')
        const held = await cookieOf(trx, principal)
        // an access token shows the factor after its refresh; a worker must read the user of a cookie again
        if (held) await revoke.outdateTokens(user.id)
        const raised =
          held && (await sessionOpener.raise(tx, user, held.session, { ...held.cookie, amr: withFactor(held.cookie.amr, BY_CODE) }))
        await notify(trx, user, 'factor_enabled', now, context)
        await record({ userId: user.id, sessionId: principal.sessionId })
        return { shown: { type: 'totp' } as Shown, codes: await factor.renewBackupCodes(trx, user.id), given: raised?.given ?? {} }
      }),
    )
    return { backup_codes: codes, ...given }
  }

  async function disable(principal: Principal, proof: Proof, context: RequestContext): Promise<void> {
    const change = await stepUp(principal, proof, context)
    await change.commit('mfa_disable', async ({ trx, record, revoke }, { user, now }) => {
      const isLeft = await factor.removeTotp(trx, await confirmedFactorOf(trx, user.id))
      if (!isLeft) {
        await deleteBackupCodes(trx, user.id)
        await updateUser(trx, user.id, { mfa_enabled: false })
      }
      const { amr } = (await lockSession(trx, principal.sessionId))!
      const withoutCode = (shown: readonly string[]) => withoutFactors(shown, (value) => BY_CODE.includes(value))
      await updateAmr(trx, principal.sessionId, withoutCode(amr))
      await shrinkCookieAmr(trx, principal.sessionId, withoutCode)
      await revoke.otherSessions(user.id, principal.sessionId, 'factor_disabled')
      // issued access tokens say that a factor was shown
      await revoke.outdateTokens(user.id)
      await notify(trx, user, 'factor_disabled', now, context)
      await record({ userId: user.id, sessionId: principal.sessionId })
    })
  }

  async function renewCodes(principal: Principal, proof: Proof, context: RequestContext) {
    const change = await stepUp(principal, proof, context)
    const codes = await change.commit('backup_codes_renew', async ({ trx, record }, { user }) => {
      if (!user.mfa_enabled) throw problem('mfa_not_enabled')
      await record({ userId: user.id, sessionId: principal.sessionId })
      return factor.renewBackupCodes(trx, user.id)
    })
    return { backup_codes: codes }
  }

  const status = (principal: Principal) =>
    inTransaction(db, async (trx) => {
      const confirmed = await findConfirmedFactor(trx, principal.id)
      const passkeys = (await findPasskeysOf(trx, principal.id)).length
      const left = (await findUnusedBackupCodes(trx, principal.id)).length
      return { totp: confirmed !== undefined, passkeys, backup_codes_left: left }
    })

  async function confirmedFactorOf(trx: Transaction, userId: string): Promise<TotpFactor> {
    const confirmed = await findConfirmedFactor(trx, userId)
    if (!confirmed) throw problem('mfa_not_enabled')
    return confirmed
  }

  async function ownerOf({ id }: Principal): Promise<User> {
    const user = await findUserById(db, id)
    if (!user) throw problem('token_revoked', { cause: 'the user was deleted' })
    return user
  }

  const notify = (trx: Transaction, user: User, template: 'factor_enabled' | 'factor_disabled', now: Date, context: AuditContext) =>
    outbox.post(trx, {
      template,
      data: noticeContextOf(now, context),
      to: user.email,
      userId: user.id,
    })

  return {
    status,
    enrol: accounts.counted('mfa_enrol', enrol),
    confirm: accounts.counted('mfa_confirm', confirm),
    disable: accounts.counted('mfa_disable', disable),
    renewCodes: accounts.counted('backup_codes_renew', renewCodes),
  }
}
