/** Users read and change their own account, except for its roles. */

import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { StepUp } from '../factors/step-up.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { assertNotReserved, canonicalEmail, canonicalUsername, nameFaults, shownEmail } from '../users/canonical-login.ts'
import { assertNotHeld, holdUsername } from '../users/held-usernames.repo.ts'
import { hasProvenAddress } from '../users/proven-address.ts'
import { type OwnUserView, ownViewOf } from '../users/user-view.ts'
import { findUserById, findUserByLogin, hasPassword, type User, updateUser } from '../users/users.repo.ts'
import { deleteLinksOf } from './links.repo.ts'
import { type Links, PROOF_TTL_SECONDS } from './links.ts'
import { assertMailable, type IsMailable } from './mailable.ts'
import { isPendingName } from './pending-registrations.repo.ts'
import type { PostProof } from './post-proof.ts'
import { asTaken } from './register.service.ts'

export interface ProfileChange {
  username?: string
  email?: string
  current_password?: string
  code?: string
}

export interface ProfileDeps {
  db: Db
  accounts: Accounts
  auth: Pick<Config['auth'], 'emailVerification' | 'reservedUsernames'>
  tokens: Pick<Config['tokens'], 'accessTtlSeconds'>
  limits: CredentialLimits
  links: Links
  postProof: PostProof
  isMailable: IsMailable
  outbox: Outbox
  stepUp: StepUp
}

