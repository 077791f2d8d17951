/**
 * Registers a user: checks the names, hashes the password, writes user, session and audit row, and answers with the token pair. Where
 * addresses are proven first, `pending-registration.service.ts` does the rest.
 */

import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { brokenConstraint, type Db } from '../../platform/db/database.ts'
import { type FieldError, invalidField, problem } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { PasswordPolicy } from '../credentials/password-policy.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { ProofOfWork } from '../credentials/proof-of-work.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { type CookieWish, type SessionChoice, wishOf } from '../sessions/cookie-values.ts'
import type { Given } from '../sessions/open-session.ts'
import { BY_PASSWORD } from '../tokens/amr.ts'
import {
  assertNotReserved,
  canonicalEmail,
  canonicalUsername,
  nameFaults,
  newUsernameFaults,
  shownEmail,
} from '../users/canonical-login.ts'
import { assertNotHeld } from '../users/held-usernames.repo.ts'
import { FIRST_ROLES } from '../users/roles.ts'
import type { UserView } from '../users/user-view.ts'
import { findUserByLogin, insertUser } from '../users/users.repo.ts'
import type { LoginCompletion } from './complete-login.ts'
import { assertMailable, type IsMailable } from './mailable.ts'
import type { PendingAccount, PendingRegistrations } from './pending-registration.service.ts'
import { isPendingName } from './pending-registrations.repo.ts'
import type { PostProof } from './post-proof.ts'

export interface RegisterInput extends SessionChoice {
  username?: string | undefined
  email: string
  password: string
  proof_of_work?: string | undefined
}

export interface RegisterDeps {
  db: Db
  accounts: Accounts
  config: Config
  passwords: Passwords
  policy: PasswordPolicy
  limits: CredentialLimits
  proofOfWork: Pick<ProofOfWork, 'require'>
  loginCompletion: LoginCompletion
  postProof: PostProof
  isMailable: IsMailable
  pending: PendingRegistrations
}

/** `pending` where addresses are proven first, whether or not the address has an account. */
export type Registered = (Given & { user: UserView; device_token: string }) | { status: 'pending' }

export function createRegister({
  db,
  accounts,
  config,
  passwords,
  policy,
  limits,
  proofOfWork,
  loginCompletion,
  postProof,
  isMailable,
  pending,
}: RegisterDeps) {
  const provesFirst = config.auth.emailVerification === 'required'

  async function register(input: RegisterInput, context: RequestContext): Promise<Registered> {
    if (config.auth.registration !== 'open')
      throw problem('registration_closed', { cause: `auth.registration is ${config.auth.registration}` })
    passwords.assertRoom()
    // a client pays nothing for what is wrong before a look-up
    const account = await readAccount(input, policy.local, config.auth)
    await proofOfWork.require('register', input.proof_of_work, context)
    return limits.register(context.client, () => enter(account, input, context))
  }

  async function enter(account: ReadAccount, input: RegisterInput, context: AuditContext): Promise<Registered> {
    const { password } = input
    await assertMailable(isMailable, account.email)
    const fault = await policy(password, [account.username, account.email])
    if (fault) throw invalidField('password', fault.code, fault.detail)
    await refuseTaken(db, provesFirst ? { username: account.username } : account)
    assertNotReserved(account.username, config.auth.reservedUsernames)
    await assertNotHeld(db, { id: null, username: account.username })
    if (account.username !== null && (await isPendingName(db, account.username, account.email_canonical))) throw problem('username_taken')
    const password_hash = await passwords.hash(password)
    return provesFirst ? hold({ ...account, password_hash }, context) : admit({ ...account, password_hash }, wishOf(input), context)
  }

  async function hold(account: PendingAccount, context: AuditContext): Promise<Registered> {
    await pending.begin(account, context).catch((error) => {
      throw asTaken(error)
    })
    return { status: 'pending' }
  }

  async function admit(account: PendingAccount, wish: CookieWish | null, context: AuditContext): Promise<Registered> {
    const mayMail = await limits.mail(account.email, 'verify_email', 'stranger')
    const registered = accounts.transaction('register', context, async (tx) => {
      const { trx } = tx
      const user = await insertUser(trx, {
        id: uuidv7(),
        ...account,
        is_email_vouched: false,
        roles: FIRST_ROLES,
        password_must_change: false,
        language: context.language ?? null,
      })
      await assertNotHeld(trx, user)
      const entry = { amr: [...BY_PASSWORD], device: { token: undefined, device: null }, wish }
      const entered = await loginCompletion.open(tx, user, entry, context)
      if (mayMail) await postProof(trx, user, user.email, entered.session.id, context)
      await tx.record({ userId: user.id, sessionId: entered.session.id })
      return entered
    })
    const entered = await registered.catch((error) => {
      throw asTaken(error)
    })
    return loginCompletion.answer(entered)
  }

  return accounts.counted('register', register)
}

type ReadAccount = Awaited<ReturnType<typeof readAccount>>

/** @returns canonical names. @throws 422 with every field that is wrong */
export async function readAccount(
  { username, email, password }: RegisterInput,
  policy: PasswordPolicy | PasswordPolicy['local'],
  { username: usernames }: Pick<Config['auth'], 'username'>,
) {
  const account = {
    username: username === undefined ? null : canonicalUsername(username),
    email: shownEmail(email),
    email_canonical: canonicalEmail(email),
  }
  const fault = await policy(password, [username, email])
  const errors: FieldError[] = [
    ...newUsernameFaults(account.username, usernames),
    ...nameFaults(undefined, email),
    ...(fault ? [{ field: 'password', ...fault }] : []),
  ]
  if (errors.length) throw problem('validation_failed', { errors })
  return account
}

/** @throws 409. Of two registrations at the same moment, the unique index refuses one: see `asTaken`. */
export async function refuseTaken(
  db: Db,
  { username, email_canonical }: { username?: string | null; email_canonical?: string },
): Promise<void> {
  if (username && (await findUserByLogin(db, username))) throw problem('username_taken')
  if (email_canonical && (await findUserByLogin(db, email_canonical))) throw problem('email_taken')
}

/** The 409 for a broken unique index of `users`. @returns any other error as it is */
export function asTaken(error: unknown): unknown {
  const constraint = brokenConstraint(error)
  if (constraint === null) return error
  return problem(constraint.includes('email') ? 'email_taken' : 'username_taken')
}
