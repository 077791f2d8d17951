/** `portcullis policy`: explain, test and routes, with the callers that only the database knows. */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { runCli } from '../../support/cli.ts'
import { call, newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { publicJwkOf, startExternalIssuer } from '../../support/external-issuer.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { newKey } from '../../support/keys.ts'
import { until } from '../../support/processes.ts'
import { everyRow } from '../../support/rows.ts'
import { activateNext, rotateKey } from '../../support/signing-keys.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const dir = mkdtempSync(join(tmpdir(), 'portcullis-policy-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
let count = 0
const fileWith = (text: string) => {
  const file = join(dir, `${count++}.yaml`)
  writeFileSync(file, text)
  return file
}

const DEMO = ['--config', 'config/demo.yaml']
const explain = (...args: string[]) => runCli(['policy', 'explain', ...args, ...DEMO])

describe('policy explain, from the configuration alone', () => {
  it('says which rule decides, why other routes do not, and what the route does', async () => {
    const { code, stdout, stderr } = await explain('GET', '/shop/admin/orders?x=1', '--role', 'user', '--from', '203.0.113.7')
    expect([code, stderr]).toEqual([0, ''])
    for (const line of [
      'GET http://localhost:8080/shop/admin/orders?x=1',
      /decision +refused 403 forbidden/,
      /rule +authorize: The route needs role admin\./,
      /client +203\.0\.113\.7/,
      /admin-orders +\* +\/shop\/admin +\* +It takes the request\./,
      /shop +\* +\/shop +GET,HEAD +Another route covers more of the path than \/shop\./,
      /limits +perUser: 3000\/min per user or machine/,
      /upstream +http:\/\/127\.0\.0\.1:3000/,
      /sends +GET \/shop\/admin\/orders\?x=1/,
      /x-forwarded-for: 203\.0\.113\.7/,
      /deadlines +connect 1000 ms, headers 60000 ms, idle 30000 ms, whole request without limit/,
    ])
      expect(stdout).toMatch(line)
  })

  it('--json has the same for programs', async () => {
    const { stdout } = await explain('POST', '/shop/orders', '--role', 'admin', '--json')
    expect(JSON.parse(stdout)).toMatchObject({
      decision: 'allow',
      route: 'orders',
      principal: { kind: 'user', roles: ['admin', 'user'], second_factor: false },
      candidates: [
        { route: 'orders', result: 'matched' },
        { route: 'shop', result: 'shorter' },
      ],
      effects: { upstream_path: '/shop/orders', deadlines: { connect_ms: 1000 } },
    })
  })

  it('a path has the host of its route, else that of server.publicUrl', async () => {
    const route = (name: string, match: string) => `  - { name: ${name}, match: ${match}, upstream: ["http://a"], access: public }\n`
    const file = fileWith(
      `server: { publicUrl: "https://www.test" }\nroutes:\n${route('front', '{ path: / }')}${route('api', '{ path: /api, host: api.test }')}`,
    )
    const url = async (path: string) =>
      JSON.parse((await runCli(['policy', 'explain', 'GET', path, '--json', '--config', file])).stdout).request.url
    expect(await url('/api/x')).toBe('https://api.test/api/x')
    expect(await url('/x')).toBe('https://www.test/x')
  })

  it.each<[what: string, args: string[], code: number, lines: string[]]>([
    [
      'a target that can be read in two ways',
      ['GET', '/shop/../x'],
      2,
      ['/shop/../x: the gateway answers 400 target_ambiguous.', 'dot segment'],
    ],
    ['a host that is none', ['GET', 'http://a b/shop'], 2, ['the gateway answers 400 header_invalid.', 'plain form']],
    ['a path without a slash', ['GET', 'shop'], 2, ['write a URL such as http://localhost:8080/orders']],
    ['a target that is too long', ['GET', `/${'a'.repeat(9000)}`], 2, ['414 target_too_long', 'server.maxTargetBytes']],
    ['an unknown role', ['GET', '/shop', '--role', 'usr'], 2, ['there is no role usr', 'did you mean user? The roles are admin, user']],
    ['a method in small letters', ['get', '/shop'], 2, ['no such method: get; did you mean GET?']],
    ['a token as an argument', ['GET', '/shop', '--token', 'abc'], 2, ['--token takes only -', 'standard input']],
    [
      'an empty standard input',
      ['GET', '/shop', '--token', '-', '--set', 'database.url=postgres://u@127.0.0.1:1/x'],
      2,
      ['PORTCULLIS_SECRET_KEY'],
    ],
    [
      'a second factor of nobody',
      ['GET', '/shop', '--second-factor'],
      2,
      ['--second-factor is about a login: it goes with --user or --role'],
    ],
    ['the login of a token', ['GET', '/shop', '--token', '-', '--auth-age', '60'], 2, ['--auth-age is about a login']],
    ['two callers', ['GET', '/shop', '--role', 'user', '--anonymous'], 2, ['cannot be used with']],
    ['an address that is none', ['GET', '/shop', '--from', 'here'], 2, ['--from takes an IP address such as 203.0.113.7, not here']],
    ['no URL', ['GET'], 2, ['policy explain needs a URL']],
    [
      'a database that is away',
      ['GET', '/shop', '--user', 'ann', '--set', 'database.url=postgres://u@127.0.0.1:1/x'],
      1,
      ['the database at 127.0.0.1:1 does not answer'],
    ],
  ])('%s', async (_, args, code, lines) => {
    const ran = await explain(...args)
    expect(ran.code).toBe(code)
    expect(ran.stdout).toBe('')
    for (const line of lines) expect(ran.stderr).toContain(line)
    expect(ran.stderr).not.toMatch(/^ +at /m)
  })

  it('other refusals are answers: exit code 0', async () => {
    for (const args of [
      ['GET', '/nowhere'],
      ['POST', '/shop/catalog'],
      ['TRACE', '/shop'],
      ['GET', '/auth/me'],
    ])
      expect((await explain(...args)).code, args.join(' ')).toBe(0)
  })

  it('without a configuration it says where it looked', async () => {
    const cwd = process.cwd()
    const ran = await runCli(['policy', 'explain', 'GET', '/x'])
    expect(cwd).toBe(process.cwd())
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toContain('no --config, and no portcullis.yaml')
  })

  it('policy routes prints what routes prints', async () => {
    expect((await runCli(['policy', 'routes', ...DEMO])).stdout).toBe((await runCli(['routes', ...DEMO])).stdout)
  })
})

describe('with a database', () => {
  let gateway: Gateway
  let upstream: Upstream
  let ann: TestUser
  let env: NodeJS.ProcessEnv
  beforeAll(async () => {
    upstream = await startUpstream()
    gateway = await startGateway({
      config: { auth: { roles: { support: {} } } },
      routes: [
        {
          name: 'reports',
          match: { path: '/reports' },
          upstream: [upstream.url],
          access: { roles: ['support'] },
          rewrite: { prefix: '/v1' },
        },
        { name: 'front', match: { path: '/front' }, upstream: [upstream.url], access: 'authenticated' },
      ],
    })
    env = { PORTCULLIS_SECRET_KEY: gateway.secretKey }
    ann = await newUserWithRoles(gateway, ['support'])
  })
  afterAll(async () => {
    await gateway?.close()
    await upstream?.close()
  })
  const ask = async (args: string[], { input = '', secrets = env } = {}) => {
    const ran = await runCli(['policy', 'explain', 'GET', ...args, '--json', '--config', gateway.file], secrets, input)
    expect(ran.code, ran.stderr).toBe(0)
    return JSON.parse(ran.stdout)
  }

  it('--user asks the database and needs no secret', async () => {
    for (const login of [ann.username, ann.email, ann.id])
      expect(await ask(['/reports', '--user', login], { secrets: {} })).toMatchObject({
        decision: 'allow',
        principal: { id: ann.id, roles: ['support', 'user'] },
        effects: { upstream_path: '/v1' },
      })
    const bob = await newUser(gateway)
    expect(await ask(['/reports', '--user', bob.username])).toMatchObject({ decision: 'refuse', code: 'forbidden' })
    await gateway.app.identity.administration.disable(bob.id, { actor: 'test', context: { ip: null, userAgent: null, requestId: null } })
    expect(await ask(['/front', '--user', bob.username])).toMatchObject({ code: 'token_revoked' })
  })

  it('--token - judges access tokens and API keys as requests are judged', async () => {
    expect(await ask(['/reports', '--token', '-'], { input: `Bearer ${ann.token}\n` })).toMatchObject({ decision: 'allow' })
    const { headers } = (await call(gateway, '/reports', { token: ann.token })).body
    const shown = await ask(['/reports', '--token', '-'], { input: ann.token })
    for (const name of ['x-auth-user', 'x-auth-roles', 'x-auth-session'])
      expect(shown.effects.request_headers).toContainEqual({ name, value: headers[name] })
    const { key } = await newKey(gateway, ann)
    expect(await ask(['/reports', '--token', '-'], { input: key })).toMatchObject({ principal: { kind: 'apiKey', id: ann.id } })
    expect(await ask(['/reports', '--token', '-'], { input: 'rubbish' })).toMatchObject({ decision: 'refuse', code: 'token_invalid' })
    const gone = await newUser(gateway)
    await call(gateway, '/auth/logout', { method: 'POST', token: gone.token })
    expect(await ask(['/front', '--token', '-'], { input: gone.token })).toMatchObject({ code: 'token_revoked' })
  })

  it('writes nothing: a key that is due is not promoted, and no use is noted', async () => {
    // no gateway runs while the question is asked, so that nothing else writes
    const routes = [{ name: 'reports', match: { path: '/reports' }, upstream: [upstream.url], access: 'authenticated' }]
    const before = await startGateway({ config: { tokens: { keyPollSeconds: 3600 } }, routes })
    const cat = await newUser(before)
    const { key } = await newKey(before, cat)
    await rotateKey(before)
    await activateNext(before)
    const file = fileWith(readFileSync(before.file, 'utf8'))
    await before.close()
    const secrets = { PORTCULLIS_SECRET_KEY: before.secretKey }
    const stored = await everyRow(before.databaseUrl)
    expect(stored).toContain(cat.username)
    for (const [args, input] of [
      [['--token', '-'], cat.token],
      [['--token', '-'], key],
      [['--user', cat.username], ''],
    ] as const) {
      const ran = await runCli(['policy', 'explain', 'GET', '/reports', ...args, '--json', '--config', file], secrets, input)
      expect(JSON.parse(ran.stdout), ran.stderr).toMatchObject({ decision: 'allow', principal: { id: cat.id } })
    }
    expect(await everyRow(before.databaseUrl)).toBe(stored)
  })

  it('an unknown user is named, with what would be right', async () => {
    const ran = await runCli(['policy', 'explain', 'GET', '/reports', '--user', 'nobody', '--config', gateway.file], env)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toContain('there is no user nobody: name an e-mail address, a username or an id')
    const file = fileWith('cases:\n  - { url: /reports, principal: { user: nobody }, expect: { decision: allow } }\n')
    const tested = await runCli(['policy', 'test', file, '--config', gateway.file])
    expect(tested.code).toBe(2)
    expect(tested.stderr).toContain(`${file}:2:5: principal.user: there is no user nobody`)
  })

  it('walks from a log line to an explanation to a test case', async () => {
    const bob = await newUser(gateway)
    const id = randomUUID()
    const refused = await call(gateway, '/reports/daily', { token: bob.token, headers: { 'x-request-id': id } })
    expect(refused.body).toMatchObject({ code: 'forbidden', request_id: id })
    const line = await vi.waitUntil(() => gateway.log().find((one) => one.request_id === id))
    const view = await ask(['/reports/daily', '--user', String(line.user), '--from', String(line.ip)])
    expect(view).toMatchObject({
      status: line.status,
      code: line.outcome,
      route: line.route,
      rule: { text: 'The route needs role support.' },
    })
    const file = fileWith(`cases:
  - { name: support reads, url: /reports/daily, principal: { role: support }, expect: { decision: allow, route: reports, upstreamPath: /v1/daily } }
  - { name: others do not, url: /reports/daily, principal: { user: ${bob.username} }, expect: { decision: forbidden } }
`)
    expect(await runCli(['policy', 'test', file, '--config', gateway.file])).toMatchObject({ code: 0 })
  })

  describe('GET {prefix}/admin/explain', () => {
    let admin: TestUser
    beforeAll(async () => {
      admin = await newUserWithRoles(gateway, ['admin'])
    })
    const get = (query: string, token: string | undefined = admin.token) => call(gateway, `/auth/admin/explain?${query}`, { token })

    it('answers as the command does, for administrators only', async () => {
      const { status, body } = await get(`url=/reports/1&user=${ann.username}&from=10.0.0.1`)
      expect(status).toBe(200)
      expect(body).toMatchObject({ decision: 'allow', route: 'reports', principal: { id: ann.id }, effects: { upstream_path: '/v1/1' } })
      expect(body).toEqual({
        ...(await ask(['/reports/1', '--user', ann.username, '--from', '10.0.0.1'])),
        principal: { ...body.principal, authenticated_at: expect.any(Number) },
      })
      expect((await get('url=/reports')).body).toMatchObject({ decision: 'refuse', code: 'token_missing', principal: null })
      expect((await get('url=/reports&role=support&role=user&method=POST')).body).toMatchObject({ decision: 'allow' })
      expect((await get('url=/reports', ann.token)).body.code).toBe('forbidden')
      expect((await call(gateway, '/auth/admin/explain?url=/reports')).body.code).toBe('token_missing')
    })

    it.each([
      ['method=get&url=/x', 422, 'method'],
      ['', 422, 'url'],
      ['url=/x&token=abc', 422, 'token'],
      ['url=/x&user=a&role=user', 422, 'role'],
      ['url=/x&role=supprt', 422, 'role'],
      ['url=/x&from=here', 422, 'from'],
    ])('%s: %i', async (query, status, field) => {
      const { status: got, body } = await get(query)
      expect([got, body.errors?.[0].field]).toEqual([status, field])
    })

    it('an unknown user is 404', async () => {
      expect((await get('url=/x&user=nobody')).body.code).toBe('not_found')
    })
  })
})

describe('with an embedded database that a gateway has open', () => {
  it('the gateway looks the callers up, and the routes are those of the file', async () => {
    const { openCommandSocket } = await import('../../../src/commands/command-socket.ts')
    const { run } = await import('../../../src/commands/run.ts')
    const gateway = await startGateway({ stores: 'embedded' })
    const { dataDir } = gateway.app.platform.config.database
    const socket = await openCommandSocket(dataDir, (argv, io) => run(argv, io, gateway.app))
    try {
      const ann = await newUser(gateway)
      const file = fileWith(
        `database: { dataDir: ${dataDir} }\nroutes:\n  - { name: only-here, match: { path: /x }, upstream: ["http://a"], access: authenticated }\n`,
      )
      const byUser = await runCli(['policy', 'explain', 'GET', '/x', '--user', ann.username, '--json', '--config', file])
      expect(byUser.stderr).toContain('through the running gateway')
      expect(JSON.parse(byUser.stdout)).toMatchObject({ decision: 'allow', route: 'only-here', principal: { id: ann.id } })
      const byToken = await runCli(['policy', 'explain', 'GET', '/x', '--token', '-', '--json', '--config', file], {}, ann.token)
      expect(JSON.parse(byToken.stdout)).toMatchObject({ decision: 'allow', principal: { id: ann.id } })
      const cases = fileWith(`cases:\n  - { url: /x, principal: { user: ${ann.username} }, expect: { decision: allow } }\n`)
      expect(await runCli(['policy', 'test', cases, '--config', file])).toMatchObject({ code: 0 })
    } finally {
      await socket.close()
      await gateway.close()
    }
  })

  it('nobody waits for the one connection while an issuer is asked for its keys', async () => {
    const { openCommandSocket } = await import('../../../src/commands/command-socket.ts')
    const { run } = await import('../../../src/commands/run.ts')
    const issuer = await startExternalIssuer()
    const gateway = await startGateway({ stores: 'embedded', config: { issuers: [issuer.settings()] } })
    const { dataDir } = gateway.app.platform.config.database
    const socket = await openCommandSocket(dataDir, (argv, io) => run(argv, io, gateway.app))
    try {
      await until(() => issuer.count('/jwks') > 0, 'the gateway has read the keys')
      const held: ServerResponse[] = []
      issuer.everything = (response) => held.push(response)
      const file = fileWith(
        `database: { dataDir: ${dataDir} }\nroutes:\n  - { name: a, match: { path: /x }, upstream: ["http://a"], access: authenticated }\n`,
      )
      const args = ['policy', 'explain', 'GET', '/x', '--token', '-', '--json', '--config', file]
      const asked = runCli(args, {}, await issuer.token({ sub: 'ann' }))
      await until(() => held.length > 0, 'the issuer is asked')
      await newUser(gateway)
      const keys = await Promise.all(issuer.keys.map(publicJwkOf))
      for (const response of held) response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys }))
      // an issuer that is asked for too long has no answer
      const { stdout, stderr } = await asked
      expect(JSON.parse(stdout), stderr).toMatchObject({ decision: 'allow', principal: { id: 'ext:work:ann' } })
    } finally {
      await socket.close()
      await gateway.close()
      await issuer.close()
    }
  })
})

