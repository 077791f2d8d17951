/**
 * Applies and reverts the steps of the schema. Each step is one transaction on a connection of its own, without the time limits of the pool:
 * a step over large tables takes as long as it needs. A step waits only briefly for a lock, and is then tried again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { Migrator } from 'kysely/migration'
import * as accounts from '../../../migrations/0001-accounts.ts'
import * as keys from '../../../migrations/0002-keys.ts'
import * as revocations from '../../../migrations/0003-revocations.ts'
import * as audit from '../../../migrations/0004-audit.ts'
import * as limitCounters from '../../../migrations/0005-limit-counters.ts'
import * as secondFactor from '../../../migrations/0006-second-factor.ts'
import * as recovery from '../../../migrations/0007-recovery.ts'
import * as devices from '../../../migrations/0008-devices.ts'
import * as keysAndClients from '../../../migrations/0009-keys-and-clients.ts'
import * as auditSeal from '../../../migrations/0010-audit-seal.ts'
import * as mailboxProof from '../../../migrations/0011-mailbox-proof.ts'
import * as stepUp from '../../../migrations/0012-step-up.ts'
import * as keyRevocation from '../../../migrations/0013-key-revocation.ts'
import * as namesAndDevices from '../../../migrations/0014-names-and-devices.ts'
import * as usernamesAndMetadata from '../../../migrations/0015-usernames-and-metadata.ts'
import * as largeTables from '../../../migrations/0016-large-tables.ts'
import * as browserSessions from '../../../migrations/0017-browser-sessions.ts'
import * as userLanguage from '../../../migrations/0018-user-language.ts'
import * as schemaMinimum from '../../../migrations/0019-schema-minimum.ts'
import * as signIn from '../../../migrations/0020-sign-in.ts'
import * as withoutPassword from '../../../migrations/0021-without-password.ts'
import * as externalBlocks from '../../../migrations/0022-external-blocks.ts'
import * as loginCountries from '../../../migrations/0023-login-countries.ts'
import * as acme from '../../../migrations/0024-acme.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import type { Db, OpenDatabase } from './database.ts'
import type { MigrationEvent } from './migration-events.ts'
import { DatabaseUnavailable, sqlState } from './unavailable.ts'

/** `progress` reports how far a long step is. `note` reports what an operator must know of the result. */
export interface Step {
  /**
   * The oldest step that a program must know to work with the schema after this step. Default: this step. A step that only adds (expand) names
   * an earlier step, and then programs of the version before run beside it. A step that takes away (contract) names none.
   */
  minimum?: string
  up(db: Parameters<Migration['up']>[0], progress: (text: string) => void, note: (text: string) => void): Promise<void>
  down(db: Parameters<Migration['up']>[0], progress: (text: string) => void): Promise<void>
}

export type Steps = Readonly<Record<string, Step>>

/** In the order of their names. A released migration never changes. */
export const STEPS: Steps = {
  '0001-accounts': accounts,
  '0002-keys': keys,
  '0003-revocations': revocations,
  '0004-audit': audit,
  '0005-limit-counters': limitCounters,
  '0006-second-factor': secondFactor,
  '0007-recovery': recovery,
  '0008-devices': devices,
  '0009-keys-and-clients': keysAndClients,
  '0010-audit-seal': auditSeal,
  '0011-mailbox-proof': mailboxProof,
  '0012-step-up': stepUp,
  '0013-key-revocation': keyRevocation,
  '0014-names-and-devices': namesAndDevices,
  '0015-usernames-and-metadata': usernamesAndMetadata,
  '0016-large-tables': largeTables,
  '0017-browser-sessions': browserSessions,
  '0018-user-language': userLanguage,
  '0019-schema-minimum': schemaMinimum,
  '0020-sign-in': signIn,
  '0021-without-password': withoutPassword,
  '0022-external-blocks': externalBlocks,
  '0023-login-countries': loginCountries,
  '0024-acme': acme,
}

/** From this step on the database records which step a program must know. Programs from before do not read it. */
const FIRST_RECORDED = '0019-schema-minimum'

export interface MigrateOptions {
  report?: (event: MigrationEvent) => void
  clock?: Clock
  lockTimeoutMs?: number
  /** How long a step is tried again in all. */
  patienceMs?: number
  pause?: (ms: number) => Promise<unknown>
  /** The steps that the program knows. */
  steps?: Steps
}

/** A newer version has changed the schema, and this version cannot work with it. */
export class SchemaTooNew extends Error {}

/**
 * Applies all missing steps. Only one process does so at a time. A schema of a newer version stays as it is.
 * @returns the names of the applied steps @throws SchemaTooNew
 */
