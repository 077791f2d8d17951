/** A second factor is set up, confirmed by its first code, and taken away; its backup codes are made anew. */

import { uuidv7 } from 'uuidv7'
import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, inTransaction, type Transaction } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Principal } from '../access/principal.ts'
import { isFresh } from '../credentials/freshness.ts'
import { lockCaller, type PasswordCheck } from '../credentials/password-check.ts'
import type { Revocation } from '../sessions/revocations.repo.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
import { updateAmr } from '../sessions/sessions.repo.ts'
import { findUserById, type User, updateUser } from '../users/users.repo.ts'
import { notifyOfBackupCode } from './backup-code-notice.ts'
import { BACKUP_CODES, backupCodeMac, newBackupCode } from './backup-codes.ts'
import { type CodeAttempts, wrongCode } from './code-attempts.ts'
import {
  confirmFactor,
  deleteFactors,
  findConfirmedFactor,
  findUnusedBackupCodes,
  findWaitingFactor,
  replaceBackupCodes,
  replaceWaitingFactor,
  type TotpFactor,
  useStep,
} from './factors.repo.ts'
import type { SecondFactor, Shown } from './second-factor.ts'
import { enrolmentOf, newSeed, stepOf } from './totp.ts'

export interface EnrolmentDeps {
  db: Db
  clock: Clock
  config: Config
  audit: Audit
  outbox: Outbox
  passwordCheck: PasswordCheck
  factor: SecondFactor
  codeAttempts: CodeAttempts
  sessionRevoker: SessionRevoker
  revocations: Revocations
  metrics: Metrics
}

/** That it is still the same person: the password, a code, or a login with a factor just now. */
export interface Proof {
  password?: string
  code?: string
}

/** An enrolment that was not confirmed by then begins anew. */
const CONFIRM_WITHIN_MS = 15 * 60_000

