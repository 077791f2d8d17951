/**
 * Someone new whose address is to be proven: the name is kept and a link is mailed; who opens it is a user. An address that has an account is
 * treated alike, in answer and in work, and only its owner is told.
 */
import { uuidv7 } from 'uuidv7'
import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, inTransaction, type Transaction } from '../../platform/db/database.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
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
  db: Db
  audit: Audit
  limits: CredentialLimits
  links: Links
  outbox: Outbox
  backgroundQueue: BackgroundQueue
}

export type PendingAccount = Pick<NewUser, 'username' | 'email' | 'email_canonical' | 'password_hash'>

export type PendingRegistrations = ReturnType<typeof createPendingRegistrations>

export function createPendingRegistrations({ db, audit, limits, links, outbox, backgroundQueue }: PendingRegistrationDeps) {
  const lifeOf = async (trx: Transaction) => {
    const now = await databaseNow(trx)
    return { created_at: now, expires_at: new Date(now.getTime() + PROOF_TTL_SECONDS * 1000) }
  }

  async function mailAgain(email: string, context: AuditContext): Promise<void> {
    const mayMail = await limits.mail(email, 'verify_email')
    await inTransaction(db, async (trx) => {
      const waiting = await findPendingByLogin(trx, canonicalEmail(email))
      const outcome = !mayMail ? 'rate_limited' : waiting ? 'success' : 'not_found'
      await audit.record(trx, { event: 'email_verify_request', outcome, context })
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
    /** @throws a broken constraint when somebody else has just taken the name */
    async begin({ password_hash, ...account }: PendingAccount, context: AuditContext): Promise<void> {
      const mayMail = await limits.mail(account.email, 'verify_email')
      await inTransaction(db, async (trx) => {
        const owner = await findUserByLogin(trx, account.email_canonical)
        const { tokenHash, url } = links.mint('verify_email')
        await dropExpiredPending(trx, account.username)
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
        // whoever asks is not the owner, as far as anybody knows
        await audit.record(trx, { event: 'register', outcome: 'success', detail, context })
      })
    },

    /** The link once more, for whoever waits under this address. It is looked for after the answer, which so takes as long if nobody does. */
    remind(email: string, context: AuditContext): void {
      backgroundQueue.add('the mail for a registration', context.requestId, () => mailAgain(email, context))
    },

    /**
     * Makes a user of whom a link was mailed to; whoever else waits for the address has lost it.
     * @returns undefined when the link is none of a registration. @throws a broken constraint when name or address were taken meanwhile
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
