/** The driver's errors are judged where they arise: above this file, a database that is away is one error. */
import type { AbortableOperationOptions, CompiledQuery, DatabaseConnection, Dialect, Driver } from 'kysely'
import { causeText, Problem } from '../lib/errors.ts'

/** The database cannot be asked at the moment. `cause` is the driver's own error. */
export class DatabaseUnavailable extends Problem {
  constructor(cause: unknown) {
    super('unavailable', { cause, headers: { 'retry-after': '1' } })
    // for logs, which show an error's message; a client reads `detail`
    this.message = causeText(cause)
  }
}

export const sqlState = (error: unknown): string => String((error as { code?: unknown } | null)?.code ?? '')

/** 08 connection, 53 resources, 57P admin shutdown, 25006 read-only, 55P03 lock and 57014 statement timeout. */
const AWAY_STATE = /^(08|53|57P|25006|55P03|57014)/
const AWAY_TEXT =
  /timeout exceeded|Query read timeout|Connection terminated|connection error|Client has encountered|PGlite is closed|is closing|after calling end on the pool/i
const AWAY_SYSTEM = /^(ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE|EHOSTUNREACH|ENETUNREACH|ENOENT)$/

function isAway(error: unknown): boolean {
  const code = sqlState(error)
  if (AWAY_STATE.test(code) || AWAY_SYSTEM.test(code)) return true
  return error instanceof Error && AWAY_TEXT.test(error.message)
}

/** @throws DatabaseUnavailable for a driver's error that says so; any other as it is, with its SQL state */
function judge(error: unknown): never {
  throw error instanceof DatabaseUnavailable || !isAway(error) ? error : new DatabaseUnavailable(error)
}

/** The same dialect, with a driver that throws DatabaseUnavailable: by what the driver says, or once `isClosed`. */
export const judging = (dialect: Dialect, isClosed: () => boolean): Dialect => ({
  createAdapter: () => dialect.createAdapter(),
  createIntrospector: (db) => dialect.createIntrospector(db),
  createQueryCompiler: () => dialect.createQueryCompiler(),
  createDriver: () => judgeDriver(dialect.createDriver(), isClosed),
})

/** Without savepoints, which nothing here uses. */
function judgeDriver(driver: Driver, isClosed: () => boolean): Driver {
  const judged = new WeakSet<DatabaseConnection>()
  return {
    init: (options) => driver.init(options).catch(judge),
    async acquireConnection(options) {
      const connection = await driver.acquireConnection(options).catch(judge)
      if (!judged.has(connection)) judgeConnection(connection)
      judged.add(connection)
      return connection
    },
    async beginTransaction(connection, settings) {
      // of a closed PGlite Kysely would wait for ever; nor may it be refused in `acquireConnection`, after which Kysely keeps its mutex
      if (isClosed()) throw new DatabaseUnavailable(new Error('the database is closed'))
      await driver.beginTransaction(connection, settings).catch(judge)
    },
    commitTransaction: (connection) => driver.commitTransaction(connection).catch(judge),
    rollbackTransaction: (connection) => driver.rollbackTransaction(connection).catch(judge),
    releaseConnection: (connection, options) => driver.releaseConnection(connection, options),
    destroy: (options) => driver.destroy(options),
  }
}

/** In place, as Kysely adds its own logging: the driver knows its connections by identity. */
function judgeConnection(connection: DatabaseConnection): void {
  const executeQuery = connection.executeQuery.bind(connection)
  const streamQuery = connection.streamQuery.bind(connection)
  connection.executeQuery = <R>(query: CompiledQuery, options?: AbortableOperationOptions) => executeQuery<R>(query, options).catch(judge)
  connection.streamQuery = async function* <R>(query: CompiledQuery, chunkSize: number, options?: AbortableOperationOptions) {
    try {
      yield* streamQuery<R>(query, chunkSize, options)
    } catch (error) {
      judge(error)
    }
  }
}
