/** The accepted password hashes: our own Argon2id hashes, and the hashes of imported users. */

/** As in shadow(5): no password matches until the user sets a password with a mailed link. */
export const NO_PASSWORD = '!'

/** About a second per login, during which the login holds a slot for password hashes. */
const MAX_BCRYPT_COST = 14
const MAX_ARGON2 = { memoryKiB: 262_144, work: 1_048_576, parallelism: 16 }

const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/
/** PHC string, with the parameters in any order. The salt has 8 to 64 bytes, the hash 16 to 64 bytes. */
const ARGON2ID = /^\$argon2id\$v=19\$((?:[mtp]=\d{1,10},?){3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$/

export const isBcrypt = (hash: string): boolean => hash.startsWith('$2')

/** @returns why an imported hash is refused, or null. The text contains no part of the hash */
export function hashFault(hash: string): string | null {
  const [, cost] = BCRYPT.exec(hash) ?? []
  if (cost !== undefined)
    return Number(cost) >= 4 && Number(cost) <= MAX_BCRYPT_COST ? null : `its cost must be 4 to ${MAX_BCRYPT_COST}: it is ${Number(cost)}`
  const [, parameters] = ARGON2ID.exec(hash) ?? []
  if (parameters === undefined)
    return 'must be bcrypt ($2a$, $2b$, $2y$) or Argon2id as a PHC string ($argon2id$v=19$m=…,t=…,p=…$salt$hash)'
  const { m, t, p } = Object.fromEntries(parameters.split(',').map((pair) => pair.split('=').map((part, i) => (i ? Number(part) : part))))
  if (!(p >= 1 && p <= MAX_ARGON2.parallelism)) return `p must be 1 to ${MAX_ARGON2.parallelism}`
  if (!(m >= 8 * p && m <= MAX_ARGON2.memoryKiB)) return `m must be ${8 * p} to ${MAX_ARGON2.memoryKiB} KiB`
  if (!(t >= 1 && m * t <= MAX_ARGON2.work)) return `m × t must be at most ${MAX_ARGON2.work}`
  return null
}
