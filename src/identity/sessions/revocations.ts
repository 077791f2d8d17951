/**
 * Revocation at once, without a lookup per request. Postgres is the truth; this process holds it as two maps that it reads on every request.
 * Fed by a poll each second, by our own writes and those of the processes beside us, and, only to be faster, by Redis. A feed can add, never
 * take away.
 */

import { type Db, isDatabaseAway, type Transaction } from '../../platform/db/database.ts'
import { type Clock, systemClock } from '../../platform/lib/clock.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import type { Broadcast } from '../../platform/redis.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { findRevocationsSince, insertRevocation, type Revocation } from './revocations.repo.ts'

export interface Revocations {
  /** Subscribes, loads the snapshot, then polls. Resolves once loaded, or at the first failure; polling goes on either way. */
  start(): Promise<void>
  stop(): void
  /** One look at the database. Tests call it instead of waiting. */
  poll(): Promise<void>
  /** @throws 503 before the first snapshot: without one nobody can say that a token is good. */
  assertLoaded(): void
  /** @throws 503 as `assertLoaded` does */
  isRevoked(sessionId: string, userId: string, epoch: number): boolean
  /** Of what is revoked by an id of its own. @throws 503 as `assertLoaded` does */
  isEnded(sessionId: string): boolean
  /** Something that it is made of has changed since. @throws 503 as `assertLoaded` does */
  isOutdated(userId: string, epoch: number): boolean
  isLoaded(): boolean
  /** So many sessions are revoked that a further one should be told as its user's epoch. */
  isFull(): boolean
  /** Written in the transaction of what it tells. Hand the result to `announce` after the commit. */
  record(trx: Transaction, revocation: Revocation): Promise<Revocation>
  /** After the commit, before the answer: own map, then the others. */
  announce(revocation: Revocation): Promise<void>
  /** Calls back after something was added. */
  onChange(listener: () => void): void
  /** Why the last look at the database failed; null when it did not. */
  lastError(): unknown
  /** Seconds since the database was last read. */
  lagSeconds(): number
  size(): number
}

export interface RevocationsDeps {
  db: Db
  clock: Clock
  logger: Logger
  /** To the processes beside this one, and to other gateways. */
  broadcasts: readonly Broadcast[]
  maxSessions?: number
}

const POLL_MS = 1000
/** Too many to walk through each second. */
const MANY = 10_000
const FULL_RELOAD_EVERY = 60

export function createRevocations({ db, clock, logger, broadcasts, maxSessions = 500_000 }: RevocationsDeps): Revocations {
  const sessions = new Map<string, number>()
  const users = new Map<string, { minEpoch: number; until: number }>()
  let low = '0'
  let polls = 0
  /** By the system's clock, as the timer of the poll: a test that moves the other does not make the poll late. */
  let loadedAt: number | null = null
  let failure: unknown = null
  let timer: NodeJS.Timeout | null = null
  let polling: Promise<void> | null = null
  const listeners: (() => void)[] = []

  function apply(revocation: Revocation): void {
    const { until } = revocation
    if ('sessionId' in revocation) {
      sessions.set(revocation.sessionId, Math.max(until, sessions.get(revocation.sessionId) ?? 0))
    } else {
      const known = users.get(revocation.userId)
      const minEpoch = Math.max(revocation.minEpoch, known?.minEpoch ?? 0)
      users.set(revocation.userId, { minEpoch, until: Math.max(until, known?.until ?? 0) })
    }
    for (const changed of listeners) changed()
  }

  async function read(): Promise<void> {
    // after an outage, and now and then, everything: what a bug or a restore has slipped past the cursor comes back
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
    for (const [id, until] of sessions) if (until < now) sessions.delete(id)
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

  function isOutdated(userId: string, epoch: number): boolean {
    assertLoaded()
    return (users.get(userId)?.minEpoch ?? 0) > epoch
  }

  return {
    async start() {
      // subscribed first: what is published while the snapshot loads is applied beside it
      const hear = (message: string) => {
        const revocation = parse(message)
        if (revocation) apply(revocation)
        else logger.warn({ reason: 'revocation_unreadable' }, 'ignored a message on the revocation channel')
      }
      await Promise.all(broadcasts.map((broadcast) => broadcast.subscribe(hear)))
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
    isLoaded: () => loadedAt !== null,
    isFull: () => sessions.size >= maxSessions,
    async record(trx, revocation) {
      await insertRevocation(trx, revocation)
      return revocation
    },
    async announce(revocation) {
      apply(revocation)
      const message = JSON.stringify(revocation)
      await Promise.all(broadcasts.map((broadcast) => broadcast.publish(message)))
    },
    onChange: (listener) => void listeners.push(listener),
    lastError: () => failure,
    lagSeconds: () => (loadedAt === null ? Number.POSITIVE_INFINITY : (systemClock.steady() - loadedAt) / 1000),
    size: () => sessions.size + users.size,
  }
}

/** A message from Redis can only add, so a forged one is a denial of service at most; it is still read strictly. */
function parse(message: string): Revocation | null {
  try {
    const { sessionId, userId, minEpoch, until } = JSON.parse(message)
    if (!Number.isFinite(until)) return null
    if (typeof sessionId === 'string') return { sessionId, until }
    return typeof userId === 'string' && Number.isInteger(minEpoch) ? { userId, minEpoch, until } : null
  } catch {
    return null
  }
}