export function createProfile({ db, accounts, auth, tokens, limits, links, postProof, isMailable, outbox, stepUp }: ProfileDeps) {
  async function get(userId: string): Promise<OwnUserView> {
    const user = await findUserById(db, userId)
    if (!user) throw problem('token_revoked', { cause: 'the user was deleted' })
    return ownViewOf(user)
  }

  /**
   * Username and e-mail address are login names, so both are under the step-up rule. A new address needs the password as well.
   *
   * Where addresses are proven first, the address changes when its link is opened. Until then the answer does not depend on whether the
   * address has an account. Elsewhere the address changes at once, unproven, and access tokens are outdated, since they carry the old
   * address.
   */
  async function change(principal: Principal, input: ProfileChange, context: RequestContext): Promise<OwnUserView> {
    const { email, ...names } = readChange(input, false)
    const proven = await stepUp(principal, { password: input.current_password, code: input.code }, context)
    if (names.username !== undefined && (await isPendingName(db, names.username, null))) throw problem('username_taken')
    if (email !== undefined) await assertMailable(isMailable, email)
    const mayMail = email !== undefined && (await limits.mail(email, 'verify_email', 'stranger'))
    const changed = proven.commit('profile_change', async ({ trx, record, revoke }, { user: locked, now }) => {
      const detail = [names.username !== undefined && 'username', email !== undefined && 'email'].filter(Boolean).join(', ')
      await record({ userId: locked.id, detail })
      const renamed = names.username === undefined ? locked : await rename(trx, locked, names.username)
      // an earlier new address is dropped, even when this address is taken or gets no mail
      if (email !== undefined) await deleteLinksOf(trx, locked.id, 'verify_email')
      if (email === undefined || email === locked.email) return renamed
      // another form of the same address, such as other letter case: what was proven stays proven
      if (canonicalEmail(email) === locked.email_canonical) {
        await revoke.outdateTokens(locked.id)
        return updateUser(trx, locked.id, { email })
      }
      if (auth.emailVerification === 'required') {
        if (mayMail) await askForProof(trx, renamed, email, principal, context)
        return renamed
      }
      const moved = await updateUser(trx, locked.id, {
        email,
        email_canonical: canonicalEmail(email),
        email_verified_at: null,
        is_email_vouched: false,
      })
      if (mayMail) await postProof(trx, moved, email, principal.sessionId, context)
      const data = noticeContextOf(now, context)
      await outbox.post(trx, { template: 'email_changed', data, to: locked.email, userId: locked.id, isProven: hasProvenAddress(locked) })
      await revoke.outdateTokens(locked.id)
      return moved
    })
    const user = await changed.catch((error) => {
      throw asTaken(error)
    })
    return ownViewOf(user)
  }

  /** The answer shows whether a name is taken, so the limits are those of registrations. */
  async function changeWithinLimits(principal: Principal, input: ProfileChange, context: RequestContext): Promise<OwnUserView> {
    const { username, email } = readChange(input, await owesPassword(principal, input))
    const work = () => change(principal, input, context)
    if (username !== undefined) return limits.register(context.client, work)
    return email !== undefined ? limits.taken(context.client, work) : work()
  }

  /** A user without a password shows only that the login is recent. */
  async function owesPassword({ id }: Principal, { email, current_password }: ProfileChange): Promise<boolean> {
    if (email === undefined || current_password !== undefined) return false
    const user = await findUserById(db, id)
    return user === undefined || hasPassword(user)
  }

  async function rename(trx: Transaction, user: User, username: string): Promise<User> {
    if (username === user.username) return user
    assertNotReserved(username, auth.reservedUsernames)
    const renamed = await updateUser(trx, user.id, { username })
    await assertNotHeld(trx, renamed)
    await holdUsername(trx, user, tokens.accessTtlSeconds)
    return renamed
  }

  async function askForProof(trx: Transaction, user: User, email: string, { sessionId }: Principal, context: AuditContext): Promise<void> {
    const owner = await findUserByLogin(trx, canonicalEmail(email))
    if (!owner || owner.id === user.id) return postProof(trx, user, email, sessionId, context)
    await outbox.post(trx, { template: 'already_registered', data: {}, to: owner.email, language: owner.language, userId: owner.id })
    // nobody gets this link. The address waits all the same, so that the account shows nothing about the address of another user
    await links.issue(trx, { user, purpose: 'verify_email', ttlSeconds: PROOF_TTL_SECONDS, email, sessionId, device: null })
  }

  /** The language of the user's mails. A choice that changes nothing leaves no row in the audit log. */
  async function chooseLanguage(userId: string, language: string, context: AuditContext): Promise<void> {
    const known = await findUserById(db, userId)
    if (known === undefined || known.language === language) return
    await accounts.transaction('profile_change', context, async ({ trx, record }) => {
      await updateUser(trx, userId, { language })
      await record({ userId, detail: 'language' })
    })
  }

  /** The new address that counts once its link is opened. */
  async function waitingAddress({ id }: Principal): Promise<string | null> {
    const user = await findUserById(db, id)
    return user ? links.waitingAddress(db, user) : null
  }

  /** Mails another link to the new address that waits. Older links stay valid. Does nothing when no address waits. */
  async function remind(principal: Principal, context: RequestContext): Promise<void> {
    await limits.recovery(context.client)
    const email = await waitingAddress(principal)
    const mayMail = email !== null && (await limits.mail(email, 'verify_email', 'stranger'))
    await accounts.transaction('email_verify_request', context, async ({ trx, lockCaller, record }) => {
      const user = await lockCaller(principal)
      if (mayMail) await askForProof(trx, user, email, principal, context)
      await record({ outcome: mayMail ? 'success' : 'rate_limited', userId: user.id, detail: 'new address' })
    })
  }

  return {
    get,
    chooseLanguage,
    waitingAddress,
    change: accounts.counted('profile_change', changeWithinLimits),
    remind: accounts.counted('email_verify_request', remind),
  }
}

function readChange({ username, email }: ProfileChange, owesPassword: boolean): { username?: string; email?: string } {
  const errors = nameFaults(username === undefined ? undefined : canonicalUsername(username), email)
  if (owesPassword) errors.push({ field: 'current_password', code: 'required', detail: 'is needed to change the e-mail address' })
  if (errors.length) throw problem('validation_failed', { errors })
  return {
    ...(username === undefined ? {} : { username: canonicalUsername(username) }),
    ...(email === undefined ? {} : { email: shownEmail(email) }),
  }
}
