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
import type { Logger } from '../../platform/telemetry/logger.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { type Secrets, UnreadableSecret } from '../../platform/vault/secrets.ts'
import { lockUser, lockUserForShare, type User } from '../users/users.repo.ts'
import type { Accounts, AccountTransaction } from './account-transaction.ts'
import {
  findChild,
  findRefreshToken,
  forgetRetry,
  insertRefreshToken,
  lockRefreshToken,
  markRotated,
  prolongRetry,
  type RefreshToken,
} from './refresh-tokens.repo.ts'
import { idleTtlSeconds } from './session-life.ts'
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
  /** The client has left before it got the answer to this token: a retry counts as such for ten minutes more. */
  undelivered(presented: string): Promise<void>
  /** The rows of a token, valid or not. */
  locate(presented: string): Promise<TokenLocation | null>
  /**
   * Judges a token that is used for something else than a refresh, and does not exchange it. A reuse ends its family, as at a refresh.
   * Report the result with `report` after the commit. @param tx may have locked the user and the session
   */
  judge(tx: AccountTransaction, place: TokenLocation, context: AuditContext): Promise<Judgement>
  /** Judges a token in a transaction of its own, where it can do nothing but be reused. */
  detectReuse(presented: string, context: AuditContext): Promise<void>
  /** Counts and logs a reuse. */
  report(judgement: Judgement, context: AuditContext): void
}

/** Names the rows to lock. */
export interface TokenLocation {
  id: string
  session_id: string
  user_id: string
  rotated_at: Date | null
}

/** `retry`: used a moment ago, with an unused successor. */
export type Judgement = 'current' | 'retry' | 'reused' | 'expired' | 'revoked' | 'unknown'

export interface RefreshTokensDeps {
  db: Db
  accounts: Accounts
  outbox: Outbox
  secrets: Secrets
  tokens: Config['tokens']
  auth: Pick<Config['auth'], 'refresh' | 'sessions'>
  metrics: Pick<Metrics, 'refreshes'>
  logger: Logger
}

/** A client that waits in a crowd after an outage may need several attempts. */
const UNDELIVERED_SECONDS = 600

const PREFIX = 'rt_'
const FORM = /^rt_[A-Za-z0-9_-]{43}$/
export const looksLikeRefreshToken = (token: string): boolean => token.startsWith(PREFIX)
const hashOf = (token: string) => createHash('sha256').update(token).digest()

