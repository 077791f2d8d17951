import { beforeEach, describe, expect, it } from 'vitest'
import { BEAT_MS, createPulse, type Pulse } from '../../../src/app/pulse.ts'

let now: number
let cpuWaits: Record<string, number | null>
let pulse: Pulse<string>
beforeEach(() => {
  now = 1000
  cpuWaits = {}
  pulse = createPulse({ now: () => now, steady: () => now }, (worker: string) => cpuWaits[worker] ?? null)
  pulse.beat('a')
  pulse.beat('b')
})

/** Lets the time pass. @param alive send their signs of life @returns the frozen workers at the end */
function pass(ms: number, alive: string[] = []): string[] {
  let frozen: string[] = []
  for (const end = now + ms; now < end; ) {
    now += BEAT_MS
    for (const worker of alive) pulse.beat(worker)
    frozen = pulse.frozen()
  }
  return frozen
}

describe('a worker', () => {
  it('is frozen after 3 seconds without a sign of life, the longest silence first', () => {
    expect(pass(2500, ['a'])).toEqual([])
    expect(pass(500, ['a'])).toEqual(['b'])
    // the last sign of life of `a` is half a second old
    expect(pass(2000)).toEqual(['b'])
    expect(pass(500)).toEqual(['b', 'a'])
  })

  it('is not frozen when its event loop was blocked for 2 seconds', () => {
    expect(pass(2500, ['a'])).toEqual([])
    expect(pass(2500, ['a', 'b'])).toEqual([])
  })

  it('is silent after a second, and no longer after a sign of life', () => {
    pass(500)
    expect(pulse.isSilent('a')).toBe(false)
    pass(500)
    expect(pulse.isSilent('a')).toBe(true)
    pulse.beat('a')
    expect(pulse.isSilent('a')).toBe(false)
  })

  it('is neither silent nor frozen before its first sign of life, and after it was forgotten', () => {
    pulse.forget('b')
    expect(pass(10_000, ['a'])).toEqual([])
    expect(['b', 'new'].map(pulse.isSilent)).toEqual([false, false])
  })

  it('is not frozen while it waits for a core', () => {
    cpuWaits.b = 100
    for (let i = 0; i < 20; i++) {
      expect(pass(BEAT_MS, ['a'])).toEqual([])
      cpuWaits.b += BEAT_MS
    }
    // it has a core now, and shows no sign of life
    expect(pass(3000, ['a'])).toEqual(['b'])
  })
})

it('a pause of the supervisor itself counts as two beats at most, whatever its length', () => {
  now += 60_000
  expect(pulse.frozen()).toEqual([])
  expect(pass(1500)).toEqual([])
  expect(pass(500)).toEqual(['a', 'b'])
})
