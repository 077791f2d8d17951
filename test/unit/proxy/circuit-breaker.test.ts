import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { type CircuitBreaker, type CircuitState, createCircuitBreaker, type Outcome } from '../../../src/proxy/upstream/circuit-breaker.ts'

let now = 0
let changes: CircuitState[] = []
let probes = 0
let isReachable = true
let breaker: CircuitBreaker
const create = (failures = 3) => {
  breaker = createCircuitBreaker(
    { failures, openMs: 1000, openAfterMs: 10_000 },
    {
      clock: { now: () => now, steady: () => now },
      probe: async () => {
        probes++
        return isReachable
      },
      onChange: (state) => changes.push(state),
    },
  )
}
beforeEach(() => {
  now = 1_000_000
  changes = []
  probes = 0
  isReachable = true
  create()
})
const asked = (path = '/a', at = now) => ({ at, path })
const fail = (times = 1, outcome: Outcome = 'unreachable') => {
  for (let i = 0; i < times; i++) breaker.report(breaker.begin(), outcome, asked())
}
const answer = () => breaker.report(breaker.begin(), 'answered', asked())
/** Lets the probe answer. */
const settle = () => new Promise((resolve) => setImmediate(resolve))

describe.each(['unreachable', 'failing'] as const)('closed, requests are %s', (outcome) => {
  it('it opens with the last of so many failures in a row', () => {
    fail(2, outcome)
    expect([breaker.state(), breaker.permits()]).toEqual(['closed', true])
    fail(1, outcome)
    expect([breaker.state(), breaker.permits(), breaker.waitMs()]).toEqual(['open', false, 1000])
    expect(changes).toEqual(['open'])
  })

  it('an answer in between starts the count anew', () => {
    fail(2, outcome)
    answer()
    fail(2, outcome)
    expect(breaker.state()).toBe('closed')
  })

  it('a request that fails while others are answered does not count', () => {
    const before = asked()
    now += 10
    answer()
    for (let i = 0; i < 10; i++) breaker.report(breaker.begin(), outcome, before)
    expect(breaker.state()).toBe('closed')
  })

  it('it never opens where no failure counts', () => {
    create(0)
    fail(100, outcome)
    expect(breaker.state()).toBe('closed')
  })
})

describe('closed, requests are not answered', () => {
  const hang = (paths: string[], at = now) => {
    for (const path of paths) breaker.report(breaker.begin(), 'unanswered', asked(path, at))
  }

  it('several paths open it when nothing was answered for openAfterMs', () => {
    const at = now
    now += 9_999
    hang(['/a', '/b', '/c'], at)
    expect(breaker.state()).toBe('closed')
    now += 1
    hang(['/a'], at)
    expect(breaker.state()).toBe('open')
  })

  it('an answer to any request starts the count anew', () => {
    const at = now
    now += 20_000
    hang(['/a', '/b'], at)
    answer()
    hang(['/c', '/d'])
    expect(breaker.state()).toBe('closed')
  })

  it('one path does not open it while connections are accepted', async () => {
    for (let i = 0; i < 20; i++) {
      now += 20_000
      hang(['/poll', '/poll', '/poll', '/poll', '/poll', '/poll'], now - 20_000)
      await settle()
    }
    expect([breaker.state(), probes]).toEqual(['closed', 20])
  })

  it('one path opens it when the probe finds no connection', async () => {
    isReachable = false
    hang(['/poll', '/poll'])
    await settle()
    expect([breaker.state(), probes]).toEqual(['closed', 0])
    hang(['/poll'])
    await settle()
    expect([breaker.state(), probes]).toEqual(['open', 1])
  })

  it('the probe does not count when an answer came before its result', async () => {
    isReachable = false
    hang(['/poll', '/poll', '/poll'])
    answer()
    await settle()
    expect(breaker.state()).toBe('closed')
  })

  it('probes are openMs apart', async () => {
    hang(Array(50).fill('/poll'))
    await settle()
    now += 999
    hang(Array(50).fill('/poll'))
    await settle()
    expect(probes).toBe(1)
    now += 1
    hang(['/poll'])
    await settle()
    expect(probes).toBe(2)
  })
})

