/** `{prefix}/verify` as each proxy asks: what is judged, what the answer holds, and what is refused. The proxies themselves: proxies.test.ts. */
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http, { type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, describe, expect, it } from 'vitest'
import { createPipeline, type PipelineDeps } from '../../../src/proxy/pipeline.ts'
import { BROWSER, COOKIE, cookieLogin } from '../../support/browser-session.ts'
import { newUser, newUserWithRoles, raw, statusOf } from '../../support/client.ts'
import { countryDatabase } from '../../support/country-database.ts'
import { useGateway, useKeep, useUpstream } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { newKey } from '../../support/keys.ts'
import { TOP } from '../../support/navigation.ts'
import { until } from '../../support/processes.ts'

const HOST = 'app.example.com'
const DIALECTS = ['nginx', 'traefik', 'caddy', 'haproxy', 'envoy'] as const
type Dialect = (typeof DIALECTS)[number]

const upstream = useUpstream()
const keep = useKeep()
const ROUTES = [
  { name: 'private', match: { path: '/private' }, access: 'authenticated', forwardAuth: true },
  { name: 'passing', match: { path: '/passing' }, access: 'authenticated', forwardAuth: true, headers: { forwardAuthorization: true } },
  { name: 'admin', match: { path: '/admin' }, access: { roles: ['admin'] }, forwardAuth: true },
  { name: 'reading', match: { path: '/reading', methods: ['GET'] }, access: 'public', forwardAuth: true },
  { name: 'public', match: { path: '/public' }, access: 'public', forwardAuth: true },
  { name: 'hosted', match: { path: '/hosted', host: 'other.example.com' }, access: 'public', forwardAuth: true },
  { name: 'near', match: { path: '/near' }, access: 'public', forwardAuth: true, networks: { allow: ['203.0.113.0/24'] } },
  { name: 'chat', match: { path: '/chat' }, access: 'authenticated', forwardAuth: true, websocket: true },
  { name: 'limited', match: { path: '/limited' }, access: 'public', forwardAuth: true, limits: ['one'] },
  { name: 'counted', match: { path: '/counted' }, access: 'authenticated', forwardAuth: true, limits: ['mine'] },
  {
    name: 'abroad',
    match: { path: '/abroad' },
    access: { public: true, countries: { allow: ['DE'] } },
    forwardAuth: true,
  },
  { name: 'slashes', match: { path: '/slashes' }, access: 'public', forwardAuth: true, allow: ['encodedSlash'] },
  { name: 'own-cors', match: { path: '/own-cors' }, access: 'authenticated', forwardAuth: true, cors: { mode: 'own' } },
]
const dir = mkdtempSync(join(tmpdir(), 'portcullis-verify-'))
afterAll(() => rmSync(dir, { recursive: true }))
const database = join(dir, 'countries.mmdb')
// of the proxy, and of its client
writeFileSync(database, countryDatabase({ '127.0.0.0/8': 'DE', '198.51.100.0/24': 'FR' }))

const configOf = (dialect: Dialect) => ({
  ...BROWSER,
  geo: { database },
  forwardAuth: { dialect },
  server: { publicUrl: `https://${HOST}`, trustedProxies: ['127.0.0.1/32'] },
  cors: { mode: 'upstream', origins: ['https://page.example.net'] },
  limits: {
    policies: { one: { limit: 1, windowSeconds: 3600, key: 'client' }, mine: { limit: 1, windowSeconds: 3600, key: 'principal' } },
  },
})
const gateways: Record<Dialect, Gateway> = Object.fromEntries(
  DIALECTS.map((dialect) => [
    dialect,
    useGateway(() => ({
      config: configOf(dialect),
      routes: [...ROUTES, { name: 'served', match: { path: '/served' }, access: 'authenticated', upstream: [upstream.url] }],
    })),
  ]),
) as Record<Dialect, Gateway>

