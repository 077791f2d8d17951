/** Leases against a real Redis. The test moves the clock, and the scripts receive its time in place of Redis's own. */
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import { afterAll, describe, expect, inject, it } from 'vitest'
import { type Admit, createAdmission } from '../../../src/platform/limits/admission.ts'
import { type AskForLease, createLeaseScript } from '../../../src/platform/limits/lease-script.ts'
import type { Decision, Limit } from '../../../src/platform/limits/limiter.ts'
import { createWindow, freesAt, take } from '../../../src/platform/limits/windows.ts'
import { NO_GUARD, type RedisGuard } from '../../../src/platform/redis/redis-guard.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'

/** Without the gateway's deadline: a machine that stands still for 50 ms is not the subject. */
const redis = new Redis(inject('redisUrl'))
afterAll(() => redis.disconnect())

const START = 1_800_000_000_000
const limitOf = (limit: number, windowSeconds: number): Limit => ({ name: `p${randomUUID()}`, scope: 'route', limit, windowSeconds })

interface World {
  now: number
  calls: number
  /** One process: its own leases, and a clock that began at another moment. */
  worker(limit: Limit): Admit
}

function createWorld(): World {
  let started = 0
  const script = createLeaseScript(redis, () => Math.floor(world.now))
  const ask: AskForLease = async (request) => {
    world.calls++
    return script(request)
  }
  const world: World = {
    now: START,
    calls: 0,
    worker(limit) {
      const origin = START - 77_777 * started++
      const now = () => world.now - origin
      const deps = { redis: redis, guard: NO_GUARD, shares: 1, metrics: createMetrics('test'), now, ask }
      return createAdmission(deps).bind(limit, 'closed')
    },
  }
  return world
}

const burst = (admit: Admit, n: number): Promise<Decision[]> => Promise.all(Array.from({ length: n }, () => admit('k')))

/** The most that fell into one window. */
function densest(admittedAt: readonly number[], windowMs: number): number {
  let most = 0
  let first = 0
  for (const [i, time] of admittedAt.entries()) {
    while (admittedAt[first]! <= time - windowMs) first++
    most = Math.max(most, i - first + 1)
  }
  return most
}

describe('a limit that eight processes share', () => {
  const steps = fc.array(
    fc.record({
      /** Requests of each process, all at once. */
      bursts: fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 8, maxLength: 8 }),
      passesMs: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 12_000 })),
    }),
    { minLength: 1, maxLength: 25 },
  )

  it('is never exceeded in any window, whatever they ask and however time passes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(1, 3, 10, 50, 200, 1000), fc.constantFrom(1, 2, 10), steps, async (n, windowSeconds, all) => {
        const world = createWorld()
        const limit = limitOf(n, windowSeconds)
        const workers = Array.from({ length: 8 }, () => world.worker(limit))
        const admittedAt: number[] = []
        for (const { bursts, passesMs } of all) {
          const decisions = await Promise.all(workers.map((admit, i) => burst(admit, bursts[i]!)))
          for (const { isAllowed, tier } of decisions.flat()) {
            expect(tier).toBe('redis')
            if (isAllowed) admittedAt.push(world.now)
          }
          world.now += passesMs
        }
        expect(densest(admittedAt, windowSeconds * 1000)).toBeLessThanOrEqual(n)
      }),
      { numRuns: Number(process.env.LEASE_RUNS ?? 60) },
    )
  })

  it('admits exactly as many as it says of a burst on all of them', async () => {
    for (const n of [1, 2, 7, 60]) {
      const world = createWorld()
      const limit = limitOf(n, 60)
      const decisions = await Promise.all(Array.from({ length: 8 }, () => burst(world.worker(limit), 25)))
      expect(decisions.flat().filter((d) => d.isAllowed)).toHaveLength(n)
    }
  })
})

