import { expect, it } from 'vitest'
import { createKeyBound } from '../../src/limits/key-bound.ts'

const setUp = () => {
  let time = 0
  return {
    bound: createKeyBound(2, 1000, () => time),
    advance: (ms: number) => {
      time += ms
    },
  }
}

it('keys count under their own name while there is room', () => {
  const { bound } = setUp()
  expect([bound('a'), bound('b'), bound('a')]).toEqual(['a', 'b', 'a'])
})

it('beyond that a new key shares a bucket, always the same one, and those that count already stay', () => {
  const { bound } = setUp()
  bound('a')
  bound('b')
  expect(bound('c')).toMatch(/^bucket \d+$/)
  expect(bound('c')).toBe(bound('c'))
  expect(bound('a')).toBe('a')
})

it('a million keys share no more than 1024 buckets', () => {
  const { bound } = setUp()
  const names = new Set<string>()
  for (let i = 0; i < 1_000_000; i++) names.add(bound(`address ${i}`))
  expect(names.size).toBeLessThanOrEqual(2 + 1024)
})

it('an ended window makes room', () => {
  const { bound, advance } = setUp()
  bound('a')
  advance(500)
  bound('b')
  advance(500)
  expect(bound('c')).toBe('c')
  expect(bound('d')).toMatch(/^bucket/)
  advance(500)
  expect(bound('d')).toBe('d')
})
