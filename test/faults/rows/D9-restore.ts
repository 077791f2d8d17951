import { rmSync } from 'node:fs'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { ask } from '../harness/http.ts'
import { copyData } from '../harness/postgres.ts'
import { newSessionClients } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'

const USERS = 10

export const row: FaultRow = {
  id: 'D9',
  fault: 'an older backup is restored',
  promise: 'after the steps of the runbook no token from before the restore works',
  async run() {
    const tally = createTally()
    const { stores, gateways } = await startSetting({ gateways: 1 })
    const [gateway] = gateways as [(typeof gateways)[0]]
    const clients = await newSessionClients(USERS, gateway.url)
    const { postgres } = stores
    const backup = `${postgres.dataDir}-backup`
    atEnd(() => rmSync(backup, { recursive: true, force: true }))
    await gateway.stop()
    await postgres.stop('fast')
    copyData(postgres.dataDir, backup)
    await postgres.start()
    await gateway.start()
    // after the backup: exchanges, and logouts
    const old = clients.map((client) => client.refreshToken())
    for (const [i, client] of clients.entries()) {
      tally.promise((await client.refresh()).kind === 'rotated', 'a refresh failed')
      if (i % 2) tally.promise((await client.logout()).status === 204, 'a logout failed')
    }
    const tokens = clients.map((client) => client.accessToken())
    await gateway.stop()
    await postgres.stop('fast')
    rmSync(postgres.dataDir, { recursive: true })
    copyData(backup, postgres.dataDir)
    await postgres.start()
    // the runbook: every session ends before the gateway starts
    for (const { username } of clients) await gateway.command(['users', 'end-sessions', username])
    await gateway.start()
    for (const [i, client] of clients.entries()) {
      for (const refreshToken of [old[i], client.refreshToken()]) {
        const { status } = await ask(`${gateway.url}/auth/refresh`, { body: { refresh_token: refreshToken } })
        tally.add(`refresh tokens ${status}`)
        tally.promise(status === 401, `a refresh token from before the restore: ${status}`)
      }
      const { status } = await ask(`${gateway.url}/api/x`, { token: tokens[i]! })
      tally.add(`access tokens ${status}`)
      tally.promise(status === 401, `an access token from before the restore: ${status}`)
      tally.promise((await client.login()).status === 200, 'a login after the restore failed')
    }
    await checkGateways(tally, gateways)
    return resultOf(`${USERS} users, a copy of the data folder, exchanges and logouts, restore, users end-sessions`, [], tally)
  },
}
