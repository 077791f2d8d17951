/** What a page asks when it is loaded: who is logged in, and how. */
import type { Db } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { Principal } from '../access/principal.ts'
import { findCookieById } from '../sessions/session-cookies.repo.ts'
import { findSession } from '../sessions/sessions.repo.ts'
import { type UserView, viewOf } from '../users/user-view.ts'
import { findUserById } from '../users/users.repo.ts'

export interface SessionState {
  user: UserView
  session: {
    id: string
    /** RFC 8176 */
    amr: string[]
    /** The absolute end. */
    expires_at: string
  }
}

export type OwnSession = (principal: Principal) => Promise<SessionState>

export function createOwnSession({ db }: { db: Db }): OwnSession {
  return async ({ id: userId, sessionId, cookieId }) => {
    const [user, session, cookie] = await Promise.all([
      findUserById(db, userId),
      findSession(db, sessionId),
      cookieId === null ? undefined : findCookieById(db, cookieId),
    ])
    if (!user || !session) throw problem('token_revoked', { cause: 'the session was deleted' })
    const { amr } = cookie ?? session
    return { user: viewOf(user), session: { id: sessionId, amr, expires_at: session.expires_at.toISOString() } }
  }
}
