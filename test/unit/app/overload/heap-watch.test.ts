/** The heap, with measurements that the test sets. */
import { expect, test } from 'vitest'
import { createHeapWatch, roomInHeap } from '../../../../src/app/overload/heap-watch.ts'
import { givenHeapBytes, shareOfHeap } from '../../../../src/platform/lib/heap-limit.ts'

function measured() {
  let used = 0
  const heap = createHeapWatch(100, () => used)
  return (share: number, times = 5) => {
    used = share
    for (let i = 0; i < times; i++) heap.tick()
    return heap.level()
  }
}

test('a heap with room refuses nothing', () => {
  expect(measured()(91, 50)).toBe(0)
})

test('a heap that is full for a moment refuses nothing: the rest is garbage', () => {
  const after = measured()
  after(50)
  expect([after(99, 4), after(50, 1), after(99, 4)]).toEqual([0, 0, 0])
})

test('a heap that stays full refuses the rest, then all, and goes on below nine tenths', () => {
  const after = measured()
  expect([after(93), after(97), after(93), after(91), after(89, 1)]).toEqual([1, 2, 2, 2, 0])
})

test('the heap size is what the last option says', () => {
  expect(givenHeapBytes(['--inspect', '--max-old-space-size=64'])).toBe(64 * 1024 * 1024)
  expect(givenHeapBytes(['--max_old_space_size=512', '--max-old-space-size=128'])).toBe(128 * 1024 * 1024)
  expect(givenHeapBytes(['--max-http-header-size=64'])).toBeNull()
})

test('caches are smaller in a small heap, and whole in a roomy one', () => {
  const MIB = 1024 * 1024
  expect([shareOfHeap(16_000, 64 * MIB), shareOfHeap(16_000, 1024 * MIB), shareOfHeap(16_000, 4096 * MIB)]).toEqual([1000, 16_000, 16_000])
  expect(shareOfHeap(3, MIB)).toBe(1)
})

test('what fits into a small heap', () => {
  expect(roomInHeap(64_000_000, 52_000_000)).toEqual({ connections: 200, requests: 100 })
  expect(roomInHeap(64_000_000, 66_000_000)).toEqual({ connections: 8, requests: 4 })
})
