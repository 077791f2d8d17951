/** Opening a mailed link proves an address: of a pending registration, of an account, or the new address of an account. */

import type { AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { invalidField, Problem, problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { canonicalEmail, isEmail } from '../users/canonical-login.ts'
import { type UserView, viewOf } from '../users/user-view.ts'
import { findUserById, lockUser, type User, updateUser } from '../users/users.repo.ts'
import { type Links, PROOF_TTL_SECONDS } from './links.ts'
import type { PendingRegistrations } from './pending-registration.service.ts'
import { asTaken } from './register.service.ts'

export interface EmailVerificationDeps {
  db: Db
  accounts: Accounts
  limits: CredentialLimits
  links: Links
  outbox: Outbox
  pending: PendingRegistrations
}

interface Proven {
  user: User
  what: string
}

export function createEmailVerification({ db, accounts, limits, links, outbox, pending }: EmailVerificationDeps) {
  async function verify(token: string, context: RequestContext): Promise<UserView> {
    await limits.recovery(context.client)
    const verified = accounts.transaction('email_verify', context, async (tx) => {
      const proven = (await register(tx.trx, token)) ?? (await prove(tx, token, context))
      if (!proven) throw problem('link_invalid')
      await tx.record({ userId: proven.user.id, detail: proven.what })
      return proven.user
    })
    const user = await verified.catch(async (error) => {
      const refusal = asTaken(error)
      if (refusal instanceof Problem && refusal.status < 500) await accounts.record('email_verify', { outcome: refusal.code }, context)
      throw refusal
    })
    return viewOf(user)
  }

  async function register(trx: Transaction, token: string): Promise<Proven | undefined> {
    const user = await pending.complete(trx, token)
    return user && { user, what: 'registration' }
  }

  /** Outdates older access tokens, since they carry the address and whether it is proven. */
  async function prove({ trx, revoke }: AccountTransaction, token: string, context: AuditContext): Promise<Proven | undefined> {
    const link = await links.redeem(trx, token, 'verify_email')
    const user = link && (await lockUser(trx, link.user_id))
    if (!user) return undefined
    const { email } = link
    const isNew = email !== user.email
    if (!isNew && user.email_verified_at) return { user, what: 'address' }
    const now = await databaseNow(trx)
    const proven = await updateUser(trx, user.id, { email, email_canonical: canonicalEmail(email), email_verified_at: now })
    if (isNew) await outbox.post(trx, { template: 'email_changed', data: noticeContextOf(now, context), to: user.email, userId: user.id })
    await revoke.outdateTokens(user.id)
    return { user: proven, what: isNew ? 'new address' : 'address' }
  }

  /** Mails a link to the caller, unless the address is proven already. */
  async function request(principal: Principal, context: RequestContext): Promise<void> {
    await limits.recovery(context.client)
    const email = (await findUserById(db, principal.id))?.email
    const mayMail = email !== undefined && (await limits.mail(email, 'verify_email'))
    await accounts.transaction('email_verify_request', context, async ({ trx, lockCaller, record }) => {
      const user = await lockCaller(principal)
      if (mayMail && !user.email_verified_at) {
        const data = await links.issue(trx, { user, purpose: 'verify_email', ttlSeconds: PROOF_TTL_SECONDS })
        await outbox.post(trx, { template: 'verify_email', data, to: user.email, userId: user.id, ttlSeconds: PROOF_TTL_SECONDS })
      }
      await record({ outcome: mayMail ? 'success' : 'rate_limited', userId: user.id })
    })
  }

  /** The same for a pending registration. The answer does not reveal whether this address has a pending registration. */
  async function requestByAddress(email: string, context: RequestContext): Promise<void> {
    if (!isEmail(email)) throw invalidField('email', 'format', 'must be an e-mail address')
    await limits.recovery(context.client)
    pending.remind(email, context)
  }

  return {
    verify: accounts.counted('email_verify', verify),
    request: accounts.counted('email_verify_request', request),
    requestByAddress: accounts.counted('email_verify_request', requestByAddress),
  }
}
