/**
 * Two gateways that show nearly every series: one with two workers, Postgres and Redis, and one in the process of the test with providers and
 * countries. Clients have used every feature, and Redis has failed once.
 */
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocket, WebSocketServer } from 'ws'
import { call, newUser, proveAddress, type TestUser } from './client.ts'
import { countryDatabase } from './country-database.ts'
import { startExternalIssuer } from './external-issuer.ts'
import { startFakeProvider } from './fake-provider.ts'
import type { Gateway } from './gateway.ts'
import { type GatewayProcess, get, startGatewayProcess } from './gateway-process.ts'
import { createDatabase } from './postgres.ts'
import { freePort, until } from './processes.ts'
import { EASY, solutionFor } from './proof-of-work.ts'
import { startRedis } from './redis.ts'
import { startSignInGateway } from './sign-in.ts'
import { enrol, mfaToken } from './totp.ts'
import { startUpstream } from './upstream.ts'

export interface WatchedGateways {
  /** Addresses of the admin listeners. The first is that of the gateway with workers. */
  adminUrls: string[]
  /** A few further requests: one to an upstream, and a login. */
  work(): Promise<void>
  close(): Promise<void>
}

export async function startWatchedGateways(postgresUrl: string): Promise<WatchedGateways> {
  const closers: (() => unknown)[] = []
  const close = async () => {
    for (const end of closers.reverse()) await end()
  }
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-watched-'))
  closers.push(() => rmSync(dir, { recursive: true, force: true }))
  try {
    const proxy = await startWithWorkers(postgresUrl, dir, closers)
    const { gateway, user } = await startWithProviders(dir, closers)
    const work = async () => {
      await call(proxy, '/text')
      await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
    }
    return { adminUrls: [proxy.adminUrl, gateway.adminUrl], work, close }
  } catch (error) {
    await close()
    throw error
  }
}

async function startWithWorkers(postgresUrl: string, dir: string, closers: (() => unknown)[]): Promise<GatewayProcess> {
  const redis = await startRedis()
  closers.push(() => redis.stop())
  const issuer = await startExternalIssuer()
  closers.push(() => issuer.close())
  const upstream = await startUpstream((req, res) => {
    if (req.url!.startsWith('/range/')) res.end('0'.repeat(35))
    else if (req.url!.startsWith('/text')) res.writeHead(200, { 'content-type': 'text/plain' }).end('text '.repeat(1000))
    else return false
    return true
  })
  closers.push(() => upstream.close())
  const live = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  await once(live, 'listening')
  closers.push(() => live.close())
  const networks = join(dir, 'networks.txt')
  writeFileSync(networks, '127.0.0.0/8\n')

  const route = (name: string, more: object = {}) => ({
    name,
    match: { path: `/${name}` },
    upstream: [upstream.url],
    access: 'public',
    ...more,
  })
  const gateway = await startGatewayProcess({
    server: { workers: 2, trustedProxies: ['127.0.0.1/32'], shutdownDelayMs: 0, overload: { maxLoopDelayMs: 0 } },
    stores: { databaseUrl: await createDatabase(postgresUrl), redisUrl: redis.url },
    issuers: [issuer.settings()],
    sections: {
      auth: {
        password: {
          argon2: { memoryKiB: 1024, passes: 1 },
          breachCheck: { enabled: true, url: `${upstream.url}/range/` },
        },
        proofOfWork: { ...EASY, loginFailures: 1000 },
      },
      forwardAuth: { dialect: 'nginx' },
      limits: {
        default: ['perUser'],
        policies: { perUser: { limit: 100, windowSeconds: 60, key: 'principal' } },
        exempt: ['127.0.0.0/8'],
      },
    },
    routes: [
      route('text', { compress: true, networks: { allowFile: networks } }),
      route('mine', { access: 'authenticated', health: { path: '/', intervalMs: 100 } }),
      route('pair', { upstream: [`http://127.0.0.1:${await freePort()}`, upstream.url] }),
      route('gone', { upstream: [`http://127.0.0.1:${await freePort()}`] }),
      route('live', { upstream: [`http://127.0.0.1:${(live.address() as AddressInfo).port}`], websocket: true }),
      { name: 'wiki', match: { path: '/wiki' }, access: 'authenticated', forwardAuth: true },
    ],
  })
  closers.push(() => gateway.stop())

  const user = await register(gateway)
  for (const path of ['/text', '/pair', '/pair', '/gone', '/mine', '/nowhere']) await call(gateway, path)
  await call(gateway, '/mine', { token: user.token })
  await call(gateway, '/mine', { token: await issuer.token() })
  await call(gateway, '/auth/verify', { token: user.token, headers: { 'x-original-method': 'GET', 'x-original-uri': '/wiki/1' } })
  await call(gateway, '/auth/login', { body: { login: user.username, password: 'not the password' } })
  await call(gateway, '/auth/password/forgot', {
    body: { email: user.email, proof_of_work: await solutionFor(gateway, 'forgot') },
  })
  const withFactor = await enrol(gateway, user)
  await call(gateway, '/auth/login/mfa', { body: { mfa_token: await mfaToken(gateway, withFactor), code: '000000' } })
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/live`)
  await once(socket, 'open')
  socket.close()
  await once(socket, 'close')
  await redis.kill()
  await until(async () => /^portcullis_redis_errors_total\{/m.test(await get(`${gateway.adminUrl}/metrics`)), 'a failure of Redis')
  await redis.restart()
  return gateway
}

async function register(gateway: { url: string }): Promise<TestUser> {
  const person = { username: 'ann', email: 'ann@example.com', password: 'plain zebra crossing' }
  const proof = await solutionFor(gateway, 'register')
  const { status, body } = await call(gateway, '/auth/register', { body: { ...person, proof_of_work: proof } })
  if (status !== 201) throw new Error(`register answered ${status}: ${JSON.stringify(body)}`)
  return { ...person, id: body.user.id, token: body.access_token, refreshToken: body.refresh_token }
}

async function startWithProviders(dir: string, closers: (() => unknown)[]): Promise<{ gateway: Gateway; user: TestUser }> {
  const provider = await startFakeProvider()
  closers.push(() => provider.close())
  const database = join(dir, 'countries.mmdb')
  const write = (country: string) => writeFileSync(database, countryDatabase({ '127.0.0.0/8': country }))
  write('DE')
  const gateway = await startSignInGateway({
    openId: provider,
    settings: { allowedDomains: ['example.com'], trustEmail: true },
    config: { geo: { database } },
  })
  closers.push(() => gateway.close())
  await gateway.signIn(gateway.agent())
  const user = await newUser(gateway)
  const body = { login: user.username, password: user.password }
  await proveAddress(gateway, user)
  await call(gateway, '/auth/login', { body })
  write('JP')
  const { dataFiles, config } = gateway.app.platform
  await dataFiles.prepare(config)
  await call(gateway, '/auth/login', { body })
  await gateway.app.identity.cleanup()
  return { gateway, user }
}
