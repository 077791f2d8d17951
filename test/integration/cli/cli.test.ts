import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest'
import { parse } from 'yaml'
import { sealAll } from '../../support/audit.ts'
import { type Ran, runCli } from '../../support/cli.ts'
import { call } from '../../support/client.ts'
import { basic, post } from '../../support/clients.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { freePort, type Running, start, until } from '../../support/processes.ts'
import { refresh } from '../../support/session.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const READABLE_FILE = 'name a YAML file that this user can read: --config FILE; config/portcullis.yaml is an example'

// a process is slow to start on a busy machine, which is no reason to fail
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const NODE = resolve('node_modules/.bin/node')
const CLI = resolve('src/cli.ts')
const KEY = randomBytes(32).toString('base64')
const dir = mkdtempSync(join(tmpdir(), 'portcullis-cli-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** Without the line that names the database: database-of-commands.test.ts tests it. */
const withoutDatabase = (ran: Ran): Ran => ({ ...ran, stderr: ran.stderr.replace(/^database: .*\n/, '') })
const run = async (...args: Parameters<typeof runCli>) => withoutDatabase(await runCli(...args))

let files = 0
const fileWith = (text: string) => {
  const file = join(dir, `${files++}.yaml`)
  writeFileSync(file, text)
  return file
}

const spawnCli = (args: string[], env: NodeJS.ProcessEnv = {}, cwd = dir) =>
  start(NODE, [CLI, ...args], { cwd, env: { PATH: process.env.PATH, HOME: dir, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })

/** Runs one command to its end as a process, in a folder without a configuration, with nothing but `env` in its environment. */
async function runProcess(args: string[], env: NodeJS.ProcessEnv = {}, input = '', cwd = dir): Promise<Ran> {
  const { child } = spawnCli(args, env, cwd)
  const out = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]!.on('data', (chunk) => {
      out[name] += chunk
    })
  child.stdin!.on('error', () => {}).end(input)
  const [code] = await once(child, 'close')
  return withoutDatabase({ code, ...out })
}

describe('the command line', () => {
  const commands = [
    'serve',
    'demo',
    'check',
    'routes',
    'policy',
    'texts',
    'migrate',
    'keys',
    'users',
    'clients',
    'audit',
    'cleanup',
    'healthcheck',
  ]

  it('names every command in --help', async () => {
    const { code, stdout } = await runProcess(['--help'])
    expect(code).toBe(0)
    for (const command of commands) expect(stdout).toContain(`portcullis ${command}`)
    expect(stdout).toContain('Exit codes: 0 done, 1 failed at run time, 2 wrong usage or configuration')
  })

  it.each(commands)('shows an example in %s --help', async (command) => {
    const { code, stdout } = await run([command, '--help'])
    expect(code).toBe(0)
    const [usage, ...rest] = stdout.split('\n')
    expect(usage).toMatch(new RegExp(`^Usage: portcullis ${command}\\b`))
    expect(rest.join('\n')).toMatch(new RegExp(`^ {2}(\\S+=\\S+.* )?portcullis ${command}\\b`, 'm'))
  })

  it('prints its version', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
    expect(await runProcess(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })

  it.each([
    ['nothing at all', [], /portcullis serve/],
    ['an unknown command', ['sevre'], /no such command: sevre/],
    ['a command that every object has', ['toString'], /no such command: toString/],
    ['an unknown option', ['serve', '--prot', '1'], /--prot/],
    ['an option without its value', ['check', '--config'], /--config/],
    ['an unknown action', ['migrate', 'sideways'], /up, down or status/],
    ['an unknown action', ['audit', 'erase'], /verify or export/],
    ['a missing login', ['users', 'disable'], /needs a LOGIN/],
    ['a missing role', ['users', 'grant', 'ann'], /a ROLE/],
    ['a limit that is no number', ['users', 'list', '--limit', 'all'], /--limit takes a number/],
    [
      'an unknown action on users',
      ['users', 'promote', 'ann'],
      /users takes create, invite, invitations, import, list, show, .* or delete/,
    ],
    ['a missing client', ['clients', 'disable'], /needs a CLIENT/],
    ['a client without a name', ['clients', 'create'], /--name/],
    ['keys that are not there', ['clients', 'create', '--name', 'x', '--jwks', '/nowhere.json'], /--jwks/],
    ['no such action on clients', ['clients', 'steal'], /clients takes/],
  ])('exits 2 and says why for %s', async (_, args, reported) => {
    const { code, stdout, stderr } = await run(args)
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(reported)
    expect(stderr).not.toMatch(/^\s+at /m)
  })

  it('a process exits 2 for wrong usage, with what is wrong and where to look on standard error', async () => {
    expect(await runProcess(['check', '--confg', 'x.yaml'])).toEqual({
      code: 2,
      stdout: '',
      stderr: 'no such option: --confg; did you mean --config?\nSee: portcullis check --help\n',
    })
  })
})

const ROUTES = `routes:
  - { name: orders, match: { path: /orders, methods: [GET, POST] }, upstream: ["http://orders:3000"], access: { roles: [admin] } }
  - { name: api, match: { path: /, host: api.example.com }, upstream: ["http://api:3000"], access: authenticated, limits: [] }
  - { name: chat, match: { path: /chat/room }, upstream: ["http://chat:3000"], access: public, websocket: true }
`

describe('check', () => {
  const bad = 'server: { prot: 1 }\nlog: { level: loud }\nroutes:\n  - { name: a, match: { path: /a }, upstream: ["http://h"] }\n'

  it('exits 0 for a valid file, and needs no secrets', async () => {
    const { code, stdout } = await run(['check', '--config', fileWith(ROUTES)])
    expect([code, stdout]).toEqual([0, 'the configuration is valid\n'])
    expect((await run(['check', '-c', fileWith(ROUTES), '--json'])).stdout).toBe('{"ok":true,"problems":[],"warnings":[]}\n')
  })

  it('exits 2 for an invalid one, with every problem and its place', async () => {
    const file = fileWith(bad)
    const { code, stdout, stderr } = await runProcess(['check', file])
    expect([code, stdout]).toEqual([2, ''])
    const isHint = (line: string) => line.startsWith('  ')
    const lines = stderr.trim().split('\n')
    expect(lines.filter(isHint)).toEqual(['  did you mean port?', '  write public, authenticated, or { roles: […] } / { scopes: […] }'])
    expect(lines.filter((line) => !isHint(line)).map((l) => l.split(': ').slice(0, 2))).toEqual([
      [`${file}:1:11`, 'server.prot'],
      [`${file}:2:8`, 'log.level'],
      [`${file}:4:5`, 'routes[0]'],
    ])
  })

  it('--json has the same, for programs', async () => {
    const file = fileWith(bad)
    const { code, stdout } = await run(['check', '--config', file, '--json'])
    const { ok, problems, warnings } = JSON.parse(stdout)
    expect([code, ok, warnings]).toEqual([2, false, []])
    expect(problems).toHaveLength(3)
    expect(problems[0]).toBe(`${file}:1:11: server.prot: unknown key; did you mean port?`)
  })

  it('prints warnings and still exits 0', async () => {
    const file = fileWith(`limits: { exempt: [10.0.0.0/8] }\n${ROUTES}`)
    const { code, stderr } = await run(['check', '--config', file])
    expect(code).toBe(0)
    expect(stderr).toMatch(/^warning: .*:1:20: limits\.exempt\[0\]: /)
    expect(JSON.parse((await run(['check', '--config', file, '--json'])).stdout).warnings).toHaveLength(1)
  })

  it('--strict makes warnings problems, exit 2', async () => {
    const file = fileWith(ROUTES.replace('[admin]', '[admn]'))
    const [what, hint] = [`${file}:2:103: routes[0].access: role admn is not in auth.roles`, 'did you mean admin?']
    const lines = `${what}\n  ${hint}\n`
    expect(await run(['check', file])).toEqual({ code: 0, stdout: 'the configuration is valid\n', stderr: `warning: ${lines}` })
    expect(await run(['check', '--strict', file])).toEqual({ code: 2, stdout: '', stderr: lines })
    const { code, stdout } = await run(['check', '--strict', '--json', file])
    expect([code, JSON.parse(stdout)]).toEqual([2, { ok: false, problems: [`${what}; ${hint}`], warnings: [] }])
    expect((await run(['check', '--strict', fileWith(ROUTES)])).stdout).toBe('the configuration is valid\n')
  })

  it('--print shows all defaults, as a file that is valid again', async () => {
    const { code, stdout } = await run(['check', '--config', fileWith(ROUTES), '--print', '--port', '1234'])
    expect(code).toBe(0)
    expect(parse(stdout)).toMatchObject({
      server: { port: 1234, workers: 'auto' },
      tokens: { accessTtlSeconds: 900 },
      limits: { credentials: { login: { limit: 5, windowSeconds: 60 } }, default: ['perIp', 'perUser'] },
      routes: [{ name: 'orders', timeouts: { connectMs: 1000 } }, { name: 'api' }, { name: 'chat' }],
    })
    expect((await run(['check', '--config', fileWith(stdout)])).code).toBe(0)
  })

  it.each([
    ['in its usual place', 'postgres://gate:s3cr3t-pw@db/portcullis'],
    ['as a parameter', 'postgres://db/portcullis?user=gate&password=s3cr3t-pw'],
    ['with an @ in it', 'postgres://gate:s3cr3t-@s3cr3t-pw@db/portcullis'],
  ])('--print shows no password: %s', async (_, url) => {
    const { code, stdout } = await run(['check', '--print'], {
      DATABASE_URL: url,
      REDIS_URL: 'redis://:s3cr3t-redis@cache',
      PORTCULLIS_MAIL__URL: 'smtp://gate:s3cr3t-mail@mail',
      PORTCULLIS_SECRET_KEY: KEY,
    })
    expect(code).toBe(0)
    expect(stdout).toContain('postgres://')
    expect(stdout).toContain('smtp://gate:***@mail')
    for (const word of ['s3cr3t', KEY]) expect(stdout).not.toContain(word)
  })

  it('exits 2 for a file that is not there', async () => {
    const { code, stderr } = await run(['check', '--config', 'nowhere.yaml'])
    expect([code, stderr]).toEqual([2, `nowhere.yaml: cannot be read: ENOENT: no such file or directory\n  ${READABLE_FILE}\n`])
  })

  it('reads portcullis.yaml of the folder when no file is given', async () => {
    const folder = mkdtempSync(join(dir, 'folder-'))
    writeFileSync(join(folder, 'portcullis.yaml'), 'log: { level: loud }\n')
    const { code, stderr } = await runProcess(['check'], {}, '', folder)
    expect([code, stderr.split(': ')[0]]).toEqual([2, 'portcullis.yaml:1:8'])
  })
})

describe('texts', () => {
  it('prints the texts of a language, and refuses what is no code of a language', async () => {
    const { code, stdout } = await run(['texts', 'de'])
    expect([code, stdout]).toEqual([0, expect.stringContaining('login.title: Anmelden')])
    expect((await run(['texts'])).stdout).toContain('login.title: Log in')
    const wrong = await run(['texts', 'german'])
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('LANGUAGE is a code such as de or de-AT, not german')])
  })
})

describe('routes', () => {
  const COUNTS = '60/min per address when anonymous, 600/min per user or machine'

  it('shows a table, in the order in which they are matched', async () => {
    const { code, stdout } = await run(['routes', '--config', fileWith(ROUTES)])
    expect(code).toBe(0)
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split(/ {2,}/)),
    ).toEqual([
      ['name', 'host', 'path', 'methods', 'access', 'clients', 'limits', 'counts', 'upstream', 'websocket'],
      ['chat', '*', '/chat/room', '*', 'public', '*', 'perIp,perUser', COUNTS, 'http://chat:3000', 'true'],
      ['orders', '*', '/orders', 'GET,POST,HEAD', 'role admin', '*', 'perIp,perUser', COUNTS, 'http://orders:3000', 'false'],
      ['api', 'api.example.com', '/', '*', 'authenticated', '*', '-', 'nobody', 'http://api:3000', 'false'],
    ])
  })

  it('--json has the same', async () => {
    const rows = JSON.parse((await run(['routes', '--config', fileWith(ROUTES), '--json'])).stdout)
    expect(rows.map((r: { name: string }) => r.name)).toEqual(['chat', 'orders', 'api'])
    expect(rows[1]).toMatchObject({ path: '/orders', access: 'role admin', limits: 'perIp,perUser', counts: COUNTS })
  })
})

