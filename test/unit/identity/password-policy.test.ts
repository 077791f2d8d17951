import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { createPasswordPolicy } from '../../../src/identity/credentials/password-policy.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'
import { configWith } from '../../support/config.ts'

const policyOf = (config: object = {}) => createPasswordPolicy(configWith(config), createMetrics('test'), createLogger('silent'))
const policy = policyOf()
const GOOD = 'correct horse battery'

describe('the length of a password', () => {
  it('is counted in characters of its normal form: however accents are typed, and whatever an emoji takes', async () => {
    const accents = 'é'.normalize('NFD')
    expect(await policy(`${accents.repeat(3)} tulip b`, [])).toEqual({ code: 'too_short', detail: 'must be at least 12 characters long' })
    expect(await policy(`${accents.repeat(3)} tulip by`, [])).toBeNull()
    expect(await policy('🐎🔋🖇'.repeat(3), [])).toEqual({ code: 'too_short', detail: 'must be at least 12 characters long' })
    expect(await policy('🐎🔋🖇🏰🪤🗝🧂🪑🧵🪡🐎🧂', [])).toBeNull()
  })

  it('is by configuration, down to 8', async () => {
    const short = policyOf({ auth: { password: { minLength: 8 } } })
    expect(await short('tulip/7', [])).toEqual({ code: 'too_short', detail: 'must be at least 8 characters long' })
    expect(await short('tulip/7x', [])).toBeNull()
  })

  it.each([64, 65, 256, 1024])('may be %i', async (length) => {
    expect(await policy('x'.repeat(length), [])).toBeNull()
  })

  it('ends at 1 KiB of its normal form, in bytes', async () => {
    expect(await policy('x'.repeat(1025), [])).toEqual({ code: 'too_long', detail: 'must be at most 1024 bytes long' })
    expect(await policy('é'.repeat(512), [])).toBeNull()
    expect(await policy('é'.normalize('NFD').repeat(512), [])).toBeNull()
    expect(await policy('é'.repeat(513), [])).toEqual({ code: 'too_long', detail: 'must be at most 1024 bytes long' })
  })
})

describe('any character may be in it', () => {
  it.each([
    ['spaces of every kind', '  \t a b\u3000 \u00a0 c\n '],
    ['only digits', '837261940582'],
    ['only small letters', 'tulipsbyriver'],
    ['control characters and NUL', '\0\u0001\u007f\u0085 tulips by'],
    ['other scripts', 'красный дракон летит'],
    ['what breaks SQL and HTML', `'; DROP TABLE users; -- <b>`],
  ])('%s', async (_, password) => {
    expect(await policy(password, [])).toBeNull()
  })

  it('but half a character: all of these would be one', async () => {
    expect(await policy(`${GOOD}\ud800`, [])).toEqual({ code: 'format', detail: 'must be Unicode text' })
  })
})

describe('a password that is tried first is refused', () => {
  const TOO_COMMON = { code: 'too_common', detail: 'is too common: attackers try it first' }

  it.each([
    ['in the list', '1qaz2wsx3edc'],
    ['in the list, in other case', 'LeaveMeAlone'],
    ['in the list, in full-width letters', 'ｌｅａｖｅｍｅａｌｏｎｅ'],
    ['a word of it and what makes it long enough', 'Password2026!'],
    ['the same in front', '123456monkey'],
    ['a word of it twice', 'qwertyqwerty'],
    ['a word of it twice and a number', 'MonkeyMonkey1!'],
    ['one character', 'aaaaaaaaaaaa'],
    ['three characters again and again', 'abcabcabcabc'],
    ['a number of it twice', '123456123456'],
  ])('%s', async (_, password) => {
    expect(await policy(password, [])).toEqual(TOO_COMMON)
  })

  it.each([
    'correct horse battery',
    'my monkey eats a password',
    '7f3a91c0monkey',
    'password tulip river',
  ])('and one in which such a word is a small part is not: %s', async (password) => {
    expect(await policy(password, [])).toBeNull()
  })

  it('the list is sorted, in lower case, free of doubles, with more than 3,000 entries, and says whose it is', () => {
    const text = readFileSync('src/identity/credentials/common-passwords.txt', 'utf8')
    const lines = text.trimEnd().split('\n')
    const entries = lines.filter((line) => !line.startsWith('# '))
    expect(lines.slice(0, lines.length - entries.length).join('\n')).toContain('Permission is hereby granted')
    expect(entries).toEqual([...new Set(entries.map((e) => e.toLowerCase()))].sort())
    expect(entries.filter((e) => e.length >= 8).length).toBeGreaterThan(3000)
    expect(Buffer.byteLength(text)).toBeLessThan(300 * 1024)
  })
})

describe('a password that is made of names is refused', () => {
  const named = policyOf({
    server: { publicUrl: 'https://api.moneybox.example.com' },
    auth: { mfa: { issuer: 'Grand Bank' } },
  })
  const own = ['Annabella', 'bella.rossi@mail.test']

  it.each([
    ['the username', 'annabella1234'],
    ['the username backed up with a little', '!!ANNABELLA-99'],
    ['the e-mail address', 'Bella.Rossi@mail.test'],
    ['what stands before its @', 'bella.rossi2026'],
    ['a part of it', 'rossirossi2026'],
    ['both names', 'annabellarossi'],
    ['the host of the service', 'moneybox-2026'],
    ['what authenticators call it', 'Grand Bank 26'],
    ['the product', 'portcullis-26'],
  ])('%s', async (_, password) => {
    expect(await named(password, own)).toEqual({
      code: 'contains_name',
      detail: 'must be more than your username, your e-mail address or the name of this service',
    })
  })

  it.each([
    'annabella likes tulips',
    'a bank by the grand canal',
    'moneybox-8fk2mxq1',
  ])('but not one that is more: %s', async (password) => {
    expect(await named(password, own)).toBeNull()
  })

  it('however accents were typed', async () => {
    expect(await named('Zoë-Fréchët12'.normalize('NFD'), ['zoë', 'fréchët@mail.test'])).toMatchObject({
      code: 'contains_name',
      detail: expect.stringContaining('must be more than'),
    })
  })

  it('names of three letters are part of many words', async () => {
    expect(await named('anniversaries', ['ann', 'bo@mail.test'])).toBeNull()
  })
})
