import { createHash, randomBytes } from 'node:crypto'
import net from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Answer, call, raw } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { freePort, until } from '../support/processes.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/** What must never be written down, by name. */
const secrets = new Map<string, string>()
const secret = (name: string, value: string) => {
  secrets.set(name, value)
  return value
}
const password = (name: string) => secret(name, `pw-${randomBytes(9).toString('hex')}`)
const email = (name: string) => secret(name, `${name.replaceAll(' ', '-')}-${randomBytes(6).toString('hex')}@mail.example.com`)
const SECRET_KEY = secret('secret key', randomBytes(32).toString('base64'))

let postgres: TestPostgres
let upstream: Upstream
let garbled: net.Server
let gateway: Gateway
const texts = new Map<string, string>()

beforeAll(async () => {
  ;[postgres, upstream] = await Promise.all([startPostgres(), startUpstream((req) => req.url === '/slow')])
  garbled = net.createServer((socket) => void socket.on('error', () => {}).once('data', () => socket.end('this is no HTTP\r\n\r\n')))
  const garbledPort = await freePort()
  await new Promise<void>((resolve) => garbled.listen(garbledPort, '127.0.0.1', resolve))
  const route = (name: string, to: string, more = {}) => ({
    name,
    match: { path: `/${name}` },
    upstream: [to],
    access: 'authenticated',
    ...more,
  })
  gateway = await startGateway({
    databaseUrl: postgres.url.replace('postgres@', `postgres:${password('database password')}@`),
    secretKey: SECRET_KEY,
    env: { PORTCULLIS_ADMIN_EMAIL: email('admin e-mail'), PORTCULLIS_ADMIN_PASSWORD: password('admin password') },
    config: {
      auth: { refresh: { onRetry: 'reject' } },
      log: { level: 'trace', skip: [] },
      limits: { credentials: { account: { limit: 1000, windowSeconds: 60 } } },
    },
    routes: [
      route('api', upstream.url),
      route('open', upstream.url, { access: 'public' }),
      route('staff', upstream.url, { access: { roles: ['admin'] } }),
      route('gone', `http://127.0.0.1:${await freePort()}`),
      route('garbled', `http://127.0.0.1:${garbledPort}`),
      route('slow', upstream.url, { timeouts: { headersMs: 30 } }),
    ],
  })
  await wholeRun()
}, 120_000)
afterAll(async () => {
  await gateway?.close()
  garbled?.close()
  await upstream?.close()
  await postgres?.stop()
})

/** Notes what an answer hands out. */
function keep(who: string, { body }: Answer): { access: string; refresh: string } {
  const access = secret(`access token ${who}`, body.access_token)
  secret(`signature of the access token ${who}`, access.split('.')[2]!)
  const refresh = secret(`refresh token ${who}`, body.refresh_token)
  secret(`hash of the refresh token ${who}`, createHash('sha256').update(refresh).digest('hex'))
  return { access, refresh }
}

