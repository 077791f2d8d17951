/** For a day without the phone: codes of 50 random bits, shown once, each good once. */
import { createHmac, randomInt, timingSafeEqual } from 'node:crypto'

export const BACKUP_CODES = 10
/** Crockford's: no letter that is read as a digit, and none twice. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const LENGTH = 10

/** Such as `7k2qd-x09mf`. */
export function newBackupCode(): string {
  const letters = Array.from({ length: LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')
  return `${letters.slice(0, LENGTH / 2)}-${letters.slice(LENGTH / 2)}`
}

/** In any case, with or without the hyphen, and as it was misread; null when it cannot be one. */
export function readBackupCode(typed: string): string | null {
  const code = typed.toLowerCase().replace(/[\s-]/g, '').replaceAll('o', '0').replace(/[il]/g, '1')
  return code.length === LENGTH && [...code].every((letter) => ALPHABET.includes(letter)) ? code : null
}

/** Keyed by the factor's seed, which is sealed: a copy of the database alone cannot be searched, and a new secret key changes nothing here. */
export const backupCodeMac = (seed: Buffer, code: string): string =>
  createHmac('sha256', seed)
    .update(`backup code|${readBackupCode(code)}`)
    .digest('base64url')

export const isSameMac = (a: string, b: string): boolean => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))
