/** Opens the database, runs transactions and classifies errors of the database. */
import { CompiledQuery, Kysely, type LogEvent, PGliteDialect, PostgresDialect, sql, type Transaction as Trx } from 'kysely'
import type pg from 'pg'
import type { Config } from '../config/schema.ts'
import type { Logger } from '../telemetry/logger.ts'
import { createBreaker } from './breaker.ts'
import { type ConnectionPool, openConnectionPool, type PoolSettings } from './connection-pool.ts'
import { hostsOf } from './hosts.ts'
import { openPGlite } from './pglite.ts'
import { createPrimary } from './primary.ts'
import { openReplica } from './replica.ts'
import type { Database } from './tables.ts'
import { AnswerTimeout, classifying, DatabaseUnavailable, sqlState } from './unavailable.ts'

export type Db = Kysely<Database>
export type Transaction = Trx<Database>

/**
 * Runs `work` on the read replica, where there is one and it answers; otherwise on the primary. For lists of administrators that may be a
 * little old, never for a decision. `work` may run twice.
 */
export type ReadReplica = <T>(work: (db: Db) => Promise<T>) => Promise<T>

export interface OpenDatabase {
  db: Db
  /**
   * For the poll of revocations: a connection of its own, which waits at most 1 s for an answer and is destroyed then. A poll never waits
   * behind requests. The embedded database: the same as `db`.
   */
  polling: Db
  kind: 'embedded' | 'postgres'
  /** Null for the embedded database. */
  pool: pg.Pool | null
  /** The database is away and not called. */
  isBreakerOpen(): boolean
  read: ReadReplica
  /** 0 without a read replica. */
  replicaLagSeconds(): number
  /** A connection beside the pool, without the time limits of the pool. The embedded database has only one connection. */
  openForMigrations(): Promise<MigrationDatabase>
  /** Calls the listener after another server has taken over, such as a promoted standby. It may lack the last commits of the server before. */
  onPrimaryChange(listener: () => void): void
  close(): Promise<void>
}

export interface MigrationDatabase {
  db: Db
  /** Other processes may migrate the same database. */
  isShared: boolean
  close(): Promise<void>
}

export type QueryObserver = (operation: string, seconds: number, error?: unknown) => void

/** Opens PGlite in `dataDir`, or a pool of Postgres connections. Postgres need not be reachable yet. @throws when the folder is in use */
export async function openDatabase(
  { url, readUrl, dataDir, poolSize }: Config['database'],
  logger: Logger,
  observe?: QueryObserver,
): Promise<OpenDatabase> {
  const logging = observe && {
    log: (event: LogEvent) =>
      observe(operationOf(event), event.queryDurationMillis / 1000, event.level === 'error' ? event.error : undefined),
  }
  if (url === 'embedded') {
    const embedded = await openPGlite(dataDir)
    const { isClosed, close } = closeOnce(async () => {
      await embedded.pglite.close()
      await embedded.release()
    })
    const db = new Kysely<Database>({ dialect: classifying(new PGliteDialect({ pglite: embedded.pglite }), isClosed), ...logging })
    const openForMigrations = async () => ({ db, isShared: false, close: async () => {} })
    return {
      db,
      polling: db,
      kind: 'embedded',
      pool: null,
      isBreakerOpen: () => false,
      read: (work) => work(db),
      replicaLagSeconds: () => 0,
      onPrimaryChange: () => {},
      openForMigrations,
      close,
    }
  }
  const onLost = (error: Error) => logger.warn({ reason: 'db_connection_lost', cause: error.message }, 'a database connection was lost')
  const pools = new Set<ConnectionPool>()
  const listeners: (() => void)[] = []
  const urls = hostsOf(url)
  const primary = createPrimary({
    urls,
    logger,
    onChange(url) {
      for (const pool of pools) pool.drop(url)
      for (const changed of listeners) changed()
    },
  })
  const breaker = createBreaker({
    examine: primary.find,
    onOpen() {
      for (const pool of pools) pool.drop()
    },
    logger,
    name: 'primary',
  })
  const server = {
    admit: primary.admit,
    async url() {
      if (primary.url() === null) await primary.find(CONNECT_TIMEOUT_MS)
      return primary.url()!
    },
  }
  const openPool = (settings: PoolSettings) => {
    const pool = openConnectionPool(settings, { server, breaker, onLost })
    pools.add(pool)
    return pool
  }
  const connections = openPool({ ...POOL, size: poolSize })
  const poll = openPool(POLL)
  // a promoted standby is found also while the primary before it still answers. That no host answers is for the breaker to find
  const look = () => primary.find(WATCH_SILENCE_MS).catch(() => undefined)
  const watch = urls.length > 1 && setInterval(look, WATCH_MS).unref()
  const { isClosed, close } = closeOnce(async () => {
    if (watch) clearInterval(watch)
    breaker.stop()
    await Promise.all([connections.end(), poll.end(), replica?.close()])
  })
  const openKysely = (dialect: PostgresDialect) => new Kysely<Database>({ dialect: classifying(dialect, isClosed), ...logging })
  const db = openKysely(new PostgresDialect({ pool: connections }))
  const replica = readUrl
    ? openReplica({
        url: readUrl,
        settings: { ...POOL, size: poolSize, name: 'portcullis read' },
        primary: db,
        openKysely,
        onLost,
        logger,
      })
    : null

  /** One connection without time limits: migrate.ts sets its lock timeout. */
  async function openForMigrations(): Promise<MigrationDatabase> {
    const pool = openPool(MIGRATIONS)
    const db = new Kysely<Database>({ dialect: classifying(new PostgresDialect({ pool }), () => false) })
    return {
      db,
      isShared: true,
      async close() {
        pools.delete(pool)
        await pool.end()
      },
    }
  }

  return {
    db,
    polling: openKysely(new PostgresDialect({ pool: poll })),
    kind: 'postgres',
    pool: connections.pool,
    isBreakerOpen: breaker.isOpen,
    read: replica ? replica.read : (work) => work(db),
    replicaLagSeconds: replica ? replica.lagSeconds : () => 0,
    onPrimaryChange: (listener) => void listeners.push(listener),
    openForMigrations,
    close,
  }
}

