/** Descriptors: which connections are accepted where few files may be open. */
import { expect, test } from 'vitest'
import { createDescriptors, type DescriptorsDeps, readDescriptors } from '../../../../src/app/overload/descriptors.ts'

const few = (over: Partial<DescriptorsDeps> = {}) =>
  createDescriptors({ limit: 256, used: 30, reserved: 34, maxConnections: 20_000, maxInFlight: 2000, ...over })

test('a limit with room for the upstreams of all requests bounds nothing', () => {
  expect(few({ limit: 22_064 }).connections).toBe(20_000)
  expect(few({ limit: 22_064 }).admits(22_063)).toBe(true)
  expect(few({ limit: null }).connections).toBe(20_000)
})

test('half of what is free may be connections, because each may need an upstream', () => {
  expect(few().connections).toBe(96)
  expect(few({ limit: 20_064 }).connections).toBe(18_000)
})

test('a number near the limit says that almost all descriptors are in use', () => {
  const descriptors = few()
  expect([descriptors.admits(221), descriptors.isScarce()]).toEqual([true, false])
  expect([descriptors.admits(222), descriptors.isScarce()]).toEqual([false, true])
})

test('requests may begin again when some descriptors are free', () => {
  let free: number | null = 100
  const descriptors = few({ lowestFree: () => free })
  const after = (lowest: number | null) => {
    free = lowest
    descriptors.tick()
    return descriptors.isScarce()
  }
  expect([after(221), after(222), after(215), after(213)]).toEqual([false, true, true, false])
  expect(after(null)).toBe(true)
})

test('a very small limit still serves some connections', () => {
  expect(few({ limit: 40 }).connections).toBe(4)
})

test('this process knows its own limit', () => {
  expect(readDescriptors()).toEqual({ limit: expect.any(Number), used: expect.any(Number) })
})
