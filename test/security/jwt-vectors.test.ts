/** RFC 8725 §3.3, §3.4: the library that we rely on, used as we use it, against published vectors (see vectors/README.md). */
import { readFileSync } from 'node:fs'
import { type CryptoKey, compactVerify, importJWK, type JWK } from 'jose'
import { beforeAll, describe, expect, it } from 'vitest'
import { createAccessTokens } from '../../src/identity/tokens/access-tokens.ts'
import type { Keyring, VerificationKey } from '../../src/identity/tokens/keyring.ts'
import { systemClock } from '../../src/platform/lib/clock.ts'
import { configWith } from '../support/config.ts'

const read = (name: string) => JSON.parse(readFileSync(new URL(`vectors/${name}.json`, import.meta.url), 'utf8'))
const groups: {
  source: string
  alg: VerificationKey['algorithm']
  key: JWK
  tests: { tcId: number; result: 'valid' | 'invalid'; comment: string; jws: string }[]
}[] = read('jws')
const encrypted: Record<string, string> = read('jwe')

/** Our verification, with a keyring that takes every kid for this key's. */
const verifyWith = (key: VerificationKey) =>
  createAccessTokens({
    keyring: { find: async () => key } as unknown as Keyring,
    tokens: { ...configWith({}).tokens, issuer: 'http://gateway.test' },
    clock: systemClock,
  }).verify

describe.each(groups)('$source', ({ alg, key: jwk, tests }) => {
  let key: VerificationKey
  beforeAll(async () => {
    key = { kid: 'k', algorithm: alg, key: (await importJWK(jwk, alg)) as CryptoKey, lifetimeSeconds: 900, retirement: null }
  })
  const isSigned = (jws: string, algorithms: string[] = [alg]) =>
    compactVerify(jws, key.key, { algorithms }).then(
      () => true,
      () => false,
    )

  it.each(tests)('$tcId, $comment: $result', async ({ jws, result }) => {
    expect(await isSigned(jws)).toBe(result === 'valid')
  })

  it('a valid signature is of no use when another algorithm is pinned, or with one bit turned', async () => {
    const valid = tests.filter((t) => t.result === 'valid')
    expect(valid.length).toBeGreaterThan(0)
    for (const { jws } of valid) {
      const [h, p, s] = jws.split('.')
      const bytes = Buffer.from(s!, 'base64url')
      for (const at of [0, bytes.length >> 1, bytes.length - 1]) {
        const turned = Buffer.from(bytes)
        turned[at]! ^= 1
        expect(await isSigned(`${h}.${p}.${turned.toString('base64url')}`)).toBe(false)
      }
      for (const other of ['EdDSA', 'ES256', 'RS256', 'HS256', 'none'].filter((a) => a !== alg))
        expect(await isSigned(jws, [other])).toBe(false)
    }
  })

  it('a valid signature makes no access token: the kind is wrong', async () => {
    for (const { jws } of tests) await expect(verifyWith(key)(jws)).rejects.toMatchObject({ code: 'token_invalid' })
  })
})

describe('an encrypted token', () => {
  it.each(Object.keys(encrypted))('%s is refused as a foreign token', async (name) => {
    const { key, alg } = groups[0]!
    const verify = verifyWith({
      kid: 'k',
      algorithm: alg,
      key: (await importJWK(key, alg)) as CryptoKey,
      lifetimeSeconds: 900,
      retirement: null,
    })
    await expect(verify(encrypted[name]!)).rejects.toMatchObject({ code: 'token_invalid' })
  })
})
