import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, pause } from '../harness/fault-row.ts'
import { isEverywhere, redisCounts } from '../harness/gateways.ts'
import { LIMITED } from '../harness/limited.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, proxiedTraffic, tokensOf } from '../harness/traffic.ts'

const PASSWORD = 'Gartenzwerg77'
const OTHER = 'Feldsalat4711'

export const row: FaultRow = {
  id: 'R7',
  fault: 'Redis refuses the password at a reconnect, then the commands (ACL)',
  promise: 'as without Redis; the metric and the log name the cause, and never the password',
  async run({ short }) {
    const tally = createTally()
    const { stores, gateways, clients } = await startSetting({
      workers: short ? 1 : 2,
      clients: 5,
      config: LIMITED,
      stores: { redisArgs: ['--requirepass', PASSWORD] },
      reach: ({ redisUrl }) => ({ redisUrl: redisUrl.replace('//', `//:${PASSWORD}@`) }),
    })
    const redis = stores.redis!.servers[0]!
    const admin = (name: string, ...args: string[]) => redis.as(PASSWORD, name, ...args)
    const other = (name: string, ...args: string[]) => redis.as(OTHER, name, ...args)
    const proxied = proxiedTraffic(
      gateways.map(({ url }) => url),
      short ? 40 : 150,
      { tokenOf: tokensOf(clients) },
    )
    await pause(1000)
    const kinds = async (kind: string) => {
      const named = () => isEverywhere(gateways, `portcullis_redis_errors_total{kind="${kind}"`, (n) => n > 0)
      const isNamed = await until(named, kind, 15_000).then(
        () => true,
        () => false,
      )
      tally.promise(isNamed, `redis_errors_total does not name ${kind}`)
      if (isNamed) tally.add(`named ${kind}`)
    }
    await admin('CONFIG', 'SET', 'requirepass', OTHER)
    await other('CLIENT', 'KILL', 'TYPE', 'normal')
    await other('CLIENT', 'KILL', 'TYPE', 'pubsub').catch(() => undefined)
    await kinds('auth')
    await other('CONFIG', 'SET', 'requirepass', PASSWORD)
    const isBack = () => redisCounts(gateways)
    await until(isBack, 'Redis with the right password', 60_000)
    await admin('ACL', 'SETUSER', 'default', '-@scripting')
    await kinds('noperm')
    await admin('ACL', 'SETUSER', 'default', '+@all')
    await until(isBack, 'Redis with all commands', 60_000)
    await pause(1000)
    await proxied.stop()
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    for (const gateway of gateways) {
      const text = gateway.log() + (await gateway.metricsText())
      tally.promise(!text.includes(PASSWORD) && !text.includes(OTHER), `the password is in the log or the metrics of ${gateway.name}`)
    }
    await checkGateways(tally, gateways)
    return resultOf('2 gateways with limits; another password, then an ACL', [countSamples('proxied', proxied.samples)], tally)
  },
}
