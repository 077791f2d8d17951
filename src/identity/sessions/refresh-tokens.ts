/**
 * Refresh tokens: opaque, only their SHA-256 at rest, exchanged for a successor at each use. A session is a family of them, of which one
 * lives. Every transaction locks in the same order, each lock a statement of its own: user → session → token; what is decided is read after
 * the wait, and only then is the time taken, from the database's clock.
 */
import { createHash, randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, inTransaction, isDatabaseAway, type Transaction } from '../../platform/db/database.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { type Secrets, UnreadableSecret } from '../../platform/vault/secrets.ts'
import { lockUser, lockUserForShare, type User } from '../users/users.repo.ts'
import {
  findChild,
  findRefreshToken,
  findUsableRefreshToken,
  forgetRetry,
  insertRefreshToken,
  lockRefreshToken,
  markRotated,
  type RefreshToken,
  type UsableRefreshToken,
} from './refresh-tokens.repo.ts'
import type { Revocation } from './revocations.repo.ts'
import type { SessionRevoker } from './revoke-sessions.ts'
import { lockSession, type Session, touchSession } from './sessions.repo.ts'

/** Judged in this order: unknown → revoked → superseded | reused → expired → rotated. */
export type RefreshOutcome =
  | { outcome: 'rotated' | 'repeated'; user: User; session: Session; refreshToken: string }
  | { outcome: 'reused'; revocation: Revocation }
  | { outcome: 'unknown' | 'revoked' | 'superseded' | 'expired' }

export interface RefreshTokens {
  /** The first token of a new session. */
  start(trx: Transaction, session: Session, now: Date): Promise<string>
  /** Exchanges a token for its one successor. */
  rotate(presented: string, context: AuditContext): Promise<RefreshOutcome>
  /** The session that a token belongs to, whatever its state. */
  locate(presented: string): Promise<{ sessionId: string; userId: string } | null>
  /** One that could be exchanged now, looked at without doing it. */
  inspect(presented: string): Promise<UsableRefreshToken | null>
}

export interface RefreshTokensDeps {
  db: Db
  audit: Audit
  outbox: Outbox
  secrets: Secrets
  sessionRevoker: SessionRevoker
  tokens: Config['tokens']
  auth: Pick<Config['auth'], 'refresh' | 'sessions'>
}

const PREFIX = 'rt_'
const FORM = /^rt_[A-Za-z0-9_-]{43}$/
export const looksLikeRefreshToken = (token: string): boolean => token.startsWith(PREFIX)
const hashOf = (token: string) => createHash('sha256').update(token).digest()

