/** What a real Redis does wrong: each kind is counted and logged, no request fails, and Redis counts again without a restart. */
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { endAll } from '../../faults/harness/cleanup.ts'
import { type RedisForm, type RedisServer, type RedisStore, startRedisStore } from '../../faults/harness/redis.ts'
import { from, newAddress, newUserFrom } from '../../support/addresses.ts'
import { type Answer, call, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { type Relay, startRelay } from '../../support/relay.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const config = {
  server: { trustedProxies: ['127.0.0.1/32'] },
  limits: { exempt: [], policies: { wide: { limit: 1_000_000, windowSeconds: 3600, key: 'client' } } },
}
const PASSWORD = 'p@ss-w0rd-of-redis'
let upstream: Upstream
const routes = () => [
  { name: 'public', match: { path: '/public' }, upstream: [upstream.url], access: 'public', limits: ['wide'] },
  { name: 'mine', match: { path: '/mine' }, upstream: [upstream.url], access: 'authenticated' },
]
const gateways: Gateway[] = []
const start = async (redisUrl: string, like?: Gateway) => {
  const shared = like ? { databaseUrl: like.databaseUrl, secretKey: like.secretKey } : {}
  const gateway = await startGateway({ config, routes: routes(), redisUrl, ...shared })
  gateways.push(gateway)
  await until(() => gateway.app.platform.redis!.isUp(), 'Redis')
  return gateway
}
/** Two gateways of one installation, which share a Redis. */
async function startTwo(form: RedisForm): Promise<{ store: RedisStore; gateway: Gateway; other: Gateway }> {
  const store = await startRedisStore(form)
  const gateway = await start(store.url)
  return { store, gateway, other: await start(store.url, gateway) }
}
beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(async () => {
  for (const gateway of gateways) await gateway.close()
  await upstream.close()
  await endAll()
})

const get = (gateway: Gateway, path = '/public') => call(gateway, path, { headers: from(newAddress()) })
const errors = (gateway: Gateway, kind: string) => metric(gateway, 'portcullis_redis_errors_total', { kind })
const byRedis = (gateway: Gateway) => metric(gateway, 'portcullis_limit_decisions_total', { tier: 'redis' })
const logged = (gateway: Gateway, kind: string) => gateway.log().filter((line) => line.kind === kind)

/** Asks until the kind is counted and logged. @returns the statuses of all answers, each once */
async function fails(gateway: Gateway, kind: string): Promise<number[]> {
  const answers: Answer[] = []
  await until(async () => {
    answers.push(await get(gateway))
    return (await errors(gateway, kind)) > 0 && logged(gateway, kind).length > 0
  }, `${kind} to be counted`)
  for (let i = 0; i < 20; i++) answers.push(await get(gateway))
  return [...new Set(answers.map(({ status }) => status))]
}
async function countsAgain(gateway: Gateway, timeoutMs?: number): Promise<void> {
  const before = await byRedis(gateway)
  await until(
    async () => {
      expect((await get(gateway)).status).toBe(200)
      return (await byRedis(gateway)) > before
    },
    'a decision by Redis',
    timeoutMs,
  )
}
/**
 * A revocation of one gateway comes to another by Redis alone: the poll of the other does not run. The subscription of the other may come back
 * later than the connections that count: then the next revocation passes.
 */
async function revocationsPass(one: Gateway, other: Gateway): Promise<void> {
  other.app.identity.revocations.stop()
  await until(async () => {
    const { token } = await newUserFrom(one)
    const use = () => call(other, '/mine', { token, headers: from(newAddress()) })
    expect((await use()).status).toBe(200)
    expect((await call(one, '/auth/logout', { method: 'POST', token, headers: from(newAddress()) })).status).toBe(204)
    const passes = until(async () => (await use()).status === 401, 'the revocation', 1000)
    return passes.then(
      () => true,
      () => false,
    )
  }, 'a revocation')
}

