/**
 * Measures a normal client while thousands of other clients are slow on purpose: slowhttptest against a gateway on a CPU of its own. Prints
 * a Markdown table.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import http, { type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { startGatewayProcess } from '../test/support/gateway-process.ts'
import { has, until } from '../test/support/processes.ts'
import { quantile } from '../test/support/quantile.ts'

const HELP = `node load/slow-clients.ts [--clients N] [--seconds N] [--rate N] [--only NAME]

  --clients N   slow clients of each kind (2000)
  --seconds N   how long each kind lasts (45)
  --rate N      requests a second of the normal client (100)
  --only NAME   headers, body, login or read

Needs slowhttptest (apt-get install slowhttptest), taskset, two CPUs, and descriptors for all: ulimit -n.`

const GATEWAY_CPU = 0
const OTHERS_CPU = 1
const LARGE = Buffer.alloc(4 * 1024 * 1024, 'x')
/** Shorter than the defaults where these would outlast the run. */
export const DEADLINES = { server: { headersTimeoutMs: 10_000, requestTimeoutMs: 20_000 }, timeouts: { idleMs: 10_000 } }

/** The arguments of slowhttptest, by kind. */
export const KINDS: Record<string, { name: string; path: string; args: string[] }> = {
  headers: { name: 'slow headers (-H)', path: '/small', args: ['-H', '-i', '5', '-x', '10'] },
  body: { name: 'slow body, proxied (-B)', path: '/upload', args: ['-B', '-i', '5', '-s', '8192', '-x', '10'] },
  login: {
    name: 'slow body, /auth/login (-B)',
    path: '/auth/login',
    args: ['-B', '-i', '5', '-s', '8192', '-x', '10', '-f', 'application/json'],
  },
  read: { name: 'slow read (-X)', path: '/large', args: ['-X', '-w', '256', '-y', '512', '-n', '5', '-z', '32'] },
}

/** Runs in its own thread: serving the slow clients must not delay the clock of the normal client. */
function serveUpstream(): void {
  const server = http.createServer((req, res) => {
    req.resume()
    if (req.url!.startsWith('/large')) res.end(LARGE)
    else if (req.method === 'POST') req.on('end', () => res.end('taken'))
    else res.end('{"items":["drawbridge","portcullis"]}')
  })
  server.requestTimeout = 0
  server.keepAliveTimeout = 600_000
  server.listen(0, '127.0.0.1', () => parentPort!.postMessage((server.address() as AddressInfo).port))
}

/** @returns the port of an upstream for all kinds, in a thread of its own */
export async function startSlowUpstream(): Promise<{ port: number; close(): Promise<unknown> }> {
  const worker = new Worker(new URL(import.meta.url))
  const [port] = (await once(worker, 'message')) as [number]
  return { port, close: () => worker.terminate() }
}

/** What the measurement needs of a gateway. */
interface Target {
  port: number
  url: string
  rssMiB(): number
  fds(): number
}

export interface Measured {
  /** Milliseconds, ascending. */
  times: number[]
  failed: number
  peakRssMiB: number
  /** The gateway's descriptors, second by second. */
  fds: number[]
}

/** Requests begin at a fixed rate. Their times count from when they should have begun. */
export async function measure(gateway: Target, rate: number, seconds: number, isOver = () => false): Promise<Measured> {
  const agent = new http.Agent({ keepAlive: true })
  const times: number[] = []
  let failed = 0
  let peakRssMiB = gateway.rssMiB()
  const fds: number[] = []
  const start = performance.now()
  const ask = async (due: number) => {
    try {
      const request = http.get({ port: gateway.port, path: '/small', agent, timeout: 10_000 })
      request.on('timeout', () => request.destroy())
      const [answer] = (await once(request, 'response')) as [IncomingMessage]
      await answer.resume().toArray()
      if (answer.statusCode !== 200) failed++
    } catch {
      failed++
    }
    times.push(performance.now() - start - due)
  }
  const asked: Promise<void>[] = []
  for (let n = 0; n < rate * seconds && !isOver(); n++) {
    const due = (n * 1000) / rate
    await sleep(Math.max(0, due - (performance.now() - start)))
    asked.push(ask(due))
    if (n % rate > 0) continue
    peakRssMiB = Math.max(peakRssMiB, gateway.rssMiB())
    fds.push(gateway.fds())
  }
  await Promise.all(asked)
  agent.destroy()
  return { times: times.sort((a, b) => a - b), failed, peakRssMiB, fds }
}

export interface Slow {
  /** Most connections that were open at one time. */
  open: number
  /** How many connections the gateway had closed at the end, and between which seconds. */
  closed: number
  firstSecond: number | null
  lastSecond: number | null
}

/** slowhttptest's own figures: Seconds, Closed, Pending, Connected, Service Available. */
function readStatistics(file: string, areAllClosed: boolean): Slow {
  const rows = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(',').map(Number))
  const closed = rows.map((row) => row[1]!)
  const last = closed.at(-1) ?? 0
  const open = Math.max(0, ...rows.map((row) => row[3]!))
  const secondOf = (index: number) => (index < 0 ? null : rows[index]![0]!)
  return {
    open,
    // slowhttptest ends when no connection is left, without writing this last state
    closed: areAllClosed ? Math.max(open, last) : last,
    firstSecond: secondOf(closed.findIndex((n) => n > 0)),
    lastSecond: last > 0 ? secondOf(closed.indexOf(last)) : null,
  }
}

