/** Which keys of a published set are used, and for which algorithm. */
import { CompactSign, compactVerify } from 'jose'
import { describe, expect, it } from 'vitest'
import { compileClaimPath } from '../../../src/identity/issuers/claim-path.ts'
import { type IssuerAlgorithm, readKeys } from '../../../src/identity/issuers/issuer-key.ts'
import { newSigningKey, publicJwkOf } from '../../support/external-issuer.ts'

const NONE = new Map()
const ALL: IssuerAlgorithm[] = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']

describe('a key', () => {
  it.each(ALL)('verifies %s, and only that where it says so', async (alg) => {
    const key = newSigningKey(alg, 'one')
    const found = await readKeys({ keys: [await publicJwkOf(key)] }, ALL, NONE)
    expect(found.map(({ algorithm, kid }) => [algorithm, kid])).toEqual([[alg, 'one']])
    const token = await new CompactSign(Buffer.from('{}')).setProtectedHeader({ alg }).sign(key.privateKey)
    await expect(compactVerify(token, found[0]!.key, { algorithms: [alg] })).resolves.toBeDefined()
  })

  it('of RSA without alg serves every algorithm of the configuration that fits, and one of a curve serves its own', async () => {
    const { alg: _, ...rsa } = await publicJwkOf(newSigningKey('RS256'))
    const { alg: __, ...ec } = await publicJwkOf(newSigningKey('ES384'))
    const algorithmsOf = async (keys: object[], algorithms = ALL) =>
      (await readKeys({ keys }, algorithms, NONE)).map(({ algorithm }) => algorithm)
    expect(await algorithmsOf([rsa])).toEqual(ALL.slice(0, 6))
    expect(await algorithmsOf([rsa, ec], ['PS256', 'ES256', 'ES384'])).toEqual(['PS256', 'ES384'])
  })

  it('that cannot be used is left out, and the others stay', async () => {
    const good = await publicJwkOf(newSigningKey('ES256', 'good'))
    const weak = { kty: 'RSA', kid: 'weak', e: 'AQAB', n: Buffer.alloc(128, 0xff).toString('base64url') }
    const bad = [
      null,
      'text',
      [],
      {},
      weak,
      { kty: 'oct', k: 'c2VjcmV0', kid: 'secret' },
      { ...good, kid: 'encrypts', use: 'enc' },
      { ...good, kid: 'signs', key_ops: ['sign'] },
      { ...good, kid: 'other', alg: 'ES384' },
      { ...good, kid: 'private', d: good.x },
      { ...good, kid: 'off', y: good.x },
    ]
    const found = await readKeys({ keys: [...bad, good] }, ['ES256', 'RS256'], NONE)
    expect(found.map(({ kid }) => kid)).toEqual(['good'])
    await expect(readKeys({ keys: bad }, ['ES256', 'RS256'], NONE)).rejects.toThrow('answered a key set without a key for ES256, RS256')
  })

  it('that stays in the set stays the same object, and one that replaces it under its kid does not', async () => {
    const jwk = await publicJwkOf(newSigningKey('ES256', 'one'))
    const before = await readKeys({ keys: [jwk] }, ['ES256'], NONE)
    const known = new Map(before.map((key) => [key.name, key]))
    const again = await readKeys({ keys: [{ ...jwk, x5c: ['changed'] }] }, ['ES256'], known)
    expect(again[0]).toBe(before[0])
    const other = await readKeys({ keys: [await publicJwkOf(newSigningKey('ES256', 'one'))] }, ['ES256'], known)
    expect(other[0]!.name).not.toBe(before[0]!.name)
  })

  it('is what the set says, and never what its certificate says', async () => {
    const [own, other] = [newSigningKey('ES256'), newSigningKey('ES256')]
    const x5c = [other.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')]
    const [found] = await readKeys({ keys: [{ ...(await publicJwkOf(own)), x5c, x5u: 'http://127.0.0.1:1' }] }, ['ES256'], NONE)
    const token = await new CompactSign(Buffer.from('{}')).setProtectedHeader({ alg: 'ES256' }).sign(own.privateKey)
    await expect(compactVerify(token, found!.key)).resolves.toBeDefined()
  })

  it('is one of a hundred at most', async () => {
    const keys = await Promise.all(Array.from({ length: 101 }, () => publicJwkOf(newSigningKey('EdDSA'))))
    expect(await readKeys({ keys }, ['EdDSA'], NONE)).toHaveLength(100)
  })
})

describe('a path of a claim', () => {
  const claims = JSON.parse(
    '{"a":1,"a.b":2,"a/b":3,"a~b":4,"/x":5,"kubernetes.io":{"namespace":"shop"},"list":[{"a":1}],"https://example.com/roles":["r"],"":6,"__proto__":{"y":7},"text":"abc"}',
  )
  it.each<[string, unknown]>([
    ['a', 1],
    ['a.b', 2],
    ['a/b', 3],
    ['a~b', 4],
    ['/a~1b', 3],
    ['/a~0b', 4],
    ['/~1x', 5],
    ['/kubernetes.io/namespace', 'shop'],
    ['kubernetes.io/namespace', undefined],
    ['https://example.com/roles', ['r']],
    ['/list/0/a', undefined],
    ['/list/length', undefined],
    ['/text/length', undefined],
    ['/a/b', undefined],
    ['toString', undefined],
    ['/kubernetes.io/constructor/name', undefined],
    ['/__proto__/y', 7],
  ])('%s', (path, value) => {
    expect(compileClaimPath(path)(claims)).toEqual(value)
  })
})
