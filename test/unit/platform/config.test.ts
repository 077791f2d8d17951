import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { ConfigError, type Loaded, loadConfig } from '../../../src/app/load-config.ts'
import { createRoles, knownRoles } from '../../../src/identity/users/roles.ts'
import { formatProblem } from '../../../src/platform/config/source.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-config-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const KEY = Buffer.from(Array.from({ length: 32 }, (_, i) => (i * 7) % 256)).toString('base64')
let written = 0
const fileWith = (text: string) => {
  const file = join(dir, `${written++}.txt`)
  writeFileSync(file, text)
  return file
}

interface Given {
  env?: NodeJS.ProcessEnv
  flags?: string[]
}
const load = (yaml: string, { env = {}, flags = [] }: Given = {}): Loaded =>
  loadConfig({ file: fileWith(yaml), env: { PORTCULLIS_SECRET_KEY: KEY, ...env }, flags })

/** Every problem as it is printed, with `f:` in place of the file's name. */
function problems(yaml: string, given?: Given): string[] {
  try {
    load(yaml, given)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    expect(error.message).toBe(error.problems.map(formatProblem).join('\n'))
    return error.problems.map((p) => formatProblem(p).replace(/^\/\S*?\.txt/, 'f'))
  }
}

const allWarnings = (yaml: string) => load(yaml).warnings.map((p) => formatProblem(p).replace(/^\/\S*?\.txt/, 'f'))
const NO_ROUTES =
  'f:1:1: routes: is empty: the gateway serves only accounts; add a route: { name: api, match: { path: /api }, upstream: [http://localhost:3000], access: authenticated }'
const warnings = (yaml: string) => allWarnings(yaml).filter((warning) => warning !== NO_ROUTES)

const GOOD = `server: { host: 127.0.0.1, port: 8080, trustedProxies: [10.0.0.0/8] }
database: { url: "postgres://u@h/db" }
redis: { url: "redis://h" }
limits:
  policies:
    perUser: { limit: 600, windowSeconds: 60, key: principal }
routes:
  - name: orders
    match: { path: /orders, methods: [GET, POST] }
    upstream: ["http://orders:3000", { url: "http://orders-2:3000", weight: 2 }]
    access: { roles: [admin] }
    limits: [perUser]
    rewrite: { prefix: / }
  - name: catalog
    match: { path: /catalog }
    upstream: ["http://catalog:3000"]
    access: public
`
const route = (over: string, name = 'a') => `  - name: ${name}\n    upstream: ["http://h"]\n${over}\n`
const PUBLIC = '    match: { path: /a }\n    access: public'

describe('a good configuration', () => {
  it('is read with every default filled in', () => {
    const { config, warnings: reported } = load(GOOD)
    expect(reported).toEqual([])
    expect(config.server).toMatchObject({ publicUrl: 'http://localhost:8080', workers: 'auto', replicas: 1, port: 8080 })
    expect(config.tokens).toMatchObject({
      issuer: 'http://localhost:8080',
      algorithm: 'auto',
      typ: 'at+jwt',
      clientId: 'portcullis',
      accessTtlSeconds: 900,
    })
    expect(config.limits.credentials).toMatchObject({
      register: { limit: 3, windowSeconds: 60 },
      login: { limit: 5, windowSeconds: 60 },
      account: { limit: 30, windowSeconds: 3600 },
      refresh: { limit: 10, windowSeconds: 60 },
    })
    expect(config.limits).toMatchObject({
      default: ['perIp', 'perUser'],
      exempt: [],
      policies: { perIp: { limit: 60, windowSeconds: 60, key: 'anonymous' }, perUser: { limit: 600, windowSeconds: 60, key: 'principal' } },
    })
    expect(config.routes[1]).toMatchObject({ onRedisDown: 'local', websocket: false, body: { maxBytes: 1_048_576 } })
  })

  it('keeps perIp and perUser beside its own policies, unless it defines them', () => {
    const policies = (yaml: string) => load(`limits: { policies: { ${yaml} } }`).config.limits.policies
    expect(Object.keys(policies('few: { limit: 5, windowSeconds: 60, key: principal }')).sort()).toEqual(['few', 'perIp', 'perUser'])
    expect(policies('perUser: { limit: 5, windowSeconds: 1, key: principal }').perUser).toMatchObject({ limit: 5, windowSeconds: 1 })
  })

  it('has only the roles that it names: a configured auth.roles replaces the default', () => {
    const byDefault = load('').config.auth.roles
    expect(byDefault).toEqual({ admin: { inherits: ['user'], scopes: [] }, user: { inherits: [], scopes: [] } })
    const { roles } = load('auth: { roles: { support: { scopes: [orders:refund] } } }').config.auth
    expect(roles).toEqual({ support: { inherits: [], scopes: ['orders:refund'] } })
    // `admin` and `user` can still be granted, but `admin` no longer inherits `user`
    expect(knownRoles(roles)).toEqual(['admin', 'support', 'user'])
    expect(createRoles(roles)(['admin'])).toEqual({ roles: ['admin'], scopes: [] })
    expect(createRoles(byDefault)(['admin'])).toEqual({ roles: ['admin', 'user'], scopes: [] })
  })

  it('may be an empty file, and an upstream may leave its weight out', () => {
    expect(problems('')).toEqual([])
    expect(problems(`routes:\n  - { name: a, match: { path: /a }, upstream: [{ url: "http://h" }], access: public }\n`)).toEqual([])
  })
})

