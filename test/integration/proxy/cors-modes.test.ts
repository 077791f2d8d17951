import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, newUser, raw, statusOf, type TestUser } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { freePort } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const ORIGIN = 'https://app.example.com'
const EXPOSED = ['x-total-count', 'mcp-session-id', 'etag', 'location']
const OURS = ['x-request-id', 'retry-after', 'ratelimit', 'ratelimit-policy']

/** An upstream that handles CORS itself, and lets everybody in. */
const upstream = useUpstream((_req, res) => {
  res.setHeader('access-control-allow-origin', 'https://the.upstream')
  res.setHeader('access-control-allow-credentials', 'true')
  res.setHeader('access-control-allow-methods', 'PURGE')
  res.setHeader('access-control-allow-headers', 'x-theirs')
  res.setHeader('access-control-max-age', '5')
  res.setHeader('access-control-expose-headers', EXPOSED.slice(0, 2).join(', '))
  res.appendHeader('access-control-expose-headers', EXPOSED.slice(2).join(', '))
  return false
})
const to = (name: string, part: object = {}) => ({
  name,
  match: { path: `/${name}` },
  upstream: [upstream.url],
  access: 'authenticated',
  ...part,
})
const listed = (value: string | null) => (value ?? '').split(/, */).filter(Boolean)
const corsOf = (headers: Headers) => Object.fromEntries([...headers].filter(([name]) => name.startsWith('access-control-')))
const preflight = (at: { url: string }, path: string, method: string, headers: Record<string, string> = {}) =>
  call(at, path, { method: 'OPTIONS', headers: { origin: ORIGIN, 'access-control-request-method': method, ...headers } })

describe('where the gateway decides', () => {
  const gateway = useGateway(() => ({
    config: { cors: { origins: [ORIGIN], credentials: true, exposeHeaders: ['X-Page'] }, server: { maxHeaders: 20 } },
    routes: [
      to('any'),
      to('dav', { match: { path: '/dav', methods: ['GET', 'PROPFIND', 'MKCOL'] } }),
      to('set', {
        headers: { response: { set: { 'Access-Control-Expose-Headers': 'X-Set', 'Access-Control-Allow-Origin': 'https://else.example' } } },
      }),
      to('lists', { cors: { exposeHeaders: ['X-Only'], allowHeaders: ['Content-Type', 'X-Two'], methods: ['GET', 'POST'] } }),
      to('theirs', { cors: { mode: 'upstream' } }),
      to('small', { body: { maxBytes: 3 } }),
    ],
  }))
  let user: TestUser
  beforeAll(async () => {
    user = await newUser(gateway)
  })
  const get = (path: string, origin = ORIGIN) => call(gateway, path, { token: user.token, headers: { origin } })

  it('what the upstream exposes stays readable beside what the gateway exposes', async () => {
    const { headers } = await get('/any/list')
    expect(listed(headers.get('access-control-expose-headers')).sort()).toEqual([...EXPOSED, ...OURS, 'X-Page'].sort())
  })

  it('what a route sets to be exposed stays readable, too', async () => {
    const { headers } = await get('/set')
    expect(listed(headers.get('access-control-expose-headers')).sort()).toEqual(['X-Set', ...OURS, 'X-Page'].sort())
    expect(headers.get('access-control-allow-origin')).toBe(ORIGIN)
  })

  it('the upstream lets no further origin in, and nothing more', async () => {
    const { 'access-control-expose-headers': _, ...others } = corsOf((await get('/any')).headers)
    expect(others).toEqual({ 'access-control-allow-origin': ORIGIN, 'access-control-allow-credentials': 'true' })
    for (const path of ['/any', '/set'])
      for (const origin of ['https://the.upstream', 'https://else.example', 'null']) {
        const { 'access-control-expose-headers': _, ...left } = corsOf((await get(path, origin)).headers)
        expect(left).toEqual({})
      }
  })

  it('a preflight names the methods that the route takes beyond the usual', async () => {
    const allowed = async (path: string, method: string) =>
      listed((await preflight(gateway, path, method)).headers.get('access-control-allow-methods'))
    const usual = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']
    expect(await allowed('/dav', 'PROPFIND')).toEqual([...usual, 'PROPFIND', 'MKCOL'])
    expect(await allowed('/dav', 'REPORT')).toEqual([...usual, 'PROPFIND', 'MKCOL'])
    expect(await allowed('/any', 'QUERY')).toEqual([...usual, 'QUERY'])
    expect(await allowed('/any', 'TRACE')).toEqual(usual)
    expect(await allowed('/auth/me', 'QUERY')).toEqual(usual)
  })

  it('a route has lists of its own', async () => {
    const asked = await preflight(gateway, '/lists', 'POST', { 'access-control-request-headers': 'x-three' })
    expect(corsOf(asked.headers)).toMatchObject({
      'access-control-allow-methods': 'GET, POST',
      'access-control-allow-headers': 'Content-Type, X-Two',
    })
    const exposed = listed((await get('/lists')).headers.get('access-control-expose-headers'))
    expect(exposed).toContain('X-Only')
    expect(exposed).not.toContain('X-Page')
  })

  it('a route may leave it to its upstream', async () => {
    expect((await get('/theirs')).headers.get('access-control-allow-origin')).toBe('https://the.upstream')
    upstream.take()
    expect((await preflight(gateway, '/theirs', 'GET')).headers.get('access-control-allow-origin')).toBe('https://the.upstream')
    expect(upstream.take()).toMatchObject([{ method: 'OPTIONS', url: '/theirs' }])
  })

  it.each([
    ['400 of a target', '/any/%5c', {}, 400],
    ['400 of two credentials', '/any', { 'x-api-key': 'pk_live_x' }, 400],
    ['404', '/nowhere', {}, 404],
    ['405', '/dav', { method: 'DELETE' }, 405],
    ['413', '/small', { method: 'POST', body: 'four' }, 413],
    ['414', `/any?${'a'.repeat(9000)}`, {}, 414],
    ['431 of many fields', '/any', Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-${i}`, '1'])), 431],
    ['404 of our own', '/auth/nowhere', {}, 404],
  ])('a %s is readable by a listed origin, and by no other', async (_name, path, {
    method,
    body,
    ...fields
  }: Record<string, string>, status) => {
    const ask = (origin: string) =>
      fetch(gateway.url + path, {
        ...(method ? { method } : {}),
        ...(body ? { body } : {}),
        headers: { authorization: `Bearer ${user.token}`, origin, ...fields },
      })
    const refusal = await ask(ORIGIN)
    expect(refusal.status).toBe(status)
    expect(corsOf(refusal.headers)).toMatchObject({
      'access-control-allow-origin': ORIGIN,
      'access-control-allow-credentials': 'true',
      'access-control-expose-headers': [...OURS, 'X-Page'].join(', '),
    })
    expect(refusal.headers.get('vary')).toMatch(/origin/i)
    expect(corsOf((await ask('https://evil.example')).headers)).toEqual({})
  })

  it('what the parser refuses is readable by every page, without credentials', async () => {
    for (const [head, status] of [
      [`GET /any HTTP/1.1\r\nHost: a\r\nX-Long: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
      ['GET /any HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n', 400],
    ] as const) {
      const answer = await raw(gateway.port, head)
      expect(statusOf(answer)).toBe(status)
      expect(answer).toMatch(/^access-control-allow-origin: \*\r$/im)
      expect(answer).not.toMatch(/allow-credentials/i)
    }
  })
})

