/**
 * Revocation at once, without a database lookup per request. Postgres is the truth, and this process keeps a copy in two maps. Three feeds
 * fill the maps: a poll each second, the announcements of this process and of its sibling processes, and Redis. Redis only makes it faster.
 * A feed can add a revocation and never remove one.
 */

import { type Db, isDatabaseAway } from '../../platform/db/database.ts'
import { type Clock, systemClock } from '../../platform/lib/clock.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import type { Broadcast } from '../../platform/redis.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { findRevocationsSince, type Revocation } from './revocations.repo.ts'

export interface Revocations {
  /** Subscribes, loads the snapshot, then polls. Resolves after the first load, also when it failed: the polling goes on. */
  start(): Promise<void>
  stop(): void
  /** Reads the database once. Tests call it instead of waiting. */
  poll(): Promise<void>
  /** @throws 503 before the first snapshot, since no token can be judged without it */
  assertLoaded(): void
  /** @throws 503 as `assertLoaded` does */
  isRevoked(sessionId: string, userId: string, epoch: number): boolean
  /** A session, API key or machine token was revoked by its own id. @throws 503 as `assertLoaded` does */
  isEnded(sessionId: string): boolean
  /** The user has changed since this epoch. @throws 503 as `assertLoaded` does */
  isOutdated(userId: string, epoch: number): boolean
  isLoaded(): boolean
  /** A signing key was revoked, and every token that it signed. @throws 503 as `assertLoaded` does */
  isKeyRevoked(kid: string): boolean
  /** The map of sessions is full: a further session should be revoked by its user's epoch. */
  isFull(): boolean
  /** For `account-transaction.ts` alone, after the commit: adds to this process's maps, then broadcasts. Never rejects. */
  announce(revocation: Revocation): Promise<void>
  /** Calls the listener after each revocation that is added. */
  onChange(listener: () => void): void
  /** The error of the last read of the database, or null. */
  lastError(): unknown
  /** Seconds since the database was last read. */
  lagSeconds(): number
  size(): number
  /** All revocations in memory, for a sibling; null before the first snapshot. */
  dump(): Revocation[] | null
}

/** The other processes of this gateway. */
export interface Siblings extends Broadcast {
  /** What the siblings remember; null: no sibling answered that knows its revocations. */
  revocations(): Promise<Revocation[] | null>
  /** Resolves once this process has received every message that was published to it before. Never rejects. */
  catchUp(): Promise<void>
}

export interface RevocationsDeps {
  db: Db
  clock: Clock
  logger: Logger
  /** To sibling processes, and to other gateways. */
  broadcasts: readonly Broadcast[]
  /** Called for each revocation of a signing key, before the listeners of `onChange`. May be called again for the same key. */
  onKeyRevoked: (kid: string) => void
  maxSessions?: number
}

const POLL_MS = 1000
/** From this size on, expired entries are removed only after a full reload. */
const MANY = 10_000
const FULL_RELOAD_EVERY = 60

