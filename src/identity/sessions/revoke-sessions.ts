/** The ways in which sessions end, each as part of the caller's transaction, which holds the user's lock. */

import type { Config } from '../../platform/config/schema.ts'
import { databaseNow, type Transaction } from '../../platform/db/database.ts'
import { raiseBothEpochs, raiseSessionEpoch, raiseTokenEpoch } from '../users/users.repo.ts'
import type { Revocation } from './revocations.repo.ts'
import type { Revocations } from './revocations.ts'
import { findLivingSessions, revokeSession, revokeSessionsOf } from './sessions.repo.ts'

export interface SessionRevoker {
  /** Ending one session will also write to its user: the caller must not merely share that lock. */
  writesUser(): boolean
  /** Revokes one session and its access tokens. */
  endSession(trx: Transaction, userId: string, sessionId: string, reason: string): Promise<Revocation>
  /** Tells that what goes by this id is over: a session's access tokens, or an API key. */
  recordEnd(trx: Transaction, userId: string, id: string): Promise<Revocation>
  /** Revokes every session and every access token, and lets no login that has begun open another. */
  endAllSessions(trx: Transaction, userId: string, reason: string): Promise<Revocation>
  /** Every session but one; logins that have begun open none. */
  endOtherSessions(trx: Transaction, userId: string, keptId: string, reason: string): Promise<Revocation[]>
  /** Older access tokens are refused; sessions live on and refresh into new ones. */
  outdateTokens(trx: Transaction, userId: string): Promise<Revocation>
}

/** An access token issued just before, on a clock that is ahead, is dead by then. */
const MARGIN_SECONDS = 120

/** When nothing is in use any more that a revocation of now ends. Milliseconds. */
export const revokedUntil = (now: Date, { accessTtlSeconds }: Config['tokens']): number =>
  now.getTime() + (accessTtlSeconds + MARGIN_SECONDS) * 1000

export function createSessionRevoker(revocations: Revocations, tokens: Config['tokens']): SessionRevoker {
  const until = async (trx: Transaction) => revokedUntil(await databaseNow(trx), tokens)
  const outdate = async (trx: Transaction, userId: string, minEpoch: number) =>
    revocations.record(trx, { userId, minEpoch, until: await until(trx) })

  async function recordEnd(trx: Transaction, userId: string, id: string): Promise<Revocation> {
    if (revocations.isFull()) return outdate(trx, userId, await raiseTokenEpoch(trx, userId))
    return revocations.record(trx, { sessionId: id, until: await until(trx) })
  }

  async function endSession(trx: Transaction, userId: string, sessionId: string, reason: string): Promise<Revocation> {
    await revokeSession(trx, sessionId, await databaseNow(trx), reason)
    return recordEnd(trx, userId, sessionId)
  }

  return {
    writesUser: () => revocations.isFull(),
    endSession,
    recordEnd,
    async endOtherSessions(trx, userId, keptId, reason) {
      await raiseSessionEpoch(trx, userId)
      const ended: Revocation[] = []
      for (const { id } of await findLivingSessions(trx, userId, await databaseNow(trx)))
        if (id !== keptId) ended.push(await endSession(trx, userId, id, reason))
      return ended
    },
    async endAllSessions(trx, userId, reason) {
      await revokeSessionsOf(trx, userId, await databaseNow(trx), reason)
      return outdate(trx, userId, await raiseBothEpochs(trx, userId))
    },
    outdateTokens: async (trx, userId) => outdate(trx, userId, await raiseTokenEpoch(trx, userId)),
  }
}
