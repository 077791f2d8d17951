import { expect, it } from 'vitest'
import { ageText, durationText, waitText } from '../../../src/platform/texts/durations.ts'

it('a time to wait is rounded up', () => {
  expect([1, 119, 120, 121, 7199, 7200, 7201, 86_400].map((seconds) => waitText(seconds, { code: 'en' }))).toEqual([
    'in 1 second',
    'in 119 seconds',
    'in 2 minutes',
    'in 3 minutes',
    'in 120 minutes',
    'in 2 hours',
    'in 3 hours',
    'in 24 hours',
  ])
  expect(waitText(1, { code: 'de' })).toBe('in 1 Sekunde')
})

it('a length is rounded up, in the language of the reader', () => {
  expect([1, 90, 121, 7200, 172_800].map((seconds) => durationText(seconds, { code: 'en' }))).toEqual([
    '1 second',
    '90 seconds',
    '3 minutes',
    '2 hours',
    '2 days',
  ])
  expect(durationText(121, { code: 'de' })).toBe('3 Minuten')
})

it('an age is in its largest unit', () => {
  const now = Date.parse('2026-07-05T12:00:00Z')
  const before = (seconds: number, code = 'en') => ageText(new Date(now - seconds * 1000), now, { code })
  expect([0, 59, 61, 7199, 90_000].map((seconds) => before(seconds))).toEqual([
    'now',
    '59 seconds ago',
    '1 minute ago',
    '1 hour ago',
    'yesterday',
  ])
  expect(before(7200, 'de')).toBe('vor 2 Stunden')
})
