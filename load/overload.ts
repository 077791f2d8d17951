/**
 * Finds how many requests a second the gateway can answer, and then sends as many, twice as many and three times as many, in an open loop.
 * Prints a Markdown table of what was answered, and how long the gateway needs to recover.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { type GatewayProcess, get, startGatewayProcess } from '../test/support/gateway-process.ts'
import { findSaturation, getHead, goodput, type OpenLoopResult, openLoop, startCheapUpstream } from '../test/support/open-loop.ts'
import { has } from '../test/support/processes.ts'
import { quantile } from '../test/support/quantile.ts'

const HELP = `node load/overload.ts [--seconds N] [--from N] [--connections N] [--busy N] [--public]

  --seconds N       how long each load lasts (15)
  --from N          the first rate, in requests a second (1000)
  --connections N   connections of the client (2000)
  --busy N          programs that use the gateway's CPU beside it (0)
  --public          requests without a token, on a public route

Needs taskset, two CPUs, and descriptors for all connections: ulimit -n.
Exit code: 0 every bound was kept, 1 a bound was missed or something failed, 2 wrong usage.`

const GATEWAY_CPU = 0
const OTHERS_CPU = 1
const LOADS = [1, 2, 3]
/** Of the most good answers a second. */
const KEPT = 0.9
const RECOVERY_MS = 5000

interface Args {
  seconds: number
  from: number
  connections: number
  busy: number
  isPublic: boolean
}

/** Null: wrong usage. */
function readArgs(): Args | null {
  try {
    const number = (text: string) => ({ type: 'string', default: text }) as const
    const { values } = parseArgs({
      options: {
        seconds: number('15'),
        from: number('1000'),
        connections: number('2000'),
        busy: number('0'),
        public: { type: 'boolean', default: false },
      },
    })
    const { seconds, from, connections, busy } = values
    if (![seconds, from, connections].every((n) => /^[1-9]\d*$/.test(n)) || !/^\d+$/.test(busy)) return null
    return { seconds: +seconds, from: +from, connections: +connections, busy: +busy, isPublic: values.public }
  } catch {
    return null
  }
}

/** A user of the gateway. @returns the access token */
async function register({ url }: GatewayProcess): Promise<string> {
  const response = await fetch(`${url}/auth/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'load', email: 'load@example.com', password: 'correct horse battery' }),
  })
  if (response.status !== 201) throw new Error(`the registration answered ${response.status}: ${await response.text()}`)
  return ((await response.json()) as { access_token: string }).access_token
}

const quantileText = (values: readonly number[], q: number): string => (values.length === 0 ? '-' : quantile(values, q).toFixed(1))

const perSecond = (count: number, { seconds }: OpenLoopResult): number => Math.round(count / seconds)

/** @returns milliseconds until half of the load is answered without a refusal; null: not within the time */
async function recover(ask: (rate: number, seconds: number) => Promise<OpenLoopResult>, rate: number): Promise<number | null> {
  const started = performance.now()
  while (performance.now() - started < 4 * RECOVERY_MS) {
    const before = performance.now() - started
    const { ok, offered } = await ask(rate, 0.5)
    if (ok.length === offered && quantile(ok, 0.99) < 250) return before
  }
  return null
}

async function main({ seconds, from, connections, busy, isPublic }: Args): Promise<number> {
  execFileSync('taskset', ['-apc', String(OTHERS_CPU), String(process.pid)])
  const worker = new Worker(new URL(import.meta.url))
  const [port] = (await once(worker, 'message')) as [number]
  const upstream = [`http://127.0.0.1:${port}`]
  const gateway = await startGatewayProcess({
    cpu: GATEWAY_CPU,
    server: { workers: 1 },
    tokens: { accessTtlSeconds: 3600 },
    routes: [
      { name: 'open', match: { path: '/open' }, upstream, access: 'public' },
      { name: 'orders', match: { path: '/orders' }, upstream, access: 'authenticated' },
    ].map((route) => ({ ...route, connections: { max: 2000, maxShare: 1 } })),
  })
  const loops = Array.from({ length: busy }, () =>
    spawn('taskset', ['-c', String(GATEWAY_CPU), process.execPath, '-e', 'for(;;);'], { stdio: 'ignore' }),
  )
  try {
    const head = isPublic ? getHead('/open', gateway.port) : getHead('/orders', gateway.port, await register(gateway))
    const ask = (rate: number, length: number) => openLoop({ port: gateway.port, head, rate, seconds: length, connections })
    await ask(from / 2, 3)
    const peak = await findSaturation({ port: gateway.port, head, seconds: 4, connections }, from, (line) => console.error(line))
    console.log(
      `\nSaturation: ${Math.round(peak)} good answers a second (200 within a second), ${connections} connections, ${busy} busy programs\n`,
    )
    console.log('| load | offered/s | good/s | of the peak | p50, p99 ms of 200 | refused/s | p50, p99 ms of 503 | failed | not sent |')
    console.log('|---|---|---|---|---|---|---|---|---|')
    let best = peak
    const rows: { load: number; good: number }[] = []
    const failures: string[] = []
    let unclear = 0
    for (const load of LOADS) {
      const result = await ask(peak * load, seconds)
      const good = goodput(result)
      best = Math.max(best, good)
      rows.push({ load, good })
      failures.push(...result.failed)
      unclear += result.unclear
      const { ok, refused, failed, unsent, offered } = result
      console.log(
        `| ${load} × | ${perSecond(offered, result)} | ${Math.round(good)} | ${Math.round((good / best) * 100)} % | ${quantileText(ok, 0.5)}, ${quantileText(ok, 0.99)} | ` +
          `${perSecond(refused.length, result)} | ${quantileText(refused, 0.5)}, ${quantileText(refused, 0.99)} | ${failed.length} | ${unsent} |`,
      )
      if (load < LOADS.at(-1)!) await sleep(1000)
    }
    const recoveredMs = await recover(ask, peak / 2)
    console.log(`\nRecovered ${recoveredMs === null ? 'not at all' : `${Math.round(recoveredMs)} ms`} after the load, at half of the peak.`)
    const series = (await get(`${gateway.adminUrl}/metrics`)).split('\n').filter((line) => /^portcullis_(shed|errors)_total\{/.test(line))
    console.log(series.join('\n'))
    for (const line of gateway.complaints()) console.log(`in the log: ${line}`)
    const isKept = rows.every(({ good }) => good >= best * KEPT)
    if (!isKept) console.log(`missed: less than ${KEPT * 100} % of the peak`)
    for (const [why, { length }] of Map.groupBy(failures, (why) => why)) console.log(`missed: ${length} requests failed: ${why}`)
    if (unclear > 0) console.log(`missed: ${unclear} requests were refused without Retry-After`)
    return isKept && failures.length + unclear === 0 && recoveredMs !== null && recoveredMs <= RECOVERY_MS ? 0 : 1
  } finally {
    for (const loop of loops) loop.kill('SIGKILL')
    await gateway.stop()
    await worker.terminate()
  }
}

if (!isMainThread) parentPort!.postMessage((await startCheapUpstream()).port)
else {
  const args = readArgs()
  const lack = args && !has('taskset') ? 'taskset is missing' : null
  if (!args || lack) console.error(lack ?? HELP)
  process.exitCode = !args ? 2 : lack ? 1 : await main(args)
}
