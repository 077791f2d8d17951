/** How sessions and tokens end. The caller's transaction holds the lock of their user, or of their machine client. */

import type { Config } from '../../platform/config/schema.ts'
import { databaseNow, type Transaction } from '../../platform/db/database.ts'
import { findLongestLifetime } from '../tokens/keyring.repo.ts'
import { raiseBothEpochs, raiseSessionEpoch, raiseTokenEpoch } from '../users/users.repo.ts'
import type { Revocation } from './revocations.repo.ts'
import { findLivingSessions, revokeSession, revokeSessionsOf } from './sessions.repo.ts'

export interface Revoke {
  /** Ends one session and its access tokens. */
  session(userId: string, sessionId: string, reason: string): Promise<void>
  /** Ends every session but one. Logins that have begun open no session. */
  otherSessions(userId: string, keptId: string, reason: string): Promise<void>
  /** Ends every session and every access token. Logins that have begun open no session. */
  allSessions(userId: string, reason: string): Promise<void>
  /** Ends the access tokens that were issued so far. The sessions stay, and refresh into new tokens. */
  outdateTokens(userId: string): Promise<void>
  /**
   * Ends the credential with this id: an API key, or one token of a machine client.
   * @param raiseEpoch raises the token epoch of the owner, which is a user unless it is given
   */
  credential(ownerId: string, id: string, raiseEpoch?: () => Promise<number>): Promise<void>
  /** Ends every token of a user or machine client that was issued below this epoch. */
  tokensBelow(ownerId: string, minEpoch: number): Promise<void>
  /** Ends every token that this signing key has signed. The transaction also deletes the key. */
  key(kid: string): Promise<void>
  /** True when the end of one session also writes to its user. Then a shared lock of the user is not enough. */
  writesUser(): boolean
}

export interface RevokeDeps {
  trx: Transaction
  /** Remembers a promise until it is settled: the transaction must not end before. */
  watched: <T>(work: Promise<T>) => Promise<T>
  write: (revocation: Revocation) => Promise<void>
  isFull: () => boolean
  tokens: Config['tokens']
}

/**
 * No gateway forgets a revocation before the last token has expired. After a failover the database's clock may be another clock: two clocks that
 * are each wrong by 5 minutes differ by 10. A token is accepted for some seconds after its expiry.
 */
const MARGIN_SECONDS = 660
/** A gateway that cannot read the database for this long has read its keys again when it can. */
const KEY_SECONDS = 86_400

export function createRevoke({ trx, watched, write, isFull, tokens }: RevokeDeps): Revoke {
  let longest: number | null = null

  /** Milliseconds. By then every token that is valid now has expired, also where another gateway has another `tokens.accessTtlSeconds`. */
  async function until(): Promise<number> {
    longest ??= Math.max(tokens.accessTtlSeconds, await findLongestLifetime(trx))
    return (await databaseNow(trx)).getTime() + (longest + MARGIN_SECONDS) * 1000
  }

  // the revocation map knows users and machine clients by their ids alone
  const tokensBelow = async (ownerId: string, minEpoch: number) => write({ userId: ownerId, minEpoch, until: await until() })

  async function credential(ownerId: string, id: string, raiseEpoch = () => raiseTokenEpoch(trx, ownerId)): Promise<void> {
    if (isFull()) await tokensBelow(ownerId, await raiseEpoch())
    else await write({ sessionId: id, until: await until() })
  }

  async function session(userId: string, sessionId: string, reason: string): Promise<void> {
    await revokeSession(trx, sessionId, await databaseNow(trx), reason)
    await credential(userId, sessionId)
  }

  async function otherSessions(userId: string, keptId: string, reason: string): Promise<void> {
    await raiseSessionEpoch(trx, userId)
    const living = await findLivingSessions(trx, userId, await databaseNow(trx))
    for (const { id } of living) if (id !== keptId) await session(userId, id, reason)
  }

  async function allSessions(userId: string, reason: string): Promise<void> {
    await revokeSessionsOf(trx, userId, await databaseNow(trx), reason)
    await tokensBelow(userId, await raiseBothEpochs(trx, userId))
  }

  const outdateTokens = async (userId: string) => tokensBelow(userId, await raiseTokenEpoch(trx, userId))

  const key = async (kid: string) => write({ kid, until: (await databaseNow(trx)).getTime() + KEY_SECONDS * 1000 })

  return {
    key: (kid) => watched(key(kid)),
    session: (...args) => watched(session(...args)),
    credential: (...args) => watched(credential(...args)),
    tokensBelow: (...args) => watched(tokensBelow(...args)),
    otherSessions: (...args) => watched(otherSessions(...args)),
    allSessions: (...args) => watched(allSessions(...args)),
    outdateTokens: (userId) => watched(outdateTokens(userId)),
    writesUser: isFull,
  }
}
