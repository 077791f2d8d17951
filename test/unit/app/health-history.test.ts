import { expect, it } from 'vitest'
import { createHealthHistory, quantile } from '../../../src/app/console/health-history.ts'
import { type HealthReading, readHealth } from '../../../src/app/console/health-reading.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'

/** A process: its metrics can be counted up, and it answers while it runs. */
function processes() {
  const running = new Map<number, ReturnType<typeof createMetrics>>()
  return {
    start(id: number) {
      const metrics = createMetrics(`test ${id}`)
      for (const up of [metrics.dbUp, metrics.redisUp]) up.collectFrom(() => 1)
      running.set(id, metrics)
      return metrics
    },
    end: (id: number) => void running.delete(id),
    /** The process answers again: its counters went on. */
    resume: (id: number, metrics: ReturnType<typeof createMetrics>) => void running.set(id, metrics),
    async read(): Promise<Map<number, HealthReading>> {
      return new Map(await Promise.all([...running].map(async ([id, metrics]) => [id, await readHealth(metrics)] as const)))
    },
  }
}

function movableClock() {
  let at = 1_800_000_000_000
  return {
    now: () => at,
    steady: () => at - 1_700_000_000_000,
    advance(seconds: number) {
      at += seconds * 1000
    },
  }
}

const requests = (metrics: ReturnType<typeof createMetrics>, status: string, count: number, seconds = 0.02) => {
  metrics.requests.bind({ method: 'GET', route: 'shop', status }).count += count
  const series = metrics.requestSeconds.bind({ route: 'shop', method: 'GET' })
  for (let i = 0; i < count; i++) series.observe(seconds)
}

function begin() {
  const clock = movableClock()
  const team = processes()
  const history = createHealthHistory({ clock, read: team.read, kept: 5 })
  const tick = async (seconds = 15) => {
    clock.advance(seconds)
    await history.sample()
    return history.report().samples.at(-1)!
  }
  return { clock, team, history, tick }
}

it('what was counted before the first sample makes no rate', async () => {
  const { team, history, tick } = begin()
  const one = team.start(1)
  requests(one, '200', 10_000)
  await history.sample()
  expect(history.report().samples).toEqual([])
  requests(one, '200', 30)
  requests(one, '101', 15)
  requests(one, '503', 15)
  expect((await tick()).requests).toEqual({ '2xx': 3, '3xx': 0, '4xx': 0, '5xx': 1 })
  expect((await tick()).requests).toEqual({ '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0 })
})

it('adds up the processes, and a replaced worker begins at zero', async () => {
  const { team, history, tick } = begin()
  const [one, two] = [team.start(1), team.start(2)]
  requests(one, '200', 500)
  requests(two, '200', 500)
  await history.sample()
  requests(one, '200', 15)
  requests(two, '404', 30)
  expect(await tick()).toMatchObject({ workers: 2, requests: { '2xx': 1, '4xx': 2, '5xx': 0 } })
  team.end(1)
  const three = team.start(3)
  requests(three, '200', 45)
  expect(await tick()).toMatchObject({ workers: 2, requests: { '2xx': 3, '4xx': 0 } })
})

it('a process that misses one sample is judged over its own time', async () => {
  const { team, history, tick } = begin()
  const one = team.start(1)
  await history.sample()
  team.end(1)
  expect(await tick()).toMatchObject({ workers: 0, state: null, latency: null, requests: { '2xx': 0 } })
  requests(one, '200', 60)
  team.resume(1, one)
  expect(await tick()).toMatchObject({ workers: 1, requests: { '2xx': 2 } })
})

it('keeps the newest samples and no more', async () => {
  const { team, history, tick, clock } = begin()
  team.start(1)
  await history.sample()
  for (let i = 0; i < 12; i++) await tick()
  const { samples } = history.report()
  expect(samples).toHaveLength(5)
  expect(samples.at(-1)!.at).toBe(clock.now())
  expect(samples[0]!.at).toBe(clock.now() - 4 * 15_000)
})

it('counts errors, logins and limits by what they are, and leaves out zeros', async () => {
  const { team, history, tick } = begin()
  const one = team.start(1)
  await history.sample()
  one.errors.inc({ code: 'rate_limited', route: 'a' }, 2)
  one.errors.inc({ code: 'rate_limited', route: 'b' }, 3)
  one.errors.inc({ code: 'upstream_timeout', route: 'a' })
  one.logins.inc({ outcome: 'success' }, 4)
  one.limitDecisions.bind({ policy: 'perIp', decision: 'allowed', tier: 'redis' }).count += 7
  one.limitDecisions.bind({ policy: 'perUser', decision: 'limited', tier: 'local' }).count += 5
  expect(await tick()).toMatchObject({
    errors: { rate_limited: 5, upstream_timeout: 1 },
    logins: { success: 4 },
    limits: { allowed: 7, limited: 5 },
  })
  expect((await tick()).errors).toEqual({})
})

it('of the states of several processes it shows the worst', async () => {
  const { team, history, tick } = begin()
  const [one, two] = [team.start(1), team.start(2)]
  await history.sample()
  two.redisUp.collectFrom(() => 0)
  two.redisBreakerOpen.collectFrom(() => 1)
  one.revocationLag.collectFrom(() => 0.5)
  two.revocationLag.collectFrom(() => 4)
  one.dbPool.set({ state: 'busy' }, 2)
  two.dbPool.set({ state: 'busy' }, 3)
  one.upstreamBreakerState.collectFrom(() => [['shop:0', 0]])
  two.upstreamBreakerState.collectFrom(() => [['shop:0', 2]])
  one.upstreamHealthy.collectFrom(() => [['shop:0', 1]])
  two.upstreamHealthy.collectFrom(() => [['shop:0', 0]])
  expect((await tick()).state).toMatchObject({
    isDatabaseUp: true,
    isRedisUp: false,
    isBreakerOpen: true,
    revocationLagSeconds: 4,
    pool: { busy: 5, idle: 0, waiting: 0 },
  })
  expect(history.report().upstreams).toEqual({ 'shop:0': { breaker: 'open', isHealthy: false } })
})

it('latency is estimated from the histogram of the interval alone', async () => {
  const { team, history, tick } = begin()
  const one = team.start(1)
  requests(one, '200', 1000, 8)
  await history.sample()
  expect((await tick()).latency).toBeNull()
  requests(one, '200', 99, 0.02)
  requests(one, '200', 1, 4)
  const { p50Seconds, p99Seconds } = (await tick()).latency!
  expect(p50Seconds).toBeGreaterThan(0.01)
  expect(p50Seconds).toBeLessThan(0.025)
  expect(p99Seconds).toBeLessThanOrEqual(0.025)
  requests(one, '200', 10, 60)
  expect((await tick()).latency).toEqual({ p50Seconds: 10, p99Seconds: 10 })
})

it.each([
  [0.5, [1, 2], [10, 10], 10, 0.5],
  [0.99, [1, 2], [50, 100], 100, 1.98],
  [0.5, [1, 2], [0, 100], 100, 1.5],
  [0.99, [1, 2], [0, 0], 10, 2],
])('quantile %d of bounds %j with counts %j of %d is %d', (q, bounds, counts, total, expected) => {
  expect(quantile(q, bounds, counts, total)).toBeCloseTo(expected, 5)
})
