import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { describe, expect, it } from 'vitest'
import { createRootPage } from '../../../../src/app/root-page.ts'
import type { Config } from '../../../../src/platform/config/schema.ts'
import type { ClientData } from '../../../../src/platform/geo/client-data.ts'
import { createGeo } from '../../../../src/platform/geo/geo.ts'
import { Problem } from '../../../../src/platform/lib/errors.ts'
import { createClientReader, parseNetworks } from '../../../../src/platform/request/client-address.ts'
import { createCors } from '../../../../src/proxy/cors.ts'
import { createRequireHttps } from '../../../../src/proxy/https-only.ts'
import { createPipeline, type PipelineDeps } from '../../../../src/proxy/pipeline.ts'
import { ANONYMOUS, type Caller, createCallers } from '../../../../src/proxy/policy/callers.ts'
import { createExplain, type Question } from '../../../../src/proxy/policy/explain.ts'
import { createIsHandshake, createReceive } from '../../../../src/proxy/routing/receive.ts'
import { compileRoutes } from '../../../../src/proxy/routing/route-table.ts'
import { createAssertServiceWorker } from '../../../../src/proxy/routing/service-worker.ts'
import { configWith, route } from '../../../support/config.ts'

const NOW_SECONDS = 1_800_000_000
const now = () => NOW_SECONDS * 1000

/** Numbers that look random and are the same in each run. */
function randomFrom(seed: number) {
  let state = seed
  const next = () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
  return { next, pick: <T>(of: readonly T[]): T => of[Math.floor(next() * of.length)]!, flip: (chance = 0.5) => next() < chance }
}
type Random = ReturnType<typeof randomFrom>

/** 10.0.0.0/8 is in Germany, and 192.0.2.0/24 in France. */
const geo = createGeo({ countryOf: (address) => (address.startsWith('10.') ? 'DE' : address.startsWith('192.0.2.') ? 'FR' : null) })
const data: ClientData = { geo, networksOf: () => parseNetworks([])! }

const ROLES = ['user', 'admin', 'billing', 'support']
const SCOPES = ['orders:read', 'orders:write']
const SEGMENTS = ['api', 'Api', 'orders', 'admin', 'v1']
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PROPFIND']
const HOSTS = ['gateway.test', 'shop.test', 'Shop.test:8080']

const accessFrom = ({ pick, flip }: Random): unknown =>
  pick<unknown>([
    'public',
    'authenticated',
    { roles: [pick(ROLES)] },
    { scopes: [pick(SCOPES)] },
    { anyOf: [{ roles: [pick(ROLES)] }, { scopes: [pick(SCOPES)] }] },
    { allOf: [{ roles: [pick(ROLES)] }, { scopes: [pick(SCOPES)] }], mfa: flip() },
    { roles: [pick(ROLES)], mfa: true, maxAuthAgeSeconds: 600 },
    { roles: ROLES, maxAuthAgeSeconds: 60 },
    { public: true, countries: { allow: ['DE'], ...(flip() && { unknown: 'allow' }) } },
    { roles: [pick(ROLES)], countries: { deny: ['DE'], ...(flip() && { unknown: 'deny' }) } },
    { countries: { allow: ['FR'] } },
  ])

function configFrom(random: Random): Config {
  const { pick, flip } = random
  const routes = Array.from({ length: 10 }, (_, i) => {
    const methods = flip(0.4) ? [pick(METHODS)] : undefined
    return route(`/${Array.from({ length: Math.floor(random.next() * 3) }, () => pick(SEGMENTS)).join('/')}`, {
      name: `r${i}`,
      match: { ...(flip(0.3) && { host: 'shop.test' }), ...(methods && { methods }), ...(flip(0.2) && { caseSensitive: true }) },
      access: accessFrom(random),
      websocket: flip(0.3) && (methods === undefined || methods[0] === 'GET'),
      ...(flip(0.2) && { networks: { allow: ['10.0.0.0/8'] } }),
      ...(flip(0.2) && { allow: ['doubleSlash'] }),
    })
  })
  const rest = {
    geo: { database: '/not/read.mmdb' },
    server: { publicUrl: 'https://gateway.test', httpsOnly: flip(0.3), trustedProxies: ['203.0.113.1/32'] },
    auth: {
      mfa: { requiredForRoles: flip(0.3) ? ['admin'] : [] },
      roles: { billing: { scopes: ['orders:read'] }, support: { inherits: ['billing'], scopes: ['orders:write'] } },
    },
  }
  // the loader refuses routes that contradict each other: each of them is loaded alone
  return { ...configWith(rest), routes: routes.flatMap((one) => configWith({ ...rest, routes: [one] }).routes) }
}

