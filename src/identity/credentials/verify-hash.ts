/** Checks a password against a hash of any accepted kind, each by the rule of the program that made it. Runs in the hasher process. */
import { createCipheriv, createHash, createHmac, pbkdf2, scrypt, timingSafeEqual } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { promisify } from 'node:util'
import argon2 from 'argon2'
import bcrypt from 'bcryptjs'
import { CRYPT_ALPHABET, type PasswordHash, readHash, type ScryptHash } from './password-hashes.ts'

type Of<K extends PasswordHash['kind']> = Extract<PasswordHash, { kind: K }>
interface ScryptOptions {
  N: number
  r: number
  p: number
  maxmem: number
}

const derivePbkdf2 = promisify(pbkdf2)
const deriveScrypt = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt)

/** @throws for a text that is no stored hash */
export async function verifyHash(hash: string, password: string): Promise<boolean> {
  const read = readHash(hash)
  switch (read?.kind) {
    case 'argon2':
      return argon2.verify(hash, password)
    case 'bcrypt':
      return verifyBcrypt(read, password)
    case 'pbkdf2':
      return timingSafeEqual(await derivePbkdf2(password, read.salt, read.iterations, read.sum.length, read.digest), read.sum)
    case 'scrypt':
      return timingSafeEqual(await scryptOf(read, password, read.sum.length), read.sum)
    case 'better-auth':
      return timingSafeEqual(await scryptOf(read, password.normalize('NFKC'), read.sum.length), read.sum)
    case 'firebase':
      return verifyFirebase(read, password)
    case 'phpass':
      return verifyPhpass(read, password)
    default:
      throw new Error('a stored password hash is of no known kind')
  }
}

function verifyBcrypt({ hash, prehash }: Of<'bcrypt'>, password: string): Promise<boolean> {
  if (prehash === 'django') return bcrypt.compare(createHash('sha256').update(password).digest('hex'), hash)
  if (prehash === 'wordpress') return bcrypt.compare(createHmac('sha384', 'wp-sha384').update(trimmed(password)).digest('base64'), hash)
  return verifyPlainBcrypt(hash, password)
}

/**
 * bcrypt reads only the first 72 bytes. The key of bcrypt ends at a NUL and repeats, so that `a` and `a\0a` would match: passwords with a
 * NUL never match.
 */
const verifyPlainBcrypt = async (hash: string, password: string) => (await bcrypt.compare(password, hash)) && !password.includes('\0')

/** The characters that trim() of PHP removes. */
const PHP_SPACE = String.raw`[ \t\n\r\0\x0b]+`
const PHP_ENDS = new RegExp(`^${PHP_SPACE}|${PHP_SPACE}$`, 'g')
const trimmed = (password: string) => password.replace(PHP_ENDS, '')

/** OpenSSL needs a little more than the memory of the blocks. */
const scryptOf = ({ ln, r, p, salt }: ScryptHash, password: string, length: number): Promise<Buffer> =>
  deriveScrypt(password, salt, length, { N: 2 ** ln, r, p, maxmem: 128 * r * (2 ** ln + p + 2) + 1_048_576 })

async function verifyFirebase(read: ScryptHash, password: string): Promise<boolean> {
  const key = await scryptOf(read, password, 32)
  return timingSafeEqual(createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(read.sum.length)), read.sum)
}

/** Lets other checks go on in between: this one has no thread of its own. */
const PHPASS_SLICE = 4096

async function verifyPhpass({ log2, salt, sum }: Of<'phpass'>, password: string): Promise<boolean> {
  let digest = createHash('md5').update(salt).update(password).digest()
  for (let left = 2 ** log2; left > 0; left--) {
    if (left % PHPASS_SLICE === 0) await setImmediate()
    digest = createHash('md5').update(digest).update(password).digest()
  }
  return timingSafeEqual(Buffer.from(cryptEncoded(digest)), Buffer.from(sum))
}

/** Three bytes are four characters, the lowest six bits first. */
function cryptEncoded(bytes: Buffer): string {
  let text = ''
  for (let i = 0; i < bytes.length; i += 3) {
    const part = bytes.subarray(i, i + 3)
    const value = part.reduce((sum, byte, place) => sum + byte * 256 ** place, 0)
    for (let place = 0; place <= part.length; place++) text += CRYPT_ALPHABET[Math.floor(value / 64 ** place) % 64]
  }
  return text
}
