/** Starts an upstream and a gateway on free loopback ports, lets k6 run a scenario against them, and takes everything away again. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { freePorts, hasEnded, stop, waitUntilReady } from './lib/processes.ts'

const HELP = `node load/run.ts SCENARIO [--rate N] [--duration D]

  SCENARIO        smoke, hot-path or login
  --rate N        iterations a second
  --duration D    such as 30s or 2m

With DATABASE_URL and REDIS_URL the gateway uses those in place of its embedded stores. Give it a database of its own: it fills it with users.
Exit code: that of k6 (99: a threshold was missed); 1 when nothing could be started, 2 wrong usage, 130 interrupted before k6 ran.`
const K6_MISSING = 'k6 is missing: go install go.k6.io/k6@v1.8.1'

/** The same for each run, so that a second one can open what the first one left in a Postgres; and no other database opens with it. */
const SECRET_KEY = createHash('sha256').update('the load scenarios of portcullis').digest('base64')

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const complain = (text: string) => void process.stderr.write(`${text}\n`)

interface Words {
  scenario: string
  rate: string | undefined
  duration: string | undefined
}

/** Null: wrong usage. */
function readWords(): Words | null {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { rate: { type: 'string' }, duration: { type: 'string' } },
    })
    const { rate, duration } = values
    const [scenario = ''] = positionals
    const isRight = positionals.length === 1 && ['smoke', 'hot-path', 'login'].includes(scenario)
    if (!isRight || !/^[1-9]\d*$/.test(rate ?? '1') || !/^\d+(s|m)$/.test(duration ?? '1s')) return null
    return { scenario, rate, duration }
  } catch {
    return null
  }
}

/** `go install` puts it in Go's own bin folder, which need not be on PATH. */
function findK6(): string {
  const outputOf = (command: string, args: string[]) => {
    try {
      return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    } catch {
      return ''
    }
  }
  const goPath = outputOf('go', ['env', 'GOPATH'])
  const goBin = outputOf('go', ['env', 'GOBIN']) || (goPath && join(goPath, 'bin'))
  const k6 = [...(goBin ? [join(goBin, 'k6')] : []), 'k6'].find((command) => outputOf(command, ['version']))
  if (!k6) throw new Error(K6_MISSING)
  return k6
}

/** A small answer that repeats who calls, as an API behind the gateway is told. */
async function startUpstream(): Promise<http.Server> {
  const server = http.createServer((req, res) => {
    const body = JSON.stringify({ user: req.headers['x-auth-user'], items: ['drawbridge', 'portcullis'] })
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
  })
  // longer than the gateway keeps its side open: it must not be this end that closes a connection which is about to be used
  server.keepAliveTimeout = 600_000
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

interface Place {
  port: number
  adminPort: number
  upstreamPort: number
  dataDir: string
}

function configuration({ port, adminPort, upstreamPort, dataDir }: Place) {
  const upstream = [`http://127.0.0.1:${upstreamPort}`]
  const limits = ['perUser']
  return {
    server: { host: '127.0.0.1', port, publicUrl: `http://127.0.0.1:${port}` },
    admin: { host: '127.0.0.1', port: adminPort },
    database: { url: 'embedded', dataDir },
    redis: { url: 'memory' },
    // a token lasts for a run of any length
    tokens: { accessTtlSeconds: 86_400 },
    // every caller has one address here; the limit per user is counted as in life, and never reached
    limits: { exempt: ['127.0.0.1/32'], policies: { perUser: { limit: 1_000_000_000, windowSeconds: 60, key: 'principal' } } },
    routes: [
      { name: 'public', match: { path: '/load/public' }, upstream, access: 'public' },
      { name: 'orders', match: { path: '/load/orders' }, upstream, access: 'authenticated', limits },
      { name: 'admin', match: { path: '/load/admin' }, upstream, access: { roles: ['admin'] }, limits },
    ],
  }
}

function startGateway(configFile: string, logFile: string): ChildProcess {
  const log = openSync(logFile, 'a')
  // settings of the shell it is started from are not those that are measured
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PORT|PORT_FILE|PORTCULLIS_.*)$/.test(name)))
  return spawn(process.execPath, [here('../src/cli.ts'), 'serve', '--config', configFile], {
    env: { ...env, NODE_ENV: 'production', PORTCULLIS_SECRET_KEY: SECRET_KEY },
    stdio: ['ignore', log, log],
    // a group of its own: Ctrl-C reaches this process alone, which stops k6 first
    detached: true,
  })
}

let isInterrupted = false
let k6: ChildProcess | undefined
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    isInterrupted = true
    // k6 ends its iterations and prints its summary; at a second one it gives up at once
    k6?.kill('SIGINT')
  })
}

async function run({ scenario, rate, duration }: Words): Promise<number> {
  const command = findK6()
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-load-'))
  const logFile = join(folder, 'gateway.log')
  const undo: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })]
  try {
    const upstream = await startUpstream()
    undo.push(() => upstream.close().closeAllConnections())
    const [port = 0, adminPort = 0] = await freePorts(2)
    const configFile = join(folder, 'portcullis.yaml')
    const { port: upstreamPort } = upstream.address() as AddressInfo
    // JSON is YAML
    writeFileSync(configFile, JSON.stringify(configuration({ port, adminPort, upstreamPort, dataDir: join(folder, 'data') }), null, 2))

    const gateway = startGateway(configFile, logFile)
    undo.push(() => stop(gateway))
    await waitUntilReady(gateway, `http://127.0.0.1:${adminPort}`, () => isInterrupted)
    if (isInterrupted) return 130

    const settings = { GATEWAY_URL: `http://127.0.0.1:${port}`, ADMIN_URL: `http://127.0.0.1:${adminPort}`, RATE: rate, DURATION: duration }
    const variables = Object.entries(settings).flatMap(([name, value]) => (value ? ['--env', `${name}=${value}`] : []))
    // an empty address: no control API on a fixed port
    const quiet = ['--quiet', '--no-usage-report', '--address=', '--include-system-env-vars=false']
    k6 = spawn(command, ['run', ...quiet, ...variables, here(`${scenario}.ts`)], { stdio: 'inherit', detached: true })
    const [code] = (await once(k6, 'exit')) as [number | null]
    if (hasEnded(gateway)) throw new Error('the gateway ended during the run')
    return code ?? 1
  } catch (error) {
    complain(readFileSync(logFile, { encoding: 'utf8', flag: 'a+' }).split('\n').slice(-20).join('\n'))
    throw error
  } finally {
    for (const step of undo.reverse()) await step()
  }
}

const words = readWords()
if (!words) complain(HELP)
process.exitCode = !words
  ? 2
  : await run(words).catch((error: Error) => {
      complain(error.message)
      return 1
    })
