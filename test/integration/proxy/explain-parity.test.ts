/** What `policy explain` says is what the gateway does: each request of a table is sent to a real gateway, and explained. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { findTokenCaller } from '../../../src/app/stored-callers.ts'
import { ANONYMOUS, type Caller } from '../../../src/proxy/policy/callers.ts'
import { createExplain } from '../../../src/proxy/policy/explain.ts'
import { type ExplanationView, explanationView } from '../../../src/proxy/policy/explanation-view.ts'
import { call, newUser, newUserWithRoles, raw } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

// more than a thousand requests, one after the other, on a machine that other tests share
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 })

let upstream: Upstream
let second: Upstream
let gateway: Gateway
const callers: { caller: Caller; token: string | null }[] = []

beforeAll(async () => {
  upstream = await startUpstream()
  second = await startUpstream()
  const to = { upstream: [upstream.url], limits: [] }
  gateway = await startGateway({
    config: {
      log: { skip: [] },
      server: { trustedProxies: ['127.0.0.1/32'] },
      auth: { mfa: { requiredForRoles: ['auditor'] }, roles: { auditor: {}, support: {} } },
    },
    routes: [
      { name: 'root', match: { path: '/', methods: ['GET'] }, access: 'public', ...to },
      { name: 'api', match: { path: '/api' }, access: 'authenticated', ...to },
      { name: 'admin', match: { path: '/api/admin' }, access: { roles: ['admin'] }, ...to },
      { name: 'factor', match: { path: '/api/factor' }, access: { roles: ['admin'], mfa: true }, ...to },
      { name: 'fresh', match: { path: '/api/fresh' }, access: { anyOf: [{ roles: ['admin'] }, { roles: ['support'] }] }, ...to },
      { name: 'read', match: { path: '/split', methods: ['GET'] }, access: 'public', ...to },
      { name: 'write', match: { path: '/split', methods: ['POST', 'PUT'] }, access: { roles: ['support'] }, ...to },
      { name: 'shop', match: { path: '/shop', host: 'shop.test' }, access: 'public', ...to },
      {
        name: 'shop-api',
        match: { path: '/api', host: 'shop.test' },
        access: { roles: ['support'] },
        rewrite: { prefix: '/' },
        ...to,
        upstream: [second.url],
      },
      { name: 'moved', match: { path: '/moved/here' }, access: 'public', rewrite: { prefix: '/there/now' }, ...to },
      { name: 'inner', match: { path: '/inner' }, access: 'public', networks: { allow: ['10.0.0.0/8'], deny: ['10.9.0.0/16'] }, ...to },
      { name: 'case', match: { path: '/Case', caseSensitive: true }, access: 'public', ...to },
      { name: 'files', match: { path: '/files' }, access: 'public', allow: ['encodedSlash', 'doubleSlash', 'semicolon', 'percent'], ...to },
      {
        name: 'edits',
        match: { path: '/edits' },
        access: 'authenticated',
        headers: { request: { set: { 'X-Tenant': 'acme' }, remove: ['x-debug'] }, response: { set: { 'X-From': 'us' } } },
        ...to,
      },
    ],
  })
  const { platform } = gateway.app
  const known = { db: platform.db, config: platform.config, secrets: platform.secrets }
  const users = [
    await newUser(gateway),
    await newUserWithRoles(gateway, ['admin']),
    await newUserWithRoles(gateway, ['support']),
    await newUserWithRoles(gateway, ['auditor']),
  ]
  const ended = await newUser(gateway)
  await call(gateway, '/auth/logout-all', { method: 'POST', token: ended.token })
  callers.push({ caller: ANONYMOUS, token: null })
  for (const token of [...users.map((user) => user.token), ended.token, `${ended.token}x`, 'rubbish'])
    callers.push({ token, caller: await findTokenCaller(token, known) })
})
afterAll(async () => {
  await gateway?.close()
  await upstream?.close()
  await second?.close()
})

const PATHS = [
  ...['/', '/x', '/?q=1', '//', '/api', '/api/', '/API/Admin', '/api/admin', '/api/admin/', '/api/admin/x?y=/z', '/api/administrator'],
  ...['/api/factor/1', '/api/fresh', '/split', '/split/1', '/splits', '/shop', '/shop/1', '/shops', '/moved/here', '/moved/here/1?x=%20'],
  ...[
    '/moved',
    '/moved/here/',
    '/inner',
    '/inner/1',
    '/Case/1',
    '/case/1',
    '/edits',
    '/files/a%2Fb',
    '/files//a',
    '/files/a;b',
    '/files/%2525',
  ],
  ...[
    '/api/..',
    '/api/%2e%2e/shop',
    '/api/%2Fadmin',
    '/api//admin',
    '/api/admin;x',
    '/api%2Fadmin',
    '/files/..;/api',
    '/%',
    '/a\\b',
    '/%00',
  ],
  ...[
    '/api/./admin',
    '/health',
    '/auth/sessions',
    '/auth/nothing',
    '/.well-known/jwks.json',
    '/auth/../api',
    '/api/adm%69n',
    '/api/admin%20',
  ],
  ...['/files/a%2F..%2Fb', '/files/%252e%252e/x', '/ſhop', '/shop.', '/api/admin.'],
]
const HOSTS = ['gateway.test', 'shop.test', 'SHOP.test:8080', 'other.test', 'bad host']
const METHODS = ['GET', 'POST', 'DELETE', 'HEAD', 'PROPFIND']
const ADDRESSES = ['10.1.2.3', '10.9.2.3', '203.0.113.9']

interface Real {
  status: number
  code: string | null
  route: string
  /** Null: no upstream got the request. */
  sent: { path: string; headers: Record<string, string> } | null
  /** Response fields. */
  from: string | null
}

