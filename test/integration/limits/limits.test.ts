import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { from, newAddress, newUserFrom, undisturbed } from '../../support/addresses.ts'
import { type Answer, call } from '../../support/client.ts'
import { type Gateway, startGateway, stillClock } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { startRedis, type TestRedis } from '../../support/redis.ts'
import { times } from '../../support/times.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const statuses = (answers: Answer[]) => answers.map((a) => a.status)
const count = (answers: Answer[], status: number) => statuses(answers).filter((s) => s === status).length
const inTurn = async <T>(n: number, make: (i: number) => Promise<T>): Promise<T[]> => {
  const all: T[] = []
  for (let i = 0; i < n; i++) all.push(await make(i))
  return all
}
/** The first 48 bits of an IPv6 network that was not used before. */
const newNet = () => {
  const [, a, b, c] = newAddress().split('.').map(Number)
  return `2001:${((a! << 8) | b!).toString(16)}:${((c! << 8) | randomBytes(1)[0]!).toString(16)}`
}
/** A token of the right form that nobody signed. */
const forged = (i: number) =>
  `${Buffer.from(JSON.stringify({ alg: 'EdDSA', typ: 'at+jwt', kid: 'nobody' })).toString('base64url')}.${Buffer.from(`{"jti":${i}}`).toString('base64url')}.${'A'.repeat(86)}`

/** A token with the head and the claims of a good token. */
const withRandomSignature = (token: string) => token.replace(/[^.]+$/, () => randomBytes(64).toString('base64url'))

const HOUR = 3600
const policy = (limit: number, key: string) => ({ limit, windowSeconds: HOUR, key })
const config = {
  server: { trustedProxies: ['127.0.0.1/32'] },
  limits: {
    exempt: [],
    default: ['perIp'],
    credentials: { token: { limit: 5, windowSeconds: HOUR } },
    policies: {
      perClient: policy(5, 'client'),
      many: policy(40, 'client'),
      perUser: policy(5, 'principal'),
      perKey: policy(1, 'apiKey'),
      perAnonymous: policy(5, 'anonymous'),
      shared: policy(4, 'client'),
      account: policy(1000, 'principal'),
    },
  },
}
const routesTo = (upstream: Upstream) => {
  const route = (path: string, limits: string[] | undefined, access: unknown = 'public') => ({
    name: path.slice(1),
    match: { path },
    upstream: [upstream.url],
    access,
    ...(limits ? { limits } : {}),
  })
  return [
    route('/client', ['perClient']),
    route('/many', ['many']),
    route('/user', ['perUser'], 'authenticated'),
    route('/key', ['perKey']),
    route('/anonymous', ['perAnonymous']),
    route('/both', ['perAnonymous', 'perUser', 'shared']),
    route('/plain', undefined),
    route('/shared-a', ['shared']),
    route('/shared-b', ['shared']),
    route('/named-account', ['account'], 'authenticated'),
    route('/free', [], 'authenticated'),
  ]
}

let upstream: Upstream
beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(() => upstream.close())

