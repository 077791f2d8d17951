/** A page of another site, in the browser of a logged-in user: what it may do at every endpoint of the gateway, and on every kind of route. */
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { BROWSER, COOKIE, cookieLogin } from '../support/browser-session.ts'
import { newUserWithRoles } from '../support/client.ts'
import { ownEndpoints } from '../support/endpoints.ts'
import { useGateway, useUpstream } from '../support/fixtures.ts'
import { rows } from '../support/rows.ts'

const upstream = useUpstream()
const ROUTES = [
  { name: 'public', access: 'public' },
  { name: 'private', access: 'authenticated' },
  { name: 'roles', access: { roles: ['admin'] } },
  { name: 'strict', access: 'authenticated', browser: { safeMethods: 'strict' } },
  { name: 'sockets', access: 'authenticated', websocket: true },
  { name: 'methods', access: 'authenticated' },
]
const gateway = useGateway(() => ({
  config: {
    auth: { ...BROWSER.auth, passkeys: { enabled: true }, emailLogin: 'on', proofOfWork: { enabled: true } },
    server: { publicUrl: 'http://localhost' },
    docs: { enabled: true },
  },
  routes: ROUTES.map(({ name, ...route }) => ({
    name,
    match: { path: `/${name}`, ...(name === 'methods' ? { methods: ['POST', 'PURGE'] } : {}) },
    upstream: [upstream.url],
    ...route,
  })),
}))

/** The same routes, asked about by another proxy. */
const asking = useGateway(() => ({
  config: { ...BROWSER, server: { publicUrl: 'http://localhost', trustedProxies: ['127.0.0.1/32'] }, forwardAuth: { dialect: 'envoy' } },
  routes: ROUTES.map(({ name, ...route }) => ({ name, match: { path: `/${name}` }, forwardAuth: true, ...route })),
}))