describe('policy test', () => {
  it('the cases of the demo pass, and JUnit has their number', async () => {
    const junit = join(dir, 'reports', 'policy.xml')
    const ran = await runCli(['policy', 'test', 'config/demo.policy.yaml', ...DEMO, '--junit', junit])
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    const passed = Number(/^(\d+) passed, 0 failed$/m.exec(ran.stdout)?.[1])
    expect(passed).toBeGreaterThan(5)
    expect(readFileSync(junit, 'utf8')).toContain(`tests="${passed}" failures="0" errors="0"`)
  })

  it('a case that fails has exit code 1, and says what differs and where', async () => {
    const file = fileWith('cases:\n  - { name: open, url: /shop/orders, expect: { decision: allow } }\n')
    const { code, stdout } = await runCli(['policy', 'test', file, ...DEMO])
    expect(code).toBe(1)
    expect(stdout).toContain(`${file}:2:5: open`)
    expect(stdout).toContain('decision: expected allow, got refuse 401 token_missing. The route needs an authenticated caller.')
    expect(stdout).toContain('0 passed, 1 failed')
    expect(JSON.parse((await runCli(['policy', 'test', file, ...DEMO, '--json'])).stdout)).toMatchObject({ ok: false, failed: 1 })
  })

  it('a wrong key has exit code 2, with line and column, and nothing runs', async () => {
    const file = fileWith('cases:\n  - { ulr: /shop, expect: { decision: allow } }\n')
    expect(await runCli(['policy', 'test', file, ...DEMO])).toEqual({
      code: 2,
      stdout: '',
      stderr: `${file}:2:5: cases[0]: url is missing\n${file}:2:7: cases[0].ulr: unknown key\n  known here: name, method, url, principal, from, websocket, expect\n`,
    })
    const absent = await runCli(['policy', 'test', 'nowhere.yaml', ...DEMO])
    expect(absent).toMatchObject({ code: 2, stdout: '' })
    expect(absent.stderr).toContain('nowhere.yaml: cannot be read: ENOENT')
  })

  it('runs where the files of networks and countries are not, as long as no case needs them', async () => {
    const config = fileWith(`geo: { database: /nowhere/countries.mmdb }
routes:
  - { name: open, match: { path: /open }, upstream: ["http://a"], access: public }
  - { name: german, match: { path: /german }, upstream: ["http://a"], access: { public: true, countries: { allow: [DE] } } }
  - { name: office, match: { path: /office }, upstream: ["http://a"], access: public, networks: { allowFile: /nowhere/office.txt } }
`)
    const open = 'cases:\n  - { url: /open, from: 192.0.2.1, expect: { decision: allow } }\n'
    expect(await runCli(['policy', 'test', fileWith(open), '--config', config])).toMatchObject({ code: 0 })
    expect((await runCli(['policy', 'explain', 'GET', '/german', '--config', config])).stdout).toContain('give --from ADDRESS')
    for (const [path, needed] of [
      ['/german', '/nowhere/countries.mmdb'],
      ['/office', '/nowhere/office.txt'],
    ]) {
      const ran = await runCli(['policy', 'test', fileWith(open.replace('/open', path!)), '--config', config])
      expect([ran.code, ran.stdout]).toEqual([2, ''])
      expect(ran.stderr).toContain(
        `${needed}: cannot be read: ENOENT: no such file or directory\n  put the file there, or ask without the address of a client\n`,
      )
    }
  })
})
