/**
 * The keys of one issuer. They are read again in the background. While the issuer cannot be read, the keys that were read last go on, for a day.
 */
import type { IssuerConfig } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { causeText, drawRetryAfter, type Problem, problem } from '../../platform/lib/errors.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { createKeySetFetch } from './fetch-key-set.ts'
import { type IssuerAlgorithm, type IssuerKey, readKeys } from './issuer-key.ts'

export interface KeySet {
  /**
   * @param kid null: the token names none
   * @returns undefined for a key that the issuer does not have. An unknown key is looked up, but not for each token
   * @throws issuer_unavailable while the keys cannot be had
   */
  find(kid: string | null, algorithm: IssuerAlgorithm): Promise<IssuerKey | undefined>
  /** @param name see `IssuerKey` */
  known(name: string): IssuerKey | undefined
  /** Begins to read the keys when it is time. Never rejects. */
  readWhenDue(): void
  /** Since the keys were read. Infinite before. */
  ageSeconds(): number
}

export interface KeySetDeps {
  settings: IssuerConfig
  clock: Clock
  logger: Logger
  metrics: Pick<Metrics, 'issuerKeyReads'>
}

const READ_EVERY_MS = 300_000
/** After a failure, twice as long each time. */
const FIRST_RETRY_MS = 1000
const LAST_RETRY_MS = 60_000
/** An unknown key makes us ask again, but strangers can invent unknown keys. */
const UNKNOWN_KEY_MS = 10_000
const MAX_AGE_MS = 24 * 3_600_000

export function createKeySet({ settings, clock, logger, metrics }: KeySetDeps): KeySet {
  const { id, algorithms } = settings
  const fetchKeySet = createKeySetFetch(settings)
  let keys: ReadonlyMap<string, IssuerKey> = new Map()
  let readAt: number | null = null
  let nextAt = Number.NEGATIVE_INFINITY
  let lookedUpAt = Number.NEGATIVE_INFINITY
  let reading: Promise<void> | null = null
  let failures = 0
  /** What was logged last. Null: the last read was good. */
  let failure: string | null = null

  async function readNow(): Promise<void> {
    try {
      const found = await readKeys(await fetchKeySet(), algorithms, keys)
      keys = new Map(found.map((key) => [key.name, key]))
      readAt = clock.steady()
      nextAt = readAt + READ_EVERY_MS
      if (failure !== null) logger.info({ issuer: id, keys: keys.size }, 'the keys of the issuer can be read again')
      failures = 0
      failure = null
      metrics.issuerKeyReads.inc({ issuer: id, outcome: 'success' })
    } catch (error) {
      nextAt = clock.steady() + Math.min(FIRST_RETRY_MS * 2 ** failures++, LAST_RETRY_MS)
      const cause = causeText(error)
      if (failure !== cause) logger.warn({ reason: 'issuer_keys_unread', issuer: id, cause }, `issuer ${id}: ${cause}`)
      failure = cause
      metrics.issuerKeyReads.inc({ issuer: id, outcome: 'failure' })
    }
  }

  /** Concurrent calls share one read. */
  function read(): Promise<void> {
    reading ??= readNow().finally(() => {
      reading = null
    })
    return reading
  }

  async function lookUp(): Promise<void> {
    if (reading) return reading
    const now = clock.steady()
    if (now - lookedUpAt < UNKNOWN_KEY_MS) return
    lookedUpAt = now
    return read()
  }

  function forgetWhenOld(): void {
    if (readAt === null || keys.size === 0 || clock.steady() - readAt <= MAX_AGE_MS) return
    keys = new Map()
    logger.error(
      { reason: 'issuer_keys_too_old', issuer: id },
      `issuer ${id}: its keys could not be read for a day, and are used no longer`,
    )
  }

  function select(kid: string | null, algorithm: IssuerAlgorithm): IssuerKey | undefined {
    const fitting = [...keys.values()].filter((key) => key.algorithm === algorithm && (kid === null || key.kid === kid))
    // two keys of one name do not say which of them signed
    return fitting.length === 1 ? fitting[0] : undefined
  }

  return {
    async find(kid, algorithm) {
      const known = select(kid, algorithm)
      if (known) return known
      await lookUp()
      const found = select(kid, algorithm)
      // a key that could not be looked up is not a key that does not exist: 503, not 401
      if (!found && (failure !== null || keys.size === 0)) throw issuerUnavailable(`the keys of issuer ${id} cannot be read: ${failure}`)
      return found
    },
    known: (name) => keys.get(name),
    readWhenDue() {
      forgetWhenOld()
      if (clock.steady() >= nextAt) void read()
    },
    ageSeconds: () => (readAt === null ? Number.POSITIVE_INFINITY : (clock.steady() - readAt) / 1000),
  }
}

const issuerUnavailable = (cause: string): Problem =>
  problem('issuer_unavailable', { cause, headers: { 'retry-after': String(drawRetryAfter(5)) } })
