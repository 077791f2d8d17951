/** Someone new: check the names, hash the password, write user, session and audit row, hand out the pair. */
import { uuidv7 } from 'uuidv7'
import { insertAudit, type RequestOrigin } from '../audit/audit.repo.ts'
import type { Config } from '../config/schema.ts'
import { brokenConstraint, type Db, inTransaction } from '../db/database.ts'
import { type FieldError, Problem, problem } from '../errors.ts'
import type { ClientOrigin } from '../http/networks.ts'
import type { Metrics } from '../metrics.ts'
import type { SessionOpening } from '../sessions/opening.ts'
import { canonicalEmail, canonicalUsername, isEmail, isUsername } from './canonical-login.ts'
import type { CredentialLimits } from './credential-limits.ts'
import { passwordFault } from './password-policy.ts'
import type { Passwords } from './passwords.ts'
import { findUserByLogin, insertUser } from './users.repo.ts'

export interface RegisterInput {
  username: string
  email: string
  password: string
}

export interface RegisterDeps {
  db: Db
  config: Config
  passwords: Passwords
  limits: CredentialLimits
  opening: SessionOpening
  metrics: Metrics
}

/** No role comes from the caller: whoever registers is a `user`. */
const FIRST_ROLES = ['user']

export function createRegister({ db, config, passwords, limits, opening, metrics }: RegisterDeps) {
  async function register(input: RegisterInput, client: ClientOrigin, origin: RequestOrigin) {
    if (config.auth.registration === 'closed') throw problem('registration_closed')
    passwords.demandRoom()
    await limits.register(client)
    const account = readAccount(input, config.auth.password)
    await refuseTaken(db, account)
    const password_hash = await passwords.hash(input.password)
    const opened = await inTransaction(db, async (trx) => {
      const user = await insertUser(trx, { id: uuidv7(), ...account, password_hash, roles: FIRST_ROLES, password_must_change: false })
      const session = await opening.open(trx, user, origin)
      await insertAudit(trx, { event: 'register', outcome: 'success', userId: user.id, sessionId: session.session.id, origin })
      return { user, ...session }
    }).catch((error) => {
      throw asTaken(error)
    })
    return opening.pair(opened.user, opened.session, opened.refreshToken)
  }

  return async (...args: Parameters<typeof register>) => {
    try {
      const answer = await register(...args)
      metrics.registrations.inc({ outcome: 'success' })
      return answer
    } catch (error) {
      metrics.registrations.inc({ outcome: error instanceof Problem ? error.code : 'internal' })
      throw error
    }
  }
}

/** Canonical names. @throws 422 naming every field that is wrong */
export function readAccount({ username, email, password }: RegisterInput, policy: Config['auth']['password']) {
  const account = { username: canonicalUsername(username), email, email_canonical: canonicalEmail(email) }
  const fault = passwordFault(password, policy, [username, email])
  const errors: FieldError[] = [
    ...(isUsername(account.username)
      ? []
      : [{ field: 'username', detail: 'must be 3 to 32 of a-z 0-9 . _ - and begin with a letter or digit' }]),
    ...(isEmail(email) ? [] : [{ field: 'email', detail: 'must be an e-mail address' }]),
    ...(fault ? [{ field: 'password', detail: fault }] : []),
  ]
  if (errors.length) throw problem('validation_failed', { errors })
  return account
}

/** @throws 409. Two at the same moment are told apart by the unique index, see `asTaken`. */
export async function refuseTaken(db: Db, { username, email_canonical }: { username?: string; email_canonical?: string }): Promise<void> {
  if (username && (await findUserByLogin(db, username))) throw problem('username_taken')
  if (email_canonical && (await findUserByLogin(db, email_canonical))) throw problem('email_taken')
}

/** A unique index of `users` that an insert or update ran into, as its 409. */
export function asTaken(error: unknown): unknown {
  const constraint = brokenConstraint(error)
  if (constraint === null) return error
  return problem(constraint.includes('email') ? 'email_taken' : 'username_taken')
}
