/** What a person with a browser gets when a request is refused, and what a program gets. */
import { describe, expect, inject, it } from 'vitest'
import { call, newUser } from '../../support/client.ts'
import { useGateway, useKeep, useUpstream } from '../../support/fixtures.ts'
import { startGateway } from '../../support/gateway.ts'
import { FRAME, OLD, open, TOP } from '../../support/navigation.ts'
import { createDatabase } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { startRelay } from '../../support/relay.ts'
import { rows } from '../../support/rows.ts'

const browser = { enabled: true, brand: { name: 'Example' } }
const upstream = useUpstream()
const routes = () => [
  { name: 'orders', match: { path: '/orders', methods: ['GET', 'POST'] }, upstream: [upstream.url], access: 'authenticated' },
  { name: 'down', match: { path: '/down' }, upstream: ['http://127.0.0.1:9'], access: 'public' },
  { name: 'limited', match: { path: '/limited' }, upstream: [upstream.url], access: 'public', limits: ['tiny'] },
  { name: 'public', match: { path: '/public' }, upstream: [upstream.url], access: 'public' },
]
const config = {
  auth: { browser },
  limits: { exempt: [], policies: { tiny: { key: 'client', limit: 1, windowSeconds: 3600 } } },
  cors: { origins: ['https://other.example'] },
}
const gateway = useGateway(() => ({ config, routes: routes() }))
const plain = useGateway(() => ({ config: { ...config, auth: {} }, routes: routes() }))

describe('a navigation without a login', () => {
  it.each([TOP, OLD])('leads to the login page and back', async (headers) => {
    for (const method of ['GET', 'HEAD']) {
      const { status, headers: answered, body } = await open(gateway, '/orders/7?x=1', { method, headers })
      expect(status).toBe(303)
      expect(answered.location).toBe('/auth/ui/login?return_to=%2Forders%2F7%3Fx%3D1')
      expect(answered['cache-control']).toBe('no-store')
      expect(answered['www-authenticate']).toBeUndefined()
      expect(answered['x-request-id']).toBeDefined()
      expect(body).toBe('')
    }
    expect(upstream.take()).toEqual([])
  })

  it('varies by what it depends on', async () => {
    const { vary } = (await open(gateway, '/orders')).headers
    for (const name of ['Origin', 'Accept', 'Accept-Language', 'Cookie', 'Sec-Fetch-Mode', 'Sec-Fetch-Dest']) expect(vary).toContain(name)
  })

  it('shows a page the second time', async () => {
    const first = await open(gateway, '/orders?twice')
    const cookie = first.headers['set-cookie']!.map((field) => field.split(';')[0]).join('; ')
    const second = await open(gateway, '/orders?twice', { headers: { ...TOP, cookie } })
    expect(second.status).toBe(401)
    expect(second.headers['content-type']).toBe('text/html; charset=utf-8')
    expect(second.body).toContain('href="/auth/ui/login?return_to=%2Forders%3Ftwice"')
    gateway.clock.advance(61_000)
    expect((await open(gateway, '/orders?twice', { headers: { ...TOP, cookie } })).status).toBe(303)
  })

  it('to an endpoint of our own leads to the login page too', async () => {
    expect((await open(gateway, '/auth/me')).headers.location).toBe('/auth/ui/login')
  })

  it('by POST, and in a frame, gets a page with a link', async () => {
    const referer = 'http://gateway.test/cart'
    const form = { ...TOP, 'content-type': 'application/x-www-form-urlencoded', referer }
    const posted = await open(gateway, '/orders', { method: 'POST', headers: form, body: 'a=b' })
    const framed = await open(gateway, '/orders', { headers: { ...FRAME, referer } })
    for (const { status, headers, body } of [posted, framed]) {
      expect(status).toBe(401)
      expect(headers['content-type']).toBe('text/html; charset=utf-8')
      expect(headers['www-authenticate']).toBe('Bearer')
      expect(body).toContain('<a class="button" href="/auth/ui/login?return_to=%2Fcart" target="_top">')
    }
    expect(posted.headers['x-frame-options']).toBe('DENY')
    expect(framed.headers['x-frame-options']).toBeUndefined()
    expect(framed.headers['content-security-policy']).toContain("frame-ancestors 'self'")
  })

  it('in a frame on an endpoint of our own may be shown by our pages', async () => {
    const { status, headers } = await open(gateway, '/auth/me', { headers: FRAME })
    expect(status).toBe(401)
    expect(headers['x-frame-options']).toBeUndefined()
    expect(headers['content-security-policy']).toContain("frame-ancestors 'self'")
  })
})

