/** The accepted password hashes: our own Argon2id hashes, and the hashes of imported users. */

/** About a second per login, during which the login holds a slot for password hashes. */
const MAX_BCRYPT_COST = 14
const MAX_ARGON2 = { memoryKiB: 262_144, work: 1_048_576, parallelism: 16 }
const MAX_PBKDF2_ITERATIONS = 3_000_000
/** N × r × p. 128 bytes each: 256 MiB. */
const MAX_SCRYPT_WORK = 2_097_152
const MAX_PHPASS_LOG2 = 16

const BCRYPT = String.raw`\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}`
const BASE64 = '[A-Za-z0-9+/]'
/** The parameters come in any order. The salt has 8 to 64 bytes, the sum 16 to 64 bytes. */
const ARGON2 = new RegExp(String.raw`^\$argon2(?:id|i)\$v=19\$((?:[mtp]=\d{1,10},?){3})\$${BASE64}{11,86}\$${BASE64}{22,86}$`)
const SCRYPT_COST = String.raw`ln=(\d{1,2}),r=(\d{1,5}),p=(\d{1,5})`

/** A stored hash, read. `sum` is what the password's hash must be. */
export type PasswordHash =
  | { kind: 'argon2'; hash: string; parameters: string }
  | { kind: 'bcrypt'; hash: string; cost: number; prehash: 'none' | 'django' | 'wordpress' }
  | { kind: 'pbkdf2'; digest: Digest; iterations: number; salt: Buffer; sum: Buffer }
  | ScryptHash
  | { kind: 'phpass'; log2: number; salt: string; sum: string }

export type Digest = keyof typeof DIGEST_BYTES
interface ScryptCost {
  ln: number
  r: number
  p: number
}
export interface ScryptHash extends ScryptCost {
  kind: 'scrypt' | 'firebase' | 'better-auth'
  salt: Buffer
  sum: Buffer
}

const DIGEST_BYTES = { sha1: 20, sha256: 32, sha512: 64 }
/** The alphabet of crypt(3), in the order of its values. phpass writes its cost and its sum with it. */
export const CRYPT_ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** The forms in which hashes are stored, one for each kind. docs/import.md describes them. */
const STORED: readonly [RegExp, (...groups: string[]) => PasswordHash][] = [
  [ARGON2, (hash, parameters) => ({ kind: 'argon2', hash, parameters: parameters! })],
  [new RegExp(`^${BCRYPT}$`), (hash, cost) => ({ kind: 'bcrypt', hash, cost: Number(cost), prehash: 'none' })],
  [
    new RegExp(String.raw`^bcrypt_sha256\$(${BCRYPT})$`),
    (_, hash, cost) => ({ kind: 'bcrypt', hash: hash!, cost: Number(cost), prehash: 'django' }),
  ],
  [
    new RegExp(String.raw`^\$wp(${BCRYPT})$`),
    (_, hash, cost) => ({ kind: 'bcrypt', hash: hash!, cost: Number(cost), prehash: 'wordpress' }),
  ],
  [
    new RegExp(String.raw`^\$pbkdf2-(sha1|sha256|sha512)\$i=(\d{1,10})\$(${BASE64}{2,171})\$(${BASE64}{22,86})$`),
    (_, digest, iterations, salt, sum) => ({
      kind: 'pbkdf2',
      digest: digest as Digest,
      iterations: Number(iterations),
      salt: bytesOf(salt!),
      sum: bytesOf(sum!),
    }),
  ],
  [
    new RegExp(String.raw`^\$(scrypt|firebase-scrypt)\$${SCRYPT_COST}\$(${BASE64}{2,171})\$(${BASE64}{22,171})$`),
    (_, kind, ln, r, p, salt, sum) => ({
      kind: kind === 'scrypt' ? 'scrypt' : 'firebase',
      ...{ ln: Number(ln), r: Number(r), p: Number(p) },
      ...{ salt: bytesOf(salt!), sum: bytesOf(sum!) },
    }),
  ],
  [
    // the salt is used as text
    /^([0-9a-f]{32}):([0-9a-f]{128})$/,
    (_, salt, sum) => ({ kind: 'better-auth', ln: 14, r: 16, p: 1, salt: Buffer.from(salt!), sum: Buffer.from(sum!, 'hex') }),
  ],
  [
    /^\$P\$([./0-9A-Za-z])([./0-9A-Za-z]{8})([./0-9A-Za-z]{22})$/,
    (_, log2, salt, sum) => ({ kind: 'phpass', log2: CRYPT_ALPHABET.indexOf(log2!), salt: salt!, sum: sum! }),
  ],
]