let count = 0
async function send(method: string, host: string, path: string, address: string, token: string | null): Promise<Real> {
  const id = `parity-${count++}`
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${host}`,
    `X-Request-Id: ${id}`,
    `X-Forwarded-For: ${address}`,
    'Connection: close',
    ...(token === null ? [] : [`Authorization: Bearer ${token}`]),
    ...(method === 'POST' ? ['Content-Length: 0'] : []),
  ]
  const text = await raw(gateway.port, Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'utf8'))
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1])
  const [seen] = [...upstream.take(), ...second.take()]
  // Node refuses some bytes before a request is known by its id
  const line = seen && (await logged(id))
  return {
    status,
    code: /"code":"([a-z_]+)"/.exec(text)?.[1] ?? null,
    route: String(line?.route ?? 'none'),
    sent: seen ? { path: seen.url, headers: seen.headers as Record<string, string> } : null,
    from: /^x-from: (.*)\r$/im.exec(text)?.[1] ?? null,
  }
}

async function logged(id: string) {
  const find = () => gateway.log().find((line) => line.request_id === id)
  await until(() => find() !== undefined, `the log line of ${id}`)
  return find()
}

const NEVER_EQUAL = new Set(['x-request-id', 'traceparent', 'x-forwarded-for', 'content-length', 'connection', 'transfer-encoding'])
const HIDDEN = '***'

function compare(view: ExplanationView, real: Real): void {
  if (view.decision !== 'allow') {
    expect(real.sent).toBeNull()
    // of its own endpoints the gateway knows no more than that they decide
    if (view.decision !== 'own') expect(view.status).toBe(real.status)
    // bytes that Node's parser refuses never reach the first stage, which would refuse them with the same status
    if (view.decision === 'refuse' && real.code !== null && real.code !== 'request_malformed') expect(view.code).toBe(real.code)
    return
  }
  expect(real).toMatchObject({ status: 200, route: view.route })
  const { request_headers: headers, upstream_path: path, response_headers: answered } = view.effects!
  expect(real.sent!.path).toBe(path)
  const shown = Object.fromEntries(headers.filter(({ name }) => !NEVER_EQUAL.has(name)).map(({ name, value }) => [name, value]))
  const got = Object.fromEntries(
    Object.entries(real.sent!.headers)
      .filter(([name]) => !NEVER_EQUAL.has(name))
      .map(([name, value]) => [name, shown[name] === HIDDEN ? HIDDEN : value]),
  )
  expect(got).toEqual(shown)
  expect(real.from).toBe(answered.find(({ name }) => name === 'x-from')?.value ?? null)
}

it('the gateway decides each request of the table as it is explained', async () => {
  const { config } = gateway.app.platform
  const explain = createExplain({ config, now: () => gateway.clock.now() })
  const seen = new Map<string, number>()
  const requests = PATHS.flatMap((path) => HOSTS.flatMap((host) => METHODS.map((method) => ({ path, host, method }))))
  for (const [i, { path, host, method }] of requests.entries()) {
    const { caller, token } = callers[(i * 7) % callers.length]!
    const address = ADDRESSES[(i * 5) % ADDRESSES.length]!
    const url = `http://${host}${path}`
    const question = { method, url, caller, address, isWebSocket: false }
    const view = explanationView(explain(question), question)
    const real = await send(method, host, path, address, token)
    try {
      compare(view, real)
    } catch (error) {
      throw new Error(`${method} ${url} from ${address} as caller ${callers.findIndex((one) => one.caller === caller)}`, { cause: error })
    }
    const kind = view.code ?? view.decision
    seen.set(kind, (seen.get(kind) ?? 0) + 1)
  }
  // the table holds requests of many kinds, so that the agreement means something
  for (const kind of ['allow', 'own', 'target_ambiguous', 'header_invalid', 'route_not_found', 'method_not_allowed', 'forbidden'])
    expect(seen.get(kind), kind).toBeGreaterThan(5)
  for (const kind of ['token_missing', 'token_revoked', 'token_invalid', 'mfa_required']) expect(seen.get(kind), kind).toBeGreaterThan(2)
})
