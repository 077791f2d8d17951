/**
 * The account of a person whom a provider has confirmed. An account is known by issuer and subject. An address alone leads to an account only
 * when both sides have proven it.
 */
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { databaseNow } from '../../platform/db/database.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { removeUnprovenCredentials } from '../accounts/first-proof.ts'
import { findLinkedLogin, insertLinkedLogin, type LinkedLogin, touchLinkedLogin } from '../accounts/linked-logins.repo.ts'
import { deletePendingOf, lockPendingAddress } from '../accounts/pending-registrations.repo.ts'
import type { AccountTransaction } from '../sessions/account-transaction.ts'
import { canonicalEmail, shownEmail } from '../users/canonical-login.ts'
import type { KeepAdmin } from '../users/last-admin.ts'
import { hasProvenAddress } from '../users/proven-address.ts'
import { FIRST_ROLES } from '../users/roles.ts'
import { findUserById, findUserByLogin, insertUser, lockUser, NO_PASSWORD, type User, updateUser } from '../users/users.repo.ts'
import { isProven } from './email-trust.ts'
import { freeUsername } from './new-username.ts'
import type { ProvenLogin, Provider } from './provider.ts'
import { providerRefused } from './provider-errors.ts'
import { rolesAfter } from './provider-roles.ts'

/** What an invitation gives to the account that is made with it. */
export interface Invited {
  email: string
  roles: readonly string[]
  /** Uses the invitation up. */
  accept(userId: string): Promise<void>
}

export interface Admitted {
  /** Locked by the transaction. */
  user: User
  linked: LinkedLogin
  /** The account was made, or it was linked, by this sign-in. */
  isNew: boolean
}

export interface ProviderAccounts {
  /**
   * Finds the account of a login, links it, or makes it.
   * @throws provider_refused, email_taken, email_unproven, registration_closed
   */
  admit(tx: AccountTransaction, provider: Provider, login: ProvenLogin, invited: Invited | null, context: AuditContext): Promise<Admitted>
  /** Adds a login to the account of a user who is logged in. @param user locked by this transaction. @throws already_linked */
  link(tx: AccountTransaction, user: User, provider: Provider, login: ProvenLogin, context: AuditContext): Promise<LinkedLogin>
}

export interface ProviderAccountsDeps {
  auth: Pick<Config['auth'], 'registration' | 'emailVerification' | 'username' | 'reservedUsernames'>
  outbox: Outbox
  keepAdmin: KeepAdmin
}