export function createRefreshTokens({ db, accounts, outbox, secrets, tokens, auth, metrics, logger }: RefreshTokensDeps): RefreshTokens {
  const { refresh } = auth
  // a session is idle while its token is not exchanged
  const ttlSeconds = idleTtlSeconds({ tokens, auth })

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
    const place = await locate(presented)
    if (!place) return { outcome: 'unknown' }
    // derived before the transaction: when the connection is lost around COMMIT, the token shows whether the commit has happened
    const nonce = randomBytes(16)
    const child = childOf(place.session_id, presented, nonce)
    try {
      return await accounts.transaction('refresh', context, (tx) => exchange(tx, place, { presented, child, nonce, context, issue }))
    } catch (error) {
      const committed = isDatabaseAway(error) ? await lookFor(place, child, issue).catch(() => null) : null
      if (committed) return committed
      throw error
    }
  }

  /** For a commit without an answer. The locks wait until that transaction has ended; then the child exists, or it does not. */
  const lookFor = <T>(place: TokenLocation, child: string, issue: IssuePair<T>): Promise<RefreshOutcome<T> | null> =>
    inTransaction(db, async (trx) => {
      const user = await lockUserForShare(trx, place.user_id)
      const session = await lockSession(trx, place.session_id)
      const stored = await findChild(trx, place.id)
      const isOurs = user && session && !session.revoked_at && !user.disabled_at && stored && hashOf(child).equals(stored.token_hash)
      return isOurs ? { outcome: 'rotated' as const, pair: await issue(user, session, child) } : null
    })

  interface Attempt<T> {
    presented: string
    child: string
    nonce: Buffer
    context: AuditContext
    issue: IssuePair<T>
  }

  async function exchange<T>(tx: AccountTransaction, place: TokenLocation, attempt: Attempt<T>): Promise<RefreshOutcome<T>> {
    const { trx } = tx
    const judged = await assess(tx, place, attempt.context)
    const { judgement } = judged
    if (judgement === 'retry') return repeat(judged, attempt)
    if (judgement !== 'current') return { outcome: judgement }

    const { user, session, token, now } = judged
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

  async function repeat<T>({ user, session, token, child, now }: Retried, { presented, issue }: Attempt<T>): Promise<RefreshOutcome<T>> {
    const hasExpired = child.expires_at <= now || session.expires_at <= now
    const successor = !hasExpired && token.retry_nonce && repeatChild(session.id, presented, token)
    if (successor && hashOf(successor).equals(child.token_hash)) return { outcome: 'repeated', pair: await issue(user, session, successor) }
    return { outcome: 'superseded' }
  }

  interface Rows {
    user: User
    session: Session
    token: RefreshToken
    now: Date
  }
  type Retried = Rows & { child: RefreshToken }
  type Assessed =
    | ({ judgement: 'current' } & Rows)
    | ({ judgement: 'retry' } & Retried)
    | { judgement: 'unknown' | 'revoked' | 'reused' | 'expired' }

  /**
   * A token with a child is a retry of the client within the grace time, and while the child is unused. Otherwise it counts as theft, and the
   * family ends.
   */
  async function assess(tx: AccountTransaction, place: TokenLocation, context: AuditContext): Promise<Assessed> {
    const { trx } = tx
    const user = await lockOwner(tx, place.user_id)
    const session = await lockSession(trx, place.session_id)
    const token = await lockRefreshToken(trx, place.id)
    const now = await databaseNow(trx)
    if (!user || !session || !token) return { judgement: 'unknown' }
    if (session.revoked_at || user.disabled_at) return { judgement: 'revoked' }
    const rows = { user, session, token, now }
    if (!token.rotated_at) {
      const hasExpired = token.expires_at <= now || session.expires_at <= now
      return hasExpired ? { judgement: 'expired' } : { judgement: 'current', ...rows }
    }
    const child = await findChild(trx, token.id)
    const inGrace = now.getTime() - token.rotated_at.getTime() <= refresh.graceSeconds * 1000
    if (inGrace && child && child.rotated_at === null) return { judgement: 'retry', ...rows, child }
    await endFamily(tx, rows, context)
    return { judgement: 'reused' }
  }

  async function endFamily(
    { trx, revoke, record }: AccountTransaction,
    { user, session, now }: Rows,
    context: AuditContext,
  ): Promise<void> {
    if (refresh.onReuse === 'revokeUser') await revoke.allSessions(user.id, 'reuse')
    else await revoke.session(user.id, session.id, 'reuse')
    await record({ event: 'refresh', outcome: 'refresh_reused', userId: user.id, sessionId: session.id })
    await outbox.post(trx, { template: 'refresh_reused', data: noticeContextOf(now, context), to: user.email, userId: user.id })
  }

  function repeatChild(sessionId: string, presented: string, token: RefreshToken): string | null {
    try {
      return childOf(sessionId, presented, token.retry_nonce!, token.retry_key_id ?? undefined)
    } catch (error) {
      if (error instanceof UnreadableSecret) return null // the secret key was replaced meanwhile
      throw error
    }
  }

  async function locate(presented: string): Promise<TokenLocation | null> {
    return (FORM.test(presented) && (await findRefreshToken(db, hashOf(presented)))) || null
  }

  function report(judgement: Judgement, context: AuditContext): void {
    if (judgement !== 'reused') return
    metrics.refreshes.inc({ outcome: judgement })
    const line = { reason: 'refresh_reused', request_id: context.requestId }
    logger.warn(line, 'a used refresh token was presented again: its session is ended')
  }

  return {
    start,
    rotate,
    async undelivered(presented) {
      if (looksLikeRefreshToken(presented)) await prolongRetry(db, hashOf(presented), UNDELIVERED_SECONDS)
    },
    locate,
    async judge(tx, place, context) {
      return (await assess(tx, place, context)).judgement
    },
    async detectReuse(presented, context) {
      const place = await locate(presented)
      if (!place?.rotated_at) return
      report(await accounts.transaction('refresh', context, async (tx) => (await assess(tx, place, context)).judgement), context)
    },
    report,
  }
}
