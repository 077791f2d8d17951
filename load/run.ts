/** Starts an upstream and a gateway on free loopback ports, runs a k6 scenario against them, reports, and removes everything again. */
import { type ChildProcess, execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { atMost, type Figure } from './lib/figure.ts'
import { type Gateway, startGateway } from './runner/gateway-process.ts'
import { findK6, runK6 } from './runner/k6.ts'
import { type Maximum, measureMaximum } from './runner/maximum.ts'
import { hasEnded, stop } from './runner/processes.ts'
import { type Report, toMarkdown, writePage } from './runner/report.ts'
import { startUpstream, type Upstream } from './runner/upstream.ts'
import { memoryGrowth, type Sample, type Watched, watch } from './runner/vitals.ts'

const HELP = `node load/run.ts SCENARIO [--rate N] [--duration D] …

  smoke         one request of each kind; --rate: rounds a second
  hot-path      70 % of the maximum
  login         logins at a rate that hashing can keep
  login-storm   far more logins than that, beside proxied requests; --logins N a second
  limit-storm   users far above a limit, --limit N/SECONDS (100/10); --rate: of all users together
  soak          70 % of the maximum for 10 minutes, or --form long for 2 hours
  spike         three times the maximum, suddenly; --rate: the rate that counts as the maximum

  --rate N      requests a second; otherwise hot-path, soak and spike measure the maximum first
  --duration D  of the measurement, such as 30s, 2m or 1h
  --free        gateway and load share all CPUs, in place of CPU 0 for the gateway and the others for the rest

With DATABASE_URL and REDIS_URL the gateway uses these stores in place of the embedded stores. Use a separate database: the run fills it with users.
A report is written to load/reports/.
Exit code: 0 when every bound was kept; 99: a bound was missed; 1: the start failed; 2: wrong usage; 130: interrupted before k6 ran; other codes are k6's.`

const MISSED = 99
/** The default rate of a scenario, as a share of the maximum. */
const SHARE_OF_MAXIMUM: Record<string, number> = { 'hot-path': 0.7, soak: 0.7, spike: 1 }
const SCENARIOS = ['smoke', 'hot-path', 'login', 'login-storm', 'limit-storm', 'soak', 'spike']
const FORMS: Record<string, string> = { short: '10m', long: '2h' }
const MAX_GROWTH_PERCENT = 3
const GATEWAY_CPU = 0
/** Read before this process is bound to some of them. */
const CPUS = availableParallelism()

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const say = (text: string) => void process.stdout.write(`${text}\n`)
const complain = (text: string) => void process.stderr.write(`${text}\n`)

interface Args {
  scenario: string
  rate: string | undefined
  duration: string | undefined
  logins: string | undefined
  limit: { limit: number; windowSeconds: number }
  isFree: boolean
}

/** Null: wrong usage. */
function readArgs(): Args | null {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        rate: { type: 'string' },
        duration: { type: 'string' },
        logins: { type: 'string' },
        limit: { type: 'string', default: '100/10' },
        form: { type: 'string', default: 'short' },
        free: { type: 'boolean', default: false },
      },
    })
    const { rate, logins, limit, form, free } = values
    const [scenario = ''] = positionals
    const duration = values.duration ?? (scenario === 'soak' ? FORMS[form] : undefined)
    const areNumbers = [rate, logins].every((n) => /^[1-9]\d*$/.test(n ?? '1'))
    const [, most, windowSeconds] = /^([1-9]\d*)\/([1-9]\d*)$/.exec(limit) ?? []
    const isRight = positionals.length === 1 && SCENARIOS.includes(scenario) && Object.hasOwn(FORMS, form)
    if (!isRight || !areNumbers || !most || !/^[1-9]\d*(s|m|h)$/.test(duration ?? '1s')) return null
    return { scenario, rate, duration, logins, limit: { limit: Number(most), windowSeconds: Number(windowSeconds) }, isFree: free }
  } catch {
    return null
  }
}

let isInterrupted = false
let k6: ChildProcess | undefined
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    isInterrupted = true
    // k6 ends its iterations and writes its summary; a second signal ends it at once
    k6?.kill('SIGINT')
  })
}

async function run(args: Args): Promise<number> {
  const command = findK6()
  const isPinned = !args.isFree && pinOthers()
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-load-'))
  const logFile = join(folder, 'gateway.log')
  const undo: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })]
  try {
    const upstream = await startUpstream()
    undo.push(upstream.stop)
    const options = {
      upstreamPort: upstream.port,
      folder,
      logFile,
      limit: args.limit,
      cpu: isPinned ? GATEWAY_CPU : null,
      isGivenUp: () => isInterrupted,
    }
    const gateway = await startGateway(options, (child) => undo.push(() => stop(child)))
    if (isInterrupted) return 130

    const maximum = args.rate || !SHARE_OF_MAXIMUM[args.scenario] ? null : await findMaximum(command, folder, upstream, gateway)
    if (isInterrupted) return 130
    return await measure({ args, command, gateway, maximum, isPinned })
  } catch (error) {
    complain(readFileSync(logFile, { encoding: 'utf8', flag: 'a+' }).split('\n').slice(-20).join('\n'))
    throw error
  } finally {
    for (const step of undo.reverse()) await step()
  }
}

