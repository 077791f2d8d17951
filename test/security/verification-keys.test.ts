/** RFC 8725 §3.1, §3.4, §3.5: a key has one algorithm and one name, and comes from nowhere but our own rows, whole. */
import { createHmac, createPublicKey } from 'node:crypto'
import { exportJWK, generateKeyPair, type JWK } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { SigningKey } from '../../src/identity/tokens/keyring.ts'
import { call, newUser, type TestUser } from '../support/client.ts'
import { configWith } from '../support/config.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { rows } from '../support/rows.ts'
import { claimsOf, headerOf } from '../support/session.ts'
import { retireCurrent } from '../support/signing-keys.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const QUIET = { keyPollSeconds: 3600 }
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const SUBTLE = {
  EdDSA: 'Ed25519',
  RS256: 'RSASSA-PKCS1-v1_5',
  ES256: { name: 'ECDSA', hash: 'SHA-256' },
  HS256: 'HMAC',
}

let upstream: Upstream
beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(() => upstream.close())
const routes = () => [{ name: 'users', match: { path: '/users' }, upstream: [upstream.url], access: 'authenticated' }]

/** The claims of a good token under this header, signed with whatever `make` does. */
async function forged(token: string, header: object, make: (input: Buffer) => Buffer | Promise<ArrayBuffer>): Promise<string> {
  const input = `${encode({ ...headerOf(token), ...header })}.${encode(claimsOf(token))}`
  return `${input}.${Buffer.from((await make(Buffer.from(input))) as Buffer).toString('base64url')}`
}
const signedBy = (token: string, { algorithm, privateKey, kid }: SigningKey, header: object = {}) =>
  forged(token, { alg: algorithm, kid, ...header }, (input) => crypto.subtle.sign(SUBTLE[algorithm], privateKey, new Uint8Array(input)))

async function ask(gateway: Gateway, token: string): Promise<number | string> {
  const { status, body } = await call(gateway, '/users', { token })
  expect(upstream.take()).toHaveLength(status === 200 ? 1 : 0)
  return status === 200 ? 200 : body.code
}

describe.each([
  ['EdDSA', 'ES256'],
  ['ES256', 'RS256'],
  ['RS256', 'HS256'],
  ['HS256', 'EdDSA'],
] as const)('after the change from %s to %s', (before, after) => {
  let gateway: Gateway
  let user: TestUser
  let old: SigningKey
  let current: SigningKey
  let publicKeys: JWK[]
  beforeAll(async () => {
    const first = await startGateway({ config: { tokens: { ...QUIET, algorithm: before } } })
    old = first.app.identity.keyring.signing()
    await first.close()
    const { databaseUrl, secretKey } = first
    gateway = await startGateway({ databaseUrl, secretKey, config: { tokens: { ...QUIET, algorithm: after } }, routes: routes() })
    await retireCurrent(gateway)
    current = gateway.app.identity.keyring.signing()
    publicKeys = (await call(gateway, '/.well-known/jwks.json')).body.keys
    user = await newUser(gateway)
  })
  afterAll(() => gateway.close())

  it('each key is good for its own name and algorithm', async () => {
    expect([old.algorithm, current.algorithm]).toEqual([before, after])
    expect(await ask(gateway, await signedBy(user.token, old))).toBe(200)
    expect(await ask(gateway, await signedBy(user.token, current))).toBe(200)
  })

  it("neither is good under the other's name or algorithm, or both", async () => {
    for (const [key, other] of [
      [old, current],
      [current, old],
    ] as const)
      for (const header of [{ kid: other.kid }, { alg: other.algorithm }, { kid: other.kid, alg: other.algorithm }])
        expect(await ask(gateway, await signedBy(user.token, key, header))).toBe('token_invalid')
  })

  it('no public key is the secret of an HMAC, under any name', async () => {
    const secrets = publicKeys.flatMap((jwk) => {
      const key = createPublicKey({ key: jwk as never, format: 'jwk' })
      const raw = (['x', 'y', 'n'] as const).flatMap((part) => (typeof jwk[part] === 'string' ? [Buffer.from(jwk[part], 'base64url')] : []))
      return [key.export({ type: 'spki', format: 'pem' }), key.export({ type: 'spki', format: 'der' }), JSON.stringify(jwk), ...raw]
    })
    expect(secrets.length).toBeGreaterThan(0)
    for (const secret of secrets)
      for (const kid of [old.kid, current.kid])
        for (const alg of ['HS256', before, after]) {
          const token = await forged(user.token, { alg, kid }, (input) =>
            createHmac('sha256', secret as Buffer)
              .update(input)
              .digest(),
          )
          expect(await ask(gateway, token)).toBe('token_invalid')
        }
  })

  // last: it takes the old key away
  it('the old one is good for nothing once it is gone, under whatever name', async () => {
    const cached = await signedBy(user.token, old)
    expect(await ask(gateway, cached)).toBe(200)
    await rows(gateway, `UPDATE signing_keys SET retired_at = retired_at - interval '1 day' WHERE kid = $1`, [old.kid])
    await gateway.app.identity.keyring.reload()
    for (const token of [cached, await signedBy(user.token, old, { x: 1 }), await signedBy(user.token, old, { kid: current.kid })])
      expect(await ask(gateway, token)).toBe('token_invalid')
  })
})