it('what is asked for ahead counts until its sub-window can no longer use it, also when it is the last there is', async () => {
  const world = createWorld()
  const admit = world.worker(limitOf(38, 10))
  const admittedAt: number[] = []
  for (const [at, requests] of [
    [0, 30],
    [990, 8],
    [10_001, 38],
  ] as const) {
    world.now = START + at
    for (const { isAllowed } of await burst(admit, requests)) if (isAllowed) admittedAt.push(world.now)
  }
  expect(densest(admittedAt, 10_000)).toBeLessThanOrEqual(38)
})

it('after the clock of Redis was set back, no client waits longer than a window and a tenth of it', async () => {
  const world = createWorld()
  const ask = createLeaseScript(redis, () => world.now)
  const request = { key: randomUUID(), limit: 2, windowSeconds: 10, need: 3, want: 0, returned: 0, returnedFrom: -1 }
  expect(await ask(request)).toMatchObject({ granted: 2 })
  world.now -= 3_600_000
  const { granted, freesInMs } = await ask(request)
  expect(granted).toBe(0)
  expect(freesInMs).toBeLessThanOrEqual(11_000)
  world.now += 11_000
  expect(await ask(request)).toMatchObject({ granted: 2 })
})

describe('in memory', () => {
  it('a key that has used its limit stays refused while other keys are counted', async () => {
    let now = 0
    const deps = { redis: null, guard: NO_GUARD, shares: 1, metrics: createMetrics('test'), now: () => now }
    const admit = createAdmission(deps).bind(limitOf(5, 60), 'local')
    let admitted = 0
    for (now = 0; now < 30_000; now += 500) {
      if ((await admit('attacker')).isAllowed) admitted++
      for (let i = 0; i < 3; i++) await admit(`somebody ${now} ${i}`)
    }
    expect(admitted).toBe(5)
  })
})

describe('the script and its model in memory', () => {
  it('agree on every request that is asked for singly', async () => {
    const steps = fc.array(fc.integer({ min: 0, max: 1500 }), { minLength: 1, maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 12 }), steps, async (limit, pauses) => {
        const world = createWorld()
        const ask = createLeaseScript(redis, () => world.now)
        const window = createWindow()
        const request = { key: randomUUID(), limit, windowSeconds: 1, need: 1, want: 0, returned: 0, returnedFrom: -1 }
        for (const pause of pauses) {
          world.now += pause
          const isAllowed = take(window, limit, world.now, 100)
          expect(await ask(request)).toMatchObject({
            granted: Number(isAllowed),
            left: limit - window.used,
            freesInMs: freesAt(window) - world.now,
          })
        }
      }),
      { numRuns: 40 },
    )
  })
})

describe('a small limit', () => {
  it('is exact to the request and to the millisecond', async () => {
    const world = createWorld()
    const admit = world.worker(limitOf(3, 10))
    const first = await burst(admit, 2)
    world.now += 1234
    const [third, fourth] = await burst(admit, 2)
    expect([...first, third!, fourth!].map((d) => [d.isAllowed, d.remaining])).toEqual([
      [true, 2],
      [true, 1],
      [true, 0],
      [false, 0],
    ])
    expect(fourth!.resetSeconds).toBe(9) // 8,766 ms
    world.now += 8765
    expect((await admit('k')).isAllowed).toBe(false)
    world.now += 1
    expect((await burst(admit, 3)).map((d) => d.isAllowed)).toEqual([true, true, false])
    world.now += 1233
    expect((await admit('k')).isAllowed).toBe(false)
    world.now += 1
    expect((await burst(admit, 2)).map((d) => d.isAllowed)).toEqual([true, false])
  })

  it('asks once for what is out, and then no more until some of it is free', async () => {
    const world = createWorld()
    const admit = world.worker(limitOf(1, 10))
    expect((await burst(admit, 2)).map((d) => d.isAllowed)).toEqual([true, false])
    const asked = world.calls
    expect((await burst(admit, 100)).some((d) => d.isAllowed)).toBe(false)
    expect(world.calls).toBe(asked)
  })
})

