import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { type OpenDatabase, openDatabase } from '../../../src/platform/db/database.ts'
import { migrateDown, migrateUp, migrationStatus } from '../../../src/platform/db/migrate.ts'
import { type MigrationEvent, textOfEvent } from '../../../src/platform/db/migration-events.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'

const STEPS = readdirSync(new URL('../../../migrations', import.meta.url))
  .map((file) => file.replace('.ts', ''))
  .sort()

describe.each(['embedded', 'postgres'])('migrations on %s', (kind) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'portcullis-migrations-'))
  let open: OpenDatabase
  beforeAll(async () => {
    let url = 'embedded'
    if (kind === 'postgres') {
      const name = `migrations_${randomBytes(6).toString('hex')}`
      await query(inject('postgresUrl'), `CREATE DATABASE ${name}`)
      url = inject('postgresUrl').replace(/\/postgres$/, `/${name}`)
    }
    open = await openDatabase({ url, dataDir, poolSize: 2 }, createLogger('silent'))
  })
  afterAll(async () => {
    await open.close()
    rmSync(dataDir, { recursive: true, force: true })
  })

  /** Columns, indexes and constraints of our tables, as text. */
  async function schema(): Promise<string[]> {
    const { rows } = await sql<{ line: string }>`
      SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) AS line
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'kysely%'
      UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'kysely%'
      UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 AND conrelid::regclass::text NOT LIKE 'kysely%'
      ORDER BY 1`.execute(open.db)
    return rows.map((r) => r.line)
  }

  it('go up, step by step down to nothing, and up again to the same schema', async () => {
    expect(await migrateUp(open)).toEqual(STEPS)
    const whole = await schema()
    expect(whole.some((l) => l.startsWith('refresh_tokens.token_hash bytea'))).toBe(true)
    expect(await migrateUp(open)).toEqual([])

    for (const step of STEPS.toReversed()) {
      expect(await migrateDown(open)).toEqual([step])
      expect((await migrationStatus(open.db)).find((m) => m.name === step)?.executedAt).toBeUndefined()
    }
    expect(await schema()).toEqual([])
    expect(await migrateDown(open)).toEqual([])

    expect(await migrateUp(open)).toEqual(STEPS)
    expect(await schema()).toEqual(whole)
    expect((await migrationStatus(open.db)).filter((m) => m.executedAt).map((m) => m.name)).toEqual(STEPS)
  })

  it('go down to a named step', async () => {
    await migrateUp(open)
    expect(await migrateDown(open, { to: '0007-recovery' })).toEqual(STEPS.slice(7).reverse())
    expect(await migrateDown(open, { to: '0007-recovery' })).toEqual([])
    expect(await migrateUp(open)).toEqual(STEPS.slice(7))
  })

  it('report each step', async () => {
    await migrateDown(open, { to: '0009-keys-and-clients' })
    const events: MigrationEvent[] = []
    const report = (event: MigrationEvent) => void events.push(event)
    await migrateUp(open, { report })
    await migrateDown(open, { report })
    const steps = [...STEPS.slice(9).map((step) => `applied ${step}`), `reverted ${STEPS.at(-1)}`]
    expect(events.map((event) => ('step' in event ? `${event.kind} ${event.step}` : event.kind))).toEqual(steps)
  })
})

describe('migrations beside other processes', () => {
  let open: OpenDatabase
  let other: pg.Client
  let url: string
  beforeEach(async () => {
    url = await createDatabase(inject('postgresUrl'))
    open = await openDatabase({ url, dataDir: '', poolSize: 1 }, createLogger('silent'))
    other = new pg.Client({ connectionString: url, application_name: 'a report' })
    await other.connect()
  })
  afterEach(async () => {
    await other.end()
    await open.close()
  })

  const TO = '0009-keys-and-clients'
  const later = STEPS.slice(STEPS.indexOf(TO) + 1)
  const collect = (events: MigrationEvent[]) => ({
    report: (event: MigrationEvent) => void events.push(event),
    lockTimeoutMs: 20,
    pause: () => new Promise((resolve) => setImmediate(resolve)),
  })
  const lockAudit = () => other.query('BEGIN; LOCK TABLE audit_log IN ACCESS SHARE MODE')

  it('a step that cannot lock its tables gives way, names who holds them, and goes on when they are free', async () => {
    await migrateDown(open, { to: TO })
    await lockAudit()
    const events: MigrationEvent[] = []
    const migrating = migrateUp(open, collect(events))
    const blocked = await until(async () => events.find((event) => event.kind === 'blocked'), 'the lock')
    const [{ pid }] = (await other.query('SELECT pg_backend_pid() AS pid')).rows
    expect(blocked).toMatchObject({ step: '0010-audit-seal', by: `process ${pid} (a report, idle in transaction)` })
    expect(textOfEvent(blocked!)).toMatch(/^0010-audit-seal has been waiting for a lock for [\d.]+ s, held by process \d+ \(a report/)
    // the step holds nothing while it waits
    await other.query('INSERT INTO audit_log (id, event, outcome) VALUES (gen_random_uuid(), $1, $2)', ['meanwhile', 'success'])
    await other.query('COMMIT')
    expect(await migrating).toEqual(later)
    expect((await query(url, 'SELECT event FROM audit_log')).map((row) => row.event)).toEqual(['meanwhile'])
  })

  it('a step that is blocked for too long fails, and leaves the steps before it', async () => {
    await migrateDown(open, { to: '0008-devices' })
    await lockAudit()
    const failed = await migrateUp(open, { ...collect([]), patienceMs: 1 }).catch((error: unknown) => error)
    expect(String(failed)).toMatch(/the step 0010-audit-seal waited [\d.]+ s for a lock, held by process \d+/)
    expect((await migrationStatus(open.db)).findLast(({ executedAt }) => executedAt)?.name).toBe(TO)
    await other.query('COMMIT')
    expect(await migrateUp(open)).toEqual(later)
  })

  it('two processes: one migrates, the other waits for its end and finds nothing to do', async () => {
    await migrateDown(open, { to: TO })
    await lockAudit()
    const events: MigrationEvent[][] = [[], []]
    const first = migrateUp(open, collect(events[0]!))
    await until(async () => events[0]!.some(({ kind }) => kind === 'blocked'), 'the lock')
    const second = migrateUp(open, collect(events[1]!))
    await until(async () => events[1]!.some(({ kind }) => kind === 'queued'), 'the queue')
    await other.query('COMMIT')
    expect(await Promise.all([first, second])).toEqual([later, []])
    expect(textOfEvent(events[1]![0]!)).toMatch(/^another process has been migrating this database for/)
  })

  it('have no time limit, whatever limits the database sets', async () => {
    await migrateDown(open, { to: TO })
    const name = new URL(url).pathname.slice(1)
    await other.query(`ALTER DATABASE ${name} SET statement_timeout = '25ms'`)
    await other.query(`ALTER DATABASE ${name} SET idle_in_transaction_session_timeout = '25ms'`)
    await other.query(`INSERT INTO audit_log (id, event, outcome, ip)
      SELECT gen_random_uuid(), 'old', 'success', '192.0.2.1' FROM generate_series(1, 20000)`)
    expect(await migrateUp(open)).toEqual(later)
    expect((await other.query('SELECT count(*)::int AS n FROM audit_personal')).rows).toEqual([{ n: 20_000 }])
  })
})