async function wholeRun(): Promise<void> {
  const post = (path: string, body: unknown, token?: string) => call(gateway, `/auth${path}`, { body, token })
  const want = (status: number, answer: Answer) => {
    expect([answer.status, answer.body]).toEqual([status, answer.body])
    return answer
  }
  const ann = { username: 'ann', email: email('e-mail of ann'), password: password('password of ann') }

  // registration: good, twice, at the same moment, and wrong in every field
  const first = keep('of ann', want(201, await post('/register', ann)))
  want(409, await post('/register', { ...ann, username: 'ann2' }))
  const rush = { username: 'rush', email: email('e-mail of rush'), password: password('password of rush') }
  await Promise.all(
    Array.from({ length: 5 }, async () => post('/register', rush).then((a) => (a.status === 201 ? void keep('of rush', a) : a))),
  )
  want(
    422,
    await post('/register', {
      username: '!',
      email: secret('broken e-mail', 'broken..mail@nowhere'),
      password: secret('short password', 'sh0rt-pw'),
    }),
  )
  want(422, await post('/register', { ...ann, [secret('password as a key', 'pw-as-a-key')]: 1 }))

  // login: right, wrong, unknown, password in the wrong field, bytes that Postgres refuses
  const login = keep('of a login', want(200, await post('/login', { login: ann.email.toUpperCase(), password: ann.password })))
  want(401, await post('/login', { login: ann.username, password: password('wrong password') }))
  want(401, await post('/login', { login: email('unknown e-mail'), password: password('password of nobody') }))
  want(401, await post('/login', { login: password('password in the login field'), password: 'x' }))
  await post('/login', { login: `${password('login with a NUL')}\u0000`, password: password('password beside a NUL') })
  await post('/login', `{"login":"ann","password":"${password('password in broken JSON')}" oops`)
  await call(gateway, '/auth/login', {
    method: 'POST',
    body: `password=${password('password in a form')}`,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  })

  // refresh: good, unknown, again at once, and stolen
  const second = keep('refreshed', want(200, await post('/refresh', { refresh_token: login.refresh })))
  want(401, await post('/refresh', { refresh_token: secret('unknown refresh token', `rt_${randomBytes(32).toString('base64url')}`) }))
  expect((await post('/refresh', { refresh_token: login.refresh })).body.code).toBe('refresh_superseded')
  const third = keep('refreshed twice', want(200, await post('/refresh', { refresh_token: second.refresh })))
  expect((await post('/refresh', { refresh_token: second.refresh })).body.code).toBe('refresh_superseded')
  keep('refreshed thrice', want(200, await post('/refresh', { refresh_token: third.refresh })))
  expect((await post('/refresh', { refresh_token: login.refresh })).body.code).toBe('refresh_reused')
  want(204, await post('/logout', { refresh_token: first.refresh }))

  // the own account
  const again = keep('of another login', want(200, await post('/login', { login: ann.username, password: ann.password })))
  want(
    401,
    await post(
      '/password/change',
      { current_password: password('wrong current password'), new_password: password('refused new password') },
      again.access,
    ),
  )
  const changed = { current_password: ann.password, new_password: password('new password of ann') }
  const current = keep('after the change', want(200, await post('/password/change', changed, again.access)))
  const moved = { email: email('new e-mail of ann'), current_password: changed.new_password }
  want(200, await call(gateway, '/auth/me', { method: 'PATCH', body: moved, token: current.access }))
  const { access } = keep('of the last login', want(200, await post('/login', { login: moved.email, password: changed.new_password })))

  // proxied requests, and requests that are none
  const headers = {
    cookie: `session=${secret('cookie', randomBytes(12).toString('hex'))}`,
    'x-api-key': secret('API key', randomBytes(12).toString('hex')),
  }
  const get = (path: string, token = access) => call(gateway, path, { token, headers })
  want(200, await get(`/api/x?access_token=${access}&key=${secret('key in the query', randomBytes(9).toString('hex'))}`))
  want(
    200,
    await call(gateway, '/open', {
      headers: { ...headers, authorization: `Basic ${secret('basic credentials', randomBytes(12).toString('base64'))}` },
    }),
  )
  want(403, await get('/staff'))
  want(401, await get('/api', again.access))
  want(401, await get('/api', secret('forged token', `${access.slice(0, -9)}AAAAAAAAA`)))
  want(401, await get('/api', `two words ${access}`))
  want(404, await get(`/nowhere/${access}`))
  want(400, await get(`/open/${access}%2F`))
  for (const [path, status] of [
    ['/gone', 502],
    ['/garbled', 502],
    ['/slow', 504],
  ] as const)
    want(status, await get(path))
  const bearer = `Authorization: Bearer ${access}`
  const malformed = [
    `GET /api HTTP/1.1\r\nHost: a\r\n${bearer}\r\n${bearer}\r\nConnection: close\r\n\r\n`,
    `GET /api HTTP/1.1\r\n${bearer}\r\nConnection: close\r\n\r\n`,
    `GET /api/${access} HTTP/9.9\r\nHost: a\r\n${bearer}\r\n\r\n`,
    `${access} ${ann.password}\r\n\r\n`,
    `GET /api HTTP/1.1\r\nHost: a\r\n${bearer}\x01\r\n\r\n`,
    `GET /api HTTP/1.1\r\nHost: a\r\n${bearer}\r\nX-Long: ${access.repeat(60)}\r\n\r\n`,
    `POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n${access}`,
    `GET /api/${access}/.. HTTP/1.1\r\nHost: ${access}\r\n${bearer}\r\nConnection: close\r\n\r\n`,
  ]
  for (const bytes of malformed) expect(await raw(gateway.port, bytes)).toMatch(/^HTTP\/1\.1 4\d\d/)

  // the admin that the environment made; then the database goes away
  const admin = { login: secrets.get('admin e-mail')!, password: secrets.get('admin password')! }
  const forced = keep('of the admin', want(200, await post('/login', admin)))
  const chosen = { current_password: admin.password, new_password: password('new admin password') }
  const chief = keep('of the admin afterwards', want(200, await post('/password/change', chosen, forced.access)))
  await postgres.kill()
  await until(
    async () => (await post('/login', { login: ann.username, password: changed.new_password })).status === 503,
    'a database that is away',
  )
  want(503, await post('/register', { username: 'late', email: email('e-mail of late'), password: password('password of late') }))
  want(503, await post('/refresh', { refresh_token: secret('refresh token while away', `rt_${randomBytes(32).toString('base64url')}`) }))
  want(503, await call(gateway, '/auth/me', { token: access }))

  const errors = await until(async () => {
    const { body } = await call(gateway, '/auth/admin/errors', { token: chief.access })
    return body.errors.some((e: { status: number }) => e.status === 503) && body.errors
  }, 'the last errors')
  texts.set('/auth/admin/errors', JSON.stringify(errors))
  texts.set('/metrics', await (await fetch(`${gateway.adminUrl}/metrics`)).text())
  texts.set(
    'the log',
    gateway
      .log()
      .map((line) => JSON.stringify(line))
      .join('\n'),
  )
}

