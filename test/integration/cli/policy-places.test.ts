/** Explanations of routes and callers that other parts decide about: tokens of other issuers, countries, and routes that another proxy serves. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { runCli } from '../../support/cli.ts'
import { call, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { type Console, consoleOf } from '../../support/console.ts'
import { countryDatabase } from '../../support/country-database.ts'
import { type ExternalIssuer, newSigningKey, startExternalIssuer } from '../../support/external-issuer.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { everyRow, rows } from '../../support/rows.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const GERMAN = '192.0.2.7'
const BRITISH = '81.2.69.7'
const UNKNOWN = '198.51.100.7'
const HOST = 'gateway.test'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-places-'))
const database = join(dir, 'countries.mmdb')
writeFileSync(database, countryDatabase({ '192.0.2.0/24': 'DE', '81.2.69.0/24': 'GB' }))

let upstream: Upstream
let issuer: ExternalIssuer
let gateway: Gateway
let admin: TestUser
let site: Console

beforeAll(async () => {
  upstream = await startUpstream()
  issuer = await startExternalIssuer()
  const to = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], ...part })
  gateway = await startGateway({
    config: {
      auth: { browser: { enabled: true } },
      server: { trustedProxies: ['127.0.0.1/32'] },
      geo: { database },
      issuers: [issuer.settings()],
      forwardAuth: { dialect: 'nginx' },
      limits: { policies: { mine: { limit: 1000, windowSeconds: 60, key: 'principal' } }, exempt: [] },
    },
    routes: [
      to('orders', { access: { scopes: ['orders:read'] } }),
      to('mfa', { access: { mfa: true } }),
      to('german', { access: { public: true, countries: { allow: ['DE'] } } }),
      to('near', { access: { public: true, countries: { deny: ['GB'] } }, networks: { allow: ['192.0.2.0/24'] } }),
      to('members', { access: { countries: { deny: ['GB'] } } }),
      {
        name: 'app',
        match: { path: '/app' },
        access: 'authenticated',
        forwardAuth: true,
        limits: ['mine'],
        // these have no effect, as `check` warns
        rewrite: { prefix: '/other' },
        headers: { request: { set: { 'X-Tenant': 'acme' }, remove: ['x-debug'] }, response: { set: { 'X-From': 'us' } } },
      },
      { name: 'chat', match: { path: '/app/chat' }, access: 'public', forwardAuth: true, websocket: true },
    ],
  })
  admin = await newUserWithRoles(gateway, ['admin'])
  site = await consoleOf(gateway, admin)
  // else the mail of the registration is sent between two looks at the rows
  await until(async () => (await rows(gateway, 'SELECT 1 FROM outbox WHERE payload_sealed IS NOT NULL')).length === 0, 'the mail')
})
afterAll(async () => {
  await gateway?.close()
  await issuer?.close()
  await upstream?.close()
  rmSync(dir, { recursive: true, force: true })
})

const explain = (args: string[], { input = '', file = gateway.file } = {}) =>
  runCli(['policy', 'explain', 'GET', ...args, '--config', file], { PORTCULLIS_SECRET_KEY: gateway.secretKey }, input)
const viewOf = async (args: string[], input = '') => {
  const { code, stdout, stderr } = await explain([...args, '--json'], { input })
  expect(code, stderr).toBe(0)
  return JSON.parse(stdout)
}
const byToken = (path: string, token: string) => viewOf([path, '--token', '-'], token)
const byEndpoint = (query: Record<string, string>) =>
  call(gateway, `/auth/admin/explain?${new URLSearchParams(query)}`, { token: admin.token })
const byConsole = async (query: Record<string, string>) => (await site.get(`/console/why?${new URLSearchParams(query)}`)).text

/** A question as nginx asks it. */
const asked = (target: string, headers: Record<string, string> = {}) =>
  call(gateway, '/auth/verify', {
    headers: { 'x-original-method': 'GET', 'x-original-uri': target, host: HOST, 'x-forwarded-for': GERMAN, ...headers },
  })

