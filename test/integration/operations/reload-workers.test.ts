/** Several processes put a new configuration in force together, or none of them does. */

import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import http, { type IncomingMessage } from 'node:http'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { call } from '../../support/client.ts'
import { startExternalIssuer } from '../../support/external-issuer.ts'
import { type GatewayProcess, get, startGatewayProcess } from '../../support/gateway-process.ts'
import { createDatabase } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let gateway: GatewayProcess
const route = (name: string) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], access: 'public' })

beforeAll(async () => {
  upstream = await startUpstream()
  gateway = await startGatewayProcess({
    routes: [route('a')],
    // how late the loop is depends on the machine
    server: { workers: 3, overload: { maxLoopDelayMs: 0 } },
    stores: { databaseUrl: await createDatabase(inject('postgresUrl')), redisUrl: inject('redisUrl') },
  })
  // before the gateway is ready, the signal waits
  process.kill(gateway.pid, 'SIGHUP')
  await until(() => logged('portcullis is listening'), 'all workers')
  await until(() => logged('the new configuration is in force'), 'the reload')
})
afterAll(async () => {
  await gateway.stop()
  await upstream.close()
})

const logged = (text: string) => gateway.logLines().some((line) => line.includes(text))

function write(change: (config: any) => void): void {
  const config = JSON.parse(readFileSync(gateway.file, 'utf8'))
  change(config)
  writeFileSync(gateway.file, JSON.stringify(config))
}
const reload = () => call({ url: gateway.adminUrl }, '/reload', { method: 'POST' })

/** Each on a connection of its own: they come to all workers in turn. */
async function statuses(path: string): Promise<number[]> {
  const ask = async () => {
    const [answer] = (await once(http.get(gateway.url + path, { agent: false }), 'response')) as [IncomingMessage]
    await answer.resume().toArray()
    return answer.statusCode!
  }
  return [...new Set(await Promise.all(Array.from({ length: 12 }, ask)))]
}

it('all workers have the new configuration when the answer comes', async () => {
  write((config) => config.routes.push(route('b')))
  expect(await reload()).toMatchObject({ status: 200, body: { status: 'reloaded', needs_restart: [] } })
  expect(await statuses('/b')).toEqual([200])
})

it('SIGHUP reloads, and names what needs a restart', async () => {
  write((config) => {
    config.routes.push(route('c'))
    config.server.workers = 2
  })
  process.kill(gateway.pid, 'SIGHUP')
  await until(async () => (await statuses('/c')).join() === '200', 'the new route')
  const isNamed = () => gateway.logLines().some((line) => line.includes('config_needs_restart') && line.includes('server.workers'))
  await until(isNamed, 'the log line about the setting')
  expect(gateway.isAlive()).toBe(true)
})

it('a changed file of networks is in force in all workers without a reload, and a bad one is logged once', async () => {
  const list = `${gateway.file}.deny.txt`
  writeFileSync(list, '# nobody\n')
  write((config) => config.routes.push({ ...route('listed'), networks: { denyFile: list } }))
  expect((await reload()).status).toBe(200)
  expect(await statuses('/listed')).toEqual([200])
  writeFileSync(list, '127.0.0.0/8\n')
  await until(async () => (await statuses('/listed')).join() === '403', 'the refusal by all workers')
  writeFileSync(list, 'nonsense\n')
  const complaints = () => gateway.logLines().filter((line) => line.includes('data_file_unusable')).length
  await until(async () => /data_file_last_reload_success\{kind="networks"\} 0/.test(await get(`${gateway.adminUrl}/metrics`)), 'the metric')
  await until(() => complaints() > 0, 'the log line')
  expect(await statuses('/listed')).toEqual([403])
  expect(complaints()).toBe(1)
  writeFileSync(list, '# nobody\n')
  await until(async () => (await statuses('/listed')).join() === '200', 'the change in all workers')
})

it('a replacement worker has the newest configuration', async () => {
  const [worker] = gateway.children().filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('worker'))
  process.kill(worker!, 'SIGKILL')
  await until(async () => (await get(`${gateway.adminUrl}/readyz?verbose`)).includes('workers (3 of 3)'), 'the replacement')
  expect(await statuses('/c')).toEqual([200])
})

it('when a worker cannot prepare the configuration, none has it', async () => {
  // texts and brand are sound for the supervisor; the CA of an upstream is read by workers alone
  const ca = `${gateway.file}.pem`
  writeFileSync(ca, '-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n')
  write((config) => config.routes.push({ ...route('d'), upstream: [{ url: 'https://127.0.0.1:1', tls: { cert: ca, key: ca } }] }))
  expect(await reload()).toMatchObject({ status: 422, body: { status: 'refused', problems: [expect.stringContaining('route d')] } })
  expect([await statuses('/d'), await statuses('/c')]).toEqual([[404], [200]])
  const metrics = await get(`${gateway.adminUrl}/metrics`)
  expect(metrics).toContain('portcullis_config_last_reload_success 0')
  write((config) => config.routes.pop())
  expect((await reload()).status).toBe(200)
  expect(await get(`${gateway.adminUrl}/metrics`)).toContain('portcullis_config_last_reload_success 1')
})

it('no request fails during reloads', async () => {
  const seen = new Set<number>()
  let isDone = false
  const clients = Array.from({ length: 4 }, async () => {
    while (!isDone) for (const status of await statuses('/a')) seen.add(status)
  })
  for (let i = 0; i < 5; i++) expect((await reload()).status).toBe(200)
  isDone = true
  await Promise.all(clients)
  expect([...seen]).toEqual([200])
})

it('the process of the console follows what the workers follow: one notice of a bad file, and no issuer that was removed', async () => {
  const issuer = await startExternalIssuer()
  const list = `${gateway.file}.console.txt`
  writeFileSync(list, '# nobody\n')
  const other = await startGatewayProcess({
    routes: [{ ...route('listed'), networks: { denyFile: list } }],
    server: { workers: 2 },
    auth: { browser: { enabled: true } },
    issuers: [issuer.settings()],
    stores: { databaseUrl: await createDatabase(inject('postgresUrl')), redisUrl: inject('redisUrl') },
  })
  try {
    await until(() => other.logLines().some((line) => line.includes('portcullis is listening')), 'all workers')
    const metrics = () => get(`${other.adminUrl}/metrics`)
    await until(async () => (await metrics()).includes('portcullis_issuer_keys_age_seconds{issuer="work"}'), 'the keys are followed')
    // the console and each worker
    await until(() => issuer.count('/jwks') >= 3, 'every process has read the keys')
    writeFileSync(list, 'nonsense\n')
    const complaints = () => other.logLines().filter((line) => line.includes('data_file_unusable'))
    await until(async () => /data_file_last_reload_success\{kind="networks"\} 0/.test(await metrics()), 'the metric')
    await until(() => complaints().length > 0, 'the log line')
    writeFileSync(list, '# nobody\n')
    await until(async () => /data_file_last_reload_success\{kind="networks"\} 1/.test(await metrics()), 'every process has read the file')
    expect(complaints()).toHaveLength(1)
    const config = JSON.parse(readFileSync(other.file, 'utf8'))
    writeFileSync(other.file, JSON.stringify({ ...config, issuers: [] }))
    expect((await call({ url: other.adminUrl }, '/reload', { method: 'POST' })).status).toBe(200)
    await until(async () => !(await metrics()).includes('portcullis_issuer_keys_age_seconds{'), 'no process follows the issuer')
  } finally {
    await other.stop()
    await issuer.close()
  }
})