describe('a problem is reported as file:line:col: path: message; hint', () => {
  const cases: [what: string, yaml: string, reported: string | RegExp][] = [
    ['an unknown key, with the right spelling', 'server:\n  prot: 1\n', 'f:2:3: server.prot: unknown key; did you mean port?'],
    ['an unknown section', 'srever: {}\n', 'f:1:1: srever: unknown key; did you mean server?'],
    [
      'an unknown key that resembles nothing, with those that are known',
      'redis: { qqqqqq: 1 }\n',
      /^f:1:10: redis\.qqqqqq: .*known here: url$/,
    ],
    ['a value of the wrong type', 'server:\n  host: 5\n', 'f:2:3: server.host: must be a string, not 5'],
    ['a section that is no mapping', 'admin: 5\n', 'f:1:1: admin: must be a mapping, not 5'],
    ['a number out of range', 'server:\n  host: h\n  port: 99999\n', 'f:3:3: server.port: must be <= 65535, not 99999'],
    [
      'health checks without a path',
      `routes:\n${route(`${PUBLIC}\n    health: { intervalMs: 1000 }`)}`,
      /^f:\d+:\d+: routes\[0\]\.health(\.path)?: .*(path|required)/,
    ],
    [
      'a status of health checks that no answer has',
      `routes:\n${route(`${PUBLIC}\n    health: { path: /healthz, expect: 42 }`)}`,
      /^f:\d+:\d+: routes\[0\]\.health\.expect: /,
    ],
    [
      'a path of health checks with a fragment',
      `routes:\n${route(`${PUBLIC}\n    health: { path: "/healthz#a" }`)}`,
      /^f:\d+:\d+: routes\[0\]\.health\.path: /,
    ],
    ...['iss', 'sub', 'roles', 'Scope', 'email', 'client_id', 'exp', 'active', 'username'].map((claim): [string, string, string] => [
      `the registered claim ${claim}`,
      `tokens:\n  claims:\n    - claim: ${claim}\n      from: metadata.public.plan\n`,
      `f:3:7: tokens.claims[0].claim: ${claim} has a meaning of its own in tokens; use another name, such as tenant`,
    ]),
    [
      'a claim that is mapped twice',
      'tokens:\n  claims:\n    - { claim: plan, from: metadata.public.a }\n    - { claim: plan, from: metadata.public.b }\n',
      'f:4:9: tokens.claims[1].claim: plan is used twice; give each claim a name of its own',
    ],
    [
      'a claim from elsewhere',
      'tokens:\n  claims:\n    - { claim: hash, from: password_hash }\n',
      /^f:3:22: tokens\.claims\[0\]\.from: has the wrong form/,
    ],
    [
      'a header of HTTP for a claim',
      'tokens:\n  claims:\n    - { claim: plan, from: metadata.public.a, header: Cookie }\n',
      /^f:3:47: tokens\.claims\[0\]\.header: Cookie is a header of HTTP itself/,
    ],
    [
      'the header of the roles for a claim',
      'tokens:\n  claims:\n    - { claim: plan, from: metadata.public.a, header: x-auth-roles }\n',
      /^f:3:47: tokens\.claims\[0\]\.header: x-auth-roles is used twice/,
    ],
    [
      'a header of a claim that a route sets',
      `tokens:\n  claims:\n    - { claim: plan, from: metadata.public.a, header: X-Plan }\nroutes:\n${route(`${PUBLIC}\n    headers: { request: { set: { X-Plan: gold } } }`)}`,
      /routes\[0\]\.headers\.request\.set: X-Plan is set by the gateway alone/,
    ],
    ['a word that is none of the known ones', 'log: { level: loud }\n', /^f:1:8: log\.level: must be trace \| debug \| .*not "loud"$/],
    ...(
      [
        ['/a/*', '/a'],
        ['/a/**', '/a'],
        ['/a*', '/'],
        ['/*', '/'],
        ['/a/{id}/b', '/a'],
        ['/a/b-{id}', '/a'],
        ['/a/:id', '/a'],
        ['/a/b/:id/c', '/a/b'],
        ['*', '/'],
      ] as const
    ).map(([path, prefix]): [string, string, string] => [
      `the pattern ${path}`,
      `routes:\n${route(PUBLIC.replace('/a', `"${path}"`))}`,
      `f:4:14: routes[0].match.path: is a prefix, not a pattern such as "${path}"; write ${prefix}, which also matches the paths below it`,
    ]),
    [
      'a route without access',
      `routes:\n${route('    match: { path: /a }')}`,
      'f:2:5: routes[0]: access is missing; write public, authenticated, or { roles: […] } / { scopes: […] }',
    ],
    [
      'an access that is nearly right',
      `routes:\n${route(PUBLIC.replace('public', 'publc'))}`,
      /^f:5:5: routes\[0\]\.access: .*did you mean public\?/,
    ],
    [
      'an access that asks for nothing',
      `routes:\n${route(PUBLIC.replace('public', '{}'))}`,
      /^f:5:5: routes\[0\]\.access: must name a requirement/,
    ],
    [
      'an access with empty roles',
      `routes:\n${route(PUBLIC.replace('public', '{ roles: [] }'))}`,
      'f:5:15: routes[0].access.roles: must hold at least 1',
    ],
    [
      'a misspelt key in an access',
      `routes:\n${route(PUBLIC.replace('public', '{ role: [admin] }'))}`,
      'f:5:15: routes[0].access.role: unknown key; did you mean roles?',
    ],
    [
      'a network that is none',
      'server:\n  trustedProxies: [10.0.0.0/8, 10.0.0.0/99]\n',
      'f:2:32: server.trustedProxies[1]: must be a network such as 10.0.0.0/8 or fd00::/8, not "10.0.0.0/99"',
    ],
    [
      'an exemption that is no network',
      'limits:\n  exempt: [localhost]\n',
      /^f:2:12: limits\.exempt\[0\]: must be a network .*"localhost"$/,
    ],
    [
      'a policy that a route names and nobody defines',
      `limits:\n  policies: { perUser: { limit: 1, windowSeconds: 1, key: principal } }\nroutes:\n${route(`${PUBLIC}\n    limits: [perUsr]`)}`,
      'f:8:14: routes[0].limits[0]: no such policy; did you mean perUser?',
    ],
    ['a default policy that nobody defines', 'limits:\n  default: [zzz]\n', /^f:2:13: limits\.default\[0\]: no such policy; known: /],
    [
      'a policy with an unknown key',
      'limits: { policies: { p: { limit: 1, windowSeconds: 1, key: everybody } } }\n',
      /^f:1:56: limits\.policies\.p\.key: must be client \|/,
    ],
    [
      'two routes of one name',
      `routes:\n${route(PUBLIC)}${route('    match: { path: /b }\n    access: public')}`,
      'f:6:5: routes[1].name: a is already the name of routes[0]; give each route a name of its own',
    ],
    [
      'two routes of one host, path and method',
      `routes:\n${route(PUBLIC)}${route('    match: { path: /A/, methods: [GET] }\n    access: public', 'b')}`,
      'f:8:5: routes[1].match: the same host, path and method as route a; change or remove one of the two',
    ],
    [
      'an upstream with a path',
      'routes:\n  - { name: a, match: { path: /a }, upstream: ["http://h/x"], access: public }\n',
      /^f:2:48: routes\[0\]\.upstream\[0\]: has the wrong form, not "http:\/\/h\/x"; Origin/,
    ],
    [
      'no upstream',
      'routes:\n  - { name: a, match: { path: /a }, upstream: [], access: public }\n',
      /^f:2:37: routes\[0\]\.upstream: is missing; name a server/,
    ],
    [
      'an upstream with an impossible port',
      'routes:\n  - { name: a, match: { path: /a }, upstream: ["http://h:99999"], access: public }\n',
      /^f:2:48: routes\[0\]\.upstream\[0\]: /,
    ],
    [
      'a path with dot segments',
      `routes:\n${route(PUBLIC.replace('/a', '/a/../b'))}`,
      'f:4:14: routes[0].match.path: must not hold // or dot segments; write the path without them, such as /api/v1',
    ],
    [
      'a rewritten path with dot segments',
      `routes:\n${route(`${PUBLIC}\n    rewrite: { prefix: /v1/../admin }`)}`,
      'f:6:16: routes[0].rewrite.prefix: must not hold // or dot segments; write the path without them, such as /api/v1',
    ],
    [
      'a method that is never proxied',
      `routes:\n${route(PUBLIC.replace('/a', '/a, methods: [TRACE]'))}`,
      'f:4:24: routes[0].match.methods: TRACE is never proxied; remove it from the methods',
    ],
    [
      'a role that inherits from nobody',
      'auth: { roles: { admin: { inherits: [usr] } } }\n',
      'f:1:38: auth.roles.admin.inherits[0]: no such role; known: admin',
    ],
    [
      'a role that inherits what every object has',
      'auth: { roles: { admin: { inherits: [constructor] } } }\n',
      'f:1:38: auth.roles.admin.inherits[0]: no such role; known: admin',
    ],
    [
      'a role that inherits itself',
      'auth: { roles: { admin: { inherits: [admin] } } }\n',
      'f:1:38: auth.roles.admin.inherits[0]: is the role itself; remove it',
    ],
    [
      'embedded stores and two workers',
      'server:\n  workers: 2\n',
      /^f:2:3: server\.workers: database\.url: embedded and redis\.url: memory /,
    ],
    ['embedded stores and two replicas', 'server:\n  replicas: 2\n', /^f:2:3: server\.replicas: .*set replicas to 1/],
    [
      'memory limits and two replicas, although the database is shared',
      'database: { url: "postgres://h/d" }\nserver: { replicas: 2 }\n',
      /^f:2:11: server\.replicas: redis\.url: memory /,
    ],
    [
      'https alone, to a public address of http',
      'server: { httpsOnly: true }\n',
      /^f:1:11: server\.httpsOnly: needs a server\.publicUrl of https/,
    ],
    [
      'https alone, with nobody who speaks it',
      'server: { publicUrl: "https://a.test", httpsOnly: true }\n',
      /^f:1:40: server\.httpsOnly: no request would use https/,
    ],
    [
      'a way to https where the public address is none',
      'server: { publicUrl: "http://a.test", tls: { cert: a, key: b, redirectPort: 80 } }\n',
      /^f:1:63: server\.tls\.redirectPort: needs a server\.publicUrl of https/,
    ],
    [
      'an assertion that an upstream cannot verify',
      `tokens: { algorithm: HS256 }\nroutes:\n${route(`${PUBLIC}\n    headers: { assertion: true }`)}`,
      /^f:7:16: routes\[0\]\.headers\.assertion: an upstream cannot verify it under HS256/,
    ],
    [
      'half a client certificate',
      'routes:\n  - { name: a, match: { path: /a }, upstream: [{ url: "https://h", tls: { cert: c } }], access: public }\n',
      'f:2:68: routes[0].upstream[0].tls: cert and key go together; set both or neither',
    ],
    [
      'a network that is none',
      `routes:\n${route(`${PUBLIC}\n    networks: { deny: [10.0.0.0/33] }`)}`,
      /^f:6:24: routes\[0\]\.networks\.deny\[0\]: must be a network such as/,
    ],
    ...[
      ['request: { set: { X_Auth.User: a } }', 'request.set: X_Auth.User'],
      ['request: { set: { Transfer-Encoding: a } }', 'request.set: Transfer-Encoding'],
      ['request: { remove: [X-Forwarded-For] }', 'request.remove: X-Forwarded-For'],
      ['request: { set: { transfer_encoding: a } }', 'request.set: transfer_encoding'],
      ['request: { remove: [Host] }', 'request.remove: Host'],
      ['response: { remove: [Content-Length] }', 'response.remove: Content-Length'],
      ['passReserved: [X-Auth-User]', 'passReserved\\[0\\]: X-Auth-User'],
      ['passReserved: [x_auth_assertion]', 'passReserved\\[0\\]: x_auth_assertion'],
      ['passReserved: [X-Forwarded-For]', 'passReserved\\[0\\]: X-Forwarded-For'],
      ['passReserved: [X-Forwarded-Port]', 'passReserved\\[0\\]: X-Forwarded-Port'],
      ['passReserved: [Via]', 'passReserved\\[0\\]: Via'],
      ['passReserved: [Connection]', 'passReserved\\[0\\]: Connection'],
      ['passReserved: [Content-Length]', 'passReserved\\[0\\]: Content-Length'],
      ['passReserved: [X-Request-Id]', 'passReserved\\[0\\]: X-Request-Id'],
    ].map(([edit, reported]): [string, string, RegExp] => [
      `${edit}, which is the gateway’s own`,
      `routes:\n${route(`${PUBLIC}\n    headers: { ${edit} }`)}`,
      new RegExp(`^f:6:\\d+: routes\\[0\\]\\.headers\\.${reported} is set by the gateway alone`),
    ]),
    [
      'two wishes for the Host of an upstream',
      `routes:\n${route(`${PUBLIC}\n    preserveHost: true\n    headers: { request: { set: { host: a } } }`)}`,
      /^f:6:5: routes\[0\].preserveHost: cannot be true where headers\.request sets Host/,
    ],
    [
      'a header value of two lines',
      `routes:\n${route(`${PUBLIC}\n    headers: { response: { set: { A: "b\\nc" } } }`)}`,
      /^f:6:\d+: routes\[0\]\.headers\.response\.set\.A: has the wrong form/,
    ],
    ['a flow mapping that does not end', 'server: { port: 1\nroutes: []\n', /^f:2:1: /],
    ['a tab as indentation', 'server:\n\tport: 1\n', /^f:2:1: Tabs are not allowed/],
    ['the same key twice', 'server: {}\nserver: {}\n', /^f:2:1: Map keys must be unique/],
    ['an alias of nothing', 'log: {}\nserver: *nobody\n', /^f:2:9: an asterisk refers to a value that is marked with &/],
    ['a list in place of sections', '- a\n', 'f:1:1: is not a mapping; write sections such as server: and routes: at the top'],
    ['a text in place of sections', 'hello\n', 'f:1:1: is not a mapping; write sections such as server: and routes: at the top'],
  ]
  it.each(cases)('%s', (_, yaml, reported) => {
    expect(problems(yaml)).toEqual([typeof reported === 'string' ? reported : expect.stringMatching(reported)])
  })

  it('roles that inherit each other through a third are reported at each', () => {
    expect(problems('auth:\n  roles:\n    a: { inherits: [b] }\n    b: { inherits: [c] }\n    c: { inherits: [a] }\n')).toEqual([
      'f:3:21: auth.roles.a.inherits[0]: b inherits a already; remove one of the two',
      'f:4:21: auth.roles.b.inherits[0]: c inherits b already; remove one of the two',
      'f:5:21: auth.roles.c.inherits[0]: a inherits c already; remove one of the two',
    ])
  })

  it('names a file that is missing', () => {
    expect(() => loadConfig({ file: '/nowhere/p.yaml', env: {} })).toThrow(
      /^\/nowhere\/p\.yaml: cannot be read: ENOENT: .*; name a YAML file that this user can read/,
    )
  })
})

