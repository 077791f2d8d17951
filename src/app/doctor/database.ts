/** The database: version, speed, schema, secret key, rights, connections and clock. Changes nothing. */
import { createKeySealing } from '../../identity/tokens/key-sealing.ts'
import type { Config, Secrets as SecretValues } from '../../platform/config/schema.ts'
import type { Db } from '../../platform/db/database.ts'
import { findMissingSteps, SchemaTooNew } from '../../platform/db/migrate.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { createDatabaseClock } from '../../platform/lib/database-clock.ts'
import { causeText } from '../../platform/lib/errors.ts'
import { createSecrets, WrongSecretKey } from '../../platform/vault/secrets.ts'
import { countWorkers, shareOf } from '../worker-share.ts'
import { hasCanaryTable, ping, readFacts, readTime, type ServerFacts } from './database-facts.repo.ts'
import { type Finding, fail, notChecked, ok, type Row, rowOf, warn } from './row.ts'

export interface DatabaseDeps {
  config: Config
  secrets: Pick<SecretValues, 'secretKey' | 'previousSecretKey'>
  db: Db
  kind: 'embedded' | 'postgres'
  clock: Clock
}

/** The oldest major version that the tests run with. */
const TESTED_POSTGRES = 15
const SLOW_MS = 50
const WRONG_SECONDS = 60
const DOUBTFUL_SECONDS = 2

/** @throws DatabaseUnavailable */
export async function databaseRows(deps: DatabaseDeps): Promise<Row[]> {
  const { config, db, kind, clock } = deps
  const facts = await readFacts(db)
  const latencyMs = await measure(db, clock)
  const name = kind === 'embedded' ? 'embedded database' : 'Postgres'
  return [
    rowOf(name, judgeVersion(facts, latencyMs, kind)),
    rowOf('schema', await judgeSchema(db).catch(unreadable)),
    rowOf('secret key', await judgeKey(deps).catch(unreadable)),
    // the only user of the embedded database is its process
    ...(kind === 'embedded'
      ? []
      : [
          rowOf('Postgres rights', judgeRights(facts)),
          rowOf('Postgres connections', judgeConnections(config, facts)),
          rowOf('clock', await judgeClock(db, clock)),
        ]),
  ]
}

/** Without rights the tables cannot be read: the row about rights says so. */
const unreadable = (error: unknown): Finding => notChecked(causeText(error))

async function measure(db: Db, clock: Clock): Promise<number> {
  const before = clock.steady()
  await ping(db)
  return clock.steady() - before
}

export function judgeVersion({ version, major, bytes }: ServerFacts, latencyMs: number, kind: DatabaseDeps['kind']): Finding {
  const found = `version ${version.split(' ')[0]}, answers in ${latencyMs.toFixed(1)} ms, ${sizeText(bytes)}`
  if (kind === 'embedded') return ok(found)
  if (major < TESTED_POSTGRES) return warn(found, `Portcullis is tested with Postgres ${TESTED_POSTGRES} and newer: upgrade the server`)
  if (latencyMs > SLOW_MS) return warn(found, `logins ask the database several times: bring it nearer, or look at its load`)
  return ok(found)
}

async function judgeSchema(db: Db): Promise<Finding> {
  try {
    const missing = await findMissingSteps(db)
    if (missing.length === 0) return ok('every step is applied')
    const shown = missing.length > 3 ? `${missing[0]} to ${missing.at(-1)}` : missing.join(', ')
    return warn(`${missing.length} steps are missing: ${shown}`, 'serve applies them at its start; or run: portcullis migrate up')
  } catch (error) {
    if (error instanceof SchemaTooNew) return fail(error.message, 'start the newer version of Portcullis')
    throw error
  }
}

