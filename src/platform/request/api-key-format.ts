/** `pk_live_<28 of base62>_<their CRC-32 in base62>`: secret scanners find leaked keys, and a typing error is refused without a look-up. */
import { hash, randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'

const PREFIX = 'pk_live_'
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** 166 bits. */
const RANDOM_LENGTH = 28
/** 62 ** 6 > 2 ** 32 */
const CHECKSUM_LENGTH = 6
const FORM = new RegExp(`^(${PREFIX}[0-9A-Za-z]{${RANDOM_LENGTH}})_([0-9A-Za-z]{${CHECKSUM_LENGTH}})$`)
const HINT_LENGTH = PREFIX.length + 4

export function makeApiKey(): string {
  const random = Array.from({ length: RANDOM_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')
  return `${PREFIX}${random}_${checksumOf(PREFIX + random)}`
}

function checksumOf(text: string): string {
  let rest = crc32(text)
  let digits = ''
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    digits = ALPHABET[rest % ALPHABET.length] + digits
    rest = Math.floor(rest / ALPHABET.length)
  }
  return digits
}

/** False for a key with a typing error. */
export function isApiKey(text: string): boolean {
  const [, key, checksum] = FORM.exec(text) ?? []
  return key !== undefined && checksumOf(key) === checksum
}

/** Has the prefix of a gateway API key, complete or not. */
export const looksLikeApiKey = (token: string): boolean => token.startsWith(PREFIX)

/** Finds a key anywhere in the value: such a value is a secret of the gateway. */
export const holdsApiKey = (value: string): boolean => value.includes(PREFIX)

/** The beginning of the key, by which its owner can recognise it. */
export const hintOf = (key: string): string => key.slice(0, HINT_LENGTH)

/** The form in the database and in caches: SHA-256, base64url. The key has too many random bits to be found from it. */
export const digestOf = (key: string): string => hash('sha256', key, 'base64url')
