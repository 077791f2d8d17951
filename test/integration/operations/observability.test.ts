import { randomBytes, randomUUID } from 'node:crypto'
import http from 'node:http'
import { Client } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { call, newUser, newUserWithRoles, raw, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { freePort, until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

/** CONTRACT, "Metrics", with labels; less mfa_total, upstream_breaker_state and streams_closed_total, which this version does not have. */
const SERIES: Record<string, string[]> = {
  http_requests_total: ['method', 'route', 'status'],
  http_request_duration_seconds: ['route', 'method'],
  gateway_overhead_seconds: ['route'],
  upstream_duration_seconds: ['upstream'],
  http_requests_in_flight: [],
  errors_total: ['code', 'route'],
  logins_total: ['outcome', 'via'],
  refreshes_total: ['outcome'],
  limit_decisions_total: ['policy', 'decision', 'tier'],
  token_cache_total: ['result'],
  argon2_in_flight: [],
  argon2_queued: [],
  argon2_rejected_total: [],
  db_query_duration_seconds: ['operation'],
  db_pool_connections: ['state'],
  db_up: [],
  redis_up: [],
  redis_breaker_open: [],
  revocation_lag_seconds: [],
  revoked_entries: [],
  refresh_tokens_rows: [],
  cleanup_last_success_timestamp_seconds: [],
  cleanup_deleted_total: ['kind'],
  streams_open: ['kind'],
  signing_key_age_seconds: ['kid', 'state'],
  config_last_reload_success: [],
  config_info: ['sha'],
  build_info: ['version', 'node'],
}

let upstream: Upstream
let sockets: WebSocketServer
/** Requests at the upstream that it will never answer. */
let waiting = 0
let gateway: Gateway
let user: TestUser
let admin: TestUser
beforeAll(async () => {
  upstream = await startUpstream((req, res) => {
    if (req.url === '/slow') return true
    if (req.url?.startsWith('/patient')) return ++waiting > 0
    if (req.url !== '/api/events') return false
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hello\n\n')
    return true
  })
  sockets = new WebSocketServer({ server: upstream.server })
  gateway = await startGateway({
    config: {
      log: { skip: ['/health', '/api/quiet', '/gone/quiet'] },
      limits: { policies: { roomy: { limit: 1e6, windowSeconds: 60, key: 'principal' } } },
    },
    routes: [
      { name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated', limits: ['roomy'] },
      { name: 'open', match: { path: '/open', methods: ['GET'] }, upstream: [upstream.url], access: 'public' },
      { name: 'staff', match: { path: '/staff' }, upstream: [upstream.url], access: { roles: ['admin'] } },
      { name: 'gone', match: { path: '/gone' }, upstream: [`http://127.0.0.1:${await freePort()}`], access: 'public' },
      { name: 'patient', match: { path: '/patient' }, upstream: [upstream.url], access: 'public' },
      { name: 'slow', match: { path: '/slow' }, upstream: [upstream.url], access: 'public', timeouts: { headersMs: 50 } },
      { name: 'socket', match: { path: '/socket' }, upstream: [upstream.url], access: 'public', websocket: true },
    ],
  })
  user = await newUser(gateway)
  admin = await newUserWithRoles(gateway, ['admin'])
})
afterAll(async () => {
  await gateway.close()
  sockets.close()
  await upstream.close()
})

type Line = Record<string, unknown>
const linesOf = (id: string, of = gateway): Line[] => of.log().filter((l) => l.request_id === id)
/** Its log line is written when its answer has been closed, which may be after the client has read it. */
const lineOf = (id: string, of = gateway) => until(() => linesOf(id, of)[0], `the log line of ${id}`)
/** Asks under a new request id. */
async function asked(path: string, options: Parameters<typeof call>[2] = {}, of = gateway) {
  const id = randomUUID()
  const answer = await call(of, path, { ...options, headers: { 'x-request-id': id, ...options.headers } })
  return { id, ...answer }
}
const scrape = async (of = gateway) => (await fetch(`${of.adminUrl}/metrics`)).text()

describe('the admin listener', () => {
  const adminCall = (path: string) => call({ url: gateway.adminUrl }, path)

  it('answers that the process runs, without any check', async () => {
    expect(await adminCall('/livez')).toMatchObject({ status: 200, body: { status: 'alive' } })
  })

  it('answers whether the gateway is ready, and with ?verbose why', async () => {
    expect(await adminCall('/readyz')).toMatchObject({ status: 200, body: { status: 'ready' } })
    const { body, headers } = await adminCall('/readyz?verbose')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(body.status).toBe('ready')
    expect(body.checks).toEqual(
      ['listening', 'signing keys loaded', 'revocations loaded', 'database', 'redis'].map((name, i) => ({
        name,
        ok: true,
        required: i < 3,
      })),
    )
  })

  it('answers not ready once the public listener is closed', async () => {
    const closing = await startGateway()
    await closing.app.server.close(1000)
    const { status, body } = await call({ url: closing.adminUrl }, '/readyz?verbose')
    await closing.close()
    expect([status, body.status]).toEqual([503, 'not ready'])
    expect(body.checks).toContainEqual({ name: 'listening', ok: false, required: true })
  })

  it.each(['/livez', '/readyz', '/readyz?verbose', '/metrics'])('alone has %s: the public one answers 404', async (path) => {
    expect((await adminCall(path)).status).toBe(200)
    expect((await call(gateway, path)).body).toMatchObject({ status: 404, code: 'route_not_found' })
    expect((await call(gateway, path, { token: admin.token })).status).toBe(404)
  })

  it.each(['/health', '/auth/me', '/auth/login', '/open', '/.well-known/jwks.json'])('has nothing of the public one: %s', async (path) => {
    expect((await adminCall(path)).status).toBe(404)
  })
})

describe('/metrics', () => {
  it('has every series of the contract, under its name and labels', async () => {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/socket`)
    await new Promise((resolve) => socket.once('open', resolve))
    await Promise.all([
      call(gateway, '/api/x', { token: user.token }),
      call(gateway, '/auth/refresh', { body: { refresh_token: 'rt_x' } }),
      call(gateway, '/nowhere'),
      gateway.app.identity.cleanup(),
    ])
    const text = await until(async () => {
      const found = await scrape()
      return found.includes('portcullis_signing_key_age_seconds{') && found.includes('portcullis_db_pool_connections{') && found
    }, 'the gauges that are set now and then')
    socket.terminate()

    const types = new Set([...text.matchAll(/^# TYPE portcullis_(\w+) /gm)].map(([, name]) => name))
    expect(Object.keys(SERIES).filter((name) => !types.has(name))).toEqual([])
    expect(types).toContain('upstream_retries_total')
    const labels = (name: string) => {
      const sample = new RegExp(`^portcullis_${name}(?:_count)?(?:\\{([^}]*)\\})? `, 'm').exec(text)
      return sample && [...(sample[1] ?? '').matchAll(/(\w+)="/g)].map(([, label]) => label)
    }
    expect(Object.fromEntries(Object.keys(SERIES).map((name) => [name, labels(name)?.sort()]))).toEqual(
      Object.fromEntries(Object.entries(SERIES).map(([name, of]) => [name, [...of].sort()])),
    )
  })

  it('counts what happened', async () => {
    const before = await Promise.all([
      metric(gateway, 'portcullis_http_requests_total', { route: 'api', status: '200', method: 'PUT' }),
      metric(gateway, 'portcullis_errors_total', { route: 'staff', code: 'forbidden' }),
      metric(gateway, 'portcullis_logins_total', { outcome: 'invalid_credentials' }),
      metric(gateway, 'portcullis_token_cache_total', { result: 'hit' }),
    ])
    await call(gateway, '/api/x', { method: 'PUT', token: user.token, body: {} })
    await call(gateway, '/api/x', { method: 'PUT', token: user.token, body: {} })
    await call(gateway, '/staff', { token: user.token })
    await call(gateway, '/auth/login', { body: { login: user.username, password: 'wrong' } })
    await until(async () => {
      const now = await Promise.all([
        metric(gateway, 'portcullis_http_requests_total', { route: 'api', status: '200', method: 'PUT' }),
        metric(gateway, 'portcullis_errors_total', { route: 'staff', code: 'forbidden' }),
        metric(gateway, 'portcullis_logins_total', { outcome: 'invalid_credentials' }),
      ])
      return now[0] === before[0]! + 2 && now[1] === before[1]! + 1 && now[2] === before[2]! + 1
    }, 'the counters')
    expect(await metric(gateway, 'portcullis_token_cache_total', { result: 'hit' })).toBeGreaterThan(before[3]!)
  })

  it('counts an open WebSocket while it is open', async () => {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/socket`)
    const open = () => metric(gateway, 'portcullis_streams_open', { kind: 'websocket' })
    await new Promise((resolve) => socket.once('open', resolve))
    await until(async () => (await open()) > 0, 'an open stream')
    socket.terminate()
    await until(async () => (await open()) === 0, 'no open stream')
  })

  it('counts an open event stream while it is open', async () => {
    const leave = new AbortController()
    const open = async () =>
      (await metric(gateway, 'portcullis_streams_open')) - (await metric(gateway, 'portcullis_streams_open', { kind: 'websocket' }))
    const stream = await fetch(`${gateway.url}/api/events`, { headers: { authorization: `Bearer ${user.token}` }, signal: leave.signal })
    expect(stream.headers.get('content-type')).toBe('text/event-stream')
    await until(async () => (await open()) > 0, 'an open stream', 5000)
    leave.abort()
    await until(async () => (await open()) === 0, 'no open stream')
  })

  it('holds no path, no user and no address', async () => {
    const path = `secret-path-${randomBytes(4).toString('hex')}`
    await call(gateway, `/api/${path}?q=${path}`, { token: user.token })
    await call(gateway, `/${path}`)
    const text = await scrape()
    for (const word of [path, user.id, user.username, '127.0.0.1', 'localhost', new URL(upstream.url).host])
      expect(text).not.toContain(word)
  })
})

it('/metrics has no more series after 20,000 new paths, methods, hosts and request ids', async () => {
  const crowded = await startGateway({
    config: { log: { level: 'error' } },
    routes: [
      { name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' },
      { name: 'open', match: { path: '/open' }, upstream: [upstream.url], access: 'public' },
    ],
  })
  const clients = Array.from({ length: 4 }, () => new Client(crowded.url, { pipelining: 20 }))
  const random = () => randomBytes(6).toString('hex')
  const shapes = [
    () => ({ path: `/${random()}/${random()}` }),
    () => ({ path: `/open/${random()}?${random()}=${random()}` }),
    () => ({ path: `/api/${random()}`, headers: { 'x-request-id': random() } }),
    () => ({ path: `/auth/${random()}` }),
    () => ({ path: `/${random()}`, headers: { host: `${random()}.example.com` } }),
    () => ({ path: `/%2e%2e/${random()}` }),
    () => ({ path: `/api/${random()}`, headers: { authorization: `Bearer ${random()}` } }),
    () => ({ path: `/${random()}`, method: ['PURGE', 'PROPFIND', 'LOCK', 'SEARCH'][randomBytes(1)[0]! % 4]! as 'GET' }),
  ]
  const send = (n: number) =>
    Promise.all(
      clients.map(async (client, c) => {
        for (let done = 0; done < n / clients.length; done += 20) {
          const batch = Array.from({ length: 20 }, (_, i) => ({ method: 'GET', ...shapes[(c + done + i) % shapes.length]!() }) as const)
          for (const { body } of await Promise.all(batch.map((request) => client.request(request)))) await body.dump()
        }
      }),
    )
  // of the database: background jobs ask it something new now and then
  const series = async () =>
    (await scrape(crowded)).split('\n').filter((l) => l.startsWith('portcullis_') && !l.startsWith('portcullis_db_')).length
  const handled = () => metric(crowded, 'portcullis_http_requests_total')
  await until(async () => (await scrape(crowded)).includes('portcullis_signing_key_age_seconds{'), 'the key gauges')
  await send(800)
  const [before, answered] = [await series(), await handled()]
  await send(20_000)
  await until(async () => (await handled()) >= answered + 20_000, 'their counts')
  expect(await series()).toBe(before)
  await Promise.all(clients.map((client) => client.close()))
  await crowded.close()
}, 120_000)

describe('the access log', () => {
  it('has one JSON line for a proxied request, with who, what and how it ended', async () => {
    const { id } = await asked('/api/orders?page=2', { token: user.token })
    expect(await lineOf(id)).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      msg: 'request',
      request_id: id,
      trace_id: expect.stringMatching(/^[0-9a-f]{32}$/),
      method: 'GET',
      route: 'api',
      status: 200,
      ms: expect.any(Number),
      ip: '127.0.0.1',
      user: user.id,
      session: expect.stringMatching(/^[\da-f-]{36}$/),
      outcome: 'ok',
      upstream: upstream.url,
    })
    expect(linesOf(id)).toHaveLength(1)
  })

  const cases: [what: string, path: string, options: () => Parameters<typeof call>[2], line: Line][] = [
    ['no token', '/api/x', () => ({}), { route: 'api', status: 401, outcome: 'token_missing', level: 'info' }],
    ['a bad token', '/api/x', () => ({ token: 'nonsense' }), { route: 'api', status: 401, outcome: 'token_invalid' }],
    ['a missing role', '/staff', () => ({ token: user.token }), { route: 'staff', status: 403, outcome: 'forbidden' }],
    ['no route', '/nowhere', () => ({}), { route: 'none', status: 404, outcome: 'route_not_found' }],
    [
      'a method that the route has not',
      '/open',
      () => ({ method: 'DELETE' }),
      { status: 405, outcome: 'method_not_allowed', method: 'DELETE' },
    ],
    ['an ambiguous path', '/open/a%2Fb', () => ({}), { status: 400, outcome: 'target_ambiguous' }],
    ['our own endpoint', '/auth/me', () => ({ token: user.token }), { route: 'auth.me', status: 200, outcome: 'ok' }],
    [
      'a wrong password',
      '/auth/login',
      () => ({ body: { login: user.username, password: 'x' } }),
      { route: 'auth.login', status: 401, outcome: 'invalid_credentials' },
    ],
    ['a body of the wrong form', '/auth/login', () => ({ body: {} }), { route: 'auth.login', status: 422, outcome: 'validation_failed' }],
    ['a body that is no JSON', '/auth/login', () => ({ body: '{' }), { route: 'auth.login', status: 400, outcome: 'json_invalid' }],
  ]
  it.each(cases)('has one line for %s', async (_, path, options, line) => {
    const { id, status } = await asked(path, options())
    expect(status).toBe(line.status)
    expect(await lineOf(id)).toMatchObject(line)
    expect(linesOf(id)).toHaveLength(1)
  })

  it('has one line for bytes that are no HTTP, and no answer without a request id', async () => {
    const text = await raw(gateway.port, 'GARBAGE\r\n\r\n')
    const id = /x-request-id: (\S+)/i.exec(text)![1]!
    expect(await lineOf(id)).toMatchObject({ route: 'none', status: 400, outcome: 'request_malformed' })
    expect(linesOf(id)).toHaveLength(1)
  })

  it('has one line for a WebSocket, when it ends', async () => {
    const id = randomUUID()
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/socket`, { headers: { 'x-request-id': id } })
    await new Promise((resolve) => socket.once('open', resolve))
    socket.close()
    expect(await lineOf(id)).toMatchObject({ route: 'socket', status: 101, outcome: 'ok' })
    expect(linesOf(id)).toHaveLength(1)
  })

  it('has one line for a client that leaves before its answer: 499', async () => {
    const id = randomUUID()
    const request = http.get(`${gateway.url}/patient/x`, { headers: { 'x-request-id': id } })
    request.on('error', () => {})
    await until(() => waiting > 0, 'the request at the upstream')
    request.socket!.resetAndDestroy()
    expect(await lineOf(id)).toMatchObject({ route: 'patient', status: 499, outcome: 'broken_off', upstream: upstream.url })
    expect(linesOf(id)).toHaveLength(1)
  })

  it.each([
    ['an upstream that is not there', '/gone/x', 502, 'upstream_unreachable', /ECONNREFUSED/],
    ['an upstream that does not answer in time', '/slow', 504, 'upstream_timeout', /headersMs/],
  ])('names the cause of every 5xx, and the answer does not: %s', async (_, path, status, code, cause) => {
    const { id, body } = await asked(path)
    expect(body).toMatchObject({ status, code, request_id: id })
    expect(JSON.stringify(body)).not.toMatch(/127\.0\.0\.1|ECONN|undici|UND_ERR/)
    expect(await lineOf(id)).toMatchObject({ level: 'error', status, outcome: code, cause: expect.stringMatching(cause) })
  })

  it('leaves out the paths of log.skip, but never their failures', async () => {
    const quiet = [await asked('/health'), await asked('/api/quiet', { token: user.token })]
    const failed = [await asked('/api/quiet'), await asked('/gone/quiet')]
    const last = await asked('/open')
    await lineOf(last.id)
    expect(await Promise.all(failed.map(({ id }) => lineOf(id)))).toMatchObject([{ status: 401 }, { status: 502 }])
    for (const { id, status } of quiet) expect([status, linesOf(id)]).toEqual([200, []])
  })

  it('of a sample of none has the failures all the same', async () => {
    const sparse = await startGateway({
      config: { log: { sample: 0 } },
      routes: [
        { name: 'open', match: { path: '/open' }, upstream: [upstream.url], access: 'public' },
        { name: 'gone', match: { path: '/gone' }, upstream: [`http://127.0.0.1:${await freePort()}`], access: 'public' },
      ],
    })
    try {
      const good = await Promise.all(Array.from({ length: 20 }, () => asked('/open', {}, sparse)))
      const bad = [await asked('/nowhere', {}, sparse), await asked('/gone', {}, sparse)]
      await Promise.all(bad.map(({ id }) => lineOf(id, sparse)))
      for (const { id, status } of good) expect([status, linesOf(id, sparse)]).toEqual([200, []])
    } finally {
      await sparse.close()
    }
  })
})

