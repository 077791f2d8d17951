/** What a user may see and change of the own account. Roles are not part of it. */
import { insertAudit, type RequestOrigin } from '../audit/audit.repo.ts'
import { type Db, inTransaction } from '../db/database.ts'
import { problem } from '../errors.ts'
import type { Principal } from '../gateway/principal.ts'
import type { ClientOrigin } from '../http/networks.ts'
import type { SessionEnding } from '../sessions/ending.ts'
import type { Revocations } from '../sessions/revocations.ts'
import { canonicalEmail, canonicalUsername, isEmail, isUsername } from './canonical-login.ts'
import { lockCaller, type PasswordCheck } from './password-check.ts'
import { field } from './password-policy.ts'
import { asTaken } from './register.service.ts'
import { type UserView, viewOf } from './user-view.ts'
import { findUserById, type UserChange, updateUser } from './users.repo.ts'

export interface ProfileChange {
  username?: string
  email?: string
  current_password?: string
}

export interface ProfileDeps {
  db: Db
  passwordCheck: PasswordCheck
  ending: SessionEnding
  revocations: Revocations
}

export function createProfile({ db, passwordCheck, ending, revocations }: ProfileDeps) {
  async function get(userId: string): Promise<UserView> {
    const user = await findUserById(db, userId)
    if (!user) throw problem('token_revoked', { cause: 'the user is gone' })
    return viewOf(user)
  }

  /** A new e-mail address needs the password, is unverified, and outdates every access token: they carry the old one. */
  async function change(principal: Principal, input: ProfileChange, client: ClientOrigin, origin: RequestOrigin): Promise<UserView> {
    const wanted = readChange(input)
    const checked = input.email === undefined ? undefined : await passwordCheck(principal.id, input.current_password!, client)
    const { user, revocation } = await inTransaction(db, async (trx) => {
      const locked = await lockCaller(trx, principal, checked?.password_hash)
      const isNewEmail = wanted.email !== undefined && wanted.email !== locked.email
      const changed = await updateUser(trx, locked.id, { ...wanted, ...(isNewEmail ? { email_verified_at: null } : {}) })
      await insertAudit(trx, { event: 'profile_change', outcome: 'success', userId: locked.id, origin })
      return { user: changed, revocation: isNewEmail ? await ending.outdateTokens(trx, locked.id) : null }
    }).catch((error) => {
      throw asTaken(error)
    })
    if (revocation) await revocations.announce(revocation)
    return viewOf(user)
  }

  return { get, change }
}

function readChange({ username, email, current_password }: ProfileChange): UserChange {
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
    ...(email === undefined ? {} : { email, email_canonical: canonicalEmail(email) }),
  }
}
