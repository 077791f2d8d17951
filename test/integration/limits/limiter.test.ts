import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { openDatabase } from '../../../src/platform/db/database.ts'
import { createCounterTable } from '../../../src/platform/limits/counters.repo.ts'
import { createLimiter, type Decision, type Limit, type Limiter, limitHeaders } from '../../../src/platform/limits/limiter.ts'
import { openRedis, type RedisConnections } from '../../../src/platform/redis/redis.ts'
import { NO_GUARD, type RedisGuard } from '../../../src/platform/redis/redis-guard.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'
import { createDatabase } from '../../support/postgres.ts'
import { freePort, until } from '../../support/processes.ts'
import { times } from '../../support/times.ts'

const logger = createLogger('silent')
const LOCAL = { kind: 'local' } as const
const allowed = (decisions: Decision[]) => decisions.filter((d) => d.isAllowed).length

/** The name is new each time: tests share one Redis. */
const limitOf = (limit: number, windowSeconds = 3600): Limit => ({ name: `p${randomUUID()}`, scope: 'route', limit, windowSeconds })

/** 100 at once under a fresh limit; once more when a stalled machine let Redis miss its 50 ms and somebody else decided. */
const burst = (n: number, consume: (limit: Limit, i: number) => Promise<Decision>, tier: string) =>
  until(async () => {
    const limit = limitOf(n)
    const decisions = await Promise.all(times(100, (i) => consume(limit, i)))
    return decisions.every((d) => d.tier === tier && d.policy === limit.name) && decisions
  }, `100 decisions by ${tier}`)

let database: Awaited<ReturnType<typeof openDatabase>>
beforeAll(async () => {
  database = await openDatabase({ url: await createDatabase(inject('postgresUrl')), dataDir: '', poolSize: 5 }, logger)
})
afterAll(() => database.close())

const open = (url: string) => openRedis(url, { logger, metrics: createMetrics('test') })
const limiterOn = (redis: RedisConnections | null, shares = 1, guard = redis?.guard ?? NO_GUARD) =>
  createLimiter({ redis, guard, shares, counters: createCounterTable(database.db), metrics: createMetrics('test') })

describe.each(['memory', 'redis'] as const)('limits on %s', (tier) => {
  let redis: RedisConnections | null = null
  let limiter: Limiter
  beforeAll(async () => {
    redis = tier === 'redis' ? open(inject('redisUrl')) : null
    await until(() => redis?.isUp() ?? true, 'Redis')
    limiter = limiterOn(redis)
  })
  afterAll(() => redis?.close())

  it('admit exactly as many of 100 parallel requests as the limit says', async () => {
    for (const n of [1, 7, 60]) {
      const decisions = await burst(n, (limit) => limiter.consume(limit, 'k', LOCAL), tier)
      expect(allowed(decisions)).toBe(n)
      expect(decisions.every((d) => d.limit === n)).toBe(true)
      const remaining = decisions.filter((d) => d.isAllowed).map((d) => d.remaining)
      expect(remaining.sort((a, b) => b - a)).toEqual(times(n, (i) => n - 1 - i))
    }
  })

  it('count each key and each policy for itself', async () => {
    const [one, other] = [limitOf(1), limitOf(1)]
    expect(
      allowed(await Promise.all([limiter.consume(one, 'a', LOCAL), limiter.consume(one, 'b', LOCAL), limiter.consume(other, 'a', LOCAL)])),
    ).toBe(3)
    expect(
      allowed(await Promise.all([limiter.consume(one, 'a', LOCAL), limiter.consume(one, 'b', LOCAL), limiter.consume(other, 'a', LOCAL)])),
    ).toBe(0)
  })

  it('are looked at without being counted', async () => {
    const limit = limitOf(1)
    for (let i = 0; i < 3; i++) expect(await limiter.peek(limit, 'k', LOCAL)).toMatchObject({ isAllowed: true, remaining: 1 })
    await limiter.consume(limit, 'k', LOCAL)
    expect(await limiter.peek(limit, 'k', LOCAL)).toMatchObject({ isAllowed: false, remaining: 0 })
  })

  it('take a request that is given back as never made', async () => {
    const limit = limitOf(2)
    for (let i = 0; i < 10; i++) {
      const decision = await limiter.consume(limit, 'k', LOCAL)
      expect(decision).toMatchObject({ isAllowed: true, remaining: 1 })
      await limiter.refund(limit, 'k', decision)
    }
    await limiter.consume(limit, 'k', LOCAL)
    expect(await limiter.consume(limit, 'k', LOCAL)).toMatchObject({ isAllowed: true, remaining: 0 })
    expect(await limiter.consume(limit, 'k', LOCAL)).toMatchObject({ isAllowed: false })
  })

  it('are not widened by what is given back of a window that has ended', async () => {
    const limit = limitOf(2, 1)
    const decisions = await Promise.all(times(5, () => limiter.consume(limit, 'k', LOCAL)))
    await new Promise((resolve) => setTimeout(resolve, 1100))
    await Promise.all(decisions.map((decision) => limiter.refund(limit, 'k', decision)))
    expect(allowed(await Promise.all(times(9, () => limiter.consume(limit, 'k', LOCAL))))).toBe(2)
  })

  it('begin anew when the window has ended', async () => {
    const limit = limitOf(1, 1)
    await limiter.consume(limit, 'k', LOCAL)
    expect(await limiter.consume(limit, 'k', LOCAL)).toMatchObject({ isAllowed: false, resetSeconds: 1 })
    expect(await until(async () => (await limiter.peek(limit, 'k', LOCAL)).isAllowed, 'the next window')).toBe(true)
    expect(await limiter.consume(limit, 'k', LOCAL)).toMatchObject({ isAllowed: true })
  })
})

