/** Runs a gateway in processes of its own, with its log in a file. Reads its state from /proc and from its metrics. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http, { type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { environmentOf } from './faketime.ts'
import { collectGarbageAt } from './inspector.ts'
import { childrenOf, openFilesOf, rssMiBOf } from './proc.ts'
import { bare, freePort, until } from './processes.ts'

export interface Vitals {
  rssMiB: number
  fds: number
  inFlight: number
  /** Password hashes that the hashing process computes. */
  hashing: number
  /** Lines of /metrics that hold a number. */
  series: number
}

export interface GatewayProcess {
  port: number
  url: string
  adminUrl: string
  pid: number
  /** The file of its configuration. */
  file: string
  /** The child processes that it started: its workers, or the process that hashes. */
  children(): number[]
  isAlive(): boolean
  /** Resident memory, from /proc. */
  rssMiB(): number
  /** Open descriptors, without the files of the embedded database, which it opens when it needs them. */
  fds(): number
  vitals(): Promise<Vitals>
  /** Collects garbage through the inspector: the memory that is left is in use. */
  collectGarbage(): Promise<void>
  /** Log lines about an uncaught error, an `internal` response, or a warning of Node. */
  complaints(): string[]
  logLines(): string[]
  stop(): Promise<void>
}

export interface GatewayProcessOptions {
  routes: object[]
  server?: object
  /** Added to the cheap password hashes. */
  auth?: object
  credentialLimits?: object
  /** Further sections of the configuration, and sections in place of the default ones. */
  sections?: object
  tokens?: object
  headers?: object
  issuers?: object[]
  /** Default: embedded, with limits in memory. */
  stores?: { databaseUrl: string; redisUrl: string }
  /** Needed where several gateways share a database. Default: a new one. */
  secretKey?: string
  /** The CPU to which it is bound. */
  cpu?: number
  /** How far its clock is wrong, for faketime: `+300s`. */
  clock?: string
  /** A descriptor for standard output. Default: the file that `logLines` reads; otherwise the file holds only standard error. */
  stdout?: number
  /** Further arguments of `serve`. */
  args?: string[]
  /** Files that it may open. */
  descriptors?: number
  heapMiB?: number
  /** Added to its environment. */
  env?: NodeJS.ProcessEnv
}

export const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))
/** Log lines about an uncaught error, an `internal` response, or a warning of Node. */
export const COMPLAINT = /uncaught error|unhandled|"level":"fatal"|"reason":"internal"|^\(node:\d+\)/i

export async function startGatewayProcess({
  routes,
  server = {},
  auth = {},
  credentialLimits = {},
  sections = {},
  tokens = {},
  headers = {},
  issuers = [],
  stores,
  secretKey = randomBytes(32).toString('base64'),
  cpu,
  clock,
  stdout,
  args = [],
  descriptors,
  heapMiB,
  env = {},
}: GatewayProcessOptions): Promise<GatewayProcess> {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-process-'))
  const [port, adminPort, inspectorPort] = [await freePort(), await freePort(), await freePort()]
  const config = {
    server: { host: '127.0.0.1', port, ...server },
    admin: { port: adminPort },
    database: { dataDir: join(dir, 'data'), ...(stores && { url: stores.databaseUrl }) },
    ...(stores && { redis: { url: stores.redisUrl } }),
    tokens,
    headers,
    issuers,
    auth: { ...auth, password: { argon2: { memoryKiB: 1024, passes: 1 } } },
    limits: { default: [], exempt: ['127.0.0.0/8'], credentials: credentialLimits },
    routes,
    ...sections,
  }
  const file = join(dir, 'portcullis.json')
  writeFileSync(file, JSON.stringify(config))
  const logFile = join(dir, 'gateway.log')
  const log = openSync(logFile, 'a')
  const bounded = descriptors === undefined ? [] : ['sh', '-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh']
  const command = [...bounded, ...(cpu === undefined ? [] : ['taskset', '-c', String(cpu)]), process.execPath]
  if (heapMiB !== undefined) command.push(`--max-old-space-size=${heapMiB}`)
  command.push(`--inspect=127.0.0.1:${inspectorPort}`, CLI, 'serve', '--config', file, ...args)
  const child = spawn(command[0]!, command.slice(1), {
    env: {
      ...bare(),
      NODE_ENV: 'production',
      PORTCULLIS_SECRET_KEY: secretKey,
      ...(clock !== undefined && environmentOf(clock)),
      ...env,
    },
    stdio: ['ignore', stdout ?? log, log],
  })
  const pid = child.pid!
  const isAlive = () => child.exitCode === null && child.signalCode === null
  const lines = () => readFileSync(logFile, 'utf8').split('\n')
  const rssMiB = () => rssMiBOf(pid)
  const fds = () => openFilesOf(pid).filter((target) => !target.startsWith(dir)).length
  const stop = async () => {
    if (isAlive()) {
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), 30_000)
      await gone
      clearTimeout(timer)
    }
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    const probe = () => !isAlive() || get(`http://127.0.0.1:${adminPort}/readyz`).then(() => true)
    await until(probe, 'the gateway', 60_000)
    if (!isAlive()) throw new Error(`the gateway ended while it was starting:\n${lines().slice(-10).join('\n')}`)
  } catch (error) {
    await stop()
    throw error
  }
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    adminUrl: `http://127.0.0.1:${adminPort}`,
    pid,
    file,
    children: () => childrenOf(pid),
    isAlive,
    rssMiB,
    fds,
    async vitals() {
      const metrics = (await get(`http://127.0.0.1:${adminPort}/metrics`)).split('\n')
      const gauge = (name: string) => Number(metrics.find((l) => l.startsWith(`portcullis_${name} `))?.split(' ')[1])
      return {
        rssMiB: rssMiB(),
        fds: fds(),
        inFlight: gauge('http_requests_in_flight'),
        hashing: gauge('argon2_in_flight'),
        series: metrics.filter((l) => l && !l.startsWith('#')).length,
      }
    },
    async collectGarbage() {
      const [target] = JSON.parse(await get(`http://127.0.0.1:${inspectorPort}/json/list`))
      await collectGarbageAt(target.webSocketDebuggerUrl)
    },
    logLines: () => lines().filter(Boolean),
    complaints: () => lines().filter((l) => COMPLAINT.test(l)),
    stop,
  }
}

/** Uses a new connection for each request, so that no descriptor stays open. */
export async function get(url: string): Promise<string> {
  const [answer] = (await once(http.get(url, { agent: false }), 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of answer.setEncoding('utf8')) text += chunk
  if (answer.statusCode !== 200) throw new Error(`${url} answered ${answer.statusCode}`)
  return text
}