describe('where the upstream decides', () => {
  let other: Upstream
  let away: string
  beforeAll(async () => {
    other = await startUpstream()
    away = `http://127.0.0.1:${await freePort()}`
  })
  afterAll(() => other.close())
  const gateway = useGateway(() => ({
    config: { limits: { exempt: [], default: [], policies: { few: { limit: 2, windowSeconds: 60, key: 'anonymous' } } } },
    routes: [
      to('api', {
        headers: {
          forwardAuthorization: true,
          assertion: true,
          request: { set: { Authorization: 'Basic b3BlcmF0b3I6eA==', 'X-Tenant': 'blue' } },
        },
      }),
      to('read', { match: { path: '/split', methods: ['GET'] } }),
      to('write', { match: { path: '/split', methods: ['POST', 'PROPFIND'] }, upstream: [other.url], access: { roles: ['admin'] } }),
      to('inside', { networks: { deny: ['127.0.0.0/8'] } }),
      to('few', { limits: ['few'] }),
      to('away', { upstream: [away], access: 'public' }),
      to('small', { access: 'public', body: { maxBytes: 3 } }),
    ],
  }))
  const CREDENTIALS = {
    authorization: 'Bearer x.y.z',
    cookie: 'session=1',
    'x-api-key': 'theirs',
    Proxy_Authorization: 'x',
    'x-auth-user': 'evil',
  }

  it('a preflight reaches it without a login, and without a credential', async () => {
    upstream.take()
    const { status, headers } = await preflight(gateway, '/api/x?y=1', 'DELETE', {
      ...CREDENTIALS,
      'access-control-request-headers': 'authorization',
      'sec-fetch-mode': 'cors',
    })
    expect(status).toBe(200)
    expect(corsOf(headers)).toMatchObject({ 'access-control-allow-origin': 'https://the.upstream', 'access-control-max-age': '5' })
    const [seen, ...rest] = upstream.take()
    expect(rest).toEqual([])
    expect(seen).toMatchObject({
      method: 'OPTIONS',
      url: '/api/x?y=1',
      headers: {
        origin: ORIGIN,
        'access-control-request-method': 'DELETE',
        'access-control-request-headers': 'authorization',
        'sec-fetch-mode': 'cors',
        'x-tenant': 'blue',
      },
    })
    const names = seen!.rawHeaders.map(([name]) => name.toLowerCase())
    for (const name of ['authorization', 'cookie', 'x-api-key', 'proxy_authorization', 'x-auth-user', 'x-auth-assertion', 'x-auth-roles'])
      expect(names).not.toContain(name)
  })

  it('is the upstream of the route that would serve the method', async () => {
    upstream.take()
    other.take()
    await preflight(gateway, '/split', 'PROPFIND')
    expect([upstream.take().length, other.take().length]).toEqual([0, 1])
    await preflight(gateway, '/split', 'GET')
    await preflight(gateway, '/split', 'HEAD')
    expect([upstream.take().length, other.take().length]).toEqual([2, 0])
  })

  it('an OPTIONS that is no preflight for a method of the route needs what every request needs', async () => {
    upstream.take()
    other.take()
    const statuses = await Promise.all([
      call(gateway, '/api', { method: 'OPTIONS' }),
      call(gateway, '/api', { method: 'OPTIONS', headers: { origin: ORIGIN } }),
      call(gateway, '/api', { method: 'OPTIONS', headers: { 'access-control-request-method': 'GET' } }),
      preflight(gateway, '/api', 'CONNECT'),
      preflight(gateway, '/api', 'TRACE'),
      preflight(gateway, '/api', 'get'),
      preflight(gateway, '/split', 'DELETE'),
      call(gateway, '/api', { method: 'OPTIONS', body: '1', headers: { origin: ORIGIN, 'access-control-request-method': 'GET' } }),
    ])
    expect(statuses.map(({ status }) => status)).toEqual([401, 401, 401, 401, 401, 401, 405, 401])
    const chunked = await raw(
      gateway.port,
      `OPTIONS /api HTTP/1.1\r\nHost: a\r\nOrigin: ${ORIGIN}\r\nAccess-Control-Request-Method: GET\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n`,
    )
    expect(statusOf(chunked)).toBe(401)
    expect([upstream.take(), other.take()]).toEqual([[], []])
  })

  it('a preflight passes the networks and the limits of a client first', async () => {
    upstream.take()
    expect((await preflight(gateway, '/inside', 'GET')).status).toBe(403)
    const statuses = []
    // an invented credential does not evade the count
    for (const headers of [{}, CREDENTIALS, CREDENTIALS]) statuses.push((await preflight(gateway, '/few', 'GET', headers)).status)
    expect(statuses).toEqual([200, 200, 429])
    expect(upstream.take()).toHaveLength(2)
  })

  it.each([
    ['401', '/api', {}, 401],
    ['401 of a bad token', '/api', { authorization: 'Bearer x.y.z' }, 401],
    ['403', '/inside', {}, 403],
    ['404', '/nowhere', {}, 404],
    ['405', '/split', { method: 'DELETE' }, 405],
    ['502', '/away', {}, 502],
    ['413', '/small', { method: 'POST', body: 'four' }, 413],
    ['400', '/api/%5c', {}, 400],
    ['414', `/api?${'a'.repeat(9000)}`, {}, 414],
  ])('a %s of the gateway is readable by the page, without credentials', async (_name, path, {
    method,
    body,
    ...fields
  }: Record<string, string>, status) => {
    const ask = (origin: string) =>
      fetch(gateway.url + path, { ...(method ? { method } : {}), ...(body ? { body } : {}), headers: { origin, ...fields } })
    const refusal = await ask(ORIGIN)
    expect(refusal.status).toBe(status)
    expect(corsOf(refusal.headers)).toEqual({
      'access-control-allow-origin': ORIGIN,
      'access-control-expose-headers': OURS.join(', '),
    })
    expect(refusal.headers.get('vary')).toBe('Origin')
    expect(corsOf((await ask('a, b')).headers)).toEqual({})
  })

  it('its answers are as it sent them', async () => {
    const user = await newUser(gateway)
    expect(corsOf((await call(gateway, '/api', { token: user.token, headers: { origin: ORIGIN } })).headers)).toEqual({
      'access-control-allow-origin': 'https://the.upstream',
      'access-control-allow-credentials': 'true',
      'access-control-allow-methods': 'PURGE',
      'access-control-allow-headers': 'x-theirs',
      'access-control-max-age': '5',
      'access-control-expose-headers': EXPOSED.join(', '),
    })
  })

  it('the endpoints of the gateway, and what the parser refuses, stay closed to other origins', async () => {
    expect(corsOf((await call(gateway, '/auth/me', { headers: { origin: ORIGIN } })).headers)).toEqual({})
    expect(corsOf((await preflight(gateway, '/auth/login', 'POST')).headers)).toEqual({})
    expect(await raw(gateway.port, 'GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n')).not.toMatch(/access-control/i)
  })
})
