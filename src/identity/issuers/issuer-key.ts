/** The public keys of an issuer (RFC 7517), one for each algorithm that the key may verify. */
import { type CryptoKey, calculateJwkThumbprint, importJWK, type JWK } from 'jose'
import type { IssuerConfig } from '../../platform/config/schema.ts'

export type IssuerAlgorithm = IssuerConfig['algorithms'][number]

export interface IssuerKey {
  /** Names this key for this algorithm among all that the issuer ever had. */
  name: string
  /** As the issuer calls the key; null: it has no name. */
  kid: string | null
  algorithm: IssuerAlgorithm
  key: CryptoKey
}

const MAX_KEYS = 100
const MIN_RSA_BYTES = 256

/** RFC 7518 §3.1, RFC 8037 §3.1. */
const CURVES: Partial<Record<IssuerAlgorithm, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521', EdDSA: 'Ed25519' }

/** @returns why the key verifies nothing with this algorithm; null: it may */
function misfit({ kty, crv, use, alg, key_ops, n, d }: JWK, algorithm: IssuerAlgorithm): string | null {
  const curve = CURVES[algorithm]
  if (kty !== (curve === undefined ? 'RSA' : algorithm === 'EdDSA' ? 'OKP' : 'EC')) return 'another type of key'
  if (curve !== undefined && crv !== curve) return 'another curve'
  if (use !== undefined && use !== 'sig') return 'not for signatures'
  if (Array.isArray(key_ops) && !key_ops.includes('verify')) return 'not for signatures'
  if (alg !== undefined && alg !== algorithm && !(alg === 'Ed25519' && algorithm === 'EdDSA')) return 'another algorithm'
  // every reader of the set can sign with such a key
  if (d !== undefined) return 'a private key'
  if (kty === 'RSA' && Buffer.from(String(n), 'base64url').length < MIN_RSA_BYTES) return 'shorter than 2048 bits'
  return null
}

/**
 * Reads the keys that can be used; others are left out.
 * @param known of the set before: a key that stays is the same object, so that what it has verified stays verified
 * @throws when the set has no key that can be used
 */
export async function readKeys(
  set: unknown,
  algorithms: readonly IssuerAlgorithm[],
  known: ReadonlyMap<string, IssuerKey>,
): Promise<IssuerKey[]> {
  const listed = typeof set === 'object' && set !== null ? (set as { keys?: unknown }).keys : undefined
  if (!Array.isArray(listed)) throw new Error('answered JSON without a list of keys, expected a JSON key set')
  const found: IssuerKey[] = []
  for (const jwk of listed.slice(0, MAX_KEYS))
    for (const algorithm of algorithms) {
      const key = await readKey(jwk, algorithm, known)
      if (key && !found.some(({ name }) => name === key.name)) found.push(key)
    }
  if (found.length === 0) throw new Error(`answered a key set without a key for ${algorithms.join(', ')}`)
  return found
}

async function readKey(jwk: unknown, algorithm: IssuerAlgorithm, known: ReadonlyMap<string, IssuerKey>): Promise<IssuerKey | null> {
  if (typeof jwk !== 'object' || jwk === null || misfit(jwk as JWK, algorithm) !== null) return null
  const { kid } = jwk as JWK
  try {
    const name = JSON.stringify([algorithm, typeof kid === 'string' ? kid : null, await calculateJwkThumbprint(jwk as JWK)])
    return (
      known.get(name) ?? {
        name,
        kid: typeof kid === 'string' ? kid : null,
        algorithm,
        key: (await importJWK({ ...publicPart(jwk as JWK), alg: algorithm }, algorithm)) as CryptoKey,
      }
    )
  } catch {
    return null
  }
}

/** Only what makes the key: never a certificate, and never where something else lies. */
const publicPart = ({ kty, crv, x, y, n, e }: JWK): JWK => JSON.parse(JSON.stringify({ kty, crv, x, y, n, e }))
