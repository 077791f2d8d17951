/** Lets each storm loose on a gateway that is a process of its own, and says what became of it. */
import { parseArgs } from 'node:util'
import { route } from '../support/config.ts'
import { type GatewayProcess, get, startGatewayProcess, type Vitals } from '../support/gateway-process.ts'
import { until } from '../support/processes.ts'
import { aborts } from './storms/aborts.ts'
import { AT_ONCE, capacity } from './storms/capacity.ts'
import { malformedAnswers, startBadUpstream } from './storms/malformed-answers.ts'
import { malformedRequests } from './storms/malformed-requests.ts'
import { down, up } from './storms/transfers.ts'
import { type StormUpstream, startStormUpstream } from './storms/upstream.ts'

const HELP = `node test/faults/storm.ts [--only NAME] [--count N] [--seed N]

  NAME        requests, answers, aborts or transfers
  --count N   how many of them, in place of 100000, 1000, 10000 and 1024 MiB
  --seed N    another seed gives other cases

Exit code: 0 every promise was kept, 1 one was not, 2 wrong usage.`

const MIB = 1024 * 1024
const MOST_GROWTH_MIB = 64
/** /metrics may name what it has not seen before: methods, codes, statuses; never what a client invents. */
const MOST_SERIES = 2000

interface Target {
  gateway: GatewayProcess
  upstream: StormUpstream
  seed: number
}

/** What a storm did in words, and the promises that it found broken. */
type Outcome = [text: string, broken: string[]]

interface Storm {
  count: number
  run(target: Target, count: number): Promise<Outcome>
}

const storms: Record<string, Storm> = {
  requests: {
    count: 100_000,
    async run({ gateway, seed }, count) {
      const { sent, answered, statuses, broken } = await malformedRequests({ port: gateway.port, count, width: 96, seed })
      const shares = [...statuses].sort(([a], [b]) => a - b).map(([status, n]) => `${status || 'none'}: ${n}`)
      return [`malformed requests: ${sent} sent, ${answered} answered (${shares.join(', ')})`, broken]
    },
  },
  answers: {
    count: 1000,
    async run(target, count) {
      const r = await malformedAnswers({ port: target.gateway.port, count, width: 16, seed: target.seed })
      return [`malformed answers: ${r.sent} sent, ${r.refused} refused, ${r.brokenOff} broken off, ${r.whole} whole`, r.broken]
    },
  },
  aborts: {
    count: 10_000,
    async run({ gateway, upstream, seed }, count) {
      const { left, kept, broken } = await aborts({ port: gateway.port, upstream, count, width: 64, seed })
      return [`aborts: ${left} left, ${kept} answers to those who stayed, ${upstream.aborted()} broken off at the upstream`, broken]
    },
  },
  transfers: {
    count: 1024,
    async run({ gateway, upstream: _ }, count) {
      const before = gateway.rssMiB()
      let peak = before
      const timer = setInterval(() => {
        peak = Math.max(peak, gateway.rssMiB())
      }, 20)
      const isSame = { down: await down(gateway.port, count * MIB), up: await up(gateway.port, count * MIB) }
      clearInterval(timer)
      const broken = Object.entries(isSame).flatMap(([way, same]) => (same ? [] : [`another stream came ${way}`]))
      if (peak - before >= MOST_GROWTH_MIB) broken.push(`RSS grew by ${peak - before} MiB meanwhile`)
      return [
        `transfers: ${count} MiB down and ${count} MiB up, the same at both ends, RSS at most +${peak - before} MiB meanwhile`,
        broken,
      ]
    },
  },
}

function readArgs() {
  try {
    const { values } = parseArgs({
      options: { only: { type: 'string' }, count: { type: 'string' }, seed: { type: 'string', default: '1' } },
    })
    const { only, count, seed } = values
    const isRight = (!only || Object.hasOwn(storms, only)) && [count ?? '1', seed].every((n) => /^[1-9]\d*$/.test(n))
    return isRight ? { only, count: count ? Number(count) : null, seed: Number(seed) } : null
  } catch {
    return null
  }
}

