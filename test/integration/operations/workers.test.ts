/** Several processes that serve as one gateway. */
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Answer, call, login, newUser } from '../../support/client.ts'
import { type GatewayProcess, get, startGatewayProcess } from '../../support/gateway-process.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { startRelay } from '../../support/relay.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'
import { connect } from '../../support/wire.ts'

let upstream: Upstream
let release: (() => void)[] = []
let gateway: GatewayProcess
let databaseUrl: string

async function start(databaseUrl: string, server: object = {}): Promise<GatewayProcess> {
  const started = await startGatewayProcess({
    routes: [
      { name: 'mine', match: { path: '/mine' }, upstream: [upstream.url], access: 'authenticated' },
      { name: 'all', match: { path: '/' }, upstream: [upstream.url], access: 'public' },
    ],
    // on a busy machine an event loop is late, and the requests here are counted
    server: { workers: 3, shutdownDelayMs: 0, overload: { maxLoopDelayMs: 0 }, ...server },
    stores: { databaseUrl, redisUrl: inject('redisUrl') },
  })
  await until(() => started.logLines().some((line) => line.includes('portcullis is listening')), 'all workers')
  return started
}

beforeAll(async () => {
  upstream = await startUpstream(async (req, res) => {
    if (!req.url!.startsWith('/slow')) return false
    res.write('first ')
    await new Promise<void>((resolve) => release.push(resolve))
    res.end('last')
    return true
  })
  databaseUrl = await createDatabase(inject('postgresUrl'))
  gateway = await start(databaseUrl)
})
afterAll(async () => {
  await gateway.stop()
  await upstream.close()
})

/** Each on a connection of its own: they come to all workers in turn. */
async function ask(path: string, { token, method = 'GET' }: { token?: string; method?: string } = {}): Promise<number> {
  const headers = token ? { authorization: `Bearer ${token}` } : {}
  const request = http.request(gateway.url + path, { agent: false, method, headers }).end()
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  await answer.resume().toArray()
  return answer.statusCode!
}
const times = <T>(n: number, make: () => Promise<T>) => Promise.all(Array.from({ length: n }, make))
const metricsText = () => get(`${gateway.adminUrl}/metrics`)
const sumOf = (text: string, series: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith(series))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
/** All requests on one connection. */
async function keepAlive() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const client = {
    async ask(path: string, { token, method = 'GET' }: { token?: string; method?: string } = {}): Promise<number> {
      const headers = token ? { authorization: `Bearer ${token}` } : {}
      const [answer] = (await once(http.request(gateway.url + path, { agent, method, headers }).end(), 'response')) as [IncomingMessage]
      await answer.resume().toArray()
      return answer.statusCode!
    },
    close: () => agent.destroy(),
  }
  expect(await client.ask('/x')).toBe(200)
  return client
}
/** Stops a worker. @returns its process, and a client of another worker */
async function freezeAnother() {
  const client = await keepAlive()
  for (const pid of gateway.children()) {
    process.kill(pid, 'SIGSTOP')
    const isOther = await Promise.race([client.ask('/x').then(() => true), pause(1000).then(() => false)])
    if (isOther) return { client, frozen: pid }
    process.kill(pid, 'SIGCONT')
    // after a pause a worker refuses requests for a moment
    await until(async () => (await client.ask('/x')) === 200, 'the worker to serve again')
  }
  throw new Error('no worker serves this client')
}
const readiness = async () => (await fetch(`${gateway.adminUrl}/readyz?verbose`)).json() as Promise<Answer['body']>
it('all workers serve, and the admin listener answers for all', async () => {
  expect(gateway.children()).toHaveLength(3)
  expect(await readiness()).toMatchObject({ status: 'ready', checks: [{ name: 'workers (3 of 3)', ok: true }, {}, {}, {}, {}, {}] })
  const counted = (text: string) => sumOf(text, 'portcullis_http_requests_total{method="GET",route="all"')
  const before = counted(await metricsText())
  expect(new Set(await times(60, () => ask('/x')))).toEqual(new Set([200]))
  const text = await metricsText()
  expect(counted(text) - before).toBe(60)
  expect(sumOf(text, 'portcullis_http_request_duration_seconds_count{route="all"') - before).toBe(60)
  // each new connection was handed over, and each worker measures its own waits
  expect(sumOf(text, 'portcullis_worker_wait_seconds_count{where="accept"}')).toBeGreaterThanOrEqual(60)
  expect(sumOf(text, 'portcullis_worker_wait_seconds_count{where="loop"}')).toBeGreaterThan(0)
  expect(text).toContain('\nportcullis_workers 3\n')
  expect(text).toContain('\nportcullis_db_up 1\n')
  expect(text).toContain('\nportcullis_redis_up 1\n')
  expect(text.match(/^portcullis_build_info.* (\d+)$/m)?.[1]).toBe('1')
  // each series once, as Prometheus demands
  const lines = text.split('\n').filter((line) => line && !line.startsWith('#'))
  const series = lines.map((line) => line.slice(0, line.lastIndexOf(' ')))
  expect(new Set(series).size).toBe(series.length)
})

