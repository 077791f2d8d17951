import { Counter, Histogram, Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { fastCounter, fastHistogram } from '../../../src/platform/telemetry/fast-metrics.ts'

const BUCKETS = [0.1, 0.5, 2]
const VALUES = [0, 0.1, 0.100001, 0.3, 0.5, 1.9, 2, 2.5, 60]

it('read byte for byte as the same counts in prom-client do', async () => {
  const [ours, theirs] = [new Registry(), new Registry()]
  const tally = fastCounter(ours, { name: 'answers_total', help: 'Answers.', labelNames: ['code', 'route'] })
  const counter = new Counter({ name: 'answers_total', help: 'Answers.', labelNames: ['code', 'route'], registers: [theirs] })
  for (const [code, route, n] of [
    ['a', 'x "y"', 3],
    ['b', '\\n', 1],
  ] as const) {
    for (let i = 0; i < n; i++) tally.bind({ code, route }).count++
    counter.inc({ code, route }, n)
  }
  const timing = fastHistogram(ours, { name: 'seconds', help: 'How long.', labelNames: ['route'] }, BUCKETS)
  const histogram = new Histogram({ name: 'seconds', help: 'How long.', labelNames: ['route'], buckets: BUCKETS, registers: [theirs] })
  for (const value of VALUES) {
    timing.bind({ route: 'x' }).observe(value)
    histogram.observe({ route: 'x' }, value)
  }
  expect(await ours.metrics()).toBe(await theirs.metrics())
})

it('the same labels are the same series', () => {
  const tally = fastCounter(new Registry(), { name: 'answers_total', help: 'Answers.', labelNames: ['code', 'route'] })
  expect(tally.bind({ code: 'a', route: 'x' })).toBe(tally.bind({ route: 'x', code: 'a' }))
  expect(tally.bind({ code: 'b', route: 'x' })).not.toBe(tally.bind({ code: 'a', route: 'x' }))
})

it('a series that is bound is there from the start, with 0', async () => {
  const registry = new Registry()
  fastCounter(registry, { name: 'answers_total', help: 'Answers.', labelNames: ['code'] }).bind({ code: 'a' })
  expect(await registry.metrics()).toContain('answers_total{code="a"} 0')
})
