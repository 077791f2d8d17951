import { promiseOneSuccessor } from '../harness/families.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { closedLoop } from '../harness/load.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, promiseAllRefresh, proxiedTraffic, refreshTraffic, tokensOf } from '../harness/traffic.ts'

/** By then nothing fails any more. */
const SETTLED_MS = 5000

export const row: FaultRow = {
  id: 'D1',
  fault: 'Postgres restarts, fast and immediate, during refreshes and logins',
  promise: 'no process ends, requests with a token pass, and accounts work again within 5 s',
  async run(options) {
    const seconds = lengthOf(options, 60, 5)
    const rate = options.short ? 50 : 200
    const tally = createTally()
    const setting = await startSetting({ workers: options.short ? 1 : 2, clients: options.short ? 10 : 60 })
    const { stores, gateways, balancer, clients, successors } = setting
    // clients that only use their access tokens
    const users = clients.splice(0, 5)
    const begun = performance.now()
    const end = begun + seconds * 1000
    const refreshes = refreshTraffic(clients, rate)
    const proxied = proxiedTraffic([balancer.url], options.short ? 20 : 100, { tokenOf: tokensOf(users) })
    const logins = closedLoop(1, async () => {
      const answer = await users[0]!.login().catch(() => null)
      tally.add(`logins ${answer?.status ?? 'broken'}`)
      tally.promise([200, 503].includes(answer?.status ?? 0), `a login answered ${answer?.status ?? 'nothing'}`)
      await pause(100)
    })
    const backs: number[] = []
    do {
      await pause(options.short ? 1000 : 5000)
      await stores.postgres.stop(backs.length % 2 ? 'immediate' : 'fast')
      await pause(500)
      await stores.postgres.start()
      backs.push(performance.now())
      await pause(options.short ? 2500 : 10_000)
    } while (performance.now() < end - 15_000)
    await pause(Math.max(0, end - performance.now()))
    await Promise.all([refreshes.stop(), proxied.stop(), logins.stop()])
    const took = Math.round((performance.now() - begun) / 1000)
    // between the time that a restart has and the next restart
    const settled = backs.flatMap((at, i) => refreshes.between(at + SETTLED_MS, (backs[i + 1] ?? Number.POSITIVE_INFINITY) - 8000))
    if (!options.short) promiseAllOk(tally, 'refreshes later than 5 s after a restart', settled)
    const wrong = refreshes.samples.filter(({ how }) => /^(refused|failed|broken)/.test(how))
    tally.promise(wrong.length === 0, countSamples('refreshes that must not happen', wrong))
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    await promiseAllRefresh(tally, clients)
    await promiseOneSuccessor(tally, successors, stores.postgres)
    await checkGateways(tally, gateways)
    return resultOf(
      `2 gateways, ${rate} refreshes/s of ${clients.length} clients, logins, proxied requests; ${backs.length} restarts; ${took} s`,
      [countSamples('refreshes', refreshes.samples), countSamples('proxied', proxied.samples)],
      tally,
    )
  },
}
