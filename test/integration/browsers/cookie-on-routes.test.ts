/** The session cookie on routes: whom it names, what the upstream sees of it, and what caches may keep of the answer. */
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { BROWSER, COOKIE, cookieLogin, SAME_ORIGIN } from '../../support/browser-session.ts'
import { call, newUser, raw, statusOf } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'

/** The fields of the next answers. */
let answered: Record<string, string | string[]> = {}
let status = 200
const upstream = useUpstream((req, res) => {
  if (!req.url?.startsWith('/said')) return false
  res.writeHead(status, { 'content-type': 'text/plain', ...answered }).end(status === 304 ? undefined : 'x'.repeat(2000))
  return true
})
const gateway = useGateway(() => ({
  config: { ...BROWSER, server: { publicUrl: 'http://localhost' } },
  routes: [
    { name: 'private', match: { path: '/private' }, access: 'authenticated' },
    { name: 'admin', match: { path: '/admin' }, access: { roles: ['admin'] } },
    { name: 'public', match: { path: '/public' }, access: 'public' },
    { name: 'strict', match: { path: '/strict' }, access: 'authenticated', browser: { safeMethods: 'strict' } },
    { name: 'said', match: { path: '/said' }, access: 'public', headers: { response: { set: { 'X-Accel-Expires': '60' } } } },
    { name: 'small', match: { path: '/small' }, rewrite: { prefix: '/said' }, access: 'public', compress: true },
    { name: 'workers', match: { path: '/workers' }, access: 'public', serviceWorker: true, rewrite: { prefix: '/said' } },
    { name: 'root', match: { path: '/' }, access: 'public', serviceWorker: true },
    { name: 'sticky', match: { path: '/sticky' }, access: 'public', balance: 'sticky', upstream: [upstream.url, upstream.url] },
  ].map((route) => ({ upstream: [upstream.url], ...route })),
}))

const login = async () => {
  const user = await newUser(gateway)
  return { ...user, cookie: `${COOKIE}=${await cookieLogin(gateway, user)}` }
}

const CROSS_SITE = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }
const NAVIGATION = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }

/** As a browser sends it: fetch would replace `sec-fetch-mode`. */
async function get(path: string, cookie: string, headers: Record<string, string> = SAME_ORIGIN, method = 'GET') {
  const request = http.request(gateway.url + path, { method, agent: false, headers: { cookie, ...headers } }).end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const said = await text(response)
  return {
    status: response.statusCode!,
    headers: new Headers(
      Object.entries(response.headers).flatMap(([name, value]) => [value].flat().map((v) => [name, v!] as [string, string])),
    ),
    body: said.startsWith('{') ? JSON.parse(said) : said,
  }
}