export async function migrateUp(database: Migratable, options: MigrateOptions = {}): Promise<string[]> {
  // a process with nothing to do does not wait for a newer version that is migrating
  const { steps = STEPS, report = () => {} } = options
  const status = await migrationStatus(database.db, steps)
  const newer = await findNewerSteps(database.db, status, steps)
  if (newer.length > 0) report({ kind: 'newer', steps: newer })
  if (status.every(({ executedAt }) => executedAt)) return []
  return withMigrations(database, options, async ({ next, run }) => {
    const applied: string[] = []
    for (let step = await next(); step; step = await next()) {
      await run(step, 'applied')
      applied.push(step)
    }
    return applied
  })
}

/** Reverts the newest step, or every step after `to`. @returns the reverted steps, the newest first */
export const migrateDown = (
  database: Migratable,
  { to, ...options }: MigrateOptions & { to?: string | undefined } = {},
): Promise<string[]> =>
  withMigrations(database, options, async ({ newest, run }) => {
    const reverted: string[] = []
    for (let step = await newest(); step && (to === undefined ? reverted.length === 0 : step > to); step = await newest()) {
      await run(step, 'reverted')
      reverted.push(step)
    }
    return reverted
  })

export interface StepStatus {
  name: string
  /** Undefined: not applied. */
  executedAt: Date | undefined
  /** False: a newer version has applied it. */
  isKnown: boolean
}

/** Every step that this program knows or that was applied, in the order of their names. Changes nothing. */
export async function migrationStatus(db: Db, steps: Steps = STEPS): Promise<StepStatus[]> {
  const applied = await findApplied(db)
  const names = new Set([...Object.keys(steps), ...applied.keys()])
  return [...names].sort().map((name) => ({ name, executedAt: applied.get(name), isKnown: name in steps }))
}

async function hasTable(db: Db, name: string): Promise<boolean> {
  const { rows } = await sql<{ exists: boolean }>`SELECT to_regclass(${name}) IS NOT NULL AS exists`.execute(db)
  return rows[0]!.exists
}

/** The table is Kysely's own. */
async function findApplied(db: Db): Promise<Map<string, Date>> {
  if (!(await hasTable(db, 'kysely_migration'))) return new Map()
  const { rows } = await sql<{ name: string; timestamp: string }>`SELECT name, timestamp FROM kysely_migration`.execute(db)
  return new Map(rows.map(({ name, timestamp }) => [name, new Date(timestamp)]))
}

/** @returns the steps that are missing. @throws SchemaTooNew */
export async function findMissingSteps(db: Db, steps: Steps = STEPS): Promise<string[]> {
  const status = await migrationStatus(db, steps)
  await findNewerSteps(db, status, steps)
  return status.filter(({ executedAt }) => !executedAt).map(({ name }) => name)
}

/** @returns the steps of a newer version, where this program can work with the schema all the same. @throws SchemaTooNew */
async function findNewerSteps(db: Db, status: readonly StepStatus[], steps: Steps): Promise<string[]> {
  const newer = status.filter(({ isKnown }) => !isKnown).map(({ name }) => name)
  if (newer.length === 0) return []
  const minimum = await findMinimum(db)
  if (minimum !== null && minimum in steps) return newer
  throw new SchemaTooNew(
    `a newer version has migrated this database: this version does not know ${newer.join(', ')}${
      minimum === null ? '' : `, and the schema needs a version that knows ${minimum}`
    }. Start the newer version, or go back with its command portcullis migrate down`,
  )
}

async function findMinimum(db: Db): Promise<string | null> {
  if (!(await hasTable(db, 'schema_minimum'))) return null
  return (await db.selectFrom('schema_minimum').select('step').executeTakeFirst())?.step ?? null
}

/** Records what the schema needs with these steps applied. */
async function recordMinimum(db: Db, steps: Steps, applied: readonly string[]): Promise<void> {
  const recorded = applied.filter((name) => name >= FIRST_RECORDED)
  if (recorded.length === 0) return
  const step = recorded.map((name) => steps[name]!.minimum ?? name).reduce((a, b) => (a > b ? a : b))
  await db.updateTable('schema_minimum').set({ step }).execute()
}

type Migratable = Pick<OpenDatabase, 'db' | 'openForMigrations'>

const LOCK = 7610005
/** Shorter than a request waits for a free connection (1 s): requests that queue behind the lock of the step are served, not refused, when it gives up. */
const LOCK_TIMEOUT_MS = 250
const PATIENCE_MS = 600_000
const MAX_PAUSE_MS = 15_000
const REPORT_MS = 10_000

interface Migrations {
  /** The next step to apply. */
  next(): Promise<string | undefined>
  /** The newest applied step. */
  newest(): Promise<string | undefined>
  run(step: string, kind: 'applied' | 'reverted'): Promise<void>
}

