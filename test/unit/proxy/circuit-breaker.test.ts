import { beforeEach, describe, expect, it } from 'vitest'
import { type CircuitBreaker, type CircuitState, createCircuitBreaker } from '../../../src/proxy/upstream/circuit-breaker.ts'

let now = 0
let changes: CircuitState[] = []
let breaker: CircuitBreaker
const create = (failures = 3) => {
  breaker = createCircuitBreaker({ failures, openMs: 1000 }, { now: () => now, steady: () => now }, (state) => changes.push(state))
}
beforeEach(() => {
  now = 1_000_000
  changes = []
  create()
})
const fail = (times = 1) => {
  for (let i = 0; i < times; i++) breaker.report(breaker.begin(), false, now)
}
const answer = () => breaker.report(breaker.begin(), true, now)

describe('closed', () => {
  it('it opens with the last of so many failures in a row', () => {
    fail(2)
    expect([breaker.state(), breaker.permits()]).toEqual(['closed', true])
    fail()
    expect([breaker.state(), breaker.permits(), breaker.waitMs()]).toEqual(['open', false, 1000])
    expect(changes).toEqual(['open'])
  })

  it('an answer in between starts the count anew', () => {
    fail(2)
    answer()
    fail(2)
    expect(breaker.state()).toBe('closed')
  })

  it('a request that fails while others are answered may be what it fails of: it does not count', () => {
    const askedAt = now
    now += 10
    answer()
    for (let i = 0; i < 10; i++) breaker.report(breaker.begin(), false, askedAt)
    expect(breaker.state()).toBe('closed')
  })

  it('it never opens where no failure counts', () => {
    create(0)
    fail(100)
    expect(breaker.state()).toBe('closed')
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

  it('closes when the one on trial is answered', () => {
    now += 1000
    answer()
    expect([breaker.state(), breaker.permits()]).toEqual(['closed', true])
    expect(changes).toEqual(['open', 'closed'])
    fail(2)
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

  it('tries the next one when the client on trial has left', () => {
    now += 1000
    breaker.begin()
    breaker.release()
    expect(breaker.permits()).toBe(true)
  })

  it('does not listen to what was sent before', () => {
    breaker.report(false, true, now - 1)
    expect(breaker.state()).toBe('open')
    breaker.report(false, false, now - 1)
    expect(breaker.waitMs()).toBe(1000)
  })

  it('is not held open by a clock that was set back', () => {
    now -= 3_600_000
    expect(breaker.permits()).toBe(true)
  })
})
