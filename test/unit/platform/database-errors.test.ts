import { expect, it } from 'vitest'
import { AnswerTimeout, DatabaseUnavailable, isConnectionLost, sqlState } from '../../../src/platform/db/unavailable.ts'

const failure = (code: string) => Object.assign(new Error(code), { code })

it.each(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT'])('%s is no SQL state, and the connection is lost', (code) => {
  expect([sqlState(failure(code)), isConnectionLost(failure(code))]).toEqual(['', true])
})

it.each([
  ['08006', true],
  ['25006', true],
  ['57P01', true],
  // the server has answered, and the connection can be used
  ['23505', false],
  ['53300', false],
  ['55P03', false],
  ['57014', false],
  ['XX000', false],
])('a connection whose server answered %s is lost: %s', (code, isLost) => {
  expect([sqlState(failure(code)), isConnectionLost(failure(code))]).toEqual([code, isLost])
})

it('a connection without an answer in time is lost, and an error of the program loses none', () => {
  expect(isConnectionLost(new DatabaseUnavailable(new AnswerTimeout()))).toBe(true)
  expect([isConnectionLost(new TypeError('undefined')), isConnectionLost(null), sqlState(undefined)]).toEqual([false, false, ''])
})