async function withMigrations<T>(
  database: Migratable,
  {
    report = () => {},
    clock = systemClock,
    lockTimeoutMs = LOCK_TIMEOUT_MS,
    patienceMs = PATIENCE_MS,
    pause = (ms) => sleep(ms),
    steps = STEPS,
  }: MigrateOptions,
  work: (migrations: Migrations) => Promise<T>,
): Promise<T> {
  const { db, isShared, close } = await database.openForMigrations()
  const stopwatch = () => {
    const start = clock.steady()
    return () => Math.round((clock.steady() - start) / 100) / 10
  }

  async function run(on: Db, step: string, kind: 'applied' | 'reverted'): Promise<void> {
    const seconds = stopwatch()
    let detail: string | null = null
    let reportedAt = clock.steady()
    const reportRunning = () => {
      reportedAt = clock.steady()
      report({ kind: 'running', step, seconds: seconds(), detail })
    }
    let notes: string[] = []
    const progress = (text: string) => {
      detail = text
      // on the embedded database no timer runs while it works
      if (clock.steady() - reportedAt >= REPORT_MS) reportRunning()
    }
    const migrator = migratorOf(on, steps, progress, (text) => notes.push(text))
    const timer = setInterval(reportRunning, REPORT_MS).unref()
    try {
      for (let waitMs = 500; ; waitMs = Math.min(waitMs * 2, MAX_PAUSE_MS)) {
        notes = []
        const { error } = kind === 'applied' ? await migrator.migrateUp() : await migrator.migrateDown()
        if (!error) break
        if (!isBlocked(error)) throw error
        const by = await blockersOf(on)
        if (seconds() * 1000 >= patienceMs)
          throw new DatabaseUnavailable(new Error(`the step ${step} waited ${seconds()} s for a lock, held by ${by}`))
        report({ kind: 'blocked', step, seconds: seconds(), by })
        await pause(waitMs)
      }
    } finally {
      clearInterval(timer)
    }
    report({ kind, step, seconds: seconds() })
    for (const text of notes) report({ kind: 'note', step, text })
  }

  const migrationsOf = (on: Db): Migrations => ({
    next: async () => (await findMissingSteps(on, steps))[0],
    async newest() {
      const step = (await migrationStatus(on, steps)).findLast(({ executedAt }) => executedAt)
      if (step && !step.isKnown)
        throw new SchemaTooNew(`this version does not know ${step.name}: revert it with the version that applied it`)
      return step?.name
    },
    run: (step, kind) => run(on, step, kind),
  })

  async function withLock(on: Db): Promise<T> {
    // a URL may set its own limits, and a role may have some
    await sql`SELECT set_config('statement_timeout', '0', false), set_config('idle_in_transaction_session_timeout', '0', false),
      set_config('lock_timeout', ${String(lockTimeoutMs)}, false)`.execute(on)
    const seconds = stopwatch()
    // asks again and again: a process that waits inside a statement would keep a snapshot open
    for (let reportedAt = Number.NEGATIVE_INFINITY; !(await tryLock(on)); await pause(500)) {
      if (clock.steady() - reportedAt < REPORT_MS) continue
      reportedAt = clock.steady()
      report({ kind: 'queued', seconds: seconds() })
    }
    try {
      return await work(migrationsOf(on))
    } finally {
      await sql`SELECT pg_advisory_unlock(${LOCK})`.execute(on).catch(() => undefined)
    }
  }

  try {
    // the embedded database has one process and no time limits
    if (isShared) return await db.connection().execute(withLock)
    return await work(migrationsOf(db))
  } finally {
    await close()
  }
}

function migratorOf(db: Db, steps: Steps, progress: (text: string) => void, note: (text: string) => void): Migrator {
  const names = Object.keys(steps).sort()
  const migrations = names.map((name, i): [string, Migration] => [
    name,
    {
      async up(on) {
        await steps[name]!.up(on, progress, note)
        await recordMinimum(on, steps, names.slice(0, i + 1))
      },
      async down(on) {
        await steps[name]!.down(on, progress)
        await recordMinimum(on, steps, names.slice(0, i))
      },
    },
  ])
  return new Migrator({ db, provider: { getMigrations: async () => Object.fromEntries(migrations) } })
}

async function tryLock(on: Db): Promise<boolean> {
  const { rows } = await sql<{ got: boolean }>`SELECT pg_try_advisory_lock(${LOCK}) AS got`.execute(on)
  return rows[0]!.got
}

/** 55P03 lock timeout, 40P01 deadlock. The step was rolled back. */
const isBlocked = (error: unknown): boolean => /^(55P03|40P01)$/.test(sqlState(error instanceof DatabaseUnavailable ? error.cause : error))

/** The other processes that hold locks on our tables, with the names that they gave themselves. */
async function blockersOf(on: Db): Promise<string> {
  const { rows } = await sql<{ pid: number; name: string | null; state: string | null }>`
    SELECT DISTINCT a.pid, a.application_name AS name, a.state
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.relation IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
    ORDER BY a.pid LIMIT 5`.execute(on)
  const names = rows.map(({ pid, name, state }) => `process ${pid} (${[name, state].filter(Boolean).join(', ')})`)
  return names.join(', ') || 'a process that has ended meanwhile'
}