it('a logout on one worker reaches all workers before it is answered', async () => {
  for (let round = 0; round < 10; round++) {
    const { token } = await newUser(gateway)
    expect(await times(9, () => ask('/mine', { token }))).toEqual(Array(9).fill(200))
    expect(await ask('/auth/logout', { token, method: 'POST' })).toBe(204)
    expect(await times(9, () => ask('/mine', { token }))).toEqual(Array(9).fill(401))
  }
})

it('a worker that ends is replaced; the others go on, and no counter falls', async () => {
  await times(30, () => ask('/x'))
  const total = (text: string) => sumOf(text, 'portcullis_http_requests_total')
  const before = await metricsText()
  const [victim, ...others] = gateway.children()
  process.kill(victim!, 'SIGKILL')
  await until(() => !gateway.children().includes(victim!), 'its end')
  const statuses = await times(20, () => ask('/x').catch(() => 0))
  expect(statuses.filter((status) => status === 200)).toHaveLength(20)
  await until(async () => (await readiness()).checks[0].name === 'workers (3 of 3)' && gateway.children().length === 3, 'its successor')
  expect(gateway.children()).toEqual(expect.arrayContaining(others))
  const after = await metricsText()
  expect(total(after)).toBeGreaterThanOrEqual(total(before) + 20)
  expect(sumOf(after, 'portcullis_worker_exits_total')).toBe(sumOf(before, 'portcullis_worker_exits_total') + 1)
  // the successor has what the others know: sessions, keys
  const { token } = await newUser(gateway)
  expect(await times(9, () => ask('/mine', { token }))).toEqual(Array(9).fill(200))
})

const allServe = () => until(async () => (await readiness()).checks[0].name === 'workers (3 of 3)', 'all of them')

it('a frozen worker delays neither a scrape nor a logout; it is replaced, its connections end, and its counts stay', async () => {
  await allServe()
  const total = (text: string) => sumOf(text, 'portcullis_http_requests_total')
  const { token } = await newUser(gateway)
  const before = await metricsText()
  const { client, frozen } = await freezeAnother()
  const others = gateway.children().filter((pid) => pid !== frozen)
  expect(total(await metricsText())).toBeGreaterThanOrEqual(total(before))
  expect(await readiness()).toMatchObject({ status: 'ready', checks: [{ name: 'workers (2 of 3)', ok: true }, {}, {}, {}, {}, {}] })
  // one connection was given to the frozen worker: it ends with the worker
  const asked = times(6, () => ask('/x').catch(() => 0))
  await until(async () => (await client.ask('/auth/logout', { token, method: 'POST' })) === 204, 'the logout')
  expect((await asked).filter((status) => status === 200)).toHaveLength(5)
  await until(() => !gateway.children().includes(frozen), 'its end')
  await allServe()
  expect(gateway.children()).toEqual(expect.arrayContaining(others))
  const reports = gateway.logLines().filter((line) => line.includes('"reason":"worker_frozen"'))
  expect(reports.map((line) => JSON.parse(line).pid)).toEqual([frozen])
  const after = await metricsText()
  expect(total(after)).toBeGreaterThan(total(before))
  expect(sumOf(after, 'portcullis_worker_exits_total')).toBe(sumOf(before, 'portcullis_worker_exits_total') + 1)
  expect(await times(9, () => ask('/mine', { token }))).toEqual(Array(9).fill(401))
  client.close()
})

it('a worker that was stopped for a moment knows the logout that it missed', async () => {
  await allServe()
  const { token } = await newUser(gateway)
  expect(await times(9, () => ask('/mine', { token }))).toEqual(Array(9).fill(200))
  const { client, frozen } = await freezeAnother()
  await until(async () => (await client.ask('/auth/logout', { token, method: 'POST' })) === 204, 'the logout')
  process.kill(frozen, 'SIGCONT')
  await until(async () => (await times(9, () => ask('/mine', { token }))).every((status) => status === 401), 'the logout to be known')
  client.close()
})

it('a supervisor that was stopped ends no worker when it goes on, and the workers serve meanwhile', async () => {
  await allServe()
  const own = gateway.children()
  const client = await keepAlive()
  process.kill(gateway.pid, 'SIGSTOP')
  try {
    // longer than a worker may be silent
    for (const end = performance.now() + 4000; performance.now() < end; await pause(100)) expect(await client.ask('/x')).toBe(200)
  } finally {
    process.kill(gateway.pid, 'SIGCONT')
  }
  await allServe()
  expect(gateway.children()).toEqual(own)
  client.close()
})