describe.each(['memory', 'redis'] as const)('limits counted in %s', (tier) => {
  let gateway: Gateway
  let redis: TestRedis | null = null
  beforeAll(async () => {
    redis = tier === 'redis' ? await startRedis() : null
    gateway = await startGateway({ config, routes: routesTo(upstream), redisUrl: redis?.url ?? 'memory' })
    await until(() => gateway.app.platform.redis?.isUp() ?? true, 'Redis')
  })
  afterAll(async () => {
    await gateway.close()
    await redis?.stop()
  })
  const test = (promise: string, scenario: () => Promise<void>) => it(promise, () => undisturbed(gateway, scenario))
  const get = (path: string, address: string, token?: string) => call(gateway, path, { headers: from(address), token })
  const login = (name: string, password: string, address: string) =>
    call(gateway, '/auth/login', { body: { login: name, password }, headers: from(address) })

  describe('of routes', () => {
    test('key client: every address has its own count, for all users together', async () => {
      const [address, user] = [newAddress(), await newUserFrom(gateway)]
      const answers = await inTurn(6, (i) => get('/client', address, i % 2 ? user.token : undefined))
      expect(statuses(answers)).toEqual([200, 200, 200, 200, 200, 429])
      expect((await get('/client', newAddress())).status).toBe(200)
    })

    test('key principal: a user has one count over all addresses; others behind the same address have theirs', async () => {
      const [one, other] = [await newUserFrom(gateway), await newUserFrom(gateway)]
      expect(statuses(await inTurn(6, () => get('/user', newAddress(), one.token)))).toEqual([200, 200, 200, 200, 200, 429])
      const address = newAddress()
      expect((await get('/user', address, one.token)).status).toBe(429)
      expect((await get('/user', address, other.token)).status).toBe(200)
    })

    test('key principal: a second session of a user counts with the first', async () => {
      const user = await newUserFrom(gateway)
      await inTurn(5, () => get('/user', newAddress(), user.token))
      const again = await login(user.username, user.password, newAddress())
      expect((await get('/user', newAddress(), again.body.access_token)).status).toBe(429)
    })

    test('key apiKey: a request without a key is not counted', async () => {
      const [address, user] = [newAddress(), await newUserFrom(gateway)]
      const answers = [...(await inTurn(3, () => get('/key', address))), ...(await inTurn(3, () => get('/key', address, user.token)))]
      expect(statuses(answers)).toEqual(times(6, () => 200))
      expect(answers[0]!.headers.get('ratelimit-policy')).toBeNull()
    })

    test('key anonymous: requests without a principal count for their address, and users behind it are not punished', async () => {
      const [address, user] = [newAddress(), await newUserFrom(gateway)]
      expect(statuses(await inTurn(6, () => get('/anonymous', address)))).toEqual([200, 200, 200, 200, 200, 429])
      expect(statuses(await inTurn(6, () => get('/anonymous', address, user.token)))).toEqual(times(6, () => 200))
      expect((await get('/anonymous', newAddress())).status).toBe(200)
    })

    test('key anonymous: an Authorization header of a foreign scheme is no way round it', async () => {
      const address = newAddress()
      const answers = await inTurn(6, () =>
        call(gateway, '/anonymous', { headers: { ...from(address), authorization: 'Basic YW5uOnNlY3JldA==' } }),
      )
      expect(statuses(answers)).toEqual([200, 200, 200, 200, 200, 429])
    })

    test('exactly as many of 100 parallel requests pass as the policy says', async () => {
      const address = newAddress()
      const answers = await Promise.all(times(100, () => get('/many', address)))
      expect([count(answers, 200), count(answers, 429)]).toEqual([40, 60])
    })

    test('a limited answer says so in RateLimit-Policy and RateLimit, a refusing one in Retry-After too', async () => {
      const address = newAddress()
      const first = await get('/client', address)
      expect(first.headers.get('ratelimit-policy')).toBe('"perClient";q=5;w=3600')
      expect(first.headers.get('ratelimit')).toMatch(/^"perClient";r=4;t=[1-9]\d*$/)
      expect(first.headers.get('retry-after')).toBeNull()
      const last = (await inTurn(5, () => get('/client', address)))[4]!
      expect(last.body).toMatchObject({ status: 429, code: 'rate_limited', title: 'Too Many Requests' })
      expect(last.headers.get('content-type')).toMatch(/^application\/problem\+json/)
      expect(last.headers.get('ratelimit-policy')).toBe('"perClient";q=5;w=3600')
      const seconds = /^"perClient";r=0;t=([1-9]\d*)$/.exec(last.headers.get('ratelimit')!)?.[1]
      expect(last.headers.get('retry-after')).toBe(seconds)
      expect(Number(seconds)).toBeLessThanOrEqual(HOUR)
    })

    test('all policies of a route count, and the headers name all of them', async () => {
      const [address, user] = [newAddress(), await newUserFrom(gateway)]
      const answers = await inTurn(5, () => get('/both', address, user.token))
      expect(statuses(answers)).toEqual([200, 200, 200, 200, 429])
      expect(answers[0]!.headers.get('ratelimit-policy')).toBe('"shared";q=4;w=3600, "perUser";q=5;w=3600')
      expect(answers[0]!.headers.get('ratelimit')).toMatch(/^"shared";r=3;t=\d+, "perUser";r=4;t=\d+$/)
    })

    test('a route that names no policy has perIp: 60 a minute for an address without a credential', async () => {
      const [address, user] = [newAddress(), await newUserFrom(gateway)]
      const answers = await Promise.all(times(70, () => get('/plain', address)))
      expect([count(answers, 200), count(answers, 429)]).toEqual([60, 10])
      expect(answers[0]!.headers.get('ratelimit-policy')).toBe('"perIp";q=60;w=60')
      expect((await get('/plain', address, user.token)).status).toBe(200)
    })

    test('a route with an empty list has no limit and no headers', async () => {
      const user = await newUserFrom(gateway)
      const { status, headers } = await get('/free', newAddress(), user.token)
      expect([status, headers.get('ratelimit'), headers.get('ratelimit-policy')]).toEqual([200, null, null])
    })

    test('the count is of policy and identity, never of a path: paths and routes that share a policy share it', async () => {
      const address = newAddress()
      const paths = ['/shared-a', '/shared-a/x', '/shared-a/y?z=1', '/shared-b/w', '/shared-b']
      expect(statuses(await inTurn(5, (i) => get(paths[i]!, address)))).toEqual([200, 200, 200, 200, 429])
    })

    test('an IPv6 client is its /64, an IPv4 client its address', async () => {
      const net = `2001:db8:${Math.floor(Math.random() * 0xffff).toString(16)}`
      const hosts = ['1::1', '1:ffff::2', '1:0:0:0:9', '1:a:b:c:d', '1::5', '1:dead:beef::']
      expect(statuses(await inTurn(6, (i) => get('/client', `${net}:${hosts[i]}`)))).toEqual([200, 200, 200, 200, 200, 429])
      expect((await get('/client', `${net}:2::1`)).status).toBe(200)
      const v4 = newAddress()
      await inTurn(5, () => get('/client', v4))
      expect((await get('/client', `::ffff:${v4}`)).status).toBe(429)
    })

    test('the limit counts the address that the trusted proxy saw, not the address that the client claims', async () => {
      const address = newAddress()
      expect(statuses(await inTurn(6, () => get('/client', `${newAddress()}, ${address}`)))).toEqual([200, 200, 200, 200, 200, 429])
    })
  })

  describe('of registration', () => {
    test('three a minute from an address', async () => {
      const address = newAddress()
      await inTurn(3, () => newUserFrom(gateway, address))
      const fourth = await call(gateway, '/auth/register', {
        body: { username: 'fourth', email: 'fourth@example.com', password: 'correct horse battery' },
        headers: from(address),
      })
      expect(fourth.body).toMatchObject({ status: 429, code: 'rate_limited' })
      expect(fourth.headers.get('ratelimit-policy')).toBe('"register";q=3;w=60')
      expect(fourth.headers.get('ratelimit')).toMatch(/^"register";r=0;t=\d+$/)
      expect(fourth.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
      await newUserFrom(gateway)
    })

    const register = (address: string, input: object = {}) => {
      const username = `late${newAddress().replaceAll('.', '-')}`
      return call(gateway, '/auth/register', {
        body: { username, email: `${username}@example.com`, password: 'correct horse battery', ...input },
        headers: from(address),
      })
    }

    test('what is wrong in itself costs nothing', async () => {
      const address = newAddress()
      expect(statuses(await inTurn(8, () => register(address, { password: 'short' })))).toEqual(times(8, () => 422))
      expect(statuses(await inTurn(8, () => register(address, { email: 'nobody' })))).toEqual(times(8, () => 422))
      expect(statuses(await inTurn(4, () => register(address)))).toEqual([201, 201, 201, 429])
    })

    test('ten answers in ten minutes tell that a name is taken, and cost no registration', async () => {
      const [owner, address] = [await newUserFrom(gateway), newAddress()]
      const taken = (i: number) => register(address, i % 2 ? { username: owner.username } : { email: owner.email.toUpperCase() })
      expect(statuses(await inTurn(9, taken))).toEqual(times(9, () => 409))
      expect(statuses(await inTurn(2, () => register(address)))).toEqual([201, 201])
      expect((await taken(9)).status).toBe(409)
      const refused = await taken(10)
      expect(refused.body).toMatchObject({ status: 429, code: 'rate_limited' })
      expect(refused.headers.get('ratelimit-policy')).toBe('"taken";q=10;w=600')
      expect((await register(address)).status).toBe(429)
      expect((await register(newAddress())).status).toBe(201)
    })

    test('parallel attempts tell no more', async () => {
      const [owner, address] = [await newUserFrom(gateway), newAddress()]
      const answers = await Promise.all(times(60, () => register(address, { username: owner.username })))
      expect(count(answers, 409)).toBeLessThanOrEqual(10)
      expect(count(answers, 409) + count(answers, 429)).toBe(60)
    })

    test('names that a signed-in user asks for count with them', async () => {
      const [owner, user, address] = [await newUserFrom(gateway), await newUserFrom(gateway), newAddress()]
      const change = (body: object) => call(gateway, '/auth/me', { method: 'PATCH', body, token: user.token, headers: from(address) })
      const email = { email: owner.email, current_password: user.password }
      expect(statuses(await inTurn(6, () => change({ username: owner.username })))).toEqual(times(6, () => 409))
      expect(statuses(await inTurn(4, () => change(email)))).toEqual(times(4, () => 409))
      expect((await change(email)).headers.get('ratelimit-policy')).toBe('"taken";q=10;w=600')
      expect((await register(address, { username: owner.username })).status).toBe(429)
    })

    test('a /64 and its /56 have one count, and a /48 has eight times as much', async () => {
      const net = newNet()
      const wide = async (n: number, from: number) => statuses(await inTurn(n, (i) => register(`${net}:${(from + i).toString(16)}::1`)))
      expect(await wide(4, 0)).toEqual([201, 201, 201, 429])
      const answers: number[] = []
      for (let i = 1; i <= 22; i++) answers.push(...(await wide(1, i << 8)))
      expect(answers).toEqual([...times(21, () => 201), 429])
      expect((await register(`${newNet()}::1`)).status).toBe(201)
    })

    test('who is signed in asks for other names no faster', async () => {
      const [user, address] = [await newUserFrom(gateway), newAddress()]
      const rename = (i: number) =>
        call(gateway, '/auth/me', {
          method: 'PATCH',
          body: { username: `${user.username}-${i}` },
          token: user.token,
          headers: from(address),
        })
      expect(statuses(await inTurn(4, rename))).toEqual([200, 200, 200, 429])
    })
  })

  describe('of login', () => {
    test('five a minute for an address and account; e-mail and username are one account', async () => {
      const [user, other, address] = [await newUserFrom(gateway), await newUserFrom(gateway), newAddress()]
      const names = [user.email, user.username, user.email.toUpperCase(), ` ${user.username} `, user.username.toUpperCase()]
      expect(statuses(await inTurn(5, (i) => login(names[i]!, 'wrong', address)))).toEqual(times(5, () => 401))
      const sixth = await login(user.username, user.password, address)
      expect(sixth.body).toMatchObject({ status: 429, code: 'rate_limited' })
      expect(sixth.headers.get('ratelimit-policy')).toBe('"login";q=5;w=60')
      expect(sixth.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
      expect((await login(other.username, other.password, address)).status).toBe(200)
      expect((await login(user.username, user.password, newAddress())).status).toBe(200)
    })

    test('networks of an IPv6 customer count as one address', async () => {
      const [user, net] = [await newUserFrom(gateway), newNet()]
      const host = (i: number) => `${net}:${i.toString(16)}::1`
      expect(statuses(await inTurn(6, (i) => login(user.email, 'wrong', host(i))))).toEqual([401, 401, 401, 401, 401, 429])
      expect((await login(user.email, user.password, host(256))).status).toBe(200)
      expect((await login(user.email, user.password, `${newNet()}::1`)).status).toBe(200)
    })

    test('an unknown account is limited alike', async () => {
      const [address, name] = [newAddress(), `ghost${newAddress().replaceAll('.', '-')}`]
      const names = [name, name.toUpperCase(), ` ${name}`, name, name]
      expect(statuses(await inTurn(5, (i) => login(names[i]!, 'wrong', address)))).toEqual(times(5, () => 401))
      const sixth = await login(name, 'wrong', address)
      expect(sixth.body).toMatchObject({ status: 429, code: 'rate_limited' })
      expect(sixth.headers.get('ratelimit-policy')).toBe('"login";q=5;w=60')
      expect((await login(`${name}2`, 'wrong', address)).status).toBe(401)
      const failures = await Promise.all(times(40, () => login(`${name}2`, 'wrong', newAddress())))
      expect([count(failures, 401), count(failures, 429)]).toEqual([29, 11])
    })

    test('a login that no database can hold is an unknown account, too', async () => {
      expect((await login('nobody\u0000', 'wrong', newAddress())).body).toMatchObject({ status: 401, code: 'invalid_credentials' })
    })

    test('thirty failures an hour for an account over all addresses, also in parallel, then not even the right password', async () => {
      const [user, other] = [await newUserFrom(gateway), await newUserFrom(gateway)]
      const answers = await Promise.all(times(40, (i) => login(i % 2 ? user.email : user.username, 'wrong', newAddress())))
      expect([count(answers, 401), count(answers, 429)]).toEqual([30, 10])
      const right = await login(user.username, user.password, newAddress())
      expect(right.status).toBe(429)
      expect(right.headers.get('ratelimit-policy')).toBe('"account";q=30;w=3600')
      expect((await login(other.username, other.password, newAddress())).status).toBe(200)
    })

    test('a success is no failure: forty in an hour are fine', async () => {
      const user = await newUserFrom(gateway)
      const answers = await inTurn(40, () => login(user.username, user.password, newAddress()))
      expect(count(answers, 200)).toBe(40)
    })

    test("a route's policy that has a credential limit's name counts apart from it", async () => {
      const user = await newUserFrom(gateway)
      const answers = await Promise.all(times(40, () => get('/named-account', newAddress(), user.token)))
      expect(count(answers, 200)).toBe(40)
      expect((await login(user.username, user.password, newAddress())).status).toBe(200)
    })

    test('attempts at the current password of a signed-in user are limited, and the user can still log in', async () => {
      const [user, address] = [await newUserFrom(gateway), newAddress()]
      const change = () =>
        call(gateway, '/auth/password/change', {
          body: { current_password: 'wrong', new_password: 'another horse battery' },
          token: user.token,
          headers: from(address),
        })
      expect(statuses(await inTurn(6, change))).toEqual([401, 401, 401, 401, 401, 429])
      expect((await login(user.username, user.password, address)).status).toBe(200)
    })
  })
})

/** Checks that go on once a budget is used up. */
const PACE = 50

describe.each(['memory', 'redis'] as const)('budgets of failures counted in %s', (tier) => {
  let gateway: Gateway
  let redis: TestRedis | null = null
  beforeAll(async () => {
    redis = tier === 'redis' ? await startRedis() : null
    const options = { config, routes: routesTo(upstream), redisUrl: redis?.url ?? 'memory', clock: stillClock() }
    gateway = await startGateway(options)
    await until(() => gateway.app.platform.redis?.isUp() ?? true, 'Redis')
  })
  afterAll(async () => {
    await gateway.close()
    await redis?.stop()
  })
  const test = (promise: string, scenario: () => Promise<void>) => it(promise, () => undisturbed(gateway, scenario))
  const get = (path: string, address: string, token?: string) => call(gateway, path, { headers: from(address), token })
  const login = (name: string, password: string) =>
    call(gateway, '/auth/login', { body: { login: name, password }, headers: from(newAddress()) })
  const refresh = (token: string, address: string) =>
    call(gateway, '/auth/refresh', { body: { refresh_token: token }, headers: from(address) })
  const nextSecond = () => gateway.clock.advance(1000)

  describe('of refresh', () => {
    const unknown = (i: number) => `rt_${String(i).padStart(43, 'x')}`

    test('only failures count: ten a minute for an address, then fifty a second', async () => {
      const [user, address] = [await newUserFrom(gateway), newAddress()]
      let token = user.refreshToken
      for (let i = 0; i < 12; i++) {
        const { status, body } = await refresh(token, address)
        expect(status).toBe(200)
        token = body.refresh_token
      }
      expect(statuses(await inTurn(10 + PACE, (i) => refresh(unknown(i), address)))).toEqual(times(10 + PACE, () => 401))
      const refused = await refresh(unknown(99), address)
      expect(refused.body).toMatchObject({ status: 429, code: 'rate_limited' })
      expect(refused.headers.get('ratelimit-policy')).toBe('"refresh";q=10;w=60')
      expect(refused.headers.get('retry-after')).toBe('1')
      nextSecond()
      expect((await refresh(token, address)).status).toBe(200)
    })

    test('a valid token is served beside invalid tokens', async () => {
      const [user, address] = [await newUserFrom(gateway), newAddress()]
      await inTurn(12, (i) => refresh(unknown(i), address))
      expect((await refresh(user.refreshToken, address)).status).toBe(200)
    })

    test('a token of an ended session counts as invalid', async () => {
      const [user, address] = [await newUserFrom(gateway), newAddress()]
      await call(gateway, '/auth/logout', { method: 'POST', token: user.token, headers: from(newAddress()) })
      const answers = await inTurn(10 + PACE + 1, () => refresh(user.refreshToken, address))
      expect([count(answers, 401), answers.at(-1)!.status]).toEqual([10 + PACE, 429])
    })

    test('exactly ten and fifty of 150 parallel attempts are checked', async () => {
      const address = newAddress()
      const answers = await Promise.all(times(150, (i) => refresh(unknown(i), address)))
      expect([count(answers, 401), count(answers, 429)]).toEqual([10 + PACE, 90])
    })
  })

  describe('of tokens that are not valid', () => {
    const kinds: [string, (i: number, token: string) => string][] = [
      ['with a key that nobody has', forged],
      ['with our key and a random signature', (_, token) => withRandomSignature(token)],
    ]
    for (const [kind, invalid] of kinds)
      test(`an address that sends tokens ${kind} is slowed down, and its other clients are served`, async () => {
        const [user, fresh, address] = [await newUserFrom(gateway), await newUserFrom(gateway), newAddress()]
        const bad = (i: number) => get('/free', address, invalid(i, user.token))
        expect((await get('/free', newAddress(), user.token)).status).toBe(200)
        expect(statuses(await inTurn(8, bad))).toEqual(times(8, () => 401))
        // its signature was never checked before
        expect((await get('/free', address, fresh.token)).status).toBe(200)
        const answers = await Promise.all(times(100, bad))
        expect([count(answers, 401), count(answers, 429)]).toEqual([5 + PACE - 8, 100 - (5 + PACE - 8)])
        const refused = answers.find(({ status }) => status === 429)!
        expect(refused.body).toMatchObject({ status: 429, code: 'rate_limited' })
        expect(refused.headers.get('ratelimit-policy')).toBe('"token";q=5;w=3600')
        expect(refused.headers.get('retry-after')).toBe('1')
        // verified before
        expect((await get('/free', address, user.token)).status).toBe(200)
        expect((await get('/free', newAddress(), invalid(0, user.token))).status).toBe(401)
        nextSecond()
        expect((await get('/free', address, invalid(0, user.token))).status).toBe(401)
      })

    test('an address that sends what is no token at all is turned away, and its other clients are served', async () => {
      const [user, address] = [await newUserFrom(gateway), newAddress()]
      const answers = await inTurn(200, () => get('/free', address, 'x'))
      expect([count(answers, 401), count(answers, 429)]).toEqual([5, 195])
      expect(answers[5]!.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
      expect((await get('/free', address, user.token)).status).toBe(200)
    })

    test('a hundred new tokens of one address at once are all served', async () => {
      const [{ username, password }, address] = [await newUserFrom(gateway), newAddress()]
      const logins = await inTurn(100, () => login(username, password))
      await inTurn(8, () => get('/free', address, 'x'))
      const answers = await Promise.all(logins.map(({ body }) => get('/free', address, body.access_token)))
      expect(count(answers, 200)).toBe(100)
    })

    test('our own endpoints have the same budget', async () => {
      const address = newAddress()
      await inTurn(5, () => get('/auth/me', address, 'x'))
      expect((await get('/free', address, 'x')).status).toBe(429)
      expect((await get('/auth/me', address, 'x')).status).toBe(429)
    })
  })
})

describe('two gateways on one Redis', () => {
  let redis: TestRedis
  let client: Redis
  let gateway: Gateway
  let second: Gateway
  beforeAll(async () => {
    redis = await startRedis()
    client = new Redis(redis.url)
    gateway = await startGateway({ config, routes: routesTo(upstream), redisUrl: redis.url })
    const { databaseUrl, secretKey } = gateway
    second = await startGateway({ config, routes: routesTo(upstream), redisUrl: redis.url, databaseUrl, secretKey })
    await until(() => [gateway, second].every((g) => g.app.platform.redis!.isUp()), 'Redis')
  })
  afterAll(async () => {
    client.disconnect()
    await second.close()
    await gateway.close()
    await redis.stop()
  })
  const test = (promise: string, scenario: () => Promise<void>) =>
    it(promise, () => undisturbed(second, () => undisturbed(gateway, scenario)))
  const get = (path: string, address: string, token?: string) => call(gateway, path, { headers: from(address), token })
  const guess = (at: Gateway, name: string, address: string) =>
    call(at, '/auth/login', { body: { login: name, password: 'wrong' }, headers: from(address) })

  test('share the limit of a route', async () => {
    const address = newAddress()
    const answers = await Promise.all(times(100, (i) => call(i % 2 ? gateway : second, '/many', { headers: from(address) })))
    expect([count(answers, 200), count(answers, 429)]).toEqual([40, 60])
  })

  test('share the limit of a login', async () => {
    const [user, address] = [await newUserFrom(gateway), newAddress()]
    const answers = await inTurn(6, (i) => guess(i % 2 ? gateway : second, user.email, address))
    expect(statuses(answers)).toEqual([401, 401, 401, 401, 401, 429])
  })

  describe('answer for a key that is out without asking Redis', () => {
    const commands = async () =>
      [...(await client.info('commandstats')).matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)]
        .filter(([, name]) => name !== 'info' && name !== 'ping')
        .reduce((sum, [, , calls]) => sum + Number(calls), 0)
    /** Commands that Redis was sent while all of these were refused; each gateway also sends a PING each second. */
    const asked = async (refused: () => Promise<Answer>) => {
      const before = await commands()
      expect(statuses(await inTurn(10, refused))).toEqual(times(10, () => 429))
      return (await commands()) - before
    }

    test('of a route', async () => {
      const address = newAddress()
      await inTurn(6, () => get('/client', address))
      expect(await asked(() => get('/client', address))).toBe(0)
    })

    test('of a login', async () => {
      const [user, address] = [await newUserFrom(gateway), newAddress()]
      await inTurn(6, () => guess(gateway, user.username, address))
      expect(await asked(() => guess(gateway, user.username, address))).toBe(0)
    })

    test('of tokens that are not valid', async () => {
      const address = newAddress()
      await inTurn(6, () => get('/free', address, 'x'))
      expect(await asked(() => get('/free', address, 'x'))).toBe(0)
    })
  })
})

describe('an exempt network', () => {
  let gateway: Gateway
  beforeAll(async () => {
    const limits = { ...config.limits, exempt: ['127.0.0.0/8'] }
    gateway = await startGateway({ config: { server: { trustedProxies: [] }, limits }, routes: routesTo(upstream) })
  })
  afterAll(() => gateway.close())

  it('is not limited by address, and has no headers that say so', async () => {
    const answers = await inTurn(8, () => call(gateway, '/client'))
    expect(statuses(answers)).toEqual(times(8, () => 200))
    expect(answers[0]!.headers.get('ratelimit')).toBeNull()
  })

  it("exempts nobody who shows a forwarding header, and a stranger's X-Forwarded-For does not change who is counted", async () => {
    const headers: Record<string, string>[] = [
      from('203.0.113.1'),
      from('203.0.113.2'),
      { forwarded: 'for=203.0.113.3' },
      { 'x-real-ip': '203.0.113.4' },
      { via: '1.1 x' },
    ]
    const answers = await inTurn(6, (i) => call(gateway, '/client', { headers: headers[i % headers.length]! }))
    expect(statuses(answers)).toEqual([200, 200, 200, 200, 200, 429])
    expect((await call(gateway, '/client')).status).toBe(200)
  })

  it("leaves an account's own limit and a user's own limit in force", async () => {
    const person = { username: 'exempted', email: 'exempted@example.com', password: 'correct horse battery' }
    const { body } = await call(gateway, '/auth/register', { body: person })
    const guesses = await Promise.all(times(40, () => call(gateway, '/auth/login', { body: { login: 'exempted', password: 'wrong' } })))
    expect([count(guesses, 401), count(guesses, 429)]).toEqual([30, 10])
    const calls = await inTurn(6, () => call(gateway, '/user', { token: body.access_token }))
    expect(statuses(calls)).toEqual([200, 200, 200, 200, 200, 429])
  })
})
