/** Validates the public keys of a machine client at registration. A registered key decides which algorithms its assertions may use. */
import { createPublicKey, type JsonWebKey } from 'node:crypto'
import { type FieldCode, invalidField } from '../../platform/lib/errors.ts'

/** RFC 7517, public members only. */
export interface ClientKey {
  kty: 'RSA' | 'EC' | 'OKP'
  kid?: string
  alg?: string
  [member: string]: string | undefined
}

/** RFC 9864 §2.2 gives EdDSA with the curve Ed25519 the name `Ed25519`. Older libraries say `EdDSA`. */
export const ASSERTION_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'] as const
export type AssertionAlgorithm = (typeof ASSERTION_ALGORITHMS)[number]

const MAX_KEYS = 8
const KINDS: Record<ClientKey['kty'], { members: string[]; curve?: string; algorithms: AssertionAlgorithm[] }> = {
  RSA: { members: ['n', 'e'], algorithms: ['RS256', 'PS256'] },
  EC: { members: ['crv', 'x', 'y'], curve: 'P-256', algorithms: ['ES256'] },
  OKP: { members: ['crv', 'x'], curve: 'Ed25519', algorithms: ['EdDSA', 'Ed25519'] },
}
/** RFC 7518 §6.2.2, §6.3.2, §6.4.1 */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']
const [MIN_MODULUS_BITS, MAX_MODULUS_BITS] = [2048, 8192]
/** Small exponents have a history of attacks. Large exponents only cost time. */
const [MIN_EXPONENT, MAX_EXPONENT] = [65_537n, 2n ** 32n]

/** The key decides on the algorithm, never the header of an assertion. */
export function algorithmsOf({ kty, alg }: ClientKey): readonly AssertionAlgorithm[] {
  const { algorithms } = KINDS[kty]
  // RFC 9864 §2.2: both names of an Ed25519 key mean the same algorithm
  return alg === undefined || kty === 'OKP' ? algorithms : algorithms.filter((own) => own === alg)
}

/** @returns the keys with their known public members only. @throws validation_failed */
export function readClientKeys(set: unknown): { keys: ClientKey[] } {
  const keys = (set as { keys?: unknown } | null)?.keys
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > MAX_KEYS)
    throw fault('', `must be a JWK Set (RFC 7517) of 1 to ${MAX_KEYS} keys`)
  const read = keys.map(readKey)
  const kids = read.map(({ kid }) => kid)
  if (read.length > 1 && (kids.includes(undefined) || new Set(kids).size < kids.length))
    throw fault('', 'must have a different kid for each key')
  return { keys: read }
}

const fault = (place: string, detail: string, code: FieldCode = 'format') => invalidField(`jwks${place}`, code, detail)

function readKey(key: unknown, index: number): ClientKey {
  const refuse = (detail: string, code?: FieldCode) => fault(`.keys.${index}`, detail, code)
  if (typeof key !== 'object' || key === null) throw refuse('must be a JWK')
  const { kty, crv, kid, alg, use, key_ops } = key as Record<string, unknown>
  if (PRIVATE_MEMBERS.some((member) => member in key))
    throw refuse('is a private key: replace it, and register the public key of the new pair', 'private_key')
  const kind = typeof kty === 'string' && Object.hasOwn(KINDS, kty) ? KINDS[kty as ClientKey['kty']] : null
  if (!kind || crv !== kind.curve) throw refuse('must be an RSA, P-256 or Ed25519 key', 'unsupported_key')
  if (alg !== undefined && !(kind.algorithms as unknown[]).includes(alg))
    throw refuse(`must have the alg ${kind.algorithms.join(' or ')}, or no alg`, 'unsupported_key')
  if (use !== undefined && use !== 'sig') throw refuse('must be a key for signatures', 'unsupported_key')
  if (key_ops !== undefined && !(Array.isArray(key_ops) && key_ops.includes('verify')))
    throw refuse('must be a key for signatures', 'unsupported_key')
  if (kid !== undefined && !(typeof kid === 'string' && /^[\x21-\x7e]{1,128}$/.test(kid)))
    throw refuse('must have a kid of 1 to 128 visible ASCII characters, or no kid')
  const kept = pick(key as Record<string, unknown>, ['kty', ...kind.members, 'kid', 'alg']) as ClientKey
  const weakness = weaknessOf(kept)
  if (weakness) throw refuse(weakness, 'unsupported_key')
  return kept
}

const pick = (from: Record<string, unknown>, names: readonly string[]) =>
  Object.fromEntries(names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]))

function weaknessOf(key: ClientKey): string | null {
  try {
    const { asymmetricKeyDetails: details } = createPublicKey({ key: key as JsonWebKey, format: 'jwk' })
    if (key.kty !== 'RSA') return null
    const { modulusLength = 0, publicExponent = 0n } = details ?? {}
    if (modulusLength < MIN_MODULUS_BITS || modulusLength > MAX_MODULUS_BITS)
      return `must have ${MIN_MODULUS_BITS} to ${MAX_MODULUS_BITS} bits`
    return publicExponent < MIN_EXPONENT || publicExponent > MAX_EXPONENT ? 'must have the public exponent 65537' : null
  } catch {
    return 'is not a valid key'
  }
}