describe('all problems are reported at once', () => {
  it('in the order of the file, whatever their kind', () => {
    const yaml = `log: { levle: info }
server: { workers: 2, replicas: 2, trustedProxies: [nowhere] }
limits:
  default: [perUsr]
auth: { refresh: { graceSeconds: -1 } }
routes:
  - name: a
    match: { path: /a }
    upstream: ["http://h"]
  - name: b
    match: { path: /b }
    upstream: ["http://h"]
    access: public
  - name: b
    match: { path: /c }
    upstream: ["http://h"]
    access: public
`
    const reported = problems(yaml, { env: { PORTCULLIS_SECRET_KEY: 'short', PORTCULLIS_LOG__LEVLE: 'x' } })
    const at = (text: string) => reported.filter((t) => t.startsWith(text))
    for (const text of ['PORTCULLIS_SECRET_KEY: ', 'PORTCULLIS_LOG__LEVLE: ']) expect(at(text)).toHaveLength(1)
    expect(reported.filter((t) => t.startsWith('f:')).map((t) => t.split(': ').slice(0, 2).join(' '))).toEqual([
      'f:1:8 log.levle',
      'f:2:11 server.workers',
      'f:2:23 server.replicas',
      'f:2:53 server.trustedProxies[0]',
      'f:4:13 limits.default[0]',
      'f:5:20 auth.refresh.graceSeconds',
      'f:7:5 routes[0]',
      'f:14:5 routes[2].name',
    ])
  })

  it('also the rules between settings of a section that holds a misspelt key', () => {
    const reported = problems('server:\n  prot: 1\n  replicas: 2\n  trustedProxies: [nowhere]\nlimits:\n  exmept: []\n  default: [zzz]\n')
    expect(reported.map((t) => t.split(': ').slice(0, 2).join(' '))).toEqual([
      'f:2:3 server.prot',
      'f:3:3 server.replicas',
      'f:4:20 server.trustedProxies[0]',
      'f:6:3 limits.exmept',
      'f:7:13 limits.default[0]',
    ])
  })
})