describe('a key that an intruder has put into the database', () => {
  let gateway: Gateway
  let user: TestUser
  beforeAll(async () => {
    gateway = await startGateway({ config: { tokens: { ...QUIET, algorithm: 'EdDSA' } }, routes: routes() })
    user = await newUser(gateway)
  })
  afterAll(() => gateway.close())
  afterEach(async () => {
    await rows(gateway, `DELETE FROM signing_keys WHERE kid = 'evil'`)
    await gateway.app.identity.keyring.reload()
  })

  const point = (hex: string) => Buffer.from(hex, 'hex').toString('base64url')
  const evil = (jwk: JWK, alg: string) => ({ ...jwk, kid: 'evil', alg, use: 'sig' })
  /** Vouched for: with the MAC and the seal that only the secret key makes. What is refused then, is refused for the key itself. */
  async function insert(algorithm: 'EdDSA' | 'ES256', jwk: JWK, { mac }: { mac?: string } = {}): Promise<void> {
    const { secrets } = gateway.app.platform
    const text = JSON.stringify(jwk)
    const own = await exportJWK((await generateKeyPair(algorithm, { extractable: true })).privateKey)
    const place = { table: 'signing_keys', row: 'evil', column: 'private_sealed', owner: '' }
    await rows(
      gateway,
      `INSERT INTO signing_keys (kid, algorithm, state, public_jwk, public_mac, private_sealed, activates_at, retired_at)
       VALUES ('evil', $1, 'retired', $2, $3, $4, clock_timestamp(), clock_timestamp())`,
      [
        algorithm,
        text,
        mac ?? secrets.mac('signing_keys', `evil|${algorithm}|${text}`),
        secrets.seal(place, Buffer.from(JSON.stringify(own))),
      ],
    )
  }
  /** The key is refused, and the earlier keys stay in use. */
  async function isUnknown(token: string): Promise<void> {
    const reported = gateway.log().length
    await gateway.app.identity.keyring.reload()
    await gateway.app.identity.keyring.reload()
    expect(
      gateway
        .log()
        .slice(reported)
        .filter((l) => l.reason === 'signing_key_unusable').length,
    ).toBeLessThan(2)
    expect(gateway.app.identity.keyring.known('evil')).toBeUndefined()
    gateway.clock.advance(1000)
    // another gateway may be able to read the key
    expect(await ask(gateway, token)).toBe('unavailable')
    expect((await call(gateway, '/.well-known/jwks.json')).body.keys.map((k: JWK) => k.kid)).not.toContain('evil')
    expect(await ask(gateway, user.token)).toBe(200)
    expect(await ask(gateway, (await newUser(gateway)).token)).toBe(200)
  }

  it('is not taken for one of ours without our MAC, whatever stands in its place', async () => {
    const { privateKey, publicKey } = await generateKeyPair('EdDSA', { extractable: true })
    const jwk = evil(await exportJWK(publicKey), 'EdDSA')
    const token = await forged(user.token, { kid: 'evil' }, (input) => crypto.subtle.sign('Ed25519', privateKey, new Uint8Array(input)))
    await insert('EdDSA', jwk)
    await gateway.app.identity.keyring.reload()
    expect(await ask(gateway, token)).toBe(200)
    await rows(gateway, `DELETE FROM signing_keys WHERE kid = 'evil'`)
    await gateway.app.identity.keyring.reload()

    const [{ public_mac: ours }] = (await rows<any>(gateway, 'SELECT public_mac FROM signing_keys')) as [any]
    for (const mac of ['', 'x', ours, `${ours.split('.')[0]}.${Buffer.alloc(32).toString('base64url')}`]) {
      await insert('EdDSA', jwk, { mac })
      await isUnknown(token)
      await rows(gateway, `DELETE FROM signing_keys WHERE kid = 'evil'`)
    }
  })

  it.each([
    ['off the curve', '01'.padStart(64, '0'), '01'.padStart(64, '0')],
    ['at zero', '00'.repeat(32), '00'.repeat(32)],
    ['beyond the field', 'ff'.repeat(32), 'ff'.repeat(32)],
  ])('is not imported, even vouched for, when it is a point of P-256 %s', async (_, x, y) => {
    await insert('ES256', evil({ kty: 'EC', crv: 'P-256', x: point(x), y: point(y) }, 'ES256'))
    await isUnknown(await forged(user.token, { kid: 'evil', alg: 'ES256' }, () => Buffer.alloc(64)))
  })

  // where A has a small order, (R, S) = (neutral, 0) fits every message, or every second, fourth or eighth
  const NEUTRAL = `01${'00'.repeat(31)}`
  it.each([
    ['the neutral element', NEUTRAL],
    ['the neutral element in another spelling', `ee${'ff'.repeat(30)}7f`],
    ['the point of order 2', `ec${'ff'.repeat(30)}7f`],
    ['a point of order 4', '00'.repeat(32)],
    ['a point of order 8', '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'],
  ])('verifies nothing, even vouched for, when it is %s of Ed25519', async (_, x) => {
    await insert('EdDSA', evil({ kty: 'OKP', crv: 'Ed25519', x: point(x) }, 'EdDSA'))
    await gateway.app.identity.keyring.reload().catch(() => {})
    const signature = Buffer.concat([Buffer.from(NEUTRAL, 'hex'), Buffer.alloc(32)])
    for (let jti = 0; jti < 16; jti++)
      expect(await ask(gateway, await forged(user.token, { kid: 'evil', jti }, () => signature))).not.toBe(200)
    expect(await ask(gateway, user.token)).toBe(200)
  })
})

