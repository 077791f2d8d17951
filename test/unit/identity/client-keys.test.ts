import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { algorithmsOf, readClientKeys } from '../../../src/identity/oauth/client-keys.ts'
import type { FieldCode } from '../../../src/platform/lib/errors.ts'

const rsa = (modulusLength = 2048, publicExponent = 65_537): any =>
  generateKeyPairSync('rsa', { modulusLength, publicExponent }).publicKey.export({ format: 'jwk' })
const ec = (namedCurve = 'P-256'): any => generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'jwk' })
const ed = (): any => generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })
const reported = (jwks: unknown) => {
  try {
    readClientKeys(jwks)
    return null
  } catch (error: any) {
    return { problem: error.code, ...error.errors[0] }
  }
}

it('keeps public members alone', () => {
  const key = { ...rsa(), kid: 'a', alg: 'PS256' }
  expect(readClientKeys({ keys: [{ ...key, use: 'sig', key_ops: ['verify'], x5c: ['MIIB'], note: 'mine' }], more: 1 })).toEqual({
    keys: [key],
  })
  expect(readClientKeys({ keys: [ec()] }).keys[0]).toEqual({ kty: 'EC', crv: 'P-256', x: expect.any(String), y: expect.any(String) })
})

it('the key decides on the algorithm', () => {
  expect(algorithmsOf(rsa())).toEqual(['RS256', 'PS256'])
  expect(algorithmsOf({ ...rsa(), alg: 'PS256' })).toEqual(['PS256'])
  expect(algorithmsOf(ec())).toEqual(['ES256'])
  for (const alg of [undefined, 'EdDSA', 'Ed25519']) expect(algorithmsOf({ ...ed(), ...(alg && { alg }) })).toEqual(['EdDSA', 'Ed25519'])
})

describe('refuses', () => {
  const privateRsa: any = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })
  it.each<[string, unknown, FieldCode?]>([
    ['nothing', undefined],
    ['null', null],
    ['a list', [rsa()]],
    ['no keys', { keys: [] }],
    ['more than eight', { keys: Array.from({ length: 9 }, (_, i) => ({ ...ed(), kid: `${i}` })) }],
    ['a key that is none', { keys: [null] }],
    ['a text', { keys: ['key'] }],
    ['a private RSA key', { keys: [privateRsa] }, 'private_key'],
    ['a private Ed25519 key', { keys: [generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })] }, 'private_key'],
    ['a private key whose d is empty', { keys: [{ ...ed(), d: '' }] }, 'private_key'],
    ['a symmetric key', { keys: [{ kty: 'oct', k: 'c2VjcmV0' }] }, 'private_key'],
    ['a key of no kind', { keys: [{ ...rsa(), kty: 'rsa' }] }, 'unsupported_key'],
    ['a kind from a prototype', { keys: [{ kty: 'constructor' }] }, 'unsupported_key'],
    ['P-384', { keys: [ec('P-384')] }, 'unsupported_key'],
    ['secp256k1', { keys: [ec('secp256k1')] }, 'unsupported_key'],
    ['X25519', { keys: [generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' })] }, 'unsupported_key'],
    ['RSA with a curve', { keys: [{ ...rsa(), crv: 'P-256' }] }, 'unsupported_key'],
    ['1024 bits', { keys: [rsa(1024)] }, 'unsupported_key'],
    ['the exponent 3', { keys: [rsa(2048, 3)] }, 'unsupported_key'],
    ['a huge modulus', { keys: [{ ...rsa(), n: 'w'.repeat(1400) }] }, 'unsupported_key'],
    ['a huge exponent', { keys: [{ ...rsa(), e: rsa().n }] }, 'unsupported_key'],
    ['a point that is on no curve', { keys: [{ ...ec(), y: ec().y }] }, 'unsupported_key'],
    ['no coordinates', { keys: [{ kty: 'EC', crv: 'P-256' }] }, 'unsupported_key'],
    ['a key for encryption', { keys: [{ ...rsa(), use: 'enc' }] }, 'unsupported_key'],
    ['a key for other operations', { keys: [{ ...rsa(), key_ops: ['encrypt'] }] }, 'unsupported_key'],
    ['HS256', { keys: [{ ...rsa(), alg: 'HS256' }] }, 'unsupported_key'],
    ['a curve that Ed25519 does not name', { keys: [{ ...ed(), alg: 'Ed448' }] }, 'unsupported_key'],
    ['an algorithm of another kind', { keys: [{ ...ec(), alg: 'RS256' }] }, 'unsupported_key'],
    ['an odd kid', { keys: [{ ...ed(), kid: 'a\0' }] }],
    ['a kid that is no text', { keys: [{ ...ed(), kid: 7 }] }],
    [
      'two keys of one kid',
      {
        keys: [
          { ...ed(), kid: 'a' },
          { ...ec(), kid: 'a' },
        ],
      },
    ],
    ['two keys, one of them without a kid', { keys: [{ ...ed(), kid: 'a' }, ec()] }],
  ])('%s', (_, jwks, code = 'format') => {
    expect(reported(jwks)).toMatchObject({ problem: 'validation_failed', field: expect.stringMatching(/^jwks/), code })
  })
})
