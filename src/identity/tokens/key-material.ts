/** Generates the bytes of a signing key, and imports them. A key is generated once, and imported once by each process. */
import { randomBytes } from 'node:crypto'
import { type CryptoKey, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import type { Config } from '../../platform/config/schema.ts'

export type Algorithm = Exclude<Config['tokens']['algorithm'], 'auto'>

/** What most verifiers know. */
export const DEFAULT_ALGORITHM: Algorithm = 'ES256'

export interface KeyMaterial {
  kid: string
  algorithm: Algorithm
  key: CryptoKey
  privateKey: CryptoKey
  /** Null under HS256. */
  publicJwk: JWK | null
}

/** @returns the private part as bytes to seal: a JWK, or for HS256 the 32 raw bytes */
export async function generateKey(algorithm: Algorithm, kid: string): Promise<{ privateBytes: Buffer; publicJwk: JWK | null }> {
  if (algorithm === 'HS256') return { privateBytes: randomBytes(32), publicJwk: null }
  const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true, modulusLength: 2048 })
  const publicJwk = { ...(await exportJWK(publicKey)), kid, alg: algorithm, use: 'sig' }
  return { privateBytes: Buffer.from(JSON.stringify(await exportJWK(privateKey))), publicJwk }
}

export async function importKey(kid: string, algorithm: Algorithm, privateBytes: Buffer, publicJwk: JWK | null): Promise<KeyMaterial> {
  if (algorithm === 'HS256') {
    const key = await crypto.subtle.importKey('raw', new Uint8Array(privateBytes), { name: 'HMAC', hash: 'SHA-256' }, false, [
      'sign',
      'verify',
    ])
    return { kid, algorithm, key, privateKey: key, publicJwk: null }
  }
  const privateKey = (await importJWK(JSON.parse(privateBytes.toString()), algorithm)) as CryptoKey
  const key = (await importJWK(publicJwk!, algorithm)) as CryptoKey
  return { kid, algorithm, key, privateKey, publicJwk }
}