describe('migrate', () => {
  it('goes up, shows the version, and takes the newest step back', async () => {
    const name = `cli_${process.pid}_${randomBytes(4).toString('hex')}`
    await query(inject('postgresUrl'), `CREATE DATABASE ${name}`)
    const env = { PORTCULLIS_SECRET_KEY: KEY, DATABASE_URL: inject('postgresUrl').replace(/\/postgres$/, `/${name}`) }
    const status = async () => {
      const { code, stdout } = await run(['migrate', 'status'], env)
      expect(code).toBe(0)
      return stdout
        .trim()
        .split('\n')
        .slice(1)
        .map((line) => line.split(/ {2,}/))
    }
    const fresh = await status()
    expect(fresh.length).toBeGreaterThan(3)
    expect(new Set(fresh.map(([, applied]) => applied))).toEqual(new Set(['no']))
    const steps = fresh.map(([step]) => step)
    expect((await run(['migrate', 'up'], env)).stdout).toBe(`up: ${steps.join(', ')}\n`)
    expect((await status()).every(([, applied]) => /^\d{4}-/.test(applied!))).toBe(true)
    expect(await run(['migrate', 'up'], env)).toEqual({ code: 0, stdout: 'nothing to do\n', stderr: '' })
    expect((await run(['migrate', 'down', '--yes'], env)).stdout).toBe(`down: ${steps.at(-1)}\n`)
    expect((await status()).map(([, applied]) => applied === 'no')).toEqual(steps.map((_, i) => i === steps.length - 1))
  })
})

