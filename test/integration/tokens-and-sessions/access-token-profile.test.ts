/** Access tokens have the form of RFC 9068, which validators of other makers check. */
import { createRemoteJWKSet, jwtVerify, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, newUser, type TestUser } from '../../support/client.ts'
import { tokenOf as machineTokenOf, newClient } from '../../support/clients.ts'
import { configWith } from '../../support/config.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { claimsOf, headerOf, me } from '../../support/session.ts'

/** RFC 9068 §2.2 */
const REQUIRED = ['iss', 'exp', 'aud', 'sub', 'client_id', 'iat', 'jti']

const resigned = (gateway: Gateway, token: string, header: object, claims: object = {}) => {
  const { privateKey } = gateway.app.identity.keyring.signing()
  const all = Object.entries({ ...claimsOf(token), ...claims }).filter(([, value]) => value !== undefined)
  return new SignJWT(Object.fromEntries(all)).setProtectedHeader({ ...headerOf(token), ...header }).sign(privateKey)
}

describe('tokens.clientId', () => {
  let gateway: Gateway
  let user: TestUser
  beforeAll(async () => {
    gateway = await startGateway({ config: { tokens: { clientId: 'shop' } } })
    user = await newUser(gateway)
  })
  afterAll(() => gateway.close())

  it('is the client_id of every user, beside the other required claims; a machine names itself', async () => {
    const client = await newClient(gateway)
    for (const [token, client_id] of [
      [user.token, 'shop'],
      [await machineTokenOf(gateway, client), client.id],
    ] as const) {
      expect(headerOf(token).typ).toBe('at+jwt')
      expect(Object.keys(claimsOf(token))).toEqual(expect.arrayContaining(REQUIRED))
      expect(claimsOf(token).client_id).toBe(client_id)
    }
  })

  it('is the only client whose user tokens are accepted, beside older tokens that name none', async () => {
    expect(await me(gateway, await resigned(gateway, user.token, {}))).toBe(200)
    expect(await me(gateway, await resigned(gateway, user.token, {}, { client_id: undefined }))).toBe(200)
    for (const client_id of ['portcullis', 'Shop', '', null, ['shop'], user.id])
      expect(await me(gateway, await resigned(gateway, user.token, {}, { client_id }))).toBe('token_invalid')
  })

  it('is no UUID, since machine clients have those', () => {
    expect(() => configWith({ tokens: { clientId: user.id } })).toThrow('tokens.clientId: is a UUID, which only machine clients have')
    expect(() => configWith({ tokens: { clientId: 'two words' } })).toThrow('tokens.clientId')
  })
})

describe('tokens.typ', () => {
  it('JWT is for verifiers that refuse at+jwt; tokens from before the change stay valid', async () => {
    const before = await startGateway()
    const old = await newUser(before)
    await before.close()
    const shared = { databaseUrl: before.databaseUrl, secretKey: before.secretKey }
    const gateway = await startGateway({ ...shared, config: { tokens: { typ: 'JWT' } } })
    const user = await newUser(gateway)
    const machine = await machineTokenOf(gateway, await newClient(gateway))
    expect([user.token, machine, old.token].map((token) => headerOf(token).typ)).toEqual(['JWT', 'JWT', 'at+jwt'])
    for (const token of [user.token, old.token]) expect(await me(gateway, token)).toBe(200)
    expect(await me(gateway, machine)).toBe('forbidden')

    const keys = createRemoteJWKSet(new URL(`${gateway.url}/.well-known/jwks.json`))
    const { payload } = await jwtVerify(user.token, keys, { issuer: 'http://gateway.test', audience: 'api', typ: 'JWT' })
    expect(payload.sub).toBe(user.id)
    await gateway.close()

    const after = await startGateway(shared)
    expect(await me(after, user.token)).toBe('token_invalid')
    expect(await me(after, old.token)).toBe(200)
    await after.close()
  })

  // RFC 8725 §3.12: with a type that says nothing, the claims must tell the kinds apart
  it('JWT accepts no other kind of token', async () => {
    const gateway = await startGateway({ config: { tokens: { typ: 'JWT' } } })
    const { token } = await newUser(gateway)
    expect(await me(gateway, await resigned(gateway, token, {}))).toBe(200)
    for (const typ of ['assertion+jwt', 'mfa+jwt', 'logout+jwt', 'dpop+jwt', 'secevent+jwt', 'jwt+jwt', '', undefined])
      expect(await me(gateway, await resigned(gateway, token, { typ }))).toBe('token_invalid')
    for (const claims of [
      { client_id: undefined },
      { sid: undefined },
      { ver: undefined },
      { jti: undefined },
      { aud: 'portcullis' },
      { aud: 'http://gateway.test#mfa' },
      // an ID token for the gateway's own client, as OpenID Connect makes it
      { aud: 'portcullis', nonce: 'n', client_id: undefined },
      { nonce: 'n' },
      { at_hash: 'h' },
      { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } },
      { htm: 'GET', htu: 'http://gateway.test/users' },
    ])
      expect(await me(gateway, await resigned(gateway, token, {}, claims))).toBe('token_invalid')
    await gateway.close()
  })

  it('at+jwt, the default, accepts no JWT', async () => {
    const gateway = await startGateway()
    const { token } = await newUser(gateway)
    for (const typ of ['JWT', 'jwt', undefined]) expect(await me(gateway, await resigned(gateway, token, { typ }))).toBe('token_invalid')
    await gateway.close()
  })
})

it('the metadata and the key set name what verifiers need', async () => {
  const gateway = await startGateway()
  const { body } = await call(gateway, '/.well-known/jwks.json')
  expect(body.keys).toMatchObject([{ kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' }])
  await gateway.close()
})
