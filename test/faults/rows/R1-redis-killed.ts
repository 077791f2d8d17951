import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { type FaultGateway, isEverywhere } from '../harness/gateways.ts'
import { ask, jsonOf } from '../harness/http.ts'
import { collectGarbage, INSPECTED } from '../harness/inspector.ts'
import { LIMITED, LOGIN_LIMIT } from '../harness/limited.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, p, promiseAllOk, proxiedTraffic, tokensOf } from '../harness/traffic.ts'

/** What is in use in all processes of a gateway. Their memory as a whole grows while they warm up. */
async function heapMiB(gateway: FaultGateway): Promise<number> {
  await collectGarbage(gateway)
  return (await gateway.metric('nodejs_heap_size_used_bytes')) / 1024 / 1024
}

/** The longest wait for an answer of Redis. */
const TIMEOUT_MS = 50
const BACK_MS = 2000
/** Of three processes that still warm up. */
const MOST_GROWTH_MIB = 60

export const row: FaultRow = {
  id: 'R1',
  fault: 'kill -9 of Redis, later a new start',
  promise: 'requests pass, logins stay limited, memory is flat, and Redis counts again within 2 s',
  isQuick: true,
  async run(options) {
    const seconds = lengthOf(options, 30, 3)
    const rate = options.short ? 40 : 300
    const tally = createTally()
    const { stores, gateways, clients } = await startSetting({
      gateways: options.short ? 1 : 2,
      workers: options.short ? 1 : 2,
      clients: 5,
      config: LIMITED,
      env: INSPECTED,
    })
    const redis = stores.redis!.servers[0]!
    const urls = gateways.map(({ url }) => url)
    const proxied = proxiedTraffic(urls, rate, { tokenOf: tokensOf(clients) })
    await pause(options.short ? 1000 : 5000)
    const heapBefore = await Promise.all(gateways.map(heapMiB))
    await pause(1000)
    // the collection makes requests wait
    const begun = performance.now()
    await pause(options.short ? 1000 : 5000)
    const killed = performance.now()
    await redis.kill()
    // guesses of a password: beyond the limit they are refused, also without Redis
    const tries = 3 * LOGIN_LIMIT * gateways.length
    for (let i = 0; i < tries; i++) {
      const { username } = clients[0]!
      const answer = await ask(`${urls[i % urls.length]}/auth/login`, { body: { login: username, password: 'wrong horse battery' } })
      tally.add(`logins ${answer.status} ${jsonOf(answer).code ?? ''}`.trim())
      tally.promise([401, 429, 503].includes(answer.status), `a login answered ${answer.status}`)
    }
    await pause(Math.max(0, seconds * 1000 - (performance.now() - killed)))
    const restarted = performance.now()
    const heapAfter = await Promise.all(gateways.map(heapMiB))
    await redis.start()
    const up = performance.now()
    await until(() => isEverywhere(gateways, 'portcullis_redis_up', (n) => n > 0), 'redis_up', 30_000)
    const back = Math.round(performance.now() - up)
    await pause(1000)
    await proxied.stop()
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    const [before, during] = [proxied.between(begun, killed), proxied.between(killed, restarted)]
    const added = p(during, 0.99) - p(before, 0.99)
    const growth = Math.round(Math.max(...heapAfter.map((after, i) => after - heapBefore[i]!)))
    const guessed = tally.get('logins 401 invalid_credentials')
    tally.promise(guessed <= 2 * LOGIN_LIMIT * gateways.length, `${guessed} guesses of a password with a limit of ${LOGIN_LIMIT}`)
    tally.promise(options.short || added <= TIMEOUT_MS, `the p99 rose by ${added} ms`)
    tally.promise(options.short || growth < MOST_GROWTH_MIB, `the heap grew by ${growth} MiB`)
    tally.promise(options.short || back <= BACK_MS, `Redis counted again after ${back} ms`)
    await checkGateways(tally, gateways)
    return resultOf(
      `${gateways.length} gateways, ${rate} requests/s with limits; Redis away for ${Math.round((restarted - killed) / 1000)} s`,
      [
        countSamples('proxied', proxied.samples),
        `p99 ${p(before, 0.99)} ms before, ${p(during, 0.99)} ms without Redis`,
        `heap after a collection ${growth < 0 ? '' : '+'}${growth} MiB`,
        `counts again after ${back} ms`,
      ],
      tally,
    )
  },
}