describe('beside a running gateway', () => {
  let upstream: Upstream
  let gateway: Gateway
  let env: NodeJS.ProcessEnv
  beforeAll(async () => {
    upstream = await startUpstream()
    gateway = await startGateway({
      secretKey: KEY,
      routes: [{ name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' }],
    })
    env = { PORTCULLIS_SECRET_KEY: KEY, DATABASE_URL: gateway.databaseUrl }
  })
  afterAll(async () => {
    await gateway.close()
    await upstream.close()
  })
  const login = (name: string, password: string) => call(gateway, '/auth/login', { body: { login: name, password } })
  const api = (token: string) => call(gateway, '/api', { token })
  const done = async (args: string[], input?: string): Promise<string> => {
    const { code, stdout, stderr } = await run(args, env, input)
    expect([code, stderr]).toEqual([0, stderr])
    return stdout
  }
  let people = 0
  /** Made by the command, with a password from standard input. */
  async function newPerson(...more: string[]) {
    const username = `cli${people++}`
    const person = { username, email: `${username}@example.com`, password: `plain zebra ${randomBytes(6).toString('hex')}` }
    const made = await done(
      ['users', 'create', '--username', username, '--email', person.email, '--password-stdin', ...more],
      `${person.password}\n`,
    )
    return { ...person, made }
  }

  describe('users create', () => {
    it('prints a generated password, which logs in and must be changed first', async () => {
      const made = JSON.parse(await done(['users', 'create', '--username', 'Gen', '--email', 'gen@example.com']))
      expect(made).toMatchObject({ username: 'gen', email: 'gen@example.com', roles: ['user'], password_must_change: true })
      const { status, body } = await login('gen', made.password)
      expect([status, body.user.password_must_change]).toEqual([200, true])
      expect((await api(body.access_token)).body.code).toBe('password_change_required')
      const changed = await call(gateway, '/auth/password/change', {
        body: { current_password: made.password, new_password: 'another horse battery' },
        token: body.access_token,
      })
      expect((await api(changed.body.access_token)).status).toBe(200)
    })

    it('reads a password from the standard input of a process', async () => {
      const args = ['users', 'create', '--username', 'piped', '--email', 'piped@example.com', '--password-stdin']
      const { code, stdout, stderr } = await runProcess(args, env, 'plain zebra of pipes\n')
      expect([code, stderr, JSON.parse(stdout).username]).toEqual([0, '', 'piped'])
      expect((await login('piped', 'plain zebra of pipes')).status).toBe(200)
    })

    it('takes a password from standard input and prints none', async () => {
      const person = await newPerson()
      expect(person.made).not.toContain(person.password)
      expect(JSON.parse(person.made)).not.toHaveProperty('password')
      const { status, body } = await login(person.email, person.password)
      expect([status, body.user.password_must_change]).toEqual([200, false])
    })

    it('makes an admin with --role admin', async () => {
      const person = await newPerson('--role', 'admin')
      const { body } = await login(person.username, person.password)
      expect(body.user.roles).toEqual(['admin'])
      expect((await call(gateway, '/auth/admin/errors', { token: body.access_token })).status).toBe(200)
    })

    it.each([
      ['no e-mail', ['--username', 'x-y-z'], '', /users create needs --email/],
      ['what is no e-mail address', ['--username', 'x-y-z', '--email', 'nowhere'], '', /email: must be an e-mail address/],
      [
        'a short password',
        ['--username', 'x-y-z', '--email', 'x@example.com', '--password-stdin'],
        'short\n',
        /password: must be at least 12/,
      ],
      [
        'no password where one was promised',
        ['--username', 'x-y-z', '--email', 'x@example.com', '--password-stdin'],
        '',
        /standard input is empty/,
      ],
      [
        'a role that the configuration does not name',
        ['--username', 'x-y-z', '--email', 'x@example.com', '--role', 'ops'],
        '',
        /^role: must be one of these: admin, user$/m,
      ],
    ])('exits 2 for %s', async (_, args, input, reported) => {
      const { code, stderr } = await run(['users', 'create', ...args], env, input)
      expect(code).toBe(2)
      expect(stderr).toMatch(reported)
    })

    it('exits 1 for a name that is taken', async () => {
      const person = await newPerson()
      const { code, stderr } = await run(['users', 'create', '--username', person.username, '--email', 'new@example.com'], env)
      expect([code, stderr]).toEqual([1, 'The username is taken. Choose another username.\n'])
    })
  })

  describe('users', () => {
    it('list shows everybody, as a table and as JSON', async () => {
      const person = await newPerson('--role', 'admin')
      expect((await done(['users', 'list'])).split('\n')[0]).toMatch(/^id +username +email +roles +disabled +last_login$/)
      const rows: Record<string, unknown>[] = JSON.parse(await done(['users', 'list', '--json']))
      expect(rows.find((r) => r.username === person.username)).toMatchObject({
        email: person.email,
        roles: 'admin',
        disabled: false,
        last_login: '-',
      })
    })

    it('grant and revoke change the roles; tokens from before are refused', async () => {
      const person = await newPerson()
      const before = await login(person.username, person.password)
      expect(JSON.parse(await done(['users', 'grant', person.email.toUpperCase(), 'admin'])).roles).toEqual(['admin', 'user'])
      await until(async () => (await api(before.body.access_token)).body.code === 'token_revoked', 'the end of the old token')
      const granted = await login(person.username, person.password)
      expect(granted.body.user.roles).toEqual(['admin', 'user'])
      expect((await call(gateway, '/auth/admin/errors', { token: granted.body.access_token })).status).toBe(200)
      expect(JSON.parse(await done(['users', 'revoke', person.username, 'admin'])).roles).toEqual(['user'])
      await until(async () => (await api(granted.body.access_token)).body.code === 'token_revoked', 'the end of the old token')
    })

    it('disable shuts a user out of a running gateway, enable lets the user log in again', async () => {
      const person = await newPerson()
      const { body } = await login(person.username, person.password)
      expect((await api(body.access_token)).status).toBe(200)
      expect(JSON.parse(await done(['users', 'disable', person.username]))).toMatchObject({ username: person.username, disabled: true })
      await until(async () => (await api(body.access_token)).body.code === 'token_revoked', 'the refusal')
      expect((await login(person.username, person.password)).body.code).toBe('invalid_credentials')
      expect((await call(gateway, '/auth/refresh', { body: { refresh_token: body.refresh_token } })).body.code).toBe('refresh_invalid')
      expect(JSON.parse(await done(['users', 'enable', person.username])).disabled).toBe(false)
      const again = await login(person.username, person.password)
      expect((await api(again.body.access_token)).status).toBe(200)
      expect((await api(body.access_token)).status).toBe(401)
    })

    it('show, unlock, end-sessions, force-password-change and reset-factor do what they say, by name, address or id', async () => {
      const person = await newPerson()
      const shown = JSON.parse(await done(['users', 'show', person.username]))
      expect(shown).toMatchObject({ username: person.username, disabled: false })
      const { body } = await login(person.username, person.password)
      expect(JSON.parse(await done(['users', 'unlock', shown.id]))).toMatchObject({ id: shown.id })
      expect((await api(body.access_token)).status).toBe(200)
      await done(['users', 'end-sessions', person.email])
      await until(async () => (await api(body.access_token)).body.code === 'token_revoked', 'the end of the session')
      expect(JSON.parse(await done(['users', 'force-password-change', shown.id])).password_must_change).toBe(true)
      expect((await login(person.username, person.password)).body.user.password_must_change).toBe(true)
      await query(gateway.databaseUrl, 'UPDATE users SET mfa_enabled = true WHERE id = $1', [shown.id])
      expect(JSON.parse(await done(['users', 'reset-factor', shown.id])).mfa_enabled).toBe(false)
      const events = await query(
        gateway.databaseUrl,
        `SELECT DISTINCT event FROM audit_log WHERE user_id = $1 AND actor = 'command line' ORDER BY 1`,
        [shown.id],
      )
      expect(events.map((e) => e.event)).toEqual(['factor_reset', 'password_change_force', 'sessions_end', 'user_create', 'user_unlock'])
    })

    it('metadata shows both parts, and merges an object into them', async () => {
      const person = await newPerson()
      expect(JSON.parse(await done(['users', 'metadata', person.username]))).toEqual({ public: {}, admin: {} })
      const patch = '{"public":{"plan":"gold"},"admin":{"tenant":"a"}}'
      expect(JSON.parse(await done(['users', 'metadata', person.email, '--merge', patch]))).toEqual(JSON.parse(patch))
      expect(JSON.parse(await done(['users', 'metadata', person.email, '--merge', '{"admin":{"tenant":null}}']))).toEqual({
        public: { plan: 'gold' },
        admin: {},
      })
    })

    it('delete removes a user; the address is free again, and the name is held for a while', async () => {
      const person = await newPerson()
      const { id, deleted } = JSON.parse(await done(['users', 'delete', person.username]))
      expect(deleted).toBe(true)
      expect(await query(gateway.databaseUrl, 'SELECT 1 FROM users WHERE id = $1', [id])).toEqual([])
      expect((await run(['users', 'show', person.username], env)).code).toBe(2)
      const again = await run(['users', 'create', '--username', person.username, '--email', person.email], env)
      expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('was given up a moment ago')])
      await done(['users', 'create', '--username', `${person.username}b`, '--email', person.email])
    })

    it('list finds by --search and --role, and says when there are more', async () => {
      const [one, two] = [await newPerson(), await newPerson()]
      const found = async (...more: string[]) =>
        (JSON.parse(await done(['users', 'list', '--json', ...more])) as { username: string }[]).map((u) => u.username)
      expect(await found('--search', two.email.toUpperCase())).toEqual([two.username])
      expect(await found('--search', '%')).toEqual([])
      expect(await found('--search', one.username, '--role', 'admin')).toEqual([])
      const { stdout, stderr } = await run(['users', 'list', '--json', '--limit', '1'], env)
      expect([JSON.parse(stdout).length, stderr]).toEqual([1, expect.stringContaining('there are more than 1')])
    })

    it('the last admin stays', async () => {
      await query(gateway.databaseUrl, `UPDATE users SET roles = '{user}'`)
      const person = await newPerson('--role', 'admin')
      for (const args of [
        ['revoke', person.username, 'admin'],
        ['disable', person.username],
        ['delete', person.username],
      ]) {
        const { code, stderr } = await run(['users', ...args], env)
        expect([code, stderr]).toEqual([1, 'This is the last admin: make another user an admin first.\n'])
      }
    })

    it('import reads a file or standard input, reports every bad line, then exits 1, and can be repeated', async () => {
      const line = (name: string, more = {}) => JSON.stringify({ username: name, email: `${name}@example.com`, ...more })
      const file = fileWith([line('imported-1'), '{', line('imported-2', { role: 'admin' }), line('imported-3')].join('\n'))
      const reported = 'line 2: is not valid JSON\nline 3: role: is not known here\n'
      const dry = await run(['users', 'import', file, '--dry-run'], env)
      expect(dry).toEqual({ code: 1, stdout: '{"created":2,"skipped":0,"failed":2}\n', stderr: reported })
      expect(await run(['users', 'import', file], env)).toEqual(dry)
      const again = await runProcess(['users', 'import', '-'], env, `${line('imported-1')}\n${line('imported-4')}\n`)
      expect(again).toEqual({
        code: 0,
        stdout: '{"created":1,"skipped":1,"failed":0}\n',
        stderr: 'line 1: skipped: the e-mail address is there already\n',
      })
    })

    it('import reads the export of another system, and numbers its users', async () => {
      const users = ['named', 'nameless'].map((name, i) => ({
        user_id: `auth0|${i}`,
        email: `${name}@auth0.test`,
        ...(i === 0 ? { username: name } : {}),
        passwordHash: '$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW',
      }))
      const file = fileWith(users.map((user) => JSON.stringify(user)).join('\n'))
      const expected = { code: 1, stdout: '{"created":1,"skipped":0,"failed":1}\n', stderr: 'user 2: username: is missing\n' }
      expect(await run(['users', 'import', file, '--from', 'auth0', '--dry-run'], env)).toEqual(expected)
      expect(await run(['users', 'import', file, '--from', 'auth0'], env)).toEqual(expected)
      expect((await login('named', 'U*U')).status).toBe(200)
    })

    it('import of what cannot be read exits 2, or 1 when that shows only later', async () => {
      const missing = await run(['users', 'import', join(dir, 'nowhere.ndjson')], env)
      expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining('ENOENT')])
      const folder = await run(['users', 'import', dir], env)
      expect([folder.code, folder.stderr]).toEqual([1, expect.stringContaining('EISDIR')])
      expect((await run(['users', 'import'], env)).stderr).toContain('needs a FILE')
    })

    it.each([['grant', 'admin'], ['disable'], ['delete'], ['show']])('%s exits 2 for an unknown user', async (action, ...more) => {
      const { code, stderr } = await run(['users', action, 'nobody', ...more], env)
      expect(code).toBe(2)
      expect(stderr).toContain('no user nobody')
    })
  })

  describe('clients', () => {
    const ask = async (secret: string, id: string) =>
      (await post(gateway, '/auth/token', { grant_type: 'client_credentials' }, basic({ id, secret }))).body

    it('makes, lists, disables, enables and removes one, and gives it a new secret', async () => {
      const made = JSON.parse(await done(['clients', 'create', '--name', 'billing', '--role', 'service', '--scope', 'a', '--scope', 'b']))
      const { id } = made.client
      expect(made.client).toMatchObject({ name: 'billing', roles: ['service'], scopes: ['a', 'b'], auth_method: 'client_secret' })
      const { access_token } = await ask(made.client_secret, id)
      expect((await api(access_token)).status).toBe(200)
      expect((await done(['clients', 'list'])).split('\n')[0]).toMatch(/^id +name +auth_method +roles +scopes +disabled/)
      expect(JSON.parse(await done(['clients', 'list', '--json']))).toMatchObject([{ id, name: 'billing', scopes: 'a b' }])
      const { client_secret } = JSON.parse(await done(['clients', 'rotate-secret', 'billing']))
      await until(async () => (await api(access_token)).body.code === 'token_revoked', 'the end of the token')
      expect((await ask(made.client_secret, id)).error).toBe('invalid_client')
      expect(JSON.parse(await done(['clients', 'disable', id])).disabled).toBe(true)
      expect((await ask(client_secret, id)).error).toBe('invalid_client')
      expect(JSON.parse(await done(['clients', 'enable', 'billing'])).disabled).toBe(false)
      expect((await ask(client_secret, id)).token_type).toBe('Bearer')
      await done(['clients', 'delete', 'billing'])
      expect((await ask(client_secret, id)).error).toBe('invalid_client')
      const { code, stderr } = await run(['clients', 'delete', 'billing'], env)
      expect([code, stderr]).toEqual([2, expect.stringContaining('There is nothing with this name or id.')])
    })

    it('registers public keys from a file, and no private ones', async () => {
      const { publicKey, privateKey } = generateKeyPairSync('ed25519')
      const jwks = (key: KeyObject) => fileWith(JSON.stringify({ keys: [key.export({ format: 'jwk' })] }))
      const made = JSON.parse(await done(['clients', 'create', '--name', 'meter', '--jwks', jwks(publicKey)]))
      expect(made).toMatchObject({ client: { auth_method: 'private_key_jwt' } })
      expect(made).not.toHaveProperty('client_secret')
      const { code, stderr } = await run(['clients', 'create', '--name', 'other', '--jwks', jwks(privateKey)], env)
      expect([code, stderr]).toEqual([2, expect.stringContaining('private key')])
    })
  })

  describe('keys', () => {
    interface Key {
      kid: string
      state: string
    }
    const list = async () => JSON.parse(await done(['keys', 'list', '--json'])) as Key[]
    const kidOf = (token: string) => JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()).kid
    const published = async () => (await call(gateway, '/.well-known/jwks.json')).body.keys.map((k: Key) => k.kid)

    it('rotate publishes a key that does not sign yet; rotate --now signs with it at once, and the old key is gone with its tokens', async () => {
      const person = await newPerson()
      const [old] = (await list()).filter((k) => k.state === 'current')
      const { body } = await login(person.username, person.password)
      expect(kidOf(body.access_token)).toBe(old!.kid)

      const rotated = await run(['keys', 'rotate'], env)
      expect([rotated.code, rotated.stderr]).toEqual([0, expect.stringMatching(/is published and will sign from \d{4}-/)])
      const next = (await list()).find((k) => k.state === 'next')!
      await until(async () => (await published()).includes(next.kid), 'the next key in the JWKS')
      expect(kidOf((await login(person.username, person.password)).body.access_token)).toBe(old!.kid)

      expect((await run(['keys', 'rotate', '--now'], env)).stderr).toMatch(
        / signs now; the old key is removed, and its tokens are refused\n$/,
      )
      const states = await list()
      const current = states.find((k) => k.state === 'current')!
      expect(current.kid).toBe(next.kid)
      expect(states.map((k) => k.kid)).not.toContain(old!.kid)
      await until(
        async () => kidOf((await login(person.username, person.password)).body.access_token) === current.kid,
        'a token of the new key',
      )
      await until(async () => (await api(body.access_token)).status === 401, 'the token of the removed key to be refused')
      expect((await api((await refresh(gateway, body.refresh_token)).body.access_token)).status).toBe(200)
      expect(await published()).not.toContain(old!.kid)
      expect(await done(['keys', 'list'])).toMatch(/^kid +algorithm +state +created +signs_from +retired$/m)
    })

    it('revoke removes a key by its kid: exit 1 for an unknown one', async () => {
      const next = (await list()).find((k) => k.state === 'next')!
      const current = (await list()).find((k) => k.state === 'current')!
      expect(await run(['keys', 'revoke', next.kid, '--json'], env)).toMatchObject({
        code: 0,
        stderr: expect.stringContaining(`${next.kid} is removed, and its tokens are refused; ${current.kid} signs\n`),
      })
      await until(async () => !(await published()).includes(next.kid), 'the key to leave the JWKS')
      const { code, stdout, stderr } = await run(['keys', 'revoke', next.kid], env)
      expect([code, stdout]).toEqual([1, ''])
      expect(stderr).toContain(`there is no signing key "${next.kid}"`)

      const person = await newPerson()
      const { body } = await login(person.username, person.password)
      expect((await run(['keys', 'revoke', current.kid], env)).code).toBe(0)
      await until(async () => (await api(body.access_token)).status === 401, 'the token of the removed key to be refused')
      expect((await list()).map((k) => k.state)).toEqual(['current'])
    })
  })

  describe('audit', () => {
    const verify = (...more: string[]) => run(['audit', 'verify', ...more], env)

    it('verify exits 0 and prints the head of an intact log; otherwise it exits 1 and prints the faults', async () => {
      await newPerson()
      const head = await sealAll(gateway)
      const whole = await verify('--head', head)
      expect([whole.code, whole.stderr]).toEqual([0, ''])
      expect(whole.stdout).toMatch(/^intact; \d+ rows in \d+ batches, 0 not sealed yet\nsealed at \d{4}-/)
      expect(whole.stdout).toContain(`\nhead ${head}\n`)
      expect((await verify('--head', `${'9'.repeat(6)}:${'0'.repeat(64)}`)).stdout).toMatch(
        /^cut off end: batch 999999 of that head is gone/,
      )

      const change = (from: string, to: string) =>
        query(gateway.databaseUrl, 'UPDATE audit_log SET event = $2 WHERE event = $1', [from, to])
      await change('user_create', 'user_make')
      const { code, stdout } = await verify()
      expect([code, stdout.split('\n')[0]]).toEqual([1, expect.stringMatching(/^changed row: [0-9a-f-]{36} in batch \d+, sealed at /)])
      expect(stdout).toMatch(/^not intact: \d+ faults?; /m)
      await change('user_make', 'user_create')
      expect((await verify()).code).toBe(0)
    })

    it('export writes a line of JSON for each event, filtered by user, event and time', async () => {
      const person = await newPerson()
      const { body } = await login(person.username, person.password)
      const list = async (...more: string[]) => {
        const text = await done(['audit', 'export', ...more])
        return text
          .split('\n')
          .slice(0, -1)
          .map((line) => JSON.parse(line))
      }
      const [made, entered] = await list('--user', person.email.toUpperCase())
      expect(made).toMatchObject({ event: 'user_create', actor: 'command line', ip: null })
      expect(entered).toMatchObject({ event: 'login', outcome: 'success', user_id: body.user.id, ip: '127.0.0.1' })
      expect(await list('--user', body.user.id, '--event', 'login')).toEqual([entered])
      expect(await list('--user', body.user.id, '--since', entered.at)).toEqual([entered])
      expect(await list('--user', body.user.id, '--until', entered.at)).toEqual([made])
      expect(await list('--since', '2100-01-01')).toEqual([])
      expect((await list()).length).toBeGreaterThan(2)
      const { code, stdout } = await runProcess(['audit', 'export', '--user', body.user.id], env)
      expect([
        code,
        stdout
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line)),
      ]).toEqual([0, await list('--user', body.user.id)])
    })

    it.each([
      ['a head that is none', ['verify', '--head', 'abc'], /--head is <number>:<hash>/],
      ['a time that is none', ['export', '--since', 'yesterday'], /--since is a date or an instant/],
      ['nobody', ['export', '--user', 'nobody'], /no user nobody/],
    ])('exits 2 for %s', async (_, args, reported) => {
      const { code, stdout, stderr } = await run(['audit', ...args], env)
      expect([code, stdout]).toEqual([2, ''])
      expect(stderr).toMatch(reported)
    })
  })

  it('cleanup removes expired rows and says how many', async () => {
    const person = await newPerson()
    const { body } = await login(person.username, person.password)
    await login(person.username, person.password)
    const { sid } = JSON.parse(Buffer.from(body.access_token.split('.')[1], 'base64url').toString())
    await query(gateway.databaseUrl, `UPDATE sessions SET expires_at = now() - interval '1 day' WHERE id = $1`, [sid])
    expect(JSON.parse(await done(['cleanup'])).sessions).toBe(1)
    expect(await query(gateway.databaseUrl, 'SELECT 1 FROM sessions WHERE id = $1', [sid])).toEqual([])
    expect(JSON.parse(await done(['cleanup']))).toEqual({ sessions: 0, refreshTokens: 0, auditRows: 0 })
  })

  it('healthcheck asks an IPv6 address in brackets', async () => {
    const port = await freePort()
    const { code, stdout } = await runCli(['healthcheck', '--set', 'admin.host=::1', '--set', `admin.port=${port}`])
    expect([code, stdout]).toEqual([1, `no answer from http://[::1]:${port}/readyz: is the gateway running?\n`])
  })

  it('healthcheck exits 0 while the gateway is ready, and 1 when no gateway answers', async () => {
    const ask = (port: number | string) => runProcess(['healthcheck', '--set', `admin.port=${port}`])
    expect(await ask(new URL(gateway.adminUrl).port)).toEqual({ code: 0, stdout: 'ready\n', stderr: '' })
    const unused = await freePort()
    const stdout = `no answer from http://127.0.0.1:${unused}/readyz: is the gateway running?\n`
    expect(await ask(unused)).toEqual({ code: 1, stdout, stderr: '' })
  })

  it('a command with another secret key exits 2 and changes nothing', async () => {
    const { code, stdout, stderr } = await run(['keys', 'rotate', '--now'], {
      ...env,
      PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64'),
    })
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(
      /^PORTCULLIS_SECRET_KEY: .*not the key that this database was set up with\n {2}set that key, or give it as PORTCULLIS_SECRET_KEY_PREVIOUS to replace it\n$/,
    )
  })
})