describe('the environment', () => {
  it('overrides any key: __ nests, camelCase is SNAKE_CASE, lists are split by comma', () => {
    const { config } = load(GOOD, {
      env: {
        PORTCULLIS_SERVER__HOST: '::1',
        PORTCULLIS_SERVER__TRUSTED_PROXIES: '10.0.0.0/8, fd00::/8',
        PORTCULLIS_SERVER__WORKERS: '2',
        PORTCULLIS_TOKENS__ACCESS_TTL_SECONDS: '60',
        PORTCULLIS_TOKENS__EMAIL_CLAIMS: 'false',
        PORTCULLIS_LOG__SAMPLE: '0.5',
        PORTCULLIS_AUTH__PASSWORD__ARGON2__MEMORY_KI_B: '2048',
        PORTCULLIS_LIMITS__POLICIES__PER_USER__LIMIT: '7',
      },
    })
    expect(config.server).toMatchObject({ host: '::1', trustedProxies: ['10.0.0.0/8', 'fd00::/8'], workers: 2 })
    expect(config.tokens).toMatchObject({ accessTtlSeconds: 60, emailClaims: false })
    expect(config.log.sample).toBe(0.5)
    expect(config.auth.password.argon2.memoryKiB).toBe(2048)
    expect(config.limits.policies.perUser).toEqual({ limit: 7, windowSeconds: 60, key: 'principal' })
  })

  it('has short names for the usual three, and the long ones win over them', () => {
    const short = { DATABASE_URL: 'postgres://short/d', REDIS_URL: 'redis://short', PORT: '1234' }
    const { config } = load(GOOD, { env: short })
    expect([config.database.url, config.redis.url, config.server.port]).toEqual(['postgres://short/d', 'redis://short', 1234])
    expect(load(GOOD, { env: { ...short, PORTCULLIS_DATABASE__URL: 'postgres://long/d' } }).config.database.url).toBe('postgres://long/d')
  })

  it('may name a file that holds the value: …_FILE', () => {
    const env = {
      DATABASE_URL_FILE: fileWith('postgres://from-file/d\n'),
      PORTCULLIS_LOG__LEVEL_FILE: fileWith('debug'),
      PORTCULLIS_SECRET_KEY: undefined,
      PORTCULLIS_SECRET_KEY_FILE: fileWith(`${KEY}\n`),
    }
    const { config, secrets } = load(GOOD, { env })
    expect([config.database.url, config.log.level]).toEqual(['postgres://from-file/d', 'debug'])
    expect(secrets.secretKey?.toString('base64')).toBe(KEY)
    expect(problems(GOOD, { env: { DATABASE_URL_FILE: '/nowhere/x' } })).toEqual([
      'DATABASE_URL_FILE: cannot read /nowhere/x: ENOENT; name a file that this user can read',
    ])
  })

  it('that is not ours is left alone; an empty value is none', () => {
    expect(load(GOOD, { env: { HOST: 'x', SERVER__PORT: '1', PORTCULLIS_SERVER__HOST: '' } }).config.server.host).toBe('127.0.0.1')
  })

  it.each([
    ['PORTCULLIS_SERVER__PROT', 'PORTCULLIS_SERVER__PORT'],
    ['PORTCULLIS_SERVR__PORT', 'PORTCULLIS_SERVER__PORT'],
    ['PORTCULLIS_DATABASE__POOLSIZE', 'PORTCULLIS_DATABASE__POOL_SIZE'],
    ['PORTCULLIS_SECRET_KEYY', 'PORTCULLIS_SECRET_KEY'],
  ])('with an unknown %s is fatal, and the right name is suggested', (name, right) => {
    expect(problems(GOOD, { env: { [name]: '1' } })).toEqual([expect.stringMatching(new RegExp(`^${name}: no such setting.*${right}\\b`))])
  })

  it('is named as the place of a value that is wrong, also of one in a list', () => {
    expect(problems(GOOD, { env: { PORT: 'eighty' } })).toEqual(['PORT: server.port: must be an integer, not "eighty"'])
    expect(problems(GOOD, { env: { PORTCULLIS_SERVER__TRUSTED_PROXIES: '10.0.0.0/8,nowhere' } })).toEqual([
      expect.stringMatching(/^PORTCULLIS_SERVER__TRUSTED_PROXIES: server\.trustedProxies\[1\]: must be a network/),
    ])
  })

  it('alone is a configuration, too', () => {
    const { config } = loadConfig({ env: { PORTCULLIS_SECRET_KEY: KEY, PORT: '99' } })
    expect(config.server.port).toBe(99)
  })
})

