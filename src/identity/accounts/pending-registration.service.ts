/**
 * A registration whose address must be proven first. The username is kept, and a link is mailed. The link proves the mailbox, and the
 * password of the registration shows who made it: both together make the user. An address that has an account gets the same answer after
 * the same work, and only its owner gets a mail about it.
 *
 * Several registrations may wait for one address, since anybody can register with any address. The first that is completed gets the address.
 */
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { networkOf } from '../../platform/request/client-address.ts'
import { listedDeviceName } from '../../platform/request/device-name.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { canonicalEmail } from '../users/canonical-login.ts'
import { FIRST_ROLES } from '../users/roles.ts'
import { findUserByLogin, insertUser, type NewUser, type User, updateUser } from '../users/users.repo.ts'
import type { BackgroundQueue } from './background-queue.ts'
import { type Links, linkHash, MAX_LINKS, PROOF_TTL_SECONDS } from './links.ts'
import {
  deletePending,
  deletePendingOf,
  findAllPendingOf,
  findPendingByLink,
  findPendingOf,
  insertPending,
  insertPendingLink,
  isPendingName,
  lockPendingAddress,
  lockPendingName,
  type PendingRegistration,
  prolongPending,
  type TruePendingRegistration,
  trimPendingLinks,
} from './pending-registrations.repo.ts'

export interface PendingRegistrationDeps {
  db: Db
  accounts: Accounts
  limits: CredentialLimits
  links: Links
  outbox: Outbox
  backgroundQueue: BackgroundQueue
}

export type PendingAccount = Pick<NewUser, 'username' | 'email' | 'email_canonical' | 'password_hash'>

export type PendingRegistrations = ReturnType<typeof createPendingRegistrations>

/** Registrations that may wait for one address. */
const MAX_PER_ADDRESS = 5

/**
 * The registration that makes room for a new one: the oldest of the network that has the most. A stranger who registers an address again and
 * again drops their own registrations, not the owner's. @param waiting newest first
 */
export function surplusOf<T extends Pick<PendingRegistration, 'network'>>(waiting: readonly T[]): T | undefined {
  const countOf = (network: string | null) => waiting.filter((other) => other.network === network).length
  return waiting.reduceRight<T | undefined>(
    (worst, row) => (worst === undefined || countOf(row.network) > countOf(worst.network) ? row : worst),
    undefined,
  )
}

