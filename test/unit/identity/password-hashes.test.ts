import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hashFault, NO_PASSWORD } from '../../../src/identity/credentials/password-hashes.ts'
import { createPasswords, type Passwords } from '../../../src/identity/credentials/passwords.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'

const SALT_AND_SUM = 'CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'
const argon = (parameters: string, salt = 'c29tZXNhbHRzb21lc2FsdA', sum = 'A'.repeat(43)) => `$argon2id$v=19$${parameters}$${salt}$${sum}`

describe('a hash from elsewhere', () => {
  it.each([
    ...['2a', '2b', '2y'].map((version) => `$${version}$05$${SALT_AND_SUM}`),
    `$2b$04$${SALT_AND_SUM}`,
    `$2b$14$${SALT_AND_SUM}`,
    argon('m=19456,t=2,p=1'),
    argon('m=65536,p=4,t=3'),
    argon('m=262144,t=4,p=1'),
  ])('is taken: %s', (hash) => {
    expect(hashFault(hash)).toBeNull()
  })

  it.each([
    ['bcrypt that takes for ever', `$2b$31$${SALT_AND_SUM}`, 'its cost must be 4 to 14: it is 31'],
    ['bcrypt that takes no time', `$2b$03$${SALT_AND_SUM}`, 'its cost must be 4 to 14: it is 3'],
    ['bcrypt of a broken kind', `$2x$05$${SALT_AND_SUM}`, 'must be bcrypt'],
    ['bcrypt that is cut', `$2b$05$${SALT_AND_SUM.slice(1)}`, 'must be bcrypt'],
    ['bcrypt with more behind it', `$2b$05$${SALT_AND_SUM}\n`, 'must be bcrypt'],
    ['Argon2id of 4 GiB', argon('m=4194304,t=1,p=1'), 'm must be 8 to 262144 KiB'],
    ['Argon2id of next to nothing', argon('m=31,t=1,p=4'), 'm must be 32 to 262144 KiB'],
    ['Argon2id that takes for ever', argon('m=65536,t=4000000000,p=1'), 'm × t must be at most 1048576'],
    ['Argon2id of no pass', argon('m=65536,t=0,p=1'), 'm × t must be at most 1048576'],
    ['Argon2id in a thousand threads', argon('m=65536,t=1,p=1000'), 'p must be 1 to 16'],
    ['Argon2id without memory', argon('t=1,p=1,p=1'), 'm must be'],
    ['Argon2id with a short salt', argon('m=65536,t=1,p=1', 'c2FsdA'), 'must be bcrypt'],
    ['Argon2id of a short sum', argon('m=65536,t=1,p=1', undefined, 'AAAA'), 'must be bcrypt'],
    ['Argon2i', argon('m=65536,t=1,p=1').replace('argon2id', 'argon2i'), 'must be bcrypt'],
    ['an older Argon2id', argon('m=65536,t=1,p=1').replace('v=19', 'v=16'), 'must be bcrypt'],
    ['a digest', '5f4dcc3b5aa765d61d8327deb882cf99', 'must be bcrypt'],
    ['a password', 'correct horse battery', 'must be bcrypt'],
    ['nothing', '', 'must be bcrypt'],
    ['what stands for no password', NO_PASSWORD, 'must be bcrypt'],
  ])('is not: %s', (_, hash, why) => {
    expect(hashFault(hash)).toContain(why)
    if (hash) expect(hashFault(hash)).not.toContain(hash)
  })
})

describe('a password and a hash that was imported', () => {
  let passwords: Passwords
  beforeAll(async () => {
    const argon2 = { memoryKiB: 1024, passes: 1, concurrency: 2, queue: 50 }
    passwords = await createPasswords(
      { minLength: 12, breachCheck: { enabled: false, url: '', timeoutMs: 1 }, argon2 },
      createMetrics('test'),
    )
  })
  afterAll(() => passwords.close())

  const SEVENTY_TWO = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
  const LONG = '$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui'

  // vectors of the crypt_blowfish library
  it.each([
    ['U*U', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'],
    ['U*U', '$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'],
    ['U*U', '$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'],
    ['U*U*', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK'],
    ['U*U*U', '$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a'],
    ['', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy'],
    [SEVENTY_TWO, LONG],
  ])('bcrypt: %s and %s', async (password, hash) => {
    expect(await passwords.verify(hash, password)).toBe(true)
    expect(await passwords.verify(hash, `x${password}`)).toBe(false)
    expect(passwords.needsRehash(hash)).toBe(true)
  })

  it('bcrypt reads 72 bytes, and what follows is ignored, as it always was there', async () => {
    expect(await passwords.verify(LONG, `${SEVENTY_TWO}chars after 72 are ignored`)).toBe(true)
    expect(await passwords.verify(LONG, SEVENTY_TWO.slice(0, 71))).toBe(false)
  })

  it('bcrypt knows no NUL: what is the same to its key schedule is not the same password', async () => {
    const hash = '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'
    for (const password of ['U*U\0', 'U*U\0U*U', 'U*U\0more']) expect(await passwords.verify(hash, password)).toBe(false)
  })

  it.each([
    // the letter and its accent, as two characters
    ['a decomposed accent', 'cafe\u0301 au lait'],
    // the normal form has another character
    ['the ohm sign', 'kilo\u2126 au lait'],
  ])('another program may have hashed what was typed: %s', async (_name, typed) => {
    const { default: argon2 } = await import('argon2')
    const { default: bcrypt } = await import('bcryptjs')
    const imported = [await bcrypt.hash(typed, 4), await argon2.hash(typed, { memoryCost: 1024, timeCost: 3, parallelism: 2 })]
    for (const hash of imported) {
      expect(await passwords.verify(hash, typed)).toBe(true)
      expect(await passwords.verify(hash, typed.normalize('NFC'))).toBe(false)
      expect(await passwords.verify(hash, `${typed}x`)).toBe(false)
    }
    expect(await passwords.verify(await passwords.hash(typed), typed.normalize('NFC'))).toBe(true)
    expect(await passwords.verify(await passwords.hash(typed), typed)).toBe(true)
  })

  it('another program may have hashed the normal form, and the owner types another form', async () => {
    const typed = 'cafe\u0301 au lait'
    const { default: bcrypt } = await import('bcryptjs')
    expect(await passwords.verify(await bcrypt.hash(typed.normalize('NFC'), 4), typed)).toBe(true)
  })

  it.each(['m=1024,t=3,p=2', 'm=1024,p=2,t=3'])('Argon2id with parameters of its own, in any order: %s', async (parameters) => {
    const { default: argon2 } = await import('argon2')
    const made = await argon2.hash('correct horse battery', { memoryCost: 1024, timeCost: 3, parallelism: 2 })
    const hash = made.replace(/m=.*?(?=\$)/, parameters)
    expect(hashFault(hash)).toBeNull()
    expect(await passwords.verify(hash, 'correct horse battery')).toBe(true)
    expect(await passwords.verify(hash, 'correct horse batterx')).toBe(false)
    expect(passwords.needsRehash(hash)).toBe(true)
  })

  it('no password opens an account that has none', async () => {
    for (const password of ['', NO_PASSWORD, 'nobody has this password']) expect(await passwords.verify(NO_PASSWORD, password)).toBe(false)
  })

  it('what is longer than a password may be matches nothing, counted in its normal form', async () => {
    const long = 'é'.repeat(512)
    const hash = await passwords.hash(long)
    expect(await passwords.verify(hash, long.normalize('NFD'))).toBe(true)
    expect(await passwords.verify(await passwords.hash(`${long}x`), `${long}x`)).toBe(false)
  })
})
