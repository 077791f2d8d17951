/** Backup codes, for users without their authenticator app. A code has 50 random bits, is shown once, and works once. */
import { createHmac, randomInt, timingSafeEqual } from 'node:crypto'

export const BACKUP_CODES = 10
/** Crockford's alphabet has no letter that looks like a digit. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const LENGTH = 10

/** Such as `7k2qd-x09mf`. */
export function newBackupCode(): string {
  const characters = Array.from({ length: LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')
  return `${characters.slice(0, LENGTH / 2)}-${characters.slice(LENGTH / 2)}`
}

/** Accepts any case, a missing hyphen, and common misreadings. @returns null when the text cannot be a backup code */
export function readBackupCode(typed: string): string | null {
  const code = typed
    .toLowerCase()
    .replace(/[\s\p{Pd}]/gu, '')
    .replaceAll('o', '0')
    .replace(/[il]/g, '1')
  return code.length === LENGTH && [...code].every((character) => ALPHABET.includes(character)) ? code : null
}

/** Keyed by the seed of the factor, which is sealed: a copy of the database cannot be searched. A new secret key leaves the MACs valid. */
export const backupCodeMac = (seed: Buffer, code: string): string =>
  createHmac('sha256', seed)
    .update(`backup code|${readBackupCode(code)}`)
    .digest('base64url')

export const isSameMac = (a: string, b: string): boolean => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))
