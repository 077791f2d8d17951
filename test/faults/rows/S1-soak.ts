/** Mixed traffic for long, with a random fault each minute: does anything grow? */
import { randomBytes } from 'node:crypto'
import net from 'node:net'
import { quantile } from '../../support/quantile.ts'
import { createTally, type FaultRow, lengthOf, pause, type Tally } from '../harness/fault-row.ts'
import { ask, jsonOf, keepAliveAgent } from '../harness/http.ts'
import { collectGarbage, INSPECTED } from '../harness/inspector.ts'
import { openLoop } from '../harness/load.ts'
import { createInjector, type Relayed, startRelayed } from '../harness/random-faults.ts'
import { newSessionClient, type SessionClient } from '../harness/session-client.ts'
import { checkGateways } from '../harness/setting.ts'
import { isFlat, type Sample, textOfTrend, trendOf } from '../harness/trend.ts'
import { type Random, randomOf } from '../storms/random.ts'

/** They end processes, and with them what has grown. */
const KILLS = ['kill -9 of a gateway', 'kill -9 of a worker']
/** Shorter runs are all warm-up. */
const LEAST_JUDGED_SECONDS = 600
const SETTLED_MS = 8000
const MOST_LOOP_DELAY_MS = 50

/** How much each value may grow, in percent of its mean in an hour. */
const VALUES: Record<string, { unit: string; bound: number }> = {
  RSS: { unit: ' MiB', bound: 1 },
  'heap after a collection': { unit: ' MiB', bound: 5 },
  descriptors: { unit: '', bound: 1 },
  'Postgres connections': { unit: '', bound: 1 },
  'Redis connections': { unit: '', bound: 1 },
  'upstream connections': { unit: '', bound: 1 },
  series: { unit: '', bound: 1 },
}

export const row: FaultRow = {
  id: 'S1',
  fault: 'A soak: mixed traffic with errors, aborts, unknown paths, new users and unknown keys, and a random fault each minute',
  promise: 'Memory, descriptors and series do not grow beyond their noise; the event loop stays free',
  async run(options) {
    const tally = createTally()
    const seconds = lengthOf(options, 3600, 30)
    const everySeconds = options.short ? 2 : 10
    const relayed = await startRelayed({
      gateways: 1,
      workers: 2,
      env: INSPECTED,
      // a client address for each request
      config: { server: { trustedProxies: ['127.0.0.0/8'] }, limits: { default: ['perIp'] } },
    })
    const random = randomOf(options.seed, 1)
    const injector = createInjector(relayed, random, KILLS)
    const traffic = await startTraffic(relayed, tally, random)
    const started = performance.now()
    const end = started + seconds * 1000
    const samples = new Map<string, Sample[]>()
    const loopDelays: number[] = []
    let collections = 0
    let lastFaultAt = 0
    let nextFaultAt = started + 60_000
    while (performance.now() < end) {
      await pause(everySeconds * 1000)
      if (performance.now() > nextFaultAt) {
        nextFaultAt += 60_000
        await injector.next()
        lastFaultAt = performance.now()
      }
      // just after a fault, connections are being made again
      if (performance.now() - lastFaultAt < SETTLED_MS) continue
      if (performance.now() > nextFaultAt - 2 * everySeconds * 1000) collections += await collectGarbage(relayed.setting.gateways[0]!)
      const values = await read(relayed).catch(() => null)
      if (!values) {
        tally.add('samples that failed')
        continue
      }
      loopDelays.push(values.loopDelayMs)
      for (const [name, value] of Object.entries(values.grown)) {
        const list = samples.get(name) ?? []
        samples.set(name, list)
        list.push({ seconds: (performance.now() - started) / 1000, value })
      }
    }
    await traffic.stop()
    const took = (performance.now() - started) / 1000
    const warmUp = Math.min(600, took / 5)
    const isJudged = took >= LEAST_JUDGED_SECONDS
    const texts = Object.entries(VALUES).map(([name, { unit, bound }]) => {
      const trend = trendOf((samples.get(name) ?? []).filter((sample) => sample.seconds > warmUp))
      const text = `${name} ${textOfTrend(trend, unit)}`
      const isGrown = !isFlat(trend, (trend.mean * bound) / 100)
      if (isJudged) tally.promise(!isGrown && Number.isFinite(trend.error), `grows: ${text}`)
      return text
    })
    const loopDelay = quantile(loopDelays, 0.5)
    if (isJudged)
      tally.promise(loopDelay < MOST_LOOP_DELAY_MS, `the median of the p99 of the event loop's delay is ${loopDelay.toFixed(0)} ms`)
    tally.promise(collections > 0 || !isJudged, 'no garbage was collected')
    await checkGateways(tally, relayed.setting.gateways)
    const faults = [...injector.counts].map(([name, n]) => `${n} × ${name}`).join(', ')
    return {
      what: `${took.toFixed(0)} s, the first ${warmUp.toFixed(0)} s as warm-up; 2 workers; ${traffic.sent()} requests; faults: ${faults || 'none'}`,
      counts: `${texts.join('; ')}; median p99 of the event loop ${loopDelay.toFixed(0)} ms; ${tally.text()}`,
      broken: tally.broken,
    }
  },
}