it('two limiters on one Redis count together', async () => {
  const pair = times(2, () => open(inject('redisUrl')))
  await until(() => pair.every((r) => r.isUp()), 'Redis')
  const limiters = pair.map((r) => limiterOn(r))
  const decisions = await burst(30, (limit, i) => limiters[i % 2]!.consume(limit, 'k', LOCAL), 'redis')
  expect(allowed(decisions)).toBe(30)
  for (const redis of pair) redis.close()
})

describe('while Redis is away', () => {
  let gone: RedisConnections
  beforeAll(async () => {
    gone = open(`redis://127.0.0.1:${await freePort()}`)
  })
  afterAll(() => gone.close())

  it.each([
    [10, 3, 3],
    [10, 1, 10],
    [60, 4, 15],
    [2, 5, 1],
  ])('a local limit of %i over %i replicas admits %i in each', async (limit, replicas, share) => {
    const limiter = limiterOn(gone, replicas)
    const shared = limitOf(limit)
    const decisions = await Promise.all(times(100, () => limiter.consume(shared, 'k', LOCAL)))
    expect(allowed(decisions)).toBe(share)
    expect(decisions[0]).toMatchObject({ tier: 'local', limit: share })
  })

  it('credential limits are exact over any number of gateways, counted in Postgres', async () => {
    const limiters = times(2, () => limiterOn(gone))
    const limit = limitOf(5)
    const decisions = await Promise.all(times(40, (i) => limiters[i % 2]!.consume(limit, 'k', { kind: 'database' })))
    expect(allowed(decisions)).toBe(5)
    expect(decisions[0]!.tier).toBe('database')
    expect(await limiters[0]!.peek(limit, 'k', { kind: 'database' })).toMatchObject({ isAllowed: false })
  })

  it('a request that Postgres counted is given back there', async () => {
    const limiter = limiterOn(gone)
    const limit = limitOf(2)
    for (let i = 0; i < 5; i++) {
      const decision = await limiter.consume(limit, 'k', { kind: 'database' })
      expect(decision).toMatchObject({ isAllowed: true, tier: 'database' })
      await limiter.refund(limit, 'k', decision)
    }
  })

  it('and not into the next window, which would hold more than its limit', async () => {
    const limiter = limiterOn(gone)
    const limit = limitOf(2, 1)
    const count = () => limiter.consume(limit, 'k', { kind: 'database' })
    const decisions = await Promise.all(times(5, count))
    await new Promise((resolve) => setTimeout(resolve, 1100))
    await Promise.all(decisions.map((decision) => limiter.refund(limit, 'k', decision)))
    expect(allowed(await Promise.all(times(9, count)))).toBe(2)
    // nor by a clock that is a moment behind the database's
    const counters = createCounterTable(database.db)
    for (const key of ['new', 'k']) expect(await counters.add(`${limit.name}:${key}`, -1, 3600)).toMatchObject({ count: 0 })
  })

  it('a key that is remembered to be out is refused without a call of Redis', async () => {
    const redis = open(inject('redisUrl'))
    await until(() => redis.isUp(), 'Redis')
    let isAllowed = true
    let calls = 0
    const guard: RedisGuard = {
      mayCall: () => isAllowed,
      run(call) {
        calls++
        return redis.guard.run(call)
      },
    }
    const limiter = limiterOn(redis, 1, guard)
    const limit = limitOf(1)
    await until(
      async () => (await limiter.consume(limit, 'k', LOCAL)).tier === 'redis' && !(await limiter.peek(limit, 'k', LOCAL)).isAllowed,
      'it to be out',
    )
    isAllowed = false
    calls = 0
    expect(await limiter.peek(limit, 'k', LOCAL)).toMatchObject({ isAllowed: false, tier: 'redis' })
    expect(await limiter.consume(limit, 'k', LOCAL)).toMatchObject({ isAllowed: false, tier: 'redis' })
    expect(calls).toBe(0)
    redis.close()
  })
})

describe('the headers of a limited answer', () => {
  const decision = (over: Partial<Decision>): Decision => ({
    isAllowed: true,
    policy: 'perUser',
    limit: 600,
    windowSeconds: 60,
    remaining: 599,
    resetSeconds: 12,
    tier: 'redis',
    ...over,
  })

  it('are RateLimit-Policy and RateLimit, byte for byte', () => {
    expect(limitHeaders([decision({})])).toEqual({ 'ratelimit-policy': '"perUser";q=600;w=60', ratelimit: '"perUser";r=599;t=12' })
  })

  it('list every policy, and Retry-After is the longest wait of the refusing policies', () => {
    const decisions = [
      decision({ resetSeconds: 50 }),
      decision({ policy: 'perIp', limit: 5, remaining: 0, isAllowed: false, resetSeconds: 7 }),
      decision({ policy: 'perDay', limit: 9, windowSeconds: 86_400, remaining: 0, isAllowed: false, resetSeconds: 30 }),
    ]
    expect(limitHeaders(decisions)).toEqual({
      'ratelimit-policy': '"perUser";q=600;w=60, "perIp";q=5;w=60, "perDay";q=9;w=86400',
      ratelimit: '"perUser";r=599;t=50, "perIp";r=0;t=7, "perDay";r=0;t=30',
      'retry-after': '30',
    })
  })

  it('are none where nothing limits', () => {
    expect(limitHeaders([])).toEqual({})
  })
})
