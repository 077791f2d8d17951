import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, lengthOf } from '../harness/fault-row.ts'
import { ask } from '../harness/http.ts'
import { newSessionClient } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { randomOf } from '../storms/random.ts'

const LAG_SECONDS = 5
/** Much less than the lag. */
const KNOWN_MS = 2000

export const row: FaultRow = {
  id: 'D8',
  fault: 'the read replica is 5 s behind',
  promise: 'no decision about a token, a session or a user is read from it',
  async run(options) {
    const seconds = lengthOf(options, 20, 12)
    const tally = createTally()
    const random = randomOf(options.seed, 8)
    const setting = await startSetting({ stores: { standby: true, applyDelaySeconds: LAG_SECONDS }, start: false })
    const { stores, gateways } = setting
    for (const gateway of gateways) {
      gateway.configure((config) => {
        config.database.readUrl = stores.standby!.url
      })
      await gateway.start()
    }
    const begun = performance.now()
    const refused = async (what: string, run: (url: string) => Promise<number>) => {
      for (const { url } of gateways) {
        const status = await run(url)
        tally.promise(status === 401, `${what}: ${status}`)
      }
      tally.add(what)
    }
    while (performance.now() < begun + seconds * 1000) {
      const [here, there] = random.below(2) ? [gateways[0]!, gateways[1]!] : [gateways[1]!, gateways[0]!]
      const client = await newSessionClient(here.url)
      // a new user exists at once
      const login = await ask(`${there.url}/auth/login`, { body: { login: client.username, password: client.password } })
      tally.promise(login.status === 200, `a login of a new user: ${login.status}`)
      const parent = client.refreshToken()
      tally.promise((await client.refresh()).kind === 'rotated', 'a refresh failed')
      tally.promise((await client.refresh()).kind === 'rotated', 'a second refresh failed')
      const access = client.accessToken()
      tally.promise((await ask(`${there.url}/api/x`, { token: access })).status === 200, 'a valid token was refused')
      tally.promise((await client.logout()).status === 204, 'a logout failed')
      const statusAt = async ({ url }: typeof here) => (await ask(`${url}/api/x`, { token: access })).status
      tally.promise((await statusAt(here)) === 401, 'the gateway of the logout accepted the token')
      // another gateway learns it by Redis, a few milliseconds later: docs/tokens-and-sessions.md
      const learned = await until(async () => (await statusAt(there)) === 401, 'the other gateway to refuse the token', KNOWN_MS).catch(
        () => false,
      )
      tally.promise(learned, `the other gateway accepted the token for more than ${KNOWN_MS} ms`)
      tally.add('tokens after a logout', 2)
      for (const token of [parent, client.refreshToken()])
        await refused(
          'refresh tokens after a logout',
          async (url) => (await ask(`${url}/auth/refresh`, { body: { refresh_token: token } })).status,
        )
    }
    const lag = await Promise.all(gateways.map((gateway) => gateway.metric('portcullis_db_replica_lag_seconds')))
    tally.promise(Math.max(...lag) > 0, 'the lag of the replica is not in the metrics')
    await checkGateways(tally, gateways)
    return resultOf(
      `2 gateways with database.readUrl; ${Math.round((performance.now() - begun) / 1000)} s`,
      [`reported lag ${lag.map((n) => n.toFixed(1)).join(' and ')} s`],
      tally,
    )
  },
}
