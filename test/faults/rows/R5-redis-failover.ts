import { until } from '../../support/processes.ts'
import { codeOf } from '../../support/totp.ts'
import { endAll } from '../harness/cleanup.ts'
import { createTally, type FaultRow, pause, type Tally } from '../harness/fault-row.ts'
import { redisCounts } from '../harness/gateways.ts'
import { ask, jsonOf } from '../harness/http.ts'
import { LIMITED } from '../harness/limited.ts'
import type { RedisForm } from '../harness/redis.ts'
import { newSessionClient } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, proxiedTraffic, tokensOf } from '../harness/traffic.ts'

/** After the promotion. */
const BACK_MS = 2000

export const row: FaultRow = {
  id: 'R5',
  fault: 'failover of Redis with Sentinel and in a cluster; the last writes are lost',
  promise: 'no request fails, and no revoked token and no used code becomes valid',
  async run(options) {
    const tally = createTally()
    const found: string[] = []
    for (const form of ['sentinel', 'cluster'] as const) {
      found.push(await failover(form, options, tally))
      tally.broken.push(...(await endAll()))
    }
    return resultOf('2 gateways with limits; the master is killed, once with Sentinels and once in a cluster of 3 + 3', found, tally)
  },
}

async function failover(form: RedisForm, { short, seconds }: { short: boolean; seconds?: number }, tally: Tally): Promise<string> {
  const { stores, gateways, clients } = await startSetting({
    workers: short ? 1 : 2,
    clients: 5,
    config: LIMITED,
    stores: { redis: form },
  })
  const redis = stores.redis!
  const urls = gateways.map(({ url }) => url)
  const proxied = proxiedTraffic(urls, short ? 40 : 150, { tokenOf: tokensOf(clients) })
  await pause(1500)
  const before = await redis.masterPort()
  // in the seconds that Redis will have lost: its replicas get nothing more
  for (const replica of redis.servers.slice(form === 'cluster' ? 3 : 1)) replica.freeze()
  const left = await newSessionClient(urls[0]!)
  tally.promise((await left.logout()).status === 204, `${form}: a logout failed`)
  const factor = await useCode(urls[0]!)
  await pause(300)
  const killed = performance.now()
  await redis.servers.find(({ port }) => port === before)!.kill()
  for (const replica of redis.servers.slice(form === 'cluster' ? 3 : 1)) replica.resume()
  const promoted = await until(() => promotion(form, redis, before), `${form}: a promotion`, 60_000)
  const down = Math.round(promoted - killed)
  await until(() => redisCounts(gateways), `${form}: redis_up`, 60_000)
  const back = Math.round(performance.now() - promoted)
  await pause((seconds ?? 3) * 1000)
  for (const url of urls) {
    const { status } = await ask(`${url}/api/x`, { token: left.accessToken() })
    tally.promise(status === 401, `${form}: a token answers ${status} after its logout`)
  }
  const again = await factor.again()
  tally.promise(again !== 200, `${form}: a used code was accepted again`)
  await proxied.stop()
  promiseAllOk(tally, `${form}: proxied requests`, proxied.samples)
  tally.promise(short || back <= BACK_MS, `${form}: Redis counted again ${back} ms after the promotion`)
  await checkGateways(tally, gateways)
  return `${form}: ${countSamples('proxied', proxied.samples)}, promoted after ${down} ms, counts again ${back} ms later`
}

async function promotion(form: RedisForm, redis: Awaited<ReturnType<typeof startSetting>>['stores']['redis'], before: number) {
  if (form === 'sentinel') return (await redis!.masterPort()) !== before && performance.now()
  const roles = await Promise.all(redis!.servers.slice(3).map((server) => server.command('ROLE').catch(() => [])))
  return roles.some((role) => Array.isArray(role) && role[0] === 'master') && performance.now()
}

/** A user with a second factor who has used the current code. */
async function useCode(url: string): Promise<{ again(): Promise<number> }> {
  const user = await newSessionClient(url)
  const token = user.accessToken()
  const begun = jsonOf(await ask(`${url}/auth/mfa/totp`, { body: { password: user.password }, token }))
  await ask(`${url}/auth/mfa/totp/confirm`, { body: { code: codeOf(begun.secret, -1) }, token })
  const code = codeOf(begun.secret, 0)
  const login = async () => {
    const first = jsonOf(await ask(`${url}/auth/login`, { body: { login: user.username, password: user.password } }))
    return (await ask(`${url}/auth/login/mfa`, { body: { mfa_token: first.mfa_token, code } })).status
  }
  const used = await login()
  if (used !== 200) throw new Error(`the login with a code answered ${used}`)
  return { again: login }
}
