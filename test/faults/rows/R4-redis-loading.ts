import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, pause } from '../harness/fault-row.ts'
import { isEverywhere } from '../harness/gateways.ts'
import { ask } from '../harness/http.ts'
import { LIMITED } from '../harness/limited.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, proxiedTraffic, tokensOf } from '../harness/traffic.ts'

export const row: FaultRow = {
  id: 'R4',
  fault: 'Redis starts again with many keys and answers LOADING',
  promise: 'no request fails, nothing passes without a token, and Redis counts again by itself',
  async run(options) {
    const keys = options.short ? 100_000 : 1_000_000
    // microseconds for each key: the time of loading
    const loadDelay = Math.round(((options.seconds ?? (options.short ? 3 : 15)) * 1_000_000) / keys)
    const rate = options.short ? 40 : 200
    const tally = createTally()
    const { stores, gateways, clients } = await startSetting({
      gateways: options.short ? 1 : 2,
      workers: options.short ? 1 : 2,
      clients: 5,
      config: LIMITED,
      stores: { redisArgs: ['--enable-debug-command', 'local'] },
    })
    const redis = stores.redis!.servers[0]!
    const urls = gateways.map(({ url }) => url)
    const proxied = proxiedTraffic(urls, rate, { tokenOf: tokensOf(clients) })
    await pause(1000)
    await redis.command('DEBUG', 'POPULATE', keys)
    await redis.command('SAVE')
    await redis.kill()
    await pause(500)
    const started = performance.now()
    await redis.start(['--key-load-delay', String(loadDelay), '--loading-process-events-interval-bytes', '1024'])
    const isLoading = () =>
      redis.command('PING').then(
        () => false,
        (error: Error) => error.message.includes('LOADING'),
      )
    let logins = 0
    while (await isLoading()) {
      const bare = await ask(`${urls[logins % urls.length]}/api/x`)
      tally.promise(bare.status === 401, `a request without a token answered ${bare.status}`)
      const login = await clients[0]!.login()
      tally.add(`logins ${login.status}`)
      tally.promise([200, 429, 503].includes(login.status), `a login answered ${login.status}`)
      logins++
      await pause(300)
    }
    const loaded = performance.now()
    await until(() => isEverywhere(gateways, 'portcullis_redis_up', (n) => n > 0), 'redis_up', 30_000)
    const back = Math.round(performance.now() - loaded)
    await pause(1000)
    await proxied.stop()
    tally.promise(logins > 0, 'Redis was never seen loading')
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    await checkGateways(tally, gateways)
    return resultOf(
      `${keys} keys, loading for ${Math.round((loaded - started) / 100) / 10} s`,
      [countSamples('proxied', proxied.samples), `counts again after ${back} ms`],
      tally,
    )
  },
}
