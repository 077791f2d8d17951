/**
 * A person accepts an invitation. The token was mailed, so who brings it reads the mailbox: the address is proven. A GET only looks; a POST
 * uses the invitation up.
 */

import { randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { PasswordPolicy } from '../credentials/password-policy.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { type SessionChoice, wishOf } from '../sessions/cookie-values.ts'
import { BY_PASSWORD } from '../tokens/amr.ts'
import { assertNotHeld } from '../users/held-usernames.repo.ts'
import { FIRST_ROLES, type Grants } from '../users/roles.ts'
import { findUserById, findUserByLogin, insertUser, type User, updateUser } from '../users/users.repo.ts'
import type { LoginCompletion } from './complete-login.ts'
import { findInvitation, type Invitation, takeInvitation } from './invitations.repo.ts'
import { linkHash } from './links.ts'
import { deletePendingOf } from './pending-registrations.repo.ts'
import { asTaken, readAccount } from './register.service.ts'

export interface InvitationsDeps {
  db: Db
  accounts: Accounts
  config: Pick<Config, 'auth'>
  passwords: Passwords
  policy: PasswordPolicy
  limits: CredentialLimits
  loginCompletion: LoginCompletion
  grantsOf: (roles: readonly string[]) => Grants
}

export interface InvitationDetails {
  email: string
  /** RFC 3339 */
  expires_at: string
  /** The address has an account: it accepts the invitation when it is logged in. */
  has_account: boolean
}

export interface Acceptance extends SessionChoice {
  username?: string
  password: string
}

/** @returns the token for the link, and what the database keeps of it */
export function mintInvitation(): { token: string; tokenHash: Buffer } {
  const token = randomBytes(32).toString('base64url')
  return { token, tokenHash: linkHash(token)! }
}

const invalid = (cause: string) => problem('invitation_invalid', { cause })

export function createInvitations({ db, accounts, config, passwords, policy, limits, loginCompletion, grantsOf }: InvitationsDeps) {
  /** @throws invitation_invalid */
  async function find(token: string): Promise<Invitation> {
    const hash = linkHash(token)
    const invitation = hash && (await findInvitation(db, hash))
    if (!invitation) throw invalid('unknown, used, withdrawn or expired')
    await assertInviterStands(db, invitation)
    return invitation
  }

  /** Inviters who lost the right to invite leave no door open. @throws invitation_invalid */
  async function assertInviterStands(on: Db | Transaction, { invited_by, roles }: Invitation): Promise<void> {
    // by the command line
    if (invited_by === null) return
    const inviter = await findUserById(on, invited_by)
    const own = inviter && !inviter.disabled_at ? grantsOf(inviter.roles).roles : []
    if (!['admin', ...roles].every((role) => own.includes(role))) throw invalid('the inviter no longer has these roles')
  }

  async function take(trx: Transaction, tokenHash: Buffer): Promise<Invitation> {
    const taken = await takeInvitation(trx, tokenHash)
    if (!taken) throw invalid('used, withdrawn or expired meanwhile')
    await assertInviterStands(trx, taken)
    return taken
  }

  const details = (token: string, context: RequestContext): Promise<InvitationDetails> =>
    limits.link(context.client, async () => {
      const { email, email_canonical, expires_at } = await find(token)
      const owner = await findUserByLogin(db, email_canonical)
      return { email, expires_at: expires_at.toISOString(), has_account: owner !== undefined }
    })

  /** Makes an account with a password, and logs in. @throws invitation_invalid, email_taken, validation_failed */
  async function accept(token: string, input: Acceptance, context: RequestContext) {
    return limits.link(context.client, async () => {
      const { email, email_canonical, token_hash } = await find(token)
      passwords.assertRoom()
      const account = await readAccount({ ...input, email }, policy, config.auth)
      if (await findUserByLogin(db, email_canonical)) throw problem('email_taken', { cause: 'log in to accept the invitation' })
      const password_hash = await passwords.hash(input.password)
      const work = accounts.transaction('invitation_accept', context, async (tx) => {
        const { trx } = tx
        const { id, roles } = await take(trx, token_hash)
        const made = await insertUser(trx, {
          id: uuidv7(),
          ...account,
          is_email_vouched: false,
          password_hash,
          roles: [...new Set([...FIRST_ROLES, ...roles])].sort(),
          password_must_change: false,
          language: context.language ?? null,
        })
        await assertNotHeld(trx, made)
        const user = await updateUser(trx, made.id, { email_verified_at: await databaseNow(trx) })
        await deletePendingOf(trx, email_canonical)
        const entry = { amr: [...BY_PASSWORD], device: { token: undefined, device: null }, wish: wishOf(input) }
        const entered = await loginCompletion.open(tx, user, entry, context)
        await tx.record({ userId: user.id, sessionId: entered.session.id, detail: id })
        return entered
      })
      return loginCompletion.answer(
        await work.catch((error) => {
          throw asTaken(error)
        }),
      )
    })
  }

  /** An account that exists gets the roles. @throws invitation_invalid when it has another address */
  async function acceptFor(principal: Principal, token: string, context: RequestContext): Promise<void> {
    await limits.link(context.client, async () => {
      const { token_hash } = await find(token)
      await accounts.transaction('invitation_accept', context, async (tx) => {
        const user = await tx.lockCaller(principal)
        const invitation = await take(tx.trx, token_hash)
        if (invitation.email_canonical !== user.email_canonical) throw invalid('the invitation is of another address')
        await grant(tx, user, invitation)
      })
    })
  }

  async function grant({ trx, revoke, record }: AccountTransaction, user: User, { id, roles }: Invitation): Promise<void> {
    const all = [...new Set([...user.roles, ...roles])].sort()
    const email_verified_at = user.email_verified_at ?? (await databaseNow(trx))
    await updateUser(trx, user.id, { roles: all, email_verified_at })
    await record({ userId: user.id, detail: id })
    if (all.length > user.roles.length || !user.email_verified_at) await revoke.outdateTokens(user.id)
  }

  return {
    details,
    accept: accounts.counted('invitation_accept', accept),
    acceptFor: accounts.counted('invitation_accept', acceptFor),
    /** For a sign-in with a provider. @throws invitation_invalid */
    async forProvider(tx: AccountTransaction, tokenHash: Buffer) {
      const found = await findInvitation(tx.trx, tokenHash)
      if (!found) throw invalid('used, withdrawn or expired meanwhile')
      return {
        email: found.email,
        roles: found.roles,
        async accept(userId: string): Promise<void> {
          await take(tx.trx, tokenHash)
          await tx.record({ event: 'invitation_accept', userId, detail: found.id })
        },
      }
    },
  }
}