it('the secret of an HMAC is 256 random bits of our own making, never the same twice', async () => {
  const seen = new Set<string>()
  for (let i = 0; i < 2; i++) {
    const gateway = await startGateway({ config: { tokens: { algorithm: 'HS256' } } })
    const [{ kid, private_sealed }] = (await rows<any>(gateway, 'SELECT kid, private_sealed FROM signing_keys')) as [any]
    const secret = gateway.app.platform.secrets.open(
      { table: 'signing_keys', row: kid, column: 'private_sealed', owner: '' },
      private_sealed,
    )
    expect(secret).toHaveLength(32)
    expect(new Set(secret).size).toBeGreaterThan(16)
    seen.add(secret.toString('hex'))
    await gateway.close()
  }
  expect(seen.size).toBe(2)
})

it.each([
  'none',
  'HS1',
  'HS512',
  'RS1',
  'PS256',
  'ES256K',
  'RSA1_5',
  'eddsa',
  '',
])('%j is no algorithm that a configuration may name', (algorithm) => {
  expect(() => configWith({ tokens: { algorithm } })).toThrow('tokens.algorithm')
})

it.each([
  ['EdDSA', { name: 'Ed25519' }],
  ['ES256', { name: 'ECDSA', namedCurve: 'P-256' }],
  ['RS256', { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048 }],
  ['HS256', { name: 'HMAC', length: 256 }],
])('a %s key is as strong as its algorithm asks, and no script can read its private part', async (algorithm, strength) => {
  const gateway = await startGateway({ config: { tokens: { algorithm } } })
  const { privateKey } = gateway.app.identity.keyring.signing()
  expect(privateKey.algorithm).toMatchObject(strength)
  expect(privateKey.extractable).toBe(false)
  await gateway.close()
})
