/**
 * An hour of traffic and trouble, as Prometheus would have recorded it. The traffic is real: two gateways with Postgres, Redis, upstreams and
 * clients. Only the clock of the readings is not. After each of 60 bursts the metrics are read, and each reading counts as a minute later
 * than the one before it. The last reading counts as now.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { type Answer, call, newUser, type TestUser } from './client.ts'
import { type GatewayProcess, get, startGatewayProcess } from './gateway-process.ts'
import { createDatabase, query } from './postgres.ts'
import { until } from './processes.ts'
import { startRedis } from './redis.ts'
import { startRelay } from './relay.ts'
import { enrol, type FactorUser, mfaToken } from './totp.ts'
import { startUpstream } from './upstream.ts'

const MINUTES = 60
/** Seconds between two readings. */
export const READ_EVERY = 60

export interface TrafficHour {
  /** The times of the first and of the last reading, in seconds since the epoch. */
  start: number
  end: number
  /** All readings in the format of OpenMetrics, with their times. */
  openMetrics: string
}

/** From which minute to which minute, the last one included, something is wrong. */
const TROUBLES = {
  /** Redis does not run. */
  redis: [15, 19],
  /** Connections to Postgres are cut. */
  postgres: [24, 26],
  /** The second server of the route `orders` does not run. */
  orders: [30, 36],
  /** Somebody guesses passwords from many addresses. */
  guessing: [40, 47],
  /** A worker of the first gateway is killed in the first of these minutes. */
  worker: [50, 50],
  /** The second gateway does not answer. */
  restart: [53, 54],
} as const
type Trouble = keyof typeof TROUBLES

/** @param postgresUrl the maintenance database of a server, on which a database is made */
export async function recordTrafficHour(postgresUrl: string): Promise<TrafficHour> {
  const site = await startSite(postgresUrl)
  try {
    const readings: string[][] = []
    for (let minute = 0; minute < MINUTES; minute++) {
      const now = (trouble: Trouble) => minute >= TROUBLES[trouble][0] && minute <= TROUBLES[trouble][1]
      await site.setTroubles(now)
      await site.burst(minute, now)
      if (minute === MINUTES - 1) await until(site.isTidied, 'a cleanup, and a sealed audit log')
      readings.push(await site.read())
    }
    const end = Math.floor(Date.now() / 1000)
    const start = end - (MINUTES - 1) * READ_EVERY
    const lines = readings.flatMap((reading, i) => reading.map((sample) => `${sample} ${start + i * READ_EVERY}`))
    return { start, end, openMetrics: `${lines.join('\n')}\n# EOF\n` }
  } finally {
    await site.stop()
  }
}

