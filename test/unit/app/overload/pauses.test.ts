/** Connections that are not read while the loop is late. */
import { expect, test } from 'vitest'
import { createPauses } from '../../../../src/app/overload/pauses.ts'

function setUp() {
  let now = 0
  const pauses = createPauses({ steady: () => now })
  const paused = new Set<string>()
  const socket = (name: string) => ({ pause: () => paused.add(name), resume: () => paused.delete(name) })
  return {
    ...pauses,
    pass: (ms: number) => {
      now += ms
    },
    add: (name: string) => pauses.add(socket(name)),
    paused: () => [...paused],
  }
}

test('a refused connection is read again when the loop is in time', () => {
  const { add, tick, paused } = setUp()
  add('a')
  add('b')
  tick(true)
  expect(paused()).toEqual(['a', 'b'])
  tick(false)
  expect(paused()).toEqual([])
})

test('no connection waits longer than a second, however late the loop is', () => {
  const { add, tick, paused, pass } = setUp()
  add('a')
  pass(600)
  add('b')
  tick(true)
  expect(paused()).toEqual(['a', 'b'])
  pass(400)
  tick(true)
  expect(paused()).toEqual(['b'])
  pass(600)
  tick(true)
  expect(paused()).toEqual([])
})
