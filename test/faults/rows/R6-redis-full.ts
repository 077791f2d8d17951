import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { isEverywhere } from '../harness/gateways.ts'
import { LIMITED } from '../harness/limited.ts'
import { newSessionClient } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, promiseAllRefresh, proxiedTraffic, tokensOf } from '../harness/traffic.ts'

export const row: FaultRow = {
  id: 'R6',
  fault: 'Redis is full (maxmemory, noeviction); then FLUSHALL',
  promise: 'no request fails, the metric names the cause, and no session is lost',
  async run(options) {
    const seconds = lengthOf(options, 10, 3)
    const tally = createTally()
    const { stores, gateways, clients } = await startSetting({ workers: options.short ? 1 : 2, clients: 5, config: LIMITED })
    const redis = stores.redis!.servers[0]!
    const left = await newSessionClient(gateways[0]!.url)
    await left.logout()
    const proxied = proxiedTraffic(
      gateways.map(({ url }) => url),
      options.short ? 40 : 150,
      { tokenOf: tokensOf(clients) },
    )
    await pause(1000)
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
    await redis.command('CONFIG', 'SET', 'maxmemory', '1mb')
    // keys that exist do not grow: new clients need new keys
    for (let i = 0; i < 5; i++) {
      tally.add(`logins ${(await clients[i]!.login()).status}`)
      await pause((seconds * 1000) / 5)
    }
    const named = await until(
      async () => (await sum(gateways, 'portcullis_redis_errors_total{kind="oom"')) > 0,
      'redis_errors_total{kind="oom"}',
      5000,
    ).then(
      () => true,
      () => false,
    )
    tally.promise(named, 'redis_errors_total does not name oom')
    await redis.command('CONFIG', 'SET', 'maxmemory', '0')
    await until(() => isEverywhere(gateways, 'portcullis_redis_breaker_open', (n) => n === 0), 'the breaker to close', 30_000)
    await redis.command('FLUSHALL')
    await pause(1000)
    await proxied.stop()
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    await promiseAllRefresh(tally, clients)
    for (const { url } of gateways) {
      const { status } = await fetch(`${url}/api/x`, { headers: { authorization: `Bearer ${left.accessToken()}` } })
      tally.promise(status === 401, `a token answers ${status} after its logout and FLUSHALL`)
    }
    await checkGateways(tally, gateways)
    return resultOf(`2 gateways with limits; full for ${seconds} s`, [countSamples('proxied', proxied.samples)], tally)
  },
}

const sum = async (gateways: readonly { metric(prefix: string): Promise<number> }[], name: string) =>
  (await Promise.all(gateways.map((gateway) => gateway.metric(name)))).reduce((a, b) => a + b, 0)