function questionFrom({ next, pick, flip }: Random, caller: Caller): Question {
  const path = `/${Array.from({ length: Math.floor(next() * 4) }, () =>
    pick([...SEGMENTS, 'x', '..', '', '%2e%2e', 'a;b', '%2F', 'é', 'auth', 'health']),
  ).join('/')}`
  return {
    method: pick([...METHODS, 'TRACE']),
    url: `${pick(['http', 'https'])}://${pick([...HOSTS, '', 'a b'])}${path}${flip(0.2) ? '?q=1' : ''}`,
    caller,
    address: pick(['10.1.2.3', '192.0.2.7', '198.51.100.7']),
    isWebSocket: flip(0.2),
  }
}

function callerFrom(random: Random, config: Config): Caller {
  const { pick, flip, next } = random
  if (flip(0.25)) return ANONYMOUS
  if (flip(0.1)) return { principal: null, refusal: pick(['token_revoked', 'token_expired'] as const) }
  return createCallers(config).of({
    roles: ROLES.filter(() => flip()),
    hasFactor: flip(),
    mustChangePassword: flip(0.1),
    authenticatedAt: NOW_SECONDS - Math.floor(next() * 1200),
  })
}

interface Decision {
  status: number | 'forwarded' | 'own'
  code?: string
  route: string | null
}

/** Sends the request through the stages of the product. Only what lies outside is replaced: limits, and the way to an upstream. */
async function decide(config: Config, { method, url, caller, address, isWebSocket }: Question): Promise<Decision> {
  const [, scheme = '', host = '', target = ''] = /^(https?):\/\/([^/]*)(.*)$/.exec(url)!
  const socket = Object.assign(new Socket(), { encrypted: scheme === 'https' })
  Object.defineProperty(socket, 'remoteAddress', { value: address })
  const headers: Record<string, string> = {
    host,
    ...(isWebSocket && {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    }),
  }
  const raw = Object.assign(new IncomingMessage(socket), {
    method,
    url: target,
    httpVersion: '1.1',
    headers,
    rawHeaders: Object.entries(headers).flat(),
  })
  const table = compileRoutes(config)
  const none = parseNetworks([])!
  let forwarded = false
  const sent: { code: number | null } = { code: null }
  const reply = {
    code(status: number) {
      sent.code = status
      return reply
    },
    header: () => reply,
    headers: () => reply,
    type: () => reply,
    send() {
      sent.code ??= 200
      return reply
    },
    raw: {},
    hijack() {},
  }
  const pipeline = createPipeline({
    receive: createReceive({ table, readClient: createClientReader(none, none), maxHeaders: 200, maxTargetBytes: 8192 }),
    isHandshake: createIsHandshake(table),
    now,
    geo,
    assertServiceWorker: createAssertServiceWorker(config),
    requireHttps: createRequireHttps(config),
    answerRoot: createRootPage(config),
    cors: createCors(config, table),
    authenticate() {
      if (caller.refusal !== null) throw new Problem(caller.refusal)
      return caller.principal
    },
    cookies: null,
    limits: { client() {}, anonymous() {}, address() {}, principal() {} },
    forward: () => {
      forwarded = true
    },
    bridge: async () => {
      forwarded = true
    },
    streams: {},
    ownMethods: () => [],
    isStopping: () => false,
  } as unknown as PipelineDeps)
  const exchange = pipeline.receive(raw)
  exchange.isUpgrade = isWebSocket && pipeline.isHandshake(raw)
  const request = { raw, method, headers, url: target } as unknown as FastifyRequest
  try {
    const fail = (error?: Error) => {
      if (error) throw error
    }
    pipeline.enter(request, reply as unknown as FastifyReply, fail)
    if (sent.code === null && exchange.node?.own) return { status: 'own', route: null }
    if (sent.code === null) pipeline.run(request, reply as unknown as FastifyReply, fail)
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return { status: error.status, code: error.code, route: exchange.route?.name ?? null }
  }
  return { status: forwarded ? 'forwarded' : sent.code!, route: exchange.route?.name ?? null }
}