/** Evenly, on each of the workers in turn; like a server, it goes on with other things between two requests. @returns the refused */
async function drive(world: World, workers: Admit[], perSecond: number, seconds: number): Promise<number> {
  let refused = 0
  for (let i = 0; i < perSecond * seconds; i++) {
    world.now += 1000 / perSecond
    const decision = workers[i % workers.length]!('k')
    if (!(await decision).isAllowed) refused++
    await new Promise(setImmediate)
  }
  return refused
}

describe('a hot key', () => {
  it.each([
    { perSecond: 30, workers: 1, most: 6 },
    { perSecond: 60, workers: 1, most: 3 },
    { perSecond: 80, workers: 1, most: 3 },
    { perSecond: 60, workers: 4, most: 12 },
  ])('of 6,000 a minute that is asked for $perSecond times a second on $workers processes costs at most $most calls per 1,000, and is not refused', async ({
    perSecond,
    workers,
    most,
  }) => {
    const world = createWorld()
    const limit = limitOf(6000, 60)
    const admits = Array.from({ length: workers }, () => world.worker(limit))
    expect(await drive(world, admits, perSecond, 20)).toBe(0)
    const before = world.calls
    expect(await drive(world, admits, perSecond, 90)).toBe(0)
    const per1000 = ((world.calls - before) / (perSecond * 90)) * 1000
    expect(per1000).toBeLessThanOrEqual(most)
  }, 60_000)

  it('is admitted nearly as often as its limit says when it asks for more', async () => {
    const world = createWorld()
    const limit = limitOf(6000, 60)
    const admits = [world.worker(limit), world.worker(limit)]
    const refused = await drive(world, admits, 200, 60)
    expect(12_000 - refused).toBeLessThanOrEqual(6000)
    expect(12_000 - refused).toBeGreaterThan(5900)
  }, 60_000)
})

describe('a lease', () => {
  it('is not used after its sub-window, and its unused rest is returned', async () => {
    const world = createWorld()
    const limit = limitOf(100, 10)
    const [one, other] = [world.worker(limit), world.worker(limit)]
    // grows with its traffic: after this some is in hand
    for (let i = 0; i < 20; i++) await one('k')
    const held = await other('k')
    expect(held.remaining).toBeLessThan(79)
    world.now += 1000
    const asked = world.calls
    await one('k')
    expect(world.calls).toBe(asked + 1)
    // 22 were used: of all others none is lost
    expect((await burst(other, 100)).filter((d) => d.isAllowed).length + (await burst(one, 100)).filter((d) => d.isAllowed).length).toBe(78)
  })

  it('goes on while Redis is away, and then the route says what happens', async () => {
    const world = createWorld()
    const limit = limitOf(1000, 10)
    let isAway = false
    const script = createLeaseScript(redis, () => world.now)
    const ask: AskForLease = (request) => (isAway ? Promise.reject(new Error('away')) : script(request))
    let isOpen = false
    const guard: RedisGuard = {
      mayCall: () => !isOpen,
      async run(call) {
        try {
          return await call()
        } catch (error) {
          isOpen = true
          throw error
        }
      },
    }
    const now = () => world.now
    const admit = createAdmission({ redis: redis, guard, shares: 4, metrics: createMetrics('test'), now, ask }).bind(limit, 'local')
    await burst(admit, 30)
    for (let i = 0; i < 30; i++) await admit('k')
    isAway = true
    const tiers = (await burst(admit, 400)).map((d) => `${d.tier} ${d.isAllowed}`)
    expect(tiers.filter((t) => t === 'redis true').length).toBeGreaterThan(0)
    expect(tiers.filter((t) => t === 'local true')).toHaveLength(250)
    expect(tiers.filter((t) => t === 'local false').length).toBeGreaterThan(0)
    isAway = false
    world.now += 1001
    expect((await admit('k')).tier).toBe('local')
    isOpen = false
    expect(await admit('k')).toMatchObject({ tier: 'redis', isAllowed: true })
  })
})