describe('flags', () => {
  it('win over the environment, which wins over the file', () => {
    const env = { PORT: '1111', PORTCULLIS_SERVER__HOST: 'from-env' }
    const { server } = load(GOOD, { env, flags: ['server.port=2222'] }).config
    expect([server.host, server.port, server.trustedProxies]).toEqual(['from-env', 2222, ['10.0.0.0/8']])
  })

  it('are named as the place of what is wrong with them', () => {
    expect(problems(GOOD, { flags: ['server.port=-1', 'log.level'] })).toEqual([
      '--set log.level: has no value; write it as --set section.key=value',
      '--set server.port: must be >= 0, not -1',
    ])
  })

  it('that name no setting are reported with the right name', () => {
    expect(problems(GOOD, { flags: ['server.prot=1'] })).toEqual([
      expect.stringMatching(/^--set server\.prot: no such setting.*server\.port/),
    ])
  })
})

describe('secrets', () => {
  it('are required, except by commands that only check', () => {
    const file = fileWith(GOOD)
    expect(() => loadConfig({ file, env: {} })).toThrow(
      /^PORTCULLIS_SECRET_KEY: is required; give 32 random bytes in base64, for example from: openssl rand -base64 32$/,
    )
    expect(loadConfig({ file, env: {}, needSecrets: false }).secrets.secretKey).toBeNull()
  })

  it('of the wrong length or without randomness are refused and never repeated', () => {
    const wrong = {
      'must be 32 bytes in base64 (it holds 16)': Buffer.from('0123456789abcdef').toString('base64'),
      'must be 32 bytes in base64 (it holds 33)': Buffer.from('0123456789abcdef0123456789abcdefX').toString('base64'),
      'is not random': Buffer.alloc(32, 'ab').toString('base64'),
    }
    for (const [message, value] of Object.entries(wrong)) {
      for (const name of ['PORTCULLIS_SECRET_KEY', 'PORTCULLIS_SECRET_KEY_PREVIOUS']) {
        const reported = problems(GOOD, { env: { [name]: value } })
        expect(reported).toEqual([expect.stringContaining(`${name}: ${message}; give 32 random bytes in base64`)])
        expect(reported.join()).not.toContain(value)
      }
    }
  })

  it('in an address that is wrong are not repeated either', () => {
    const reported = problems(GOOD, { env: { DATABASE_URL: 'mysql://gate:s3cr3t-pw@h/db', REDIS_URL: 'rediss//:s3cr3t-pw@h' } })
    expect(reported).toHaveLength(2)
    expect(reported.join()).not.toContain('s3cr3t-pw')
  })

  it.each([
    ['postgres://gate:s3cr3t-pw@h1:x,h2/db', 'is not an address of Postgres'],
    ['postgres://gate:s3cr3t-pw@h1,,h2/db', 'a host is empty'],
    ['postgres://gate:s3cr3t-pw@/db?host=h1,h2&port=1,2,3', '2 hosts and 3 ports: name one port, or one for each host'],
  ])('in a list of hosts that is wrong are not repeated: %s', (url, message) => {
    const reported = problems(GOOD, { env: { DATABASE_URL: url, PORTCULLIS_DATABASE__READ_URL: url } })
    expect(reported).toEqual([expect.stringContaining(`database.url: ${message}`), expect.stringContaining(`database.readUrl: ${message}`)])
    expect(reported.join()).not.toContain('s3cr3t-pw')
  })
})

