/** The guard with a Redis that the test plays. */
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type RedisWatch, watchRedis } from '../../../src/platform/redis/redis-guard.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { createMetrics, type Metrics } from '../../../src/platform/telemetry/metrics.ts'
import { until } from '../../support/processes.ts'

const answer = (message: string) => Object.assign(new Error(message), { name: 'ReplyError' })
const OOM = answer("OOM command not allowed when used memory > 'maxmemory'.")

let lines: { level: string; reason?: string; kind?: string; cause?: string; msg: string }[]
let metrics: Metrics
let guard: RedisWatch
let pings: number
let writes: number
let ping: () => Promise<unknown>
let write: () => Promise<unknown>

beforeEach(() => {
  lines = []
  metrics = createMetrics('test')
  pings = 0
  writes = 0
  ping = async () => 'PONG'
  write = async () => 'OK'
  guard = watchRedis({
    logger: createLogger('info', { write: (line) => void lines.push(JSON.parse(line)) }),
    metrics,
    secrets: ['hunter2'],
    repeated: ['noscript'],
    isConnected: () => true,
    ping() {
      pings++
      return ping()
    },
    write() {
      writes++
      return write()
    },
  })
  guard.connected()
})
afterEach(() => guard.stop())

const counted = async (kind: string) => (await metrics.redisErrors.get()).values.find(({ labels }) => labels.kind === kind)?.value
const kinds = () => lines.map(({ reason, kind }) => (reason ? `${reason} ${kind}` : 'available'))
const closed = () => until(() => guard.mayCall(), 'a PING that succeeds')
const fail = (error: unknown) => guard.run(() => Promise.reject(error)).catch((thrown) => thrown)

it('lets nobody call before the first PING has succeeded', async () => {
  expect(guard.mayCall()).toBe(false)
  await closed()
  expect(kinds()).toEqual(['available'])
})

it('after a failure lets nobody call until a PING has succeeded: no call is the probe', async () => {
  await closed()
  ping = () => Promise.reject(new Error('connect ECONNREFUSED'))
  expect(await fail(new Error('read ECONNRESET'))).toMatchObject({ message: 'read ECONNRESET' })
  expect(guard.mayCall()).toBe(false)
  const before = pings
  await until(() => pings > before + 1, 'two probes')
  expect([guard.mayCall(), guard.mayCall()]).toEqual([false, false])
  ping = async () => 'PONG'
  await closed()
})

it('a PING without an answer is a failure of the kind timeout', async () => {
  await closed()
  ping = () => new Promise(() => {})
  await until(() => !guard.mayCall(), 'the silence to be noticed')
  expect(await counted('timeout')).toBeGreaterThan(0)
  expect(kinds()).toEqual(['available', 'redis_away timeout'])
})

it('a call has a deadline', async () => {
  await closed()
  await expect(guard.run(() => new Promise(() => {}))).rejects.toThrow('timed out')
  expect(guard.mayCall()).toBe(false)
})

it('after an error that Redis answered, a PING is not enough: a write must succeed', async () => {
  await closed()
  write = async () => {
    guard.answered(OOM)
    throw OOM
  }
  guard.answered(OOM)
  await fail(OOM)
  await until(() => writes > 1, 'two writes')
  expect(guard.mayCall()).toBe(false)
  write = async () => 'OK'
  await closed()
  // each answer once, however often it was passed on
  expect(await counted('oom')).toBe(writes)
})

it('the log has one line for each change of the kind, and one when Redis is back', async () => {
  await closed()
  ping = () => Promise.reject(new Error('connect ECONNREFUSED hunter2'))
  for (let i = 0; i < 5; i++) await fail(new Error('connect ECONNREFUSED hunter2'))
  guard.lost(answer('WRONGPASS invalid username-password pair'))
  guard.lost(answer('WRONGPASS invalid username-password pair'))
  expect(kinds()).toEqual(['available', 'redis_away reset', 'redis_away auth'])
  expect([await counted('reset'), await counted('auth')]).toEqual([5, 2])
  expect(JSON.stringify(lines)).not.toContain('hunter2')
  ping = async () => 'PONG'
  await until(() => lines.at(-1)?.msg === 'redis is available', 'the line')
  expect(guard.mayCall()).toBe(true)
})

it('a call that failed for want of a connection counts as the failure that took the connection', async () => {
  await closed()
  guard.lost(answer('LOADING Redis is loading the dataset in memory'))
  await fail(new Error("Stream isn't writeable and enableOfflineQueue options is false"))
  expect([await counted('loading'), await counted('reset')]).toEqual([2, 0])
})

it('a script that Redis has forgotten is counted and logged, and closes nothing', async () => {
  await closed()
  for (let i = 0; i < 3; i++) guard.answered(answer('NOSCRIPT No matching script.'))
  expect(guard.mayCall()).toBe(true)
  expect(await counted('noscript')).toBe(3)
  expect(kinds()).toEqual(['available', 'redis_error noscript'])
})

it('every kind is a series from the start', async () => {
  expect((await metrics.redisErrors.get()).values.map(({ labels }) => labels.kind).sort()).toEqual(
    ['auth', 'loading', 'moved', 'noperm', 'noscript', 'oom', 'other', 'readonly', 'reset', 'timeout'].sort(),
  )
})
