/** The read replica: for lists that may be a little old. While it is away, or far behind, the primary answers in its place. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, PostgresDialect, sql } from 'kysely'
import { systemClock } from '../lib/clock.ts'
import { causeText } from '../lib/errors.ts'
import type { Logger } from '../telemetry/logger.ts'
import { createBreaker } from './breaker.ts'
import { type ConnectionPool, openConnectionPool, type PoolSettings } from './connection-pool.ts'
import { dial, isNotOffered } from './dial.ts'
import { hostsOf } from './hosts.ts'
import type { Database } from './tables.ts'
import { DatabaseUnavailable, sqlState } from './unavailable.ts'

export interface Replica {
  /** Runs `work` on the replica, or on the primary. `work` may run twice, so it only reads. */
  read<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T>
  lagSeconds(): number
  close(): Promise<void>
}

export interface ReplicaDeps {
  url: string
  settings: PoolSettings
  primary: Kysely<Database>
  openKysely(dialect: PostgresDialect): Kysely<Database>
  onLost(error: Error): void
  logger: Logger
}

const MEASURE_MS = 5000
const TRIES = 5
const TRY_MS = 200
/** A list that is older than this is read from the primary. */
const MAX_LAG_SECONDS = 30

/** 40001: a change from the primary removed rows that the statement read. 42P01, 42703: the replica lacks the newest schema. */
const BEHIND = /^(40001|40P01|42P01|42703)$/

export function openReplica({ url, settings, primary, openKysely, onLost, logger }: ReplicaDeps): Replica {
  const urls = hostsOf(url)
  let current = urls[0]!
  const breaker = createBreaker({ examine: find, onOpen: () => pool.drop(), logger, name: 'replica' })
  const pool: ConnectionPool = openConnectionPool(settings, { server: { url: () => current, admit: () => {} }, breaker, onLost })
  const db = openKysely(new PostgresDialect({ pool }))
  /** Positions of the primary, with the steady time at which it had reached them. The oldest is the newest that the replica has reached. */
  let marks: { position: bigint; at: number }[] = []
  let confirmedAt = systemClock.steady()
  /** Null: the last measurement failed, and the replica falls further behind. */
  let lagSeconds: number | null = 0
  let isMeasurable = true

  async function find(silenceMs: number): Promise<void> {
    const answers = await Promise.allSettled(urls.map((host) => dial(host, silenceMs)))
    const index = answers.findIndex(({ status }) => status === 'fulfilled')
    if (index < 0) throw (answers[0] as PromiseRejectedResult).reason
    current = urls[index]!
  }

  async function measure(): Promise<void> {
    const at = systemClock.steady()
    marks.push({ position: await positionOf(primary), at })
    for (let tries = 1; ; tries++) {
      const reached = await positionOf(db)
      const index = marks.findLastIndex(({ position }) => position <= reached)
      if (index >= 0) {
        confirmedAt = marks[index]!.at
        marks = marks.slice(index)
      }
      lagSeconds = confirmedAt === at ? (tries - 1) * (TRY_MS / 1000) : (systemClock.steady() - confirmedAt) / 1000
      if (confirmedAt === at || tries === TRIES) return
      await sleep(TRY_MS, undefined, { ref: false })
    }
  }

  const timer = setInterval(() => {
    if (!isMeasurable || breaker.isOpen()) return
    measure().catch((error) => {
      lagSeconds = null
      if (!isNotOffered(error)) return
      isMeasurable = false
      logger.warn({ reason: 'db_replica_lag_unknown', cause: causeText(error) }, 'the read replica does not say how far it is behind')
    })
  }, MEASURE_MS).unref()

  const lag = () => {
    if (!isMeasurable) return 0
    return lagSeconds === null || breaker.isOpen() ? (systemClock.steady() - confirmedAt) / 1000 : lagSeconds
  }

  return {
    lagSeconds: lag,
    async read(work) {
      if (breaker.isOpen() || lag() > MAX_LAG_SECONDS) return work(primary)
      try {
        return await work(db)
      } catch (error) {
        if (!(error instanceof DatabaseUnavailable) && !BEHIND.test(sqlState(error))) throw error
        return work(primary)
      }
    },
    async close() {
      clearInterval(timer)
      breaker.stop()
      await pool.end()
    },
  }
}

/** Everything before this position of the log has been written, or replayed by a replica. */
async function positionOf(db: Kysely<Database>): Promise<bigint> {
  const { rows } = await sql<{ position: string }>`
    SELECT ((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END) - '0/0'::pg_lsn)::text
      AS position`.execute(db)
  return BigInt(rows[0]!.position)
}