const CONNECT_TIMEOUT_MS = 1000
const POLL_TIMEOUT_MS = 1000
const WATCH_MS = 5000
const WATCH_SILENCE_MS = 250

/** The server notices within about 10 s that a gateway has vanished, and frees its locks. */
const VANISHED_PEER = { tcp_user_timeout: 10_000, tcp_keepalives_idle: 5, tcp_keepalives_interval: 2, tcp_keepalives_count: 3 }

const POOL: Omit<PoolSettings, 'size'> = {
  name: 'portcullis',
  connectTimeoutMs: CONNECT_TIMEOUT_MS,
  // longer than the limit of the server, whose answer keeps the connection
  answerTimeoutMs: 5500,
  settings: { lock_timeout: 2000, statement_timeout: 5000, idle_in_transaction_session_timeout: 10_000, ...VANISHED_PEER },
  idleTimeoutMs: 10_000,
}

const POLL: PoolSettings = {
  name: 'portcullis poll',
  size: 1,
  connectTimeoutMs: POLL_TIMEOUT_MS,
  answerTimeoutMs: POLL_TIMEOUT_MS,
  settings: VANISHED_PEER,
  idleTimeoutMs: 0,
}

const MIGRATIONS: PoolSettings = {
  name: 'portcullis migrate',
  size: 1,
  connectTimeoutMs: 5000,
  answerTimeoutMs: null,
  settings: VANISHED_PEER,
  // the connection holds a lock
  idleTimeoutMs: 0,
}

/**
 * Closes once, and below Kysely. After its own `destroy`, Kysely throws before it calls the driver, and that error would not become
 * DatabaseUnavailable.
 */
function closeOnce(close: () => Promise<void>) {
  let closing: Promise<void> | null = null
  return {
    isClosed: () => closing !== null,
    close() {
      closing ??= close()
      return closing
    },
  }
}

/** The statement's kind and first table, such as `select users`; never its values. */
function operationOf(event: LogEvent): string {
  const node = event.query.query as { kind: string; from?: unknown; into?: unknown; table?: unknown }
  const kind = node.kind.replace('QueryNode', '').replace('Node', '').toLowerCase()
  const table = /"IdentifierNode","name":"([a-z_]+)"/.exec(JSON.stringify(node.from ?? node.into ?? node.table ?? ''))?.[1]
  return table ? `${kind} ${table}` : kind
}

const RETRYABLE = new Set(['40001', '40P01'])

/**
 * READ COMMITTED explicitly: rows are read again after each lock wait. After a deadlock or a serialization failure `work` runs again, at most
 * three times in all. It must therefore have no effect outside the transaction.
 */
export async function inTransaction<T>(db: Db, work: (trx: Transaction) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await db.transaction().setIsolationLevel('read committed').execute(work)
    } catch (error) {
      if (!RETRYABLE.has(sqlState(error))) throw error
      if (attempt >= 3) throw new DatabaseUnavailable(error)
    }
  }
}

/** Reads one snapshot, however long it takes, and blocks no other transaction. */
export const inSnapshot = <T>(db: Db, work: (trx: Transaction) => Promise<T>): Promise<T> =>
  db.transaction().setIsolationLevel('repeatable read').setAccessMode('read only').execute(work)

/** The current time of the database. `now()` would be the start of the transaction, before any lock wait. */
export async function databaseNow(trx: Db | Transaction): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`SELECT clock_timestamp() AS now`.execute(trx)
  return rows[0]!.now
}

/** Runs `work` on the connection that holds `lock`. @returns null when another process holds the lock */
export async function withAdvisoryLock<T>(db: Db, lock: number, work: (connection: Db) => Promise<T>): Promise<T | null> {
  return db.connection().execute(async (connection) => {
    const { rows } = await sql<{ got: boolean }>`SELECT pg_try_advisory_lock(${lock}) AS got`.execute(connection)
    if (!rows[0]?.got) return null
    try {
      return await work(connection)
    } finally {
      await connection.executeQuery(CompiledQuery.raw('SELECT pg_advisory_unlock($1)', [lock])).catch(() => undefined)
    }
  })
}

/** The database is not available at the moment, or did not answer in time. */
export const isDatabaseAway = (error: unknown): boolean => error instanceof DatabaseUnavailable

/** The statement took too long: for the server (57014), or for this process. */
export function isTimeout(error: unknown): boolean {
  const cause = error instanceof DatabaseUnavailable ? error.cause : error
  return sqlState(cause) === '57014' || cause instanceof AnswerTimeout
}

/** The unique constraint that an insert or update violated, or null. */
export function brokenConstraint(error: unknown): string | null {
  return sqlState(error) === '23505' ? String((error as { constraint?: unknown }).constraint ?? '') : null
}