export function createRefreshTokens({ db, audit, outbox, secrets, sessionRevoker, tokens, auth }: RefreshTokensDeps): RefreshTokens {
  const { refresh } = auth
  // a session is idle as long as its token is not exchanged
  const ttlSeconds = Math.min(tokens.refreshTtlSeconds, auth.sessions.idleTtlSeconds ?? Number.POSITIVE_INFINITY)

  /** Shared among refreshes; alone where a reuse would write to the user. */
  const lockOwner: typeof lockUser = (trx, id) =>
    refresh.onReuse === 'revokeUser' || sessionRevoker.writesUser() ? lockUser(trx, id) : lockUserForShare(trx, id)

  async function start(trx: Transaction, session: Session, now: Date): Promise<string> {
    const token = PREFIX + randomBytes(32).toString('base64url')
    await insertRefreshToken(trx, { ...birth(session, now), token_hash: hashOf(token), parent_id: null })
    return token
  }

  const birth = (session: Session, now: Date) => ({
    id: uuidv7(),
    session_id: session.id,
    created_at: now,
    expires_at: new Date(Math.min(now.getTime() + ttlSeconds * 1000, session.expires_at.getTime())),
  })

  /** A function of the parent: to repeat an answer nothing reversible need be stored. */
  const childOf = (sessionId: string, parent: string, nonce: Buffer, keyId?: string) =>
    PREFIX + secrets.derive('refresh token', Buffer.concat([Buffer.from(`${sessionId}|${parent}|`), nonce]), keyId).toString('base64url')

  async function rotate(presented: string, context: AuditContext): Promise<RefreshOutcome> {
    const place = FORM.test(presented) ? await findRefreshToken(db, hashOf(presented)) : undefined
    if (!place) return { outcome: 'unknown' }
    // derived before the transaction, so that a connection lost around COMMIT is answered by looking, not by guessing
    const nonce = randomBytes(16)
    const child = childOf(place.session_id, presented, nonce)
    try {
      return await inTransaction(db, (trx) => judge(trx, { ...place, presented, child, nonce, context }))
    } catch (error) {
      const committed = isDatabaseAway(error) ? await lookFor(place, child).catch(() => null) : null
      if (committed) return committed
      throw error
    }
  }

  /** The locks wait for a transaction whose end we have not heard of: then it has happened, or it has not. */
  const lookFor = (place: { id: string; session_id: string; user_id: string }, child: string): Promise<RefreshOutcome | null> =>
    inTransaction(db, async (trx) => {
      const user = await lockUserForShare(trx, place.user_id)
      const session = await lockSession(trx, place.session_id)
      const born = await findChild(trx, place.id)
      const isOurs = user && session && !session.revoked_at && !user.disabled_at && born && hashOf(child).equals(born.token_hash)
      return isOurs ? { outcome: 'rotated' as const, user, session, refreshToken: child } : null
    })

  interface Attempt {
    id: string
    session_id: string
    user_id: string
    presented: string
    child: string
    nonce: Buffer
    context: AuditContext
  }

  async function judge(trx: Transaction, attempt: Attempt): Promise<RefreshOutcome> {
    const user = await lockOwner(trx, attempt.user_id)
    const session = await lockSession(trx, attempt.session_id)
    const token = await lockRefreshToken(trx, attempt.id)
    const now = await databaseNow(trx)
    if (!user || !session || !token) return { outcome: 'unknown' }
    if (session.revoked_at || user.disabled_at) return { outcome: 'revoked' }
    if (token.rotated_at) return judgeRotated(trx, { ...attempt, user, session, token, now })
    if (token.expires_at <= now || session.expires_at <= now) return { outcome: 'expired' }

    const retry = refresh.onRetry === 'repeat' ? { nonce: attempt.nonce, keyId: secrets.keyId } : null
    await markRotated(trx, token.id, now, retry)
    await insertRefreshToken(trx, { ...birth(session, now), token_hash: hashOf(attempt.child), parent_id: token.id })
    if (token.parent_id) await forgetRetry(trx, token.parent_id)
    await touchSession(trx, session.id, now)
    return { outcome: 'rotated', user, session, refreshToken: attempt.child }
  }

  /** A token that has a child: within grace, and while the child was never used, a retry of the client's own; anything else is theft. */
  async function judgeRotated(
    trx: Transaction,
    attempt: Attempt & { user: User; session: Session; token: RefreshToken; now: Date },
  ): Promise<RefreshOutcome> {
    const { user, session, token, now, presented, context } = attempt
    const child = await findChild(trx, token.id)
    const inGrace = now.getTime() - token.rotated_at!.getTime() <= refresh.graceSeconds * 1000
    if (inGrace && child && child.rotated_at === null) {
      const isOver = child.expires_at <= now || session.expires_at <= now
      const successor = !isOver && token.retry_nonce && repeatChild(session.id, presented, token)
      if (successor && hashOf(successor).equals(child.token_hash)) return { outcome: 'repeated', user, session, refreshToken: successor }
      return { outcome: 'superseded' }
    }
    const whole = refresh.onReuse === 'revokeUser'
    const revocation = whole
      ? await sessionRevoker.endAllSessions(trx, user.id, 'reuse')
      : await sessionRevoker.endSession(trx, user.id, session.id, 'reuse')
    await audit.record(trx, { event: 'refresh', outcome: 'refresh_reused', userId: user.id, sessionId: session.id, context })
    await outbox.post(trx, { template: 'refresh_reused', data: noticeContextOf(now, context), to: user.email, userId: user.id })
    return { outcome: 'reused', revocation }
  }

  function repeatChild(sessionId: string, presented: string, token: RefreshToken): string | null {
    try {
      return childOf(sessionId, presented, token.retry_nonce!, token.retry_key_id ?? undefined)
    } catch (error) {
      if (error instanceof UnreadableSecret) return null // the secret key was rotated away meanwhile
      throw error
    }
  }

  return {
    start,
    rotate,
    async locate(presented) {
      const place = FORM.test(presented) ? await findRefreshToken(db, hashOf(presented)) : undefined
      return place ? { sessionId: place.session_id, userId: place.user_id } : null
    },
    async inspect(presented) {
      return (FORM.test(presented) && (await findUsableRefreshToken(db, hashOf(presented)))) || null
    },
  }
}
