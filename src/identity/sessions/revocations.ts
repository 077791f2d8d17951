/**
 * Revocation at once, without a database lookup per request. Postgres is the truth, and this process keeps a copy in two maps. Three feeds
 * fill the maps: a poll each second, the announcements of this process and of its sibling processes, and Redis. Redis only makes it faster.
 * A feed can add a revocation and never remove one. Only the poll ends a block of a subject or token of another issuer.
 */

import { type Db, isDatabaseAway } from '../../platform/db/database.ts'
import { systemClock } from '../../platform/lib/clock.ts'
import type { DatabaseClock } from '../../platform/lib/database-clock.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import type { Broadcast } from '../../platform/redis/redis.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { createReadAfterPause } from './read-after-pause.ts'
import { findRevocationsSince, type Revocation, writeBackRevocations } from './revocations.repo.ts'

export interface Revocations {
  /** Subscribes, loads the snapshot, then polls. From then on it notices pauses of this process. Resolves after the first load, also when it failed: the polling goes on. */
  start(): Promise<void>
  stop(): void
  /** Reads the database once. Tests call it instead of waiting. */
  poll(): Promise<void>
  /**
   * To be called before a credential is judged. @returns null, or a promise when this process did not run for a while: it resolves when the
   * revocations were read again, and rejects with 503 when they cannot be read. See read-after-pause.ts
   */
  ready(): Promise<void> | null
  /** @throws 503 before the first snapshot, since no token can be judged without it */
  assertLoaded(): void
  /** @throws 503 as `assertLoaded` does */
  isRevoked(sessionId: string, userId: string, epoch: number): boolean
  /** A session, API key or machine token was revoked by its own id. @throws 503 as `assertLoaded` does */
  isEnded(sessionId: string): boolean
  /** The user has changed since this epoch. @throws 503 as `assertLoaded` does */
  isOutdated(userId: string, epoch: number): boolean
  /** False also when they cannot be read after a long pause. */
  isLoaded(): boolean
  /** A signing key was revoked, and every token that it signed. @throws 503 as `assertLoaded` does */
  isKeyRevoked(kid: string): boolean
  /** What another issuer vouches for is blocked, by its subject or by its token. @throws 503 as `assertLoaded` does */
  isBlocked(blocks: { subject: string; token: string | null }): boolean
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
  /** All revocations in memory, for a sibling; null before the first snapshot, and after a pause until they are read again. */
  dump(): Revocation[] | null
  /** Another server has taken over the database, and may have lost the last revocations: writes those that this process remembers. */
  writeBack(): Promise<void>
  /** Calls the listener with all that is remembered, after it was written back. */
  onWrittenBack(listener: (remembered: readonly Revocation[]) => void): void
}

/** The other processes of this gateway. */
export interface Siblings extends Broadcast {
  /** What the siblings remember; null: no sibling answered that knows its revocations. */
  revocations(): Promise<Revocation[] | null>
}

export interface RevocationsDeps {
  db: Db
  /** The connection of the poll. Default: `db` */
  polled?: Db | undefined
  /** Each read measures the database's time. */
  clock: DatabaseClock
  logger: Logger
  /** To sibling processes, and to other gateways. */
  broadcasts: readonly Broadcast[]
  siblings?: Pick<Siblings, 'revocations'> | undefined
  /** Called for each revocation of a signing key, before the listeners of `onChange`. May be called again for the same key. */
  onKeyRevoked: (kid: string) => void
  maxSessions?: number
}

const POLL_MS = 1000
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
/** From this size on, expired entries are removed only after a full reload. */
const MANY = 10_000
const FULL_RELOAD_EVERY = 60

