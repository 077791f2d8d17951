/** Passwords are hashed by a process of its own. */
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { call, login, newUser, type TestUser } from '../../support/client.ts'
import { type GatewayProcess, startGatewayProcess } from '../../support/gateway-process.ts'
import { createDatabase } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'

let gateway: GatewayProcess
let user: TestUser
beforeAll(async () => {
  const databaseUrl = await createDatabase(inject('postgresUrl'))
  gateway = await startGatewayProcess({
    routes: [],
    server: { overload: { maxLoopDelayMs: 0 } },
    stores: { databaseUrl, redisUrl: 'memory' },
  })
  user = await newUser(gateway)
})
afterAll(() => gateway.stop())

/** Of every thread; field 19 of proc_pid_stat(5). */
const niceOf = (pid: number): Map<string, number> =>
  new Map(
    readdirSync(`/proc/${pid}/task`).map((tid) => {
      const [name, rest] = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'utf8')
        .split(/^\d+ \((.*)\) /)
        .slice(1) as [string, string]
      return [`${tid} ${name}`, Number(rest.split(' ')[16])]
    }),
  )

it('of the lowest priority, unlike the serving process', async () => {
  const [hasher] = gateway.children()
  const own = niceOf(hasher!)
  expect(own.get([...own.keys()].find((thread) => thread.startsWith(`${hasher} `))!)).toBe(19)
  // its two threads that hash were started after it had taken that priority
  expect([...own.values()].filter((nice) => nice === 19).length).toBeGreaterThanOrEqual(3)
  expect(new Set(niceOf(gateway.pid).values())).toEqual(new Set([getPriority()]))
})

it('that knows no secret', () => {
  const [hasher] = gateway.children()
  expect(readFileSync(`/proc/${hasher}/environ`, 'latin1')).not.toContain('PORTCULLIS_')
  expect(readFileSync(`/proc/${gateway.pid}/environ`, 'latin1')).toContain('PORTCULLIS_SECRET_KEY')
})

it('that is started again after it has died; what it was at is 503', async () => {
  const [hasher] = gateway.children()
  process.kill(hasher!, 'SIGSTOP')
  const pending = call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
  await until(async () => (await gateway.vitals()).hashing === 1, 'the hash to be under way')
  process.kill(hasher!, 'SIGKILL')
  expect(await pending).toMatchObject({ status: 503, body: { code: 'unavailable' } })
  expect((await login(gateway, user)).id).toBe(user.id)
  expect(gateway.children()).toHaveLength(1)
  expect(gateway.children()).not.toContain(hasher)
})

it('that ends with the gateway', async () => {
  const [hasher] = gateway.children()
  await gateway.stop()
  await until(() => !readdirSync('/proc').includes(String(hasher)), 'its end')
})
