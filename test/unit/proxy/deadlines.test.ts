import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createDeadlines } from '../../../src/proxy/upstream/deadlines.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] }))
afterEach(() => void vi.useRealTimers())

it('a callback is called once after its time, in the order of the starts', () => {
  const deadlines = createDeadlines(100)
  const late: string[] = []
  const begin = (name: string) => deadlines.begin(() => late.push(name))
  begin('a')
  vi.advanceTimersByTime(60)
  begin('b')
  begin('c')
  vi.advanceTimersByTime(39)
  expect(late).toEqual([])
  vi.advanceTimersByTime(1)
  expect(late).toEqual(['a'])
  vi.advanceTimersByTime(60)
  expect(late).toEqual(['a', 'b', 'c'])
  vi.advanceTimersByTime(10_000)
  expect(late).toHaveLength(3)
})

it('a wait that has ended is not called, whichever of them it was, and may end twice', () => {
  const deadlines = createDeadlines(100)
  const late: number[] = []
  const waits = Array.from({ length: 9 }, (_, i) => deadlines.begin(() => late.push(i)))
  for (const i of [0, 4, 8, 4]) deadlines.end(waits[i]!)
  vi.advanceTimersByTime(100)
  expect(late).toEqual([1, 2, 3, 5, 6, 7])
  for (const wait of waits) deadlines.end(wait)
  deadlines.begin(() => late.push(99))
  vi.advanceTimersByTime(100)
  expect(late.at(-1)).toBe(99)
})

it('one may begin or end others while it is called', () => {
  const deadlines = createDeadlines(100)
  const late: string[] = []
  deadlines.begin(() => {
    late.push('first')
    deadlines.end(second)
    deadlines.begin(() => late.push('third'))
  })
  const second = deadlines.begin(() => late.push('second'))
  vi.advanceTimersByTime(100)
  expect(late).toEqual(['first'])
  vi.advanceTimersByTime(100)
  expect(late).toEqual(['first', 'third'])
})

it('what is over is pointed at by nothing: neither the next wait nor the one before it', () => {
  const deadlines = createDeadlines(100)
  const [one, two, three] = [0, 1, 2].map(() => deadlines.begin(() => {})) as [
    ReturnType<typeof deadlines.begin>,
    ReturnType<typeof deadlines.begin>,
    ReturnType<typeof deadlines.begin>,
  ]
  deadlines.end(two)
  expect([two.next, two.previous, two.onLate]).toEqual([null, null, null])
  expect([one.next, three.previous]).toEqual([three, one])
})

it('a callback that throws does not stop the others', () => {
  const deadlines = createDeadlines(100)
  const late: string[] = []
  deadlines.begin(() => {
    throw new Error('thrown by the one that is late')
  })
  deadlines.begin(() => late.push('next'))
  expect(() => vi.advanceTimersByTime(100)).toThrow('thrown by')
  vi.advanceTimersByTime(10)
  expect(late).toEqual(['next'])
})
