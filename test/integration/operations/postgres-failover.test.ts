import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { isDatabaseAway, type OpenDatabase, openDatabase } from '../../../src/platform/db/database.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { call, newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { query, startPostgresPair } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { type Relay, startRelay } from '../../support/relay.ts'

type Pair = Awaited<ReturnType<typeof startPostgresPair>>

const lines: Record<string, unknown>[] = []
const logged = (reason: string) => lines.filter((line) => line.reason === reason)
const logger = createLogger('info', { write: (line) => void lines.push(JSON.parse(line)) })
const portOf = async (database: OpenDatabase) =>
  (await sql<{ port: number }>`SELECT inet_server_port() AS port`.execute(database.db)).rows[0]!.port
const write = (database: OpenDatabase, n: number) => sql`INSERT INTO seen (n) VALUES (${n})`.execute(database.db)

const opened = (database: OpenDatabase) => onTestFinished(() => database.close())

describe('a URL with two hosts', () => {
  let pair: Pair
  let database: OpenDatabase
  let changes = 0
  beforeAll(async () => {
    pair = await startPostgresPair()
    await query(pair.primary.url, 'CREATE TABLE seen (n int)')
    await until(() => query(pair.standby.url, 'SELECT n FROM seen').then(() => true), 'the table on the standby')
    // the standby stands first in the list
    const url = `postgres://postgres@127.0.0.1:${pair.standby.port},127.0.0.1:${pair.primary.port}/postgres`
    database = await openDatabase({ url, dataDir: '', poolSize: 3 }, logger)
    database.onPrimaryChange(() => {
      changes++
    })
  })
  afterAll(async () => {
    await database.close()
    await pair.stop()
  })

  it('uses the host that accepts writes', async () => {
    expect(await portOf(database)).toBe(pair.primary.port)
    await write(database, 1)
    expect(changes).toBe(0)
    await until(async () => (await query(pair.standby.url, 'SELECT n FROM seen')).length === 1, 'the row on the standby')
  })

  it('follows to the promoted standby without a restart, and reports the change', async () => {
    await pair.primary.kill()
    const error = await write(database, 2).catch((e: unknown) => e)
    expect(isDatabaseAway(error)).toBe(true)
    await until(() => database.isBreakerOpen(), 'an open breaker')
    expect(String(logged('db_breaker_open')[0]!.cause)).toMatch(/is a standby and accepts no writes; .*ECONNREFUSED/)
    await pair.standby.promote()
    await until(() => write(database, 3).then(() => true), 'a write')
    expect(await portOf(database)).toBe(pair.standby.port)
    expect(changes).toBe(1)
    expect(logged('db_primary_changed')).toMatchObject([{ host: `127.0.0.1:${pair.standby.port}`, timeline: 2 }])
  })

  it('refuses the old primary when it comes back on its old timeline', async () => {
    await pair.primary.restart()
    expect(await query(pair.primary.url, 'SELECT pg_is_in_recovery() AS standby')).toEqual([{ standby: false }])
    await until(() => logged('db_server_refused').length > 0, 'a refusal')
    expect(logged('db_server_refused')).toMatchObject([
      { host: `127.0.0.1:${pair.primary.port}`, cause: 'is on timeline 1, which timeline 2 has replaced' },
    ])
    expect(await portOf(database)).toBe(pair.standby.port)
  })
})

