/** The delay of the event loop, with a clock that the test moves. */
import { expect, test } from 'vitest'
import { createLoopWatch } from '../../../../src/app/overload/loop-watch.ts'

function watchWith(maxDelayMs: number) {
  let now = 1000
  const loop = createLoopWatch({ clock: { steady: () => now }, maxDelayMs })
  let waitMs = loop.tick()
  return {
    level: loop.level,
    pass: (ms: number) => {
      now += ms
    },
    /** One round of the loop. */
    round(delayMs: number) {
      now += waitMs + delayMs
      waitMs = loop.tick()
      return loop.level()
    },
  }
}

test('a loop that is in time refuses nothing', () => {
  const loop = watchWith(200)
  for (const delayMs of [0, 20, 199, 150, 190]) expect(loop.round(delayMs)).toBe(0)
})

test('a single pause refuses nothing', () => {
  const loop = watchWith(200)
  expect([loop.round(0), loop.round(390), loop.round(0), loop.round(0)]).toEqual([0, 0, 0, 0])
})

test('two late rounds refuse the rest, and rounds of one and a half times the bound refuse all', () => {
  const loop = watchWith(200)
  expect([loop.round(0), loop.round(250), loop.round(250)]).toEqual([0, 0, 1])
  expect([loop.round(400), loop.round(400)]).toEqual([2, 2])
})

test('a pause of more than twice the bound refuses the requests that waited through it', () => {
  const loop = watchWith(200)
  expect(loop.round(5000)).toBe(2)
})

test('the level falls only below half of its bound, one step a round', () => {
  const loop = watchWith(200)
  loop.round(400)
  expect(loop.round(400)).toBe(2)
  expect([loop.round(150), loop.round(170), loop.round(110)]).toEqual([2, 2, 1])
  expect([loop.round(100), loop.round(80)]).toEqual([1, 0])
})

test('a round that has not ended refuses too', () => {
  const loop = watchWith(200)
  loop.pass(50 + 390)
  expect(loop.level()).toBe(0)
  loop.pass(20)
  expect(loop.level()).toBe(1)
  loop.pass(200)
  expect(loop.level()).toBe(2)
})

test('a bound of 0 refuses nothing', () => {
  const loop = watchWith(0)
  expect([loop.round(5000), loop.round(5000)]).toEqual([0, 0])
  loop.pass(60_000)
  expect(loop.level()).toBe(0)
})
