/** Requests that are all different: paths, addresses, user agents, keys, users. Does any map, series or Redis key stay? */
import { randomBytes } from 'node:crypto'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { keepAliveAgent, tryAsk } from '../harness/http.ts'
import { closedLoop } from '../harness/load.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'

/** Longer than every window of the limits that are counted here. */
const WINDOW_SECONDS = 20
const MOST_GROWTH_MIB = 128
const MOST_MORE_SERIES = 60

export const row: FaultRow = {
  id: 'S2',
  fault: 'Every request has another path, address, user agent, key and user',
  promise: 'Series, memory and Redis keys stay bounded; every Redis key expires',
  async run(options) {
    const tally = createTally()
    const seconds = lengthOf(options, 300, 10)
    const { gateways, stores } = await startSetting({
      gateways: 1,
      workers: 2,
      config: {
        server: { trustedProxies: ['127.0.0.0/8'] },
        limits: {
          policies: { each: { limit: 100, windowSeconds: WINDOW_SECONDS, key: 'client' } },
          default: ['each'],
          // their windows are counted in hours otherwise
          credentials: Object.fromEntries(['login', 'address', 'account', 'token'].map((name) => [name, { limit: 100, windowSeconds: 1 }])),
        },
      },
    })
    const [gateway] = gateways
    const redis = stores.redis!.servers[0]!
    const agent = keepAliveAgent()
    const hex = () => randomBytes(8).toString('hex')
    const made = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
    async function one(): Promise<void> {
      const id = hex()
      const bytes = randomBytes(3)
      const headers = { 'x-forwarded-for': `10.${bytes[0]}.${bytes[1]}.${bytes[2]}`, 'user-agent': id, 'x-request-id': id, [`x-${id}`]: id }
      const draw = bytes[0]! % 8
      const token = draw === 1 ? `${made({ alg: 'ES256', kid: id, typ: 'at+jwt' })}.${made({ sub: id })}.${id}` : undefined
      const body = draw === 0 ? { login: id, password: 'wrong password' } : undefined
      const path = draw === 0 ? '/auth/login' : draw < 5 ? `/open/${id}?q=${id}` : draw < 7 ? `/${id}` : `/api/${id}`
      const { status } = await tryAsk(gateway!.url + path, { headers, agent, token, body, timeoutMs: 10_000 })
      tally.add(String(status))
    }
    const seriesOf = async () => (await gateway!.metricsText()).split('\n').filter((line) => line && !line.startsWith('#')).length
    const size = async () => Number(await redis.command('DBSIZE'))

    const warm = closedLoop(16, one)
    await pause(Math.max(3000, (seconds * 1000) / 10))
    await warm.stop()
    const before = { rss: gateway!.rssMiB(), series: await seriesOf(), keys: await size() }
    const started = performance.now()
    const load = closedLoop(32, one)
    await pause(seconds * 1000)
    await load.stop()
    agent.destroy()
    const took = (performance.now() - started) / 1000
    const after = { rss: gateway!.rssMiB(), series: await seriesOf(), keys: await size() }
    let [endless, cursor] = [0, '0']
    do {
      const [next, keys] = (await redis.command('SCAN', cursor, 'COUNT', 1000)) as [string, string[]]
      cursor = next
      const ttls = await Promise.all(keys.slice(0, 100).map((key) => redis.command('PTTL', key)))
      endless += ttls.filter((ttl) => ttl === -1).length
    } while (cursor !== '0')
    const waited = performance.now()
    while ((await size()) > 100 && performance.now() - waited < 4 * WINDOW_SECONDS * 1000) await pause(500)
    const left = await size()
    tally.promise(after.rss - before.rss <= MOST_GROWTH_MIB, `RSS grew by ${after.rss - before.rss} MiB`)
    tally.promise(after.series - before.series <= MOST_MORE_SERIES, `${after.series - before.series} more series`)
    tally.promise(endless === 0, `${endless} Redis keys never expire`)
    tally.promise(left <= 100, `${left} Redis keys were left`)
    tally.promise(after.keys > 100, 'no keys were made in Redis')
    await checkGateways(tally, gateways)
    return resultOf(
      `different requests for ${took.toFixed(0)} s`,
      [
        `RSS ${before.rss} → ${after.rss} MiB; series ${before.series} → ${after.series}; Redis keys ${before.keys} → ${after.keys} → ${left} after their windows`,
      ],
      tally,
    )
  },
}
