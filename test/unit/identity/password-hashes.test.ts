import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { firebaseHash, importedHash, pbkdf2Hash } from '../../../src/identity/credentials/password-hashes.ts'
import { createPasswords, type Passwords } from '../../../src/identity/credentials/passwords.ts'
import { NO_PASSWORD } from '../../../src/identity/users/users.repo.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'

const SALT_AND_SUM = 'CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'
const argon = (parameters: string, salt = 'c29tZXNhbHRzb21lc2FsdA', sum = 'A'.repeat(43)) => `$argon2id$v=19$${parameters}$${salt}$${sum}`
const stored = (text: string): string => {
  const read = importedHash(text)
  if ('fault' in read) throw new Error(read.fault)
  return read.hash
}
const hashFault = (text: string): string | null => {
  const read = importedHash(text)
  return 'fault' in read ? read.fault : null
}
const PBKDF2_SUM = 'bUu7Vu3oF6YKOvZCPZ7sJVN3p5E'
const HEX = (characters: number) => 'a1'.repeat(characters / 2)

describe('a hash from elsewhere', () => {
  it.each([
    ...['2a', '2b', '2y'].map((version) => `$${version}$05$${SALT_AND_SUM}`),
    `$2b$04$${SALT_AND_SUM}`,
    `$2b$14$${SALT_AND_SUM}`,
    argon('m=19456,t=2,p=1'),
    argon('m=65536,p=4,t=3'),
    argon('m=262144,t=4,p=1'),
    argon('m=65536,t=1,p=1').replace('argon2id', 'argon2i'),
    `$pbkdf2-sha1$i=3000000$c2FsdA$${PBKDF2_SUM}`,
    `$scrypt$ln=18,r=8,p=1$c2FsdA$${PBKDF2_SUM}`,
    `$firebase-scrypt$ln=14,r=8,p=1$c2FsdA$${PBKDF2_SUM}`,
    `${HEX(32)}:${HEX(128)}`,
    `bcrypt_sha256$$2b$12$${SALT_AND_SUM}`,
    `$wp$2y$10$${SALT_AND_SUM}`,
    '$P$BIRXVj/ZG0YRiBH8gnRy0x72k69vXq.',
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
    ['Argon2i of 4 GiB', argon('m=4194304,t=1,p=1').replace('argon2id', 'argon2i'), 'm must be 8 to 262144 KiB'],
    ['Argon2d', argon('m=65536,t=1,p=1').replace('argon2id', 'argon2d'), 'is Argon2d: only Argon2id and Argon2i are accepted'],
    ["Django's Argon2d", `argon2${argon('m=65536,t=1,p=1').replace('argon2id', 'argon2d')}`, 'is Argon2d'],
    ["Django's Argon2id of 4 GiB", `argon2${argon('m=4194304,t=1,p=1')}`, 'm must be 8 to 262144 KiB'],
    ["Django's bcrypt that takes for ever", `bcrypt$$2b$31$${SALT_AND_SUM}`, 'its cost must be 4 to 14: it is 31'],
    ["Django's bcrypt_sha256 that takes for ever", `bcrypt_sha256$$2b$31$${SALT_AND_SUM}`, 'its cost must be 4 to 14: it is 31'],
    ["WordPress's bcrypt that takes for ever", `$wp$2y$31$${SALT_AND_SUM}`, 'its cost must be 4 to 14: it is 31'],
    ['PBKDF2 that takes for ever', `$pbkdf2-sha512$i=3000001$c2FsdA$${PBKDF2_SUM}`, 'its iterations must be 1 to 3000000: it has 3000001'],
    ["Django's PBKDF2 that takes for ever", `pbkdf2_sha256$999999999$salt$${PBKDF2_SUM}=`, 'its iterations must be 1 to 3000000'],
    ['PBKDF2 of no iteration', `$pbkdf2-sha256$i=0$c2FsdA$${PBKDF2_SUM}`, 'its iterations must be 1 to 3000000: it has 0'],
    ['PBKDF2 of a short sum', '$pbkdf2-sha256$i=1000$c2FsdA$AAAA', 'must be bcrypt'],
    ['PBKDF2 without a salt', `$pbkdf2-sha256$i=1000$$${PBKDF2_SUM}`, 'must be bcrypt'],
    ['PBKDF2 of MD5', `$pbkdf2-md5$i=1000$c2FsdA$${PBKDF2_SUM}`, 'must be bcrypt'],
    ['scrypt of 512 MiB', `$scrypt$ln=19,r=8,p=1$c2FsdA$${PBKDF2_SUM}`, 'N × r × p must be at most 2097152'],
    ['scrypt that takes for ever', `$scrypt$ln=14,r=8,p=17$c2FsdA$${PBKDF2_SUM}`, 'N × r × p must be at most 2097152'],
    ['scrypt of no block', `$scrypt$ln=14,r=0,p=1$c2FsdA$${PBKDF2_SUM}`, 'N × r × p must be at most'],
    ['scrypt of N = 1', `$scrypt$ln=0,r=8,p=1$c2FsdA$${PBKDF2_SUM}`, 'N × r × p must be at most'],
    ['scrypt that OpenSSL refuses', `$scrypt$ln=16,r=1,p=1$c2FsdA$${PBKDF2_SUM}`, 'N × r × p must be at most'],
    ["Django's scrypt with an odd N", `scrypt$5000$salt$8$1$${PBKDF2_SUM}=`, 'must be bcrypt'],
    ["Firebase's scrypt of 512 MiB", `$firebase-scrypt$ln=19,r=8,p=1$c2FsdA$${PBKDF2_SUM}`, 'N × r × p must be at most 2097152'],
    ['phpass that takes for ever', '$P$U12345678OEbBwPqcBB1ocnNSbJlCC/', 'its cost must be 7 to 16: it is 32'],
    ["better-auth's scrypt with a cut sum", `${HEX(32)}:${HEX(126)}`, 'must be bcrypt'],
    ["Django's unusable password", '!qTvKZ1Nnzxc0M0oQhw9eTzbYVdiYvD3oxU1RcGQw', 'must be bcrypt'],
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

describe('a hash in the form of another program', () => {
  it.each([
    ['Django, Argon2', `argon2${argon('m=1024,t=2,p=2')}`, argon('m=1024,t=2,p=2')],
    ['Django, bcrypt', `bcrypt$$2b$12$${SALT_AND_SUM}`, `$2b$12$${SALT_AND_SUM}`],
    ['Django, PBKDF2', `pbkdf2_sha1$20000$seasalt2$${PBKDF2_SUM}=`, `$pbkdf2-sha1$i=20000$c2Vhc2FsdDI$${PBKDF2_SUM}`],
    ['Django, scrypt', `scrypt$16384$seasalt2$8$5$${PBKDF2_SUM}=`, `$scrypt$ln=14,r=8,p=5$c2Vhc2FsdDI$${PBKDF2_SUM}`],
    [
      'passlib, PBKDF2',
      '$pbkdf2$1000$s1ZqbS0lhBACgBCiNEYopQ$vmRO.cJ2i1T4GhPw.OqPOgMzAe0',
      '$pbkdf2-sha1$i=1000$s1ZqbS0lhBACgBCiNEYopQ$vmRO+cJ2i1T4GhPw+OqPOgMzAe0',
    ],
    ['phpBB', '$H$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0', '$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0'],
  ])('is stored in the form of its kind: %s', (_, text, form) => {
    expect(stored(text)).toBe(form)
    expect(stored(form)).toBe(form)
  })

  it('Firebase: neither the stored form nor a fault holds the signer key', () => {
    const signerKey = Buffer.alloc(64, 7)
    const hash = firebaseHash({
      ln: 14,
      r: 8,
      p: 1,
      separator: Buffer.from([7]),
      signerKey,
      salt: Buffer.from('salt'),
      sum: Buffer.alloc(64, 7),
    })
    expect(hash).toBe(`$firebase-scrypt$ln=14,r=8,p=1$c2FsdAc$${'A'.repeat(86)}`)
    const other = { ln: 14, r: 8, p: 1, separator: Buffer.from([7]), signerKey, salt: Buffer.from('salt'), sum: Buffer.alloc(63, 7) }
    expect(firebaseHash(other)).toBeNull()
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

  // made by the programs themselves: Django 5.2.8, passlib 1.7.4, argon2-cffi 25.1.0, better-auth 1.4; WordPress by its rule;
  // Firebase from the README of its scrypt repository, phpass and phpBB from the tests of phpass and passlib
  const FIREBASE =
    '$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==' +
    '$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=='
  const KEYCLOAK =
    '$pbkdf2-sha512$i=1000$o/S+d25NyZmT8v5f651TKg$nQbcQQSPY0tIuG2eQjd5DaQQmcbW0Kyo3h4tj2woKLQ66mvROfbtpkRXmHIIi2m+TJgrSTryM36oQg1yovayNQ'
  it.each([
    ['Django, PBKDF2-SHA256', 'correct horse battery', 'pbkdf2_sha256$20000$seasalt2seasalt2$hOFaxvklYhpEG80oD27NC7xKC8cqNwq6sf4xaRXw4To='],
    [
      'Django, PBKDF2-SHA256, umlauts',
      'Grüße an Zebra 55',
      'pbkdf2_sha256$20000$seasalt2seasalt2$OAvZmtPuuBb2w59JwZxz0lxmv5dU7gS4dyfpi/Wbqxk=',
    ],
    ['Django, PBKDF2-SHA1', 'correct horse battery', 'pbkdf2_sha1$20000$seasalt2seasalt2$bUu7Vu3oF6YKOvZCPZ7sJVN3p5E='],
    ['Django, bcrypt_sha256', 'correct horse battery', 'bcrypt_sha256$$2b$05$cdCzwV/UAFQkqilM3LNxpeN/2jfjOmMo299lA2WFMALKIqmZx8tj2'],
    ['Django, bcrypt_sha256, umlauts', 'Grüße an Zebra 55', 'bcrypt_sha256$$2b$05$9R6fTculbPtPMVeTkPqA.OyvYCiXVKucvTMSI2.2GaCCuY3t12S5a'],
    ['Django, bcrypt', 'correct horse battery', 'bcrypt$$2b$05$pDtRitjkV1WPInOVCZ37G.5u9PdTGnu2df.V4sSvC9Unftt.j/R9a'],
    [
      'Django, Argon2id',
      'correct horse battery',
      'argon2$argon2id$v=19$m=1024,t=2,p=2$ZVBUOVAzRWhJN0Q2TGVZZU5IR1I5Ng$jbgqHvbjcm2oRm+lMGMLa5GBVYID2i5CXHYVPAu17iY',
    ],
    [
      'Django, scrypt',
      'correct horse battery',
      'scrypt$4096$7lvDDpeU8RwZjD3vs1XjLA$8$5$84+QI325q91wloAGydDfTzLA2IB2Akd9Td5Z9+U+DevQmfIPSIP5Tukh3IP6lrwDh+Via6KRiXt6Q51B6mzvQA==',
    ],
    ['passlib, PBKDF2-SHA1', 'correct horse battery', '$pbkdf2$1000$s1ZqbS0lhBACgBCiNEYopQ$vmRO.cJ2i1T4GhPw.OqPOgMzAe0'],
    [
      'passlib, PBKDF2-SHA256',
      'correct horse battery',
      '$pbkdf2-sha256$1000$GmNsrTUGwNhbS6kVYgyhdA$t.S2nmEbvsrSDxJFb8WaC1xw1z9z2bLUno70Fkl9cLY',
    ],
    ['PBKDF2-SHA512 as a PHC string', 'correct horse battery', KEYCLOAK],
    [
      'passlib, scrypt',
      'correct horse battery',
      '$scrypt$ln=10,r=8,p=1$JoQQAkDIWeu911qrde49Jw$EeV46nwW8GLkoOEcFQ5aTRUmiOTtuUwgWsXqs69kYPA',
    ],
    ['Argon2i', 'correct horse battery', '$argon2i$v=19$m=1024,t=2,p=1$hnU0kovsc9VX2YYYrqdgjw$sc3wFey1s3rnQDbmY91/AkQhSBwn6jVE7yVEsXudP+I'],
    [
      'better-auth',
      'correct horse battery',
      '2512b6190a53bce1b5a9fcd114d4e572:df61c3ed6f1f1d0ccc9a471f9ebaa4e087823efd67abe928949fa979291588ccf0fbcbe0382be1e52395910f858a816bf386e2a70e4871f6de14630eed912b91',
    ],
    [
      'better-auth, its normal form NFKC',
      'ﬁne Zebra ① cafe\u0301 words',
      '6d57d06b983e42791a3c904187c2414c:8ade0003836ebfd252ad077774fd3a6fe34ebf2ecf002b8db94c74eb1931cad7743d630870255fbd752b8ea5bdcd175661a42b5462812a21a69cb7f0a15e3a02',
    ],
    ['WordPress 6.8', 'correct horse battery', '$wp$2y$05$9a.cCX9WuZDbIBj13ugWVehTZbPEiWmE0FUnsju74uW.vL0sCwa3O'],
    ['WordPress 6.8, spaces around', ' \tGrüße an Zebra 55\n', '$wp$2y$05$DpkNN6W1rSSKzlhSmmWpbeksMQWV/N/oxzscGty5X2MvuelhgSCuC'],
    ['phpass of WordPress', 'test12345', '$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0'],
    ['phpass with another salt', 'correct horse battery', '$P$6DbttB.34Pidukle1oIB7WYfUxsRb6.'],
    ['phpBB', 'Grüße an Zebra 55', '$H$BxYKzPM0B6T53hKOfsWUKWPO1min7H.'],
    ['Firebase, as Supabase stores it', 'user1password', FIREBASE],
  ])('%s: the right password matches, another does not', async (_, password, text) => {
    const hash = stored(text)
    expect(await passwords.verify(hash, password)).toBe(true)
    for (const wrong of [password.slice(0, -3), '']) expect(await passwords.verify(hash, wrong)).toBe(false)
    expect(passwords.needsRehash(hash)).toBe(true)
  })

  it('Keycloak: a sum of several blocks is that of its first block', async () => {
    const { pbkdf2Sync } = await import('node:crypto')
    const sum = pbkdf2Sync('correct horse battery', 'sixteen of bytes', 1000, 64, 'sha256')
    const hash = pbkdf2Hash({ digest: 'sha256', iterations: 1000, salt: Buffer.from('sixteen of bytes'), sum })
    expect(hash).toHaveLength('$pbkdf2-sha256$i=1000$'.length + 22 + 1 + 43)
    expect(await passwords.verify(hash, 'correct horse battery')).toBe(true)
    expect(await passwords.verify(hash, 'correct horse batterx')).toBe(false)
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
