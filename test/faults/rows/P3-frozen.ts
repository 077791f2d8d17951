import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { ask } from '../harness/http.ts'
import { newSessionClients } from '../harness/session-client.ts'
import { resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, proxiedTraffic, tokensOf } from '../harness/traffic.ts'

const BACK_MS = 2000

export const row: FaultRow = {
  id: 'P3',
  fault: 'a gateway is frozen (SIGSTOP) and wakes up',
  promise: 'nothing is served before its revocations are read again, and it serves within 2 s',
  async run(options) {
    const seconds = lengthOf(options, 30, 4)
    const tally = createTally()
    const { gateways, balancer, clients } = await startSetting({ workers: 2, clients: 4 })
    const [frozen, awake] = gateways as [(typeof gateways)[0], (typeof gateways)[0]]
    const leaving = await newSessionClients(options.short ? 4 : 10, awake.url)
    // both gateways know the tokens
    for (const client of [...leaving, ...clients])
      for (const { url } of gateways) await ask(`${url}/api/x`, { token: client.accessToken() })
    frozen.signalTree('SIGSTOP')
    await until(() => !balancer.ready().includes(frozen.name), 'the balancer to notice', 20_000)
    const proxied = proxiedTraffic([balancer.url], 50, { tokenOf: tokensOf(clients) })
    const begun = performance.now()
    for (const client of leaving) tally.promise((await client.logout()).status === 204, 'a logout was not answered with 204')
    // requests that wait in its sockets are the first that it sees
    const waiting = leaving.map((client) =>
      ask(`${frozen.url}/api/x`, { token: client.accessToken(), timeoutMs: 120_000 }).then(
        ({ status }) => status,
        () => 0,
      ),
    )
    await pause(seconds * 1000)
    await proxied.stop()
    frozen.signalTree('SIGCONT')
    const woken = performance.now()
    for (const status of await Promise.all(waiting)) {
      tally.add(`requests of logged-out clients at the wake-up: ${status || 'broken'}`)
      tally.promise(status !== 200, 'a token was accepted at the wake-up, after its logout')
    }
    const isBack = async () => (await ask(`${frozen.url}/api/x`, { token: clients[0]!.accessToken(), timeoutMs: 2000 })).status === 200
    await until(isBack, 'the gateway that was frozen', 30_000)
    const back = Math.round(performance.now() - woken)
    for (const client of leaving) {
      const { status } = await ask(`${frozen.url}/api/x`, { token: client.accessToken() })
      tally.promise(status === 401, `a token after its logout: ${status}`)
    }
    tally.promise(options.short || back < BACK_MS, `it served ${back} ms after the wake-up`)
    promiseAllOk(tally, 'proxied requests at the other gateway', proxied.samples)
    for (const gateway of gateways) promiseHealthy(gateway, tally)
    return resultOf(
      `one of 2 gateways with 2 workers frozen for ${Math.round((woken - begun) / 1000)} s`,
      [countSamples('proxied', proxied.samples), `served again after ${back} ms`],
      tally,
    )
  },
}