it('names the path of a request without a route under log.path only, and never the query', async () => {
  const open = await startGateway({
    config: { log: { path: true } },
    routes: [{ name: 'gone', match: { path: '/gone' }, upstream: [`http://127.0.0.1:${await freePort()}`], access: 'public' }],
  })
  try {
    const pathOf = async (path: string, of = open) => (await lineOf((await asked(path, {}, of)).id, of)).path
    expect(await pathOf('/No/where?token=secret')).toBe('/No/where')
    expect(await pathOf('/gone/x')).toBeUndefined()
    expect(await pathOf('/No/where', gateway)).toBeUndefined()
  } finally {
    await open.close()
  }
})

it('warns once of a proxy that server.trustedProxies does not name', async () => {
  const open = await startGateway({
    routes: [{ name: 'gone', match: { path: '/gone' }, upstream: [`http://127.0.0.1:${await freePort()}`], access: 'public' }],
  })
  try {
    for (const field of ['X-Forwarded-For: 198.51.100.7', 'Forwarded: for=198.51.100.7'])
      await raw(open.port, `GET /health HTTP/1.1\r\nHost: a\r\n${field}\r\nConnection: close\r\n\r\n`)
    expect(open.log().filter(({ reason }) => reason === 'proxy_untrusted')).toEqual([
      expect.objectContaining({
        level: 'warn',
        network: '127.0.0.0/24',
        msg: expect.stringMatching(/^x-forwarded-for is ignored, .*server\.trustedProxies/),
      }),
    ])
  } finally {
    await open.close()
  }
})

