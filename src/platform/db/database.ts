/** The one door to the database: its connections, transactions, and what its errors mean. */
import { CompiledQuery, Kysely, type LogEvent, PGliteDialect, PostgresDialect, sql, type Transaction as Trx } from 'kysely'
import pg from 'pg'
import type { Config } from '../config/schema.ts'
import type { Logger } from '../telemetry/logger.ts'
import { openPGlite } from './pglite.ts'
import type { Database } from './tables.ts'
import { DatabaseUnavailable, judging, sqlState } from './unavailable.ts'

export type Db = Kysely<Database>
export type Transaction = Trx<Database>

export interface OpenDatabase {
  db: Db
  kind: 'embedded' | 'postgres'
  /** Connections: null for the embedded one. */
  pool: pg.Pool | null
  close(): Promise<void>
}

export type QueryObserver = (operation: string, seconds: number) => void

/** Opens PGlite in `dataDir`, or a pool of Postgres connections. @throws when the folder is in use; Postgres may still be away. */
export async function openDatabase(
  { url, dataDir, poolSize }: Config['database'],
  logger: Logger,
  observe?: QueryObserver,
): Promise<OpenDatabase> {
  const logging = observe && { log: (event: LogEvent) => observe(operationOf(event), event.queryDurationMillis / 1000) }
  if (url === 'embedded') {
    const embedded = await openPGlite(dataDir)
    const { isClosed, close } = closeOnce(async () => {
      await embedded.pglite.close()
      await embedded.release()
    })
    const db = new Kysely<Database>({ dialect: judging(new PGliteDialect({ pglite: embedded.pglite }), isClosed), ...logging })
    return { db, kind: 'embedded', pool: null, close }
  }
  const pool = new pg.Pool({
    connectionString: url,
    max: poolSize,
    // pg waits for ever by default, for a free connection and for an answer
    connectionTimeoutMillis: 1000,
    query_timeout: 5000,
    options: '-c lock_timeout=2000 -c statement_timeout=5000 -c idle_in_transaction_session_timeout=10000',
    application_name: 'portcullis',
    keepAlive: true,
  })
  // an `error` event on an idle client ends the process unless it is handled
  pool.on('error', (error) => logger.warn({ reason: 'db_connection_lost', cause: error.message }, 'a database connection was lost'))
  // … and one that is in use is not the pool's to watch
  pool.on('connect', (client) => client.on('error', () => {}))
  const { isClosed, close } = closeOnce(() => pool.end())
  const db = new Kysely<Database>({ dialect: judging(new PostgresDialect({ pool }), isClosed), ...logging })
  return { db, kind: 'postgres', pool, close }
}

/** Once, and below Kysely: a `destroy` of its own would have it throw before a driver is asked, an error that nobody has judged. */
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

/** `select users`, `insert sessions` …: the statement's kind and first table, never its values. */
function operationOf(event: LogEvent): string {
  const node = event.query.query as { kind: string; from?: unknown; into?: unknown; table?: unknown }
  const kind = node.kind.replace('QueryNode', '').replace('Node', '').toLowerCase()
  const table = /"IdentifierNode","name":"([a-z_]+)"/.exec(JSON.stringify(node.from ?? node.into ?? node.table ?? ''))?.[1]
  return table ? `${kind} ${table}` : kind
}

const RETRYABLE = new Set(['40001', '40P01'])

/**
 * READ COMMITTED, said explicitly: rows are re-read after each lock wait. A deadlock or serialization failure is tried again, three times
 * in all, so `work` must have no effect outside the transaction.
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

/** Reads everything as it was at one instant, however long it takes; nobody waits for it. */
export const inSnapshot = <T>(db: Db, work: (trx: Transaction) => Promise<T>): Promise<T> =>
  db.transaction().setIsolationLevel('repeatable read').setAccessMode('read only').execute(work)

/** The database's clock, as it is now: `now()` is from before any lock wait. */
export async function databaseNow(trx: Db | Transaction): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`SELECT clock_timestamp() AS now`.execute(trx)
  return rows[0]!.now
}

/** Runs `work` when no other process holds `lock`, else returns null. `work` gets the one connection that holds it. */
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

/** The database cannot be asked at the moment, or not in time. */
export const isDatabaseAway = (error: unknown): boolean => error instanceof DatabaseUnavailable

/** The constraint that an insert or update broke, or null. */
export function brokenConstraint(error: unknown): string | null {
  return sqlState(error) === '23505' ? String((error as { constraint?: unknown }).constraint ?? '') : null
}
