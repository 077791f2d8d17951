/** A session opens: its row, its first refresh token, and the pair that the client gets. */
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { databaseNow, type Transaction } from '../../platform/db/database.ts'
import type { AccessTokens } from '../tokens/access-tokens.ts'
import type { Grants } from '../users/roles.ts'
import { type UserView, viewOf } from '../users/user-view.ts'
import type { User } from '../users/users.repo.ts'
import type { RefreshTokens } from './refresh-tokens.ts'
import type { Revocation } from './revocations.repo.ts'
import type { Revocations } from './revocations.ts'
import type { SessionRevoker } from './revoke-sessions.ts'
import { findLivingSessions, insertSession, type Session } from './sessions.repo.ts'

export interface TokenPair {
  access_token: string
  refresh_token: string
  token_type: 'Bearer'
  /** Seconds. */
  expires_in: number
}

/** How somebody has shown who they are. */
export interface Authentication {
  /** RFC 8176: `pwd`, and `otp`, `mfa` with a second factor. */
  amr: string[]
  deviceId: string | null
  /** When, if that was before. */
  authTime?: Date
}

export interface Opened {
  user: User
  session: Session
  refreshToken: string
  /** Sessions that had to make room. */
  ended: Revocation[]
}

export interface SessionOpener {
  open(trx: Transaction, user: User, how: Authentication, context: AuditContext): Promise<Opened>
  /** After the commit: tells every gateway what ended, and makes the pair. */
  answer(opened: Opened): Promise<TokenPair & { user: UserView }>
  pair(user: User, session: Session, refreshToken: string): Promise<TokenPair>
}

export interface SessionOpenerDeps {
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  sessionRevoker: SessionRevoker
  revocations: Revocations
  grantsOf: (roles: readonly string[]) => Grants
  config: Config
}

const MAX_USER_AGENT = 256

export function createSessionOpener({
  accessTokens,
  refreshTokens,
  sessionRevoker,
  revocations,
  grantsOf,
  config,
}: SessionOpenerDeps): SessionOpener {
  const { absoluteTtlSeconds, maxPerUser } = config.auth.sessions

  async function endSurplus(trx: Transaction, userId: string, now: Date): Promise<Revocation[]> {
    if (maxPerUser === 0) return []
    const surplus = (await findLivingSessions(trx, userId, now)).slice(maxPerUser)
    const ended: Revocation[] = []
    for (const { id } of surplus) ended.push(await sessionRevoker.endSession(trx, userId, id, 'surplus'))
    return ended
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
    })
    return { access_token: token, refresh_token: refreshToken, token_type: 'Bearer', expires_in: expiresInSeconds }
  }

  return {
    async open(trx, user, { amr, deviceId, authTime }, context) {
      const now = await databaseNow(trx)
      const session = await insertSession(trx, {
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
      return { user, session, refreshToken: await refreshTokens.start(trx, session, now), ended: await endSurplus(trx, user.id, now) }
    },
    async answer({ user, session, refreshToken, ended }) {
      await Promise.all(ended.map(revocations.announce))
      return { user: viewOf(user), ...(await pair(user, session, refreshToken)) }
    },
    pair,
  }
}