it('the run has logged what happened: the searched places are not empty', () => {
  const outcomes = new Set(gateway.log().map((l) => l.outcome))
  const codes = [
    'ok',
    'invalid_credentials',
    'refresh_reused',
    'token_invalid',
    'upstream_unreachable',
    'upstream_invalid',
    'upstream_timeout',
    'unavailable',
  ]
  for (const code of [...codes, 'json_invalid', 'request_malformed', 'headers_too_large']) expect(outcomes).toContain(code)
  expect(texts.get('/metrics')).toContain('portcullis_logins_total{outcome="success",via="api"}')
  expect(texts.get('/auth/admin/errors')).toContain('ECONNREFUSED')
  expect(secrets.size).toBeGreaterThan(50)
  for (const [name, value] of secrets) expect(value.length, name).toBeGreaterThanOrEqual(8)
})

it.each([
  'the log',
  '/metrics',
  '/auth/admin/errors',
])('%s holds no password, no token, no cookie, no key and no e-mail address', (place) => {
  const text = texts.get(place)!.toLowerCase()
  const spellings = (value: string) => [value, encodeURIComponent(value), JSON.stringify(value).slice(1, -1)].map((v) => v.toLowerCase())
  const found = [...secrets].filter(([, value]) => spellings(value).some((spelling) => text.includes(spelling)))
  const where = found.map(
    ([name, value]) =>
      `${name}: ${texts
        .get(place)!
        .split('\n')
        .find((l) => l.toLowerCase().includes(value.toLowerCase()))
        ?.slice(0, 500)}`,
  )
  expect(where).toEqual([])
})
