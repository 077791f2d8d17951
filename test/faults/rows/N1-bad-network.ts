/** Clients behind a bad network: slow, and connections that are reset. */

import { promiseOneSuccessor } from '../harness/families.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { startRowRelay } from '../harness/relay.ts'
import { newSessionClients } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, failed, proxiedTraffic, refreshTraffic, tokensOf } from '../harness/traffic.ts'
import { randomOf } from '../storms/random.ts'

const RTT_MS = 200
const JITTER_MS = 100
const MOST_FAILED = 0.01

export const row: FaultRow = {
  id: 'N1',
  fault: 'A round trip of 200 ms with jitter, and resets of all connections at random times, between clients and gateways',
  promise: 'No retry counts as theft; without a reset nothing fails',
  async run(options) {
    const tally = createTally()
    const seconds = lengthOf(options, 60, 8)
    const setting = await startSetting({ workers: 1 })
    const { gateways, balancer, stores, successors } = setting
    const relay = await startRowRelay(balancer.port)
    const url = `http://127.0.0.1:${relay.port}`
    const clients = await newSessionClients(20, url, { successors })
    relay.delay(RTT_MS / 2, JITTER_MS / 2)
    const refreshes = refreshTraffic(clients, 20)
    const proxied = proxiedTraffic([url], 40, { tokenOf: tokensOf(clients) })
    const random = randomOf(options.seed, 1)
    const resets: number[] = []
    const end = performance.now() + seconds * 1000
    while (performance.now() < end) {
      await pause(1000 + random.below(3000))
      relay.cut()
      resets.push(performance.now())
      relay.mend()
      relay.delay(RTT_MS / 2, JITTER_MS / 2)
    }
    await refreshes.stop()
    await proxied.stop()
    const refused = refreshes.samples.filter(({ how }) => /^(refused|failed)/.test(how))
    tally.promise(refused.length === 0, countSamples('refreshes that must not happen', refused))
    // a request that was under way at a reset is lost
    const untouched = proxied.samples.filter(({ at, ms }) => resets.every((reset) => reset < at || reset > at + ms + JITTER_MS))
    const bad = failed(untouched)
    tally.promise(bad.length <= untouched.length * MOST_FAILED, countSamples('requests that failed without a reset', bad))
    await promiseOneSuccessor(tally, successors, stores.postgres)
    await checkGateways(tally, gateways)
    return resultOf(
      `20 clients, 20 refreshes/s and 40 requests/s, ${resets.length} resets; ${seconds} s`,
      [countSamples('refreshes', refreshes.samples), countSamples('requests', proxied.samples)],
      tally,
    )
  },
}
