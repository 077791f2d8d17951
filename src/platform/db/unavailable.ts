/** Classifies the driver's errors where they arise: callers see DatabaseUnavailable for every kind of unavailable database. */
import type { AbortableOperationOptions, CompiledQuery, DatabaseConnection, Dialect, Driver } from 'kysely'
import { causeText, drawRetryAfter, Problem } from '../lib/errors.ts'

/** The database is not available at the moment. `cause` is the driver's error. */
export class DatabaseUnavailable extends Problem {
  constructor(cause: unknown) {
    super('unavailable', { cause, headers: { 'retry-after': String(drawRetryAfter(3)) } })
    // logs show the message; clients read `detail`
    this.message = causeText(cause)
  }
}

/** For the person who starts a command: which database does not answer, and what to do. */
export function unavailableText({ cause, message }: DatabaseUnavailable): string {
  const error = (cause instanceof AggregateError ? cause.errors[0] : cause) as
    | { code?: string; address?: string; hostname?: string; port?: number }
    | undefined
  const code = error?.code ?? ''
  if (!AWAY_SYSTEM.test(code) && !/timeout exceeded/i.test(message)) return `the database is not available: ${message}`
  const host = error?.address ?? error?.hostname
  const place = host ? ` at ${host.includes(':') ? `[${host}]` : host}${error?.port ? `:${error.port}` : ''}` : ''
  return `the database${place} does not answer (${code || message}): start it, or correct DATABASE_URL`
}

const codeOf = (error: unknown): string => String((error as { code?: unknown } | null)?.code ?? '')

/** The state that the server answered, five characters; '' for every other error. EPIPE is a code of the system, and as long. */
export function sqlState(error: unknown): string {
  const code = codeOf(error)
  return /^[0-9A-Z]{5}$/.test(code) && !AWAY_SYSTEM.test(code) ? code : ''
}

/** The answer did not come in time, and the connection was given up. */
export class AnswerTimeout extends Error {
  constructor() {
    super('Query read timeout')
  }
}

/** The server must not be used: it is a standby, or on an older timeline. */
export const refusal = (message: string): DatabaseUnavailable =>
  new DatabaseUnavailable(Object.assign(new Error(message), { isRefusal: true }))

export const isRefused = (error: unknown): boolean =>
  error instanceof DatabaseUnavailable && (error.cause as { isRefusal?: boolean } | undefined)?.isRefusal === true

/**
 * 08 connection, 28 and 3D000 the server lets us in no more, 53 resources, 57P and 25P0x the server ended the connection, 58 its disk,
 * 25006 read-only, 55P03 lock and 57014 statement timeout.
 */
const AWAY_STATE = /^(08|28|3D000|53|57P|58|25006|25P0[34]|55P03|57014)/
const AWAY_TEXT =
  /timeout exceeded|Connection terminated|connection error|Client has encountered|PGlite is closed|is closing|after calling end on the pool/i
const AWAY_SYSTEM = /^(ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE|EHOSTUNREACH|ENETUNREACH|ENOENT)$/

function isAway(error: unknown): boolean {
  if (AWAY_STATE.test(sqlState(error)) || AWAY_SYSTEM.test(codeOf(error))) return true
  return error instanceof Error && AWAY_TEXT.test(error.message)
}

/** 08 connection, 57P the server stops, starts or ended the connection, as 25P0x does, 25006 the server is read-only now. */
const LOST_STATE = /^(08|57P|25006|25P0[34])/

/** The connection cannot be used again: it has ended, its server gave no answer, or its server accepts no writes. */
export const isConnectionLost = (error: unknown): boolean =>
  error instanceof DatabaseUnavailable || LOST_STATE.test(sqlState(error)) || (isAway(error) && sqlState(error) === '')

/** @throws DatabaseUnavailable when the driver's error means so; every other error unchanged, with its SQL state */
function rethrow(error: unknown): never {
  throw error instanceof DatabaseUnavailable || !isAway(error) ? error : new DatabaseUnavailable(error)
}

/** The same dialect. Its driver throws DatabaseUnavailable when the database is unavailable, or after `isClosed` returns true. */
export const classifying = (dialect: Dialect, isClosed: () => boolean): Dialect => ({
  createAdapter: () => dialect.createAdapter(),
  createIntrospector: (db) => dialect.createIntrospector(db),
  createQueryCompiler: () => dialect.createQueryCompiler(),
  createDriver: () => classifyDriver(dialect.createDriver(), isClosed),
})

/** Savepoints are left out, because nothing here uses them. */
function classifyDriver(driver: Driver, isClosed: () => boolean): Driver {
  const wrapped = new WeakSet<DatabaseConnection>()
  return {
    init: (options) => driver.init(options).catch(rethrow),
    async acquireConnection(options) {
      const connection = await driver.acquireConnection(options).catch(rethrow)
      if (!wrapped.has(connection)) classifyConnection(connection)
      wrapped.add(connection)
      return connection
    },
    async beginTransaction(connection, settings) {
      // Kysely would wait for a closed PGlite without limit; a refusal in `acquireConnection` would leave Kysely's mutex locked
      if (isClosed()) throw new DatabaseUnavailable(new Error('the database is closed'))
      await driver.beginTransaction(connection, settings).catch(rethrow)
    },
    commitTransaction: (connection) => driver.commitTransaction(connection).catch(rethrow),
    rollbackTransaction: (connection) => driver.rollbackTransaction(connection).catch(rethrow),
    releaseConnection: (connection, options) => driver.releaseConnection(connection, options),
    destroy: (options) => driver.destroy(options),
  }
}

/** Changes the connection in place, as Kysely's logging does: the driver identifies connections by reference. */
function classifyConnection(connection: DatabaseConnection): void {
  const executeQuery = connection.executeQuery.bind(connection)
  const streamQuery = connection.streamQuery.bind(connection)
  connection.executeQuery = <R>(query: CompiledQuery, options?: AbortableOperationOptions) => executeQuery<R>(query, options).catch(rethrow)
  connection.streamQuery = async function* <R>(query: CompiledQuery, chunkSize: number, options?: AbortableOperationOptions) {
    try {
      yield* streamQuery<R>(query, chunkSize, options)
    } catch (error) {
      rethrow(error)
    }
  }
}
