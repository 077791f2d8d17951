import { until } from '../../support/processes.ts'
import { familyFaults } from '../harness/families.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { ask } from '../harness/http.ts'
import { newSessionClients } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, proxiedTraffic, refreshTraffic, tokensOf } from '../harness/traffic.ts'

/** Changes of this time are lost. */
const LOST_MS = 500
const SETTLED_MS = 5000

export const row: FaultRow = {
  id: 'D2',
  fault: 'failover of Postgres during refreshes; the last commits are lost, and the old primary comes back',
  promise: 'no reuse alarm, no double successor, no logged-out token comes back, no loop on a read-only server',
  async run(options) {
    const seconds = lengthOf(options, 30, 10)
    const rate = options.short ? 40 : 150
    const tally = createTally()
    const setting = await startSetting({
      stores: { standby: true },
      workers: options.short ? 1 : 2,
      clients: options.short ? 20 : 60,
      reach: ({ postgres, standby }) => ({
        databaseUrl: `postgres://postgres@127.0.0.1:${postgres.port},127.0.0.1:${standby!.port}/portcullis`,
      }),
    })
    const { stores, gateways, balancer, clients, successors } = setting
    const standby = stores.standby!
    const users = clients.splice(0, 4)
    const leaving = await newSessionClients(4, balancer.url)
    await until(() => isCaughtUp(stores.postgres, standby), 'the standby to catch up')
    const proxied = proxiedTraffic([balancer.url], options.short ? 20 : 100, { tokenOf: tokensOf(users) })
    const refreshes = refreshTraffic(clients, rate)
    await pause(options.short ? 1500 : 5000)
    // from here on nothing reaches the standby
    stores.replication!.cut()
    const lostFrom = performance.now()
    for (const client of leaving)
      tally.promise((await client.logout()).status === 204, 'a logout before the failover was not answered with 204')
    await pause(LOST_MS)
    await stores.postgres.kill()
    const killed = performance.now()
    await standby.promote()
    const promoted = performance.now()
    await until(async () => (await users[0]!.login().catch(() => null))?.status === 200, 'a login after the failover', 60_000)
    const back = Math.round(performance.now() - promoted)
    await pause(2000)
    // the old primary comes back: it is behind, and believes to be the primary
    await stores.postgres.start()
    await pause(seconds * 1000 - (performance.now() - killed))
    const writesToOld = await stores.postgres.sql<{ n: number }>(
      `SELECT count(*)::int AS n FROM refresh_tokens WHERE created_at > now() - interval '${Math.max(1, Math.floor((performance.now() - promoted) / 1000) - 1)} seconds'`,
    )
    await refreshes.stop()
    await proxied.stop()

    const lost = refreshes.between(lostFrom, killed).filter(({ isOk }) => isOk).length
    const refused = refreshes.samples.filter(({ how }) => how.startsWith('refused'))
    const alarms = refused.filter(({ how }) => !how.includes('refresh_invalid'))
    tally.promise(alarms.length === 0, countSamples('refreshes that raised an alarm', alarms))
    tally.promise(refused.length <= lost, `${refused.length} clients must log in again, after ${lost} lost commits`)
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    const late = refreshes.samples.filter(({ at, how }) => at > promoted + SETTLED_MS && !how.startsWith('refused'))
    promiseAllOk(tally, 'refreshes later than 5 s after the promotion', late)
    tally.promise(writesToOld[0]?.n === 0, `${writesToOld[0]?.n} refresh tokens were written to the old primary`)
    const readOnly = gateways.flatMap((g) => g.log().split('\n')).filter((line) => /25006|read-only transaction/.test(line)).length
    tally.add('log lines about a read-only server', readOnly)
    tally.promise(readOnly < 20 * gateways.length, `${readOnly} log lines about a read-only server`)
    for (const client of leaving)
      for (const { url, name } of gateways) {
        const { status } = await ask(`${url}/api/x`, { token: client.accessToken() })
        tally.promise(status === 401, `${name} answers ${status} to a token of a session that was logged out before the failover`)
      }
    // a process that knows only the database
    const [first] = gateways as [(typeof gateways)[0]]
    await first.stop()
    await first.start()
    for (const client of leaving) {
      const { status } = await ask(`${first.url}/api/x`, { token: client.accessToken() })
      tally.promise(status === 401, `a restarted gateway answers ${status} to a token of a session that was logged out before the failover`)
      const end = await client.refresh()
      tally.promise(end.kind === 'refused', `the refresh token of a session that was logged out before the failover: ${end.kind}`)
    }
    const doubles = successors.doubles().length
    // the successor that was lost is one of the two
    tally.promise(doubles <= lost, `${doubles} tokens were exchanged for two successors, after ${lost} lost commits`)
    tally.broken.push(...(await familyFaults(standby)))
    await checkGateways(tally, gateways)
    return resultOf(
      `2 gateways with both hosts in the URL, ${rate} refreshes/s, ${LOST_MS} ms of commits lost; ${Math.round((performance.now() - killed) / 1000)} s`,
      [
        countSamples('refreshes', refreshes.samples),
        countSamples('proxied', proxied.samples),
        `${lost} lost commits, ${refused.length} clients must log in again`,
        `a login ${back} ms after the promotion`,
      ],
      tally,
    )
  },
}

interface Sql {
  sql(text: string): Promise<Record<string, unknown>[]>
}
async function isCaughtUp(primary: Sql, standby: Sql): Promise<boolean> {
  const [sent] = await primary.sql('SELECT count(*) AS n FROM users')
  const [got] = await standby.sql('SELECT count(*) AS n FROM users')
  return sent!.n === got!.n
}
