import { execFileSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { findSaturation, getHead, goodput, openLoop, startCheapUpstream } from '../../support/open-loop.ts'
import { descendantsOf } from '../../support/proc.ts'
import { until } from '../../support/processes.ts'
import { quantile } from '../../support/quantile.ts'
import { atEnd, spawnOwn } from '../harness/cleanup.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { type FaultGateway, promiseHealthy, startGateways } from '../harness/gateways.ts'
import { ask, BrokenExchange, jsonOf, keepAliveAgent } from '../harness/http.ts'
import { startStores } from '../harness/stores.ts'

const CPU = 0
const CONNECTIONS = 1000
const KEPT = 0.8
const HEALTH_MS = 1000
const RECOVERY_MS = 5000

/** The gateway, and a program that never waits, on one CPU. */
function starve(gateway: FaultGateway): void {
  const busy = spawnOwn(process.execPath, ['-e', 'for(;;);'], { logFile: '/dev/null' })
  if (availableParallelism() < 2) return
  for (const pid of [busy.pid, gateway.pid(), ...descendantsOf(gateway.pid())]) execFileSync('taskset', ['-apc', String(CPU), String(pid)])
}

/** Asks again and again, on one connection, as a balancer does. @returns the slowest answer so far, in milliseconds, and how many failed */
function watch(url: string): { slowest(): number; failed(): number; asked(): number; stop(): Promise<void> } {
  let slowest = 0
  let failed = 0
  let asked = 0
  let isOver = false
  const agent = keepAliveAgent(1)
  const watching = (async () => {
    while (!isOver) {
      asked++
      const answer = await ask(url, { agent, timeoutMs: 5000 }).catch((error: BrokenExchange) => error)
      if (answer instanceof BrokenExchange || answer.status !== 200) failed++
      else slowest = Math.max(slowest, answer.ms)
      await pause(200)
    }
  })()
  return {
    slowest: () => Math.round(slowest),
    failed: () => failed,
    asked: () => asked,
    async stop() {
      isOver = true
      await watching
      agent.destroy()
    },
  }
}

export const row: FaultRow = {
  id: 'P7',
  fault: 'one CPU for the gateway and a program that never waits, twice as many requests as it can answer',
  promise: 'it refuses in words and does not collapse, health is answered, it recovers',
  async run(options) {
    const seconds = lengthOf(options, 30, 3)
    const tally = createTally()
    const stores = await startStores()
    const upstream = await startCheapUpstream()
    atEnd(upstream.close)
    const [gateway] = (await startGateways(1, {
      ...stores,
      routes: [
        {
          name: 'orders',
          match: { path: '/orders' },
          upstream: [`http://127.0.0.1:${upstream.port}`],
          access: 'authenticated',
          connections: { max: 2000, maxShare: 1 },
        },
      ],
    })) as [FaultGateway]
    const body = { username: 'row-p7', email: 'p7@example.com', password: 'correct horse battery' }
    const registered = await ask(`${gateway.url}/auth/register`, { body })
    if (registered.status !== 201) throw new Error(`the registration answered ${registered.status}`)
    const token: string = jsonOf(registered).access_token
    starve(gateway)
    const head = getHead('/orders', gateway.port, token)
    const load = { port: gateway.port, head, connections: CONNECTIONS }
    await openLoop({ ...load, rate: 200, seconds: 2 })
    const peak = options.short ? 1000 : await findSaturation({ ...load, seconds: 4 }, 300, () => {})

    const health = watch(`${gateway.url}/health`)
    const live = watch(`${gateway.adminUrl}/livez`)
    await until(() => health.asked() > 1 && live.asked() > 1, 'the first answers about health')
    const result = await openLoop({ ...load, rate: 2 * peak, seconds })
    const ended = performance.now()
    await health.stop()
    await live.stop()
    let recoveredMs = Number.NaN
    while (Number.isNaN(recoveredMs) && performance.now() - ended < 6 * RECOVERY_MS) {
      const { ok, offered } = await openLoop({ ...load, rate: peak / 4, seconds: 0.5 })
      if (ok.length === offered) recoveredMs = Math.round(performance.now() - ended)
    }

    const good = goodput(result)
    const shed = await gateway.metric('portcullis_shed_total')
    tally.promise(!Number.isNaN(recoveredMs), 'it did not recover')
    tally.promise(result.unclear === 0, `${result.unclear} answers with 503 had no Retry-After`)
    tally.promise(health.failed() === 0, `/health failed ${health.failed()} times of ${health.asked()}`)
    tally.promise(live.failed() === 0, `/livez failed ${live.failed()} times of ${live.asked()}`)
    // a test asserts no times
    if (!options.short) {
      tally.promise(good >= peak * KEPT, `${Math.round(good)} good answers a second at twice the load, of ${Math.round(peak)} at the peak`)
      tally.promise(health.slowest() <= HEALTH_MS, `/health took ${health.slowest()} ms`)
      tally.promise(recoveredMs <= RECOVERY_MS, `it recovered after ${recoveredMs} ms`)
    }
    promiseHealthy(gateway, tally)
    return {
      what: `1 gateway and 1 busy program on one CPU, ${CONNECTIONS} connections, ${Math.round(2 * peak)} requests/s; ${seconds} s`,
      counts:
        `peak ${Math.round(peak)}/s, good ${Math.round(good)}/s at twice of it, p99 ${Math.round(quantile(result.ok, 0.99))} ms; ` +
        `refused ${result.refused.length}, failed ${result.failed.length}, no free connection ${result.unsent} of ${result.offered}; shed by the gateway ${shed}; ` +
        `/health at most ${health.slowest()} ms, /livez ${live.slowest()} ms; recovered after ${recoveredMs} ms`,
      broken: tally.broken,
    }
  },
}
