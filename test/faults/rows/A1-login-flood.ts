import http from 'node:http'
import { quantile } from '../../support/quantile.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { promiseNoComplaints, startGateways } from '../harness/gateways.ts'
import { keepAliveAgent, tryAsk } from '../harness/http.ts'
import { openLoop } from '../harness/load.ts'
import { newSessionClients, type SessionClient } from '../harness/session-client.ts'
import { startStores } from '../harness/stores.ts'
import { startRowUpstream } from '../harness/upstream.ts'

/** The defaults, written out: the promises are about them. */
const ARGON2 = { memoryKiB: 19_456, passes: 2, concurrency: 2, queue: 64 }
/** More workers than hashes at the same time: the bound holds for all of them together. */
const WORKERS = 3
const ADDRESSES = 500
const SHED_MS = 50
const RECOVERED_MS = 10_000

export const row: FaultRow = {
  id: 'A1',
  fault: 'all users log in within a second, beside a flood of wrong passwords from 500 addresses and of clients that leave',
  promise: 'hashes and memory stay bounded, refusals come at once, proxied requests do not starve, users can log in after it',
  async run(options) {
    const seconds = lengthOf(options, 30, 3)
    const [users, proxiedRate, floodRate] = options.short ? [30, 50, 100] : [500, 500, 300]
    const tally = createTally()
    const stores = await startStores()
    const upstream = await startRowUpstream()
    const [gateway] = await startGateways(1, {
      ...stores,
      workers: WORKERS,
      routes: [{ name: 'mine', match: { path: '/mine' }, upstream: [upstream.url], access: 'authenticated' }],
      config: {
        // the flood names its addresses in X-Forwarded-For
        server: { trustedProxies: ['127.0.0.1/32'] },
        auth: { password: { argon2: ARGON2 } },
        limits: { exempt: [], credentials: { register: { limit: 10_000, windowSeconds: 60 } } },
      },
    })
    const { url } = gateway!
    const clients = await newSessionClients(users, url, { timeoutMs: 60_000 })
    const agent = keepAliveAgent(64)

    const proxied = { alone: [] as number[], beside: [] as number[] }
    const request = async (phase: keyof typeof proxied, index: number) => {
      const token = clients[index % clients.length]!.accessToken()
      const answer = await tryAsk(`${url}/mine`, { token, agent, headers: { 'x-forwarded-for': addressOf(index) } })
      if (answer.status === 200) proxied[phase].push(answer.ms)
      else tally.add(`proxied ${answer.status} ${phase}`)
    }
    const alone = openLoop(proxiedRate, (index) => request('alone', index))
    await pause(seconds * 1000)
    await alone.stop()

    const baseMiB = gateway!.rssMiB()
    const [refusals, peak] = [[] as number[], { hashing: 0, queued: 0, rssMiB: 0 }]
    let isOver = false
    const watching = (async () => {
      while (!isOver) {
        const text = await gateway!.metricsText().catch(() => '')
        const gauge = (name: string) => Number(new RegExp(`^portcullis_argon2_${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0)
        peak.hashing = Math.max(peak.hashing, gauge('in_flight'))
        peak.queued = Math.max(peak.queued, gauge('queued'))
        peak.rssMiB = Math.max(peak.rssMiB, gateway!.rssMiB())
        await pause(200)
      }
    })()
    const login = async (index: number, client: SessionClient, password: string) => {
      const body = { login: client.username, password }
      const headers = { 'x-forwarded-for': addressOf(index) }
      const answer = await tryAsk(`${url}/auth/login`, { body, headers, timeoutMs: 60_000 })
      if (answer.status === 503) refusals.push(answer.ms)
      tally.add(`login ${answer.status}`)
      tally.promise([200, 401, 429, 503].includes(answer.status as number), `a login was answered ${answer.status}`)
      return answer.status
    }
    const beside = openLoop(proxiedRate, (index) => request('beside', index))
    const herd = clients.map((client, index) => login(index, client, client.password))
    const flood = openLoop(floodRate, async (index) => {
      const client = clients[index % clients.length]!
      if (index % 4 === 0) return leave(url, client, index, () => tally.add('left'))
      await login(index, client, 'not the password of anybody')
    })
    await pause(seconds * 1000)
    await Promise.all([beside.stop(), flood.stop(), ...herd])
    const ended = performance.now()
    const owner = clients[0]!
    while ((await login(0, owner, owner.password)) !== 200 && performance.now() - ended < RECOVERED_MS + 5000) await pause(500)
    const recoveredMs = performance.now() - ended
    isOver = true
    await watching

    const [aloneMs, besideMs, shedMs] = [proxied.alone, proxied.beside, refusals].map((values) => quantile(values, 0.99))
    const boundMiB = (baseMiB + (ARGON2.concurrency * ARGON2.memoryKiB) / 1024) * 1.2
    const { hashing, queued, rssMiB } = peak
    tally.promise(hashing <= ARGON2.concurrency, `${hashing} hashes were computed at the same time`)
    // known devices have a queue of their own
    tally.promise(queued <= 2 * (ARGON2.queue + WORKERS), `${queued} logins waited`)
    tally.promise(tally.get('login 503') > 0, 'no login was refused: it was no flood')
    tally.promise(tally.sum('proxied') === 0, `${tally.sum('proxied')} proxied requests failed`)
    tally.promise(recoveredMs < RECOVERED_MS, `the first login after the flood took ${Math.round(recoveredMs)} ms`)
    // a test asserts no times
    if (!options.short) {
      tally.promise(rssMiB <= boundMiB, `${rssMiB} MiB were resident, of ${Math.round(boundMiB)} MiB`)
      tally.promise(shedMs! < SHED_MS, `the 99th percentile of the refusals was ${Math.round(shedMs!)} ms`)
      tally.promise(besideMs! < 2 * aloneMs!, `the 99th percentile of proxied requests rose from ${ms(aloneMs)} to ${ms(besideMs)} ms`)
    }
    promiseNoComplaints(gateway!, tally)
    return {
      what: `1 gateway with ${WORKERS} workers; ${users} logins in the first moment, ${floodRate} wrong ones a second, ${proxiedRate} proxied requests a second; ${seconds} s alone, ${seconds} s beside it`,
      counts: `${tally.text()}; at most ${hashing} hashes, ${queued} waiting; RSS ${baseMiB} MiB, at most ${rssMiB} MiB; p99 of refusals ${ms(shedMs)} ms; p99 of proxied requests ${ms(aloneMs)} ms alone, ${ms(besideMs)} ms beside the flood; first login after ${Math.round(recoveredMs)} ms`,
      broken: tally.broken,
    }
  },
}

const ms = (value: number | undefined): string => (value ?? Number.NaN).toFixed(1)

/** One of ADDRESSES documentation addresses (RFC 2544). */
const addressOf = (index: number): string => `198.18.${Math.floor((index % ADDRESSES) / 250)}.${1 + (index % 250)}`

/** A client that leaves before its answer: its hash must still count. */
function leave(url: string, { username }: SessionClient, index: number, left: () => void): Promise<void> {
  return new Promise((resolve) => {
    const request = http.request(`${url}/auth/login`, {
      agent: false,
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-forwarded-for': addressOf(index) },
    })
    request.on('response', (answer) => answer.resume())
    request.on('error', () => {})
    request.on('close', () => {
      left()
      resolve()
    })
    request.end(JSON.stringify({ login: username, password: 'not the password of anybody' }))
    setTimeout(() => request.destroy(), 30)
  })
}