describe('serve', () => {
  let env: NodeJS.ProcessEnv
  beforeAll(async () => {
    env = { PORTCULLIS_SECRET_KEY: KEY, DATABASE_URL: await createDatabase(inject('postgresUrl')) }
  })
  const serve = (...more: string[]) => spawnCli(['serve', '--set', 'server.host=127.0.0.1', '--set', 'admin.port=0', ...more], env)
  const lines = (of: Running) =>
    of
      .output()
      .split('\n')
      .filter((l) => l.startsWith('{'))
      .map((l) => JSON.parse(l))
  const listening = (of: Running) => until(() => lines(of).find((l) => l.msg === 'portcullis is listening'), 'the gateway')
  const end = async ({ child }: Running) => {
    await until(() => child.exitCode !== null || child.signalCode !== null, 'its end')
    return child.exitCode
  }

  it.each(['SIGTERM', 'SIGINT'] as const)('answers until %s, then closes idle connections and exits 0', async (signal) => {
    const running = serve('--port', '0')
    const { port } = await listening(running)
    expect((await call({ url: `http://127.0.0.1:${port}` }, '/health')).body).toEqual({ status: 'healthy' })
    running.child.kill(signal)
    expect(await end(running)).toBe(0)
    expect(lines(running).at(-1).msg).toBe('stopped')
  })

  it('--log pretty prints addresses, routes with their access, and readable lines', async () => {
    const file = fileWith(ROUTES.replace('[admin]', '[admn]'))
    const running = serve('--config', file, '--port', '0', '--log', 'pretty')
    try {
      const text = await until(() => (/chat\/room/.test(running.output()) ? running.output() : null), 'the table of routes')
      expect(text).toMatch(/^\d\d:\d\d:\d\d WARN {2}.*role admn is not in auth\.roles/m)
      expect(text).toMatch(/^\d\d:\d\d:\d\d INFO {2}portcullis is listening {2}port=\d+/m)
      expect(text).toMatch(/^ {2}gateway +http:\/\/127\.0\.0\.1:\d+$/m)
      expect(text).toMatch(/^ {2}admin +http:\/\/127\.0\.0\.1:\d+ /m)
      expect(text).toMatch(/^ {2}\* +\/orders +GET,POST,HEAD +role admn +\* +http:\/\/orders:3000$/m)
      expect(text).not.toContain('{"')
    } finally {
      await running.stop()
    }
  })

  it('finishes what is in flight on SIGTERM, on a connection that would be kept alive, and exits 0', async () => {
    let release = () => {}
    let isReached = false
    const upstream = await startUpstream(() => {
      isReached = true
      return new Promise<boolean>((go) => {
        release = () => go(false)
      })
    })
    const file = fileWith(`routes:\n  - { name: api, match: { path: /api }, upstream: ["${upstream.url}"], access: public }\n`)
    const running = serve('--config', file, '--port', '0')
    try {
      const { port } = await listening(running)
      const answer = call({ url: `http://127.0.0.1:${port}` }, '/api')
      await until(() => isReached, 'the request at the upstream')
      running.child.kill('SIGTERM')
      await until(() => lines(running).some((l) => /stopping/.test(l.msg)), 'the signal')
      release()
      expect((await answer).status).toBe(200)
      expect(await end(running)).toBe(0)
      expect(lines(running).at(-1).msg).toBe('stopped')
    } finally {
      await running.stop('SIGKILL')
      await upstream.close()
    }
  })

  it('exits 2 without a secret key, and with another one than the database was set up with', async () => {
    const without = await runProcess(['serve'], { DATABASE_URL: env.DATABASE_URL })
    expect([without.code, without.stderr]).toEqual([
      2,
      expect.stringMatching(/^PORTCULLIS_SECRET_KEY: is required\n {2}give 32 random bytes/),
    ])
    const first = serve('--port', '0')
    await listening(first)
    await first.stop()
    const wrong = await runProcess(['serve', '--port', '0', '--set', 'admin.port=0'], {
      ...env,
      PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64'),
    })
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringMatching(/^PORTCULLIS_SECRET_KEY: .*not the key that this database/)])
  })

  it.each(['server.port', 'admin.port'])('exits 1 and names the address when %s is in use', async (setting) => {
    const other = await startUpstream()
    const ports = ['server.port=0', 'admin.port=0'].filter((s) => !s.startsWith(setting))
    const args = ['server.host=127.0.0.1', ...ports, `${setting}=${other.port}`].flatMap((s) => ['--set', s])
    const { code, stderr } = await runProcess(['serve', ...args], env)
    await other.close()
    expect(code).toBe(1)
    expect(stderr).toContain(`${setting} ${other.port} is in use\n  set ${setting}`)
    expect(stderr).not.toMatch(/^\s+at /m)
  })
})

it('an embedded database that another process has open is left alone: exit 1, and the process is named', async () => {
  const gateway = await startGateway({ stores: 'embedded', dataDir: join(dir, 'embedded'), secretKey: KEY })
  const set = ['--set', `database.dataDir=${join(dir, 'embedded')}`, '--set', 'server.port=0', '--set', 'admin.port=0']
  const { code, stdout, stderr } = await runProcess(['serve', ...set], { PORTCULLIS_SECRET_KEY: KEY })
  await gateway.close()
  expect([code, stdout.includes('is listening')]).toEqual([1, false])
  expect(stderr).toMatch(new RegExp(`^the data folder is in use by process ${process.pid} `))
})