/** Other forms of the same hashes. Each becomes the stored form. */
const REWRITTEN: readonly [RegExp, (...groups: string[]) => string | null][] = [
  [/^argon2(\$argon2.*)$/, (_, hash) => hash!],
  [/^bcrypt\$(\$2.*)$/, (_, hash) => hash!],
  [/^\$H(\$.*)$/, (_, hash) => `$P${hash}`],
  [
    new RegExp(String.raw`^pbkdf2_(sha1|sha256)\$(\d{1,10})\$([^$]+)\$(${BASE64}+=*)$`),
    (_, digest, iterations, salt, sum) =>
      pbkdf2Hash({ digest: digest as Digest, iterations: Number(iterations), salt: Buffer.from(salt!), sum: bytesOf(sum!) }),
  ],
  [
    // passlib writes a dot for a plus, and leaves out the name of SHA-1
    /^\$pbkdf2(?:-(sha256|sha512))?\$(\d{1,10})\$([A-Za-z0-9./]+)\$([A-Za-z0-9./]+)$/,
    (_, digest = 'sha1', iterations, salt, sum) =>
      pbkdf2Hash({
        digest: digest as Digest,
        iterations: Number(iterations),
        salt: bytesOf(salt!.replaceAll('.', '+')),
        sum: bytesOf(sum!.replaceAll('.', '+')),
      }),
  ],
  [
    new RegExp(String.raw`^scrypt\$(\d{1,10})\$([^$]+)\$(\d{1,5})\$(\d{1,5})\$(${BASE64}+=*)$`),
    (_, n, salt, r, p, sum) => {
      const ln = Math.log2(Number(n))
      return Number.isInteger(ln) ? `$scrypt$ln=${ln},r=${r},p=${p}$${textOf(Buffer.from(salt!))}$${unpadded(sum!)}` : null
    },
  ],
  [
    // of Supabase, for users who came from Firebase
    new RegExp(
      String.raw`^\$fbscrypt\$v=1,n=(\d{1,2}),r=(\d{1,5}),p=(\d{1,5}),ss=(${BASE64}*=*),sk=(${BASE64}+=*)\$(${BASE64}+=*)\$(${BASE64}+=*)$`,
    ),
    (_, ln, r, p, separator, signerKey, salt, sum) =>
      firebaseHash({
        ...{ ln: Number(ln), r: Number(r), p: Number(p) },
        ...{ separator: bytesOf(separator!), signerKey: bytesOf(signerKey!), salt: bytesOf(salt!), sum: bytesOf(sum!) },
      }),
  ],
]

const bytesOf = (base64: string) => Buffer.from(base64, 'base64')
const unpadded = (base64: string) => base64.replace(/=+$/, '')
const textOf = (bytes: Buffer) => unpadded(bytes.toString('base64'))

/**
 * PBKDF2 computes each block of its result by itself (RFC 8018 §5.2). Only the first is kept: the others would cost the gateway more, and
 * an attacker nothing.
 */
export const pbkdf2Hash = ({ digest, iterations, salt, sum }: { digest: Digest; iterations: number; salt: Buffer; sum: Buffer }): string =>
  `$pbkdf2-${digest}$i=${iterations}$${textOf(salt)}$${textOf(sum.subarray(0, DIGEST_BYTES[digest]))}`

export interface FirebaseHash extends ScryptCost {
  separator: Buffer
  signerKey: Buffer
  salt: Buffer
  sum: Buffer
}