describe('open', () => {
  beforeEach(() => fail(3))

  it('lets no request through until its time is over, then one at a time', () => {
    now += 999
    expect(breaker.permits()).toBe(false)
    now += 1
    expect([breaker.state(), breaker.permits()]).toEqual(['half-open', true])
    expect(breaker.begin()).toBe(true)
    expect(breaker.permits()).toBe(false)
  })

  it('closes when the trial request is answered', () => {
    now += 1000
    answer()
    expect([breaker.state(), breaker.permits()]).toEqual(['closed', true])
    expect(changes).toEqual(['open', 'closed'])
    fail(2)
    expect(breaker.state()).toBe('closed')
  })

  it('closes when the trial request has a connection: a slow trial must not hold up the others', () => {
    now += 1000
    expect(breaker.connected()).toBe(false)
    breaker.begin()
    expect(breaker.connected()).toBe(true)
    expect(breaker.state()).toBe('closed')
    // it is an ordinary request now
    breaker.report(false, 'unanswered', asked())
    expect(breaker.state()).toBe('closed')
  })

  it.each(['failing', 'unanswered'] as const)('needs an answer where the requests were %s', async (outcome) => {
    create()
    const at = now
    now += 10_000
    for (const path of ['/a', '/b', '/c']) breaker.report(breaker.begin(), outcome, asked(path, at))
    expect(breaker.state()).toBe('open')
    now += 1000
    breaker.begin()
    expect(breaker.connected()).toBe(false)
    breaker.report(true, 'answered', asked())
    expect(breaker.state()).toBe('closed')
  })

  it('stays open twice as long with each trial that fails, up to eight times', () => {
    const waits = Array.from({ length: 5 }, () => {
      now += breaker.waitMs()
      fail()
      return breaker.waitMs()
    })
    expect(waits).toEqual([2000, 4000, 8000, 8000, 8000])
    now += 8000
    answer()
    fail(3)
    expect(breaker.waitMs()).toBe(1000)
  })

  it('tries the next request when the client of the trial has left', () => {
    now += 1000
    breaker.begin()
    breaker.release()
    expect(breaker.permits()).toBe(true)
  })

  it('ignores requests that were sent before', () => {
    breaker.report(false, 'answered', asked('/a', now - 1))
    expect(breaker.state()).toBe('open')
    breaker.report(false, 'unreachable', asked('/a', now - 1))
    expect(breaker.waitMs()).toBe(1000)
  })

  it('is not held open by a clock that was set back', () => {
    now -= 3_600_000
    expect(breaker.permits()).toBe(true)
  })
})

/**
 * Random histories of requests, against the rule in one sentence: it opens only after `failures` requests without a connection (or with a
 * counted status) since the last answer, or after as many unanswered requests, when several paths were silent for openAfterMs or a
 * probe found no connection.
 */
describe('over random histories', () => {
  const FAILURES = 3
  const step = fc.record({
    waitMs: fc.constantFrom(0, 1, 500, 4000, 12_000),
    outcome: fc.constantFrom<Outcome | 'left'>('answered', 'unreachable', 'unanswered', 'failing', 'left'),
    path: fc.constantFrom('/a', '/b'),
    tookMs: fc.constantFrom(0, 1000, 11_000),
    isReachable: fc.boolean(),
  })

  it('it opens only on what a probe would find, and always serves again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (history) => {
        now = 1_000_000
        changes = []
        create(FAILURES)
        let noConnection = 0
        let silent: { path: string; at: number }[] = []
        let answeredAt = 0
        for (const { waitMs, outcome, path, tookMs, isReachable: reachable } of history) {
          now += waitMs
          isReachable = reachable
          const wasClosed = breaker.state() === 'closed'
          if (!breaker.permits()) {
            expect(breaker.waitMs()).toBeGreaterThan(0)
            continue
          }
          const isTrial = breaker.begin()
          expect(isTrial).toBe(!wasClosed)
          if (outcome === 'left') {
            if (isTrial) breaker.release()
            continue
          }
          const at = now
          now += tookMs
          const probed = probes
          breaker.report(isTrial, outcome, asked(path, at))
          await settle()
          if (outcome === 'answered') {
            ;[noConnection, silent, answeredAt] = [0, [], now]
            expect(breaker.state()).toBe('closed')
          } else if (isTrial) {
            expect(breaker.state()).toBe('open')
            ;[noConnection, silent] = [0, []]
          } else if (at >= answeredAt) {
            if (outcome === 'unanswered') silent.push({ path, at })
            else noConnection++
            const isSilent = new Set(silent.map((s) => s.path)).size > 1 && now - silent[0]!.at >= 10_000
            const mayOpen =
              outcome === 'unanswered'
                ? silent.length >= FAILURES && (isSilent || (probes > probed && !reachable))
                : noConnection >= FAILURES
            expect(breaker.state() !== 'closed').toBe(mayOpen)
            if (mayOpen) [noConnection, silent] = [0, []]
          } else expect(breaker.state()).toBe('closed')
        }
        now += 8000
        expect(breaker.permits()).toBe(true)
      }),
      { numRuns: 300 },
    )
  })
})
