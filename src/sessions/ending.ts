/** The ways in which sessions end, each as part of the caller's transaction, which holds the user's lock. */

import { raiseBothEpochs, raiseTokenEpoch } from '../accounts/users.repo.ts'
import type { Config } from '../config/schema.ts'
import { databaseNow, type Transaction } from '../db/database.ts'
import type { Revocation } from './revocations.repo.ts'
import type { Revocations } from './revocations.ts'
import { revokeSession, revokeSessionsOf } from './sessions.repo.ts'

export interface SessionEnding {
  /** Ending one session will also write to its user: the caller must not merely share that lock. */
  writesUser(): boolean
  /** Revokes one session and its access tokens. */
  endSession(trx: Transaction, userId: string, sessionId: string, reason: string): Promise<Revocation>
  /** Revokes every session and every access token, and lets no login that has begun open another. */
  endAllSessions(trx: Transaction, userId: string, reason: string): Promise<Revocation>
  /** Older access tokens are refused; sessions live on and refresh into new ones. */
  outdateTokens(trx: Transaction, userId: string): Promise<Revocation>
}

/** An access token issued just before, on a clock that is ahead, is dead by then. */
const MARGIN_SECONDS = 120

export function createSessionEnding(revocations: Revocations, tokens: Config['tokens']): SessionEnding {
  const until = (now: Date) => now.getTime() + (tokens.accessTtlSeconds + MARGIN_SECONDS) * 1000
  const outdate = async (trx: Transaction, userId: string, minEpoch: number) =>
    revocations.record(trx, { userId, minEpoch, until: until(await databaseNow(trx)) })

  return {
    writesUser: () => revocations.isFull(),
    async endSession(trx, userId, sessionId, reason) {
      const now = await databaseNow(trx)
      await revokeSession(trx, sessionId, now, reason)
      if (revocations.isFull()) return outdate(trx, userId, await raiseTokenEpoch(trx, userId))
      return revocations.record(trx, { sessionId, until: until(now) })
    },
    async endAllSessions(trx, userId, reason) {
      await revokeSessionsOf(trx, userId, await databaseNow(trx), reason)
      return outdate(trx, userId, await raiseBothEpochs(trx, userId))
    },
    outdateTokens: async (trx, userId) => outdate(trx, userId, await raiseTokenEpoch(trx, userId)),
  }
}
