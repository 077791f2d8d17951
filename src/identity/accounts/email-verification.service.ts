/**
 * A mailed link and the proof of who asked for it together prove an address: of a pending registration, of an account, or the new address
 * of an account. The link shows the mailbox. The password, or the session that asked, shows that the same person made the account.
 */

import type { AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow } from '../../platform/db/database.ts'
import { invalidField, Problem, problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { Account, CredentialLimits } from '../credentials/credential-limits.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { canonicalEmail, isEmail } from '../users/canonical-login.ts'
import { hasProvenAddress } from '../users/proven-address.ts'
import { type UserView, viewOf } from '../users/user-view.ts'
import { findUserById, type User, updateUser } from '../users/users.repo.ts'
import { detailsOf, type LinkDetails, type Links, type LivingLink } from './links.ts'
import type { PendingRegistrations } from './pending-registration.service.ts'
import type { TruePendingRegistration } from './pending-registrations.repo.ts'
import type { PostProof } from './post-proof.ts'
import { asTaken } from './register.service.ts'

export interface EmailVerificationDeps {
  db: Db
  accounts: Accounts
  passwords: Passwords
  limits: CredentialLimits
  links: Links
  outbox: Outbox
  pending: PendingRegistrations
  postProof: PostProof
}

export interface Verification {
  token: string
  password?: string
}

const EVENT = 'email_verify'
/** Who holds a valid link has a budget of attempts that no stranger can use up. */
const BY_MAILBOX = { kind: 'mailbox', id: 'mailbox' } as const

export function createEmailVerification({ db, accounts, passwords, limits, links, outbox, pending, postProof }: EmailVerificationDeps) {
  /** A wrong password leaves the link as it is. @param caller the session of the request, if there is one */
  async function verify(input: Verification, caller: Principal | null, context: RequestContext): Promise<UserView> {
    const user = await limits.link(context.client, async () => {
      const candidates = await pending.candidates(input.token)
      if (candidates.length) return completeRegistration(candidates, input, context)
      const found = await links.find(db, input.token, 'verify_email')
      if (!found) throw await refused(problem('link_invalid'), null, context)
      return proveAddress(found, input, caller, context)
    })
    return viewOf(user)
  }

  /** What the page shows. The link stays as it is. */
  const details = (token: string, context: RequestContext): Promise<LinkDetails> =>
    limits.link(context.client, async () => {
      const [waiting] = await pending.candidates(token)
      if (waiting) {
        const { username, email, device, created_at } = waiting
        return { username, email, requested_at: created_at.toISOString(), device }
      }
      const found = await links.find(db, token, 'verify_email')
      if (!found) throw problem('link_invalid')
      return detailsOf(found)
    })

  /** The password says which of the registrations of the address becomes the account. */
  async function completeRegistration(
    candidates: TruePendingRegistration[],
    { token, password }: Verification,
    context: RequestContext,
  ): Promise<User> {
    const account = { unknown: `registration ${candidates[0]!.email_canonical}` }
    const chosen = await matching(account, candidates, assertPassword(password, 'registration'), context, null)
    const completed = accounts.transaction(EVENT, context, async ({ trx, record }) => {
      const user = await pending.complete(trx, token, chosen, context)
      if (!user) throw problem('link_invalid', { cause: 'the registration ended meanwhile' })
      await record({ userId: user.id, detail: 'registration' })
      return user
    })
    return completed.catch(async (error) => {
      throw await refused(asTaken(error), null, context)
    })
  }

  async function proveAddress(
    { link, owner }: LivingLink,
    { token, password }: Verification,
    caller: Principal | null,
    context: RequestContext,
  ): Promise<User> {
    const asker = caller?.id === owner.id && link.session_id !== null && caller.sessionId === link.session_id ? caller : null
    const checked = asker ? null : await matching(owner, [owner], assertPassword(password, 'account'), context, owner.id)
    const proven = accounts.transaction(EVENT, context, async (tx) => {
      const found = await links.redeem(tx.trx, token, 'verify_email')
      if (!found) throw problem('link_invalid', { cause: 'the link was used meanwhile' })
      if (asker) await tx.lockCaller(asker)
      else if (found.owner.password_hash !== checked!.password_hash)
        throw problem('invalid_credentials', { cause: 'the password changed while it was checked' })
      return prove(tx, found, context)
    })
    return proven.catch(async (error) => {
      throw await refused(asTaken(error), owner.id, context)
    })
  }

  /** Outdates older access tokens, since they carry the address and whether it is proven. */
  async function prove({ trx, revoke, record }: AccountTransaction, { link, owner }: LivingLink, context: AuditContext): Promise<User> {
    const { email } = link
    const isNew = canonicalEmail(email) !== owner.email_canonical
    await record({ userId: owner.id, detail: isNew ? 'new address' : 'address' })
    if (!isNew && owner.email_verified_at) return owner
    const now = await databaseNow(trx)
    const proven = await updateUser(trx, owner.id, { email, email_canonical: canonicalEmail(email), email_verified_at: now })
    if (isNew) {
      const [data, isProven] = [noticeContextOf(now, context), hasProvenAddress(owner)]
      await outbox.post(trx, { template: 'email_changed', data, to: owner.email, userId: owner.id, isProven })
    }
    await revoke.outdateTokens(owner.id)
    return proven
  }

  /** The first row with this password. The attempt is counted before a hash is computed. @throws invalid_credentials, rate_limited */
  async function matching<T extends { password_hash: string }>(
    account: Account,
    rows: T[],
    password: string,
    context: RequestContext,
    userId: string | null,
  ): Promise<T> {
    passwords.assertRoom('known')
    return limits.login(context.client, account, BY_MAILBOX, async () => {
      for (const row of rows) if (await passwords.verify(row.password_hash, password, 'known')) return row
      const wrong = problem('invalid_credentials', {
        cause: 'wrong password with a valid link',
        detail: 'The password is wrong. Enter the password that was chosen for this account.',
      })
      throw await refused(wrong, userId, context)
    })
  }

  /** Writes the audit row of a refusal. @returns the error */
  async function refused(error: unknown, userId: string | null, context: AuditContext): Promise<unknown> {
    if (error instanceof Problem && error.status < 500) await accounts.record(EVENT, { outcome: error.code, userId }, context)
    return error
  }

  /** Mails a link to the caller, unless the address is proven already. */
  async function request(principal: Principal, context: RequestContext): Promise<void> {
    await limits.recovery(context.client)
    const email = (await findUserById(db, principal.id))?.email
    const mayMail = email !== undefined && (await limits.mail(email, 'verify_email', 'owner'))
    await accounts.transaction('email_verify_request', context, async ({ trx, lockCaller, record }) => {
      const user = await lockCaller(principal)
      if (mayMail && !user.email_verified_at) await postProof(trx, user, user.email, principal.sessionId, context)
      await record({ outcome: mayMail ? 'success' : 'rate_limited', userId: user.id })
    })
  }

  /** The same for pending registrations. The answer does not reveal whether this address has a pending registration. */
  async function requestByAddress(email: string, context: RequestContext): Promise<void> {
    if (!isEmail(email)) throw invalidField('email', 'format', 'must be an e-mail address')
    await limits.recovery(context.client)
    pending.remind(email, context)
  }

  return {
    verify: accounts.counted(EVENT, verify),
    details,
    request: accounts.counted('email_verify_request', request),
    requestByAddress: accounts.counted('email_verify_request', requestByAddress),
  }
}

function assertPassword(password: string | undefined, of: string): string {
  if (password === undefined) throw invalidField('password', 'required', `is needed: the password of the ${of}`)
  return password
}
