import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const ORIGIN = 'https://app.example.com'
let upstream: Upstream
let gateway: Gateway
let open: Gateway
let closed: Gateway
beforeAll(async () => {
  upstream = await startUpstream((req, res) => {
    if (req.method !== 'OPTIONS') return false
    res.writeHead(204, { 'access-control-allow-origin': 'https://the.upstream', 'x-answered-by': 'upstream' }).end()
    return true
  })
  const routes = [
    { name: 'private', match: { path: '/private' }, upstream: [upstream.url], access: 'authenticated' },
    { name: 'public', match: { path: '/public' }, upstream: [upstream.url], access: 'public' },
  ]
  const cors = { origins: [ORIGIN, 'http://localhost:5173'], credentials: true, maxAgeSeconds: 120 }
  ;[gateway, open, closed] = await Promise.all([
    startGateway({ routes, config: { cors } }),
    startGateway({ routes, config: { cors: { origins: ['*'] } } }),
    startGateway({ routes }),
  ])
})
afterAll(async () => {
  await Promise.all([gateway.close(), open.close(), closed.close()])
  await upstream.close()
})

const preflight = (at: Gateway, path: string, origin = ORIGIN) =>
  call(at, path, {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' },
  })

describe('a preflight', () => {
  it.each([
    '/private/x',
    '/public',
    '/auth/login',
  ])('to %s is answered here, without a token, and never reaches the upstream', async (path) => {
    upstream.take()
    const { status, headers, body } = await preflight(gateway, path)
    expect([status, body]).toEqual([204, ''])
    expect(Object.fromEntries(headers)).toMatchObject({
      'access-control-allow-origin': ORIGIN,
      'access-control-allow-credentials': 'true',
      'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
      'access-control-allow-headers': 'authorization,content-type',
      'access-control-max-age': '120',
    })
    expect(headers.get('vary')).toMatch(/origin/i)
    expect(upstream.take()).toEqual([])
  })

  it('of an origin that is not on the list names no origin', async () => {
    for (const origin of ['https://evil.example', `${ORIGIN}.evil.example`, 'http://app.example.com', 'null'])
      expect((await preflight(gateway, '/private', origin)).headers.get('access-control-allow-origin')).toBeNull()
  })

  it('for any origin says so, and never with credentials', async () => {
    const { headers } = await preflight(open, '/private', 'https://anybody.example')
    expect(headers.get('access-control-allow-origin')).toBe('*')
    expect(headers.get('access-control-allow-credentials')).toBeNull()
  })

  it('goes to the upstream where no origins are configured', async () => {
    const { status, headers } = await preflight(closed, '/public')
    expect([status, headers.get('access-control-allow-origin')]).toEqual([204, 'https://the.upstream'])
  })
})

describe('an answer', () => {
  it.each([
    ['proxied', '/public', 200],
    ['401', '/private', 401],
    ['404', '/nowhere', 404],
    ['of our own', '/auth/me', 401],
  ])('%s may be read by an origin on the list', async (_name, path, status) => {
    const answer = await call(gateway, path, { headers: { origin: ORIGIN } })
    expect(answer.status).toBe(status)
    expect(answer.headers.get('access-control-allow-origin')).toBe(ORIGIN)
    expect(answer.headers.get('access-control-allow-credentials')).toBe('true')
    expect(answer.headers.get('access-control-expose-headers')).toContain('x-request-id')
  })

  it('may not be read by another one', async () => {
    const { status, headers } = await call(gateway, '/public', { headers: { origin: 'https://evil.example' } })
    expect([status, headers.get('access-control-allow-origin')]).toEqual([200, null])
  })

  it('says nothing of origins where none are configured', async () => {
    expect((await call(closed, '/public', { headers: { origin: ORIGIN } })).headers.get('access-control-allow-origin')).toBeNull()
  })
})

it('an OPTIONS that is no preflight goes the way of every request', async () => {
  expect((await call(gateway, '/private', { method: 'OPTIONS' })).status).toBe(401)
  expect((await call(gateway, '/public', { method: 'OPTIONS' })).headers.get('x-answered-by')).toBe('upstream')
  expect((await call(closed, '/public', { method: 'OPTIONS' })).headers.get('access-control-allow-origin')).toBe('https://the.upstream')
})
