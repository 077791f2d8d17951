import { sql } from 'kysely'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, onTestFinished, vi } from 'vitest'
import { isDatabaseAway, type OpenDatabase, openDatabase } from '../../../src/platform/db/database.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { type Answer, call, newUser, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { createDatabase } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { type Relay, startRelay } from '../../support/relay.ts'
import { refresh } from '../../support/session.ts'

describe('while Postgres has vanished: connections stay open and nothing answers', () => {
  let relay: Relay
  let databaseUrl: string
  let gateway: Gateway
  let user: TestUser
  beforeAll(async () => {
    databaseUrl = await createDatabase(inject('postgresUrl'))
    relay = await startRelay(Number(new URL(databaseUrl).port))
    gateway = await startGateway({ databaseUrl: relay.through(databaseUrl) })
    user = await newUser(gateway)
  })
  afterAll(async () => {
    await gateway.close()
    await relay.close()
  })
  afterEach(async () => {
    relay.mend()
    await until(async () => (await metric(gateway, 'portcullis_db_breaker_open')) === 0, 'a closed breaker')
  })
  const me = () => call(gateway, '/auth/me', { token: user.token })
  const login = () => call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
  const causeOf = ({ headers }: Answer) =>
    gateway.log().find((l) => l.request_id === headers.get('x-request-id') && l.msg === 'request')?.cause

  it.each([
    ['vanish', () => relay.vanish()],
    ['hold', () => relay.hold()],
  ])('%s: a request that waits is answered 503 as soon as a probe has failed, and later requests at once', async (_name, fail) => {
    fail()
    // the probe answers for all of them: no request waits for its own time-out
    for (const answer of await Promise.all([me(), login(), me()])) {
      expect([answer.status, answer.body.code, answer.headers.get('retry-after')]).toEqual([
        503,
        'unavailable',
        expect.stringMatching(/^[123]$/),
      ])
      // to connect, and to wait for a connection, has a time-out of one second, which a busy machine reaches first
      expect(causeOf(answer)).toMatch(
        /^(?:ETIMEDOUT )?no answer from 127\.0\.0\.1:\d+|due to connection timeout|timeout exceeded when trying to connect/,
      )
    }
    await until(async () => (await metric(gateway, 'portcullis_db_breaker_open')) === 1, 'an open breaker')
    const answers = await Promise.all(Array.from({ length: 30 }, me))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]))
    for (const answer of answers) expect(causeOf(answer)).toMatch(/no answer from/)
  })

  it('once it is back requests succeed and revocations are read, without a restart', async () => {
    relay.vanish()
    expect((await me()).status).toBe(503)
    relay.mend()
    await until(async () => (await me()).status === 200, 'an answer')
    expect((await login()).status).toBe(200)
    await until(async () => (await metric(gateway, 'portcullis_db_up')) === 1, 'db_up 1')
    expect(
      gateway
        .log()
        .filter(({ reason }) => /^db_breaker/.test(String(reason)))
        .at(-1),
    ).toMatchObject({ reason: 'db_breaker_closed' })
  })

  it('a token is accepted and a revoked token refused meanwhile: neither needs the database', async () => {
    const leaves = await newUser(gateway)
    expect((await call(gateway, '/auth/logout', { method: 'POST', token: leaves.token })).status).toBe(204)
    relay.vanish()
    expect((await me()).status).toBe(503)
    expect((await call(gateway, '/auth/me', { token: leaves.token })).body.code).toBe('token_revoked')
  })

  it('a locked row makes its own requests wait, and opens no breaker', async () => {
    const blocker = new pg.Client({ connectionString: databaseUrl })
    await blocker.connect()
    const opened = () => gateway.log().filter(({ reason }) => reason === 'db_breaker_open').length
    const before = opened()
    try {
      await blocker.query('BEGIN')
      await blocker.query('SELECT * FROM users WHERE id = $1 FOR UPDATE', [user.id])
      const answer = await refresh(gateway, user.refreshToken)
      expect([answer.status, answer.body.code]).toEqual([503, 'unavailable'])
      expect(causeOf(answer)).toMatch(/55P03/)
      expect((await me()).status).toBe(200)
      expect(await metric(gateway, 'portcullis_db_breaker_open')).toBe(0)
      expect(opened()).toBe(before)
    } finally {
      await blocker.end()
    }
    expect((await refresh(gateway, user.refreshToken)).status).toBe(200)
  })
})

describe('a statement that the server never ends', () => {
  const lines: Record<string, unknown>[] = []
  let relay: Relay
  let database: OpenDatabase
  beforeAll(async () => {
    const url = await createDatabase(inject('postgresUrl'))
    relay = await startRelay(Number(new URL(url).port))
    const logger = createLogger('info', { write: (line) => void lines.push(JSON.parse(line)) })
    database = await openDatabase({ url: relay.through(url), dataDir: '', poolSize: 1 }, logger)
  })
  afterAll(async () => {
    await database.close()
    await relay.close()
  })
  const pidOf = async (db: OpenDatabase['db']) => (await sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`.execute(db)).rows[0]!.pid

  it('costs the poll its connection after a second: the next poll has a new connection and an answer', async () => {
    const before = await pidOf(database.polling)
    const error = await sql`SELECT pg_sleep(30)`.execute(database.polling).catch((e: unknown) => e)
    expect(isDatabaseAway(error)).toBe(true)
    expect(await pidOf(database.polling)).not.toBe(before)
    expect(lines.filter(({ reason }) => reason === 'db_breaker_open')).toEqual([])
  })

  it('a poll does not wait for the connections of requests', async () => {
    await database.db.connection().execute(async () => {
      expect(await pidOf(database.polling)).toBeGreaterThan(0)
    })
  })
})

it('hosts that are silent for a moment open no breaker while no call waits for them', async () => {
  const url = await createDatabase(inject('postgresUrl'))
  const relay = await startRelay(Number(new URL(url).port))
  const host = `127.0.0.1:${relay.port}`
  const lines: string[] = []
  const logger = createLogger('info', { write: (line) => void lines.push(JSON.parse(line).reason) })
  // the watch for a promoted standby is an interval
  vi.useFakeTimers({ toFake: ['setInterval'] })
  const database = await openDatabase({ url: relay.through(url).replace(host, `${host},${host}`), dataDir: '', poolSize: 1 }, logger)
  onTestFinished(async () => {
    vi.useRealTimers()
    await database.close()
    await relay.close()
  })
  const ask = () => sql`SELECT 1`.execute(database.db)
  await ask()
  relay.vanish()
  const before = relay.accepted()
  // both hosts are asked again: the first search has ended
  await until(() => {
    vi.advanceTimersByTime(5000)
    return relay.accepted() >= before + 4
  }, 'two searches')
  expect([database.isBreakerOpen(), lines]).toEqual([false, []])
})
