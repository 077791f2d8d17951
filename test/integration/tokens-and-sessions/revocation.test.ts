import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { buildApp } from '../../../src/app/app.ts'
import { createRevocations } from '../../../src/identity/sessions/revocations.ts'
import { systemClock } from '../../../src/platform/lib/clock.ts'
import { createDatabaseClock } from '../../../src/platform/lib/database-clock.ts'
import { call, login, newUser, newUserWithRoles } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { claimsOf, logout, me, pollRevocations } from '../../support/session.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const route = (upstream: Upstream, name: string, access: unknown) => ({
  name,
  match: { path: `/${name}` },
  upstream: [upstream.url],
  access,
})
const revokedAnswer = { status: 401, code: 'token_revoked' }

describe('logout', () => {
  const upstream = useUpstream()
  const gateway = useGateway(() => ({
    routes: [
      route(upstream, 'public', 'public'),
      route(upstream, 'users', 'authenticated'),
      route(upstream, 'admins', { roles: ['admin'] }),
    ],
  }))

  it('reaches every proxied route at once, and no other session', async () => {
    const user = await newUserWithRoles(gateway, ['admin'])
    const elsewhere = await login(gateway, user)
    const paths = ['/public', '/users', '/admins']
    for (const path of paths) expect((await call(gateway, path, { token: user.token })).status).toBe(200)
    upstream.take()
    expect((await logout(gateway, user.token)).status).toBe(204)
    for (const path of paths) {
      const { body, headers } = await call(gateway, path, { token: user.token })
      expect(body).toMatchObject(revokedAnswer)
      expect(headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
    }
    expect(upstream.take()).toEqual([])
    for (const path of paths) expect((await call(gateway, path, { token: elsewhere.token })).status).toBe(200)
  })

  it('holds for a token that was never seen before', async () => {
    const user = await newUser(gateway)
    await call(gateway, '/auth/logout', { body: { refresh_token: user.refreshToken } })
    expect((await call(gateway, '/users', { token: user.token })).body).toMatchObject(revokedAnswer)
  })
})

describe('two gateways on one Postgres', () => {
  let a: Gateway
  let b: Gateway
  beforeAll(async () => {
    a = await startGateway()
    b = await startGateway({ databaseUrl: a.databaseUrl, secretKey: a.secretKey })
    // so that b reads when the test says so, and not a second later
    b.app.identity.revocations.stop()
  })
  afterAll(() => Promise.all([a.close(), b.close()]))

  it('a logout on one reaches the other with its next poll', async () => {
    const user = await newUser(a)
    expect(await me(b, user.token)).toBe(200)
    await logout(a, user.token)
    expect(await me(b, user.token)).toBe(200)
    await pollRevocations(b)
    expect(await me(b, user.token)).toBe('token_revoked')
  })

  it('a revocation that commits late, after younger ones were read, is not missed', async () => {
    const [early, late] = [await newUser(a), await newUser(a)]
    const client = new pg.Client({ connectionString: a.databaseUrl })
    await client.connect()
    await client.query('BEGIN')
    await client.query(
      `INSERT INTO revocations (id, session_id, expires_at) VALUES (gen_random_uuid(), $1, clock_timestamp() + interval '1 hour')`,
      [claimsOf(late.token).sid],
    )
    await logout(a, early.token)
    await pollRevocations(b)
    expect(await me(b, early.token)).toBe('token_revoked')
    expect(await me(b, late.token)).toBe(200)
    await client.query('COMMIT')
    await client.end()
    await pollRevocations(b)
    expect(await me(b, late.token)).toBe('token_revoked')
  })

  it('a restart remembers what was revoked', async () => {
    const [gone, changed] = [await newUser(a), await newUser(a)]
    await logout(a, gone.token)
    await call(a, '/auth/logout-all', { method: 'POST', token: changed.token })
    const restarted = await startGateway({ databaseUrl: a.databaseUrl, secretKey: a.secretKey })
    for (const { token } of [gone, changed]) expect(await me(restarted, token)).toBe('token_revoked')
    await restarted.close()
  })
})

describe('an entry in the revocation map', () => {
  const gateway = useGateway()
  /** @returns the number of entries in a map whose database is ahead by the seconds */
  async function entriesAfter(seconds: number): Promise<number> {
    const { db, logger } = gateway.app.platform
    const later = db.withPlugin({
      transformQuery: ({ node }) => node,
      transformResult: async ({ result }) => ({
        ...result,
        rows: result.rows.map((row) => ({ ...row, database_ms: Number(row.database_ms) + seconds * 1000 })),
      }),
    })
    const clock = createDatabaseClock(systemClock)
    const revocations = createRevocations({ db: later, clock, logger, broadcasts: [], onKeyRevoked: () => {} })
    await revocations.poll()
    return revocations.size()
  }

  it("is forgotten by the database's time, once every token that it was for has expired", async () => {
    const [one, all] = [await newUser(gateway), await newUser(gateway)]
    await logout(gateway, one.token)
    await call(gateway, '/auth/logout-all', { method: 'POST', token: all.token })
    expect(await entriesAfter(890)).toBe(2)
    // also after another clock of the database was taken over: it may differ by ten minutes
    expect(await entriesAfter(1490)).toBe(2)
    expect(await entriesAfter(1610)).toBe(0)
  })

  it('stays where the clock of the gateway is ahead of the database', async () => {
    gateway.clock.advance(7_200_000)
    const user = await newUser(gateway)
    await logout(gateway, user.token)
    await pollRevocations(gateway)
    expect(await me(gateway, user.token)).toBe('token_revoked')
  })
})

describe('two gateways on one Postgres and one Redis', () => {
  it('a logout on one reaches the other without a poll', async () => {
    const a = await startGateway({ stores: 'postgres+redis' })
    const b = await startGateway({ databaseUrl: a.databaseUrl, secretKey: a.secretKey, redisUrl: inject('redisUrl') })
    b.app.identity.revocations.stop()
    const isHeard = () => b.app.identity.revocations.isRevoked('a session to try with', '', 0)
    await until(async () => {
      await a.app.platform.redis!.broadcast.publish(JSON.stringify({ sessionId: 'a session to try with', until: Date.now() + 60_000 }))
      return isHeard()
    }, 'the subscription')
    const [one, all] = [await newUser(a), await newUser(a)]
    await logout(a, one.token)
    await call(a, '/auth/logout-all', { method: 'POST', token: all.token })
    for (const { token } of [one, all]) await until(async () => (await me(b, token)) === 'token_revoked', 'the message from Redis')
    await Promise.all([a.close(), b.close()])
  })
})

describe('a gateway that has no revocation snapshot yet', () => {
  it('answers 503 unavailable to every request with a token, and is not ready', async () => {
    const upstream = await startUpstream()
    const whole = await startGateway({ routes: [route(upstream, 'public', 'public'), route(upstream, 'users', 'authenticated')] })
    const { token } = await newUser(whole)
    const { config, logger } = whole.app.platform
    const { keyring } = whole.app.identity
    const secrets = {
      secretKey: Buffer.from(whole.secretKey, 'base64'),
      previousSecretKey: null,
      adminEmail: null,
      adminPassword: null,
      providers: {},
      acmeHmacKey: null,
    }
    await keyring.reload()
    const fresh = await buildApp({ config, secrets, logger })
    await fresh.identity.keyring.load()
    const [url, adminUrl] = [
      await fresh.server.listen({ host: '127.0.0.1', port: 0 }),
      await fresh.admin!.listen({ host: '127.0.0.1', port: 0 }),
    ]
    for (const path of ['/users', '/public', '/auth/me']) {
      const { status, body, headers } = await call({ url }, path, { token })
      expect({ path, status, code: body.code }).toEqual({ path, status: 503, code: 'unavailable' })
      expect(headers.get('retry-after')).toMatch(/^[123]$/)
    }
    expect(upstream.take()).toEqual([])
    expect((await call({ url: adminUrl }, '/readyz')).status).toBe(503)
    expect((await call({ url }, '/public')).status).toBe(200)

    await fresh.identity.revocations.start()
    expect((await call({ url }, '/users', { token })).status).toBe(200)
    expect((await call({ url: adminUrl }, '/readyz')).status).toBe(200)
    await fresh.stop()
    await whole.close()
    await upstream.close()
  })
})
