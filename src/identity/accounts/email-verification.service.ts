/** An address is proven by opening the link that was mailed to it: that of a registration, of the account's own address, or of a new one. */

import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, inTransaction, type Transaction } from '../../platform/db/database.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Principal } from '../access/principal.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import { lockCaller } from '../credentials/password-check.ts'
import { field } from '../credentials/password-policy.ts'
import type { Revocation } from '../sessions/revocations.repo.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
import { canonicalEmail, isEmail } from '../users/canonical-login.ts'
import { type UserView, viewOf } from '../users/user-view.ts'
import { findUserById, lockUser, type User, updateUser } from '../users/users.repo.ts'
import { type Links, PROOF_TTL_SECONDS } from './links.ts'
import type { PendingRegistrations } from './pending-registration.service.ts'
import { asTaken } from './register.service.ts'

export interface EmailVerificationDeps {
  db: Db
  audit: Audit
  limits: CredentialLimits
  links: Links
  outbox: Outbox
  pending: PendingRegistrations
  sessionRevoker: SessionRevoker
  revocations: Revocations
  metrics: Metrics
}

interface Proven {
  user: User
  what: string
  revocation: Revocation | null
}

export function createEmailVerification(deps: EmailVerificationDeps) {
  const { db, audit, limits, links, outbox, pending, sessionRevoker, revocations, metrics } = deps

  async function verify(token: string, context: RequestContext): Promise<UserView> {
    await limits.recovery(context.client)
    const { user, revocation } = await inTransaction(db, async (trx) => {
      const proven = (await register(trx, token)) ?? (await prove(trx, token, context))
      if (!proven) throw problem('link_invalid')
      await audit.record(trx, { event: 'email_verify', outcome: 'success', userId: proven.user.id, detail: proven.what, context })
      return proven
    }).catch(async (error) => {
      const refusal = asTaken(error)
      if (refusal instanceof Problem && refusal.status < 500)
        await inTransaction(db, (trx) => audit.record(trx, { event: 'email_verify', outcome: refusal.code, context }))
      throw refusal
    })
    if (revocation) await revocations.announce(revocation)
    return viewOf(user)
  }

  async function register(trx: Transaction, token: string): Promise<Proven | undefined> {
    const user = await pending.complete(trx, token)
    return user && { user, what: 'registration', revocation: null }
  }

  /** Access tokens carry the address, and whether it is proven: those that say otherwise are outdated. */
  async function prove(trx: Transaction, token: string, context: AuditContext): Promise<Proven | undefined> {
    const link = await links.redeem(trx, token, 'verify_email')
    const user = link && (await lockUser(trx, link.user_id))
    if (!user) return undefined
    const { email } = link
    const isNew = email !== user.email
    if (!isNew && user.email_verified_at) return { user, what: 'address', revocation: null }
    const now = await databaseNow(trx)
    const proven = await updateUser(trx, user.id, { email, email_canonical: canonicalEmail(email), email_verified_at: now })
    if (isNew) await outbox.post(trx, { template: 'email_changed', data: noticeContextOf(now, context), to: user.email, userId: user.id })
    return { user: proven, what: isNew ? 'new address' : 'address', revocation: await sessionRevoker.outdateTokens(trx, user.id) }
  }

  /** Mails the caller a link, unless the address is proven already. */
  async function request(principal: Principal, context: RequestContext): Promise<void> {
    await limits.recovery(context.client)
    const email = (await findUserById(db, principal.id))?.email
    const mayMail = email !== undefined && (await limits.mail(email, 'verify_email'))
    await inTransaction(db, async (trx) => {
      const user = await lockCaller(trx, principal)
      if (mayMail && !user.email_verified_at) {
        const data = await links.issue(trx, { user, purpose: 'verify_email', ttlSeconds: PROOF_TTL_SECONDS })
        await outbox.post(trx, { template: 'verify_email', data, to: user.email, userId: user.id, ttlSeconds: PROOF_TTL_SECONDS })
      }
      await audit.record(trx, { event: 'email_verify_request', outcome: mayMail ? 'success' : 'rate_limited', userId: user.id, context })
    })
  }

  /** The same for who is not a user yet. Nobody learns whether anybody waits under this address. */
  async function requestByAddress(email: string, context: RequestContext): Promise<void> {
    if (!isEmail(email)) throw problem('validation_failed', { errors: field('email', 'must be an e-mail address') })
    await limits.recovery(context.client)
    pending.remind(email, context)
  }

  const counted = (event: string) => (outcome: string) => metrics.accountEvents.inc({ event, outcome })
  return {
    verify: countOutcome(counted('email_verify'), verify),
    request: countOutcome(counted('email_verify_request'), request),
    requestByAddress: countOutcome(counted('email_verify_request'), requestByAddress),
  }
}
