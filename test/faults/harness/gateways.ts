/** Gateways as processes of their own. A gateway keeps its port, its configuration and its log when it is started again. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { CLI, COMPLAINT } from '../../support/gateway-process.ts'
import { childrenOf, descendantsOf, openFilesOf, rssMiBOf } from '../../support/proc.ts'
import { bare, freePort, until } from '../../support/processes.ts'
import { atEnd, type OwnProcess, spawnOwn } from './cleanup.ts'
import type { Tally } from './fault-row.ts'
import { ask } from './http.ts'

export interface FaultGateway {
  name: string
  port: number
  url: string
  adminUrl: string
  configFile: string
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
  /** Open sockets. The embedded database opens and closes files as it needs them: they do not count. */
  sockets(): number
  log(): string
  /** Log lines about an uncaught error, an `internal` response, or a warning of Node. */
  complaints(): string[]
  /** Sets the program of the next start. Undefined: this one. */
  use(cli: string | undefined): void
  /** Runs a command of the command line with its configuration. @param cli default: this program @returns what the command has printed */
  command(args: readonly string[], cli?: string): Promise<string>
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
    env?: NodeJS.ProcessEnv
    /** Where its log goes, in place of a file of the harness. */
    logTo?: string
  }
  env?: NodeJS.ProcessEnv
  /** False: rows that start them themselves. */
  start?: boolean
}

const run = promisify(execFile)

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
  const { databaseUrl, redisUrl, env: ownEnv = {}, logTo } = options.each?.(index) ?? {}
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
  writeFileSync(configFile, JSON.stringify(merge(base, options.config ?? {}), null, 2))
  writeFileSync(logFile, '')
  let own: OwnProcess | null = null
  let program = CLI
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
    adminUrl,
    configFile,
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
    rssMiB: () => sumOver(running().pid, rssMiBOf),
    fds: () => sumOver(running().pid, (pid) => openFilesOf(pid).length),
    sockets: () => sumOver(running().pid, (pid) => openFilesOf(pid).filter((file) => file.startsWith('socket:')).length),
    log,
    complaints: () =>
      log()
        .split('\n')
        .filter((line) => COMPLAINT.test(line)),
    use(other) {
      program = other ?? CLI
    },
    async command(args, cli = CLI) {
      const env = { ...bare(), PORTCULLIS_SECRET_KEY: secretKey }
      return (await run(process.execPath, [cli, ...args, '--config', configFile], { env })).stdout
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

function merge(base: Record<string, any>, more: Record<string, any>): Record<string, any> {
  const merged = { ...base }
  for (const [key, value] of Object.entries(more)) {
    const isSection = (v: unknown) => typeof v === 'object' && v !== null && !Array.isArray(v)
    merged[key] = isSection(value) && isSection(base[key]) ? merge(base[key], value) : value
  }
  return merged
}

/** No error is in its log that nothing handled. */
export function promiseNoComplaints({ name, complaints }: FaultGateway, tally: Tally): void {
  const lines = complaints()
  tally.promise(lines.length === 0, `${lines.length} complaints in the log of ${name}, first: ${lines[0]?.slice(0, 600)}`)
}

/** The process lives, and no error is in its log that nothing handled. */
export function promiseHealthy(gateway: FaultGateway, tally: Tally): void {
  tally.promise(gateway.isAlive(), `${gateway.name} has ended`)
  promiseNoComplaints(gateway, tally)
}

/** @returns whether the metric is right at every gateway */
export async function isEverywhere(
  gateways: readonly FaultGateway[],
  metric: string,
  isRight: (value: number) => boolean,
): Promise<boolean> {
  return (await Promise.all(gateways.map((gateway) => gateway.metric(metric)))).every(isRight)
}

/** @returns whether Redis counts the limits of every gateway */
export const redisCounts = async (gateways: readonly FaultGateway[]): Promise<boolean> =>
  (await isEverywhere(gateways, 'portcullis_redis_up', (n) => n > 0)) &&
  (await isEverywhere(gateways, 'portcullis_redis_breaker_open', (n) => n === 0))

export const allReady = (gateways: readonly FaultGateway[]): Promise<true> =>
  until(async () => (await Promise.all(gateways.map((gateway) => gateway.isReady()))).every(Boolean), 'all gateways to be ready', 30_000)
