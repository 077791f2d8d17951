/** One gateway with the embedded database and limits in memory: for faults of clients and upstreams. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../support/processes.ts'
import { atEnd } from './cleanup.ts'
import { pause, type Tally } from './fault-row.ts'
import { type FaultGateway, startGateways } from './gateways.ts'
import { keepAliveAgent, tryAsk } from './http.ts'
import { type Load, openLoop } from './load.ts'

interface LoneGatewayOptions {
  routes: object[]
  config?: Record<string, any>
  env?: NodeJS.ProcessEnv
}

export async function startLoneGateway({ routes, config = {}, env = {} }: LoneGatewayOptions): Promise<FaultGateway> {
  const dataDir = mkdtempSync(join(tmpdir(), 'portcullis-faults-data-'))
  atEnd(() => rmSync(dataDir, { recursive: true, force: true }))
  const [gateway] = await startGateways(1, {
    databaseUrl: 'embedded',
    routes,
    // the harness shares its CPUs with the gateway: a late event loop is tried by the row of a starved CPU
    config: { ...config, database: { dataDir }, server: { overload: { maxLoopDelayMs: 0 }, ...config.server } },
    env,
  })
  return gateway!
}

export interface NormalClient {
  /** Milliseconds of each answer. */
  times: number[]
  stop(): Promise<void>
}

/**
 * A client beside a fault: whatever is not a 200 is counted as `normal: …`.
 * @param maxSockets its connections. Without a bound it opens more of them when answers come late
 */
export function normalClient(url: string, perSecond: number, tally: Tally, maxSockets?: number): NormalClient {
  const agent = keepAliveAgent(maxSockets)
  const times: number[] = []
  const load: Load = openLoop(perSecond, async () => {
    const { status, ms } = await tryAsk(url, { agent, timeoutMs: 10_000 })
    if (typeof status === 'number') times.push(ms)
    tally.add(`normal requests: ${status === 200 ? 'ok' : status}`)
  })
  return {
    times,
    async stop() {
      await load.stop()
      agent.destroy()
    },
  }
}

/** Every request of the normal client must be answered with 200. */
export function promiseNormal(tally: Tally): void {
  const failed = tally.sum('normal requests: ') - tally.get('normal requests: ok')
  tally.promise(failed === 0, `${failed} normal requests failed`)
  tally.promise(tally.get('normal requests: ok') > 0, 'no normal request was sent')
}

/** Waits until the gateway has at most this many sockets. @returns how many it has at the end */
export async function socketsSettle(gateway: FaultGateway, atMost: number, timeoutMs = 30_000): Promise<number> {
  await until(() => gateway.sockets() <= atMost, 'the end of the connections', timeoutMs).catch(() => {})
  return gateway.sockets()
}

/** Samples a value until the returned function is called, which gives the highest. */
export function highest(read: () => number, everyMs = 200): () => number {
  let most = read()
  const timer = setInterval(() => {
    most = Math.max(most, read())
  }, everyMs)
  return () => {
    clearInterval(timer)
    return Math.max(most, read())
  }
}

/** Opens connections in portions: a listener has a backlog. */
export async function inPortions<T>(count: number, size: number, open: (index: number) => Promise<T>): Promise<T[]> {
  const all: T[] = []
  for (let first = 0; first < count; first += size) {
    const portion = Array.from({ length: Math.min(size, count - first) }, (_, i) => open(first + i))
    all.push(...(await Promise.all(portion)))
    await pause(1)
  }
  return all
}
