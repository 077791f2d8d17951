import { expect, it } from 'vitest'
import type { Exchange } from '../../../src/proxy/routing/exchange.ts'
import { ANSWERED, type Call, stagesFrom } from '../../../src/proxy/stages.ts'

const call = {} as Call
const exchange = () => ({ label: '' }) as Exchange
const note = (text: string) => (exchange: Exchange) => {
  exchange.label += text
}

it('stages run in their order, whether they wait or not', async () => {
  const stages = stagesFrom<Exchange>()
    .check('a', note('a'))
    .check('b', async (exchange) => note('b')(exchange))
    .learn('c', (exchange) => {
      note('c')(exchange)
      return exchange
    })
    .check('d', async (exchange) => note('d')(exchange))
    .check('e', note('e'))
  const passed = exchange()
  await stages.pass(passed, call)
  expect(passed.label).toBe('abcde')
  expect(stages.names).toEqual(['a', 'b', 'c', 'd', 'e'])
})

it('stages of which none waits pass without a promise', () => {
  const passed = exchange()
  expect(stagesFrom<Exchange>().check('a', note('a')).check('b', note('b')).pass(passed, call)).toBeUndefined()
  expect(passed.label).toBe('ab')
})

it.each(['at once', 'after a stage that waits'])('no stage follows a stage that has answered, %s', async (when) => {
  const passed = exchange()
  const stages = stagesFrom<Exchange>()
    .check('first', when === 'at once' ? () => {} : async () => {})
    .answer('second', () => ANSWERED)
    .check('third', note('third'))
  expect(await stages.pass(passed, call)).toBe(ANSWERED)
  expect(passed.label).toBe('')
})

it('no stage follows a stage that refuses', async () => {
  const refuse = () => {
    throw new Error('no')
  }
  const passed = exchange()
  expect(() => stagesFrom<Exchange>().check('a', refuse).check('b', note('b')).pass(passed, call)).toThrow('no')
  await expect(
    stagesFrom<Exchange>()
      .check('a', async () => refuse())
      .check('b', note('b'))
      .pass(passed, call),
  ).rejects.toThrow('no')
  expect(passed.label).toBe('')
})
