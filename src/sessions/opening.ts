/** A session opens: its row, its first refresh token, and the pair that the client gets. */
import { uuidv7 } from 'uuidv7'
import type { Grants } from '../accounts/roles.ts'
import { type UserView, viewOf } from '../accounts/user-view.ts'
import type { User } from '../accounts/users.repo.ts'
import type { RequestOrigin } from '../audit/audit.repo.ts'
import type { Config } from '../config/schema.ts'
import { databaseNow, type Transaction } from '../db/database.ts'
import type { AccessTokens } from '../tokens/access-tokens.ts'
import type { RefreshTokens } from '../tokens/refresh-tokens.ts'
import { insertSession, type Session } from './sessions.repo.ts'

export interface TokenPair {
  access_token: string
  refresh_token: string
  token_type: 'Bearer'
  /** Seconds. */
  expires_in: number
}

export interface SessionOpening {
  open(trx: Transaction, user: User, origin: RequestOrigin): Promise<{ session: Session; refreshToken: string }>
  /** The pair; after the commit, since it needs no lock. */
  pair(user: User, session: Session, refreshToken: string): Promise<TokenPair & { user: UserView }>
}

export interface SessionOpeningDeps {
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  grantsOf: (roles: readonly string[]) => Grants
  config: Config
}

const MAX_USER_AGENT = 256

export function createSessionOpening({ accessTokens, refreshTokens, grantsOf, config }: SessionOpeningDeps): SessionOpening {
  return {
    async open(trx, user, origin) {
      const now = await databaseNow(trx)
      const session = await insertSession(trx, {
        id: uuidv7(),
        user_id: user.id,
        amr: ['pwd'],
        ip: origin.ip,
        user_agent: origin.userAgent?.slice(0, MAX_USER_AGENT) ?? null,
        auth_time: now,
        last_used_at: now,
        expires_at: new Date(now.getTime() + config.auth.sessions.absoluteTtlSeconds * 1000),
      })
      return { session, refreshToken: await refreshTokens.start(trx, session, now) }
    },

    async pair(user, session, refreshToken) {
      const accessToken = await accessTokens.issue({
        userId: user.id,
        sessionId: session.id,
        epoch: user.token_epoch,
        ...grantsOf(user.roles),
        amr: session.amr,
        authTime: session.auth_time,
        email: user.email,
        emailVerified: user.email_verified_at !== null,
        username: user.username,
        mustChangePassword: user.password_must_change,
      })
      return {
        user: viewOf(user),
        access_token: accessToken,
        refresh_token: refreshToken,
        token_type: 'Bearer',
        expires_in: config.tokens.accessTtlSeconds,
      }
    },
  }
}
