import { expect, it } from 'vitest'
import { readForm } from '../../../src/platform/http/form.ts'

it.each([
  ['', {}],
  ['a=b', { a: 'b' }],
  ['a=b&c=d', { a: 'b', c: 'd' }],
  ['a=b+c%20d%2Be', { a: 'b c d+e' }],
  ['a==', { a: '=' }],
  ['a=%C3%BC', { a: 'ü' }],
  // RFC 6749 §3.2: as if it were not there
  ['a=&b&c=1', { c: '1' }],
  ['&a=1&&b=2&', { a: '1', b: '2' }],
])('%j is %j', (text, form) => {
  expect({ ...readForm(text) }).toEqual(form)
})

it('names are names, whatever objects mean by them', () => {
  const form = readForm('__proto__=a&constructor=b')
  expect(Object.entries(form)).toEqual([
    ['__proto__', 'a'],
    ['constructor', 'b'],
  ])
  expect(form.toString).toBeUndefined()
})

it.each([
  'a=1&a=1',
  'a=1&a=2',
  'a=&a=1',
  'a&a',
  'a=1&%61=2',
  'a=%',
  'a=%2',
  'a=%zz',
  'a=%ff',
  'a=%c0%af',
  'a=%ed%a0%80',
  'a=ü',
  'a=b c',
  'a=\0',
  'a=\n',
])('%j is refused', (text) => {
  expect(() => readForm(text)).toThrow(expect.objectContaining({ code: 'invalid_request' }))
})
