import { expect, test } from 'vitest'
import { assertAllowed, isProven } from '../../../src/identity/providers/email-trust.ts'

const ann = { email: 'Ann@Example.com', isEmailVerified: true }

test.each([
  ['a verified address of a listed domain', { allowedDomains: ['example.com'], trustEmail: true }, ann, true],
  ['any domain with *', { allowedDomains: ['*'], trustEmail: true }, ann, true],
  ['another domain', { allowedDomains: ['example.org'], trustEmail: true }, ann, false],
  [
    'a domain below the listed domain',
    { allowedDomains: ['example.com'], trustEmail: true },
    { ...ann, email: 'ann@mail.example.com' },
    false,
  ],
  ['a domain that ends alike', { allowedDomains: ['example.com'], trustEmail: true }, { ...ann, email: 'ann@evilexample.com' }, false],
  [
    'an address with two signs',
    { allowedDomains: ['example.com'], trustEmail: true },
    { ...ann, email: 'ann@example.com@evil.test' },
    false,
  ],
  ['an address that is not verified', { allowedDomains: ['example.com'], trustEmail: true }, { ...ann, isEmailVerified: false }, false],
  ['a provider that is not trusted', { allowedDomains: ['example.com'], trustEmail: false }, ann, false],
  ['no address', { allowedDomains: ['*'], trustEmail: true }, { email: null, isEmailVerified: true }, false],
])('%s', (_, settings, login, expected) => {
  expect(isProven(settings, login)).toBe(expected)
})

test('allowedDomains admits only verified addresses of these domains', () => {
  expect(() => assertAllowed({ allowedDomains: ['example.com'], trustEmail: false }, ann)).not.toThrow()
  expect(() => assertAllowed({ allowedDomains: [], trustEmail: false }, { email: null, isEmailVerified: false })).not.toThrow()
  for (const login of [
    { ...ann, isEmailVerified: false },
    { email: null, isEmailVerified: false },
    { ...ann, email: 'a@b.test' },
  ])
    expect(() => assertAllowed({ allowedDomains: ['example.com'], trustEmail: false }, login)).toThrow(
      expect.objectContaining({ code: 'provider_refused' }),
    )
})
