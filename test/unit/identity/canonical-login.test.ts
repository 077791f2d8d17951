import { describe, expect, it } from 'vitest'
import {
  canonicalEmail,
  canonicalLogin,
  canonicalUsername,
  isEmail,
  isUsername,
  nameFaults,
  shownEmail,
} from '../../../src/identity/users/canonical-login.ts'

describe('a login', () => {
  it.each([
    ['Ann', 'ann'],
    ['  ann  ', 'ann'],
    ['ann', 'ann'],
    ['Ann@Example.COM', 'ann@example.com'],
    [' ann@example.com\t', 'ann@example.com'],
    ['Jose\u0301@example.com', 'jos\u00e9@example.com'],
    ['JOS\u00c9@EXAMPLE.com', 'jos\u00e9@example.com'],
    ['info@b\u00fccher.example', 'info@xn--bcher-kva.example'],
    ['Info@B\u00dcCHER.example', 'info@xn--bcher-kva.example'],
    ['info@bu\u0308cher.example', 'info@xn--bcher-kva.example'],
    ['info@XN--BCHER-KVA.example', 'info@xn--bcher-kva.example'],
    ['ann@\uff45xample.com', 'ann@example.com'],
    ['ann@example\u3002com', 'ann@example.com'],
    ['ann@ex\u200bample.com', 'ann@example.com'],
    ['ann@fa\u00df.example', 'ann@xn--fa-hia.example'],
    // what IDNA refuses stays as it is
    ['Ann@xn--a.example', 'ann@xn--a.example'],
    ['ann@a%41.example', 'ann@a%41.example'],
    ['ann@a/b.example', 'ann@a/b.example'],
    ['ann@0x7f.1', 'ann@0x7f.1'],
    ['ann@foo_bar.example', 'ann@foo_bar.example'],
  ])('%j leads to %j', (typed, canonical) => {
    expect(canonicalLogin(typed)).toBe(canonical)
  })

  it('is spelled as the account is stored', () => {
    for (const email of ['Ann@Example.com', 'Jose\u0301@Example.com']) expect(canonicalLogin(email)).toBe(canonicalEmail(email))
    for (const username of ['Ann', 'A.N_n-1']) expect(canonicalLogin(username)).toBe(canonicalUsername(username))
  })

  it('has one form: a second conversion changes nothing', () => {
    for (const typed of [
      'Ann',
      ' ANN@x.Org ',
      'I\u0307@example.com',
      '\u1e9e@example.com',
      '\u212a@example.com',
      '\ufb01@example.com',
      'a@b\u00fccher.example',
      'a@b@\uff45x.com',
      '@',
    ])
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
    'ann@b\u00fccher.example',
    'ann@xn--bcher-kva.example',
    'ann@\uff45xample.com',
    'ann@foo_bar.example',
    'ann@3com.example',
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
    `a@${'b'.repeat(64)}.example`,
    'ann@example.com\u3002',
    'ann\u3002@example.com/x',
    'ann@exam%70le.com',
    'ann@example.com?x',
    'ann@example.com#x',
    'ann@127.0.0.1',
    'ann@0x7f',
    'ann@\u202eabc.example',
    // invisible
    'a\u200bnn@example.com',
    'ann\u00ad@example.com',
    'ann@exam\u200dple.com',
    'ann@example\u2060.com',
    'ann\ufe0f@example.com',
    'a\ufff9nn@example.com',
    'a\u0600nn@example.com',
    // other forms of letters
    '\uff41nn@example.com',
    '\ufb01@example.com',
  ])('may not be %j', (email) => {
    expect(isEmail(email)).toBe(false)
  })

  it.each([
    ['a\u200bnn@example.com', 'must not contain invisible characters'],
    ['ann@exam%70le.com', 'must have a valid domain'],
    [`a@${'b'.repeat(64)}.example`, 'must have a valid domain'],
    ['\uff41nn@example.com', 'must be written with ordinary letters before the @'],
    ['ann', 'must be an e-mail address'],
  ])('%j: the answer says what is wrong', (email, detail) => {
    expect(nameFaults(undefined, email)).toEqual([{ field: 'email', code: 'format', detail }])
  })

  it.each([
    ['Ann@Example.com', 'Ann@Example.com'],
    ['Info@b\u00fccher.example', 'Info@b\u00fccher.example'],
    ['info@xn--bcher-kva.example', 'info@xn--bcher-kva.example'],
    ['Ann@\uff25xample.com', 'Ann@example.com'],
    ['ann@b\u00fccher\u3002example', 'ann@b\u00fccher.example'],
  ])('%j is stored as %j', (typed, stored) => {
    expect(shownEmail(typed)).toBe(stored)
    expect(canonicalEmail(stored)).toBe(canonicalEmail(typed))
  })
})
