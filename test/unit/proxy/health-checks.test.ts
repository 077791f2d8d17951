import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { startHealthCheck } from '../../../src/proxy/upstream/health-checks.ts'

/** A check whose timer and results the test gives. */
function createCheck({ failures = 2, successes = 3, random = 0.5 } = {}) {
  const waits: number[] = []
  const changes: [isHealthy: boolean, cause: string | null][] = []
  const results: (string | null)[] = []
  let due: (() => void) | null = null
  let answer: (cause: string | null) => void = () => {}
  let signal: AbortSignal | undefined
  const check = startHealthCheck({
    rules: { intervalMs: 1000, failures, successes },
    ask: (stopped) => {
      signal = stopped
      return new Promise((resolve) => {
        answer = resolve
      })
    },
    onResult: (cause) => results.push(cause),
    onChange: (...change) => changes.push(change),
    random: () => random,
    after(ms, run) {
      waits.push(ms)
      due = run
      return () => {
        due = null
      }
    },
  })
  const begin = () => due!()
  const finish = async (cause: string | null) => {
    answer(cause)
    await Promise.resolve()
  }
  return {
    check,
    waits,
    changes,
    results,
    begin,
    finish,
    isPlanned: () => due !== null,
    signal: () => signal,
    async result(cause: string | null) {
      begin()
      await finish(cause)
    },
  }
}

describe('a server', () => {
  it('counts as healthy until its first check, which decides alone', async () => {
    const { check, result, changes } = createCheck()
    expect(check.isHealthy()).toBe(true)
    await result('status 500')
    expect(check.isHealthy()).toBe(false)
    expect(changes).toEqual([[false, 'status 500']])
  })

  it('leaves with so many failures in a row, and returns with so many successes in a row', async () => {
    const { check, result, changes } = createCheck()
    const seen: boolean[] = []
    for (const cause of [null, 'a', null, 'a', 'b', null, null, 'c', null, null, null]) {
      await result(cause)
      seen.push(check.isHealthy())
    }
    expect(seen).toEqual([true, true, true, true, false, false, false, false, false, false, true])
    expect(changes).toEqual([
      [false, 'b'],
      [true, null],
    ])
  })

  it('changes only where the last results all say so', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.boolean(), { maxLength: 40 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
        async (history, failures, successes) => {
          const { check, result } = createCheck({ failures, successes })
          for (const [i, passes] of history.entries()) {
            const before = check.isHealthy()
            await result(passes ? null : 'x')
            const needed = i === 0 ? 1 : before ? failures : successes
            const last = history.slice(Math.max(0, i + 1 - needed), i + 1)
            expect(check.isHealthy()).toBe(last.length === needed && last.every((p) => p !== before) ? !before : before)
          }
        },
      ),
    )
  })
})

describe('the checks', () => {
  it.each([
    [0, [0, 900]],
    [0.5, [50, 1000]],
    [1, [100, 1100]],
  ])('of processes that started together drift apart: %f', async (random, waits) => {
    const check = createCheck({ random })
    await check.result(null)
    expect(check.waits).toEqual(waits)
  })

  it('follow each other: the next check is planned when the last has its result', async () => {
    const { begin, finish, waits } = createCheck()
    begin()
    expect(waits.length).toBe(1)
    await finish(null)
    expect(waits.length).toBe(2)
  })

  it('are reported, whatever their result', async () => {
    const { result, results } = createCheck()
    for (const cause of [null, 'a', null]) await result(cause)
    expect(results).toEqual([null, 'a', null])
  })

  it('end when they are stopped', async () => {
    const { check, result, isPlanned } = createCheck()
    await result(null)
    check.stop()
    expect(isPlanned()).toBe(false)
  })

  it('that are running when they are stopped are aborted, and have no result', async () => {
    const { check, begin, finish, signal, waits, results, changes } = createCheck()
    begin()
    check.stop()
    expect(signal()!.aborted).toBe(true)
    await finish('aborted')
    expect([waits.length, results, changes]).toEqual([1, [], []])
  })
})
