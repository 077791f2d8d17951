import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, call, newUser, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { startPostgres, type TestPostgres } from '../../support/postgres.ts'
import { bare, freePort, start, until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

describe('while Postgres is gone', () => {
  let postgres: TestPostgres
  let upstream: Upstream
  let gateway: Gateway
  let user: TestUser
  let unused: TestUser
  beforeAll(async () => {
    ;[postgres, upstream] = await Promise.all([startPostgres(), startUpstream()])
    const to = { upstream: [upstream.url], access: 'authenticated' }
    gateway = await startGateway({
      databaseUrl: postgres.url,
      routes: [
        { name: 'api', match: { path: '/api' }, ...to },
        { name: 'open', match: { path: '/open' }, ...to, access: 'public' },
      ],
    })
    ;[user, unused] = [await newUser(gateway), await newUser(gateway)]
  })
  afterAll(async () => {
    await gateway.close()
    await upstream.close()
    await postgres.stop()
  })
  const api = (token?: string) => call(gateway, '/api/x', { token })
  const login = () => call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
  const away = async () => {
    await postgres.kill()
    await until(async () => (await metric(gateway, 'portcullis_db_up')) === 0, 'db_up 0')
  }
  const back = async () => {
    await postgres.restart()
    await until(async () => (await metric(gateway, 'portcullis_db_up')) === 1, 'db_up 1')
    await until(async () => (await login()).status === 200, 'a login')
  }

  it('no proxied request fails, neither when Postgres stops nor when it is back', async () => {
    let isOver = false
    const answers: Answer[] = []
    const traffic = Array.from({ length: 3 }, async () => {
      while (!isOver) answers.push(await api(user.token))
    })
    await until(() => answers.length > 50, 'traffic')
    await away()
    const atKill = answers.length
    await until(() => answers.length > atKill + 50, 'traffic without Postgres')
    await back()
    isOver = true
    await Promise.all(traffic)
    expect(new Set(answers.map((a) => a.status))).toEqual(new Set([200]))
  })

  it('once it is back everything works again without our restart, and nothing that was revoked comes alive', async () => {
    const [stays, leaves] = [await newUser(gateway), await newUser(gateway)]
    expect((await call(gateway, '/auth/logout', { method: 'POST', token: leaves.token })).status).toBe(204)
    await away()
    expect((await api(leaves.token)).body.code).toBe('token_revoked')
    await back()
    expect((await api(leaves.token)).body.code).toBe('token_revoked')
    expect((await api(stays.token)).status).toBe(200)
    expect((await call(gateway, '/auth/me', { token: stays.token })).status).toBe(200)
    expect((await call(gateway, '/auth/refresh', { body: { refresh_token: stays.refreshToken } })).status).toBe(200)
    const late = await newUser(gateway)
    expect((await call(gateway, '/auth/logout', { method: 'POST', token: late.token })).status).toBe(204)
    expect((await api(late.token)).body.code).toBe('token_revoked')
  })

  describe('and stays gone', () => {
    beforeAll(away)
    afterAll(back)

    it.each([
      ['login', () => login()],
      ['login of nobody', () => call(gateway, '/auth/login', { body: { login: 'nobody', password: 'x' } })],
      [
        'register',
        () => call(gateway, '/auth/register', { body: { username: 'late', email: 'late@example.com', password: 'correct horse battery' } }),
      ],
      ['refresh', () => call(gateway, '/auth/refresh', { body: { refresh_token: user.refreshToken } })],
      ['refresh with an unknown token', () => call(gateway, '/auth/refresh', { body: { refresh_token: `rt_${'x'.repeat(43)}` } })],
      ['logout', () => call(gateway, '/auth/logout', { method: 'POST', token: user.token })],
      ['the own account', () => call(gateway, '/auth/me', { token: user.token })],
    ])('%s answers 503 with Retry-After and tells nothing of the database', async (_, ask) => {
      const { status, body, headers } = await ask()
      expect([status, body.code]).toEqual([503, 'unavailable'])
      expect(headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
      expect(JSON.stringify(body)).not.toMatch(/postgres|sql|ECONN|127\.0\.0\.1/i)
    })

    it('a valid token passes, even when this process never saw it before', async () => {
      expect((await api(user.token)).status).toBe(200)
      expect((await api(unused.token)).status).toBe(200)
      expect((await call(gateway, '/open')).status).toBe(200)
    })

    it('a token that is not valid is refused; one whose key cannot be looked up now is 503 and no verdict', async () => {
      expect((await api()).body.code).toBe('token_missing')
      const [head, claims] = user.token.split('.')
      expect((await api(`${head}.${claims}.${'A'.repeat(86)}`)).body.code).toBe('token_invalid')
      const kid = Buffer.from(JSON.stringify({ alg: 'EdDSA', typ: 'at+jwt', kid: 'of-another-gateway' })).toString('base64url')
      const answer = await until(async () => {
        const asked = await api(`${kid}.${claims}.${'A'.repeat(86)}`)
        return asked.status === 503 && asked
      }, '503 for an unknown kid')
      expect(answer.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    })

    it('the gateway lives and is ready, and says that the database is away', async () => {
      const { status, body } = await call({ url: gateway.adminUrl }, '/readyz?verbose')
      expect(status).toBe(200)
      expect(body.checks).toContainEqual({ name: 'database', ok: false, required: false })
      expect((await call({ url: gateway.adminUrl }, '/livez')).status).toBe(200)
      const lag = () => metric(gateway, 'portcullis_revocation_lag_seconds')
      const before = await lag()
      await until(async () => (await lag()) > before, 'a growing revocation lag')
    })

    it('each 503 has its cause in the log', async () => {
      const { headers } = await login()
      const id = headers.get('x-request-id')
      const line = await until(() => gateway.log().find((l) => l.request_id === id && l.msg === 'request'), 'its log line')
      expect(line).toMatchObject({
        status: 503,
        outcome: 'unavailable',
        level: 'error',
        cause: expect.stringMatching(/ECONNREFUSED|terminated/),
      })
    })
  })
})

it('a gateway without its Postgres does not start: exit 1 and the address in the message, not the password', async () => {
  const port = await freePort()
  const gateway = start(process.execPath, ['src/cli.ts', 'serve', '--set', 'server.port=0', '--set', 'admin.port=0'], {
    env: {
      ...bare(),
      PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64'),
      DATABASE_URL: `postgres://gate:s3cr3t-pw@127.0.0.1:${port}/x`,
    },
  })
  await until(() => gateway.child.exitCode !== null, 'its end')
  expect(gateway.child.exitCode).toBe(1)
  expect(gateway.output()).toContain(`the database at 127.0.0.1:${port} does not answer (ECONNREFUSED): start it, or correct DATABASE_URL`)
  expect(gateway.output()).not.toContain('s3cr3t-pw')
  expect(gateway.output()).not.toMatch(/^\s+at /m)
})
