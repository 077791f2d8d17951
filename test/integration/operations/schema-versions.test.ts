/** Two versions of the program beside each other on one database: the newer version has migrated it. */
import { randomBytes } from 'node:crypto'
import { sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { type OpenDatabase, openDatabase } from '../../../src/platform/db/database.ts'
import { migrateDown, migrateUp, migrationStatus, SchemaTooNew, STEPS, type Step } from '../../../src/platform/db/migrate.ts'
import type { MigrationEvent } from '../../../src/platform/db/migration-events.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { runCli } from '../../support/cli.ts'
import { call, login, newUser } from '../../support/client.ts'
import { useKeep } from '../../support/fixtures.ts'
import { startGateway } from '../../support/gateway.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { logout, me, refresh } from '../../support/session.ts'

const NEWEST = Object.keys(STEPS).at(-1)!
/** What a program must know after the newest step. */
const MINIMUM = STEPS[NEWEST]!.minimum ?? NEWEST
const SECRET_KEY = randomBytes(32).toString('base64')
const ADD = '9001-nickname'
const TAKE = '9002-no-nickname'

/** A step that only adds: programs of the version before work with it. */
const add: Step = {
  minimum: MINIMUM,
  up: async (db) => void (await sql`ALTER TABLE users ADD COLUMN nickname text`.execute(db)),
  down: async (db) => void (await sql`ALTER TABLE users DROP COLUMN nickname`.execute(db)),
}
/** A step that takes away: a program must know it. */
const take: Step = {
  up: async (db) => void (await sql`ALTER TABLE users DROP COLUMN nickname`.execute(db)),
  down: async (db) => void (await sql`ALTER TABLE users ADD COLUMN nickname text`.execute(db)),
}
const EXPANDED = { ...STEPS, [ADD]: add }
const CONTRACTED = { ...EXPANDED, [TAKE]: take }

let url: string
let open: OpenDatabase
beforeEach(async () => {
  url = await createDatabase(inject('postgresUrl'))
  open = await openDatabase({ url, dataDir: '', poolSize: 2 }, createLogger('silent'))
})
afterEach(() => open.close())
const keep = useKeep()

const command = (...args: string[]) => runCli(['migrate', ...args], { PORTCULLIS_SECRET_KEY: SECRET_KEY, DATABASE_URL: url })
const minimum = async () => (await query(url, 'SELECT step FROM schema_minimum'))[0]?.step
const applied = async () => (await migrationStatus(open.db)).filter(({ executedAt }) => executedAt).map(({ name }) => name)

describe('the step that a program must know', () => {
  it('is recorded by each step, and each step that is reverted records the value of before', async () => {
    expect(await minimum()).toBe(MINIMUM)
    const recorded = async (step: () => Promise<unknown>) => {
      await step()
      return minimum()
    }
    expect(await recorded(() => migrateUp(open, { steps: EXPANDED }))).toBe(MINIMUM)
    expect(await recorded(() => migrateUp(open, { steps: CONTRACTED }))).toBe(TAKE)
    expect(await recorded(() => migrateDown(open, { steps: CONTRACTED }))).toBe(MINIMUM)
    expect(await recorded(() => migrateDown(open, { steps: CONTRACTED }))).toBe(MINIMUM)
  })

  it('stays as it is when the step fails', async () => {
    const broken: Step = { ...take, up: async (db) => void (await sql`ALTER TABLE users DROP COLUMN no_such_column`.execute(db)) }
    await expect(migrateUp(open, { steps: { ...EXPANDED, [TAKE]: broken } })).rejects.toThrow()
    expect(await minimum()).toBe(MINIMUM)
    expect((await applied()).at(-1)).toBe(ADD)
  })
})

describe('the version before, beside a step that only adds', () => {
  beforeEach(() => migrateUp(open, { steps: EXPANDED }))

  it('serves, says so in its log, and changes nothing', async () => {
    const gateway = await keep(startGateway({ databaseUrl: url }))
    const user = await newUser(gateway)
    expect(await me(gateway, user.token)).toBe(200)
    expect((await refresh(gateway, user.refreshToken)).status).toBe(200)
    const again = await login(gateway, user)
    expect((await logout(gateway, again.token)).status).toBe(204)
    expect(await me(gateway, again.token)).toBe('token_revoked')
    expect(gateway.log()).toContainEqual(
      expect.objectContaining({
        reason: 'schema_newer',
        cause: `a newer version has migrated this database (${ADD}): this version works with it`,
      }),
    )
    expect((await applied()).at(-1)).toBe(ADD)
  })

  it('neither applies nor reverts a step', async () => {
    const events: MigrationEvent[] = []
    expect(await migrateUp(open, { report: (event) => void events.push(event) })).toEqual([])
    expect(events).toEqual([{ kind: 'newer', steps: [ADD] }])
    await expect(migrateDown(open)).rejects.toThrow(`this version does not know ${ADD}: revert it with the version that applied it`)
    await expect(migrateDown(open, { to: NEWEST })).rejects.toThrow(SchemaTooNew)
    expect((await applied()).at(-1)).toBe(ADD)
  })

  it('goes on when the newer version has gone back', async () => {
    const gateway = await keep(startGateway({ databaseUrl: url }))
    const user = await newUser(gateway)
    expect(await migrateDown(open, { steps: EXPANDED })).toEqual([ADD])
    expect((await refresh(gateway, user.refreshToken)).status).toBe(200)
    expect((await migrationStatus(open.db)).filter(({ isKnown }) => !isKnown)).toEqual([])
  })

  it('is shown by migrate status', async () => {
    const { code, stdout } = await command('status')
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`${ADD} +\\d{4}-\\S+ by a newer version`))
  })
})

