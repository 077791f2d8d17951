/** `portcullis init`: what it asks, writes, refuses and never loses. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { parseEnv } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '../../../src/app/load-config.ts'
import { FRONTS, RUNNERS } from '../../../src/commands/init/answers.ts'
import { run } from '../../../src/commands/run.ts'
import { collectOutput, runCli } from '../../support/cli.ts'
import { TOOL_PATH } from '../../support/processes.ts'
import { describeWith } from '../../support/tools.ts'

const root = mkdtempSync(join(tmpdir(), 'portcullis-init-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let count = 0
const newFolder = () => join(root, String(count++))
const read = (dir: string, name: string) => readFileSync(join(dir, name), 'utf8')
const environmentOf = (dir: string) => parseEnv(read(dir, '.env')) as Record<string, string>
const everything = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .sort()

const HTTPS = ['--upstream', 'http://localhost:3000', '--public-url', 'https://api.example.com']
const init = (dir: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) => runCli(['init', '--dir', dir, ...args], env)

describe.each(RUNNERS.flatMap((runner) => FRONTS.map((front) => [runner, front] as const)))('--run %s --front %s', (runner, front) => {
  const dir = newFolder()
  const FILES = {
    compose: ['compose.yaml'],
    systemd: ['portcullis.service'],
    none: [],
    nginx: ['nginx/portcullis.conf'],
    traefik: ['traefik/routes.yaml', 'traefik/traefik.yaml'],
    caddy: ['Caddyfile'],
    nothing: [],
  }

  it('writes a configuration that check accepts, and the files that belong to it', async () => {
    const { code, stdout } = await init(dir, [...HTTPS, '--run', runner, '--front', front])
    expect([code, stdout.includes('the configuration is valid')]).toEqual([0, true])
    expect(everything(dir)).toEqual(['.env', 'portcullis.yaml', ...FILES[runner], ...FILES[front]].sort())
    const { config, secrets, warnings } = loadConfig({ file: join(dir, 'portcullis.yaml'), env: environmentOf(dir) })
    expect(warnings).toEqual([])
    expect(secrets.secretKey).toHaveLength(32)
    expect(config.server.publicUrl).toBe('https://api.example.com')
    expect(config.routes).toMatchObject([{ access: 'authenticated' }])
    // only the container of the gateway listens on all addresses of its own networks
    if (runner !== 'compose' && front !== 'nothing') expect(config.server.host).toBe('127.0.0.1')
    if (runner !== 'compose') expect(config.admin.host).toBe('127.0.0.1')
    expect(config.server.trustedProxies.length > 0).toBe(front !== 'nothing')
    expect(config.server.tls !== undefined).toBe(front === 'nothing')
  })

  it('only its owner may read the secrets', () => {
    expect(statSync(join(dir, '.env')).mode & 0o777).toBe(0o600)
    expect(statSync(join(dir, 'portcullis.yaml')).mode & 0o777).toBe(0o644)
    const values = Object.values(environmentOf(dir)).filter((value) => value !== '')
    for (const file of everything(dir).filter((name) => name !== '.env'))
      for (const value of values) expect(read(dir, file)).not.toContain(value)
  })

  it('is examined by check as a stranger would', async () => {
    const { code } = await runCli(['check', '--strict', join(dir, 'portcullis.yaml')], environmentOf(dir))
    expect(code).toBe(0)
  })
})

describe('compose.yaml', () => {
  interface Service {
    image: string
    [key: string]: unknown
  }
  const compose = async (...args: string[]) => {
    const dir = newFolder()
    expect((await init(dir, [...args, '--run', 'compose'])).code).toBe(0)
    return { dir, file: parse(read(dir, 'compose.yaml')), config: parse(read(dir, 'portcullis.yaml')) }
  }

  it('has the images of deploy/compose.yaml, each with an exact tag', async () => {
    const { file } = await compose(...HTTPS, '--front', 'nginx')
    const deployed = parse(readFileSync('deploy/compose.yaml', 'utf8')).services as Record<string, Service>
    for (const [name, { image }] of Object.entries(file.services as Record<string, Service>)) {
      expect(image, name).toMatch(/^[\w/-]+:(local|\d+\.\d+[\w.-]*)$/)
      expect(image, name).toBe(deployed[name]!.image)
    }
  })

  it('every service drops all capabilities, gains none, and has a read-only root', async () => {
    const { file } = await compose(...HTTPS, '--front', 'nothing')
    expect(Object.keys(file.services)).toEqual(['gateway', 'postgres', 'redis'])
    for (const service of Object.values(file.services))
      expect(service).toMatchObject({
        cap_drop: ['ALL'],
        read_only: true,
        security_opt: ['no-new-privileges:true'],
        restart: 'unless-stopped',
      })
    const deployed = parse(readFileSync('deploy/compose.yaml', 'utf8')).services
    for (const name of ['postgres', 'redis']) expect(file.services[name].user, name).toBe(deployed[name].user)
    expect(file.networks.stores).toEqual({ internal: true })
    for (const name of ['postgres', 'redis']) {
      expect(file.services[name]).toMatchObject({ networks: ['stores'] })
      expect(file.services[name].ports).toBeUndefined()
    }
  })

  it('publishes only what stands in front needs', async () => {
    const ports = async (...args: string[]) => (await compose(...args)).file.services.gateway.ports
    expect(await ports('--yes')).toEqual(['127.0.0.1:8080:8080'])
    expect(await ports(...HTTPS, '--front', 'nothing')).toEqual(['443:8080', '80:8081'])
    expect(await ports(...HTTPS, '--front', 'nginx')).toEqual(['127.0.0.1:8080:8080'])
    expect(await ports(...HTTPS, '--front', 'caddy')).toEqual(['127.0.0.1:8080:8080', '127.0.0.1:9090:9090'])
  })

  it('trusts exactly the address from which programs of the machine connect', async () => {
    const { file, config } = await compose(...HTTPS, '--front', 'traefik')
    const [{ subnet, gateway }] = file.networks.edge.ipam.config
    expect(config.server.trustedProxies).toEqual([`${gateway}/32`])
    expect(subnet).toBe(`${gateway.replace(/\.\d+$/, '.0')}/24`)
  })

  it('an API on this machine is reached from the container, and others by their names', async () => {
    const here = await compose(...HTTPS, '--front', 'nginx')
    expect(here.config.routes[0].upstream).toEqual(['http://host.docker.internal:3000'])
    expect(here.file.services.gateway.extra_hosts).toEqual(['host.docker.internal:host-gateway'])
    const there = await compose('--upstream', 'https://orders.internal', '--public-url', 'https://api.example.com', '--front', 'nginx')
    expect(there.config.routes[0].upstream).toEqual(['https://orders.internal'])
    expect(there.file.services.gateway.extra_hosts).toBeUndefined()
  })

  it('the URLs of the stores have the generated passwords', async () => {
    const { dir, file } = await compose('--yes')
    const env = environmentOf(dir)
    expect(file.services.gateway.env_file).toBe('.env')
    expect(new URL(env.DATABASE_URL!)).toMatchObject({ password: env.POSTGRES_PASSWORD, hostname: 'postgres', username: 'portcullis' })
    expect(new URL(env.REDIS_URL!)).toMatchObject({ password: env.REDIS_PASSWORD, hostname: 'redis' })
    expect(env.POSTGRES_PASSWORD).toMatch(/^[0-9a-f]{48}$/)
  })

  it('mounts the certificate where the configuration looks for it', async () => {
    const { file, config } = await compose(...HTTPS, '--front', 'nothing', '--certificate', '/etc/a.pem', '--certificate-key', '/etc/a.key')
    expect(file.services.gateway.volumes).toEqual(
      expect.arrayContaining([`/etc/a.pem:${config.server.tls.cert}:ro`, `/etc/a.key:${config.server.tls.key}:ro`]),
    )
  })
})

describe('--acme', () => {
  it.each(['compose', 'systemd', 'none'])('%s: the certificate is fetched, and no file of it is named', async (runner) => {
    const dir = newFolder()
    const { code, stdout } = await init(dir, [...HTTPS, '--run', runner, '--front', 'nothing', '--acme', 'ops@example.com'])
    expect(code).toBe(0)
    expect(parse(read(dir, 'portcullis.yaml')).server.tls).toEqual({
      acme: { domains: ['api.example.com'], email: 'ops@example.com', termsOfServiceAgreed: true },
      redirectPort: runner === 'compose' ? 8081 : 80,
    })
    expect(stdout).toContain('The certificate comes once api.example.com leads to this machine, with the ports 80 and 443 open.')
    expect(stdout).not.toContain('Put the certificate into')
    expect((await runCli(['check', '--strict', join(dir, 'portcullis.yaml')], environmentOf(dir))).code).toBe(0)
  })
})

describe('the pages of the documentation show the same', () => {
  const template = (name: string) => readFileSync(`src/commands/init/templates/${name}`, 'utf8')
  it.each([
    ['portcullis.service', 'docs/operations.md', 'ini'],
    ['nginx.conf', 'docs/behind-a-proxy.md', 'nginx'],
    ['Caddyfile', 'docs/behind-a-proxy.md', 'caddyfile'],
    ['traefik.yaml', 'docs/behind-a-proxy.md', 'yaml'],
    ['traefik-routes.yaml', 'docs/behind-a-proxy.md', 'yaml'],
  ])('%s is a block of %s', (name, page, language) => {
    expect(readFileSync(page, 'utf8')).toContain(`\n\`\`\`${language}\n${template(name)}\`\`\`\n`)
  })
})

describeWith({ program: 'systemd-analyze', remedy: 'apt-get install systemd' }, 'the unit', () => {
  it.each([
    ['behind nginx', 'nginx', false],
    ['with HTTPS of its own, on port 443', 'nothing', true],
  ])('%s is accepted by systemd', async (_, front, hasRight) => {
    const dir = newFolder()
    expect((await init(dir, [...HTTPS, '--run', 'systemd', '--front', front])).code).toBe(0)
    const unit = read(dir, 'portcullis.service')
    expect(unit.includes('AmbientCapabilities=CAP_NET_BIND_SERVICE\n')).toBe(hasRight)
    // the user and the program of the unit are not on this machine
    writeFileSync(
      join(dir, 'portcullis.service'),
      unit.replace('User=portcullis', 'User=root').replaceAll('/usr/bin/node', process.execPath),
    )
    const out = execFileSync('systemd-analyze', ['verify', '--man=no', join(dir, 'portcullis.service')], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: TOOL_PATH },
    })
    expect(out).toBe('')
  })
})

describe('files that are there already', () => {
  it('nothing is written, and exit 1 says which', async () => {
    const dir = newFolder()
    mkdirSync(dir)
    writeFileSync(join(dir, 'compose.yaml'), 'mine\n')
    const { code, stdout, stderr } = await init(dir, ['--yes'])
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toBe(
      `compose.yaml is in ${dir} already: nothing was written\n  name another folder with --dir, or replace them with --force\n`,
    )
    expect(everything(dir)).toEqual(['compose.yaml'])
    expect(read(dir, 'compose.yaml')).toBe('mine\n')
  })

  it('a link to nowhere counts, too', async () => {
    const dir = newFolder()
    mkdirSync(dir)
    symlinkSync('/nowhere/at/all', join(dir, '.env'))
    expect((await init(dir, ['--yes'])).code).toBe(1)
  })

  it('--force keeps every secret and every variable of .env, and a copy of each file', async () => {
    const dir = newFolder()
    await init(dir, ['--yes', '--admin-email', 'ann@example.com'])
    const before = { env: environmentOf(dir), yaml: read(dir, 'portcullis.yaml') }
    writeFileSync(join(dir, '.env'), `${read(dir, '.env')}PORTCULLIS_MAIL__URL='smtp://a:p$w!d@mail.example.com'\n`)
    const { code, stdout } = await init(dir, [...HTTPS, '--run', 'compose', '--front', 'caddy', '--force'])
    expect(code).toBe(0)
    expect(stdout).toContain(
      'the files before are now portcullis.yaml.bak, .env.bak, compose.yaml.bak; the secrets in .env stayed as they were',
    )
    expect(environmentOf(dir)).toEqual({ ...before.env, PORTCULLIS_MAIL__URL: 'smtp://a:p$w!d@mail.example.com' })
    expect(read(dir, 'portcullis.yaml.bak')).toBe(before.yaml)
    expect(statSync(join(dir, '.env.bak')).mode & 0o777).toBe(0o600)
    await init(dir, ['--yes', '--force'])
    expect(everything(dir)).toEqual(expect.arrayContaining(['.env.bak', '.env.bak2']))
  })

  it('when one file cannot be written, none is', async () => {
    const dir = newFolder()
    mkdirSync(dir)
    writeFileSync(join(dir, 'portcullis.yaml'), 'mine\n')
    // the third file: a folder is in its way
    mkdirSync(join(dir, 'compose.yaml'))
    const { code, stdout, stderr } = await init(dir, ['--yes', '--force'])
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain('compose.yaml')
    expect(readdirSync(dir).sort()).toEqual(['compose.yaml', 'portcullis.yaml'])
    expect(read(dir, 'portcullis.yaml')).toBe('mine\n')
  })
})

describe('--dry-run', () => {
  it('prints the files without secrets, and writes nothing', async () => {
    const dir = newFolder()
    const { code, stdout } = await init(dir, ['--yes', '--dry-run', '--admin-email', 'ann@example.com'])
    expect(code).toBe(0)
    for (const name of ['portcullis.yaml', '.env', 'compose.yaml']) expect(stdout).toContain(`# ---- ${name}\n`)
    expect(stdout).toContain('PORTCULLIS_SECRET_KEY=***')
    expect(stdout).not.toMatch(/postgres:\/\/portcullis:/)
    expect(existsSync(dir)).toBe(false)
  })

  it('does not show the secrets of the environment', async () => {
    const env = { DATABASE_URL: 'postgres://u:hidden-word@db/x', REDIS_URL: 'redis://:hidden-word@cache' }
    const { stdout } = await init(newFolder(), [...HTTPS, '--run', 'none', '--front', 'nginx', '--dry-run'], env)
    expect(stdout).not.toContain('hidden-word')
  })
})

it('DATABASE_URL and REDIS_URL of the environment are written, also with unusual passwords', async () => {
  const dir = newFolder()
  const env = { DATABASE_URL: 'postgres://u:a$b%23"c@db/x?y=1&z=2', REDIS_URL: 'redis://:`id`@cache:6379' }
  const { code } = await init(dir, [...HTTPS, '--run', 'systemd', '--front', 'nginx'], env)
  expect(code).toBe(0)
  expect(environmentOf(dir)).toMatchObject(env)
  // a shell reads the same
  const shown = execFileSync('sh', ['-c', `set -a; . ${dir}/.env; printf '%s' "$DATABASE_URL $REDIS_URL"`], { encoding: 'utf8' })
  expect(shown).toBe(`${env.DATABASE_URL} ${env.REDIS_URL}`)
  const composed = await init(newFolder(), ['--yes'], env)
  expect(composed.stderr).toContain('DATABASE_URL and REDIS_URL of the environment are not used: compose brings its own servers')
})

it('the first admin has a random password', async () => {
  const dir = newFolder()
  const { stdout } = await init(dir, ['--yes', '--admin-email', 'ann@example.com'])
  const env = environmentOf(dir)
  expect(env).toMatchObject({ PORTCULLIS_ADMIN_EMAIL: 'ann@example.com', PORTCULLIS_ADMIN_PASSWORD: expect.stringMatching(/^[\w-]{16}$/) })
  expect(stdout).not.toContain(env.PORTCULLIS_ADMIN_PASSWORD)
})

it('a port of this machine that the API has is not taken', async () => {
  const dir = newFolder()
  await init(dir, ['--upstream', 'http://127.0.0.1:8080', '--public-url', 'https://api.example.com', '--run', 'none', '--front', 'nginx'])
  expect(parse(read(dir, 'portcullis.yaml')).server.port).toBe(8081)
  expect(read(dir, 'nginx/portcullis.conf')).toContain('server 127.0.0.1:8081;')
})

describe('on a terminal', () => {
  async function converse(args: string[], lines: string[]) {
    const { out, stdout, stderr } = collectOutput()
    const stdin = Object.assign(Readable.from(lines.map((line) => `${line}\n`)), { isTTY: true })
    const code = await run(['init', ...args], { stdin, stdout, stderr: Object.assign(stderr, { isTTY: true }), env: {} })
    return { code, ...out }
  }

  it('asks four questions; an empty answer is the default', async () => {
    const dir = newFolder()
    const { code, stderr } = await converse(['--dir', dir], ['', '', '', ''])
    expect(code).toBe(0)
    expect(stderr.match(/^(?: {4}> )?\d\/4 /gm)).toHaveLength(4)
    expect(everything(dir)).toEqual(['.env', 'compose.yaml', 'portcullis.yaml'])
  })

  it('says what is wrong with an answer, and asks again', async () => {
    const dir = newFolder()
    const { code, stderr } = await converse(
      ['--dir', dir],
      [
        'localhost:3000',
        'http://localhost:3000/v1',
        'http://localhost:3000',
        'http://api.example.com',
        'http://localhost:3000',
        'https://api.example.com',
        'docker',
        'systemd',
        'apache',
        'NGINX',
      ],
    )
    expect(code).toBe(0)
    for (const text of [
      'an address begins with http:// or https://, such as http://localhost:3000',
      'only scheme, host and port are asked for here, without a path: http://localhost:3000',
      'over http everybody on the way can read passwords. Write https://api.example.com',
      'http://localhost:3000 is the address of your API. People reach the gateway under an address of its own',
      'the choices are compose, systemd and none',
      'the choices are nginx, traefik, caddy and nothing',
    ])
      expect(stderr).toContain(`    ${text}\n`)
    expect(everything(dir)).toEqual(['.env', 'nginx/portcullis.conf', 'portcullis.service', 'portcullis.yaml'])
  })

  it('asks only what no option answers', async () => {
    const { code, stderr } = await converse(['--dir', newFolder(), ...HTTPS, '--run', 'none'], ['caddy'])
    expect([code, stderr.match(/\d\/4 /g)]).toEqual([0, ['4/4 ']])
  })

  it('the end of the input ends it, and nothing is written', async () => {
    const dir = newFolder()
    const { code, stderr } = await converse(['--dir', dir], ['http://localhost:3000'])
    expect([code, stderr.includes('the input has ended: nothing was written'), existsSync(dir)]).toEqual([2, true, false])
  })
})

describe('wrong usage, exit 2', () => {
  it.each<[string, string[], string]>([
    [
      'no terminal',
      [],
      'without a terminal init cannot ask: answer with --upstream, --public-url, --run and --front, or take the defaults with --yes',
    ],
    [
      'one answer is missing',
      [...HTTPS, '--run', 'none'],
      'without a terminal init cannot ask: answer with --front, or take the defaults with --yes',
    ],
    [
      'an address without a scheme',
      ['--yes', '--upstream', 'shop:3000'],
      '--upstream shop:3000: an address begins with http:// or https://, such as http://localhost:3000',
    ],
    [
      'an address with a password',
      ['--yes', '--upstream', 'http://a:b@shop'],
      '--upstream http://a:b@shop: an address here has no user and no password',
    ],
    ['no address', ['--yes', '--upstream', 'http://'], '--upstream http://: this is no address. Write it like http://localhost:3000'],
    ['a host with quotes', ['--yes', '--upstream', "http://a'b"], `--upstream http://a'b: a'b is no name of a host`],
    ['port 0', ['--yes', '--public-url', 'https://a.example:0'], '--public-url https://a.example:0: nobody can reach port 0'],
    [
      'plain http for people',
      ['--yes', '--public-url', 'http://a.example'],
      '--public-url http://a.example: over http everybody on the way can read passwords. Write https://a.example',
    ],
    [
      'the port of the API',
      ['--yes', '--upstream', 'http://127.0.0.1:8080'],
      '--public-url http://localhost:8080: your API has port 8080 of this machine already. Give the gateway another port',
    ],
    ['an unknown runner', ['--yes', '--run', 'docker'], '--run docker: the choices are compose, systemd and none'],
    [
      'https in front of http',
      ['--yes', '--front', 'caddy'],
      '--front caddy: caddy would serve https, and people are to reach the gateway under http://localhost:8080. Answer nothing, or begin again with an https address',
    ],
    ['half a certificate', ['--yes', ...HTTPS, '--certificate', 'a.pem'], '--certificate and --certificate-key belong together: give both'],
    [
      'a certificate for http',
      ['--yes', '--certificate', 'a.pem', '--certificate-key', 'a.key'],
      'a certificate is for https, and people are to reach the gateway under http://localhost:8080',
    ],
    [
      'a path that would need quotes',
      ['--yes', ...HTTPS, '--certificate', '/a b.pem', '--certificate-key', '/a.key'],
      '/a b.pem: name a file whose path has only letters, digits and . _ - + @ /',
    ],
    [
      'ACME behind a proxy',
      ['--yes', ...HTTPS, '--front', 'nginx', '--acme', 'ops@example.com'],
      '--acme is for a gateway with nothing in front of it: nginx has the certificate',
    ],
    [
      'ACME beside files',
      ['--yes', ...HTTPS, '--acme', 'ops@example.com', '--certificate', '/a.pem', '--certificate-key', '/a.key'],
      '--acme and --certificate exclude each other: give one of them',
    ],
    [
      'ACME on another port',
      ['--yes', '--public-url', 'https://api.example.com:8443', '--acme', 'ops@example.com'],
      '--acme needs an address with https and port 443: an ACME server asks nowhere else, and not at https://api.example.com:8443',
    ],
    [
      'ACME for an address',
      ['--yes', '--public-url', 'https://192.0.2.1', '--acme', 'ops@example.com'],
      '--acme: 192.0.2.1 is an address, not a name',
    ],
    ['ACME without an e-mail address', ['--yes', ...HTTPS, '--acme', 'ops'], '--acme ops: this is no e-mail address'],
    ['no e-mail address', ['--yes', '--admin-email', 'ann'], '--admin-email ann: this is no e-mail address'],
  ])('%s', async (_, args, text) => {
    const dir = newFolder()
    expect(await init(dir, args)).toEqual({ code: 2, stdout: '', stderr: `${text}\nSee: portcullis init --help\n` })
    expect(existsSync(dir)).toBe(false)
  })
})
