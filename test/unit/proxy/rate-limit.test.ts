import { expect, it } from 'vitest'
import { describeLimits } from '../../../src/proxy/rate-limit.ts'
import { configWith } from '../../support/config.ts'

const { limits } = configWith({
  limits: {
    policies: {
      perSecond: { limit: 5, windowSeconds: 1, key: 'client' },
      perDay: { limit: 1000, windowSeconds: 86_400, key: 'apiKey' },
      odd: { limit: 7, windowSeconds: 90, key: 'principal' },
    },
  },
})

it.each([
  [['perIp', 'perUser'], '60/min per address when anonymous, 600/min per user or machine'],
  [['perSecond', 'perDay', 'odd'], '5/s per address, 1000/day per API key, 7/90s per user or machine'],
  [[], 'nobody'],
])('the policies %j read as %s', (names, text) => {
  expect(describeLimits(limits, names)).toBe(text)
})