function explained(config: Config, question: Question): Decision {
  const { decision, route: found, refusal, stages } = createExplain({ config, now, data })(question)
  const name = found?.name ?? null
  if (decision === 'own') return { status: 'own', route: null }
  if (decision === 'admitted') return { status: 'forwarded', route: name }
  if (refusal) return { status: refusal.status, code: refusal.code, route: name }
  return { status: stages.some(({ reason }) => reason === 'https-redirect') ? 308 : 200, route: name }
}

it('gives the decision of the pipeline for thousands of random requests', async () => {
  const seen = new Map<string, number>()
  for (let seed = 1; seed <= 14; seed++) {
    const random = randomFrom(seed * 7919)
    const config = configFrom(random)
    for (let i = 0; i < 400; i++) {
      const question = questionFrom(random, callerFrom(random, config))
      const real = await decide(config, question)
      expect(explained(config, question), JSON.stringify({ seed, method: question.method, url: question.url })).toEqual(real)
      const kind = real.code ?? String(real.status)
      seen.set(kind, (seen.get(kind) ?? 0) + 1)
    }
  }
  // the requests are of many kinds, so that the agreement means something
  for (const kind of ['forwarded', 'own', '200', '308', 'target_ambiguous', 'header_invalid', 'route_not_found', 'method_not_allowed'])
    expect(seen.get(kind), kind).toBeGreaterThan(5)
  for (const kind of ['token_missing', 'token_revoked', 'country_refused', 'forbidden', 'mfa_required', 'reauthentication_required'])
    expect(seen.get(kind), kind).toBeGreaterThan(5)
  expect(seen.get('password_change_required')).toBeGreaterThan(5)
})

const config = configWith({
  geo: { database: '/not/read.mmdb' },
  routes: [
    route('/reports', { name: 'reports', access: { roles: ['admin'], mfa: true } }),
    route('/shop', { name: 'shop', limits: ['ip', 'person'] }),
    route('/inside', { name: 'inside', networks: { allow: ['10.0.0.0/8'] } }),
    route('/german', { name: 'german', access: { public: true, countries: { allow: ['DE'] } } }),
    route('/lax', { name: 'lax', access: { public: true, countries: { deny: ['FR'] } } }),
  ],
  limits: {
    policies: {
      ip: { key: 'client', limit: 100, windowSeconds: 60 },
      person: { key: 'principal', limit: 600, windowSeconds: 60 },
    },
    default: [],
  },
})
const explain = createExplain({ config, now, data })
const callerOf = createCallers(config).of
const ask = (part: Partial<Question>) =>
  explain({ method: 'GET', url: '/reports', caller: ANONYMOUS, address: null, isWebSocket: false, ...part })
const stage = (part: Partial<Question>, name: string) => ask(part).stages.find((s) => s.stage === name)

