/** A forgotten password: a link goes to the address of the account, and whoever opens it sets a new one. */

import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, inTransaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { revokeApiKeysOf } from '../api-keys/api-keys.repo.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import { field, type PasswordPolicy } from '../credentials/password-policy.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
import { canonicalEmail } from '../users/canonical-login.ts'
import { findUserById, findUserByLogin, lockUser, type User, updateUser } from '../users/users.repo.ts'
import type { BackgroundQueue } from './background-queue.ts'
import { findLink } from './links.repo.ts'
import { type Links, linkHash } from './links.ts'

export interface RecoveryDeps {
  db: Db
  audit: Audit
  outbox: Outbox
  links: Links
  passwords: Passwords
  policy: PasswordPolicy
  limits: CredentialLimits
  sessionRevoker: SessionRevoker
  revocations: Revocations
  backgroundQueue: BackgroundQueue
  metrics: Metrics
}

const LINK_TTL_SECONDS = 1800
const PURPOSE = 'reset_password'

export function createRecovery(deps: RecoveryDeps) {
  const { db, audit, outbox, links, passwords, policy, limits, sessionRevoker, revocations, backgroundQueue, metrics } = deps
  const tell = (event: string) => (outcome: string) => metrics.accountEvents.inc({ event, outcome })

  /** Answers before the account is looked for: neither what it says nor how long it takes depends on whether there is one. */
  async function forgot(email: string, context: RequestContext): Promise<void> {
    await limits.recovery(context.client)
    backgroundQueue.add('the mail for a new password', context.requestId, () => sendLink(email, context))
  }

  async function sendLink(email: string, context: AuditContext): Promise<void> {
    const address = canonicalEmail(email.trim())
    const maySend = await limits.mail(address, PURPOSE)
    // Postgres holds no NUL; and a username is no address
    const isAddress = address.includes('@') && !address.includes('\0')
    const user = isAddress ? await findUserByLogin(db, address) : undefined
    const outcome = await inTransaction(db, async (trx) => {
      const reached = user && (await lockUser(trx, user.id))
      const isOpen = reached?.email_canonical === address && !reached.disabled_at
      const result = !maySend ? 'rate_limited' : isOpen ? 'success' : 'not_found'
      if (result === 'success') await postLink(reached!)
      await audit.record(trx, { event: 'password_forgot', outcome: result, userId: user?.id ?? null, context })
      return result

      async function postLink({ id, email: to }: User) {
        const data = await links.issue(trx, { user: { id, email: to }, purpose: PURPOSE, ttlSeconds: LINK_TTL_SECONDS })
        await outbox.post(trx, { template: PURPOSE, data, to, userId: id, ttlSeconds: LINK_TTL_SECONDS })
      }
    })
    tell('password_forgot')(outcome)
  }

  /** Opens no session: who has a second factor is asked for it at the login that follows. */
  async function reset(input: { token: string; new_password: string }, context: RequestContext): Promise<void> {
    await limits.recovery(context.client)
    const owner = await ownerOf(input.token, context)
    const { id: userId, username, email } = owner
    passwords.assertRoom()
    // before the link is used up: a password that is refused does not cost it
    // a password that has to be changed is not kept by way of a link
    const isSame = owner.password_must_change && (await passwords.verify(owner.password_hash, input.new_password))
    const fault = isSame ? 'must differ from the current one' : await policy(input.new_password, [username, email])
    if (fault) throw problem('validation_failed', { errors: field('new_password', fault) })
    const password_hash = await passwords.hash(input.new_password)

    const revocation = await inTransaction(db, async (trx) => {
      const link = await links.redeem(trx, input.token, PURPOSE)
      const linked = link && (await findUserById(trx, link.user_id))
      // a mailbox that is no longer the account's opens it no longer
      const user = linked && canonicalEmail(link.email) === linked.email_canonical ? linked : null
      await audit.record(trx, { event: 'password_reset', outcome: user ? 'success' : 'link_invalid', userId, context })
      if (!user) return null
      const now = await databaseNow(trx)
      // who opens a mailed link has its address
      const email_verified_at = user.email_verified_at ?? now
      await updateUser(trx, userId, { password_hash, password_must_change: false, email_verified_at })
      // whoever registered with an address that was not theirs keeps no way in
      const ended = user.email_verified_at ? [] : await revokeApiKeysOf(trx, userId, now)
      for (const { id } of ended) await audit.record(trx, { event: 'api_key_revoke', outcome: 'success', userId, detail: id, context })
      await outbox.post(trx, { template: 'password_changed', data: noticeContextOf(now, context), to: user.email, userId })
      return sessionRevoker.endAllSessions(trx, userId, 'password_reset')
    })
    if (!revocation) throw problem('link_invalid', { cause: 'used, expired, or outdated' })
    await revocations.announce(revocation)
  }

  /** Whose link it is, good or not. @throws link_invalid */
  async function ownerOf(token: string, context: AuditContext): Promise<User> {
    const hash = linkHash(token)
    const link = hash && (await findLink(db, hash, PURPOSE))
    const owner = link && (await findUserById(db, link.user_id))
    if (owner) return owner
    await inTransaction(db, (trx) => audit.record(trx, { event: 'password_reset', outcome: 'link_invalid', context }))
    throw problem('link_invalid', { cause: 'unknown or used' })
  }

  return { forgot, reset: countOutcome(tell('password_reset'), reset) }
}
