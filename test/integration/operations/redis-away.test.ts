import net from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { from, newAddress, newUserFrom } from '../../support/addresses.ts'
import { type Answer, call, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { query } from '../../support/postgres.ts'
import { freePort, until } from '../../support/processes.ts'
import { startRedis, type TestRedis } from '../../support/redis.ts'
import { times } from '../../support/times.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const count = (answers: Answer[], status: number) => answers.filter((a) => a.status === status).length
const inTurn = async <T>(n: number, make: (i: number) => Promise<T>): Promise<T[]> => {
  const all: T[] = []
  for (let i = 0; i < n; i++) all.push(await make(i))
  return all
}

const REPLICAS = 3
const policy = (limit: number) => ({ limit, windowSeconds: 3600, key: 'client' })
const config = {
  server: { trustedProxies: ['127.0.0.1/32'], replicas: REPLICAS },
  limits: {
    exempt: [],
    policies: { ten: policy(10), wide: policy(1_000_000) },
    credentials: { account: { limit: 8, windowSeconds: 3600 } },
  },
}
let upstream: Upstream
const routes = () =>
  [
    { name: 'local', limits: ['ten'], access: 'public', onRedisDown: 'local' },
    { name: 'open', limits: ['ten'], access: 'public', onRedisDown: 'open' },
    { name: 'closed', limits: ['ten'], access: 'public', onRedisDown: 'closed' },
    { name: 'wide', limits: ['wide'], access: 'authenticated' },
  ].map((route) => ({ ...route, match: { path: `/${route.name}` }, upstream: [upstream.url] }))

beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(() => upstream.close())

const get = (gateway: Gateway, path: string, address: string, token?: string) => call(gateway, path, { headers: from(address), token })
const login = (gateway: Gateway, user: TestUser, password: string, address: string) =>
  call(gateway, '/auth/login', { body: { login: user.username, password }, headers: from(address) })
const ready = async (gateway: Gateway) => {
  const { status, body } = await call({ url: gateway.adminUrl }, '/readyz?verbose')
  return { status, redis: body.checks.find((c: { name: string }) => c.name === 'redis') }
}
/** Requests of `path` one after the other, in the background, until `end` is called. */
function load(gateway: Gateway, path: string, token: string) {
  let isOver = false
  const answers: Answer[] = []
  const streams = times(4, async () => {
    while (!isOver) answers.push(await get(gateway, path, newAddress(), token))
  })
  return {
    answers,
    async end() {
      isOver = true
      await Promise.all(streams)
    },
  }
}
const decidedByRedis = (gateway: Gateway) => metric(gateway, 'portcullis_limit_decisions_total', { tier: 'redis' })

describe('while Redis is gone', () => {
  let redis: TestRedis
  let gateway: Gateway
  let second: Gateway
  let user: TestUser
  beforeAll(async () => {
    redis = await startRedis()
    gateway = await startGateway({ config, routes: routes(), redisUrl: redis.url })
    second = await startGateway({
      config,
      routes: routes(),
      redisUrl: redis.url,
      databaseUrl: gateway.databaseUrl,
      secretKey: gateway.secretKey,
    })
    await until(() => [gateway, second].every((g) => g.app.platform.redis!.isUp()), 'Redis')
    user = await newUserFrom(gateway)
  })
  afterAll(async () => {
    await second.close()
    await gateway.close()
    await redis.stop()
  })
  const away = async () => {
    await redis.kill()
    await until(async () => (await metric(gateway, 'portcullis_redis_up')) === 0, 'redis_up 0')
  }
  const back = async () => {
    await redis.restart()
    await until(async () => (await metric(gateway, 'portcullis_redis_up')) === 1, 'redis_up 1')
    const before = await decidedByRedis(gateway)
    await until(async () => {
      await get(gateway, '/wide', newAddress(), user.token)
      return (await decidedByRedis(gateway)) > before
    }, 'a decision by Redis')
  }

  it('no request fails, neither when Redis stops nor when it is back; Redis then counts again without a restart', async () => {
    const traffic = load(gateway, '/wide', user.token)
    await until(() => traffic.answers.length > 50, 'traffic')
    await away()
    const atKill = traffic.answers.length
    await until(() => traffic.answers.length > atKill + 50, 'traffic without Redis')
    await back()
    const atReturn = traffic.answers.length
    await until(() => traffic.answers.length > atReturn + 50, 'traffic with Redis again')
    await traffic.end()
    expect(new Set(traffic.answers.map((a) => a.status))).toEqual(new Set([200]))
  })

  describe('and stays gone', () => {
    beforeAll(away)
    afterAll(back)

    it('the gateway is ready, and says that Redis is not there', async () => {
      expect(await ready(gateway)).toEqual({ status: 200, redis: { name: 'redis', ok: false, required: false } })
      expect((await call({ url: gateway.adminUrl }, '/livez')).status).toBe(200)
      expect(gateway.log().filter((l) => l.reason === 'redis_away').length).toBeGreaterThan(0)
    })

    it('onRedisDown local: this gateway admits its share, ⌊limit ÷ replicas⌋', async () => {
      const address = newAddress()
      const answers = await Promise.all(times(100, () => get(gateway, '/local', address)))
      expect([count(answers, 200), count(answers, 429)]).toEqual([Math.floor(10 / REPLICAS), 97])
      expect(answers[0]!.headers.get('ratelimit-policy')).toBe('"ten";q=3;w=3600')
      expect((await get(gateway, '/local', newAddress())).status).toBe(200)
    })

    it('onRedisDown open: everything passes', async () => {
      const address = newAddress()
      expect(count(await Promise.all(times(50, () => get(gateway, '/open', address))), 200)).toBe(50)
    })

    it('onRedisDown closed: 503 with Retry-After', async () => {
      const { body, headers } = await get(gateway, '/closed', newAddress())
      expect(body).toMatchObject({ status: 503, code: 'unavailable' })
      expect(headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
      expect(JSON.stringify(body)).not.toMatch(/redis/i)
    })

    it('login works and is limited exactly over all gateways, by counters in Postgres', async () => {
      const [someone, address] = [await newUserFrom(gateway), newAddress()]
      const answers = await inTurn(7, (i) => login(i % 2 ? gateway : second, someone, i === 0 ? someone.password : 'wrong', address))
      expect(answers.map((a) => a.status)).toEqual([200, 401, 401, 401, 401, 429, 429])
      expect(answers[5]!.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
      const [row] = await query<{ count: number }>(
        gateway.databaseUrl,
        `SELECT count FROM limit_counters WHERE key LIKE 'credential:login:%' AND key LIKE $1`,
        [`%${someone.id}%`],
      )
      expect(row!.count).toBeGreaterThanOrEqual(5)
    })

    it('failures of an account are limited over all addresses', async () => {
      const someone = await newUserFrom(gateway)
      const answers = await Promise.all(times(20, (i) => login(i % 2 ? gateway : second, someone, 'wrong', newAddress())))
      expect([count(answers, 401), count(answers, 429)]).toEqual([8, 12])
    })

    it('successful logins are no failures', async () => {
      const someone = await newUserFrom(gateway)
      const answers = await inTurn(12, () => login(gateway, someone, someone.password, newAddress()))
      expect(count(answers, 200)).toBe(12)
    })

    it('register and refresh go on and are limited', async () => {
      const address = newAddress()
      const users = await inTurn(3, () => newUserFrom(gateway, address))
      await expect(newUserFrom(gateway, address)).rejects.toThrow('register answered 429')
      const refresh = (token: string) => call(gateway, '/auth/refresh', { body: { refresh_token: token }, headers: from(address) })
      expect((await refresh(users[0]!.refreshToken)).status).toBe(200)
      await Promise.all(times(11, (i) => refresh(`rt_${String(i).padStart(43, 'x')}`)))
      // the eleventh was checked at the slower pace, and a valid token is served
      const [counted] = await query<{ count: number }>(gateway.databaseUrl, 'SELECT count FROM limit_counters WHERE key = $1', [
        `credential:refresh:${address}`,
      ])
      expect(counted!.count).toBe(11)
      expect((await refresh(users[1]!.refreshToken)).status).toBe(200)
    })

    it('a logout is in force at once here, and soon in every other gateway', async () => {
      const someone = await newUserFrom(gateway)
      expect((await get(second, '/wide', newAddress(), someone.token)).status).toBe(200)
      expect((await call(gateway, '/auth/logout', { method: 'POST', token: someone.token })).status).toBe(204)
      expect((await get(gateway, '/wide', newAddress(), someone.token)).body.code).toBe('token_revoked')
      await until(async () => (await get(second, '/wide', newAddress(), someone.token)).status === 401, 'the revocation poll')
    })
  })
})

describe('while Redis is frozen', () => {
  let redis: TestRedis
  let gateway: Gateway
  let user: TestUser
  beforeAll(async () => {
    redis = await startRedis()
    gateway = await startGateway({ config, routes: routes(), redisUrl: redis.url })
    await until(() => gateway.app.platform.redis!.isUp(), 'Redis')
    user = await newUserFrom(gateway)
  })
  beforeEach(() => redis.freeze())
  afterAll(async () => {
    redis.resume()
    await gateway.close()
    await redis.stop()
  })

  it('requests, logins, registrations and logouts are answered all the same, and it counts again once it thaws', async () => {
    const answers = await Promise.all(times(40, () => get(gateway, '/wide', newAddress(), user.token)))
    expect(count(answers, 200)).toBe(40)
    const someone = await newUserFrom(gateway)
    expect((await login(gateway, someone, someone.password, newAddress())).status).toBe(200)
    expect((await call(gateway, '/auth/logout', { method: 'POST', token: someone.token, headers: from(newAddress()) })).status).toBe(204)
    const closed = await get(gateway, '/closed', newAddress())
    expect([closed.status, closed.body.code]).toEqual([503, 'unavailable'])
    redis.resume()
    const before = await decidedByRedis(gateway)
    await until(async () => {
      await get(gateway, '/wide', newAddress(), user.token)
      return (await decidedByRedis(gateway)) > before
    }, 'a decision by Redis')
  })

  it('the gateway is ready and reports that Redis does not answer', async () => {
    await until(async () => {
      await get(gateway, '/wide', newAddress(), user.token)
      return (await metric(gateway, 'portcullis_redis_breaker_open')) === 1
    }, 'redis_breaker_open 1')
    expect((await ready(gateway)).status).toBe(200)
    await until(async () => {
      await get(gateway, '/wide', newAddress(), user.token)
      return (await metric(gateway, 'portcullis_redis_up')) === 0
    }, 'redis_up 0')
  })
})

describe('a gateway starts', () => {
  it('while Redis is absent, and takes it up when it comes', async () => {
    const redis = await startRedis()
    await redis.kill()
    const gateway = await startGateway({ config, routes: routes(), redisUrl: redis.url })
    try {
      const user = await newUserFrom(gateway)
      expect((await get(gateway, '/wide', newAddress(), user.token)).status).toBe(200)
      expect((await ready(gateway)).status).toBe(200)
      await redis.restart()
      await until(async () => {
        await get(gateway, '/wide', newAddress(), user.token)
        return (await decidedByRedis(gateway)) > 0
      }, 'a decision by Redis')
    } finally {
      await gateway.close()
      await redis.stop()
    }
  })

  it('while something in the place of Redis accepts connections and never answers', async () => {
    const mute = net.createServer((socket) => void socket.on('error', () => {}))
    const port = await freePort()
    await new Promise<void>((resolve) => mute.listen(port, '127.0.0.1', resolve))
    const gateway = await startGateway({ config, routes: routes(), redisUrl: `redis://127.0.0.1:${port}` })
    try {
      const user = await newUserFrom(gateway)
      expect((await get(gateway, '/wide', newAddress(), user.token)).status).toBe(200)
      expect((await ready(gateway)).redis).toMatchObject({ ok: false })
    } finally {
      await gateway.close()
      mute.close()
    }
  })
})