interface Question {
  method?: string
  target: string
  host?: string
  headers?: Record<string, string>
}

interface Sent {
  method: string
  path: string
  headers: Record<string, string>
}

/** The request that the proxy of this dialect sends. */
function questionOf(dialect: Dialect, { method = 'GET', target, host = HOST, headers = {} }: Question): Sent {
  const common = { 'x-forwarded-for': '198.51.100.7', 'x-forwarded-proto': 'https', ...headers }
  if (dialect === 'envoy') return { method, path: `/auth/verify${target}`, headers: { host, ...common } }
  const described =
    dialect === 'nginx' || dialect === 'haproxy'
      ? { host, 'x-original-method': method, 'x-original-uri': target }
      : { host: 'gateway', 'x-forwarded-method': method, 'x-forwarded-uri': target, 'x-forwarded-host': host }
  return { method: 'GET', path: '/auth/verify', headers: { ...described, ...common } }
}

async function send({ port }: Gateway, { method, path, headers }: Sent) {
  const request = http.request({ host: '127.0.0.1', port, method, path, headers, agent: false }).end()
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  const body = await text(answer)
  return { status: answer.statusCode!, headers: answer.headers, code: body.startsWith('{') ? JSON.parse(body).code : undefined }
}
const ask = (dialect: Dialect, question: Question) => send(gateways[dialect], questionOf(dialect, question))
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