it.each(['/v1/items:batch', '/a/:1', '/a:b/c@d'])('%s is a prefix like others', (path) => {
  expect(problems(`routes:\n${route(PUBLIC.replace('/a', `"${path}"`))}`)).toEqual([])
})

describe('a warning is reported, and stops nothing', () => {
  it.each([
    '127.0.0.1/32',
    '10.1.0.0/16',
    '172.20.0.0/16',
    '192.168.1.7',
    '::1',
    'fd00::/8',
  ])('%s exempt without trusted proxies', (net) => {
    expect(warnings(`limits:\n  exempt: ["${net}"]\n`)).toEqual([
      expect.stringMatching(/^f:2:12: limits\.exempt\[0\]: exempts a private network/),
    ])
    expect(warnings(`server: { trustedProxies: [10.0.0.0/8] }\nlimits:\n  exempt: ["${net}"]\n`)).toEqual([])
  })

  it('for TLS files of an upstream that is asked without TLS', () => {
    const upstream = '{ url: "http://h", tls: { ca: f } }'
    expect(warnings(`routes:\n  - { name: a, match: { path: /a }, upstream: [${upstream}], access: public }\n`)).toEqual([
      'f:2:67: routes[0].upstream[0].tls: has no effect for http://h; write the url with https://, or remove tls',
    ])
  })

  it('for a header that is no reserved header and passes anyway', () => {
    const withHeaders = (names: string) => `routes:\n${route(`${PUBLIC}\n    headers: { passReserved: [${names}] }`)}`
    expect(warnings(withHeaders('CF-IPCountry, X-Goog-Api-Key'))).toEqual([])
    expect(warnings(withHeaders('X-Tenant'))).toEqual([
      'f:6:31: routes[0].headers.passReserved[0]: has no effect: X-Tenant is not a reserved header; remove it here',
    ])
  })

  it('for settings of CORS that have no effect', () => {
    expect(warnings('cors: { mode: own }\n')).toEqual(['f:1:9: cors.mode: lets no page of another origin in: cors.origins is empty'])
    expect(warnings(`routes:\n${route(`${PUBLIC}\n    cors: { mode: own }`)}`)).toEqual([
      'f:6:13: routes[0].cors.mode: lets no page of another origin in: cors.origins is empty',
    ])
    expect(warnings(`routes:\n${route(`${PUBLIC}\n    cors: { methods: [PROPFIND], exposeHeaders: [DAV] }`)}`)).toEqual([
      'f:6:13: routes[0].cors.methods: has no effect: the upstream handles CORS of this route',
    ])
    const origins = 'cors: { origins: ["https://a.example"] }\n'
    const set = `${PUBLIC}\n    headers: { response: { set: { Access-Control-Allow-Origin: "*" } } }`
    expect(warnings(`${origins}routes:\n${route(set)}`)).toEqual([
      expect.stringMatching(/^f:7:28: routes\[0\]\.headers\.response\.set: Access-Control-Allow-Origin has no effect/),
    ])
    expect(warnings(`${origins}routes:\n${route(`${set}\n    cors: { mode: upstream }`)}`)).toEqual([])
  })

  it.each([
    ['balance: sticky', 'routes[0].balance: has no effect for one upstream: name each server'],
    ['balance: leastConnections', 'routes[0].balance: has no effect for one upstream: name each server'],
    ['sticky: { by: address }', 'routes[0].sticky: has no effect without balance: sticky'],
  ])('for a route whose setting has no effect: %s', (setting, warning) => {
    expect(warnings(`routes:\n${route(`${PUBLIC}\n    ${setting}`)}`)).toEqual([expect.stringContaining(warning)])
  })

  it('for an empty list of routes', () => {
    expect(allWarnings('')).toEqual([NO_ROUTES])
    expect(allWarnings('server: {}\nroutes: []\n')).toEqual([NO_ROUTES.replace('1:1', '2:1')])
    expect(allWarnings(`routes:\n${route(PUBLIC)}`)).toEqual([])
  })

  it('not for a public network', () => {
    expect(warnings('limits:\n  exempt: [203.0.113.0/24]\n')).toEqual([])
  })

  it('for a target limit that the limit of the header section makes useless', () => {
    expect(warnings('server: { maxTargetBytes: 32768 }\n')).toEqual([
      'f:1:11: server.maxTargetBytes: is larger than server.maxHeaderBytes, which the target is a part of: targets over 16384 bytes get 431',
    ])
    expect(warnings('server: { maxTargetBytes: 32768, maxHeaderBytes: 65536 }\n')).toEqual([])
    expect(warnings('server: { maxHeaderBytes: 4096 }\n')).toEqual([])
  })

  it('for a role that auth.roles does not know, with the nearest name', () => {
    expect(warnings(`routes:\n${route(PUBLIC.replace('public', '{ anyOf: [{ roles: [admn] }, { roles: [user] }] }'))}`)).toEqual([
      'f:5:5: routes[0].access: role admn is not in auth.roles; did you mean admin?',
    ])
  })

  it.each(['/auth', '/Auth/x', '/health', '/.well-known/jwks.json'])('for a route on our own path %s', (path) => {
    expect(warnings(`routes:\n${route(PUBLIC.replace('/a', path))}`)).toEqual([
      expect.stringMatching(/^f:4:14: routes\[0\]\.match\.path: .*never reached/),
    ])
  })
})