async function read({ setting: { gateways, stores, upstream } }: Relayed) {
  const gateway = gateways[0]!
  const text = await gateway.metricsText()
  const lines = text.split('\n').filter((line) => line && !line.startsWith('#'))
  const valuesOf = (name: string) => lines.filter((line) => line.startsWith(name)).map((line) => Number(line.split(' ').at(-1)))
  const [{ count }] = (await stores.postgres.sql(
    'SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database()',
  )) as [{ count: number }]
  const redis = /connected_clients:(\d+)/.exec(String(await stores.redis!.servers[0]!.command('INFO', 'clients')))?.[1]
  const upstreams = await new Promise<number>((resolve) => upstream.server.getConnections((_error, n) => resolve(n)))
  return {
    loopDelayMs: Math.max(...valuesOf('nodejs_eventloop_lag_p99_seconds')) * 1000,
    grown: {
      RSS: gateway.rssMiB(),
      'heap after a collection': valuesOf('nodejs_heap_size_used_bytes').reduce((sum, n) => sum + n, 0) / 1024 / 1024,
      descriptors: gateway.fds(),
      'Postgres connections': count,
      'Redis connections': Number(redis),
      'upstream connections': upstreams,
      series: lines.length,
    },
  }
}

const address = (random: Random) => `10.${random.below(256)}.${random.below(256)}.${random.below(256)}`

/** About a hundred requests a second of every kind. */
async function startTraffic({ setting }: Relayed, tally: Tally, random: Random): Promise<{ sent(): number; stop(): Promise<void> }> {
  const { gateways } = setting
  const { url, port } = gateways[0]!
  const agent = keepAliveAgent()
  const clients: SessionClient[] = []
  for (let n = 0; n < 20; n++) clients.push(await newSessionClient(url, { agent }))
  const from = () => ({ 'x-forwarded-for': address(random), 'user-agent': `soak/${random.below(1_000_000)}` })
  const get = (path: string, token?: string) => ask(url + path, { headers: from(), agent, token, timeoutMs: 10_000 })
  const made = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')

  const kinds: Record<string, { rate: number; run(): Promise<unknown> }> = {
    proxied: { rate: 60, run: async () => clients[random.below(clients.length)]!.get('/api/x') },
    'unknown path': { rate: 5, run: () => get(`/nothing/${random.below(1e9)}`) },
    'no token': { rate: 5, run: () => get('/api/x') },
    'unknown key': {
      rate: 5,
      run: () => get('/api/x', `${made({ alg: 'ES256', kid: randomBytes(8).toString('hex'), typ: 'at+jwt' })}.${made({ sub: 'x' })}.c2ln`),
    },
    'key set': { rate: 2, run: () => get('/.well-known/jwks.json') },
    abort: {
      rate: 5,
      run: () =>
        new Promise<void>((resolve) => {
          const socket = net.connect(port, '127.0.0.1', () => socket.write('GET /open/slow?ms=500 HTTP/1.1\r\nHost: a\r\n\r\n'))
          socket.on('error', () => {})
          socket.on('close', () => resolve())
          setTimeout(() => socket.resetAndDestroy(), random.below(300))
        }),
    },
    'malformed request': {
      rate: 2,
      run: () =>
        new Promise<void>((resolve) => {
          const socket = net.connect(port, '127.0.0.1', () => socket.end(`GET / HTTP/1.1\r\nHost: a\r\n${random.bytes(20)}\r\n\r\n`))
          socket.on('error', () => {})
          socket.on('close', () => resolve())
          socket.resume()
        }),
    },
    refresh: {
      rate: 3,
      async run() {
        const client = clients[random.below(clients.length)]!
        if (client.isBusy()) return
        if (client.isLoggedOut()) await client.login()
        else await client.refresh()
      },
    },
    'new user': {
      rate: 1,
      async run() {
        const username = `s${randomBytes(8).toString('hex')}`
        const body = { username, email: `${username}@example.com`, password: `plain zebra ${username}` }
        const { access_token: token } = jsonOf(await ask(`${url}/auth/register`, { body, headers: from(), agent }))
        if (token) await ask(`${url}/auth/logout`, { method: 'POST', token, headers: from(), agent })
      },
    },
    'wrong password': {
      rate: 1,
      run: () =>
        ask(`${url}/auth/login`, { body: { login: `nobody${random.below(1e9)}`, password: 'wrong password' }, headers: from(), agent }),
    },
  }
  const loads = Object.entries(kinds).map(([name, { rate, run }]) =>
    openLoop(
      rate,
      async () => {
        await run().then(
          () => tally.add(name),
          () => tally.add(`${name}, broken`),
        )
      },
      200,
    ),
  )
  return {
    sent: () => loads.reduce((sum, load) => sum + load.sent(), 0),
    async stop() {
      await Promise.all(loads.map((load) => load.stop()))
      agent.destroy()
    },
  }
}
