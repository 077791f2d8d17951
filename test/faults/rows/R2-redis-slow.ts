import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { LIMITED } from '../harness/limited.ts'
import { startRowRelay } from '../harness/relay.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, p, promiseAllOk, proxiedTraffic, tokensOf } from '../harness/traffic.ts'

const TIMEOUT_MS = 50
const DELAYS_MS = [100, 1000, 5000]

export const row: FaultRow = {
  id: 'R2',
  fault: 'Redis answers late: 100 ms, 1 s, 5 s, each with jitter',
  promise: 'a request waits for Redis at most 50 ms, and not at all once the breaker is open',
  async run(options) {
    const seconds = lengthOf(options, 30, 6) / DELAYS_MS.length
    const rate = options.short ? 40 : 200
    const tally = createTally()
    const relay = await startRowRelay()
    const { gateways, clients } = await startSetting({
      gateways: 1,
      workers: options.short ? 1 : 2,
      clients: 5,
      config: LIMITED,
      reach: ({ redis }) => {
        relay.target(redis!.servers[0]!.port)
        return { redisUrl: relay.through('redis://127.0.0.1:1') }
      },
    })
    const [gateway] = gateways as [(typeof gateways)[0]]
    const proxied = proxiedTraffic([gateway.url], rate, { tokenOf: tokensOf(clients) })
    const begun = performance.now()
    await pause(2000)
    const before = proxied.between(begun, performance.now())
    const found: string[] = []
    for (const delayMs of DELAYS_MS) {
      const from = performance.now()
      relay.delay(delayMs, delayMs / 2)
      await pause(seconds * 1000)
      const open = await gateway.metric('portcullis_redis_breaker_open')
      const during = proxied.between(from, performance.now())
      const p99 = p(during, 0.99)
      const added = p99 - p(before, 0.99)
      found.push(`${delayMs} ms: p99 ${p99} ms, slowest ${p(during, 1)} ms, breaker open ${open}`)
      tally.promise(options.short || added <= TIMEOUT_MS, `with ${delayMs} ms the p99 rose by ${added} ms`)
      // two time-outs, beside what the slowest request took before
      tally.promise(options.short || p(during, 1) <= p(before, 1) + 2 * TIMEOUT_MS, `with ${delayMs} ms a request took ${p(during, 1)} ms`)
      relay.mend()
      await until(async () => (await gateway.metric('portcullis_redis_breaker_open')) === 0, 'the breaker to close', 30_000)
    }
    await proxied.stop()
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    await checkGateways(tally, gateways)
    return resultOf(
      `1 gateway, ${rate} requests/s with limits; ${Math.round(seconds)} s each; ${Math.round((performance.now() - begun) / 1000)} s`,
      [countSamples('proxied', proxied.samples), `p99 ${p(before, 0.99)} ms, slowest ${p(before, 1)} ms before`, ...found],
      tally,
    )
  },
}
