/**
 * Refresh tokens are opaque, and the database holds only their SHA-256. Each use exchanges a token for its successor. The tokens of a
 * session are a family, of which one is valid.
 *
 * Every transaction locks in the same order: user → session → token. Each lock is a statement of its own, so that it returns the row as it
 * is after the wait. The time is read after the last lock, from the database's clock.
 */
import { createHash, randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, inTransaction, isDatabaseAway, type Transaction } from '../../platform/db/database.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { type Secrets, UnreadableSecret } from '../../platform/vault/secrets.ts'
import { lockUser, lockUserForShare, type User } from '../users/users.repo.ts'
import type { Accounts, AccountTransaction } from './account-transaction.ts'
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
import { lockSession, type Session, touchSession } from './sessions.repo.ts'

/** In the order of the checks: unknown → revoked → superseded | reused → expired → rotated. */
export type RefreshOutcome<T> =
  | { outcome: 'rotated' | 'repeated'; pair: T }
  | { outcome: 'unknown' | 'revoked' | 'superseded' | 'reused' | 'expired' }

/**
 * Makes the answer of a refresh. It runs before the commit: when it fails, the presented token stays valid, and nothing can fail between the
 * commit and the answer.
 */
export type IssuePair<T> = (user: User, session: Session, refreshToken: string) => Promise<T>

export interface RefreshTokens {
  /** The first token of a new session. */
  start(trx: Transaction, session: Session, now: Date): Promise<string>
  /** Exchanges a token for its one successor. */
  rotate<T>(presented: string, context: AuditContext, issue: IssuePair<T>): Promise<RefreshOutcome<T>>
  /** The session of a token, valid or not. */
  locate(presented: string): Promise<{ sessionId: string; userId: string } | null>
  /** Reads a token that could be exchanged now, and does not exchange it. */
  inspect(presented: string): Promise<UsableRefreshToken | null>
}

export interface RefreshTokensDeps {
  db: Db
  accounts: Accounts
  outbox: Outbox
  secrets: Secrets
  tokens: Config['tokens']
  auth: Pick<Config['auth'], 'refresh' | 'sessions'>
}

const PREFIX = 'rt_'
const FORM = /^rt_[A-Za-z0-9_-]{43}$/
export const looksLikeRefreshToken = (token: string): boolean => token.startsWith(PREFIX)
const hashOf = (token: string) => createHash('sha256').update(token).digest()