async function judgeKey({ db, secrets: { secretKey, previousSecretKey } }: DatabaseDeps): Promise<Finding> {
  if (secretKey === null) return notChecked('PORTCULLIS_SECRET_KEY is not set here', 'name the file of the variables: --env-file FILE')
  if (!(await hasCanaryTable(db))) return notChecked('the database has no keys yet')
  try {
    const sealed = await createKeySealing(createSecrets(secretKey, previousSecretKey)).readCanary(db)
    return sealed === undefined ? notChecked('the database has no keys yet') : ok('it is the key of this database')
  } catch (error) {
    if (!(error instanceof WrongSecretKey)) throw error
    return fail(error.message, 'set the key that this database was set up with')
  }
}

export function judgeRights({ canConnect, schema, canCreate, forbidden, foreign }: ServerFacts): Finding {
  if (schema === null)
    return fail(
      'the search_path of this user names no schema that exists',
      'run as an administrator: CREATE SCHEMA portcullis AUTHORIZATION the_user',
    )
  if (!canConnect || !canCreate)
    return fail(
      `this user may not create tables in the schema ${schema}`,
      `run as an administrator: GRANT USAGE, CREATE ON SCHEMA ${schema} TO the_user`,
    )
  if (forbidden > 0)
    return fail(
      `this user may not read and write ${forbidden} tables of ${schema}`,
      `run as an administrator: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO the_user`,
    )
  if (foreign > 0)
    return warn(
      `${foreign} tables of ${schema} belong to another user: the next upgrade cannot change them`,
      'give them to the user of the gateway: REASSIGN OWNED BY the_other TO the_user',
    )
  return ok(`may create, read and write tables in the schema ${schema}`)
}

/** How many connections this gateway may open at the same time. docs/operations.md says the same. */
export function connectionsOf(config: Config): number {
  const workers = countWorkers(config)
  const processes = workers > 1 ? workers + 1 : 1
  const { poolSize } = workers > 1 ? shareOf(config, workers).database : config.database
  // besides the pool: one for the poll of revocations, and one for a moment
  return processes * (poolSize + 2) * config.server.replicas
}

export function judgeConnections(config: Config, { maxConnections, reserved, ownLimit, others }: ServerFacts): Finding {
  const needed = connectionsOf(config)
  const allowed = maxConnections - reserved
  const available = ownLimit >= 0 ? Math.min(allowed, ownLimit) : allowed
  const { replicas } = config.server
  const found = `up to ${needed} for ${replicas > 1 ? `${replicas} gateways` : 'this gateway'}; the server allows ${available}, others have ${others}`
  const advice = `set max_connections of Postgres to at least ${needed + reserved + others + 5}, or lower database.poolSize or server.workers`
  if (needed > available) return fail(found, advice)
  return needed + others > allowed ? warn(found, advice) : ok(found)
}

async function judgeClock(db: Db, local: Clock): Promise<Finding> {
  const clock = createDatabaseClock(local)
  for (let i = 0; i < 3; i++) {
    const askedAt = local.steady()
    const databaseMs = await readTime(db)
    clock.measure({ databaseMs, askedAt, answeredAt: local.steady() })
  }
  return judgeSkew(clock.skewSeconds())
}

export function judgeSkew(seconds: number): Finding {
  const amount = Math.abs(seconds)
  const shown = amount < 10 ? amount.toFixed(1) : String(Math.round(amount))
  const found = `this machine is ${shown} s ${seconds < 0 ? 'behind' : 'ahead of'} the database`
  const advice = 'synchronise both clocks, for example with: sudo timedatectl set-ntp true'
  if (amount > WRONG_SECONDS) return fail(found, advice)
  return amount > DOUBTFUL_SECONDS ? warn(found, advice) : ok(found)
}

/** Rows for a database that could not be asked. */
export const unreachableRow = (name: string, error: unknown): Row =>
  rowOf(name, fail(`does not answer: ${causeText(error)}`, 'start it, or correct DATABASE_URL (database.url)'))

/** `12.3 MiB` */
export function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const at = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(bytes, 1)) / 10)))
  const value = bytes / 1024 ** at
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[at]}`
}
