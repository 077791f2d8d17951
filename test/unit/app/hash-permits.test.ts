import { expect, it } from 'vitest'
import { createHashPermits } from '../../../src/app/hash-permits.ts'

function watched(permits: number) {
  const pool = createHashPermits<string>(permits)
  const granted: string[] = []
  return {
    granted,
    give: pool.give,
    async take(...workers: string[]) {
      for (const worker of workers) void pool.take(worker).then(() => granted.push(worker))
      await settled()
    },
  }
}
const settled = () => new Promise((resolve) => setImmediate(resolve))

it('no more workers hash than there are permits, and the longest wait ends first', async () => {
  const { granted, take, give } = watched(2)
  await take('a', 'b', 'c', 'd')
  expect(granted).toEqual(['a', 'b'])
  give('b')
  await settled()
  expect(granted).toEqual(['a', 'b', 'c'])
  give('a')
  give('c')
  await settled()
  expect(granted).toEqual(['a', 'b', 'c', 'd'])
})

it('a worker that ends gives its permit back, and gets none if it was waiting', async () => {
  const { granted, take, give } = watched(1)
  await take('a', 'b', 'c')
  give('b')
  give('b')
  give('a')
  await settled()
  expect(granted).toEqual(['a', 'c'])
})
