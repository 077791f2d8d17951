/** Which requests may begin while the process is busy. */
import { expect, test } from 'vitest'
import { type AdmissionDeps, createAdmission, type Priority } from '../../../../src/app/overload/admission.ts'

const CLASSES: readonly Priority[] = ['health', 'login', 'known', 'other']

function judgeAll(over: Partial<{ [K in keyof AdmissionDeps]: number }> & { scarce?: number }) {
  const { maxInFlight = 100, inFlight = 0, mostInHeap = 1e6, loginsInFlight = 0, loopLevel = 0, heapLevel = 0, scarce = 0 } = over
  const level = (n: number) => () => n as 0 | 1 | 2
  const admission = createAdmission({
    maxInFlight,
    mostInHeap,
    inFlight: () => inFlight,
    loginsInFlight: () => loginsInFlight,
    loopLevel: level(loopLevel),
    heapLevel: level(heapLevel),
    isDescriptorScarce: () => scarce > 0,
  })
  return [admission.isBusy(), ...CLASSES.map(admission.judge)]
}

test('a process that is not busy refuses nothing', () => {
  expect(judgeAll({ inFlight: 79 })).toEqual([false, null, null, null, null])
})

test('the rest is refused first, then known credentials, then logins, health never', () => {
  expect(judgeAll({ inFlight: 80 })).toEqual([true, null, null, null, 'in_flight'])
  expect(judgeAll({ inFlight: 89 })).toEqual([true, null, null, null, 'in_flight'])
  expect(judgeAll({ inFlight: 90 })).toEqual([true, null, null, 'in_flight', 'in_flight'])
  expect(judgeAll({ inFlight: 99 })).toEqual([true, null, null, 'in_flight', 'in_flight'])
  expect(judgeAll({ inFlight: 100 })).toEqual([true, null, 'in_flight', 'in_flight', 'in_flight'])
})

test('logins within their own tenth take no room from the rest and from known credentials', () => {
  expect(judgeAll({ inFlight: 89, loginsInFlight: 10 })).toEqual([false, null, null, null, null])
  expect(judgeAll({ inFlight: 85, loginsInFlight: 5 })).toEqual([true, null, null, null, 'in_flight'])
  expect(judgeAll({ inFlight: 99, loginsInFlight: 9 })).toEqual([true, null, null, 'in_flight', 'in_flight'])
  expect(judgeAll({ inFlight: 98, loginsInFlight: 9 })).toEqual([true, null, null, null, 'in_flight'])
})

test('logins beyond their own tenth are judged like the rest', () => {
  expect(judgeAll({ inFlight: 89, loginsInFlight: 89 })).toEqual([false, null, null, null, null])
  expect(judgeAll({ inFlight: 90, loginsInFlight: 90 })).toEqual([true, null, 'in_flight', null, 'in_flight'])
  expect(judgeAll({ inFlight: 99, loginsInFlight: 10 })).toEqual([true, null, 'in_flight', null, 'in_flight'])
  expect(judgeAll({ inFlight: 100, loginsInFlight: 10 })).toEqual([true, null, 'in_flight', 'in_flight', 'in_flight'])
  expect(judgeAll({ loopLevel: 1, loginsInFlight: 10 })).toEqual([true, null, 'loop_delay', null, 'loop_delay'])
  expect(judgeAll({ heapLevel: 1, loginsInFlight: 10 })).toEqual([true, null, 'heap', null, 'heap'])
})

test('a bound below ten has no shares', () => {
  expect(judgeAll({ maxInFlight: 3, inFlight: 2 })).toEqual([false, null, null, null, null])
  expect(judgeAll({ maxInFlight: 3, inFlight: 3 })).toEqual([true, null, 'in_flight', 'in_flight', 'in_flight'])
})

test('a bound of 0 is no bound', () => {
  expect(judgeAll({ maxInFlight: 0, inFlight: 700_000 })).toEqual([false, null, null, null, null])
})

test('a late loop refuses the rest, then known credentials, and leaves a tenth to logins', () => {
  expect(judgeAll({ loopLevel: 1 })).toEqual([true, null, null, null, 'loop_delay'])
  expect(judgeAll({ loopLevel: 2, loginsInFlight: 9 })).toEqual([true, null, null, 'loop_delay', 'loop_delay'])
  expect(judgeAll({ loopLevel: 2, loginsInFlight: 10 })).toEqual([true, null, 'loop_delay', 'loop_delay', 'loop_delay'])
})

test('a full heap refuses in the same order', () => {
  expect(judgeAll({ heapLevel: 1 })).toEqual([true, null, null, null, 'heap'])
  expect(judgeAll({ heapLevel: 2 })).toEqual([true, null, null, 'heap', 'heap'])
})

test('without free descriptors only health is answered', () => {
  expect(judgeAll({ scarce: 1 })).toEqual([true, null, 'descriptors', 'descriptors', 'descriptors'])
})

test('a small heap bounds what is in flight, also where the configuration sets no bound', () => {
  expect(judgeAll({ maxInFlight: 0, mostInHeap: 50, inFlight: 40 })).toEqual([true, null, null, null, 'heap'])
  expect(judgeAll({ maxInFlight: 2000, mostInHeap: 50, inFlight: 50 })).toEqual([true, null, 'heap', 'heap', 'heap'])
})
