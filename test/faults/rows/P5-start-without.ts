import { randomBytes } from 'node:crypto'
import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, pause, type Tally } from '../harness/fault-row.ts'
import { type FaultGateway, type GatewaysOptions, startGateways } from '../harness/gateways.ts'
import { ask } from '../harness/http.ts'
import { newSessionClient } from '../harness/session-client.ts'
import { resultOf } from '../harness/setting.ts'
import { startStores } from '../harness/stores.ts'
import { startRowUpstream } from '../harness/upstream.ts'

const CONFIG_MS = 5000
/** Must be in no log. */
const SECRET = 'Gartenzwerg77'

export const row: FaultRow = {
  id: 'P5',
  fault: 'a start without Postgres, without Redis, with a wrong configuration or a wrong key',
  promise: 'not ready, or an end with a clear message; nothing passes that must not, and no secret is shown',
  async run({ short }) {
    const tally = createTally()
    const [stores, upstream] = await Promise.all([startStores(), startRowUpstream()])
    const routes = [{ name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' }]
    const begun = performance.now()
    const make = async (options: Partial<GatewaysOptions>) =>
      (
        await startGateways(1, { databaseUrl: stores.databaseUrl, redisUrl: stores.redisUrl, routes, workers: 2, start: false, ...options })
      )[0]!

    // without Redis: everything works, and limits are counted elsewhere
    const redis = stores.redis!.servers[0]!
    await redis.kill()
    const alone = await make({})
    await alone.start()
    const user = await newSessionClient(alone.url)
    tally.promise((await user.get('/api/x')).status === 200, 'without Redis a valid token does not pass')
    tally.promise((await ask(`${alone.url}/api/x`)).status === 401, 'without Redis a request without a token is not refused')
    tally.promise(await alone.isReady(), 'without Redis the gateway is not ready')
    await redis.start()
    await until(async () => (await alone.metric('portcullis_redis_up')) > 0, 'redis_up', 30_000)
    tally.add('starts without Redis', 1)
    await alone.stop()

    // without Postgres
    await stores.postgres.stop('fast')
    for (const workers of short ? [2] : [1, 2]) {
      const gateway = await make({ workers, databaseUrl: stores.databaseUrl.replace('postgres@', `postgres:${SECRET}@`) })
      await startsWithout(gateway, user.accessToken(), tally)
      tally.add('starts without Postgres', 1)
    }
    await stores.postgres.start()

    // as the gateway before, which made the keys of this database
    const wrongKey = await make({ env: { PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64') } })
    await ends(wrongKey, /secret.?key/i, tally, 'a wrong secret key', 30_000)
    const noKey = await make({ env: { PORTCULLIS_SECRET_KEY: '' } })
    await ends(noKey, /PORTCULLIS_SECRET_KEY/, tally, 'no secret key', CONFIG_MS)

    const wrong: [what: string, field: RegExp, config: Record<string, any>][] = [
      ['a text for a number', /server\.workers/, { server: { workers: 'many' } }],
      ['an unknown field', /server\.prot/, { server: { prot: 80 } }],
      ['a URL that is none', /database\.url/, { database: { url: `pstgres://u:${SECRET}@127.0.0.1/x` } }],
      [
        'a route without access',
        /routes.*access|access.*route/i,
        { routes: [{ name: 'x', match: { path: '/x' }, upstream: ['http://127.0.0.1:9'] }] },
      ],
      ['an unknown limit', /limits\.default/, { limits: { default: ['nowhere'] } }],
      ['several workers with limits in memory', /workers|redis/, { redis: { url: 'memory' }, server: { workers: 2 } }],
      ['a token lifetime of 0', /tokens\.accessTtlSeconds/, { tokens: { accessTtlSeconds: 0 } }],
      [
        'a mail server with a password and a port that is none',
        /mail\.url/,
        { mail: { url: `smtp://u:${SECRET}@h:99999`, from: 'a@example.com' } },
      ],
    ]
    for (const [what, field, config] of wrong) await ends(await make({ config }), field, tally, what, CONFIG_MS, short)
    return resultOf(`1 gateway with 1 and 2 workers; ${Math.round((performance.now() - begun) / 1000)} s`, [], tally)
  },
}

/** It ends with an error, or it lives and serves nothing that needs a verdict. */
async function startsWithout(gateway: FaultGateway, token: string, tally: Tally): Promise<void> {
  const own = gateway.launch()
  const end = performance.now() + 20_000
  let isFirst = true
  while (own.isAlive() && performance.now() < end) {
    tally.promise(!(await gateway.isReady()), 'without Postgres the gateway says that it is ready')
    for (const headers of [{}, { authorization: `Bearer ${token}` }]) {
      const status = await ask(`${gateway.url}/api/x`, { headers: headers as Record<string, string>, timeoutMs: 5000 }).then(
        (answer) => answer.status,
        () => 0,
      )
      if (isFirst && status) tally.add(`without Postgres ${status}`)
      tally.promise(status === 0 || status === 503 || status === 401, `without Postgres a protected route answers ${status}`)
    }
    isFirst = false
    await pause(250)
  }
  if (!own.isAlive()) {
    const code = await own.exit
    tally.add(`ended with ${code}`)
    tally.promise(code !== 0, 'without Postgres the gateway ends with exit code 0')
    tally.promise(/database|postgres/i.test(gateway.log()), `the log does not name the database: ${gateway.log().slice(-300)}`)
  } else tally.promise(await gateway.isLive(), 'without Postgres the gateway is not live')
  tally.promise(!gateway.log().includes(SECRET), 'the password of the database is in the log')
  if (own.isAlive()) await gateway.stop()
}

async function ends(gateway: FaultGateway, names: RegExp, tally: Tally, what: string, withinMs: number, short = false): Promise<void> {
  const own = gateway.launch()
  const started = performance.now()
  await until(() => !own.isAlive(), `the end after ${what}`, 60_000)
  const took = Math.round(performance.now() - started)
  const code = await own.exit
  const log = gateway.log()
  tally.add('refused configurations and keys')
  tally.promise(code !== 0, `${what}: exit code 0`)
  tally.promise(short || took < withinMs, `${what}: the end came after ${took} ms`)
  tally.promise(names.test(log), `${what}: the message does not name it: ${log.slice(0, 300)}`)
  tally.promise(!log.includes(SECRET), `${what}: a password is in the message`)
}
