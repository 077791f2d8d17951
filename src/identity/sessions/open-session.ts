/** Opens a session: its row, its first refresh token, and the token pair for the client. */
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { databaseNow } from '../../platform/db/database.ts'
import type { AccessTokens } from '../tokens/access-tokens.ts'
import type { Grants } from '../users/roles.ts'
import { type UserView, viewOf } from '../users/user-view.ts'
import { findUserById, type User } from '../users/users.repo.ts'
import type { AccountTransaction } from './account-transaction.ts'
import type { RefreshTokens } from './refresh-tokens.ts'
import { type Authentication, findLivingSessions, insertSession, type Session } from './sessions.repo.ts'

export interface TokenPair {
  access_token: string
  refresh_token: string
  token_type: 'Bearer'
  /** Seconds. */
  expires_in: number
}

/** A new session with its token pair. The caller's transaction has yet to commit. */
export interface Opened {
  user: User
  session: Session
  pair: TokenPair
}

export interface SessionOpener {
  /**
   * Opens a session, and ends the oldest sessions beyond `maxPerUser`. It issues the access token before the commit, so that a refused token
   * leaves no session. @throws identity_too_large
   */
  open(tx: AccountTransaction, user: User, how: Authentication, context: AuditContext): Promise<Opened>
  /** Makes the answer. Nothing in it can fail. */
  answer(opened: Opened): TokenPair & { user: UserView }
  /** Issues an access token of the session. Call it before the commit. @throws identity_too_large */
  pair(user: User, session: Session, refreshToken: string): Promise<TokenPair>
}

export interface SessionOpenerDeps {
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  grantsOf: (roles: readonly string[]) => Grants
  config: Config
}

const MAX_USER_AGENT = 256

export function createSessionOpener({ accessTokens, refreshTokens, grantsOf, config }: SessionOpenerDeps): SessionOpener {
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

  return {
    async open(tx, user, { amr, deviceId, authTime }, context) {
      const now = await databaseNow(tx.trx)
      const session = await insertSession(tx.trx, {
        id: uuidv7(),
        user_id: user.id,
        amr,
        ip: context.ip,
        user_agent: context.userAgent?.slice(0, MAX_USER_AGENT) ?? null,
        device_id: deviceId,
        created_at: now,
        auth_time: authTime ?? now,
        last_used_at: now,
        expires_at: new Date(now.getTime() + absoluteTtlSeconds * 1000),
      })
      const refreshToken = await refreshTokens.start(tx.trx, session, now)
      const current = await endSurplus(tx, user, now)
      return { user: current, session, pair: await pair(current, session, refreshToken) }
    },
    answer: ({ user, pair }) => ({ user: viewOf(user), ...pair }),
    pair,
  }
}
