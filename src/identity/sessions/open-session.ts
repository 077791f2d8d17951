/** Opens a session: its row, and its first token pair or its first cookie. A session by cookie has no tokens. */
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { databaseNow, type Transaction } from '../../platform/db/database.ts'
import type { Geo } from '../../platform/geo/geo.ts'
import type { AccessTokens } from '../tokens/access-tokens.ts'
import type { Grants } from '../users/roles.ts'
import { type UserView, viewOf } from '../users/user-view.ts'
import { findUserById, type User } from '../users/users.repo.ts'
import type { AccountTransaction } from './account-transaction.ts'
import { type CookieValues, type CookieWish, cookieHash, type NewCookie } from './cookie-values.ts'
import type { RefreshTokens } from './refresh-tokens.ts'
import { insertSessionCookie, type SessionCookie, supersedeSessionCookies } from './session-cookies.repo.ts'
import { type Authentication, findLivingSessions, insertSession, type Session, updateLevel } from './sessions.repo.ts'

export interface TokenPair {
  access_token: string
  refresh_token: string
  token_type: 'Bearer'
  /** Seconds. */
  expires_in: number
}

/** What the client gets to use the session. */
export type Given = TokenPair | { cookie: NewCookie }

/** A session with what the client gets. The caller's transaction has yet to commit. */
export interface Opened {
  user: User
  session: Session
  given: Given
}

export interface SessionOpener {
  /**
   * Opens a session, and ends the oldest sessions beyond `maxPerUser`. It issues the access token before the commit, so that a refused token
   * leaves no session. @param wish null: the client gets tokens. @throws identity_too_large
   */
  open(tx: AccountTransaction, user: User, how: Authentication & { wish: CookieWish | null }, context: AuditContext): Promise<Opened>
  /**
   * After a step-up: gives a session by cookie a new value. The session stays the same, with its streams. The old value ends shortly after.
   * @param session locked by this transaction
   */
  raise(tx: AccountTransaction, user: User, session: Session, how: Raised): Promise<Opened>
  /** Makes the answer. Nothing in it can fail. */
  answer(opened: Opened): Given & { user: UserView }
  /** Issues an access token of the session. Call it before the commit. @throws identity_too_large */
  pair(user: User, session: Session, refreshToken: string): Promise<TokenPair>
}

/** What the holder of the new value has shown. */
export type Raised = Pick<SessionCookie, 'amr' | 'auth_time' | 'purpose' | 'is_persistent'>

export interface SessionOpenerDeps {
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  values: CookieValues
  grantsOf: (roles: readonly string[]) => Grants
  config: Config
  geo: Geo
}

const MAX_USER_AGENT = 256

export function createSessionOpener({ accessTokens, refreshTokens, values, grantsOf, config, geo }: SessionOpenerDeps): SessionOpener {
  const { absoluteTtlSeconds, maxPerUser } = config.auth.sessions

  /** @returns the user afterwards: the end of a session may raise the epoch that tokens carry */
  async function endSurplus({ trx, revoke }: AccountTransaction, user: User, now: Date): Promise<User> {
    if (maxPerUser === 0) return user
    const surplus = (await findLivingSessions(trx, user.id, now)).slice(maxPerUser)
    for (const { id } of surplus) await revoke.session(user.id, id, 'surplus')
    return surplus.length ? (await findUserById(trx, user.id))! : user
  }

  async function pair(user: User, session: Session, refreshToken: string): Promise<TokenPair> {
    const { token, expiresInSeconds } = await accessTokens.issue({
      userId: user.id,
      sessionId: session.id,
      epoch: user.token_epoch,
      ...grantsOf(user.roles),
      amr: session.amr,
      authTime: session.auth_time,
      sessionEndsAt: session.expires_at,
      email: user.email,
      emailVerified: user.email_verified_at !== null,
      username: user.username,
      mustChangePassword: user.password_must_change,
      metadata: user.metadata,
    })
    return { access_token: token, refresh_token: refreshToken, token_type: 'Bearer', expires_in: expiresInSeconds }
  }

  async function addCookie(trx: Transaction, session: Session, how: Raised, now: Date): Promise<NewCookie> {
    const value = values.make(how.purpose)
    await insertSessionCookie(trx, { id: uuidv7(), session_id: session.id, token_hash: cookieHash(value), created_at: now, ...how })
    const restSeconds = Math.max(0, Math.floor((session.expires_at.getTime() - now.getTime()) / 1000))
    return { value, maxAgeSeconds: how.is_persistent ? restSeconds : null }
  }

  return {
    async open(tx, user, { amr, deviceId, authTime, wish }, context) {
      const now = await databaseNow(tx.trx)
      const session = await insertSession(tx.trx, {
        id: uuidv7(),
        user_id: user.id,
        amr,
        ip: context.ip,
        user_agent: context.userAgent?.slice(0, MAX_USER_AGENT) ?? null,
        device_id: deviceId,
        country: context.client ? geo.countryOf(context.client) : null,
        created_at: now,
        auth_time: authTime ?? now,
        last_used_at: now,
        expires_at: new Date(now.getTime() + absoluteTtlSeconds * 1000),
      })
      if (wish) {
        const how = { amr, auth_time: session.auth_time, purpose: wish.purpose, is_persistent: wish.isPersistent }
        const cookie = await addCookie(tx.trx, session, how, now)
        return { user: await endSurplus(tx, user, now), session, given: { cookie } }
      }
      const refreshToken = await refreshTokens.start(tx.trx, session, now)
      const current = await endSurplus(tx, user, now)
      return { user: current, session, given: await pair(current, session, refreshToken) }
    },
    async raise({ trx, revoke }, user, session, { amr, auth_time, purpose, is_persistent }) {
      const now = await databaseNow(trx)
      for (const { id } of await supersedeSessionCookies(trx, session.id, now)) await revoke.credential(user.id, id)
      const cookie = await addCookie(trx, session, { amr, auth_time, purpose, is_persistent }, now)
      await updateLevel(trx, session.id, amr, auth_time)
      return { user, session, given: { cookie } }
    },
    answer: ({ user, given }) => ({ user: viewOf(user), ...given }),
    pair,
  }
}