/** How another site can begin a request. None of them is a top-level navigation. */
const FOREIGN: Record<string, Record<string, string>> = {
  'a form': { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
  'a form in a frame': {
    origin: 'https://evil.example',
    'sec-fetch-site': 'cross-site',
    'sec-fetch-mode': 'navigate',
    'sec-fetch-dest': 'iframe',
  },
  'a fetch': { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' },
  'a subdomain': { origin: 'http://evil.localhost', 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' },
  'another port': { origin: 'http://localhost:1', 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' },
  'a sandbox': { origin: 'null', 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' },
  'an old browser': { origin: 'https://evil.example' },
  'an old browser under no-referrer': { origin: 'null' },
  'a program': {},
}

/** A list, and not fetch: fetch would replace `sec-fetch-mode`. */
async function send(method: string, path: string, headers: Record<string, string>, body?: string, { port } = gateway) {
  const request = http.request({
    port,
    host: '127.0.0.1',
    method,
    path,
    agent: false,
    headers: { host: `localhost:${port}`, ...headers },
  })
  request.end(body)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const said = await text(response)
  return { status: response.statusCode!, headers: response.headers, said, code: /"code":"(\w+)"/.exec(said)?.[1] ?? null }
}

const ID = '0190f0f0-0000-7000-8000-000000000000'
const reached = (endpoint: string) => {
  const [method, path] = endpoint.split(' ') as [string, string]
  return { method, path: path.replace(/:[a-zA-Z]+/g, ID).replace('*', 'static/swagger-ui.css') }
}

/** They never read the cookie: their credential is in the body, or in a header. */
const WITHOUT_COOKIE = [
  'POST /auth/register',
  'POST /auth/login',
  'POST /auth/login/mfa',
  'POST /auth/login/email',
  'POST /auth/login/email/verify',
  'POST /auth/login/confirm',
  'POST /auth/login/confirm/details',
  'POST /auth/refresh',
  'POST /auth/email/verify',
  'POST /auth/email/verify/details',
  'POST /auth/password/forgot',
  'POST /auth/password/reset',
  'POST /auth/password/reset/details',
  'POST /auth/token',
  'POST /auth/introspect',
  'POST /auth/revoke',
  'POST /auth/invitations/:token',
  // a provider sends it, or lets the browser post it
  'POST /auth/providers/:id/backchannel-logout',
  'POST /auth/providers/:id/callback',
]
/** They answer everybody alike. */
const OPEN =
  /^GET (\/health|\/\.well-known\/|\/auth\/(docs|openapi\.json|challenge$|providers$|providers\/:id\/(start|callback)$|invitations\/|email\/verify$|password\/reset$|login\/confirm$|ui$|ui\/))/

const admin = async () => {
  const user = await newUserWithRoles(gateway, ['admin'])
  return { ...user, cookie: await cookieLogin(gateway, user) }
}

/** Everything that a request could have changed. */
const state = async (userId: string) => [
  await rows(gateway, 'SELECT * FROM users ORDER BY id'),
  await rows(gateway, 'SELECT id, user_id, revoked_at FROM sessions ORDER BY id'),
  await rows(gateway, 'SELECT id, session_id, superseded_at FROM session_cookies ORDER BY id'),
  await rows(gateway, 'SELECT id, revoked_at FROM api_keys ORDER BY id'),
  await rows(gateway, 'SELECT id FROM clients ORDER BY id'),
  userId,
]

describe('every endpoint of the gateway', () => {
  it('that may change something refuses a page of another site, and changes nothing', async () => {
    const { id, cookie } = await admin()
    const writing = ownEndpoints(gateway).filter((endpoint) => !/^(GET|OPTIONS) /.test(endpoint) && !WITHOUT_COOKIE.includes(endpoint))
    expect(writing.length).toBeGreaterThan(25)
    const before = await state(id)
    const wrong: unknown[] = []
    for (const endpoint of writing)
      for (const [how, headers] of Object.entries(FOREIGN)) {
        const { method, path } = reached(endpoint)
        const isPage = path.startsWith('/auth/ui/')
        const type = isPage ? 'application/x-www-form-urlencoded' : 'application/json'
        const answer = await send(
          method,
          path,
          { ...headers, cookie: `${COOKIE}=${cookie}`, 'content-type': type, accept: isPage ? 'text/html' : '*/*' },
          isPage ? 'a=b' : '{}',
        )
        // a page, and the answer to a navigation, say it in words
        const isRefused = answer.status === 403 && (answer.code === 'origin_untrusted' || answer.code === null)
        if (!isRefused || answer.headers['set-cookie']) wrong.push([endpoint, how, answer.status, answer.code])
      }
    expect(wrong).toEqual([])
    expect(await state(id)).toEqual(before)
  })

  it('that only shows something takes the request for anonymous', async () => {
    const { cookie } = await admin()
    const reading = ownEndpoints(gateway).filter((endpoint) => endpoint.startsWith('GET ') && !OPEN.test(endpoint))
    expect(reading.length).toBeGreaterThan(8)
    const wrong: unknown[] = []
    for (const endpoint of reading)
      for (const how of ['a fetch', 'a subdomain', 'another port', 'a sandbox']) {
        const { method, path } = reached(endpoint)
        const answer = await send(method, path, { ...FOREIGN[how], cookie: `${COOKIE}=${cookie}` })
        if (answer.status !== 401 || answer.code !== 'token_missing') wrong.push([endpoint, how, answer.status, answer.code])
      }
    expect(wrong).toEqual([])
  })

  it('that takes a credential of its own never looks at the cookie', async () => {
    const { cookie } = await admin()
    for (const endpoint of WITHOUT_COOKIE) {
      const { method, path } = reached(endpoint)
      const how = { ...FOREIGN['a fetch'], 'content-type': 'application/json' }
      const [without, withCookie] = [
        await send(method, path, how, '{}'),
        await send(method, path, { ...how, cookie: `${COOKIE}=${cookie}` }, '{}'),
      ]
      expect([endpoint, withCookie.status, withCookie.code]).toEqual([endpoint, without.status, without.code])
    }
  })

  it('is in one of these lists', () => {
    const all = ownEndpoints(gateway)
    for (const endpoint of WITHOUT_COOKIE) expect(all).toContain(endpoint)
  })
})

describe('every kind of route', () => {
  it.each(
    ROUTES.map(({ name }) => name),
  )('%s: a request that may change something is refused, and never reaches the upstream', async (name) => {
    const { cookie } = await admin()
    upstream.take()
    const methods = name === 'methods' ? ['POST', 'PURGE'] : ['POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND', 'LINK', 'PURGE']
    for (const method of methods)
      for (const [how, headers] of Object.entries(FOREIGN)) {
        const answer = await send(method, `/${name}`, { ...headers, cookie: `${COOKIE}=${cookie}` })
        expect([method, how, answer.status]).toEqual([method, how, 403])
      }
    expect(upstream.take()).toEqual([])
  })

  it.each(
    ROUTES.filter(({ name }) => name !== 'methods').map(({ name }) => name),
  )('%s: a request that reads is anonymous', async (name) => {
    const { cookie } = await admin()
    upstream.take()
    for (const method of ['GET', 'HEAD', 'OPTIONS'])
      for (const how of ['a form in a frame', 'a fetch', 'a subdomain', 'a sandbox']) {
        const answer = await send(method, `/${name}`, { ...FOREIGN[how], cookie: `${COOKIE}=${cookie}` })
        expect([method, how, answer.status]).toEqual([method, how, name === 'public' ? 200 : 401])
      }
    for (const { headers } of upstream.take()) expect(headers).not.toHaveProperty('x-auth-user')
  })

  it('a session that is rubbish is refused alike: the origin is judged first', async () => {
    for (const cookie of ['ps_x', 'no', ''])
      expect((await send('POST', '/private', { ...FOREIGN['a fetch'], cookie: `${COOKIE}=${cookie}` })).status).toBe(403)
  })

  it('two sessions name nobody: a cookie was tossed', async () => {
    const [one, other] = [await admin(), await admin()]
    const both = { cookie: `${COOKIE}=${one.cookie}; ${COOKIE}=${other.cookie}`, 'sec-fetch-site': 'same-origin' }
    expect((await send('GET', '/private', both)).status).toBe(401)
  })
})

describe('every kind of route that a proxy asks about', () => {
  const ask = (method: string, name: string, headers: Record<string, string>) =>
    send(method, `/auth/verify/${name}`, headers, undefined, asking)

  it('refuses a request of another site that may change something, and takes a read for anonymous', async () => {
    const user = await newUserWithRoles(asking, ['admin'])
    const cookie = `${COOKIE}=${await cookieLogin(asking, user)}`
    for (const { name } of ROUTES) {
      expect((await ask('POST', name, { cookie, 'sec-fetch-site': 'same-origin' })).headers['x-auth-user'], name).toBe(user.id)
      for (const [how, headers] of Object.entries(FOREIGN))
        for (const method of ['POST', 'PUT', 'DELETE', 'PROPFIND']) {
          const { status, headers: fields } = await ask(method, name, { ...headers, cookie })
          expect([name, method, how, status, fields['x-auth-user']]).toEqual([name, method, how, 403, undefined])
        }
      for (const how of ['a form in a frame', 'a fetch', 'a subdomain', 'a sandbox']) {
        const answer = await ask('GET', name, { ...FOREIGN[how], cookie })
        expect([name, how, answer.status, answer.headers['x-auth-user'] ?? '']).toEqual([name, how, name === 'public' ? 200 : 401, ''])
      }
    }
  })
})