interface Attack {
  clients: number
  seconds: number
  rate: number
  onStart?: (child: ChildProcess) => void
}

export async function attack(gateway: Target, kind: string, { clients, seconds, rate, onStart }: Attack): Promise<[Measured, Slow]> {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-slow-'))
  try {
    const { path, args } = KINDS[kind]!
    const all = [
      ...args,
      '-c',
      clients,
      '-r',
      Math.ceil(clients / 5),
      '-l',
      seconds,
      '-p',
      5,
      '-u',
      gateway.url + path,
      '-g',
      '-o',
      join(dir, 'slow'),
      '-v',
      0,
    ]
    // `nice`: the clock of the normal client has priority
    const slow = spawn('nice', ['-n', '10', 'slowhttptest', ...all.map(String)], { stdio: ['ignore', 'pipe', 'inherit'] })
    onStart?.(slow)
    let output = ''
    slow.stdout.on('data', (chunk) => {
      output += chunk
    })
    const ended = once(slow, 'exit')
    const measured = await measure(gateway, rate, seconds, () => slow.exitCode !== null)
    await ended
    return [measured, readStatistics(join(dir, 'slow.csv'), output.includes('No open connections left'))]
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

interface Args {
  clients: number
  seconds: number
  rate: number
  only: string | undefined
}

/** Null: wrong usage. */
function readArgs(): Args | null {
  try {
    const number = (text: string) => ({ type: 'string', default: text }) as const
    const { values } = parseArgs({
      options: { clients: number('2000'), seconds: number('45'), rate: number('100'), only: { type: 'string' } },
    })
    const { clients, seconds, rate, only } = values
    if (![clients, seconds, rate].every((n) => /^[1-9]\d*$/.test(n)) || (only && !Object.hasOwn(KINDS, only))) return null
    return { clients: Number(clients), seconds: Number(seconds), rate: Number(rate), only }
  } catch {
    return null
  }
}

/** The missing requirement, or null. */
function missing({ clients }: Args): string | null {
  for (const command of ['slowhttptest', 'taskset']) if (!has(command)) return `${command} is missing`
  const descriptors = Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1])
  // the gateway needs a connection to each client and another to the upstream
  const needed = 2 * clients + 1000
  return descriptors < needed ? `ulimit -n is ${descriptors}, and ${needed} are needed` : null
}

async function main(args: Args): Promise<void> {
  const { clients, seconds, rate, only } = args
  execFileSync('taskset', ['-apc', String(OTHERS_CPU), String(process.pid)])
  const upstream = await startSlowUpstream()
  const route = (path: string) => ({
    name: path.slice(1),
    match: { path },
    upstream: [`http://127.0.0.1:${upstream.port}`],
    access: 'public' as const,
    timeouts: DEADLINES.timeouts,
  })
  const gateway = await startGatewayProcess({
    cpu: GATEWAY_CPU,
    server: DEADLINES.server,
    routes: ['/small', '/upload', '/large'].map(route),
  })
  try {
    await measure(gateway, rate, 5)
    const ms = (measured: Measured, q: number) => quantile(measured.times, q).toFixed(1)
    console.log(`${clients} slow clients of each kind for at most ${seconds} s, beside ${rate} requests a second of a normal client\n`)
    console.log(
      '| slow clients | p50 ms alone, beside | p99 ms alone, beside | ratio of p99 | failed | most open | closed, by slowhttptest | RSS MiB before, most, after | fds before, most, last, after |',
    )
    console.log('|---|---|---|---|---|---|---|---|---|')
    for (const kind of only ? [only] : Object.keys(KINDS)) {
      const alone = await measure(gateway, rate, Math.ceil(seconds / 2))
      await gateway.collectGarbage()
      const before = await gateway.vitals()
      const [beside, slow] = await attack(gateway, kind, args)
      await until(async () => (await gateway.vitals()).fds <= before.fds, 'the end of every connection', 40_000).catch(() => {})
      await gateway.collectGarbage()
      const after = await gateway.vitals()
      const both = (q: number) => `${ms(alone, q)}, ${ms(beside, q)}`
      const ratio = (quantile(beside.times, 0.99) / quantile(alone.times, 0.99)).toFixed(2)
      const closed = slow.closed ? `${slow.closed}, second ${slow.firstSecond} to ${slow.lastSecond}` : 'none'
      // for a client that does not read, the gateway may have closed a connection that slowhttptest still sees as open
      const fds = [before.fds, Math.max(...beside.fds), beside.fds.at(-1), after.fds].join(', ')
      const memory = `${before.rssMiB}, ${beside.peakRssMiB}, ${after.rssMiB}`
      console.log(
        `| ${KINDS[kind]!.name} | ${both(0.5)} | ${both(0.99)} | ${ratio} | ${beside.failed} | ${slow.open} | ${closed} | ${memory} | ${fds} |`,
      )
    }
    for (const line of gateway.complaints()) console.log(`in the log: ${line}`)
    if (!gateway.isAlive()) throw new Error('the gateway ended during the run')
  } finally {
    await gateway.stop()
    await upstream.close()
  }
}

if (!isMainThread) serveUpstream()
else if (import.meta.main) {
  const args = readArgs()
  const lack = args && missing(args)
  if (!args || lack) console.error(lack ?? HELP)
  process.exitCode = !args ? 2 : lack ? 1 : await main(args).then(() => 0)
}