describe.each(DIALECTS)('as %s asks', (dialect) => {
  const here = () => gateways[dialect]
  /** nginx passes on 2xx, 401 and 403 alone. */
  const seen = (status: number) => (dialect === 'nginx' && status !== 401 && status < 500 ? 403 : status)

  it('a request with a token passes, with every identity header', async () => {
    const user = await newUser(here())
    const { status, headers } = await ask(dialect, {
      method: 'POST',
      target: '/private/x?y=1',
      headers: { ...bearer(user.token), cookie: `a=1; ${COOKIE}=old; __Host-portcullis=x; b=2` },
    })
    expect(status).toBe(200)
    expect(headers).toMatchObject({
      'x-auth-user': user.id,
      'x-auth-email': '',
      'x-auth-roles': 'user',
      'x-auth-assertion': '',
      authorization: '',
      'x-api-key': '',
      cookie: 'a=1; b=2',
      'cache-control': 'no-store',
    })
    expect(headers['x-auth-session']).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('a request without a credential passes a public route, with empty identity headers', async () => {
    const { status, headers } = await ask(dialect, { target: '/public', headers: { 'x-auth-user': 'admin', 'x-auth-roles': 'admin' } })
    expect(status).toBe(200)
    expect(headers).toMatchObject({ 'x-auth-user': '', 'x-auth-email': '', 'x-auth-roles': '', 'x-auth-session': '', cookie: '' })
  })

  it('an API key and a session cookie pass, too', async () => {
    const user = await newUser(here())
    const { key } = await newKey(here(), user)
    expect((await ask(dialect, { target: '/private', headers: { 'x-api-key': key } })).headers).toMatchObject({
      'x-auth-user': user.id,
      'x-api-key': '',
    })
    const cookie = `__Host-portcullis=${await cookieLogin(here(), user, { name: '__Host-portcullis' })}`
    expect((await ask(dialect, { target: '/private', headers: { cookie } })).headers['x-auth-user']).toBe(user.id)
  })

  it('the credential reaches an upstream only where its route says so', async () => {
    const { token } = await newUser(here())
    expect((await ask(dialect, { target: '/passing', headers: bearer(token) })).headers.authorization).toBe(`Bearer ${token}`)
  })

  it('the method, the path and the host of the client decide', async () => {
    const refusals: [Question, number, string][] = [
      [{ target: '/private' }, 401, 'token_missing'],
      [{ target: '/admin', headers: bearer((await newUser(here())).token) }, 403, 'forbidden'],
      [{ method: 'POST', target: '/reading' }, 405, 'method_not_allowed'],
      [{ target: '/nowhere' }, 404, 'route_not_found'],
      [{ target: '/' }, 404, 'route_not_found'],
      [{ target: '/hosted' }, 404, 'route_not_found'],
      [{ target: '/near' }, 403, 'forbidden'],
      [{ target: '/auth/login', method: 'POST' }, 404, 'route_not_found'],
      [{ target: '/auth/me' }, 404, 'route_not_found'],
      [{ target: '/health' }, 404, 'route_not_found'],
      [{ target: '/auth/verify/public' }, 404, 'route_not_found'],
    ]
    for (const [question, status, code] of refusals) {
      const answer = await ask(dialect, question)
      expect(answer.status, question.target).toBe(seen(status))
      expect(answer.code, question.target).toBe(code)
    }
    expect((await ask(dialect, { target: '/hosted', host: 'other.example.com' })).status).toBe(200)
    expect((await ask(dialect, { target: '/reading', method: 'HEAD' })).status).toBe(200)
    expect((await ask(dialect, { target: '/served', headers: bearer((await newUser(here())).token) })).status).toBe(200)
    expect(upstream.take()).toEqual([])
  })

  it('a path that can be read in two ways is refused, as for proxied requests', async () => {
    for (const target of [
      '/public/../admin',
      '/public/%2e%2e/admin',
      '/public/..%2fadmin',
      '/public//admin',
      '//public',
      '/public/a%2Fb',
      '/public;x',
      '/public/%00',
      '/public/%5c',
      '/public/%25%32%65',
      '/public/%c0%ae',
      '/public/%',
    ])
      expect([target, await ask(dialect, { target }).then(({ status, code }) => [status, code])]).toEqual([
        target,
        [seen(400), 'target_ambiguous'],
      ])
    expect((await ask(dialect, { target: '/slashes/a%2Fb' })).status).toBe(200)
  })

  it('an upgrade is judged by its origin, whether the proxy passes on Upgrade or not', async () => {
    const user = await newUser(here())
    const cookie = `__Host-portcullis=${await cookieLogin(here(), user, { name: '__Host-portcullis' })}`
    const handshake = { 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-version': '13' }
    const chat = (headers: Record<string, string>) => ask(dialect, { target: '/chat', headers: { ...handshake, ...headers } })
    expect((await chat({ cookie, origin: `https://${HOST}` })).headers['x-auth-user']).toBe(user.id)
    expect(await chat({ cookie, origin: 'https://evil.example' })).toMatchObject({ status: 403, code: 'origin_untrusted' })
    expect(await chat({ cookie })).toMatchObject({ status: 403, code: 'origin_untrusted' })
    // the bearer of a page stays between the page and us
    const offered = await chat({ 'sec-websocket-protocol': `chat, portcullis.bearer.${user.token}` })
    expect(offered).toMatchObject({ status: 200, headers: { 'sec-websocket-protocol': 'chat' } })
    expect(await ask(dialect, { target: '/public', headers: handshake })).toMatchObject({ status: 403, code: 'forbidden' })
  })

  it('the session cookie counts by the method and the origin of the client', async () => {
    const user = await newUser(here())
    const cookie = `__Host-portcullis=${await cookieLogin(here(), user, { name: '__Host-portcullis' })}`
    const post = (headers: Record<string, string>) => ask(dialect, { method: 'POST', target: '/private', headers: { cookie, ...headers } })
    expect((await post({ origin: `https://${HOST}` })).status).toBe(200)
    expect(await post({ origin: 'https://evil.example' })).toMatchObject({ status: 403, code: 'origin_untrusted' })
    expect(await post({})).toMatchObject({ status: 403, code: 'origin_untrusted' })
  })

  it('limits count the client of the proxy, and the caller', async () => {
    const limited = (address: string) => ask(dialect, { target: '/limited', headers: { 'x-forwarded-for': address } })
    expect((await limited('198.51.100.1')).status).toBe(200)
    expect(await limited('198.51.100.1')).toMatchObject({ status: seen(429), code: 'rate_limited' })
    expect((await limited('198.51.100.2')).status).toBe(200)
    const headers = bearer((await newUser(here())).token)
    expect((await ask(dialect, { target: '/counted', headers })).status).toBe(200)
    expect(await ask(dialect, { target: '/counted', headers })).toMatchObject({ status: seen(429), code: 'rate_limited' })
  })

  it('a person is sent to the login, and comes back to the page', async () => {
    const { status, headers } = await ask(dialect, { target: '/private/page?a=1', headers: TOP })
    expect([status, headers.location]).toEqual([
      dialect === 'nginx' ? 401 : 303,
      `https://${HOST}/auth/ui/login?return_to=${encodeURIComponent('/private/page?a=1')}`,
    ])
  })

  it('a preflight passes to the upstream without a credential; a preflight that the gateway answers is no yes', async () => {
    const preflight = (target: string) =>
      ask(dialect, {
        method: 'OPTIONS',
        target,
        headers: { origin: 'https://page.example.net', 'access-control-request-method': 'PUT', cookie: 'a=1', authorization: 'Basic eA==' },
      })
    expect(await preflight('/private')).toMatchObject({ status: 200, headers: { 'x-auth-user': '', cookie: '', authorization: '' } })
    const answered = await preflight('/own-cors')
    // HAProxy and Envoy take only 200 as a yes, and hand every other answer to the client
    if (dialect === 'haproxy' || dialect === 'envoy')
      expect([answered.status, answered.headers['access-control-allow-origin']]).toEqual([204, 'https://page.example.net'])
    else expect(answered).toMatchObject({ status: 403, code: 'forbidden' })
  })

  it('a question that does not describe the request once is refused, never judged by its own method and path', async () => {
    const question = questionOf(dialect, { target: '/public' })
    const described = Object.keys(question.headers).filter((name) => /^x-(original|forwarded)-(method|uri|host)$/.test(name))
    if (dialect === 'traefik' || dialect === 'caddy') described.push('x-forwarded-proto')
    const head = (headers: string[]) =>
      `${question.method} ${question.path} HTTP/1.1\r\n${headers.map((line) => `${line}\r\n`).join('')}connection: close\r\n\r\n`
    const lines = Object.entries(question.headers).map(([name, value]) => `${name}: ${value}`)
    expect(statusOf(await raw(here().port, head(lines)))).toBe(200)
    for (const name of described) {
      const missing = await raw(here().port, head(lines.filter((line) => !line.startsWith(`${name}:`))))
      const repeated = await raw(here().port, head([...lines, `${name}: ${question.headers[name]}`]))
      const empty = await raw(here().port, head(lines.map((line) => (line.startsWith(`${name}:`) ? `${name}: ` : line))))
      for (const answer of [missing, repeated, empty]) expect(answer, name).toMatch(/^HTTP\/1\.1 403 .*"code":"proxy_headers_invalid"/s)
    }
    const malformed =
      dialect === 'envoy'
        ? [
            { ...question, path: '/auth/verify' },
            { ...question, path: '/auth/verify?/public' },
          ]
        : described
            .filter((name) => !name.endsWith('-uri'))
            .map((name) => ({ ...question, headers: { ...question.headers, [name]: 'a b' } }))
    for (const bad of malformed) expect(await send(here(), bad)).toMatchObject({ status: 403, code: 'proxy_headers_invalid' })
    // what another dialect reads says nothing here
    for (const other of DIALECTS.filter((name) => name !== 'envoy')) {
      const foreign = questionOf(other, { target: '/public' })
      if (foreign.headers['x-original-uri'] === question.headers['x-original-uri'] && dialect !== 'envoy') continue
      expect((await send(here(), foreign)).code).toBe('proxy_headers_invalid')
    }
  })

  it('a peer that is no trusted proxy is refused', async () => {
    const { method, path, headers } = questionOf(dialect, { target: '/public' })
    const request = http
      .request({ host: '127.0.0.1', port: here().port, method, path, headers, agent: false, localAddress: '127.0.0.9' })
      .end()
    const [answer] = (await once(request, 'response')) as [IncomingMessage]
    expect([answer.statusCode, JSON.parse(await text(answer)).code]).toEqual([403, 'proxy_headers_invalid'])
  })

  it('the body of a question is not read, and never as a request', async () => {
    const { method, path, headers } = questionOf(dialect, { target: '/public', method: 'POST' })
    const body = `GET /auth/verify/public HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`
    const answer = await raw(
      here().port,
      `${method} ${path} HTTP/1.1\r\n${Object.entries(headers)
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('')}content-length: ${body.length}\r\n\r\n${body}`,
    )
    expect(answer.match(/^HTTP\/1\.1 \d+/gm)).toEqual(['HTTP/1.1 200'])
    expect(answer).toMatch(/^connection: close/im)
  })

  it('the log line and the metrics say who was judged, and that a proxy asked', async () => {
    const { headers } = await ask(dialect, { method: 'PUT', target: '/private' })
    const line = await until(
      () =>
        here()
          .log()
          .find((one) => one.request_id === headers['x-request-id']),
      'the log line',
    )
    expect(line).toMatchObject({ kind: 'verify', method: 'PUT', route: 'private', outcome: 'token_missing', ip: '198.51.100.7' })
    expect(await metric(here(), 'portcullis_forward_auth_total', { route: 'private', decision: 'refused' })).toBeGreaterThan(0)
    expect(await metric(here(), 'portcullis_forward_auth_total', { route: 'public', decision: 'allowed' })).toBeGreaterThan(0)
  })

  it('a route without an upstream answers no direct request', async () => {
    const admin = await newUserWithRoles(here(), ['admin'])
    const direct = (path: string, headers: Record<string, string> = {}) =>
      send(here(), { method: 'GET', path, headers: { host: HOST, 'x-forwarded-proto': 'https', ...headers } })
    expect(await direct('/public')).toMatchObject({ status: 404, code: 'route_not_found' })
    expect(await direct('/admin', bearer(admin.token))).toMatchObject({ status: 404, code: 'route_not_found' })
    const handshake = {
      upgrade: 'websocket',
      connection: 'upgrade',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
      'sec-websocket-version': '13',
    }
    expect(await direct('/chat', { ...bearer(admin.token), ...handshake })).toMatchObject({ status: 404, code: 'route_not_found' })
  })
})

describe('the endpoint', () => {
  const plain = useGateway({ config: { server: { trustedProxies: ['127.0.0.1/32'] } } })

  it('does not exist without forwardAuth', async () => {
    expect(await send(plain, questionOf('nginx', { target: '/health' }))).toMatchObject({ status: 404, code: 'route_not_found' })
  })

  it('takes no CONNECT and no OPTIONS *', async () => {
    for (const dialect of DIALECTS) {
      const connect = await raw(gateways[dialect].port, `CONNECT /auth/verify HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`)
      expect(statusOf(connect)).not.toBe(200)
      if (dialect === 'envoy') continue
      const { status } = await ask(dialect, { method: 'OPTIONS', target: '*' })
      expect([403, 404]).toContain(status)
      for (const method of ['CONNECT', 'TRACE', 'get', 'NOSUCH'])
        expect((await ask(dialect, { method, target: '/public' })).status).toBe(dialect === 'nginx' ? 403 : 405)
    }
  })
})

describe('every stage of the pipeline', () => {
  const strict = gateways.haproxy
  const overHttps = useGateway(() => ({
    config: { ...configOf('haproxy'), server: { ...configOf('haproxy').server, httpsOnly: true } },
    routes: ROUTES,
  }))
  const judge = async (question: Question, at = strict) => {
    const { status, code, headers } = await send(at, questionOf('haproxy', question))
    return { status, ...(code ? { code } : {}), ...(status === 200 ? { user: headers['x-auth-user'] } : {}) }
  }
  const preflight = { origin: 'https://page.example.net', 'access-control-request-method': 'PUT' }
  const asUser = async () => bearer((await newUser(strict)).token)
  const JUDGED: Record<string, () => Promise<[Question, object]>> = {
    canonical: async () => [{ target: '/public/../admin' }, { status: 400, code: 'target_ambiguous' }],
    serverOptions: async () => [
      { method: 'OPTIONS', target: '*' },
      { status: 404, code: 'route_not_found' },
    ],
    httpsOnly: async () => [{ target: '/public', headers: { 'x-forwarded-proto': 'http' } }, { status: 308 }],
    preflight: async () => [{ method: 'OPTIONS', target: '/own-cors', headers: preflight }, { status: 204 }],
    rootPage: async () => [{ target: '/' }, { status: 404, code: 'route_not_found' }],
    route: async () => [{ target: '/nowhere' }, { status: 404, code: 'route_not_found' }],
    network: async () => [{ target: '/near' }, { status: 403, code: 'forbidden' }],
    country: async () => [
      { target: '/abroad', headers: { 'x-forwarded-for': '198.51.100.7' } },
      { status: 403, code: 'country_refused' },
    ],
    serviceWorker: async () => [
      { target: '/public', headers: { 'service-worker': 'script' } },
      { status: 403, code: 'forbidden' },
    ],
    upgrade: async () => [
      { target: '/public', headers: { 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' } },
      { status: 403, code: 'forbidden' },
    ],
    limitClient: async () => {
      const question = { target: '/limited', headers: { 'x-forwarded-for': '198.51.100.99' } }
      await judge(question)
      return [question, { status: 429, code: 'rate_limited' }]
    },
    passPreflight: async () => [
      { method: 'OPTIONS', target: '/private', headers: preflight },
      { status: 200, user: '' },
    ],
    authenticate: async () => [
      { target: '/public', headers: bearer('nonsense') },
      { status: 401, code: 'token_invalid' },
    ],
    authorize: async () => [
      { target: '/admin', headers: await asUser() },
      { status: 403, code: 'forbidden' },
    ],
    limitPrincipal: async () => {
      const headers = await asUser()
      await judge({ target: '/counted', headers })
      return [
        { target: '/counted', headers },
        { status: 429, code: 'rate_limited' },
      ]
    },
    forward: async () => [{ target: '/public' }, { status: 200, user: '' }],
  }

  it('has a row here: what is judged for a proxied request is judged for a question, too', () => {
    expect(Object.keys(JUDGED)).toEqual(createPipeline({} as PipelineDeps).stages)
  })

  it.each(Object.keys(JUDGED))('%s', async (stage) => {
    const [question, answer] = await JUDGED[stage]!()
    expect(await judge(question, stage === 'httpsOnly' ? overHttps : strict)).toEqual(answer)
  })
})

it('a reload changes the dialect, and ends the endpoint', async () => {
  const changing = await keep(startGateway({ config: configOf('nginx'), routes: ROUTES }))
  const asked = (dialect: Dialect) => send(changing, questionOf(dialect, { target: '/public' }))
  expect([(await asked('nginx')).status, (await asked('envoy')).status]).toEqual([200, 403])
  await changing.reload({ config: configOf('envoy'), routes: ROUTES })
  expect([(await asked('nginx')).status, (await asked('envoy')).status]).toEqual([403, 200])
  const served = [{ name: 'served', match: { path: '/served' }, access: 'public', upstream: [upstream.url] }]
  await changing.reload({ config: { ...configOf('envoy'), forwardAuth: undefined }, routes: served })
  expect([(await asked('nginx')).status, (await asked('envoy')).status]).toEqual([404, 404])
})
