import { expect, it } from 'vitest'
import { createKeyTable } from '../../../src/platform/limits/key-table.ts'

/** A state is over once its name is in `over`. */
const setUp = (maxKeys: number) => {
  const over = new Set<string>()
  return { over, nameOf: createKeyTable({ maxKeys, make: (name) => name, isOver: (name) => over.has(name) }) }
}

it('each key has a state of its own while there is room, and keeps it', () => {
  const made: string[] = []
  const stateOf = createKeyTable({ maxKeys: 2, make: (name) => ({ n: made.push(name) }), isOver: () => false })
  expect([stateOf('a').n, stateOf('b').n, stateOf('a').n, stateOf('b').n]).toEqual([1, 2, 1, 2])
  expect(made).toEqual(['a', 'b'])
})

it('beyond that a new key shares a bucket, always the same, and known keys stay', () => {
  const { nameOf } = setUp(2)
  expect([nameOf('a'), nameOf('b')]).toEqual(['a', 'b'])
  expect(nameOf('c')).toMatch(/^bucket \d+$/)
  expect(nameOf('c')).toBe(nameOf('c'))
  expect([nameOf('a'), nameOf('b')]).toEqual(['a', 'b'])
})

it('neighbours of one /24 or one /48 share it, so that one network cannot fill them all', () => {
  const { nameOf } = setUp(0)
  const ofOne24 = new Set(Array.from({ length: 256 }, (_, i) => nameOf(`192.0.2.${i}`)))
  const ofOne48 = new Set(Array.from({ length: 256 }, (_, i) => nameOf(`2001:db8:1:${i.toString(16)}::/64`)))
  expect([ofOne24.size, ofOne48.size]).toEqual([1, 1])
  expect(nameOf('192.0.3.1')).not.toBe(nameOf('192.0.2.1'))
  expect(nameOf('2001:db8:2:1::/64')).not.toBe(nameOf('2001:db8:1:1::/64'))
})

it('a million keys share no more than 1024 buckets', () => {
  const { nameOf } = setUp(2)
  const names = new Set<string>()
  for (let i = 0; i < 1_000_000; i++) names.add(nameOf(`user ${i}`))
  expect(names.size).toBeLessThanOrEqual(2 + 1024)
})

it('what is over makes room for newcomers, wherever in the table it is', () => {
  const { nameOf, over } = setUp(5)
  for (const key of ['a', 'b', 'c', 'd', 'e']) nameOf(key)
  over.add('d')
  const isOwn = (key: string) => nameOf(key) === key
  // two are looked at for each newcomer: the table is walked round, and nobody walks all of it
  expect(['f', 'g', 'h'].filter(isOwn)).toHaveLength(1)
  expect(['a', 'b', 'c', 'e'].every(isOwn)).toBe(true)
})
