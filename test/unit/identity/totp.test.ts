import { describe, expect, it } from 'vitest'
import { backupCodeMac, newBackupCode, readBackupCode } from '../../../src/identity/factors/backup-codes.ts'
import { enrolmentOf, newSeed, stepOf } from '../../../src/identity/factors/totp.ts'

/** RFC 6238 appendix B: SHA-1, of whose eight digits the last six are those of six. */
const SEED = Buffer.from('12345678901234567890')
const VECTORS = [
  [59, '94287082', 0x1],
  [1_111_111_109, '07081804', 0x23523ec],
  [1_111_111_111, '14050471', 0x23523ed],
  [1_234_567_890, '89005924', 0x273ef07],
  [2_000_000_000, '69279037', 0x3f940aa],
  [20_000_000_000, '65353130', 0x27bc86aa],
] as const

describe('a code of an app', () => {
  it.each(VECTORS)('RFC 6238 at %d s is %s, of its step', (seconds, digits, step) => {
    expect(stepOf(digits.slice(2), SEED, new Date(seconds * 1000))).toBe(step)
  })

  it('is taken one step early and one step late, and no further', () => {
    const at = (steps: number) => stepOf('005924', SEED, new Date((1_234_567_890 + steps * 30) * 1000))
    expect([-2, -1, 0, 1, 2].map((steps) => at(steps) !== null)).toEqual([false, true, true, true, false])
    expect(at(1)).toBe(0x273ef07)
  })

  it.each([
    '005 924',
    '005-924',
    ' 005924',
    '005924\n',
    '0 0 5 9 2 4',
    '005\u2011924',
    '005\u00a0924',
  ])('is read without spaces and hyphens: %j', (code) => {
    expect(stepOf(code, SEED, new Date(1_234_567_890_000))).toBe(0x273ef07)
  })

  it.each(['', '5924', '0005924', '00592x', '-05924', ' 05924', '005924x', '00.5924', '٠٠٥٩٢٤'])('is not %j', (code) => {
    expect(stepOf(code, SEED, new Date(1_234_567_890_000))).toBeNull()
  })
})

describe('an enrolment', () => {
  const { secret, otpauthUri, qrSvg } = enrolmentOf(SEED, 'Example Inc', 'ann')

  it('has the form that apps read', () => {
    expect(secret).toBe('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ')
    expect(otpauthUri).toBe(
      'otpauth://totp/Example%20Inc:ann?issuer=Example%20Inc&secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&algorithm=SHA1&digits=6&period=30',
    )
    expect(qrSvg).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg" viewBox="[\d ]+">.*<\/svg>$/s)
    expect(qrSvg).not.toMatch(/<script|href|onload/i)
  })

  it('has 160 random bits', () => {
    expect(new Set(Array.from({ length: 50 }, () => newSeed().toString('hex'))).size).toBe(50)
    expect(newSeed()).toHaveLength(20)
  })
})

describe('a backup code', () => {
  it('has ten letters that cannot be misread, and none twice in a thousand', () => {
    const codes = Array.from({ length: 1000 }, newBackupCode)
    expect(new Set(codes).size).toBe(1000)
    for (const code of codes) expect(code).toMatch(/^[0-9a-hjkmnp-tv-z]{5}-[0-9a-hjkmnp-tv-z]{5}$/)
  })

  it.each([
    ['7k2qd-x09mf', '7k2qdx09mf'],
    ['7K2QD X09MF', '7k2qdx09mf'],
    ['7k 2q d\u2013x0 9m f', '7k2qdx09mf'],
    ['7k2qdxO9mf', '7k2qdx09mf'],
    ['lk2qd-xI9mf', '1k2qdx19mf'],
    ['7k2qd-x09m', null],
    ['7k2qd-x09mu', null],
    ['123456', null],
    ['', null],
  ])('%j is read as %j', (typed, code) => {
    expect(readBackupCode(typed)).toBe(code)
  })

  it('has another MAC under another seed', () => {
    expect(backupCodeMac(SEED, '7k2qd-x09mf')).toBe(backupCodeMac(SEED, '7K2QDX09MF'))
    expect(backupCodeMac(SEED, '7k2qd-x09mf')).not.toBe(backupCodeMac(newSeed(), '7k2qd-x09mf'))
  })
})
