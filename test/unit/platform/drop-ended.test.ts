import { LRUCache } from 'lru-cache'
import { expect, it } from 'vitest'
import { dropEnded } from '../../../src/platform/lib/drop-ended.ts'

/** A value ends after ten steps. */
function run(steps: number, perStep: (step: number) => number): number[] {
  const cache = new LRUCache<string, number>({ max: 10_000 })
  const sizes: number[] = []
  for (let step = 0; step < steps; step++) {
    for (let i = 0; i < perStep(step); i++) {
      cache.set(`${step} ${i}`, step + 10)
      dropEnded(cache, (end) => end <= step)
    }
    sizes.push(cache.size)
  }
  return sizes
}

it('a cache holds what has not ended, however long it runs', () => {
  const sizes = run(1000, () => 3)
  expect(Math.max(...sizes)).toBe(30)
})

it('it gets smaller after a burst', () => {
  const sizes = run(1000, (step) => (step === 100 ? 500 : 3))
  expect(Math.max(...sizes)).toBeGreaterThan(500)
  expect(sizes.at(-1)).toBe(30)
})

it('what is still used stays', () => {
  const cache = new LRUCache<string, number>({ max: 100 })
  cache.set('used', 5)
  cache.set('unused', 5)
  cache.get('used')
  cache.set('new', 50)
  dropEnded(cache, (end) => end <= 4)
  expect([...cache.keys()].sort()).toEqual(['new', 'unused', 'used'])
  dropEnded(cache, (end) => end <= 5)
  expect([...cache.keys()]).toEqual(['new'])
})