/** Binds this process, which runs the upstream, and k6, which inherits the binding. @returns false when taskset fails */
function pinOthers(): boolean {
  if (CPUS < 2) return false
  try {
    execFileSync('taskset', ['-apc', `1-${CPUS - 1}`, String(process.pid)], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

async function findMaximum(command: string, folder: string, upstream: Upstream, gateway: Gateway): Promise<Maximum> {
  const variables = { ...addresses(gateway), SUMMARY_FILE: join(folder, 'maximum.json') }
  let code = 1
  const maximum = await measureMaximum(upstream, gateway.child.pid!, async () => {
    code = await runK6(command, { script: 'lib/maximum.ts', variables, onStart })
  })
  if (code !== 0 && !isInterrupted) throw new Error('the maximum could not be measured: not every request was answered with 200')
  return maximum
}

interface Measurement {
  args: Args
  command: string
  gateway: Gateway
  maximum: Maximum | null
  isPinned: boolean
}

async function measure({ args, command, gateway, maximum, isPinned }: Measurement): Promise<number> {
  const { scenario, duration, logins, limit } = args
  const rate = maximum ? String(Math.round(maximum.perSecond * SHARE_OF_MAXIMUM[scenario]!)) : args.rate
  mkdirSync(here('reports'), { recursive: true })
  const file = here(`reports/${scenario}-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}`)
  const variables = {
    ...addresses(gateway),
    RATE: rate,
    DURATION: duration,
    LOGINS: logins,
    LIMIT: String(limit.limit),
    WINDOW_SECONDS: String(limit.windowSeconds),
    SUMMARY_FILE: `${file}.json`,
  }
  const chartsFile = `${file}-charts.html`
  const endWatch = await watch(gateway.child.pid!, gateway.adminUrl)
  const code = await runK6(command, { script: `${scenario}.ts`, variables, chartsFile, onStart })
  const watched = await endWatch()
  if (hasEnded(gateway.child)) throw new Error('the gateway ended during the run')
  if (!existsSync(`${file}.json`)) return code || 1

  const { figures } = JSON.parse(readFileSync(`${file}.json`, 'utf8')) as { figures: Figure[] }
  const report: Report = {
    title: `${scenario}, ${new Date().toISOString().slice(0, 16)}Z`,
    notes: notes({ maximum, rate, isPinned }),
    figures: [...figures, ...gatewayFigures(scenario, watched)],
    memory: watched.memory,
    chartsFile: existsSync(chartsFile) ? basename(chartsFile) : null,
  }
  writePage(`${file}.html`, report)
  say(`\n${toMarkdown(report)}\n${file}.html`)
  return code || (report.figures.some(({ isKept }) => isKept === false) ? MISSED : 0)
}

const addresses = ({ url, adminUrl }: Gateway) => ({ GATEWAY_URL: url, ADMIN_URL: adminUrl })

const onStart = (child: ChildProcess): void => {
  k6 = child
}

function notes({ maximum, rate, isPinned }: { maximum: Maximum | null; rate: string | undefined; isPinned: boolean }): string[] {
  const stores = [process.env.DATABASE_URL ? 'Postgres' : 'embedded database', process.env.REDIS_URL ? 'Redis' : 'limits in memory']
  return [
    `${CPUS} CPUs; ${isPinned ? `gateway on CPU ${GATEWAY_CPU}, k6 and upstream on the others` : 'nothing pinned'}; ${stores.join(', ')}.`,
    ...(maximum
      ? [`Maximum: ${Math.round(maximum.perSecond)}/s, with the gateway at ${Math.round(maximum.gatewayCpu * 100)} % of one CPU.`]
      : []),
    ...(rate ? [`Rate: ${rate}/s.`] : []),
  ]
}

function gatewayFigures(scenario: string, { memory, vitals }: Watched): Figure[] {
  const course = (numbers: number[]) => [numbers[0], Math.max(...numbers), numbers.at(-1)].map((n) => n?.toFixed()).join(', ')
  const lags = vitals.slice(1).map(({ eventLoopLagMs }) => eventLoopLagMs)
  return [
    ...(scenario === 'soak' ? [growthFigure(memory)] : []),
    { name: 'resident memory: first, most, last', value: `${course(memory.map(({ rssMiB }) => rssMiB))} MiB` },
    { name: 'heap: first, most, last', value: `${course(vitals.map(({ heapMiB }) => heapMiB))} MiB` },
    { name: 'descriptors: first, most, last', value: course(vitals.map(({ descriptors }) => descriptors)) },
    { name: 'p99 of event loop lag between two scrapes, most', value: `${Math.max(...lags).toFixed()} ms` },
  ]
}

function growthFigure(memory: Sample[]): Figure {
  const { fromMiB, toMiB, percent } = memoryGrowth(memory)
  return atMost(
    `growth of resident memory after warm-up, ${fromMiB.toFixed()} to ${toMiB.toFixed()} MiB`,
    percent,
    MAX_GROWTH_PERCENT,
    ' %',
  )
}

const args = readArgs()
if (!args) complain(HELP)
process.exitCode = !args
  ? 2
  : await run(args).catch((error: Error) => {
      complain(error.message)
      return 1
    })
