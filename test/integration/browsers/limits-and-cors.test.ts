/** Who is counted where browsers have a session cookie, and which pages of other origins may use it. */
import { describe, expect, it } from 'vitest'
import { from, newAddress, newUserFrom } from '../../support/addresses.ts'
import { BROWSER, COOKIE, cookieFrom, SAME_ORIGIN } from '../../support/browser-session.ts'
import { call } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'

const HOUR = 3600
const APP = 'http://localhost:5173'
const OTHER = 'https://other.example'
const upstream = useUpstream((_, res) => {
  res.setHeader('access-control-allow-origin', 'https://the.upstream')
  return false
})
const routes = () => [
  { name: 'private', match: { path: '/private' }, upstream: [upstream.url], access: 'authenticated' },
  { name: 'public', match: { path: '/public' }, upstream: [upstream.url], access: 'public' },
]
const limited = useGateway(() => ({
  config: {
    ...BROWSER,
    server: { publicUrl: 'http://localhost', trustedProxies: ['127.0.0.1/32'] },
    limits: {
      default: ['perIp', 'perUser'],
      exempt: [],
      policies: {
        perIp: { limit: 3, windowSeconds: HOUR, key: 'anonymous' },
        perUser: { limit: 5, windowSeconds: HOUR, key: 'principal' },
      },
    },
  },
  routes: routes(),
}))

async function login() {
  const user = await newUserFrom(limited)
  const body = { login: user.username, password: user.password, session: 'cookie' }
  const headers = { ...SAME_ORIGIN, ...from(newAddress()), 'x-forwarded-host': 'localhost' }
  return cookieFrom(await call(limited, '/auth/login', { body, headers }))!
}

const statuses = async (count: number, path: string, headers: Record<string, string>, method = 'GET') => {
  const all: number[] = []
  for (let i = 0; i < count; i++)
    all.push((await call(limited, path, { method, headers: { 'x-forwarded-host': 'localhost', ...headers } })).status)
  return all
}

describe('a request with a cookie', () => {
  it('that is a session counts by user, over routes and own endpoints, and never by address', async () => {
    const address = newAddress()
    const headers = { cookie: `${COOKIE}=${await login()}`, ...SAME_ORIGIN, ...from(address) }
    expect(await statuses(3, '/private', headers)).toEqual([200, 200, 200])
    expect(await statuses(3, '/auth/me', headers)).toEqual([200, 200, 429])
    // the address has used nothing
    expect(await statuses(4, '/public', from(address))).toEqual([200, 200, 200, 429])
  })

  it.each([
    ['rubbish', '/public', 200],
    ['rubbish', '/private', 401],
    ['rubbish', '/auth/me', 401],
    [`ps_${'A'.repeat(55)}`, '/public', 200],
    [`ps_${'A'.repeat(55)}`, '/auth/me', 401],
  ])('%s is anonymous at %s, once for each request', async (value, path, status) => {
    const headers = { cookie: `${COOKIE}=${value}`, ...SAME_ORIGIN, ...from(newAddress()) }
    expect(await statuses(4, path, headers)).toEqual([status, status, status, 429])
  })

  it.each(['/public', '/private', '/auth/me'])('of a page of another site is anonymous at %s', async (path) => {
    const headers = { cookie: `${COOKIE}=${await login()}`, 'sec-fetch-site': 'cross-site', ...from(newAddress()) }
    const method = path === '/auth/me' ? 'PATCH' : 'POST'
    expect(await statuses(4, path, headers, method)).toEqual([403, 403, 403, 429])
  })

  it('of another name is anonymous, too', async () => {
    expect(await statuses(4, '/public', { cookie: 'a=1', ...from(newAddress()) })).toEqual([200, 200, 200, 429])
  })
})

describe('pages of a listed origin', () => {
  const shop = useGateway(() => ({
    config: {
      auth: { browser: { enabled: true, origins: [APP] } },
      server: { publicUrl: 'http://localhost' },
      cors: { origins: [OTHER] },
    },
    routes: routes(),
  }))
  const any = useGateway(() => ({
    config: { auth: { browser: { enabled: true, origins: [APP] } }, server: { publicUrl: 'http://localhost' }, cors: { origins: ['*'] } },
    routes: routes(),
  }))
  const fieldsOf = (headers: Headers) => [
    headers.get('access-control-allow-origin'),
    headers.get('access-control-allow-credentials'),
    headers.get('vary'),
  ]

  it.each(['/public', '/private', '/auth/me'])('may read the answers of %s, with credentials', async (path) => {
    const answer = await call(shop, path, { headers: { origin: APP } })
    expect(fieldsOf(answer.headers)).toEqual([APP, 'true', 'Origin'])
    const preflight = await call(shop, path, {
      method: 'OPTIONS',
      headers: { origin: APP, 'access-control-request-method': 'DELETE', 'access-control-request-headers': 'x-a' },
    })
    expect([preflight.status, ...fieldsOf(preflight.headers)]).toEqual([204, APP, 'true', 'Origin'])
    expect(preflight.headers.get('access-control-allow-headers')).toBe('x-a')
    expect(preflight.headers.get('access-control-allow-methods')).toContain('DELETE')
  })

  it('other origins of cors.origins have no credentials, and no other origin is let in', async () => {
    for (const path of ['/public', '/auth/me']) {
      expect(fieldsOf((await call(shop, path, { headers: { origin: OTHER } })).headers)).toEqual([OTHER, null, 'Origin'])
      for (const origin of ['https://evil.example', 'null', 'http://localhost:5174', 'http://evil.localhost:5173'])
        expect(fieldsOf((await call(shop, path, { headers: { origin } })).headers)).toEqual([null, null, 'Origin'])
    }
  })

  it('beside origins: * only they have credentials', async () => {
    expect(fieldsOf((await call(any, '/public', { headers: { origin: APP } })).headers)).toEqual([APP, 'true', 'Origin'])
    expect(fieldsOf((await call(any, '/public', { headers: { origin: OTHER } })).headers)).toEqual(['*', null, 'Origin'])
  })
})