describe('GET /auth/admin/errors', () => {
  const errors = async (of = gateway, token = admin.token) => (await call(of, '/auth/admin/errors', { token })).body.errors as Line[]

  it('is for admins only', async () => {
    expect((await call(gateway, '/auth/admin/errors')).body.code).toBe('token_missing')
    expect((await call(gateway, '/auth/admin/errors', { token: user.token })).body.code).toBe('forbidden')
    expect((await call(gateway, '/auth/admin/errors', { token: admin.token })).status).toBe(200)
  })

  it('shows code, route, request id and cause of an error', async () => {
    const { id } = await asked('/gone/x')
    const found = await until(async () => (await errors()).find((e) => e.request_id === id), 'the error')
    expect(found).toEqual({
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      request_id: id,
      code: 'upstream_unreachable',
      status: 502,
      route: 'gone',
      method: 'GET',
      cause: expect.stringContaining('ECONNREFUSED'),
    })
  })

  it('shows the newest error first, also within one millisecond', async () => {
    const at = Date.now()
    const still = await startGateway({
      clock: { now: () => at, steady: () => at, advance: () => {} },
      routes: [{ name: 'gone', match: { path: '/gone' }, upstream: [`http://127.0.0.1:${await freePort()}`], access: 'public' }],
    })
    try {
      const chief = await newUserWithRoles(still, ['admin'])
      const ids: string[] = []
      for (const path of ['/a', '/gone', '/b', '/gone', '/c']) {
        const { id } = await asked(path, {}, still)
        await lineOf(id, still)
        ids.unshift(id)
      }
      expect((await errors(still, chief.token)).map((e) => e.request_id)).toEqual(ids)
    } finally {
      await still.close()
    }
  })

  it('keeps the last hundred, and no flood of refusals pushes the one 502 out', async () => {
    const { id } = await asked('/gone/x')
    await lineOf(id)
    const flood = await Promise.all(Array.from({ length: 150 }, () => asked('/nowhere')))
    const last = await asked('/nowhere')
    await until(async () => (await errors()).some((e) => e.request_id === last.id), 'the last error')
    await Promise.all(flood.map((f) => lineOf(f.id)))
    const reported = await errors()
    expect(reported).toHaveLength(100)
    expect(reported.map((e) => e.request_id)).toContain(id)
  })
})