describe('a laxer route', () => {
  const two = (lax: string, strict: string, laxUpstream = 'http://api:3000') => `routes:
  - { name: lax, upstream: ["${laxUpstream}"], access: public, ${lax} }
  - { name: strict, upstream: ["http://api:3000"], access: { roles: [admin] }, ${strict} }
`
  const admin = 'match: { path: /admin }'
  it.each([
    [
      'by another host',
      'match: { path: /, host: old.example.com }',
      'match: { path: /admin, host: api.example.com }',
      'old.example.com/admin',
    ],
    ['after its rewrite', 'match: { path: /open }, rewrite: { prefix: / }', admin, '/open/admin'],
    ['after a rewrite below it', 'match: { path: /open }, rewrite: { prefix: /admin/reports }', admin, '/open'],
    [
      'after a rewrite of the stricter one',
      'match: { path: /internal }',
      'match: { path: /admin }, rewrite: { prefix: /internal/x }',
      '/internal/x',
    ],
    [
      'by host and in another case',
      'match: { path: /ADMIN, host: old.example.com }',
      'match: { path: /admin, host: api.example.com }',
      'old.example.com/',
    ],
  ])("that reaches a stricter one's paths %s is a problem", (_, lax, strict, way) => {
    const reported = problems(two(lax, strict))
    expect(reported).toEqual([
      expect.stringMatching(
        /^f:2:\d+: routes\[0\]\.match: .*reaches what route strict protects \(role admin\) with public access; require the same access on both routes$/,
      ),
    ])
    expect(reported[0]!.toLowerCase()).toContain(way)
  })

  it.each([
    ['a short public path beside a longer protected one', 'match: { path: / }', admin, 'http://api:3000'],
    ['a longer public path below a protected one', 'match: { path: /admin/login }', admin, 'http://api:3000'],
    [
      'another upstream',
      'match: { path: /, host: old.example.com }',
      'match: { path: /admin, host: api.example.com }',
      'http://other:3000',
    ],
    ['a rewrite to somewhere else', 'match: { path: /open }, rewrite: { prefix: /public }', admin, 'http://api:3000'],
    ['a path that only begins alike', 'match: { path: /open }, rewrite: { prefix: /administration }', admin, 'http://api:3000'],
  ])('is no problem: %s', (_, lax, strict, upstream) => {
    expect(problems(two(lax, strict, upstream))).toEqual([])
  })
})

