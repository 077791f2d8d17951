import { expect, it } from 'vitest'
import { digestOf, hintOf, holdsApiKey, isApiKey, looksLikeApiKey, makeApiKey } from '../../../src/platform/request/api-key-format.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

it('the form is pinned: prefix, 166 random bits, CRC-32 in base62', () => {
  // crc32('pk_live_0000000000000000000000000000') = 0x95fa3349, by another implementation
  expect(isApiKey('pk_live_0000000000000000000000000000_2kHjAH')).toBe(true)
  for (let i = 0; i < 100; i++) expect(makeApiKey()).toMatch(/^pk_live_[0-9A-Za-z]{28}_[0-9A-Za-z]{6}$/)
})

it('a key that was made is whole, and no two are alike', () => {
  const keys = Array.from({ length: 1000 }, makeApiKey)
  expect(keys.every(isApiKey)).toBe(true)
  expect(new Set(keys).size).toBe(1000)
})

it('any one character that is wrong, any two that changed places, and any that is missing or too many is noticed', () => {
  const key = makeApiKey()
  for (let i = 0; i < key.length; i++) {
    for (const letter of ALPHABET) if (letter !== key[i]) expect(isApiKey(key.slice(0, i) + letter + key.slice(i + 1))).toBe(false)
    if (i > 0 && key[i] !== key[i - 1]) expect(isApiKey(key.slice(0, i - 1) + key[i] + key[i - 1] + key.slice(i + 1))).toBe(false)
    expect(isApiKey(key.slice(0, i) + key.slice(i + 1))).toBe(false)
    expect(isApiKey(`${key.slice(0, i)}0${key.slice(i)}`)).toBe(false)
  }
})

it.each([
  '',
  'pk_live_',
  'pk_live__',
  `${makeApiKey()}\n`,
  ` ${makeApiKey()}`,
  makeApiKey().toUpperCase(),
  makeApiKey().replace('live', 'test'),
])('%j is no key', (text) => expect(isApiKey(text)).toBe(false))

it('a key is known for one of ours however it is dressed, also with a typo', () => {
  const key = makeApiKey()
  for (const value of [key, `Bearer ${key}`, `a, ${key}`, `${key}x`, key.slice(0, 20)]) expect(holdsApiKey(value)).toBe(true)
  expect(looksLikeApiKey(key)).toBe(true)
  for (const value of ['', 'sk_live_x', 'pk-live-x', 'PK_LIVE_x']) expect(holdsApiKey(value)).toBe(false)
})

it('the hint shows 4 of its 28 random characters; the digest is its SHA-256', () => {
  expect(hintOf('pk_live_0000000000000000000000000000_2kHjAH')).toBe('pk_live_0000')
  expect(digestOf('abc')).toBe('ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0')
})
