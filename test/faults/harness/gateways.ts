/** Gateways as processes of their own. A gateway keeps its port, its configuration and its log when it is started again. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bare, freePort, until } from '../../support/processes.ts'
import { atEnd, childrenOf, descendantsOf, type OwnProcess, spawnOwn } from './cleanup.ts'
import { ask } from './http.ts'

export interface FaultGateway {
  name: string
  port: number
  url: string
  adminPort: number
  adminUrl: string
  configFile: string
  /** PORTCULLIS_SECRET_KEY, for commands. */
  secretKey: string
  pid(): number
  /** The processes below the first process: workers, and those that hash. */
  children(): number[]
  isAlive(): boolean
  start(): Promise<void>
  /** Starts the process and does not wait until the gateway is ready. */
  launch(): OwnProcess
  /** SIGTERM. @returns the exit code, or the signal that ended it */
  stop(): Promise<number | NodeJS.Signals>
  /** kill -9 of the first process and all below it. */
  kill(): Promise<void>
  /** Sends a signal to all processes of the gateway. */
  signalTree(signal: NodeJS.Signals): void
  own(): OwnProcess
  isReady(): Promise<boolean>
  isLive(): Promise<boolean>
  /** The checks of `/readyz?verbose`. */
  checks(): Promise<{ name: string; ok: boolean; required: boolean; detail?: string }[]>
  /** The sum of the series that begin with this text, such as `portcullis_shed_total`. */
  metric(prefix: string): Promise<number>
  metricsText(): Promise<string>
  rssMiB(): number
  fds(): number
  log(): string
  logLines(): Record<string, unknown>[]
  /** Log lines about an uncaught error, an `internal` response, or a warning of Node. */
  complaints(): string[]
  /** Sets the program of the next start. Undefined: this one. */
  use(cli: string | undefined): void
  /** Changes the configuration file. A start or a reload reads it. */
  configure(change: (config: any) => void): void
}

export interface GatewaysOptions {
  databaseUrl: string
  redisUrl?: string
  routes: object[]
  /** Workers of each gateway. */
  workers?: number
  /** Sections of the configuration, merged with those of the harness. */
  config?: Record<string, any>
  /** For one gateway by its number, in place of what all have. */
  each?: (index: number) => {
    databaseUrl?: string
    redisUrl?: string
    config?: Record<string, any>
    env?: NodeJS.ProcessEnv
    cli?: string
    /** Where its log goes, in place of a file of the harness. */
    logTo?: string
  }
  env?: NodeJS.ProcessEnv
  /** False: rows that start them themselves. */
  start?: boolean
}

const CLI = fileURLToPath(new URL('../../../src/cli.ts', import.meta.url))
const COMPLAINT = /uncaught error|unhandled|"level":"fatal"|"reason":"internal"|^\(node:\d+\)/i

export async function startGateways(count: number, options: GatewaysOptions): Promise<FaultGateway[]> {
  const secretKey = randomBytes(32).toString('base64')
  const gateways: FaultGateway[] = []
  for (let i = 0; i < count; i++) gateways.push(await createGateway(i, secretKey, options))
  if (options.start ?? true) {
    // the first gateway migrates the database
    await gateways[0]?.start()
    await Promise.all(gateways.slice(1).map((gateway) => gateway.start()))
  }
  return gateways
}

