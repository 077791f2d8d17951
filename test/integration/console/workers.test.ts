/** The console of a gateway of several processes: the supervisor answers it, and its changes are in force in every worker. */
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { call, newUser, type TestUser } from '../../support/client.ts'
import { type Console, consoleOf } from '../../support/console.ts'
import { type GatewayProcess, startGatewayProcess } from '../../support/gateway-process.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'

let gateway: GatewayProcess
let databaseUrl: string
let admin: TestUser
let site: Console

beforeAll(async () => {
  databaseUrl = await createDatabase(inject('postgresUrl'))
  gateway = await startGatewayProcess({
    routes: [],
    server: { workers: 2, shutdownDelayMs: 0, overload: { maxLoopDelayMs: 0 } },
    auth: { browser: { enabled: true } },
    stores: { databaseUrl, redisUrl: inject('redisUrl') },
  })
  await until(() => gateway.logLines().some((line) => line.includes('portcullis is listening')), 'all workers')
  admin = await newUser(gateway)
  await query(databaseUrl, `UPDATE users SET roles = '{admin,user}', token_epoch = token_epoch + 1 WHERE id = $1`, [admin.id])
  site = await consoleOf(gateway, admin)
})
afterAll(() => gateway.stop())

/** Asks often enough to reach both workers. */
const statuses = async (token: string) =>
  new Set(
    await Promise.all(
      Array.from({ length: 12 }, async () => (await call(gateway, '/auth/me', { token, headers: { connection: 'close' } })).status),
    ),
  )

it('a disabled user is refused by every worker before the console answers', async () => {
  const user = await newUser(gateway)
  expect(await statuses(user.token)).toEqual(new Set([200]))
  const { to } = await site.post(`/console/users/${user.id}/disable`)
  expect(to).toBe(`/console/users/${user.id}?done=disable`)
  expect(await statuses(user.token)).toEqual(new Set([401]))
})

it('a session that ends in a worker is over in the console', async () => {
  const other = await consoleOf(gateway, admin)
  expect((await other.get('/console/users')).status).toBe(200)
  const { body } = await call(gateway, '/auth/login', { body: { login: admin.username, password: admin.password } })
  await call(gateway, '/auth/logout-all', { method: 'POST', token: body.access_token })
  expect((await other.get('/console/users')).status).toBe(303)
})

it('probes and metrics answer without a login', async () => {
  for (const path of ['/livez', '/readyz', '/metrics']) expect((await fetch(gateway.adminUrl + path)).status, path).toBe(200)
})
