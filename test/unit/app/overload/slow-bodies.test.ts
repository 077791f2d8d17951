/** Requests whose client is slow to send the body. */
import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import { createSlowBodies, type Watched, type WatchedResponse } from '../../../../src/app/overload/slow-bodies.ts'

function setUp() {
  let now = 0
  const { watch, count, logins, tick } = createSlowBodies({ steady: () => now })
  return {
    counts: () => [count(), logins()],
    pass(ms: number) {
      now += ms
      tick()
    },
    /** @param isBehind its response waits behind another on the connection */
    ask({ isLogin = false, isBehind = false } = {}) {
      const socket = new EventEmitter()
      const request = Object.assign(new EventEmitter(), {
        socket,
        complete: false,
        destroyed: false,
        readableLength: 0,
        readableHighWaterMark: 100,
      })
      const response = Object.assign(new EventEmitter(), {
        socket: isBehind ? null : socket,
        headersSent: false,
        destroyed: false,
        statusCode: 200,
      })
      watch(request as unknown as Watched, response as unknown as WatchedResponse, isLogin)
      return {
        socket,
        request,
        response,
        complete() {
          request.complete = true
          request.emit('end')
        },
        listeners: () => [request, response, socket].reduce((sum, one) => sum + one.listenerCount('close') + one.listenerCount('end'), 0),
      }
    },
  }
}

test('a body that is incomplete after half a second makes its request slow, until the body is complete', () => {
  const { ask, pass, counts } = setUp()
  const slow = ask()
  const login = ask({ isLogin: true })
  pass(499)
  expect(counts()).toEqual([0, 0])
  pass(1)
  expect(counts()).toEqual([2, 1])
  login.complete()
  expect(counts()).toEqual([1, 0])
  slow.complete()
  expect(counts()).toEqual([0, 0])
  pass(1000)
  expect(counts()).toEqual([0, 0])
})

test('a body that arrives in time has no listener', () => {
  const { ask, pass, counts } = setUp()
  const quick = ask({ isLogin: true })
  pass(50)
  expect(quick.listeners()).toBe(0)
  quick.complete()
  pass(1000)
  expect([counts(), quick.listeners()]).toEqual([[0, 0], 0])
})

test('a client that leaves, and an answer that ends, are slow no longer', () => {
  const { ask, pass, counts } = setUp()
  const [first, second] = [ask({ isLogin: true }), ask({ isLogin: true, isBehind: true })]
  pass(500)
  expect(counts()).toEqual([2, 2])
  first.response.emit('close')
  expect(counts()).toEqual([1, 1])
  second.socket.emit('close')
  second.request.destroyed = true
  expect(counts()).toEqual([0, 0])
  expect(second.socket.listenerCount('close')).toBe(0)
})

test('a request counts again when its answer has begun: it may be a stream', () => {
  const { ask, pass, counts } = setUp()
  const { response, complete } = ask()
  pass(500)
  response.headersSent = true
  pass(50)
  expect(counts()).toEqual([0, 0])
  pass(1000)
  complete()
  expect(counts()).toEqual([0, 0])
})

test('an upgrade counts as a stream', () => {
  const { ask, pass, counts } = setUp()
  ask().response.statusCode = 101
  pass(500)
  expect(counts()).toEqual([0, 0])
})

test('a client is not slow while the gateway has not read what it sent', () => {
  const { ask, pass, counts } = setUp()
  const { request, complete, listeners } = ask()
  request.readableLength = 100
  for (let i = 0; i < 3; i++) pass(500)
  expect(counts()).toEqual([0, 0])
  request.readableLength = 99
  pass(499)
  expect(counts()).toEqual([0, 0])
  pass(1)
  expect(counts()).toEqual([1, 0])
  request.readableLength = 100
  pass(50)
  expect(counts()).toEqual([0, 0])
  request.readableLength = 0
  pass(500)
  expect([counts(), listeners()]).toEqual([[1, 0], 2])
  complete()
  expect(counts()).toEqual([0, 0])
})
