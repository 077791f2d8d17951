import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { call } from '../support/client.ts'
import { createDatabase } from '../support/postgres.ts'
import { bare, freePort, type Running, start, until } from '../support/processes.ts'
import { type Relay, startRelay } from '../support/relay.ts'

let dir: string
let relay: Relay
let gateway: Running
let url: string

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'portcullis-fault-'))
  const databaseUrl = await createDatabase(inject('postgresUrl'))
  relay = await startRelay(Number(new URL(databaseUrl).port))
  const [port, adminPort] = [await freePort(), await freePort()]
  url = `http://127.0.0.1:${port}`
  const config = {
    // a busy machine must not refuse the one request of the test
    server: { host: '127.0.0.1', port, overload: { maxLoopDelayMs: 0 } },
    admin: { port: adminPort },
    database: { url: relay.through(databaseUrl) },
    auth: { password: { argon2: { memoryKiB: 1024, passes: 1 } } },
    limits: { exempt: ['127.0.0.1/32'] },
  }
  const file = join(dir, 'portcullis.json')
  writeFileSync(file, JSON.stringify(config))
  const env = { ...bare(), PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64') }
  gateway = start(process.execPath, ['src/cli.ts', 'serve', '--config', file], { env })
  await until(async () => (await fetch(`${url}/health`)).ok, 'the gateway', 50_000)
})
afterAll(async () => {
  await gateway.stop()
  await relay.close()
  rmSync(dir, { recursive: true, force: true })
})

it('a database connection that breaks in the middle of a statement does not stop the gateway', async () => {
  const person = { username: 'ann', email: 'ann@example.com', password: 'correct horse battery' }
  const lost = relay.loseCommit(/insert into "users"/, 'arrives')
  const broken = call({ url }, '/auth/register', { body: person }).catch(() => null)
  expect(await Promise.race([lost.then(() => 'lost'), broken])).toBe('lost')
  expect((await broken)?.status).toBe(503)
  const login = { login: person.username, password: person.password }
  expect((await call({ url }, '/auth/login', { body: login })).status).toBe(200)
  expect(gateway.output()).not.toContain('an uncaught error')
  expect(gateway.child.exitCode).toBeNull()
})