export function createEnrolment(deps: EnrolmentDeps) {
  const { db, clock, config, audit, outbox, passwordCheck, factor, codeAttempts, sessionRevoker, revocations, metrics } = deps
  const issuer = config.auth.mfa.issuer ?? new URL(config.server.publicUrl).hostname
  const counted = <A extends unknown[], R>(event: string, work: (...args: A) => Promise<R>) =>
    countOutcome((outcome) => metrics.accountEvents.inc({ event, outcome }), work)

  async function enrol(principal: Principal, password: string, context: RequestContext) {
    const checked = await passwordCheck(principal, password, context)
    const seed = newSeed()
    return inTransaction(db, async (trx) => {
      const user = await lockCaller(trx, principal, checked.password_hash)
      if (user.mfa_enabled) throw problem('mfa_already_enabled')
      const row = { id: uuidv7(), user_id: user.id, created_at: await databaseNow(trx) }
      await replaceWaitingFactor(trx, { ...row, secret_sealed: factor.seal(row, seed) })
      await audit.record(trx, { event: 'mfa_enrol', outcome: 'success', userId: user.id, sessionId: principal.sessionId, context })
      const { secret, otpauthUri, qrSvg } = enrolmentOf(seed, issuer, user.username)
      return { secret, otpauth_uri: otpauthUri, qr_svg: qrSvg }
    })
  }

  /** The session that confirms has shown the factor by that; the others have not, and end. */
  async function confirm(principal: Principal, code: string, context: AuditContext) {
    const guess = {
      user: await ownerOf(principal),
      known: { kind: 'session' as const, id: principal.sessionId },
      event: 'mfa_confirm',
      context,
    }
    const { codes, revoked } = await codeAttempts.count(guess, () =>
      inTransaction(db, async (trx) => {
        const user = await lockCaller(trx, principal)
        if (user.mfa_enabled) throw problem('mfa_already_enabled')
        const waiting = await findWaitingFactor(trx, user.id)
        const now = await databaseNow(trx)
        if (!waiting || now.getTime() - waiting.created_at.getTime() > CONFIRM_WITHIN_MS)
          throw problem('mfa_not_enabled', { detail: 'Begin with POST /mfa/totp, and confirm within 15 minutes.' })
        const seed = factor.open(waiting)
        const step = stepOf(code, seed, now)
        // the code of the confirmation is used up by it
        if (step === null || !(await useStep(trx, waiting.id, step))) throw wrongCode()
        await confirmFactor(trx, waiting.id, now)
        await updateUser(trx, user.id, { mfa_enabled: true })
        await updateAmr(trx, principal.sessionId, ['pwd', 'otp', 'mfa'])
        const ended = await sessionRevoker.endOtherSessions(trx, user.id, principal.sessionId, 'factor_enabled')
        await tell(trx, user, 'factor_enabled', now, context)
        await audit.record(trx, { event: 'mfa_confirm', outcome: 'success', userId: user.id, sessionId: principal.sessionId, context })
        return { shown: { type: 'totp' } as Shown, codes: await newCodes(trx, user.id, seed), revoked: ended }
      }),
    )
    await announce(revoked)
    return { backup_codes: codes }
  }

  async function disable(principal: Principal, proof: Proof, context: RequestContext): Promise<void> {
    const revoked = await proven(principal, proof, 'mfa_disable', context, async (trx, user, now) => {
      await deleteFactors(trx, user.id)
      await updateUser(trx, user.id, { mfa_enabled: false })
      await updateAmr(trx, principal.sessionId, ['pwd'])
      const ended = await sessionRevoker.endOtherSessions(trx, user.id, principal.sessionId, 'factor_disabled')
      // tokens that are out say that a factor was shown
      ended.push(await sessionRevoker.outdateTokens(trx, user.id))
      await tell(trx, user, 'factor_disabled', now, context)
      return ended
    })
    await announce(revoked)
  }

  const renewCodes = async (principal: Principal, proof: Proof, context: RequestContext) => ({
    backup_codes: await proven(principal, proof, 'backup_codes_renew', context, (trx, user, _now, confirmed) =>
      newCodes(trx, user.id, factor.open(confirmed)),
    ),
  })

  const status = (principal: Principal) =>
    inTransaction(db, async (trx) => {
      const confirmed = await findConfirmedFactor(trx, principal.id)
      const left = confirmed ? (await findUnusedBackupCodes(trx, principal.id)).length : 0
      return { totp: confirmed !== undefined, backup_codes_left: left }
    })

  /** Runs `work` for the locked user, who has shown again that it is them, and has a factor. */
  async function proven<T>(
    principal: Principal,
    { password, code }: Proof,
    event: string,
    context: RequestContext,
    work: (trx: Transaction, user: User, now: Date, confirmed: TotpFactor) => Promise<T>,
  ): Promise<T> {
    const change = (checkedHash?: string) =>
      inTransaction(db, async (trx) => {
        const user = await lockCaller(trx, principal, checkedHash)
        const confirmed = await findConfirmedFactor(trx, user.id)
        if (!confirmed) throw problem('mfa_not_enabled')
        const now = await databaseNow(trx)
        const shown = code === undefined ? null : await factor.use(trx, user.id, code, now)
        if (code !== undefined && !shown) throw wrongCode()
        await notifyOfBackupCode(trx, outbox, { user, shown, now, context })
        const done = await work(trx, user, now, confirmed)
        await audit.record(trx, { event, outcome: 'success', userId: user.id, sessionId: principal.sessionId, context })
        return { shown: shown!, done }
      })
    if (password !== undefined) return (await change((await passwordCheck(principal, password, context)).password_hash)).done
    if (code !== undefined) {
      const guess = { user: await ownerOf(principal), known: { kind: 'session' as const, id: principal.sessionId }, event, context }
      return (await codeAttempts.count(guess, () => change())).done
    }
    if (principal.hasFactor && isFresh(principal, clock.now())) return (await change()).done
    throw problem('validation_failed', {
      errors: [{ field: 'password', detail: 'or a code is needed, unless you logged in with one just now' }],
    })
  }

  async function newCodes(trx: Transaction, userId: string, seed: Buffer): Promise<string[]> {
    const codes = Array.from({ length: BACKUP_CODES }, newBackupCode)
    await replaceBackupCodes(
      trx,
      userId,
      codes.map((code) => ({ id: uuidv7(), code_mac: backupCodeMac(seed, code) })),
    )
    return codes
  }

  async function ownerOf({ id }: Principal): Promise<User> {
    const user = await findUserById(db, id)
    if (!user) throw problem('token_revoked', { cause: 'the user is gone' })
    return user
  }

  const tell = (trx: Transaction, user: User, template: 'factor_enabled' | 'factor_disabled', now: Date, context: AuditContext) =>
    outbox.post(trx, {
      template,
      data: noticeContextOf(now, context),
      to: user.email,
      userId: user.id,
    })

  const announce = (revoked: Revocation[]) => Promise.all(revoked.map(revocations.announce))

  return {
    status,
    enrol: counted('mfa_enrol', enrol),
    confirm: counted('mfa_confirm', confirm),
    disable: counted('mfa_disable', disable),
    renewCodes: counted('backup_codes_renew', renewCodes),
  }
}