/**
 * Firebase encrypts its signer key with AES-256-CTR under a key that scrypt derives from the password. What CTR mode adds to the signer key
 * depends on the password alone, so the signer key itself is not stored. @returns null for a sum that is not as long as the signer key
 */
export function firebaseHash({ ln, r, p, separator, signerKey, salt, sum }: FirebaseHash): string | null {
  if (sum.length !== signerKey.length) return null
  const keystream = Buffer.from(sum.map((byte, i) => byte ^ signerKey[i]!))
  return `$firebase-scrypt$ln=${ln},r=${r},p=${p}$${textOf(Buffer.concat([salt, separator]))}$${textOf(keystream)}`
}

/** @returns null for a text that is no stored hash */
export function readHash(hash: string): PasswordHash | null {
  for (const [pattern, read] of STORED) {
    const groups = pattern.exec(hash)
    if (groups) return read(...groups)
  }
  return null
}

/** @returns the form in which an imported hash is stored, or why it is refused. The reason contains no part of the hash */
export function importedHash(text: string): { hash: string } | { fault: string } {
  if (text.startsWith('$argon2d$') || text.startsWith('argon2$argon2d$'))
    return { fault: 'is Argon2d: only Argon2id and Argon2i are accepted' }
  const hash = storedForm(text)
  const read = hash === null ? null : readHash(hash)
  if (!hash || !read)
    return {
      fault:
        'must be bcrypt ($2a$, $2b$, $2y$), Argon2id or Argon2i ($argon2id$v=19$m=…,t=…,p=…$salt$hash), PBKDF2, scrypt, or a hash of ' +
        'Django, WordPress, Firebase or better-auth, in a form that docs/import.md lists',
    }
  const fault = costFault(read)
  return fault === null ? { hash } : { fault }
}

function storedForm(text: string): string | null {
  for (const [pattern, rewrite] of REWRITTEN) {
    const groups = pattern.exec(text)
    if (groups) return rewrite(...groups)
  }
  return text
}

/** @returns why checking a password against this hash would cost too much */
function costFault(read: PasswordHash): string | null {
  switch (read.kind) {
    case 'argon2':
      return argon2Fault(read.parameters)
    case 'bcrypt':
      return read.cost >= 4 && read.cost <= MAX_BCRYPT_COST ? null : `its cost must be 4 to ${MAX_BCRYPT_COST}: it is ${read.cost}`
    case 'pbkdf2':
      return read.iterations >= 1 && read.iterations <= MAX_PBKDF2_ITERATIONS
        ? null
        : `its iterations must be 1 to ${MAX_PBKDF2_ITERATIONS}: it has ${read.iterations}`
    case 'phpass':
      return read.log2 >= 7 && read.log2 <= MAX_PHPASS_LOG2 ? null : `its cost must be 7 to ${MAX_PHPASS_LOG2}: it is ${read.log2}`
    default: {
      const { ln, r, p } = read
      // RFC 7914 §2: N is less than 2^(128 × r / 8)
      return ln >= 1 && ln < 16 * r && p >= 1 && 2 ** ln * r * p <= MAX_SCRYPT_WORK
        ? null
        : `N × r × p must be at most ${MAX_SCRYPT_WORK}, and N from 2 to less than 2^(16 × r)`
    }
  }
}

function argon2Fault(parameters: string): string | null {
  const { m, t, p } = Object.fromEntries(parameters.split(',').map((pair) => pair.split('=').map((part, i) => (i ? Number(part) : part))))
  if (!(p >= 1 && p <= MAX_ARGON2.parallelism)) return `p must be 1 to ${MAX_ARGON2.parallelism}`
  if (!(m >= 8 * p && m <= MAX_ARGON2.memoryKiB)) return `m must be ${8 * p} to ${MAX_ARGON2.memoryKiB} KiB`
  if (!(t >= 1 && m * t <= MAX_ARGON2.work)) return `m × t must be at most ${MAX_ARGON2.work}`
  return null
}
