import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { cookieHash, createCookieValues, looksLikeCookieValue, wishOf } from '../../../src/identity/sessions/cookie-values.ts'
import { createSecrets } from '../../../src/platform/vault/secrets.ts'

const key = randomBytes(32)
const values = createCookieValues(createSecrets(key))

describe('a value', () => {
  const value = values.make('browser')

  it('is random, short, and ours', () => {
    expect(looksLikeCookieValue(value)).toBe(true)
    expect(value).toHaveLength(58)
    expect(values.make('browser')).not.toBe(value)
    expect(values.isGenuine('browser', value)).toBe(true)
    expect(cookieHash(value)).toHaveLength(32)
  })

  it('counts for one purpose', () => {
    expect(values.isGenuine('console', value)).toBe(false)
    expect(values.isGenuine('browser', values.make('console'))).toBe(false)
  })

  it('is rubbish with one other character, wherever it is', () => {
    for (let i = 0; i < value.length; i++) {
      const other = value[i] === 'A' ? 'B' : 'A'
      expect(values.isGenuine('browser', value.slice(0, i) + other + value.slice(i + 1)), `character ${i}`).toBe(false)
    }
  })

  it.each([
    '',
    'ps_',
    `${'x'.repeat(58)}`,
    ' ',
    `"${value}"`,
    `${value}=`,
    value.slice(0, -1),
    `${value}a`,
    value.toUpperCase(),
  ])('is not %j', (text) => {
    expect(values.isGenuine('browser', text)).toBe(false)
  })

  it('is ours after the secret key was rotated, while the previous key is known', () => {
    const next = randomBytes(32)
    expect(createCookieValues(createSecrets(next, key)).isGenuine('browser', value)).toBe(true)
    expect(createCookieValues(createSecrets(next)).isGenuine('browser', value)).toBe(false)
    expect(createCookieValues(createSecrets(next, key)).make('browser')).not.toBe(value)
  })
})

it('a login asks for tokens, or for a cookie of one purpose', () => {
  expect(wishOf({})).toBeNull()
  expect(wishOf({ session: 'cookie' })).toEqual({ purpose: 'browser', isPersistent: false })
  expect(wishOf({ session: 'cookie', remember: true })).toEqual({ purpose: 'browser', isPersistent: true })
  expect(wishOf({ session: 'console' })).toEqual({ purpose: 'console', isPersistent: false })
})
