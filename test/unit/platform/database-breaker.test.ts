import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createBreaker } from '../../../src/platform/db/breaker.ts'
import { DatabaseUnavailable, refusal } from '../../../src/platform/db/unavailable.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'

beforeEach(() => {
  // immediates are real: the faked time would put each a millisecond after its timer
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** `examine` takes 250 ms, and rejects with `failure`. */
function setUp() {
  const state = { failure: null as Error | null, examined: 0, opened: 0, lines: [] as string[] }
  const breaker = createBreaker({
    async examine() {
      state.examined++
      await new Promise((resolve) => setTimeout(resolve, 250))
      if (state.failure) throw state.failure
    },
    onOpen: () => state.opened++,
    logger: createLogger('info', { write: (line) => void state.lines.push(JSON.parse(line).reason) }),
    name: 'test',
  })
  return { state, breaker }
}
const never = () => new Promise<never>(() => {})
const silence = Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })
const outcomeOf = (work: Promise<unknown>) => {
  const outcome = { error: null as unknown }
  work.catch((error) => {
    outcome.error = error
  })
  return outcome
}

it('fails every waiting call once an examination has failed, and each with an error of its own', async () => {
  const { state, breaker } = setUp()
  state.failure = silence
  const calls = [outcomeOf(breaker.wait(never(), null)), outcomeOf(breaker.wait(never(), 5000))]
  await vi.advanceTimersByTimeAsync(699)
  expect(state.examined).toBe(0)
  await vi.advanceTimersByTimeAsync(251)
  expect(calls.map(({ error }) => error)).toEqual([expect.any(DatabaseUnavailable), expect.any(DatabaseUnavailable)])
  expect(calls[0]!.error).not.toBe(calls[1]!.error)
  expect([breaker.isOpen(), state.opened, state.examined]).toEqual([true, 1, 1])
  expect(() => breaker.assertClosed()).toThrow('no answer')
})

it('is examined until the database is back, and then closed', async () => {
  const { state, breaker } = setUp()
  state.failure = silence
  breaker.suspect()
  await vi.advanceTimersByTimeAsync(5000)
  expect(breaker.isOpen()).toBe(true)
  expect(state.examined).toBeGreaterThan(4)
  state.failure = null
  await vi.advanceTimersByTimeAsync(1000)
  expect(breaker.isOpen()).toBe(false)
  expect(state.lines).toEqual(['db_breaker_open', 'db_breaker_closed'])
})

it('stays closed while a slow call waits and the examinations succeed', async () => {
  const { state, breaker } = setUp()
  const call = outcomeOf(breaker.wait(never(), 5500))
  await vi.advanceTimersByTimeAsync(5499)
  expect(call.error).toBeNull()
  expect(state.examined).toBeGreaterThan(1)
  await vi.advanceTimersByTimeAsync(1)
  expect(String(call.error)).toContain('Query read timeout')
  expect(breaker.isOpen()).toBe(false)
})

it('stays closed when another call was answered meanwhile: the server is there, and only slow', async () => {
  const { state, breaker } = setUp()
  state.failure = silence
  breaker.suspect()
  await vi.advanceTimersByTimeAsync(100)
  await breaker.wait(Promise.resolve(1), null)
  await vi.advanceTimersByTimeAsync(200)
  expect([state.examined, breaker.isOpen()]).toEqual([1, false])
})

it.each([
  'ECONNREFUSED',
  'EPIPE',
])('opens although another call failed meanwhile with %s: only the server gives an SQL state', async (code) => {
  const { state, breaker } = setUp()
  state.failure = silence
  breaker.suspect()
  await vi.advanceTimersByTimeAsync(100)
  await expect(breaker.wait(Promise.reject(Object.assign(new Error(code), { code })), null)).rejects.toThrow(code)
  await vi.advanceTimersByTimeAsync(200)
  expect(breaker.isOpen()).toBe(true)
})

it('is examined again also when a call from before was answered while it was open', async () => {
  const { state, breaker } = setUp()
  state.failure = silence
  breaker.suspect()
  await vi.advanceTimersByTimeAsync(250)
  expect(breaker.isOpen()).toBe(true)
  // during the second examination
  await vi.advanceTimersByTimeAsync(600)
  await breaker.wait(Promise.resolve(1), null).catch(() => {})
  await vi.advanceTimersByTimeAsync(200)
  expect(breaker.isOpen()).toBe(true)
  state.failure = null
  await vi.advanceTimersByTimeAsync(1000)
  expect(breaker.isOpen()).toBe(false)
})

it('opens for a server that must not be used, also when it answers', async () => {
  const { state, breaker } = setUp()
  state.failure = refusal('is a standby')
  breaker.suspect()
  await vi.advanceTimersByTimeAsync(100)
  await breaker.wait(Promise.resolve(1), null)
  await vi.advanceTimersByTimeAsync(200)
  expect(breaker.isOpen()).toBe(true)
})

it('examines once for many calls, and after a pause for the next', async () => {
  const { state, breaker } = setUp()
  for (let i = 0; i < 100; i++) breaker.suspect()
  await vi.advanceTimersByTimeAsync(250)
  for (let i = 0; i < 100; i++) breaker.suspect()
  expect(state.examined).toBe(1)
  await vi.advanceTimersByTimeAsync(250)
  expect(state.examined).toBe(2)
})

it('a process that was frozen reads answers before it counts the time', async () => {
  const { state, breaker } = setUp()
  const call = outcomeOf(breaker.wait(never(), 1000))
  const steady = performance.now()
  // the clock jumps as it does behind SIGSTOP: the timer is due long ago when it runs
  vi.spyOn(performance, 'now').mockImplementation(() => steady + 30_000)
  await vi.advanceTimersByTimeAsync(1000)
  expect([call.error, state.examined]).toEqual([null, 0])
  vi.restoreAllMocks()
  breaker.stop()
})
