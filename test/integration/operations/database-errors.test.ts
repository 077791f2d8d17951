import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify from 'fastify'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { createErrorHandler } from '../../../src/app/error-handler.ts'
import { brokenConstraint, inTransaction, isDatabaseAway, type OpenDatabase, openDatabase } from '../../../src/platform/db/database.ts'
import { migrateUp } from '../../../src/platform/db/migrate.ts'
import { systemClock } from '../../../src/platform/lib/clock.ts'
import { attachContext } from '../../../src/platform/request/request-context.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import type { Exchange } from '../../../src/proxy/routing/exchange.ts'
import { type Answer, call, newUser, type TestUser } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { createDatabase } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { type Relay, startRelay } from '../../support/relay.ts'
import { refresh } from '../../support/session.ts'

describe('a database connection that is reset', () => {
  let relay: Relay
  let gateway: Gateway
  beforeAll(async () => {
    const databaseUrl = await createDatabase(inject('postgresUrl'))
    relay = await startRelay(Number(new URL(databaseUrl).port))
    gateway = await startGateway({ databaseUrl: relay.through(databaseUrl) })
  })
  afterAll(async () => {
    await gateway.close()
    await relay.close()
  })

  it.each<[string, RegExp, (user: TestUser) => Promise<Answer>]>([
    ['reading', /from "users"/, ({ token }) => call(gateway, '/auth/me', { token })],
    ['while a transaction begins', /start transaction/, ({ refreshToken }) => refresh(gateway, refreshToken)],
    ['in a transaction', /insert into "refresh_tokens"/, ({ refreshToken }) => refresh(gateway, refreshToken)],
    ['at COMMIT', /commit\0/, ({ token }) => call(gateway, '/auth/logout', { method: 'POST', token })],
  ])('%s is 503 with Retry-After, not the fault of the client', async (_name, statement, ask) => {
    const user = await newUser(gateway)
    const lost = relay.resetAt(statement)
    const { status, body, headers } = await ask(user)
    await lost
    expect([status, body.code, headers.get('retry-after')]).toEqual([503, 'unavailable', expect.stringMatching(/^[123]$/)])
    const line = gateway.log().find((l) => l.request_id === headers.get('x-request-id') && l.msg === 'request')
    expect(line).toMatchObject({
      status: 503,
      outcome: 'unavailable',
      cause: expect.stringMatching(/ECONNRESET|connection error|terminated/),
    })
  })
})

describe.each(['embedded', 'postgres'] as const)('an error of the %s database', (kind) => {
  let dataDir: string
  let database: OpenDatabase
  beforeAll(async () => {
    const url = kind === 'embedded' ? kind : await createDatabase(inject('postgresUrl'))
    dataDir = mkdtempSync(join(tmpdir(), 'portcullis-errors-'))
    database = await openDatabase({ url, dataDir, poolSize: 2 }, createLogger('silent'))
    await migrateUp(database)
  })
  afterAll(async () => {
    await database.close()
    rmSync(dataDir, { recursive: true, force: true })
  })

  const insert = (on: OpenDatabase['db']) => on.insertInto('secret_canary').values({ sealed: 'x' }).execute()

  it('that is of a statement stays what it is: its constraint can be named', async () => {
    await insert(database.db)
    const error = await inTransaction(database.db, insert).catch((e: unknown) => e)
    expect(brokenConstraint(error)).toBe('secret_canary_pkey')
    expect(isDatabaseAway(error)).toBe(false)
  })

  it('that is thrown by others in a transaction is not the database’s', async () => {
    const fault = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
    const error = await inTransaction(database.db, () => Promise.reject(fault)).catch((e: unknown) => e)
    expect(error).toBe(fault)
  })

  it('that is closed says that the database is away', async () => {
    await Promise.all([database.close(), database.close()])
    const error = await insert(database.db).catch((e: unknown) => e)
    expect(isDatabaseAway(error)).toBe(true)
    expect(await inTransaction(database.db, insert).catch(isDatabaseAway)).toBe(true)
  })
})

describe('an error that a handler throws', () => {
  const lines: Record<string, unknown>[] = []
  const exchanges: Exchange[] = []
  const app = Fastify()
  beforeAll(async () => {
    const logger = createLogger('info', { write: (line) => void lines.push(JSON.parse(line)) })
    app.addHook('onRequest', async ({ raw }) => {
      const exchange = { requestId: 'id', fields: [], decisions: [], error: null } as unknown as Exchange
      exchanges.push(exchange)
      attachContext(raw, exchange)
    })
    app.setErrorHandler(
      createErrorHandler({ clock: systemClock, logger, cors: { addToError: () => {} }, authPrefix: '/auth', answerNavigation: null }),
    )
    app.get('/file', async () => readFileSync('/nowhere/at/all'))
    app.get('/socket', async () => {
      const socket = connect(1, '127.0.0.1')
      await new Promise((_resolve, reject) => socket.on('error', reject))
    })
    app.post('/body', async () => 'whole')
    app.get('/reset', async () => Promise.reject(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })))
  })
  afterAll(() => app.close())

  it.each([
    ['a missing file', '/file', 'ENOENT'],
    ['another server that is away', '/socket', 'ECONNREFUSED'],
    ['a reset that is not the client’s', '/reset', 'ECONNRESET'],
  ])('%s is 500, and logged', async (_name, url, code) => {
    const { statusCode, body } = await app.inject({ url })
    expect([statusCode, JSON.parse(body).code]).toEqual([500, 'internal'])
    expect(lines.at(-1)).toMatchObject({ level: 'error', reason: 'internal', err: { message: expect.stringContaining(code) } })
  })

  it('a client that breaks its connection off in the middle of a body is the client’s fault', async () => {
    const { port } = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
    const before = exchanges.length
    const client = connect(Number(port), '127.0.0.1')
    client.write('POST /body HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"a"')
    await until(() => exchanges.length > before, 'the request')
    client.resetAndDestroy()
    const error = await until(() => exchanges.at(-1)!.error, 'its end')
    expect(error).toMatchObject({ code: 'request_malformed', cause: { code: 'ECONNRESET' } })
  })
})