export function createPendingRegistrations({ db, accounts, limits, links, outbox, backgroundQueue }: PendingRegistrationDeps) {
  const endOf = (now: Date) => new Date(now.getTime() + PROOF_TTL_SECONDS * 1000)

  /** Adds a link to a registration. Its older links stay valid. */
  async function addLink(trx: Transaction, pendingId: string, now: Date): Promise<string> {
    const { tokenHash, url } = links.mint('verify_email')
    await trimPendingLinks(trx, pendingId, MAX_LINKS - 1)
    await insertPendingLink(trx, { token_hash: tokenHash, pending_id: pendingId, created_at: now, expires_at: endOf(now) })
    return url
  }

  async function makeRoom(trx: Transaction, emailCanonical: string): Promise<void> {
    const waiting = await findAllPendingOf(trx, emailCanonical)
    const dropped = []
    while (waiting.length >= MAX_PER_ADDRESS) {
      const surplus = surplusOf(waiting)!
      dropped.push(surplus.id)
      waiting.splice(waiting.indexOf(surplus), 1)
    }
    // also without any: the work is the same for every address
    await deletePending(trx, dropped)
  }

  async function mailAgain(email: string, context: AuditContext): Promise<void> {
    const mayMail = await limits.mail(email, 'verify_email', 'stranger')
    await accounts.transaction('email_verify_request', context, async ({ trx, record }) => {
      const address = canonicalEmail(email)
      await lockPendingAddress(trx, address)
      const waiting = await findPendingOf(trx, address)
      const outcome = !mayMail ? 'rate_limited' : waiting.length ? 'success' : 'not_found'
      await record({ outcome })
      if (outcome !== 'success') return
      const now = await databaseNow(trx)
      const registrations = []
      for (const registration of waiting) {
        registrations.push({ ...registration, url: await addLink(trx, registration.id, now) })
        await prolongPending(trx, registration.id, endOf(now))
      }
      await postLinks(trx, registrations, context)
    })
  }

  /** One mail for all registrations of an address: the owner of the mailbox recognises their own. */
  async function postLinks(
    trx: Transaction,
    registrations: (Pick<PendingRegistration, 'username' | 'email' | 'created_at' | 'device'> & { url: string })[],
    { language }: AuditContext,
  ): Promise<void> {
    const [first, ...more] = registrations.map(({ username, created_at, device, url }) => ({
      username,
      at: created_at.toISOString(),
      device,
      url,
    }))
    await outbox.post(trx, {
      template: 'verify_email',
      data: { minutes: PROOF_TTL_SECONDS / 60, ...first!, more },
      to: registrations[0]!.email,
      language,
      userId: null,
      ttlSeconds: PROOF_TTL_SECONDS,
    })
  }

  return {
    /** @throws username_taken while another address keeps the name */
    async begin({ password_hash, ...account }: PendingAccount, context: AuditContext): Promise<void> {
      const mayMail = await limits.mail(account.email, 'verify_email', 'stranger')
      await accounts.transaction('register', context, async ({ trx, record }) => {
        await lockPendingAddress(trx, account.email_canonical)
        if (account.username !== null) {
          await lockPendingName(trx, account.username)
          if (await isPendingName(trx, account.username, account.email_canonical)) throw problem('username_taken')
        }
        const owner = await findUserByLogin(trx, account.email_canonical)
        await makeRoom(trx, account.email_canonical)
        const now = await databaseNow(trx)
        const registration = {
          id: uuidv7(),
          ...account,
          password_hash: owner ? null : password_hash,
          device: listedDeviceName(context.userAgent),
          network: networkOf(context.ip),
          created_at: now,
          expires_at: endOf(now),
        }
        await insertPending(trx, registration)
        const url = await addLink(trx, registration.id, now)
        if (mayMail && owner) {
          const language = owner.language ?? context.language
          await outbox.post(trx, { template: 'already_registered', data: {}, to: owner.email, language, userId: owner.id })
        } else if (mayMail) await postLinks(trx, [{ ...registration, url }], context)
        const detail = owner ? 'pending: the address has an account' : 'pending'
        // without the owner's id: the caller may be somebody else
        await record({ detail })
      })
    },

    /** Mails the links again. The registrations are looked up after the answer, so the time of the answer does not depend on them. */
    remind(email: string, context: AuditContext): void {
      backgroundQueue.add('the mail for a registration', context.requestId, () => mailAgain(email, context))
    },

    /** @returns the registration of the link first, then the others of its address; none for an unknown link. None is used up */
    async candidates(token: string): Promise<TruePendingRegistration[]> {
      const hash = linkHash(token)
      const linked = hash && (await findPendingByLink(db, hash))
      if (!linked) return []
      const waiting = await findPendingOf(db, linked.email_canonical)
      return [linked, ...waiting.filter(({ id }) => id !== linked.id)]
    },

    /**
     * Makes a user of a registration, whose password was checked. Every registration of the address is deleted, with its links.
     * @returns undefined when link or registration ended meanwhile. @throws a broken constraint when name or address were taken meanwhile
     */
    async complete(
      trx: Transaction,
      token: string,
      chosen: TruePendingRegistration,
      { language = null }: AuditContext,
    ): Promise<User | undefined> {
      await lockPendingAddress(trx, chosen.email_canonical)
      const linked = await findPendingByLink(trx, linkHash(token)!)
      const waiting = await findPendingOf(trx, chosen.email_canonical)
      const pending = waiting.find(({ id }) => id === chosen.id)
      if (linked?.email_canonical !== chosen.email_canonical || !pending) return undefined
      await deletePendingOf(trx, pending.email_canonical)
      const { username, email, email_canonical, password_hash } = pending
      const user = await insertUser(trx, {
        id: uuidv7(),
        username,
        email,
        email_canonical,
        is_email_vouched: false,
        password_hash,
        roles: FIRST_ROLES,
        password_must_change: false,
        language,
      })
      return updateUser(trx, user.id, { email_verified_at: await databaseNow(trx) })
    },
  }
}
