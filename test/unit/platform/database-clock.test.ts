import { beforeEach, describe, expect, it } from 'vitest'
import { createDatabaseClock, type DatabaseClock } from '../../../src/platform/lib/database-clock.ts'

/** The clock of a machine, moved by hand. The database's time is 1,000,000 when the steady clock shows 0. */
const machine = { wall: 0, steady: 0 }
function advance(ms: number): void {
  machine.wall += ms
  machine.steady += ms
}
const local = { now: () => machine.wall, steady: () => machine.steady }
const MINUTES = 60_000

/** Asks for the time. The answer takes `roundTripMs`, and the database read its clock `readAfterMs` after the question. */
function ask(clock: DatabaseClock, { roundTripMs = 0, readAfterMs = 0, databaseSkewMs = 0 } = {}): void {
  const askedAt = machine.steady
  advance(roundTripMs)
  clock.measure({ databaseMs: 1_000_000 + databaseSkewMs + askedAt + readAfterMs, askedAt, answeredAt: machine.steady })
}
const databaseTime = () => 1_000_000 + machine.steady

beforeEach(() => {
  machine.wall = 1_000_000
  machine.steady = 0
})

describe('the time of the database', () => {
  it.each([-5 * MINUTES, -1000, 0, 1000, 5 * MINUTES])('is shown by a machine whose clock differs by %d ms', (skew) => {
    machine.wall += skew
    const clock = createDatabaseClock(local)
    expect(clock.now()).toBe(1_000_000 + skew)
    expect(clock.skewSeconds()).toBe(0)
    ask(clock)
    advance(12_345)
    expect(clock.now()).toBe(databaseTime())
    expect(clock.skewSeconds()).toBe(skew / 1000)
  })

  it.each([
    -3600_000,
    -5 * MINUTES,
    5 * MINUTES,
    86_400_000,
  ])('goes on when the wall clock jumps by %d ms, with or without the database', (jump) => {
    const clock = createDatabaseClock(local)
    ask(clock)
    machine.wall += jump
    expect(clock.now()).toBe(databaseTime())
    expect(clock.skewSeconds()).toBe(jump / 1000)
    advance(60_000)
    expect(clock.now()).toBe(databaseTime())
    ask(clock)
    expect(clock.now()).toBe(databaseTime())
  })

  it('is known to half of the round trip after the first answer', () => {
    const clock = createDatabaseClock(local)
    ask(clock, { roundTripMs: 100, readAfterMs: 100 })
    expect(clock.now()).toBe(databaseTime() + 50)
    const other = createDatabaseClock(local)
    ask(other, { roundTripMs: 100, readAfterMs: 0 })
    expect(other.now()).toBe(databaseTime() - 50)
  })

  it('is not moved by a slow answer, and gets better with a fast answer', () => {
    const clock = createDatabaseClock(local)
    ask(clock, { roundTripMs: 100, readAfterMs: 100 })
    ask(clock, { roundTripMs: 2, readAfterMs: 1 })
    expect(Math.abs(clock.now() - databaseTime())).toBeLessThanOrEqual(1)
    const before = clock.now() - databaseTime()
    ask(clock, { roundTripMs: 10_000, readAfterMs: 5000 })
    expect(clock.now() - databaseTime()).toBe(before)
  })

  it('follows another server with another clock', () => {
    const clock = createDatabaseClock(local)
    ask(clock)
    ask(clock, { databaseSkewMs: -5 * MINUTES })
    expect(clock.now()).toBe(databaseTime() - 5 * MINUTES)
  })

  it('is a whole number of milliseconds', () => {
    const clock = createDatabaseClock(local)
    clock.measure({ databaseMs: 1_000_000.25, askedAt: 0.1, answeredAt: 0.7 })
    expect(Number.isInteger(clock.now())).toBe(true)
  })

  it('changes nothing for a clock that a test moves, except that the skew is shown', () => {
    const clock = createDatabaseClock(local, false)
    machine.wall += 7000
    ask(clock)
    expect(clock.now()).toBe(1_007_000)
    expect(clock.skewSeconds()).toBe(7)
  })
})