async function createGateway(index: number, secretKey: string, options: GatewaysOptions): Promise<FaultGateway> {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-faults-gateway-'))
  const name = `gateway-${index + 1}`
  const { databaseUrl, redisUrl, config: ownConfig = {}, env: ownEnv = {}, cli = CLI, logTo } = options.each?.(index) ?? {}
  const [port, adminPort] = [await freePort(), await freePort()]
  const configFile = join(dir, 'portcullis.json')
  const logFile = join(dir, 'gateway.log')
  const base: Record<string, any> = {
    // a busy machine of tests is no overload, except in rows about overload
    server: {
      host: '127.0.0.1',
      port,
      publicUrl: 'http://gateway.test',
      workers: options.workers ?? 1,
      shutdownDelayMs: 1000,
      overload: { maxLoopDelayMs: 0 },
    },
    admin: { port: adminPort },
    database: { url: databaseUrl ?? options.databaseUrl },
    redis: { url: redisUrl ?? options.redisUrl ?? 'memory' },
    auth: { password: { argon2: { memoryKiB: 1024, passes: 1 } } },
    limits: { default: [], exempt: ['127.0.0.0/8'] },
    routes: options.routes,
  }
  writeFileSync(configFile, JSON.stringify(merge(merge(base, options.config ?? {}), ownConfig), null, 2))
  writeFileSync(logFile, '')
  let own: OwnProcess | null = null
  let program = cli
  const url = `http://127.0.0.1:${port}`
  const adminUrl = `http://127.0.0.1:${adminPort}`
  const running = () => {
    if (!own) throw new Error(`${name} was never started`)
    return own
  }
  const log = () => readFileSync(logFile, 'utf8')
  const says200 = (path: string) =>
    ask(adminUrl + path, { timeoutMs: 2000 }).then(
      ({ status }) => status === 200,
      () => false,
    )
  const isReady = () => says200('/readyz')
  const launch = () => {
    own = spawnOwn(process.execPath, [program, 'serve', '--config', configFile], {
      env: { ...bare(), NODE_ENV: 'production', PORTCULLIS_SECRET_KEY: secretKey, ...options.env, ...ownEnv },
      logFile: logTo ?? logFile,
    })
    return own
  }
  const metricsText = async () => String((await ask(`${adminUrl}/metrics`, { timeoutMs: 10_000 })).text)
  const gateway: FaultGateway = {
    name,
    port,
    url,
    adminPort,
    adminUrl,
    configFile,
    secretKey,
    own: running,
    pid: () => running().pid,
    children: () => childrenOf(running().pid),
    isAlive: () => own?.isAlive() ?? false,
    launch,
    async start() {
      const started = launch()
      const isUp = async () => !started.isAlive() || (await isReady())
      await until(isUp, `${name} to be ready`, 90_000)
      if (!started.isAlive()) throw new Error(`${name} ended while it was starting:\n${log().split('\n').slice(-12).join('\n')}`)
    },
    stop: () => running().stop('SIGTERM', 45_000),
    async kill() {
      running().killTree()
      await running().exit
    },
    signalTree: (signal) => running().signalTree(signal),
    isReady,
    isLive: () => says200('/livez'),
    checks: async () => JSON.parse((await ask(`${adminUrl}/readyz?verbose`, { timeoutMs: 10_000 })).text).checks,
    metricsText,
    async metric(prefix) {
      const lines = (await metricsText()).split('\n').filter((line) => line.startsWith(prefix) && /[ {},]/.test(line[prefix.length] ?? ' '))
      return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
    },
    rssMiB: () => sumOver(running().pid, rssOf),
    fds: () => sumOver(running().pid, fdsOf),
    log,
    logLines: () =>
      log()
        .split('\n')
        .flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : [])),
    complaints: () =>
      log()
        .split('\n')
        .filter((line) => COMPLAINT.test(line)),
    use(other) {
      program = other ?? CLI
    },
    configure(change) {
      const config = JSON.parse(readFileSync(configFile, 'utf8'))
      change(config)
      writeFileSync(configFile, JSON.stringify(config, null, 2))
    },
  }
  atEnd(async () => {
    own?.killTree()
    await own?.exit
    if (process.env.FAULTS_KEEP) console.log(`${name}: ${logFile}`)
    else rmSync(dir, { recursive: true, force: true })
  })
  return gateway
}

/** The supervisor and what it started. */
const sumOver = (pid: number, measure: (pid: number) => number) =>
  [pid, ...descendantsOf(pid)].reduce((sum, each) => sum + measure(each), 0)

function rssOf(pid: number): number {
  try {
    return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024)
  } catch {
    return 0
  }
}

function fdsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length
  } catch {
    return 0
  }
}

function merge(base: Record<string, any>, more: Record<string, any>): Record<string, any> {
  const merged = { ...base }
  for (const [key, value] of Object.entries(more)) {
    const isSection = (v: unknown) => typeof v === 'object' && v !== null && !Array.isArray(v)
    merged[key] = isSection(value) && isSection(base[key]) ? merge(base[key], value) : value
  }
  return merged
}