describe('a URL with one host, behind which the servers change', () => {
  let pair: Pair
  let relay: Relay
  beforeAll(async () => {
    pair = await startPostgresPair()
    await query(pair.primary.url, 'CREATE TABLE seen (n int)')
    await until(() => query(pair.standby.url, 'SELECT n FROM seen').then(() => true), 'the table on the standby')
    relay = await startRelay(pair.primary.port)
  })
  afterAll(async () => {
    await relay.close()
    await pair.stop()
  })
  const open = async () => {
    lines.length = 0
    const database = await openDatabase({ url: relay.through(pair.primary.url), dataDir: '', poolSize: 3 }, logger)
    opened(database)
    return database
  }

  it('a server that becomes read-only loses the connection that noticed, and works again once it accepts writes', async () => {
    const database = await open()
    const pid = async () => (await sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`.execute(database.db)).rows[0]!.pid
    const before = await pid()
    await query(pair.primary.url, 'ALTER SYSTEM SET default_transaction_read_only = on')
    await query(pair.primary.url, 'SELECT pg_reload_conf()')
    const error = await until(
      () =>
        write(database, 1).then(
          () => null,
          (e: unknown) => e,
        ),
      'a refused write',
    )
    expect(isDatabaseAway(error)).toBe(true)
    expect(String(error)).toContain('25006')
    expect(await pid()).not.toBe(before)
    await query(pair.primary.url, 'ALTER SYSTEM RESET default_transaction_read_only')
    await query(pair.primary.url, 'SELECT pg_reload_conf()')
    await until(() => write(database, 1).then(() => true), 'a write')
  })

  it('a standby is refused, and not asked again by each request', async () => {
    relay.target(pair.standby.port)
    const database = await open()
    const before = relay.accepted()
    const errors = await Promise.all(Array.from({ length: 200 }, () => write(database, 1).catch((e: unknown) => e)))
    expect(errors.every(isDatabaseAway)).toBe(true)
    await until(() => database.isBreakerOpen(), 'an open breaker')
    const late = await write(database, 1).catch((e: unknown) => e)
    expect(String(late)).toContain('is a standby and accepts no writes')
    // the pool, the examinations, and no connection for each request
    expect(relay.accepted() - before).toBeLessThan(30)
    relay.target(pair.primary.port)
    await until(() => write(database, 1).then(() => true), 'a write on the primary')
  })

  it('a promoted standby is used and reported, and the server before it is refused', async () => {
    const database = await open()
    let changes = 0
    database.onPrimaryChange(() => {
      changes++
    })
    await write(database, 2)
    await until(async () => (await query(pair.standby.url, 'SELECT n FROM seen WHERE n = 2')).length === 1, 'the row on the standby')
    await pair.primary.kill()
    await pair.standby.promote()
    relay.target(pair.standby.port)
    await until(() => write(database, 3).then(() => true), 'a write')
    expect(await query(pair.standby.url, 'SELECT n FROM seen WHERE n > 1 ORDER BY n')).toEqual([{ n: 2 }, { n: 3 }])
    expect(changes).toBe(1)
    await pair.primary.restart()
    relay.target(pair.primary.port)
    relay.cut()
    relay.mend()
    await until(
      () =>
        logged('db_server_refused').length > 0 ||
        write(database, 4).then(
          () => false,
          () => false,
        ),
      'a refusal',
    )
    await until(() => database.isBreakerOpen(), 'an open breaker')
    expect(await query(pair.primary.url, 'SELECT n FROM seen WHERE n > 2')).toEqual([])
    expect(changes).toBe(1)
    relay.target(pair.standby.port)
    await until(() => write(database, 5).then(() => true), 'a write')
  })
})

describe('a read replica', () => {
  let pair: Pair
  let gateway: Gateway
  let admin: TestUser
  beforeAll(async () => {
    pair = await startPostgresPair()
    gateway = await startGateway({ databaseUrl: pair.primary.url, config: { database: { readUrl: pair.standby.url } } })
    admin = await newUserWithRoles(gateway, ['admin'])
  })
  afterAll(async () => {
    await gateway.close()
    await pair.stop()
  })
  const idsOf = async () => {
    const { body, status } = await call(gateway, '/auth/admin/users', { token: admin.token })
    expect(status).toBe(200)
    return (body.users as { id: string }[]).map(({ id }) => id)
  }
  const isListed = async ({ id }: TestUser) => (await idsOf()).includes(id)
  const events = async (path: string) => {
    const response = await fetch(`${gateway.url}/auth/admin/audit${path}`, { headers: { authorization: `Bearer ${admin.token}` } })
    expect(response.status).toBe(200)
    return response.text()
  }

  it('answers lists and the export; the primary answers everything else, and the metric shows how far it is behind', async () => {
    await until(() => isListed(admin), 'the admin in the list')
    await query(pair.standby.url, 'SELECT pg_wal_replay_pause()')
    const late = await newUser(gateway)
    expect(await isListed(late)).toBe(false)
    expect(await events('')).not.toContain(late.id)
    expect(await events('/export')).not.toContain(late.id)
    expect((await call(gateway, `/auth/admin/users/${late.id}`, { token: admin.token })).status).toBe(200)
    expect((await call(gateway, '/auth/login', { body: { login: late.username, password: late.password } })).status).toBe(200)
    await until(async () => (await metric(gateway, 'portcullis_db_replica_lag_seconds')) > 1, 'a lag')
    await query(pair.standby.url, 'SELECT pg_wal_replay_resume()')
    await until(() => isListed(late), 'the user in the list')
    expect(await events('/export')).toContain(late.id)
    await until(async () => (await metric(gateway, 'portcullis_db_replica_lag_seconds')) < 1, 'no lag')
  })

  it('that is away is replaced by the primary: no list fails', async () => {
    await pair.standby.kill()
    const late = await newUser(gateway)
    expect(await isListed(late)).toBe(true)
    expect(await events('/export')).toContain(late.id)
    expect(await metric(gateway, 'portcullis_db_breaker_open')).toBe(0)
    await pair.standby.restart()
    await until(() => gateway.log().some((l) => l.reason === 'db_breaker_closed' && l.database === 'replica'), 'the replica')
    await until(() => isListed(late), 'the user in the list of the replica')
  })
})
