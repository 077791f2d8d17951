import { describe, expect, it } from 'vitest'
import { canonicalEmail, canonicalLogin, canonicalUsername, isEmail, isUsername } from '../../../src/identity/users/canonical-login.ts'

describe('a login', () => {
  it.each([
    ['Ann', 'ann'],
    ['  ann  ', 'ann'],
    ['ann', 'ann'],
    ['Ann@Example.COM', 'ann@example.com'],
    [' ann@example.com\t', 'ann@example.com'],
    ['Jose\u0301@example.com', 'jos\u00e9@example.com'],
    ['JOS\u00c9@EXAMPLE.com', 'jos\u00e9@example.com'],
  ])('%j leads to %j', (typed, canonical) => {
    expect(canonicalLogin(typed)).toBe(canonical)
  })

  it('is spelled as the account is stored', () => {
    for (const email of ['Ann@Example.com', 'Jose\u0301@Example.com']) expect(canonicalLogin(email)).toBe(canonicalEmail(email))
    for (const username of ['Ann', 'A.N_n-1']) expect(canonicalLogin(username)).toBe(canonicalUsername(username))
  })

  it('has one form: a second conversion changes nothing', () => {
    for (const typed of ['Ann', ' ANN@x.Org ', 'I\u0307@example.com', '\u1e9e@example.com', '\u212a@example.com', '\ufb01@example.com'])
      expect(canonicalLogin(canonicalLogin(typed))).toBe(canonicalLogin(typed))
  })
})

describe('a username', () => {
  it.each(['ann', 'a-n', '007', 'a.b_c-d', 'a'.repeat(32)])('may be %s', (name) => {
    expect(isUsername(name)).toBe(true)
  })

  it.each([
    '',
    'ab',
    'a'.repeat(33),
    'Ann',
    '.ann',
    '-ann',
    '_ann',
    'ann@x',
    'a nn',
    'ann\n',
    'änn',
    'ann/..',
    'a\u0000nn',
    '\u212ann',
  ])('may not be %j', (name) => {
    expect(isUsername(name)).toBe(false)
  })
})

describe('an e-mail address', () => {
  it.each([
    'a@b.c',
    'ann.lee+tag@example.co.uk',
    "o'hara@example.com",
    'ann@localhost',
    'jos\u00e9@example.com',
    `${'a'.repeat(64)}@example.com`,
  ])('may be %s', (email) => {
    expect(isEmail(email)).toBe(true)
  })

  it.each([
    '',
    'ann',
    '@example.com',
    'ann@',
    'ann@b@c.d',
    'a nn@example.com',
    ' ann@example.com',
    'ann@example.com ',
    'ann@example.com\n',
    'ann@exa\u0000mple.com',
    'ann@example.com\u0085',
    '.ann@example.com',
    'ann.@example.com',
    'a..b@example.com',
    'ann@.example.com',
    'ann@example..com',
    'ann@example.com.',
    'ann@-example.com',
    'ann,bob@example.com',
    'ann;bob@example.com',
    'Ann <ann@example.com>',
    '"ann"@example.com',
    'ann@[127.0.0.1]',
    'ann\\@example.com',
    `${'a'.repeat(65)}@example.com`,
    `a@${'b'.repeat(190)}`,
  ])('may not be %j', (email) => {
    expect(isEmail(email)).toBe(false)
  })
})
