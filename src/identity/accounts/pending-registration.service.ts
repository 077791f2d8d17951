/**
 * A registration whose address must be proven first. The username is kept, and a link is mailed; opening the link makes the user. An
 * address that has an account gets the same answer after the same work, and only its owner gets a mail about it.
 */
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import { databaseNow, type Transaction } from '../../platform/db/database.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { canonicalEmail } from '../users/canonical-login.ts'
import { FIRST_ROLES } from '../users/roles.ts'
import { findUserByLogin, insertUser, type NewUser, type User, updateUser } from '../users/users.repo.ts'
import type { BackgroundQueue } from './background-queue.ts'
import { type Links, linkHash, PROOF_TTL_SECONDS } from './links.ts'
import {
  deletePendingOf,
  dropExpiredPending,
  findPendingByLogin,
  findPendingByToken,
  insertPending,
  lockPendingOf,
  renewPending,
} from './pending-registrations.repo.ts'

export interface PendingRegistrationDeps {
  accounts: Accounts
  limits: CredentialLimits
  links: Links
  outbox: Outbox
  backgroundQueue: BackgroundQueue
}

export type PendingAccount = Pick<NewUser, 'username' | 'email' | 'email_canonical' | 'password_hash'>

export type PendingRegistrations = ReturnType<typeof createPendingRegistrations>

export function createPendingRegistrations({ accounts, limits, links, outbox, backgroundQueue }: PendingRegistrationDeps) {
  const lifeOf = async (trx: Transaction) => {
    const now = await databaseNow(trx)
    return { created_at: now, expires_at: new Date(now.getTime() + PROOF_TTL_SECONDS * 1000) }
  }

  async function mailAgain(email: string, context: AuditContext): Promise<void> {
    const mayMail = await limits.mail(email, 'verify_email')
    await accounts.transaction('email_verify_request', context, async ({ trx, record }) => {
      const waiting = await findPendingByLogin(trx, canonicalEmail(email))
      const outcome = !mayMail ? 'rate_limited' : waiting ? 'success' : 'not_found'
      await record({ outcome })
      if (!mayMail || !waiting) return
      const { tokenHash, url } = links.mint('verify_email')
      const { expires_at } = await lifeOf(trx)
      await renewPending(trx, waiting.id, tokenHash, expires_at)
      await postLink(trx, waiting.email, url)
    })
  }

  const postLink = (trx: Transaction, to: string, url: string) =>
    outbox.post(trx, {
      template: 'verify_email',
      data: { url, minutes: PROOF_TTL_SECONDS / 60 },
      to,
      userId: null,
      ttlSeconds: PROOF_TTL_SECONDS,
    })

  return {
    /** @throws a broken constraint when the name has just been taken */
    async begin({ password_hash, ...account }: PendingAccount, context: AuditContext): Promise<void> {
      const mayMail = await limits.mail(account.email, 'verify_email')
      await accounts.transaction('register', context, async ({ trx, record }) => {
        const owner = await findUserByLogin(trx, account.email_canonical)
        const { tokenHash, url } = links.mint('verify_email')
        if (account.username !== null) await dropExpiredPending(trx, account.username)
        await insertPending(trx, {
          id: uuidv7(),
          ...account,
          password_hash: owner ? null : password_hash,
          token_hash: tokenHash,
          ...(await lifeOf(trx)),
        })
        if (mayMail && owner) await outbox.post(trx, { template: 'already_registered', data: {}, to: owner.email, userId: owner.id })
        else if (mayMail) await postLink(trx, account.email, url)
        const detail = owner ? 'pending: the address has an account' : 'pending'
        // without the owner's id: the caller may be somebody else
        await record({ detail })
      })
    },

    /** Mails the link again. The registration is looked up after the answer, so the time of the answer does not depend on it. */
    remind(email: string, context: AuditContext): void {
      backgroundQueue.add('the mail for a registration', context.requestId, () => mailAgain(email, context))
    },

    /**
     * Makes a user of the registration that this link belongs to. Other registrations with the same address are deleted.
     * @returns undefined when the link belongs to no registration. @throws a broken constraint when name or address were taken meanwhile
     */
    async complete(trx: Transaction, token: string): Promise<User | undefined> {
      const hash = linkHash(token)
      const known = hash && (await findPendingByToken(trx, hash))
      if (!known) return undefined
      const waiting = await lockPendingOf(trx, known.email_canonical)
      const now = await databaseNow(trx)
      const pending = waiting.find(({ token_hash, expires_at }) => hash.equals(token_hash) && expires_at > now)
      if (!pending || pending.password_hash === null) return undefined
      await deletePendingOf(trx, pending.email_canonical)
      const { username, email, email_canonical, password_hash } = pending
      const user = await insertUser(trx, {
        id: uuidv7(),
        username,
        email,
        email_canonical,
        password_hash,
        roles: FIRST_ROLES,
        password_must_change: false,
      })
      return updateUser(trx, user.id, { email_verified_at: now })
    },
  }
}
