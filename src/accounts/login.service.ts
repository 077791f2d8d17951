/** Find the user, check the password with equal work for everybody, open the session, issue the pair. */
import { insertAudit, type RequestOrigin } from '../audit/audit.repo.ts'
import { type Db, databaseNow, inTransaction } from '../db/database.ts'
import { Problem, problem } from '../errors.ts'
import type { ClientOrigin } from '../http/networks.ts'
import type { Metrics } from '../metrics.ts'
import type { SessionOpening } from '../sessions/opening.ts'
import { canonicalLogin } from './canonical-login.ts'
import type { CredentialLimits } from './credential-limits.ts'
import { MAX_PASSWORD_BYTES, type Passwords } from './passwords.ts'
import { findUserByLogin, lockUser, replaceHash, type User, updateUser } from './users.repo.ts'

export interface LoginDeps {
  db: Db
  passwords: Passwords
  limits: CredentialLimits
  opening: SessionOpening
  metrics: Metrics
}

export function createLogin({ db, passwords, limits, opening, metrics }: LoginDeps) {
  async function login(input: { login: string; password: string }, client: ClientOrigin, origin: RequestOrigin) {
    passwords.demandRoom()
    const name = canonicalLogin(input.login)
    // Postgres holds no NUL, so nobody is called that
    const user = name.includes('\0') ? null : ((await findUserByLogin(db, name)) ?? null)
    return limits.login(client, user ? { id: user.id } : { unknown: name }, () => enter(user, input.password, origin))
  }

  async function enter(user: User | null, password: string, origin: RequestOrigin) {
    // the same hash is computed for a user who does not exist
    const isTooLong = Buffer.byteLength(password) > MAX_PASSWORD_BYTES
    const matches = await passwords.verify(isTooLong ? null : (user?.password_hash ?? null), isTooLong ? '' : password)
    if (!user || !matches || user.disabled_at) {
      await auditRefusal(user, origin)
      throw problem('invalid_credentials', { cause: !user ? 'unknown user' : matches ? 'disabled user' : 'wrong password' })
    }
    const rehashed = passwords.needsRehash(user.password_hash) ? await passwords.hash(password) : null

    const opened = await inTransaction(db, async (trx) => {
      const locked = await lockUser(trx, user.id)
      // the password was checked without a lock: what it was checked against must still hold
      const isSame =
        locked && locked.password_hash === user.password_hash && locked.session_epoch === user.session_epoch && !locked.disabled_at
      if (!isSame) throw problem('invalid_credentials', { cause: 'the account changed while the password was checked' })
      if (rehashed) await replaceHash(trx, user.id, user.password_hash, rehashed)
      const current = await updateUser(trx, user.id, { last_login_at: await databaseNow(trx) })
      const session = await opening.open(trx, current, origin)
      await insertAudit(trx, { event: 'login', outcome: 'success', userId: user.id, sessionId: session.session.id, origin })
      return { user: current, ...session }
    })
    return opening.pair(opened.user, opened.session, opened.refreshToken)
  }

  const auditRefusal = (user: User | null, origin: RequestOrigin) =>
    inTransaction(db, (trx) => insertAudit(trx, { event: 'login', outcome: 'invalid_credentials', userId: user?.id ?? null, origin }))

  return async (...args: Parameters<typeof login>) => {
    try {
      const answer = await login(...args)
      metrics.logins.inc({ outcome: 'success' })
      return answer
    } catch (error) {
      metrics.logins.inc({ outcome: error instanceof Problem ? error.code : 'internal' })
      throw error
    }
  }
}