describe('an explanation', () => {
  const admin = { roles: ['admin'], hasFactor: true, authenticatedAt: NOW_SECONDS }

  it('names every stage of the pipeline, in its order', () => {
    const pipeline = createPipeline({} as PipelineDeps)
    expect(ask({}).stages.map((s) => s.stage)).toEqual(pipeline.stages)
  })

  it('says what an anonymous caller lacks, and reaches no later stage', () => {
    expect(ask({})).toMatchObject({ decision: 'refused', route: { name: 'reports' }, refusal: { code: 'token_missing', status: 401 } })
    expect(stage({}, 'authorize')).toMatchObject({
      result: 'refused',
      values: { code: 'token_missing', access: expect.stringContaining('role admin') },
    })
    expect(stage({}, 'forward')).toMatchObject({ result: 'unreached' })
  })

  it('admits a caller who has what the route needs', () => {
    expect(ask({ caller: callerOf(admin) }).decision).toBe('admitted')
    expect(stage({ caller: callerOf(admin) }, 'forward')).toMatchObject({ result: 'passed', values: { upstreams: 'http://127.0.0.1:9' } })
  })

  it('refuses the same caller without a second factor', () => {
    expect(ask({ caller: callerOf({ ...admin, hasFactor: false }) }).refusal?.code).toBe('mfa_required')
  })

  it('shows limits that would count the request, and counts nothing', () => {
    expect(stage({ url: '/shop' }, 'limitClient')).toMatchObject({ result: 'open', values: { limits: '100/min per address' } })
    expect(stage({ url: '/shop' }, 'limitPrincipal')).toMatchObject({ result: 'unused' })
    expect(stage({ url: '/shop', caller: callerOf(admin) }, 'limitPrincipal')).toMatchObject({
      values: { limits: '600/min per user or machine' },
    })
  })

  it('judges networks only where the address is given', () => {
    expect(stage({ url: '/inside' }, 'network')).toMatchObject({ result: 'open' })
    expect(stage({ url: '/inside', address: '10.0.0.1' }, 'network')).toMatchObject({ result: 'passed' })
    expect(ask({ url: '/inside', address: '192.0.2.1' }).refusal?.code).toBe('forbidden')
  })

  it('judges countries only where the address is given, and says which country it is', () => {
    expect(stage({ url: '/shop' }, 'country')).toMatchObject({ result: 'passed', reason: 'countries-any' })
    expect(stage({ url: '/german' }, 'country')).toMatchObject({ result: 'open', reason: 'countries-open' })
    expect(stage({ url: '/german', address: '10.0.0.1' }, 'country')).toMatchObject({
      result: 'passed',
      reason: 'countries-allowed',
      values: { country: 'DE' },
    })
    expect(stage({ url: '/lax', address: '198.51.100.1' }, 'country')).toMatchObject({ result: 'passed', reason: 'countries-unknown' })
    for (const address of ['192.0.2.1', '198.51.100.1']) expect(ask({ url: '/german', address }).refusal?.code).toBe('country_refused')
  })

  it.each([
    ['/reports/../shop', 'target_ambiguous'],
    ['not a path', 'target_ambiguous'],
    ['http:///reports', 'header_invalid'],
    ['/nowhere', 'route_not_found'],
  ])('%s is judged as it was written: %s', (url, code) => {
    expect(ask({ url }).refusal?.code).toBe(code)
  })

  it('judges the WebSocket of a route without an upstream as the question of another proxy', () => {
    const forwardAuth = { forwardAuth: true, upstream: [] }
    const asking = createExplain({
      config: configWith({
        forwardAuth: { dialect: 'nginx' },
        server: { publicUrl: 'http://gateway.test', trustedProxies: ['127.0.0.1/32'] },
        routes: [route('/plain', forwardAuth), route('/chat', { ...forwardAuth, websocket: true })],
      }),
      now,
      data,
    })
    const decisionOf = (url: string, isWebSocket: boolean) => asking({ method: 'GET', url, caller: ANONYMOUS, address: null, isWebSocket })
    expect(decisionOf('/plain', true)).toMatchObject({ decision: 'refused', decidedBy: 'upgrade', refusal: { code: 'forbidden' } })
    for (const { decision } of [decisionOf('/plain', false), decisionOf('/chat', true)]) expect(decision).toBe('admitted')
  })

  it('leaves the fragment out, as a browser does, and reads an empty path as /', () => {
    expect(ask({ url: 'http://gateway.test/shop#part' }).decision).toBe('admitted')
    expect(ask({ url: 'http://gateway.test' }).decision).toBe('answered')
  })
})