describe('a request with the cookie', () => {
  it('is of its user', async () => {
    const { id, cookie } = await login()
    const answer = await get('/private', cookie)
    expect(answer.status).toBe(200)
    expect(answer.body.headers).toMatchObject({ 'x-auth-user': id, 'x-auth-roles': 'user' })
    expect(answer.body.headers['x-auth-session']).toMatch(/^[0-9a-f-]{36}$/)
    expect((await get('/admin', cookie)).body.code).toBe('forbidden')
    expect((await get('/public', cookie)).body.headers['x-auth-user']).toBe(id)
  })

  it('is anonymous where another site began it, unless it is a navigation', async () => {
    const { id, cookie } = await login()
    expect((await get('/private', cookie, CROSS_SITE)).body.code).toBe('token_missing')
    expect((await get('/public', cookie, CROSS_SITE)).body.headers).not.toHaveProperty('x-auth-user')
    expect((await get('/private', cookie, NAVIGATION)).body.headers['x-auth-user']).toBe(id)
    expect((await get('/private', cookie, {})).body.headers['x-auth-user']).toBe(id)
  })

  it('on a strict route needs a page of the same origin', async () => {
    const { id, cookie } = await login()
    expect((await get('/strict', cookie)).body.headers['x-auth-user']).toBe(id)
    expect((await get('/strict', cookie, { ...NAVIGATION, 'sec-fetch-site': 'none' })).status).toBe(200)
    for (const headers of [NAVIGATION, CROSS_SITE, {}]) expect((await get('/strict', cookie, headers)).status).not.toBe(200)
  })

  it('that may change something needs a page of the same origin, also on a public route', async () => {
    const { id, cookie } = await login()
    for (const path of ['/private', '/public', '/strict'])
      for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND']) {
        expect((await get(path, cookie, SAME_ORIGIN, method)).body.headers['x-auth-user']).toBe(id)
        for (const headers of [{}, CROSS_SITE, NAVIGATION, { origin: 'null' }, { origin: 'https://evil.example' }]) {
          const { status, body } = await get(path, cookie, headers as Record<string, string>, method)
          // a navigation gets a page
          expect([path, method, status]).toEqual([path, method, 403])
          if (headers !== NAVIGATION) expect(body.code).toBe('origin_untrusted')
        }
      }
    expect(upstream.take().filter(({ headers }) => headers.origin === 'https://evil.example')).toEqual([])
  })

  it('without the cookie of this gateway is judged as ever', async () => {
    const evil = { origin: 'https://evil.example', ...CROSS_SITE }
    expect((await call(gateway, '/public', { method: 'POST', headers: evil })).status).toBe(200)
    expect((await get('/public', 'other=1', evil, 'POST')).status).toBe(200)
    expect((await get('/private', 'other=1')).body.code).toBe('token_missing')
  })

  it('and a credential in a header: the header counts', async () => {
    const [one, other] = [await login(), await login()]
    const both = { authorization: `Bearer ${other.token}`, origin: 'https://evil.example' }
    expect((await get('/private', one.cookie, both, 'POST')).body.headers['x-auth-user']).toBe(other.id)
    expect((await get('/private', one.cookie, { authorization: 'Bearer no' })).status).toBe(401)
    // another scheme belongs to the upstream: it was sent on purpose, so that the cookie is not looked at
    expect((await get('/public', one.cookie, { authorization: 'Basic eDp5' })).body.headers).not.toHaveProperty('x-auth-user')
  })
})

describe('the upstream', () => {
  const SECRET = 'ps_'
  const seenCookies = () =>
    upstream.take().flatMap(({ rawHeaders }) => rawHeaders.filter(([name]) => name.toLowerCase() === 'cookie').map(([, value]) => value))

  it.each([
    ['alone', (ours: string) => ours, []],
    ['first', (ours: string) => `${ours}; a=1`, ['a=1']],
    ['last', (ours: string) => `a=1; ${ours}`, ['a=1']],
    ['between others', (ours: string) => `a=1; ${ours}; b="2 3"`, ['a=1; b="2 3"']],
    ['without blanks', (ours: string) => `a=1;${ours};b=2`, ['a=1;b=2']],
    ['with tabs', (ours: string) => `a=1;\t${ours}\t;b=2`, ['a=1;b=2']],
    ['with a blank before its sign', (ours: string) => `a=1; ${ours.replace('=', ' =')}`, ['a=1']],
    ['twice', (ours: string) => `${ours}; a=1; ${ours}`, ['a=1']],
    ['with rubbish beside it', (ours: string) => `;;a;=b; ${ours};c=%3B;`, [';;a;=b;c=%3B;']],
    [
      'beside similar names',
      (ours: string) => `x${ours.replace('ps_', '')}; portcullis=1; portcullis-dev2=2; ${ours}`,
      [expect.stringContaining('portcullis=1; portcullis-dev2=2')],
    ],
    ['in another case', (ours: string) => `Portcullis-Dev=3; ${ours}`, ['Portcullis-Dev=3']],
  ])('never sees the cookie, and all others byte for byte: %s', async (_, write, left) => {
    const { cookie } = await login()
    upstream.take()
    await get('/public', write(cookie))
    expect(seenCookies()).toEqual(left)
  })

  it('never sees the names of the other schemes and of the console', async () => {
    upstream.take()
    for (const name of [
      '__Host-portcullis',
      '__Secure-portcullis',
      'portcullis-dev',
      '__Host-portcullis-console',
      'portcullis-console-dev',
    ])
      await get('/public', `a=1; ${name}=${SECRET}x`)
    expect(seenCookies()).toEqual(Array.from({ length: 5 }, () => 'a=1'))
  })

  it('never sees it in a repeated field, nor in a preflight', async () => {
    const { cookie } = await login()
    upstream.take()
    const text = await raw(
      gateway.port,
      `GET /public HTTP/1.1\r\nHost: localhost\r\nCookie: a=1\r\ncookie: ${cookie}\r\nCOOKIE: b=2; ${cookie}\r\nConnection: close\r\n\r\n`,
    )
    expect(statusOf(text)).toBe(200)
    expect(seenCookies()).toEqual(['a=1', 'b=2'])
    await call(gateway, '/public', {
      method: 'OPTIONS',
      headers: { cookie: `${cookie}; a=1`, origin: 'https://x.example', 'access-control-request-method': 'PUT' },
    })
    expect(seenCookies()).toEqual([])
  })

  it('never sees it beside a cookie of sticky sessions', async () => {
    const { cookie } = await login()
    const first = await get('/sticky', cookie)
    const [sticky] = first.headers.getSetCookie()[0]!.split(';')
    upstream.take()
    await get('/sticky', `a=1; ${cookie}; ${sticky}; b=2`)
    expect(seenCookies()).toEqual(['a=1; b=2'])
  })

  it.each([
    `${COOKIE}=ps_evil; Path=/`,
    `${COOKIE} =ps_evil`,
    ` ${COOKIE}=ps_evil`,
    `=${COOKIE}=ps_evil`,
    ` = ${COOKIE}=ps_evil; Path=/private`,
    '__Host-portcullis=x; Secure; Path=/',
    '__Secure-portcullis=x; Domain=example.com; Secure',
    '__Host-portcullis-console=x; Secure; Path=/',
    'portcullis-console-dev=x',
    'portcullis-mfa=x; Path=/auth/ui',
    'portcullis-enrolment=x',
    '__Secure-portcullis-backup-codes=x',
    'portcullis-api-key=x',
    '__Secure-portcullis-device=x; Path=/auth/ui; Secure',
  ])('cannot set it: %j', async (cookie) => {
    answered = { 'set-cookie': ['a=1', cookie, 'b=2; Path=/said'] }
    const { headers } = await call(gateway, '/said')
    expect(headers.getSetCookie()).toEqual(['a=1', 'b=2; Path=/said'])
  })

  it('sets all other cookies', async () => {
    const cookies = ['portcullis=1; Path=/', 'xportcullis-dev=2', 'portcullis-dev2=3; HttpOnly', 'a=portcullis-dev=4', 'PORTCULLIS-DEV=5']
    answered = { 'set-cookie': cookies }
    expect((await call(gateway, '/said')).headers.getSetCookie()).toEqual(cookies)
  })
})