export function createProviderAccounts({ auth, outbox, keepAdmin }: ProviderAccountsDeps): ProviderAccounts {
  async function insertLink(tx: AccountTransaction, user: User, provider: Provider, login: ProvenLogin, how: string): Promise<LinkedLogin> {
    const now = await databaseNow(tx.trx)
    const linked = {
      id: uuidv7(),
      user_id: user.id,
      provider: provider.id,
      issuer: provider.issuer,
      subject: login.subject,
      email: login.email,
      created_at: now,
      last_used_at: now,
    }
    if (!(await insertLinkedLogin(tx.trx, linked)))
      throw problem('already_linked', { cause: 'the login has another account, or the account has another login of this provider' })
    await tx.record({ event: 'login_link', userId: user.id, detail: `${provider.id}: ${how}` })
    return linked
  }

  async function notify({ trx }: AccountTransaction, user: User, provider: Provider, context: AuditContext): Promise<void> {
    const data = { ...noticeContextOf(await databaseNow(trx), context), provider: provider.label }
    await outbox.post(trx, { template: 'login_linked', data, to: user.email, userId: user.id })
  }

  /** Grants and revokes what the provider decides about. The last administrator stays one. */
  async function syncRoles(tx: AccountTransaction, user: User, provider: Provider, { groups }: ProvenLogin): Promise<User> {
    const roles = rolesAfter(user.roles, provider.settings.roles, groups)
    if (roles.join(' ') === [...user.roles].sort().join(' ')) return user
    try {
      await keepAdmin(tx.trx, user, { ...user, roles })
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'last_admin') throw error
      await tx.record({ event: 'role_sync', outcome: 'last_admin', userId: user.id, detail: provider.id })
      return user
    }
    await updateUser(tx.trx, user.id, { roles })
    await tx.record({ event: 'role_sync', userId: user.id, detail: `${provider.id}: ${roles.join(' ')}` })
    await tx.revoke.outdateTokens(user.id)
    return (await findUserById(tx.trx, user.id))!
  }

  /** Anybody can have made an account with an address that was never proven: what can log in goes, and its owner begins anew. */
  async function takeOver(tx: AccountTransaction, user: User, isByInvitation: boolean): Promise<User> {
    const { trx } = tx
    const now = await databaseNow(trx)
    await removeUnprovenCredentials(tx, user.id, now)
    await updateUser(trx, user.id, {
      password_hash: NO_PASSWORD,
      password_must_change: false,
      email_verified_at: now,
      must_confirm_login: false,
    })
    await tx.revoke.allSessions(user.id, 'first_proof')
    await tx.record({ event: 'email_verify', userId: user.id, detail: isByInvitation ? 'invitation' : 'a provider has proven the address' })
    return (await findUserById(trx, user.id))!
  }

  const hasOnlyFirstRoles = ({ roles }: User) => roles.every((role) => FIRST_ROLES.includes(role))

  /** An account with this address exists. @throws email_taken */
  async function adopt(
    tx: AccountTransaction,
    found: User,
    provider: Provider,
    login: ProvenLogin,
    context: AuditContext,
  ): Promise<Admitted> {
    const user = await lockUser(tx.trx, found.id)
    const taken = (cause: string) => problem('email_taken', { cause })
    if (!user || user.email_canonical !== canonicalEmail(login.email!)) throw taken('the account changed meanwhile')
    if (!isProven(provider.settings, login)) throw taken('the provider is not trusted for this address')
    if (user.disabled_at) throw providerRefused('disabled user')
    if (!hasOnlyFirstRoles(user)) throw taken('an account with roles is linked only by its user')
    if (!hasProvenAddress(user)) {
      const owner = await takeOver(tx, user, false)
      const linked = await insertLink(tx, owner, provider, login, 'first proof of the address')
      return { user: await syncRoles(tx, owner, provider, login), linked, isNew: true }
    }
    if (user.mfa_enabled) throw taken('an account with a second factor is linked only by its user')
    const linked = await insertLink(tx, user, provider, login, 'by its address')
    await notify(tx, user, provider, context)
    return { user: await syncRoles(tx, user, provider, login), linked, isNew: true }
  }

  async function make(
    tx: AccountTransaction,
    provider: Provider,
    login: ProvenLogin,
    invited: Invited | null,
    context: AuditContext,
  ): Promise<Admitted> {
    const { trx } = tx
    if (!invited && auth.registration !== 'open')
      throw problem('registration_closed', { cause: `auth.registration is ${auth.registration}` })
    const email = shownEmail(invited?.email ?? login.email!)
    const email_canonical = canonicalEmail(email)
    // who holds the invitation reads the mailbox
    const isAddressProven = invited !== null || isProven(provider.settings, login)
    if (auth.emailVerification === 'required' && !isAddressProven) throw problem('email_unproven')
    const id = uuidv7()
    const username =
      auth.username === 'required'
        ? await freeUsername(trx, [login.nickname, email.slice(0, email.lastIndexOf('@'))], auth.reservedUsernames)
        : null
    const made = await insertUser(trx, {
      id,
      username,
      email,
      email_canonical,
      is_email_vouched: false,
      password_hash: NO_PASSWORD,
      roles: [...new Set([...FIRST_ROLES, ...(invited?.roles ?? [])])].sort(),
      password_must_change: false,
      language: context.language ?? null,
    })
    const user = isAddressProven ? await updateUser(trx, made.id, { email_verified_at: await databaseNow(trx) }) : made
    await deletePendingOf(trx, email_canonical)
    await tx.record({ event: 'register', userId: id, detail: `${provider.id}${invited ? ', invited' : ''}` })
    const linked = await insertLink(tx, user, provider, login, 'new account')
    await invited?.accept(id)
    return { user: await syncRoles(tx, user, provider, login), linked, isNew: true }
  }

  return {
    async admit(tx, provider, login, invited, context) {
      const { trx } = tx
      const known = await findLinkedLogin(trx, provider.issuer, login.subject)
      if (known) {
        const user = await lockUser(trx, known.user_id)
        // unlinked, or deleted, while we waited for the lock
        const linked = await findLinkedLogin(trx, provider.issuer, login.subject)
        if (!user || linked?.user_id !== user.id) throw providerRefused('the account changed meanwhile')
        if (user.disabled_at) throw providerRefused('disabled user')
        await touchLinkedLogin(trx, linked.id, { email: login.email, last_used_at: await databaseNow(trx), provider: provider.id })
        return { user: await syncRoles(tx, user, provider, login), linked, isNew: false }
      }
      const email = invited?.email ?? login.email
      if (email === null) throw problem('email_unproven', { cause: 'the provider gave no address' })
      await lockPendingAddress(trx, canonicalEmail(email))
      const found = await findUserByLogin(trx, canonicalEmail(email))
      if (found && invited) throw problem('email_taken', { cause: 'the invited address has an account' })
      return found ? adopt(tx, found, provider, login, context) : make(tx, provider, login, invited, context)
    },
    async link(tx, user, provider, login, context) {
      const known = await findLinkedLogin(tx.trx, provider.issuer, login.subject)
      if (known?.user_id === user.id) return known
      const linked = await insertLink(tx, user, provider, login, 'by its user')
      await notify(tx, user, provider, context)
      return linked
    },
  }
}
