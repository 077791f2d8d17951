import { describe, expect, it } from 'vitest'
import { isFlat, type Sample, textOfTrend, trendOf } from '../../faults/harness/trend.ts'
import { randomOf } from '../../faults/storms/random.ts'

/** One sample each ten seconds for an hour. @param noise each sample differs by at most half of it */
function samples(valueAt: (hours: number) => number, noise = 0, seed = 1): Sample[] {
  const random = randomOf(seed, 0)
  return Array.from({ length: 360 }, (_, n) => ({
    seconds: n * 10,
    value: valueAt(n / 360) + (random.below(1000) / 1000 - 0.5) * noise,
  }))
}

describe('a trend', () => {
  it('without noise has the slope of its line, and no error', () => {
    const { slope, error, mean } = trendOf(samples((hours) => 100 + 7 * hours))
    expect(slope).toBeCloseTo(7)
    expect(error).toBeCloseTo(0)
    expect(mean).toBeCloseTo(103.5, 1)
  })

  it('of noise alone is flat for nearly every seed', () => {
    const flat = Array.from({ length: 100 }, (_, seed) => trendOf(samples(() => 300, 40, seed))).filter((trend) => isFlat(trend, 0))
    expect(flat.length).toBeGreaterThan(90)
  })

  it('of a leak in noise is found for every seed', () => {
    for (let seed = 0; seed < 100; seed++)
      expect(isFlat(trendOf(samples((hours) => 300 + 30 * hours, 40, seed)), 3), `seed ${seed}`).toBe(false)
  })

  it('below the bound is flat, and a falling value is flat', () => {
    expect(isFlat(trendOf(samples((hours) => 300 + 2 * hours)), 3)).toBe(true)
    expect(isFlat(trendOf(samples((hours) => 300 - 50 * hours)), 0)).toBe(true)
    expect(isFlat(trendOf(samples((hours) => 300 + 4 * hours)), 3)).toBe(false)
  })

  it('of too few samples has no error bound', () => {
    expect(trendOf(samples(() => 1).slice(0, 2)).error).toBe(Number.POSITIVE_INFINITY)
  })

  it('is written with its error', () => {
    expect(textOfTrend({ slope: -1.234, error: 0.5, mean: 312 }, ' MiB')).toBe('312 MiB at −1.23 ± 0.50 MiB/h')
  })
})