describe('the token of another issuer', () => {
  it('is judged as requests with it are judged', async () => {
    const token = await issuer.token({ groups: ['staff', 'admin'], scope: 'orders.read other' })
    await vi.waitUntil(async () => (await call(gateway, '/orders', { token })).status === 200)
    const { headers } = (await call(gateway, '/orders', { token })).body
    const view = await byToken('/orders', `Bearer ${token}`)
    expect(view).toMatchObject({
      decision: 'allow',
      route: 'orders',
      principal: { kind: 'external', id: 'ext:work:ann', roles: ['user'], scopes: ['orders:read'], second_factor: false },
    })
    for (const name of ['x-auth-user', 'x-auth-roles']) expect(view.effects.request_headers).toContainEqual({ name, value: headers[name] })
    const { stdout } = await explain(['/orders', '--token', '-'], { input: token })
    expect(stdout).toMatch(/caller +subject of another issuer ext:work:ann with roles user/)
    // no second factor, and no scope that the map does not name
    expect(await byToken('/mfa', token)).toMatchObject({ decision: 'refuse', code: 'mfa_required' })
    const nobody = await byToken('/orders', await issuer.token())
    expect(nobody).toMatchObject({ decision: 'refuse', code: 'forbidden' })
    expect(nobody.stages).toContainEqual({ stage: 'authenticate', result: 'passed', text: 'The caller is known, and has no role.' })
  })

  it.each<[what: string, token: () => Promise<string>, code: string]>([
    ['of another audience', () => issuer.token({ aud: 'bills' }), 'token_invalid'],
    ['that has expired', () => issuer.token({ iat: 1_700_000_000, exp: 1_700_000_300 }), 'token_expired'],
    ['with the key of somebody else', () => issuer.token({}, {}, newSigningKey()), 'token_invalid'],
  ])('%s is refused: the answer is the explanation', async (_, token, code) => {
    expect(await byToken('/orders', await token())).toMatchObject({ decision: 'refuse', status: 401, code, principal: null })
  })

  it('is refused when its subject or the token itself is blocked, and nothing is written', async () => {
    const [bob, carol, other] = await Promise.all([
      issuer.token({ sub: 'bob', scope: 'orders.read' }),
      issuer.token({ sub: 'carol', scope: 'orders.read', jti: 'stolen' }),
      issuer.token({ sub: 'carol', scope: 'orders.read' }),
    ])
    for (const body of [
      { issuer: 'work', sub: 'bob' },
      { issuer: 'work', jti: 'stolen' },
    ])
      expect((await call(gateway, '/auth/admin/external/block', { body, token: admin.token })).status).toBe(204)
    // its own jobs write nothing while no request comes
    const stored = await everyRow(gateway.databaseUrl)
    expect(stored).toContain('stolen')
    for (const token of [bob!, carol!]) expect(await byToken('/orders', token)).toMatchObject({ decision: 'refuse', code: 'token_revoked' })
    expect(await byToken('/orders', other!)).toMatchObject({ decision: 'allow' })
    expect(await everyRow(gateway.databaseUrl)).toBe(stored)
  })

  it('cannot be judged while its issuer is away: what is away, exit code 1, and nothing is written', async () => {
    const gone = await startExternalIssuer()
    const config = JSON.parse(JSON.stringify({ database: { url: gateway.databaseUrl }, issuers: [gone.settings()] }))
    const file = join(dir, 'away.json')
    const route = { name: 'a', match: { path: '/orders' }, upstream: [upstream.url], access: 'authenticated' }
    writeFileSync(file, JSON.stringify({ ...config, routes: [route] }))
    const token = await gone.token()
    const stored = await everyRow(gateway.databaseUrl)
    const ask = () => explain(['/orders', '--token', '-'], { input: token, file })
    gone.everything = (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html></html>')
    const html = await ask()
    await gone.close()
    const away = await ask()
    for (const [ran, cause] of [
      [html, 'the keys of issuer work cannot be read: jwksUri answered text/html, expected a JSON key set'],
      [away, 'the keys of issuer work cannot be read: jwksUri cannot be read: fetch failed: connect ECONNREFUSED'],
    ] as const) {
      expect(ran).toMatchObject({ code: 1, stdout: '' })
      expect(ran.stderr).toContain(cause)
      expect(ran.stderr).not.toMatch(/^ +at /m)
      expect(ran.stderr).not.toContain('Retry-After')
      expect(ran.stderr).not.toContain(token)
    }
    expect(await everyRow(gateway.databaseUrl)).toBe(stored)
  })
})

it('a refusal by network names the address, and not the sentence for clients', async () => {
  const { rule, code } = await viewOf(['/near', '--from', '203.0.113.7'])
  expect({ rule, code }).toEqual({
    rule: { stage: 'network', text: 'The networks of the route do not admit 203.0.113.7.' },
    code: 'forbidden',
  })
  expect(await byConsole({ url: '/near', address: '203.0.113.7' })).toContain('The networks of the route do not admit 203.0.113.7.')
})

describe('a route for certain countries', () => {
  const COUNTRY = 'country'
  const stageOf = (view: { stages: { stage: string; text: string; result: string }[] }) =>
    view.stages.find(({ stage }) => stage === COUNTRY)

  it.each([
    ['/german', GERMAN, 'allow', 'The route admits clients in DE.'],
    ['/german', BRITISH, 'country_refused', null],
    ['/german', UNKNOWN, 'country_refused', null],
    ['/members', GERMAN, 'token_missing', 'The route admits clients in DE.'],
    ['/members', UNKNOWN, 'token_missing', 'The country of the address is unknown. The route admits it.'],
    ['/members', BRITISH, 'country_refused', null],
    ['/orders', BRITISH, 'token_missing', 'The route admits every country.'],
  ])('%s from %s: %s, by the command, the endpoint, the console and the gateway', async (url, from, decision, text) => {
    const isAllowed = decision === 'allow'
    const view = await viewOf([url, '--from', from])
    expect(isAllowed ? view.decision : view.code).toBe(decision)
    if (text !== null) expect(stageOf(view)).toMatchObject({ text, result: 'passed' })
    else {
      const rule = url === '/german' ? 'from DE' : 'not from GB'
      const country = from === UNKNOWN ? 'The country of the address is unknown.' : 'Country of this client: GB.'
      expect(view.rule).toEqual({ stage: COUNTRY, text: `Countries of the route: ${rule}. ${country}` })
      expect(view.detail).not.toContain('GB')
    }
    expect((await byEndpoint({ url, from })).body).toEqual(view)
    const page = await byConsole({ url, address: from })
    expect(page).toContain(isAllowed ? '<strong>Admitted.</strong>' : `<code>${decision}</code>`)
    if (text !== null) expect(page).toContain(text)
    const { status, body } = await call(gateway, url, { headers: { 'x-forwarded-for': from } })
    expect(isAllowed ? status : body.code).toBe(isAllowed ? 200 : decision)
  })

  it('depends on the address, where none is given', async () => {
    const view = await viewOf(['/german'])
    expect(view).toMatchObject({ decision: 'allow', depends: true })
    expect(await byConsole({ url: '/german' })).toContain('The network or the country of the client can still be refused: give an address.')
    expect(stageOf(view)).toMatchObject({ result: 'open', text: expect.stringContaining('certain countries only. Give an address') })
    const { stdout } = await explain(['/german'])
    expect(stdout).toContain('unless the network or the country of the client is refused: give --from ADDRESS')
  })

  it('a database that is none is a fault of the configuration: exit code 2, with what is wrong', async () => {
    const file = join(dir, 'broken.json')
    const broken = join(dir, 'broken.mmdb')
    writeFileSync(broken, 'not a database')
    const route = { name: 'a', match: { path: '/a' }, upstream: [upstream.url], access: { countries: { allow: ['DE'] } } }
    writeFileSync(file, JSON.stringify({ geo: { database: broken }, routes: [route] }))
    const ran = await explain(['/a', '--from', GERMAN], { file })
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toContain('geo.database')
    expect(ran.stderr).toContain('broken.mmdb')
  })
})

describe('a route whose requests another proxy forwards', () => {
  it('is explained as the proxy asks, without what only a gateway does', async () => {
    const view = await viewOf(['/app/x?q=1', '--user', admin.username])
    expect(view).toMatchObject({ decision: 'allow', route: 'app', depends: false })
    expect(view.stages.at(-1)).toMatchObject({
      stage: 'forward',
      result: 'passed',
      text: 'The other proxy forwards the request. Sent to the gateway itself, it gets 404 route_not_found.',
    })
    expect(view.effects).toMatchObject({
      upstreams: [],
      // its rewrite has no effect
      upstream_path: '/app/x?q=1',
      limits: [{ name: 'mine' }],
      request_headers_removed: [],
      response_headers: [],
      deadlines: null,
      max_body_bytes: null,
    })
    const names = view.effects.request_headers.map(({ name }: { name: string }) => name)
    expect(names).toEqual(expect.arrayContaining(['x-auth-user', 'x-auth-roles']))
    expect(names).not.toContain('x-tenant')
    const { body } = await byEndpoint({ url: '/app/x?q=1', user: admin.username })
    expect({ ...body, principal: null }).toEqual({ ...view, principal: null })
    const page = await byConsole({ url: '/app/x', who: 'user', user: admin.username })
    expect(page).toContain('<strong>Admitted.</strong>')
    expect(page).toContain('The other proxy forwards the request.')
    expect(page).not.toContain('undefined')
    const { stdout } = await explain(['/app/x', '--user', admin.username])
    expect(stdout).toMatch(/upstream +the one of the proxy that asks/)
    expect(stdout).toMatch(/deadlines +those of the proxy that asks/)
  })

  it('agrees with the answers that the proxy gets', async () => {
    const token = { authorization: `Bearer ${admin.token}` }
    const handshake = { 'sec-websocket-key': `${'A'.repeat(22)}==`, 'sec-websocket-version': '13', origin: `http://${HOST}` }
    for (const [target, headers, args] of [
      ['/app/x', token, ['--user', admin.username]],
      ['/app/x', {}, []],
      ['/app/chat', handshake, ['--websocket']],
      // a handshake that is not allowed is refused: the proxy would pass it on
      ['/app/x', { ...token, ...handshake }, ['--websocket', '--user', admin.username]],
      ['/german', {}, ['--from', GERMAN]],
    ] as const) {
      const real = await asked(target, headers)
      const view = await viewOf([target, ...args])
      const what = `${target} ${args.join(' ')}`
      expect(view.decision === 'allow', what).toBe(real.status === 200)
      if (real.status !== 200) expect([view.status, view.code], what).toEqual([real.status, real.body.code])
      else if (target === '/app/x')
        expect(view.effects.request_headers).toContainEqual({ name: 'x-auth-user', value: real.headers.get('x-auth-user') })
    }
    // as the explanation says
    expect((await call(gateway, '/app/x', { headers: token })).body.code).toBe('route_not_found')
  })
})

describe('the list of routes', () => {
  it('says who may come from where, and which routes another proxy serves', async () => {
    const { stdout } = await runCli(['policy', 'routes', gateway.file, '--json'])
    const rows = Object.fromEntries(JSON.parse(stdout).map(({ name, ...row }: { name: string }) => [name, row]))
    expect(rows.german).toMatchObject({ access: 'public', clients: 'from DE' })
    expect(rows.near).toMatchObject({ clients: 'certain networks, not from GB' })
    expect(rows.orders).toMatchObject({ clients: '*', upstream: upstream.url })
    expect(rows.app).toMatchObject({ upstream: '-' })
    const { text } = await site.get('/console/routes')
    for (const shown of ['from DE', 'certain networks, not from GB', 'Another proxy forwards']) expect(text).toContain(shown)
  })
})

describe('policy test', () => {
  const run = async (cases: string) => {
    const file = join(dir, 'cases.yaml')
    writeFileSync(file, `cases:\n${cases}`)
    return runCli(['policy', 'test', file, '--config', gateway.file])
  }

  it('has cases for countries and for routes of another proxy', async () => {
    const ran = await run(`
  - { url: /german, from: ${GERMAN}, expect: { decision: allow, route: german } }
  - { url: /german, from: ${BRITISH}, expect: { decision: country_refused, route: german } }
  - { url: /german, from: ${UNKNOWN}, expect: { decision: 403 } }
  - { url: /members, from: ${UNKNOWN}, principal: { role: user }, expect: { decision: allow } }
  - { url: /app/x, expect: { decision: token_missing, route: app } }
  - { url: "/app/x?q=1", principal: { role: user }, expect: { decision: allow, route: app, upstreamPath: "/app/x?q=1", limits: [mine] } }
  - { url: /app/chat, websocket: true, expect: { decision: allow, route: chat } }
  - { url: /app/x, websocket: true, principal: { role: user }, expect: { decision: forbidden } }
`)
    expect(ran.stdout).toContain('8 passed, 0 failed')
    expect(ran.code).toBe(0)
  })

  it('a case that fails says what was decided, and a case without an address says what it lacks', async () => {
    const { code, stdout } = await run(`
  - { url: /german, from: ${BRITISH}, expect: { decision: allow } }
  - { url: /german, expect: { decision: allow } }
  - { url: /app/x, principal: { role: user }, expect: { decision: allow, upstream: "http://app" } }
`)
    expect(code).toBe(1)
    expect(stdout).toContain('decision: expected allow, got refuse 403 country_refused')
    expect(stdout).toContain('it depends on the address of the client; give the case an address in from')
    expect(stdout).toContain('upstream: expected "http://app", got []')
    expect(stdout).toContain('0 passed, 3 failed')
  })
})