it('users log in at all workers at the same time, although only two hashes are computed at once', async () => {
  await allServe()
  const users = await times(6, () => newUser(gateway))
  const logins = await Promise.all([...users, ...users].map((user) => login(gateway, user)))
  expect(new Set(logins.map(({ token }) => token)).size).toBe(12)
  await until(async () => sumOf(await metricsText(), 'portcullis_argon2_in_flight') === 0, 'no hash')
  expect(sumOf(await metricsText(), 'portcullis_argon2_queued')).toBe(0)
})

it('the last errors include those of all workers', async () => {
  const user = await newUser(gateway)
  await query(databaseUrl, `UPDATE users SET roles = '{user,admin}' WHERE id = $1`, [user.id])
  const { token } = await login(gateway, user)
  const paths = await times(12, () => ask('/mine'))
  expect(paths).toEqual(Array(12).fill(401))
  const { status, body } = await call(gateway, '/auth/admin/errors', { token })
  expect(status).toBe(200)
  expect(body.errors.filter((e: { route: string; code: string }) => e.route === 'mine' && e.code === 'token_missing')).toHaveLength(12)
})

it('every line of the log is whole, whichever process wrote it', async () => {
  await times(500, () => ask(`/${'x'.repeat(200)}`))
  await until(() => gateway.logLines().filter((line) => line.includes('"route":"all"')).length >= 500, 'the lines')
  for (const line of gateway.logLines().filter((text) => text.startsWith('{'))) expect(() => JSON.parse(line)).not.toThrow()
})

it('an untrusted proxy is reported once, and not by each worker', async () => {
  const own = await start(await createDatabase(inject('postgresUrl')))
  const headers = { 'x-forwarded-for': '198.51.100.7' }
  const statuses = await times(30, async () => {
    const [answer] = (await once(http.get(`${own.url}/x`, { agent: false, headers }), 'response')) as [IncomingMessage]
    answer.resume()
    return answer.statusCode
  })
  expect(statuses).toEqual(Array(30).fill(200))
  // a gateway that has ended has written all its lines
  process.kill(own.pid, 'SIGTERM')
  await until(() => !own.isAlive(), 'the end')
  expect(own.logLines().filter((line) => line.includes('"reason":"proxy_untrusted"'))).toHaveLength(1)
  await own.stop()
})

it('connections beyond the bound of the workers are closed at once, and counted', async () => {
  const own = await start(await createDatabase(inject('postgresUrl')), { maxConnections: 6 })
  // one after the other: they go round only while each worker has taken what it was given
  for (let i = 0; i < 6; i++) {
    const client = await connect(own.port)
    client.write('GET /x HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.receives('HTTP/1.1 200 OK')
  }
  const refused = await connect(own.port)
  expect(await refused.closes()).toBe('')
  expect(sumOf(await get(`${own.adminUrl}/metrics`), 'portcullis_connections_refused_total')).toBe(1)
  await own.stop()
})

describe('while the database is away', () => {
  it('a worker that ends is started again and again until the database is back', async () => {
    const url = await createDatabase(inject('postgresUrl'))
    const relay = await startRelay(Number(new URL(url).port))
    const own = await start(relay.through(url))
    relay.cut()
    for (const pid of own.children()) process.kill(pid, 'SIGKILL')
    await until(() => own.logLines().some((line) => line.includes('a worker did not start')), 'a start that fails')
    relay.mend()
    await until(async () => (await fetch(`${own.url}/x`).catch(() => null))?.status === 200, 'somebody who serves', 40_000)
    await own.stop()
    await relay.close()
  }, 90_000)
})

describe('the end', () => {
  it('comes after what is in flight on any of them', async () => {
    release = []
    const own = await start(await createDatabase(inject('postgresUrl')))
    const clients = await Promise.all(Array.from({ length: 6 }, () => connect(own.port)))
    for (const client of clients) client.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
    await Promise.all(clients.map((client) => client.receives('first ')))
    const workers = own.children()
    process.kill(own.pid, 'SIGTERM')
    await until(() => own.logLines().some((line) => line.includes('stopping')), 'the stop')
    expect(release).toHaveLength(6)
    for (const answer of release) answer()
    for (const client of clients) expect(await client.closes()).toMatch(/last\r\n0\r\n\r\n$/)
    await until(() => !own.isAlive(), 'the end')
    expect(workers.filter(isAlive)).toEqual([])
    expect(own.complaints()).toEqual([])
    await own.stop()
  })

  it('of the supervisor is that of its workers, after what is in flight', async () => {
    release = []
    const own = await start(await createDatabase(inject('postgresUrl')))
    const workers = own.children()
    const client = await connect(own.port)
    client.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.receives('first ')
    process.kill(own.pid, 'SIGKILL')
    await until(() => workers.filter(isAlive).length === 1, 'the end of those that are idle')
    for (const answer of release) answer()
    expect(await client.closes()).toMatch(/last\r\n0\r\n\r\n$/)
    await until(() => workers.every((pid) => !isAlive(pid)), 'their end')
    await own.stop()
  })
})

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
