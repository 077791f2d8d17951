import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { isEverywhere } from '../harness/gateways.ts'
import { LIMITED } from '../harness/limited.ts'
import { startRowRelay } from '../harness/relay.ts'
import { newSessionClient } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, p, promiseAllOk, proxiedTraffic, tokensOf } from '../harness/traffic.ts'

const TIMEOUT_MS = 50
const BACK_MS = 5000

export const row: FaultRow = {
  id: 'R3',
  fault: 'Redis hangs (SIGSTOP), and its network vanishes without a word',
  promise: 'requests pass, and both connections are back within 5 s',
  async run(options) {
    const seconds = lengthOf(options, 20, 6) / 2
    const rate = options.short ? 40 : 200
    const tally = createTally()
    const relay = await startRowRelay()
    const { stores, gateways, clients } = await startSetting({
      workers: options.short ? 1 : 2,
      clients: 5,
      config: LIMITED,
      reach: ({ redis }) => {
        relay.target(redis!.servers[0]!.port)
        return { redisUrl: relay.through('redis://127.0.0.1:1') }
      },
    })
    const redis = stores.redis!.servers[0]!
    const proxied = proxiedTraffic(
      gateways.map(({ url }) => url),
      rate,
      { tokenOf: tokensOf(clients) },
    )
    const begun = performance.now()
    await pause(2000)
    const before = proxied.between(begun, performance.now())
    const found: string[] = []
    const faults = [
      ['SIGSTOP', () => redis.freeze(), () => redis.resume()],
      ['vanished', () => relay.vanish(), () => relay.mend()],
    ] as const
    for (const [name, inject, end] of faults) {
      const from = performance.now()
      inject()
      await pause(seconds * 1000)
      const during = proxied.between(from, performance.now())
      end()
      const ended = performance.now()
      await until(() => isEverywhere(gateways, 'portcullis_redis_breaker_open', (n) => n === 0), 'the breaker to close', 60_000)
      const back = Math.round(performance.now() - ended)
      // the subscription, too: a logout at one gateway reaches the other gateway by Redis
      const subscribed = await until(async () => (await subscribers(redis)) >= gateways.length, 'the subscriptions', 60_000).then(
        () => Math.round(performance.now() - ended),
        () => null,
      )
      const lag = await logoutLag(gateways.map(({ url }) => url))
      const [usual, p99] = [p(before, 0.99), p(during, 0.99)]
      const added = p99 - usual
      found.push(
        `${name}: p99 ${usual} → ${p99} ms, counts again after ${back} ms, subscribed after ${subscribed} ms, then a logout was known after ${lag} ms`,
      )
      tally.promise(options.short || added <= TIMEOUT_MS, `${name}: the p99 rose by ${added} ms`)
      tally.promise(options.short || back <= BACK_MS, `${name}: Redis counted again after ${back} ms`)
      tally.promise(
        subscribed !== null && (options.short || subscribed <= BACK_MS),
        `${name}: the subscription was back after ${subscribed} ms`,
      )
    }
    await proxied.stop()
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    await checkGateways(tally, gateways)
    return resultOf(
      `2 gateways, ${rate} requests/s with limits; ${Math.round(seconds)} s each`,
      [countSamples('proxied', proxied.samples), ...found],
      tally,
    )
  },
}

async function subscribers(redis: { command(name: string, ...args: string[]): Promise<unknown> }): Promise<number> {
  const answer = (await redis.command('PUBSUB', 'NUMSUB', 'portcullis:revocations')) as unknown[]
  return Number(answer[1])
}

/** From the answer to a logout at the first gateway until the last gateway refuses the token. */
async function logoutLag([first, ...others]: string[]): Promise<number> {
  const client = await newSessionClient(first!)
  const token = client.accessToken()
  await client.logout()
  const at = performance.now()
  for (const url of others)
    await until(
      async () => (await fetch(`${url}/api/x`, { headers: { authorization: `Bearer ${token}` } })).status === 401,
      'the logout',
      10_000,
    )
  return Math.round(performance.now() - at)
}