describe('the answer to a session', () => {
  const fieldsOf = async (
    said: Record<string, string | string[]>,
    { method = 'GET', code = 200, as = '', headers = {} as Record<string, string> } = {},
  ) => {
    answered = said
    status = code
    const answer = await call(gateway, '/said', { method, headers: { ...SAME_ORIGIN, ...(as ? { cookie: as } : {}), ...headers } })
    status = 200
    expect(answer.status).toBe(code)
    return { cache: answer.headers.get('cache-control'), vary: answer.headers.get('vary'), headers: answer.headers }
  }

  it.each([
    ['nothing', {}, 'private'],
    ['public', { 'cache-control': 'public, max-age=60' }, 'private, max-age=60'],
    ['s-maxage', { 'cache-control': 's-maxage=600,max-age=5' }, 'private, max-age=5'],
    ['any case and blanks', { 'cache-control': ' PUBLIC ,S-MaxAge = 9 , no-cache' }, 'private, no-cache'],
    ['private for one field', { 'cache-control': 'private="set-cookie, x-a", max-age=1' }, 'private, max-age=1'],
    ['a quoted list', { 'cache-control': 'no-cache="x-a, public", public' }, 'private, no-cache="x-a, public"'],
    ['an open quote', { 'cache-control': 'public, x="y, s-maxage=1' }, 'private, x="y, s-maxage=1'],
    ['no-store', { 'cache-control': 'no-store' }, 'private, no-store'],
    ['private already', { 'cache-control': 'private, max-age=1' }, 'private, max-age=1'],
    ['two fields', { 'cache-control': ['public', 'max-age=7, s-maxage=8'] }, 'private, max-age=7'],
  ])('is private: %s', async (_, said, wanted) => {
    const { cookie } = await login()
    expect(await fieldsOf(said as Record<string, string>, { as: cookie })).toMatchObject({ cache: wanted, vary: 'Cookie' })
  })

  it('varies by cookie', async () => {
    const { cookie } = await login()
    expect((await fieldsOf({ vary: 'Accept' }, { as: cookie })).vary).toBe('Accept, Cookie')
    expect((await fieldsOf({ vary: 'Accept, COOKIE' }, { as: cookie })).vary).toBe('Accept, COOKIE')
    expect((await fieldsOf({ vary: '*' }, { as: cookie })).vary).toBe('*')
  })

  it('has no field that lets a cache of one kind keep it', async () => {
    const { cookie } = await login()
    const said = { 'cdn-cache-control': 'max-age=9', 'Cloudflare-CDN-Cache-Control': 'max-age=9', 'surrogate-control': 'max-age=9' }
    const { headers } = await fieldsOf(said, { as: cookie })
    for (const name of [...Object.keys(said), 'x-accel-expires']) expect([name, headers.get(name)]).toEqual([name, null])
    const anonymous = await fieldsOf(said)
    for (const name of [...Object.keys(said), 'x-accel-expires']) expect([name, anonymous.headers.get(name)]).not.toEqual([name, null])
  })

  it.each([
    ['HEAD', { method: 'HEAD' }],
    ['304', { code: 304, headers: { 'if-none-match': '"a"' } }],
    ['404 of the upstream', { code: 404 }],
    ['500 of the upstream', { code: 500 }],
    ['a redirect', { code: 302 }],
  ])('is private in every form: %s', async (_, how) => {
    const { cookie } = await login()
    const said = { 'cache-control': 'public, s-maxage=5', location: '/elsewhere' }
    expect(await fieldsOf(said, { as: cookie, ...how })).toMatchObject({ cache: 'private', vary: 'Cookie' })
  })

  it('by token, and the answer to nobody, are the upstream’s own', async () => {
    const user = await login()
    const said = { 'cache-control': 'public, s-maxage=5' }
    expect(await fieldsOf(said)).toMatchObject({ cache: 'public, s-maxage=5', vary: null })
    expect(await fieldsOf(said, { as: user.cookie, headers: { authorization: `Bearer ${user.token}` } })).toMatchObject({
      cache: 'public, s-maxage=5',
    })
    expect(await fieldsOf(said, { as: user.cookie, headers: CROSS_SITE })).toMatchObject({ cache: 'public, s-maxage=5' })
  })

  it('of the gateway itself is never stored', async () => {
    const { cookie } = await login()
    expect((await get('/admin', cookie)).headers.get('cache-control')).toBe('no-store')
    expect((await get('/auth/me', cookie)).headers.get('cache-control')).toBe('no-store')
  })

  it('is not compressed: its length could reveal a secret', async () => {
    answered = {}
    const { cookie } = await login()
    const accept = { 'accept-encoding': 'br' }
    expect((await get('/small', cookie, { ...SAME_ORIGIN, ...accept })).headers.get('content-encoding')).toBeNull()
    const open = await fetch(`${gateway.url}/small`, { headers: accept })
    expect(open.headers.get('content-encoding')).toBe('br')
  })
})