describe('one Redis', () => {
  let server: RedisServer
  let gateway: Gateway
  const redis = (...command: [string, ...(string | number)[]]) => server.command(...command)
  beforeAll(async () => {
    server = (await startRedisStore('single', { args: ['--enable-debug-command', 'local'] })).servers[0]!
    gateway = await start(server.url)
  })

  it('that has lost its scripts gets them again: noscript is counted, and nothing else happens', async () => {
    await countsAgain(gateway)
    await redis('SCRIPT', 'FLUSH')
    await until(async () => {
      expect((await get(gateway)).status).toBe(200)
      return (await errors(gateway, 'noscript')) > 0
    }, 'noscript')
    expect(logged(gateway, 'noscript')).toHaveLength(1)
    expect(gateway.app.platform.redis!.isUp()).toBe(true)
    await countsAgain(gateway)
  })

  it('that is full: oom', async () => {
    await redis('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
    await redis('CONFIG', 'SET', 'maxmemory', 1)
    expect(await fails(gateway, 'oom')).toEqual([200])
    // without requests, too, it stays away: a PING alone would succeed
    expect(gateway.app.platform.redis!.isUp()).toBe(false)
    expect(logged(gateway, 'oom')).toHaveLength(1)
    await redis('CONFIG', 'SET', 'maxmemory', 0)
    await countsAgain(gateway)
  })

  it('that becomes a replica: readonly', async () => {
    await redis('REPLICAOF', '127.0.0.1', 1)
    expect(await fails(gateway, 'readonly')).toEqual([200])
    await redis('REPLICAOF', 'NO', 'ONE')
    await countsAgain(gateway)
  })

  it('that is loading its data: loading', async () => {
    await redis('DEBUG', 'POPULATE', 20_000, 'big', 100)
    await redis('SAVE')
    await redis('CONFIG', 'SET', 'key-load-delay', 1000)
    await redis('CONFIG', 'SET', 'loading-process-events-interval-bytes', 1024)
    const reload = redis('DEBUG', 'RELOAD').catch(() => null)
    expect(await fails(gateway, 'loading')).toEqual([200])
    // key-load-delay is in microseconds, and only a restart ends the load sooner
    await server.kill()
    await reload
    await server.start()
    await countsAgain(gateway)
  }, 60_000)

  it('a login is limited all the same while Redis is full', async () => {
    await redis('CONFIG', 'SET', 'maxmemory', 1)
    const user: TestUser = await newUserFrom(gateway)
    const address = newAddress()
    const login = (password: string) => call(gateway, '/auth/login', { body: { login: user.username, password }, headers: from(address) })
    expect((await login(user.password)).status).toBe(200)
    const statuses: number[] = []
    for (let i = 0; i < 6; i++) statuses.push((await login('wrong')).status)
    expect(statuses).toEqual([401, 401, 401, 401, 429, 429])
    await redis('CONFIG', 'SET', 'maxmemory', 0)
  })
})

describe('access to Redis', () => {
  let server: RedisServer
  let relay: Relay
  let gateway: Gateway
  let second: Gateway
  const admin = (...command: [string, ...(string | number)[]]) => {
    const client = new Redis({ port: server.port, password: PASSWORD })
    return client.call(...command).finally(() => client.disconnect())
  }
  beforeAll(async () => {
    server = (await startRedisStore('single')).servers[0]!
    await server.command('CONFIG', 'SET', 'requirepass', PASSWORD)
    relay = await startRelay(server.port)
    const url = `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${relay.port}`
    gateway = await start(url)
    second = await start(url, gateway)
  })
  afterAll(() => relay.close())
  const reconnect = () => {
    relay.cut()
    relay.mend()
  }
  afterEach(async () => {
    await countsAgain(gateway)
    const text = JSON.stringify(gateway.log())
    for (const secret of [PASSWORD, encodeURIComponent(PASSWORD)]) expect(text).not.toContain(secret)
  })

  it('with a password that is right no longer, at the next connection: auth', async () => {
    await admin('CONFIG', 'SET', 'requirepass', 'another')
    reconnect()
    expect(await fails(gateway, 'auth')).toEqual([200])
    const again = new Redis({ port: server.port, password: 'another' })
    await again.call('CONFIG', 'SET', 'requirepass', PASSWORD)
    again.disconnect()
  })

  it('without the right to a command: noperm', async () => {
    await admin('ACL', 'SETUSER', 'default', '-hset', '-incrby')
    expect(await fails(gateway, 'noperm')).toEqual([200])
    await admin('ACL', 'SETUSER', 'default', '+@all')
  })

  it('without the right to the channel of revocations: limits go on, and revocations come back with the right', async () => {
    await admin('ACL', 'SETUSER', 'default', 'resetchannels')
    reconnect()
    await countsAgain(gateway)
    await until(() => gateway.log().some(({ reason }) => reason === 'redis_unsubscribed'), 'the log line')
    expect(gateway.log().find(({ reason }) => reason === 'redis_unsubscribed')).toMatchObject({ kind: 'noperm' })
    await admin('ACL', 'SETUSER', 'default', 'allchannels')
    await until(() => gateway.log().some(({ msg }) => msg === 'redis sends the revocations of other gateways again'), 'the log line')
    await revocationsPass(gateway, second)
  })

  it('over a network that vanishes: timeout; both connections come back, and revocations with them', async () => {
    const other = await start(gateway.app.platform.config.redis.url, gateway)
    relay.vanish()
    // nobody asks: the PINGs notice it
    await until(() => !gateway.app.platform.redis!.isUp(), 'the silence to be noticed')
    expect(await fails(gateway, 'timeout')).toEqual([200])
    relay.mend()
    await countsAgain(gateway)
    await revocationsPass(gateway, other)
  })

  it('to a Redis that is frozen: timeout, and both connections come back', async () => {
    const other = await start(gateway.app.platform.config.redis.url, gateway)
    server.freeze()
    await until(() => !gateway.app.platform.redis!.isUp(), 'the silence to be noticed')
    expect((await get(gateway)).status).toBe(200)
    server.resume()
    await countsAgain(gateway)
    await revocationsPass(gateway, other)
  })
})

describe('three Sentinels', () => {
  let store: RedisStore
  let gateway: Gateway
  let other: Gateway
  beforeAll(async () => {
    ;({ store, gateway, other } = await startTwo('sentinel'))
  }, 90_000)
  const master = async () => {
    const port = await store.masterPort()
    return store.servers.find((server) => server.port === port)!
  }
  const portOf = (at: Gateway) => (at.app.platform.redis!.client as Redis).stream.remotePort

  it('a master that is frozen: the gateway goes to the new master, and never back', async () => {
    const old = await master()
    expect(portOf(gateway)).toBe(old.port)
    old.freeze()
    await until(async () => (await store.masterPort()) !== old.port, 'the promotion', 60_000)
    await until(() => gateway.app.platform.redis!.isUp(), 'Redis')
    await countsAgain(gateway)
    expect(portOf(gateway)).toBe((await master()).port)
    old.resume()
    await revocationsPass(gateway, other)
    expect(portOf(gateway)).not.toBe(old.port)
  }, 90_000)

  it('a master that is killed: the gateway goes to the new master', async () => {
    const old = await master()
    await old.kill()
    await until(async () => (await store.masterPort()) !== old.port, 'the promotion', 60_000)
    await countsAgain(gateway)
    expect(portOf(gateway)).toBe((await master()).port)
    await old.start()
  }, 90_000)

  it('Sentinels that are all gone change nothing while the master answers', async () => {
    for (const sentinel of store.sentinels) await sentinel.kill()
    await countsAgain(gateway)
    const third = await startGateway({ config, routes: routes(), redisUrl: store.url })
    gateways.push(third)
    expect(await fails(third, 'reset')).toEqual([200])
    for (const sentinel of store.sentinels) await sentinel.start()
    await until(() => third.app.platform.redis!.isUp(), 'Redis')
  }, 60_000)
})

describe('a cluster', () => {
  let store: RedisStore
  let gateway: Gateway
  let other: Gateway
  beforeAll(async () => {
    ;({ store, gateway, other } = await startTwo('cluster'))
  }, 90_000)

  it('counts and sends revocations, and no request fails while a replica takes the place of a master', async () => {
    await countsAgain(gateway)
    const [first] = store.servers
    await first!.kill()
    await until(() => !gateway.app.platform.redis!.isUp(), 'the loss to be noticed')
    for (let i = 0; i < 20; i++) expect((await get(gateway)).status).toBe(200)
    await countsAgain(gateway, 60_000)
    await first!.start()
    await revocationsPass(gateway, other)
  }, 120_000)
})