export function createRevocations({
  db,
  polled = db,
  clock,
  logger,
  broadcasts,
  siblings,
  onKeyRevoked,
  maxSessions = 500_000,
}: RevocationsDeps): Revocations {
  const sessions = new Map<string, number>()
  const users = new Map<string, { minEpoch: number; until: number }>()
  const keys = new Map<string, number>()
  const blocks = new Map<string, BlockEntry>()
  let low = '0'
  let polls = 0
  /** By the steady clock of the system: the poll runs on its timers, and a lag must not depend on the wall clock. */
  let loadedAt: number | null = null
  let failure: unknown = null
  let timer: NodeJS.Timeout | null = null
  let polling: Promise<void> | null = null
  /** Until the revocations in memory are written back, none of them is forgotten. */
  let mustWriteBack = false
  const listeners: (() => void)[] = []
  const writtenBackListeners: ((remembered: readonly Revocation[]) => void)[] = []

  function apply(revocation: Revocation): void {
    const { until } = revocation
    if ('sessionId' in revocation) {
      sessions.set(revocation.sessionId, Math.max(until, sessions.get(revocation.sessionId) ?? 0))
    } else if ('kid' in revocation) {
      keys.set(revocation.kid, Math.max(until, keys.get(revocation.kid) ?? 0))
      onKeyRevoked(revocation.kid)
    } else if ('blockKey' in revocation) {
      const known = blocks.get(revocation.blockKey)
      if (!known || supersedes(revocation, known)) blocks.set(revocation.blockKey, revocation)
    } else {
      const known = users.get(revocation.userId)
      const minEpoch = Math.max(revocation.minEpoch, known?.minEpoch ?? 0)
      users.set(revocation.userId, { minEpoch, until: Math.max(until, known?.until ?? 0) })
    }
    for (const changed of listeners) changed()
  }

  async function read(): Promise<void> {
    // after an outage, and at times, everything is read: a bug or a restore may have hidden rows from the cursor
    const from = failure || mustWriteBack || polls++ % FULL_RELOAD_EVERY === 0 ? '0' : low
    try {
      const askedAt = clock.steady()
      const blocksBefore = from === '0' && !mustWriteBack ? [...blocks.values()] : []
      const page = await findRevocationsSince(polled, from)
      clock.measure({ databaseMs: page.databaseMs, askedAt, answeredAt: clock.steady() })
      const lost = mustWriteBack && from === '0' ? missingIn(page.revocations) : null
      for (const revocation of page.revocations) apply(revocation)
      forgetAbsent(blocksBefore, page.revocations)
      low = page.low
      loadedAt = systemClock.steady()
      failure = null
      if (lost) await writeLost(lost)
      if (!mustWriteBack && (from === '0' || sessions.size < MANY)) forgetExpired(page.databaseMs)
    } catch (error) {
      if (!failure) logger.warn({ reason: 'revocations_unread', cause: String(error) }, 'revocations cannot be read from the database')
      failure = error
      if (!isDatabaseAway(error)) throw error
    }
  }

  /** A block that the database does not have was lifted long ago, or came from a forged message. */
  function forgetAbsent(before: readonly BlockEntry[], read: readonly Revocation[]): void {
    if (before.length === 0) return
    const stored = new Set(read.flatMap((revocation) => ('blockKey' in revocation ? [revocation.blockKey] : [])))
    for (const entry of before) if (!stored.has(entry.blockKey) && blocks.get(entry.blockKey) === entry) blocks.delete(entry.blockKey)
  }

  /** @returns the revocations in memory that have not expired, and that the database does not have as this process has them */
  function missingIn(read: readonly Revocation[]): Revocation[] {
    const stored = new Set(read.map(textOf))
    return storable().filter((revocation) => !stored.has(textOf(revocation)))
  }

  /** Without a forged message of Redis, which the table could not hold. */
  function storable(): Revocation[] {
    const now = clock.now()
    return remembered().filter((revocation) => {
      const id = 'sessionId' in revocation ? revocation.sessionId : 'userId' in revocation ? revocation.userId : null
      return revocation.until > now && (id === null || UUID.test(id))
    })
  }

  async function writeLost(lost: readonly Revocation[]): Promise<void> {
    await writeBackRevocations(db, lost)
    mustWriteBack = false
    for (const writtenBack of writtenBackListeners) writtenBack(storable())
    if (lost.length > 0)
      logger.warn({ reason: 'revocations_written_back', count: lost.length }, 'the database had lost revocations: they are written again')
  }

  const remembered = (): Revocation[] => [
    ...Array.from(sessions, ([sessionId, until]) => ({ sessionId, until })),
    ...Array.from(users, ([userId, { minEpoch, until }]) => ({ userId, minEpoch, until })),
    ...Array.from(keys, ([kid, until]) => ({ kid, until })),
    ...blocks.values(),
  ]

  const afterPause = createReadAfterPause({
    async readDatabase() {
      // a read that began before the pause may have missed a revocation
      await polling?.catch(() => {})
      return poll().then(
        () => failure === null,
        () => false,
      )
    },
    async readSiblings() {
      const known = await siblings?.revocations().catch(() => null)
      for (const revocation of known ?? []) apply(revocation)
      return Boolean(known)
    },
    logger,
  })

  /** @param now by the database, which set the ends: milliseconds */
  function forgetExpired(now: number): void {
    for (const ends of [sessions, keys]) for (const [id, until] of ends) if (until < now) ends.delete(id)
    for (const [id, { until }] of users) if (until < now) users.delete(id)
    for (const [key, { until }] of blocks) if (until < now) blocks.delete(key)
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

  function isBlockInForce(key: string): boolean {
    const block = blocks.get(key)
    return block !== undefined && !block.isLifted && block.until > clock.now()
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
      afterPause.start()
    },
    stop() {
      afterPause.stop()
      if (timer) clearTimeout(timer)
      timer = null
    },
    poll,
    ready: afterPause.ready,
    assertLoaded,
    isRevoked(sessionId, userId, epoch) {
      return isEnded(sessionId) || isOutdated(userId, epoch)
    },
    isEnded,
    isOutdated,
    isKeyRevoked,
    isBlocked({ subject, token }) {
      assertLoaded()
      return blocks.size > 0 && (isBlockInForce(subject) || (token !== null && isBlockInForce(token)))
    },
    isLoaded: () => loadedAt !== null && !afterPause.isRefusing(),
    isFull: () => sessions.size >= maxSessions,
    async announce(revocation) {
      apply(revocation)
      const message = JSON.stringify(revocation)
      // the revocation is committed: a gateway that misses the broadcast reads it at the next poll
      await Promise.all(broadcasts.map((broadcast) => broadcast.publish(message).catch(() => undefined)))
    },
    onWrittenBack: (listener) => void writtenBackListeners.push(listener),
    onChange: (listener) => void listeners.push(listener),
    lastError: () => failure,
    lagSeconds: () => (loadedAt === null ? Number.POSITIVE_INFINITY : (systemClock.steady() - loadedAt) / 1000),
    size: () => sessions.size + users.size + keys.size + blocks.size,
    dump: () => (loadedAt === null || afterPause.ready() !== null ? null : remembered()),
    async writeBack() {
      mustWriteBack = true
      await polling?.catch(() => {})
      // a read that was under way may have been answered by the server before
      mustWriteBack = true
      await poll()
    },
  }
}

type BlockEntry = Extract<Revocation, { blockKey: string }>

/** Of two changes in the same millisecond the block counts. */
const supersedes = (next: BlockEntry, known: BlockEntry): boolean =>
  next.version > known.version || (next.version === known.version && !next.isLifted)

/** Equal for equal revocations. An end that is stored and read again differs by less than a millisecond. */
const textOf = ({ until, ...named }: Revocation): string => JSON.stringify([named, Math.round(until)])

/** Parses strictly, although a forged message can only revoke, which is at most a denial of service. */
function parse(message: string): Revocation | null {
  try {
    const { sessionId, userId, minEpoch, kid, blockKey, version, until } = JSON.parse(message)
    if (!Number.isFinite(until)) return null
    if (typeof blockKey === 'string') return Number.isSafeInteger(version) ? { blockKey, version, isLifted: false, until } : null
    if (typeof kid === 'string') return { kid, until }
    if (typeof sessionId === 'string') return { sessionId, until }
    return typeof userId === 'string' && Number.isInteger(minEpoch) ? { userId, minEpoch, until } : null
  } catch {
    return null
  }
}