describe('service workers', () => {
  const SCRIPT = { 'service-worker': 'script', 'sec-fetch-dest': 'serviceworker', 'sec-fetch-site': 'same-origin' }
  const ask = (path: string, headers: Record<string, string> = SCRIPT) => call(gateway, path, { headers })

  it('need the permission of the route', async () => {
    expect((await ask('/public/sw.js')).body).toMatchObject({ status: 403, code: 'forbidden' })
    expect((await ask('/public/sw.js', { 'service-worker': 'Script' })).status).toBe(403)
    expect((await ask('/workers/sw.js')).status).toBe(200)
    expect((await ask('/public/sw.js', {})).status).toBe(200)
  })

  it('never control the pages of the gateway', async () => {
    for (const path of ['/sw.js', '/index', '/workers']) expect([path, (await ask(path)).status]).toEqual([path, 403])
    for (const path of ['/workers/sw.js', '/app/sw.js', '/authentic/sw.js']) expect([path, (await ask(path)).status]).toEqual([path, 200])
  })

  it('are never endpoints of the gateway', async () => {
    for (const path of ['/auth/me', '/auth/ui/login', '/health']) expect([path, (await ask(path)).status]).toEqual([path, 403])
  })

  it('get no wider scope from the upstream', async () => {
    answered = { 'service-worker-allowed': '/', 'x-other': '1' }
    const { headers } = await ask('/workers/sw.js')
    expect([headers.get('service-worker-allowed'), headers.get('x-other')]).toEqual([null, '1'])
    answered = {}
  })
})