/** Nothing is under way any more, on either side of the gateway; or what still is, after longer than it may last. */
async function quiet({ gateway, upstream }: Target): Promise<string[]> {
  const left = async () => {
    const { inFlight } = await gateway.vitals()
    return [
      ...(inFlight === 0 ? [] : [`${inFlight} requests in flight in the gateway`]),
      ...(upstream.inFlight() === 0 ? [] : [`${upstream.inFlight()} requests in flight at the upstream`]),
      ...(upstream.sockets() === 0 ? [] : [`${upstream.sockets()} connections to the upstream`]),
    ]
  }
  return until(async () => (await left()).length === 0, 'quiet', 20_000).then(() => [], left)
}

/** When nothing is under way, and without what nobody holds any more. */
async function settled(target: Target): Promise<Vitals> {
  await quiet(target)
  await target.gateway.collectGarbage()
  return target.gateway.vitals()
}

const inLog = (gateway: GatewayProcess) => gateway.complaints().map((line) => `in the log: ${line.slice(0, 1500)}`)
const died = (gateway: GatewayProcess) => ['the gateway ended', ...inLog(gateway)]

async function run(name: string, count: number, target: Target): Promise<string[]> {
  const { gateway } = target
  const storm = storms[name]!
  // code is compiled, pools and tables have their size: what comes after is growth
  await storm.run({ ...target, seed: target.seed + 1 }, Math.ceil(count / 10))
  await capacity(gateway.port, target.upstream)
  const before = await settled(target)
  const started = performance.now()
  const [text, broken] = await storm.run(target, count)
  const seconds = (performance.now() - started) / 1000
  if (!gateway.isAlive()) return broken
  const left = await quiet(target)
  const places = await capacity(gateway.port, target.upstream)
  // a connection closes a moment after its last answer
  const back = async () => {
    const now = await settled(target)
    return now.fds <= before.fds && now
  }
  const after = await until(back, 'the end of every connection', 10_000).catch(() => settled(target))
  const isServed = await get(`${gateway.url}/echo/alive`).then(
    () => true,
    () => false,
  )
  console.log(
    `${text}; ${seconds.toFixed(0)} s, process alive, ${gateway.complaints().length} uncaught, ` +
      `RSS ${before.rssMiB} → ${after.rssMiB} MiB, fds ${before.fds} → ${after.fds}, ${after.series} series`,
  )
  if (after.rssMiB - before.rssMiB >= MOST_GROWTH_MIB) broken.push(`RSS grew by ${after.rssMiB - before.rssMiB} MiB`)
  if (after.fds > before.fds) broken.push(`${after.fds - before.fds} descriptors were left open`)
  if (after.series > MOST_SERIES) broken.push(`${after.series} series in /metrics`)
  if (places < AT_ONCE) broken.push(`of ${AT_ONCE} requests at a time ${places} reach the upstream`)
  if (!isServed) broken.push('a normal request is not served')
  return [...broken, ...left, ...inLog(gateway), ...target.upstream.broken.splice(0)]
}

async function main(): Promise<number> {
  const words = readArgs()
  if (!words) {
    console.error(HELP)
    return 2
  }
  const upstream = await startStormUpstream()
  const bad = await startBadUpstream()
  const to = (path: string, url: string, more = {}) => route(path, { upstream: [url], ...more })
  const timeouts = { headersMs: 60_000 }
  const gateway = await startGatewayProcess({
    routes: [
      to('/', upstream.url, { timeouts }),
      to('/up', upstream.url, { body: { maxBytes: 1024 * 1024 * MIB } }),
      to('/ws', upstream.url, { websocket: true }),
      // an upstream that says nothing more is given up soon
      ...['/bad', '/good'].map((path) => to(path, bad.url, { timeouts: { headersMs: 1000, idleMs: 1000 }, breaker: { failures: 0 } })),
    ],
  })
  try {
    const target = { gateway, upstream, seed: words.seed }
    let isKept = true
    for (const name of words.only ? [words.only] : Object.keys(storms)) {
      // whatever fails in a storm once the gateway has ended is no news beside it
      const broken = await run(name, words.count ?? storms[name]!.count, target).catch((error) => [String(error)])
      if (!gateway.isAlive()) broken.push(...died(gateway))
      for (const [first, ...others] of Map.groupBy(broken, (line) => line.replace(/\d+/g, 'N')).values())
        console.log(`  BROKEN ${others.length + 1} times, first: ${first}`)
      isKept &&= broken.length === 0
      if (!gateway.isAlive()) return 1
    }
    return isKept ? 0 : 1
  } finally {
    await gateway.stop()
    await upstream.close()
    await bad.close()
  }
}

process.exitCode = await main()
