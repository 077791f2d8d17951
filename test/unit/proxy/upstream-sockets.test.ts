import diagnostics from 'node:diagnostics_channel'
import { expect, it } from 'vitest'
import { watchRequests } from '../../../src/proxy/upstream/upstream-sockets.ts'

const isWatched = () => diagnostics.hasSubscribers('undici:client:sendHeaders')

it('requests are watched until the last watcher stops, however often the others stop', () => {
  const before = isWatched()
  const [first, second] = [watchRequests(), watchRequests()]
  first()
  first()
  expect(isWatched()).toBe(true)
  second()
  second()
  expect(isWatched()).toBe(before)
  const third = watchRequests()
  expect(isWatched()).toBe(true)
  third()
})