export function createRefreshTokens({ db, accounts, outbox, secrets, tokens, auth }: RefreshTokensDeps): RefreshTokens {
  const { refresh } = auth
  // a session is idle while its token is not exchanged
  const ttlSeconds = Math.min(tokens.refreshTtlSeconds, auth.sessions.idleTtlSeconds ?? Number.POSITIVE_INFINITY)

  /** Refreshes share the lock of the user, unless a reuse would write to the user. */
  const lockOwner = ({ trx, revoke }: AccountTransaction, id: string): Promise<User | undefined> =>
    refresh.onReuse === 'revokeUser' || revoke.writesUser() ? lockUser(trx, id) : lockUserForShare(trx, id)

  async function start(trx: Transaction, session: Session, now: Date): Promise<string> {
    const token = PREFIX + randomBytes(32).toString('base64url')
    await insertRefreshToken(trx, { ...lifeOf(session, now), token_hash: hashOf(token), parent_id: null })
    return token
  }

  const lifeOf = (session: Session, now: Date) => ({
    id: uuidv7(),
    session_id: session.id,
    created_at: now,
    expires_at: new Date(Math.min(now.getTime() + ttlSeconds * 1000, session.expires_at.getTime())),
  })

  /** Derived from the parent: a retry gets the same token, and nothing reversible is stored for it. */
  const childOf = (sessionId: string, parent: string, nonce: Buffer, keyId?: string) =>
    PREFIX + secrets.derive('refresh token', Buffer.concat([Buffer.from(`${sessionId}|${parent}|`), nonce]), keyId).toString('base64url')

  async function rotate<T>(presented: string, context: AuditContext, issue: IssuePair<T>): Promise<RefreshOutcome<T>> {
    const place = FORM.test(presented) ? await findRefreshToken(db, hashOf(presented)) : undefined
    if (!place) return { outcome: 'unknown' }
    // derived before the transaction: when the connection is lost around COMMIT, the token shows whether the commit has happened
    const nonce = randomBytes(16)
    const child = childOf(place.session_id, presented, nonce)
    try {
      return await accounts.transaction('refresh', context, (tx) => judge(tx, { ...place, presented, child, nonce, context, issue }))
    } catch (error) {
      const committed = isDatabaseAway(error) ? await lookFor(place, child, issue).catch(() => null) : null
      if (committed) return committed
      throw error
    }
  }

  /** For a commit without an answer. The locks wait until that transaction has ended; then the child exists, or it does not. */
  const lookFor = <T>(
    place: { id: string; session_id: string; user_id: string },
    child: string,
    issue: IssuePair<T>,
  ): Promise<RefreshOutcome<T> | null> =>
    inTransaction(db, async (trx) => {
      const user = await lockUserForShare(trx, place.user_id)
      const session = await lockSession(trx, place.session_id)
      const stored = await findChild(trx, place.id)
      const isOurs = user && session && !session.revoked_at && !user.disabled_at && stored && hashOf(child).equals(stored.token_hash)
      return isOurs ? { outcome: 'rotated' as const, pair: await issue(user, session, child) } : null
    })

  interface Attempt<T> {
    id: string
    session_id: string
    user_id: string
    presented: string
    child: string
    nonce: Buffer
    context: AuditContext
    issue: IssuePair<T>
  }

  async function judge<T>(tx: AccountTransaction, attempt: Attempt<T>): Promise<RefreshOutcome<T>> {
    const { trx } = tx
    const user = await lockOwner(tx, attempt.user_id)
    const session = await lockSession(trx, attempt.session_id)
    const token = await lockRefreshToken(trx, attempt.id)
    const now = await databaseNow(trx)
    if (!user || !session || !token) return { outcome: 'unknown' }
    if (session.revoked_at || user.disabled_at) return { outcome: 'revoked' }
    if (token.rotated_at) return judgeRotated(tx, { ...attempt, user, session, token, now })
    if (token.expires_at <= now || session.expires_at <= now) return { outcome: 'expired' }

    const issued = attempt.issue(user, session, attempt.child)
    // signed while the rows are written; a failure is thrown below, after the last statement
    issued.catch(() => {})
    const retry = refresh.onRetry === 'repeat' ? { nonce: attempt.nonce, keyId: secrets.keyId } : null
    await markRotated(trx, token.id, now, retry)
    await insertRefreshToken(trx, { ...lifeOf(session, now), token_hash: hashOf(attempt.child), parent_id: token.id })
    if (token.parent_id) await forgetRetry(trx, token.parent_id)
    await touchSession(trx, session.id, now)
    return { outcome: 'rotated', pair: await issued }
  }

  /**
   * A token with a child. Within the grace time, and while the child is unused, it is a retry of the client. Otherwise it counts as theft.
   */
  async function judgeRotated<T>(
    { trx, revoke, record }: AccountTransaction,
    attempt: Attempt<T> & { user: User; session: Session; token: RefreshToken; now: Date },
  ): Promise<RefreshOutcome<T>> {
    const { user, session, token, now, presented, context } = attempt
    const child = await findChild(trx, token.id)
    const inGrace = now.getTime() - token.rotated_at!.getTime() <= refresh.graceSeconds * 1000
    if (inGrace && child && child.rotated_at === null) {
      const hasExpired = child.expires_at <= now || session.expires_at <= now
      const successor = !hasExpired && token.retry_nonce && repeatChild(session.id, presented, token)
      if (successor && hashOf(successor).equals(child.token_hash))
        return { outcome: 'repeated', pair: await attempt.issue(user, session, successor) }
      return { outcome: 'superseded' }
    }
    if (refresh.onReuse === 'revokeUser') await revoke.allSessions(user.id, 'reuse')
    else await revoke.session(user.id, session.id, 'reuse')
    await record({ outcome: 'refresh_reused', userId: user.id, sessionId: session.id })
    await outbox.post(trx, { template: 'refresh_reused', data: noticeContextOf(now, context), to: user.email, userId: user.id })
    return { outcome: 'reused' }
  }

  function repeatChild(sessionId: string, presented: string, token: RefreshToken): string | null {
    try {
      return childOf(sessionId, presented, token.retry_nonce!, token.retry_key_id ?? undefined)
    } catch (error) {
      if (error instanceof UnreadableSecret) return null // the secret key was replaced meanwhile
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