export function createRevocations({ db, clock, logger, broadcasts, onKeyRevoked, maxSessions = 500_000 }: RevocationsDeps): Revocations {
  const sessions = new Map<string, number>()
  const users = new Map<string, { minEpoch: number; until: number }>()
  const keys = new Map<string, number>()
  let low = '0'
  let polls = 0
  /** By the steady clock of the system: the poll runs on its timers, and a lag must not depend on the wall clock. */
  let loadedAt: number | null = null
  let failure: unknown = null
  let timer: NodeJS.Timeout | null = null
  let polling: Promise<void> | null = null
  const listeners: (() => void)[] = []

  function apply(revocation: Revocation): void {
    const { until } = revocation
    if ('sessionId' in revocation) {
      sessions.set(revocation.sessionId, Math.max(until, sessions.get(revocation.sessionId) ?? 0))
    } else if ('kid' in revocation) {
      keys.set(revocation.kid, Math.max(until, keys.get(revocation.kid) ?? 0))
      onKeyRevoked(revocation.kid)
    } else {
      const known = users.get(revocation.userId)
      const minEpoch = Math.max(revocation.minEpoch, known?.minEpoch ?? 0)
      users.set(revocation.userId, { minEpoch, until: Math.max(until, known?.until ?? 0) })
    }
    for (const changed of listeners) changed()
  }

  async function read(): Promise<void> {
    // after an outage, and at times, everything is read: a bug or a restore may have hidden rows from the cursor
    const from = failure || polls++ % FULL_RELOAD_EVERY === 0 ? '0' : low
    try {
      const page = await findRevocationsSince(db, from)
      for (const revocation of page.revocations) apply(revocation)
      low = page.low
      loadedAt = systemClock.steady()
      failure = null
      if (from === '0' || sessions.size < MANY) forgetExpired()
    } catch (error) {
      if (!failure) logger.warn({ reason: 'revocations_unread', cause: String(error) }, 'revocations cannot be read from the database')
      failure = error
      if (!isDatabaseAway(error)) throw error
    }
  }

  function forgetExpired(): void {
    const now = clock.now()
    for (const ends of [sessions, keys]) for (const [id, until] of ends) if (until < now) ends.delete(id)
    for (const [id, { until }] of users) if (until < now) users.delete(id)
  }

  function poll(): Promise<void> {
    polling ??= read().finally(() => {
      polling = null
    })
    return polling
  }

  function schedule(): void {
    timer = setTimeout(() => {
      poll()
        .catch((error) => logger.error({ reason: 'revocations_unread', cause: String(error) }, 'reading revocations failed'))
        .finally(() => {
          if (timer) schedule()
        })
    }, POLL_MS).unref()
  }

  function assertLoaded(): void {
    if (loadedAt === null) throw unavailable('no revocation snapshot yet')
  }

  function isEnded(sessionId: string): boolean {
    assertLoaded()
    return sessions.has(sessionId)
  }

  function isKeyRevoked(kid: string): boolean {
    assertLoaded()
    return keys.has(kid)
  }

  function isOutdated(userId: string, epoch: number): boolean {
    assertLoaded()
    return (users.get(userId)?.minEpoch ?? 0) > epoch
  }

  return {
    async start() {
      // subscribed before the load, so that no message is lost during the load
      const receive = (message: string) => {
        const revocation = parse(message)
        if (revocation) apply(revocation)
        else logger.warn({ reason: 'revocation_unreadable' }, 'ignored a message on the revocation channel')
      }
      await Promise.all(broadcasts.map((broadcast) => broadcast.subscribe(receive)))
      await poll()
      schedule()
    },
    stop() {
      if (timer) clearTimeout(timer)
      timer = null
    },
    poll,
    assertLoaded,
    isRevoked(sessionId, userId, epoch) {
      return isEnded(sessionId) || isOutdated(userId, epoch)
    },
    isEnded,
    isOutdated,
    isKeyRevoked,
    isLoaded: () => loadedAt !== null,
    isFull: () => sessions.size >= maxSessions,
    async announce(revocation) {
      apply(revocation)
      const message = JSON.stringify(revocation)
      // the revocation is committed: a gateway that misses the broadcast reads it at the next poll
      await Promise.all(broadcasts.map((broadcast) => broadcast.publish(message).catch(() => undefined)))
    },
    onChange: (listener) => void listeners.push(listener),
    lastError: () => failure,
    lagSeconds: () => (loadedAt === null ? Number.POSITIVE_INFINITY : (systemClock.steady() - loadedAt) / 1000),
    size: () => sessions.size + users.size + keys.size,
    dump: () =>
      loadedAt === null
        ? null
        : [
            ...Array.from(sessions, ([sessionId, until]) => ({ sessionId, until })),
            ...Array.from(users, ([userId, { minEpoch, until }]) => ({ userId, minEpoch, until })),
            ...Array.from(keys, ([kid, until]) => ({ kid, until })),
          ],
  }
}

/** Parses strictly, although a forged message can only revoke, which is at most a denial of service. */
function parse(message: string): Revocation | null {
  try {
    const { sessionId, userId, minEpoch, kid, until } = JSON.parse(message)
    if (!Number.isFinite(until)) return null
    if (typeof kid === 'string') return { kid, until }
    if (typeof sessionId === 'string') return { sessionId, until }
    return typeof userId === 'string' && Number.isInteger(minEpoch) ? { userId, minEpoch, until } : null
  } catch {
    return null
  }
}