describe('any text whatever', () => {
  const bits = [
    '',
    ' ',
    '\n',
    '\t',
    '{',
    '}',
    '[',
    ']',
    ':',
    ': ',
    '- ',
    '*a',
    '&a ',
    '!!',
    '"',
    "'",
    '#',
    '0',
    '9',
    '-1',
    'null',
    '~',
    '__proto__: ',
    '/',
    '%',
    '<<: ',
    '? ',
  ]
  const change = fc.record({
    at: fc.nat(GOOD.length),
    cut: fc.nat(12),
    put: fc.oneof(fc.constantFrom(...bits), fc.string({ maxLength: 5 })),
  })

  it('is either a configuration or a ConfigError with places in it', () => {
    const property = fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const text = changes.reduce((t, { at, cut, put }) => t.slice(0, at) + put + t.slice(at + cut), GOOD)
      for (const reported of problems(text)) expect(reported).toMatch(/^(f:\d+:\d+|f): ./)
    })
    fc.assert(property, { numRuns: Number(process.env.FUZZ_RUNS ?? 500), seed: 20_261_101 })
  }, 120_000)
})

describe('problems and warnings of one run', () => {
  const failure = (yaml: string) => {
    try {
      load(yaml)
    } catch (error) {
      if (error instanceof ConfigError) return error
      throw error
    }
    throw new Error('the configuration is valid')
  }
  const texts = (list: ConfigError['problems']) => list.map(({ path, message }) => `${path}: ${message}`)
  const ROUTE_WITH_TYPO = `routes:\n${route(`${PUBLIC}\n    limits: [none]\n    timeout: { idleMs: 1 }`)}`

  it('a route with an unknown key is still checked against the other settings', () => {
    expect(texts(failure(ROUTE_WITH_TYPO).problems)).toEqual(['routes[0].limits[0]: no such policy', 'routes[0].timeout: unknown key'])
  })

  it('a route with an unknown key in match is not compared with other routes', () => {
    const two = `routes:\n${route('    match: { path: /a, method: [GET] }\n    access: public')}${route(PUBLIC, 'b')}`
    expect(texts(failure(two).problems)).toEqual(['routes[0].match.method: unknown key'])
  })

  it('warnings come with the problems', () => {
    const { problems: wrong, warnings: reported } = failure(
      `log: { lvel: info }\nroutes:\n${route('    match: { path: /a }\n    access: { roles: [admn] }')}`,
    )
    expect(texts(wrong)).toEqual(['log.lvel: unknown key'])
    expect(texts(reported)).toEqual(['routes[0].access: role admn is not in auth.roles'])
  })

  it('a file of a certificate that is not on this machine is named, and is no problem', () => {
    const { absentFiles } = load('server: { tls: { cert: /nowhere/tls.crt, key: /nowhere/tls.key } }')
    expect(texts(absentFiles)).toEqual([
      'server.tls.cert: there is no /nowhere/tls.crt on this machine',
      'server.tls.key: there is no /nowhere/tls.key on this machine',
    ])
  })
})