/** `portcullis_workers 2` → `portcullis_workers{instance="…",job="portcullis"} 2`. Comments are left out. */
function asSamples(text: string, instance: string): string[] {
  const target = `instance="${instance}",job="portcullis"`
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.replace(/ # \{.*$/, ''))
    .map((line) => (line.includes('{') ? line.replace('{', `{${target},`) : line.replace(' ', `{${target}} `)))
}

const isNow = (now: (trouble: Trouble) => boolean, trouble: Trouble, was: boolean) => now(trouble) !== was

async function startSite(postgresUrl: string) {
  const closers: (() => unknown)[] = []
  const stop = async () => {
    for (const close of closers.reverse()) await close()
  }
  try {
    return { stop, ...(await buildSite(postgresUrl, closers)) }
  } catch (error) {
    await stop()
    throw error
  }
}

async function buildSite(postgresUrl: string, closers: (() => unknown)[]) {
  const redis = await startRedis()
  closers.push(() => redis.stop())
  const databaseUrl = await createDatabase(postgresUrl)
  const toPostgres = await startRelay(Number(new URL(databaseUrl).port))
  closers.push(() => toPostgres.close())
  const upstream = await startUpstream(async (req, res) => {
    if (req.url!.startsWith('/slow')) await new Promise((resolve) => setTimeout(resolve, 20))
    if (req.url!.startsWith('/late')) return true
    if (!req.url!.startsWith('/broken')) return false
    res.writeHead(500).end()
    return true
  })
  closers.push(() => upstream.close())
  const second = await startRelay(upstream.port)
  closers.push(() => second.close())
  const live = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  await once(live, 'listening')
  live.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
  closers.push(() => live.close())

  const options = {
    routes: routesTo(upstream.url, `http://127.0.0.1:${second.port}`, `http://127.0.0.1:${(live.address() as AddressInfo).port}`),
    stores: { databaseUrl: toPostgres.through(databaseUrl), redisUrl: redis.url },
    secretKey: randomBytes(32).toString('base64'),
    // what happens every minute and every few hours happens within the hour
    auth: { cleanup: { intervalSeconds: 1 }, audit: { sealSeconds: 1 } },
    sections: {
      forwardAuth: { dialect: 'nginx' },
      limits: {
        default: ['perIp', 'perUser'],
        exempt: ['127.0.0.0/8'],
        policies: {
          perIp: { limit: 60, windowSeconds: 60, key: 'anonymous' },
          perUser: { limit: 120, windowSeconds: 60, key: 'principal' },
        },
      },
    },
  }
  const server = (workers: number) => ({ workers, trustedProxies: ['127.0.0.1/32'], shutdownDelayMs: 0, overload: { maxLoopDelayMs: 0 } })
  const first = await startGatewayProcess({ ...options, server: server(2) })
  closers.push(() => first.stop())
  let other: GatewayProcess | null = await startGatewayProcess({ ...options, server: server(1) })
  closers.push(() => other?.stop())

  const clients = await newClients(first, databaseUrl)
  let hasPostgres = true
  let hasRedis = true

  async function setTroubles(now: (trouble: Trouble) => boolean): Promise<void> {
    if (isNow(now, 'redis', !hasRedis)) {
      hasRedis = !now('redis')
      await (hasRedis ? redis.restart() : redis.kill())
    }
    if (isNow(now, 'postgres', !hasPostgres)) {
      hasPostgres = !now('postgres')
      if (hasPostgres) toPostgres.mend()
      else toPostgres.cut()
      await until(async () => (await hasDatabase(first)) === hasPostgres, `Postgres is ${hasPostgres ? 'back' : 'away'}`)
    }
    if (now('orders')) second.cut()
    else second.mend()
    if (now('worker')) process.kill(first.children()[0]!, 'SIGKILL')
    if (isNow(now, 'restart', other === null)) {
      await other?.stop()
      other = other === null ? await startGatewayProcess({ ...options, server: server(1) }) : null
    }
  }

  return {
    setTroubles,
    async isTidied(): Promise<boolean> {
      const texts = await Promise.all([first, other].map((gateway) => gateway && get(`${gateway.adminUrl}/metrics`)))
      const text = texts.join('\n')
      return /_cleanup_last_success_timestamp_seconds [1-9]/.test(text) && /_audit_last_sealed_timestamp_seconds [1-9]/.test(text)
    },
    burst: (minute: number, now: (trouble: Trouble) => boolean) =>
      Promise.all([first, other].map((gateway) => gateway && sendBurst(gateway, clients, minute, now('guessing')))),
    async read(): Promise<string[]> {
      const samples = await Promise.all([readMetrics(first, 'gateway-1:9090'), readMetrics(other, 'gateway-2:9090')])
      return samples.flat()
    },
  }
}

/** A scrape also leaves `up`. */
async function readMetrics(gateway: GatewayProcess | null, instance: string): Promise<string[]> {
  const up = (value: number) => `up{instance="${instance}",job="portcullis"} ${value}`
  return gateway === null ? [up(0)] : [up(1), ...asSamples(await get(`${gateway.adminUrl}/metrics`), instance)]
}

const hasDatabase = async (gateway: GatewayProcess) => /^portcullis_db_up 1$/m.test(await get(`${gateway.adminUrl}/metrics`))

const routesTo = (upstream: string, second: string, live: string) => [
  { name: 'catalog', match: { path: '/shop/catalog', methods: ['GET'] }, upstream: [upstream], access: 'public' },
  {
    name: 'orders',
    match: { path: '/shop' },
    upstream: [upstream, second],
    access: 'authenticated',
    limits: ['perUser'],
    health: { path: '/', intervalMs: 100, timeoutMs: 1000 },
    breaker: { failures: 2, openMs: 300 },
  },
  { name: 'shop-admin', match: { path: '/shop/admin' }, upstream: [upstream], access: { roles: ['admin'] } },
  {
    name: 'reports',
    match: { path: '/reports' },
    upstream: [upstream],
    access: 'public',
    rewrite: { prefix: '/late' },
    timeouts: { headersMs: 50 },
  },
  { name: 'search', match: { path: '/search' }, upstream: [upstream], access: 'public', rewrite: { prefix: '/slow' } },
  { name: 'legacy', match: { path: '/legacy' }, upstream: [upstream], access: 'public', rewrite: { prefix: '/broken' } },
  { name: 'live', match: { path: '/live' }, upstream: [live], access: 'public', websocket: true },
  { name: 'wiki', match: { path: '/wiki' }, access: 'authenticated', forwardAuth: true },
]

interface Clients {
  users: TestUser[]
  withFactor: FactorUser
  /** A refresh token that was used, and whose grace time has passed. */
  stolen: string[]
  /** The open WebSocket to a gateway, by the URL of the gateway. */
  chats: Map<string, WebSocket>
}

async function newClients(gateway: GatewayProcess, databaseUrl: string): Promise<Clients> {
  const users = await Promise.all([newUser(gateway), newUser(gateway), newUser(gateway)])
  const withFactor = await enrol(gateway, await newUser(gateway))
  const stolen: string[] = []
  for (let i = 0; i < 3; i++) {
    const { refreshToken } = await newUser(gateway)
    await call(gateway, '/auth/refresh', { body: { refresh_token: refreshToken } })
    stolen.push(refreshToken)
  }
  await query(databaseUrl, `UPDATE refresh_tokens SET rotated_at = rotated_at - interval '1 hour' WHERE rotated_at IS NOT NULL`)
  return { users, withFactor, stolen, chats: new Map() }
}

/** What clients do in a minute. Their requests fail when something is wrong, and they do not mind. */
async function sendBurst(gateway: GatewayProcess, clients: Clients, minute: number, isGuessing: boolean): Promise<void> {
  // each address has its own limits
  const address = (n: number) => ({ 'x-forwarded-for': `203.0.113.${n}` })
  const send = (path: string, options: Parameters<typeof call>[2] = {}, n = minute) =>
    attempt(gateway, path, { ...options, headers: { ...address(n), ...options.headers } })
  const many = <T>(count: number, make: (i: number) => Promise<T>) => Promise.all(Array.from({ length: count }, (_, i) => make(i)))
  const user = clients.users[minute % clients.users.length]!

  const shopping = [
    many(5, () => send('/shop/catalog/1')),
    many(5, () => send('/shop/orders', { token: user.token })),
    send('/search?q=1'),
    send('/shop/orders', { method: 'POST', body: { item: 1 }, token: user.token }),
    send('/shop/orders'),
    send('/shop/orders', { token: `${user.token}x` }),
    send('/shop/admin', { token: user.token }),
    send('/nowhere'),
    minute % 5 === 0 && send('/reports'),
    minute % 4 === 0 && many(2, () => send('/legacy')),
    // one address asks for too much
    minute % 6 === 0 && many(25, () => send('/shop/catalog/1', {}, 250)),
    askVerify(gateway, user.token),
    askVerify(gateway, undefined),
    minute % 2 === 0 && chat(gateway, clients),
  ]
  const accounts = [
    login(user, send),
    send('/auth/login', { body: { login: user.username, password: 'not the password' } }),
    send('/auth/me', { token: user.token }),
    minute % 6 === 0 && loginWithFactor(gateway, clients.withFactor, send),
    minute % 10 === 0 && send('/auth/register', { body: person() }),
    minute % 10 === 1 && send('/auth/password/forgot', { body: { email: user.email } }),
    minute % 20 === 8 && clients.stolen.length > 0 && send('/auth/refresh', { body: { refresh_token: clients.stolen.pop()! } }),
    isGuessing && many(8, (i) => send('/auth/login', { body: { login: user.username, password: `guess ${minute} ${i}` } }, 100 + (i % 4))),
  ]
  await Promise.all([...shopping, ...accounts])
}

/** Status 0: the connection was lost, because its worker was killed. */
const attempt: typeof call<any> = (gateway, path, options) =>
  call(gateway, path, options).catch(() => ({ status: 0, headers: new Headers(), body: {} }))

type Send = (path: string, options?: Parameters<typeof call>[2]) => Promise<Answer>

const person = () => {
  const username = `guest${randomBytes(4).toString('hex')}`
  return { username, email: `${username}@example.com`, password: `plain zebra ${randomBytes(6).toString('hex')}` }
}

/** A login, a refresh, and a logout. */
async function login(user: TestUser, send: Send): Promise<void> {
  const { status, body } = await send('/auth/login', { body: { login: user.username, password: user.password } })
  if (status !== 200) return
  const next = await send('/auth/refresh', { body: { refresh_token: body.refresh_token } })
  await send('/auth/logout', { method: 'POST', token: next.body.access_token })
}

/** A wrong code, then a backup code while there are some. */
async function loginWithFactor(gateway: GatewayProcess, user: FactorUser, send: Send): Promise<void> {
  const token = await mfaToken(gateway, user).catch(() => null)
  if (token === null) return
  await send('/auth/login/mfa', { body: { mfa_token: token, code: '000000' } })
  const code = user.backupCodes.pop()
  if (code !== undefined) await send('/auth/login/mfa', { body: { mfa_token: token, code } })
}

/** The question of nginx about a request to a page of the wiki. */
const askVerify = (gateway: GatewayProcess, token: string | undefined) =>
  attempt(gateway, '/auth/verify', {
    token,
    headers: { 'x-original-method': 'GET', 'x-original-uri': '/wiki/1', 'x-forwarded-for': '203.0.113.9' },
  })

/** Ends the WebSocket that is open, and opens the next one. */
async function chat({ url }: GatewayProcess, { chats }: Clients): Promise<void> {
  chats.get(url)?.close()
  const socket = new WebSocket(`${url.replace('http', 'ws')}/live`)
  socket.on('error', () => {})
  chats.set(url, socket)
  const isOpen = await Promise.race([once(socket, 'open').then(() => true), once(socket, 'close').then(() => false)])
  if (!isOpen) return
  socket.send('hello')
  await Promise.race([once(socket, 'message'), once(socket, 'close')])
}