describe('a program gets the problem document, byte for byte as without pages', () => {
  const normal = (body: string) => body.replace(/"(request_id|timestamp)":"[^"]+"/g, '"$1":""')
  it.each([
    ['fetch', { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty', 'sec-fetch-site': 'same-origin', accept: '*/*' }],
    ['an image', { 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image', 'sec-fetch-site': 'same-origin' }],
    ['curl', { accept: '*/*' }],
    ['no Accept', {}],
    ['a JSON client', { accept: 'application/json, text/plain, */*' }],
    ['an EventSource', { accept: 'text/event-stream', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' }],
    ['a bearer in a navigation', { ...TOP, authorization: 'Bearer x' }],
    ['an API key in a navigation', { ...TOP, 'x-api-key': 'pk_x' }],
  ])('%s', async (_name, headers) => {
    for (const path of ['/orders', '/nothing', '/auth/me', '/auth/nothing']) {
      const [here, there] = [await open(gateway, path, { headers }), await open(plain, path, { headers })]
      expect(here.status).toBe(there.status)
      expect(normal(here.body)).toBe(normal(there.body))
      expect(here.headers['content-type']).toBe('application/problem+json; charset=utf-8')
      expect(Object.keys(here.headers).sort()).toEqual(Object.keys(there.headers).sort())
      expect(here.headers.vary).toBe(there.headers.vary)
    }
  })

  it('and so does a browser where pages are off', async () => {
    const { status, headers } = await open(plain, '/orders')
    expect([status, headers['content-type']]).toEqual([401, 'application/problem+json; charset=utf-8'])
  })
})

describe('our own refusals are a small page for navigations', () => {
  it.each([
    ['/nothing', 404],
    ['/auth/nothing', 404],
    ['/auth/ui/nothing', 404],
    ['/auth/ui/language/xx', 404],
    ['/down', 502],
    ['/public%2f..', 400],
  ])('%s: %i', async (path, status) => {
    for (const headers of [TOP, OLD]) {
      const answer = await open(gateway, path, { headers })
      expect(answer.status).toBe(status)
      expect(answer.headers['content-type']).toBe('text/html; charset=utf-8')
      expect(answer.headers['content-security-policy']).toContain("default-src 'none'")
      expect(answer.headers['cache-control']).toBe('no-store')
      expect(answer.body).toContain(`Request id: ${answer.headers['x-request-id']}`)
      expect(Buffer.byteLength(answer.body)).toBeLessThan(5000)
    }
  })

  it('a reached limit says in words when to come back, and the page keeps its style', async () => {
    const german = { ...TOP, 'accept-language': 'de' }
    await open(gateway, '/limited')
    const { status, headers, body } = await open(gateway, '/limited', { headers: german })
    expect(status).toBe(429)
    expect(Number(headers['retry-after'])).toBeGreaterThan(0)
    expect(body).toContain('<html lang="de">')
    expect(body).toMatch(/Bitte versuchen Sie es in \d+ Minuten noch einmal\./)
    const style = /href="([^"]+\.css)"/.exec(body)![1]!
    for (let i = 0; i < 3; i++) expect((await open(gateway, style)).status).toBe(200)
  })

  it('the answer of an upstream stays as it is', async () => {
    expect((await open(gateway, '/public')).headers['content-type']).toBe('application/json')
  })

  it('the log and the metrics name the reason', async () => {
    const { headers } = await open(gateway, '/orders?log')
    await until(() => gateway.log().some((line) => line.request_id === headers['x-request-id']), 'the log line')
    expect(gateway.log().find((line) => line.request_id === headers['x-request-id'])).toMatchObject({
      status: 303,
      outcome: 'token_missing',
    })
  })
})

describe('while Postgres is away', () => {
  const keep = useKeep()

  it('a page says when to try again, and has its style', async () => {
    const databaseUrl = await createDatabase(inject('postgresUrl'))
    const relay = await keep(startRelay(Number(new URL(databaseUrl).port)))
    const alone = await keep(startGateway({ config, routes: routes(), databaseUrl: relay.through(databaseUrl) }))
    relay.cut()
    await until(async () => (await call(alone, '/auth/me')).status === 503, 'the gateway sees that Postgres is away')
    const { status, headers, body } = await open(alone, '/auth/me', { headers: TOP })
    expect(status).toBe(503)
    const seconds = String(headers['retry-after'])
    expect(seconds).toMatch(/^[123]$/)
    expect(body).toContain(`Please try again in ${seconds} second${seconds === '1' ? '' : 's'}.`)
    expect((await open(alone, /href="([^"]+\.css)"/.exec(body)![1]!)).status).toBe(200)
    expect((await open(alone, '/orders')).status).toBe(303)
    relay.mend()
  })
})

describe('a navigation of a logged-in user', () => {
  const strict = useGateway(() => ({
    config: { auth: { browser } },
    routes: [
      { name: 'fresh', match: { path: '/fresh' }, upstream: [upstream.url], access: { maxAuthAgeSeconds: 60 } },
      { name: 'factor', match: { path: '/factor' }, upstream: [upstream.url], access: { mfa: true } },
      { name: 'staff', match: { path: '/staff' }, upstream: [upstream.url], access: { roles: ['admin'] } },
    ],
  }))
  /** Cookies of this host, as over plain http to loopback. */
  const at = (cookie: string) => ({ ...TOP, host: `localhost:${strict.port}`, cookie })
  async function loggedIn() {
    const user = await newUser(strict)
    const body = JSON.stringify({ login: user.username, password: user.password, session: 'cookie' })
    const headers = { host: `localhost:${strict.port}`, origin: `http://localhost:${strict.port}`, 'content-type': 'application/json' }
    const { headers: answered } = await open(strict, '/auth/login', { method: 'POST', headers, body })
    return { user, headers: at(answered['set-cookie']![0]!.split(';')[0]!) }
  }

  it('leads to the page for what is missing', async () => {
    const { user, headers } = await loggedIn()
    expect((await open(strict, '/fresh', { headers })).status).toBe(200)
    expect((await open(strict, '/factor', { headers })).headers.location).toBe('/auth/ui/account/factors?return_to=%2Ffactor')
    await rows(strict, 'UPDATE users SET mfa_enabled = true WHERE id = $1', [user.id])
    expect((await open(strict, '/factor', { headers })).headers.location).toBe('/auth/ui/login?return_to=%2Ffactor')
    strict.clock.advance(61_000)
    expect((await open(strict, '/fresh', { headers })).headers.location).toBe('/auth/ui/login?return_to=%2Ffresh')
  })

  it('without access gets a page with the links of the account', async () => {
    const { headers } = await loggedIn()
    const { status, body } = await open(strict, '/staff', { headers })
    expect(status).toBe(403)
    expect(body).toContain('<h1>You may not open this page</h1>')
    expect(body).toContain('/auth/ui/account')
  })

  it('keeps the language that the user chooses, and leads back to the page', async () => {
    const { user, headers } = await loggedIn()
    const referer = `http://localhost:${strict.port}/staff?x=1`
    const { status, headers: answered } = await open(strict, '/auth/ui/language/de', { headers: { ...headers, referer } })
    expect([status, answered.location]).toEqual([303, '/staff?x=1'])
    expect(answered['set-cookie']![0]).toContain('portcullis-lang=de')
    expect(await rows(strict, 'SELECT language FROM users WHERE id = $1', [user.id])).toEqual([{ language: 'de' }])
    const stranger = await open(strict, '/auth/ui/language/de', { headers: { ...at(''), referer: 'https://evil.example/x' } })
    expect(stranger.headers.location).toBe('/auth/ui/login')
    await open(strict, '/auth/ui/language/en', { headers: { ...headers, 'sec-fetch-site': 'cross-site' } })
    expect(await rows(strict, 'SELECT language FROM users WHERE id = $1', [user.id])).toEqual([{ language: 'de' }])
  })
})