describe('the version before, on a schema that takes away', () => {
  beforeEach(() => migrateUp(open, { steps: CONTRACTED }))
  const REFUSAL = `this version does not know ${ADD}, ${TAKE}, and the schema needs a version that knows ${TAKE}`

  it('does not start, and says why', async () => {
    await expect(startGateway({ databaseUrl: url })).rejects.toThrow(REFUSAL)
    expect((await applied()).at(-1)).toBe(TAKE)
  })

  it.each([['up'], ['up', '--dry-run']])('migrate %s %s fails in words', async (...args) => {
    const { code, stderr } = await command(...args.filter(Boolean))
    expect([code, stderr]).toEqual([1, expect.stringContaining(REFUSAL)])
  })

  it('serves again when the newer version has gone back to the step before', async () => {
    await migrateDown(open, { steps: CONTRACTED })
    const gateway = await keep(startGateway({ databaseUrl: url }))
    expect((await call(gateway, '/health')).status).toBe(200)
  })

  it('does not start on a schema that records no minimum', async () => {
    await query(url, 'DROP TABLE schema_minimum')
    await expect(startGateway({ databaseUrl: url })).rejects.toThrow(`this version does not know ${ADD}, ${TAKE}. Start the newer version`)
  })
})

describe('--dry-run', () => {
  it('of migrate up prints the missing steps, and applies none', async () => {
    const before = Object.keys(STEPS).slice(0, -2)
    await migrateDown(open, { to: before.at(-1)! })
    const { code, stdout } = await command('up', '--dry-run')
    expect([code, stdout]).toEqual([0, `would apply: ${Object.keys(STEPS).slice(-2).join(', ')}\n`])
    expect(await applied()).toEqual(before)
  })

  it('of migrate down prints the steps without a question, and reverts none', async () => {
    const { code, stdout } = await command('down', '--to', Object.keys(STEPS).at(-3)!, '--dry-run')
    expect([code, stdout]).toEqual([0, `would revert: ${Object.keys(STEPS).slice(-2).reverse().join(', ')}\n`])
    expect(await applied()).toEqual(Object.keys(STEPS))
  })

  it('of a migrated database has nothing to do', async () => {
    expect((await command('up', '--dry-run')).stdout).toBe('nothing to do\n')
  })
})

describe('traffic while a step runs', () => {
  it('is served by both versions: no request fails, also while the step waits for its lock', async () => {
    const old = await keep(startGateway({ databaseUrl: url }))
    const user = await newUser(old)
    const statuses: number[] = []
    let isDone = false
    async function client(): Promise<void> {
      let { refreshToken } = await login(old, user)
      while (!isDone) {
        const refreshed = await refresh(old, refreshToken)
        statuses.push(refreshed.status)
        if (refreshed.status !== 200) continue
        refreshToken = refreshed.body.refresh_token
        statuses.push((await call(old, '/auth/me', { token: refreshed.body.access_token })).status)
      }
    }
    const clients = [client(), client(), client()]
    // a report that reads users: the step cannot have its lock yet, and gives way to the requests behind it
    const events: MigrationEvent[] = []
    const reading = open.db.transaction().execute(async (trx) => {
      await trx.selectFrom('users').select('id').execute()
      await until(async () => events.some(({ kind }) => kind === 'blocked'), 'the step to be blocked')
    })
    const newer = await keep(openDatabase({ url, dataDir: '', poolSize: 1 }, createLogger('silent')))
    const migrating = migrateUp(newer, { steps: EXPANDED, report: (event) => void events.push(event) })
    await reading
    expect(await migrating).toEqual([ADD])
    const sofar = statuses.length
    await until(async () => statuses.length > sofar + 20, 'requests after the step')
    isDone = true
    await Promise.all(clients)
    expect(statuses.filter((status) => status !== 200)).toEqual([])
    expect(statuses.length).toBeGreaterThan(20)
  })
})
