/** What a user may see and change of the own account. Roles are not part of it. */

import type { Audit } from '../../platform/audit/audit.ts'
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
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import { requireFreshFactor } from '../credentials/freshness.ts'
import { lockCaller, type PasswordCheck } from '../credentials/password-check.ts'
import { field } from '../credentials/password-policy.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
import { canonicalEmail, canonicalUsername, isEmail, isUsername } from '../users/canonical-login.ts'
import { type UserView, viewOf } from '../users/user-view.ts'
import { findUserById, findUserByLogin, type User, type UserChange, updateUser } from '../users/users.repo.ts'
import { deleteLinksOf } from './links.repo.ts'
import { type Links, PROOF_TTL_SECONDS } from './links.ts'
import { isPendingName } from './pending-registrations.repo.ts'
import { asTaken } from './register.service.ts'

export interface ProfileChange {
  username?: string
  email?: string
  current_password?: string
}

export interface ProfileDeps {
  db: Db
  clock: Clock
  audit: Audit
  auth: Pick<Config['auth'], 'emailVerification'>
  limits: CredentialLimits
  links: Links
  outbox: Outbox
  passwordCheck: PasswordCheck
  sessionRevoker: SessionRevoker
  revocations: Revocations
  metrics: Metrics
}

export function createProfile({
  db,
  clock,
  audit,
  auth,
  limits,
  links,
  outbox,
  passwordCheck,
  sessionRevoker,
  revocations,
  metrics,
}: ProfileDeps) {
  async function get(userId: string): Promise<UserView> {
    const user = await findUserById(db, userId)
    if (!user) throw problem('token_revoked', { cause: 'the user is gone' })
    return viewOf(user)
  }

  /**
   * A new e-mail address needs the password, and a second factor of just now where there is one. Where addresses are proven first, it is the account's once its link was opened, and until then
   * the answer is the same if it is somebody else's; else at once, unproven, and every access token is outdated: they carry the old one.
   */
  async function change(principal: Principal, input: ProfileChange, context: RequestContext): Promise<UserView> {
    const { email, ...names } = readChange(input)
    if (names.username !== undefined) {
      // whoever asks which names are taken may do so no faster than by registering
      await limits.register(context.client)
      if (await isPendingName(db, names.username)) throw problem('username_taken')
    }
    const checked = email === undefined ? undefined : await passwordCheck(principal, input.current_password!, context)
    const mayMail = email !== undefined && (await limits.mail(email, 'verify_email'))
    const { user, revocation } = await inTransaction(db, async (trx) => {
      const locked = await lockCaller(trx, principal, checked?.password_hash)
      if (email !== undefined) requireFreshFactor(principal, locked, clock.now())
      const detail = [names.username !== undefined && 'username', email !== undefined && 'email'].filter(Boolean).join(', ')
      await audit.record(trx, { event: 'profile_change', outcome: 'success', userId: locked.id, detail, context })
      const renamed = names.username === undefined ? locked : await updateUser(trx, locked.id, names)
      // an address that was asked for before is given up, whether or not this one is free, and whether or not it gets a mail
      if (email !== undefined) await deleteLinksOf(trx, locked.id, 'verify_email')
      if (email === undefined || email === locked.email) return { user: renamed, revocation: null }
      if (auth.emailVerification === 'required') {
        if (mayMail) await askForProof(trx, renamed, email)
        return { user: renamed, revocation: null }
      }
      const moved = await updateUser(trx, locked.id, { email, email_canonical: canonicalEmail(email), email_verified_at: null })
      if (mayMail) await mailLink(trx, moved, email)
      const data = noticeContextOf(await databaseNow(trx), context)
      await outbox.post(trx, { template: 'email_changed', data, to: locked.email, userId: locked.id })
      return { user: moved, revocation: await sessionRevoker.outdateTokens(trx, locked.id) }
    }).catch((error) => {
      throw asTaken(error)
    })
    if (revocation) await revocations.announce(revocation)
    return viewOf(user)
  }

  async function askForProof(trx: Transaction, user: User, email: string): Promise<void> {
    const owner = await findUserByLogin(trx, canonicalEmail(email))
    if (!owner || owner.id === user.id) await mailLink(trx, user, email)
    else await outbox.post(trx, { template: 'already_registered', data: {}, to: owner.email, userId: owner.id })
  }

  async function mailLink(trx: Transaction, user: User, to: string): Promise<void> {
    const data = await links.issue(trx, { user, purpose: 'verify_email', ttlSeconds: PROOF_TTL_SECONDS, email: to })
    await outbox.post(trx, { template: 'verify_email', data, to, userId: user.id, ttlSeconds: PROOF_TTL_SECONDS })
  }

  return { get, change: countOutcome((outcome) => metrics.accountEvents.inc({ event: 'profile_change', outcome }), change) }
}

function readChange({ username, email, current_password }: ProfileChange): Pick<UserChange, 'username' | 'email'> {
  const errors = []
  if (username !== undefined && !isUsername(canonicalUsername(username))) {
    errors.push(...field('username', 'must be 3 to 32 of a-z 0-9 . _ - and begin with a letter or digit'))
  }
  if (email !== undefined && !isEmail(email)) errors.push(...field('email', 'must be an e-mail address'))
  if (email !== undefined && current_password === undefined)
    errors.push(...field('current_password', 'is needed to change the e-mail address'))
  if (errors.length) throw problem('validation_failed', { errors })
  return {
    ...(username === undefined ? {} : { username: canonicalUsername(username) }),
    ...(email === undefined ? {} : { email }),
  }
}
