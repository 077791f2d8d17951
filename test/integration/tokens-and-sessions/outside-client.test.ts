import jwt from 'jsonwebtoken'
import { JwksClient } from 'jwks-rsa'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newUserWithRoles, type TestUser } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { type Relay, startRelay } from '../../support/relay.ts'
import { retireCurrent } from '../../support/signing-keys.ts'

/** jsonwebtoken and jwks-rsa know nothing of us: all that they get is the issuer's address. They have no EdDSA. */
describe.each(['RS256', 'ES256'] as const)('an API that verifies %s tokens itself, with a library of its own', (algorithm) => {
  let door: Relay
  let gateway: Gateway
  let user: TestUser
  let issuer: string
  beforeAll(async () => {
    // the public address has to be known before the gateway has a port
    door = await startRelay()
    issuer = `http://127.0.0.1:${door.port}`
    gateway = await startGateway({ config: { server: { publicUrl: issuer }, tokens: { algorithm, audience: 'orders' } } })
    door.target(gateway.port)
    user = await newUserWithRoles(gateway, ['admin'])
  })
  afterAll(async () => {
    await gateway.close()
    await door.close()
  })

  /** RFC 8414 metadata → JWKS → key → claims. */
  async function verify(token: string, audience = 'orders'): Promise<jwt.JwtPayload> {
    const metadata: any = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json()
    expect(metadata.issuer).toBe(issuer)
    const keys = new JwksClient({ jwksUri: metadata.jwks_uri, cache: false })
    const { kid } = jwt.decode(token, { complete: true })!.header
    const key = (await keys.getSigningKey(kid)).getPublicKey()
    return jwt.verify(token, key, { issuer: metadata.issuer, audience, algorithms: [algorithm] }) as jwt.JwtPayload
  }

  it('accepts our access token and reads who it is', async () => {
    expect(await verify(user.token)).toMatchObject({
      iss: issuer,
      aud: 'orders',
      sub: user.id,
      roles: ['admin', 'user'],
      email: user.email,
      email_verified: false,
      preferred_username: user.username,
      exp: expect.any(Number),
      iat: expect.any(Number),
      jti: expect.any(String),
      sid: expect.any(String),
    })
  })

  it('accepts a token that was signed after a rotation, and a token from before it', async () => {
    await retireCurrent(gateway)
    const fresh = await newUserWithRoles(gateway, [])
    expect((await verify(fresh.token)).sub).toBe(fresh.id)
    expect((await verify(user.token)).sub).toBe(user.id)
  })

  it('refuses it for another audience, and when a character of it was changed', async () => {
    await expect(verify(user.token, 'billing')).rejects.toThrow('audience invalid')
    const [header, payload, signature] = user.token.split('.')
    const claims = JSON.parse(Buffer.from(payload!, 'base64url').toString())
    const raised = Buffer.from(JSON.stringify({ ...claims, roles: ['root'] })).toString('base64url')
    await expect(verify(`${header}.${raised}.${signature}`)).rejects.toThrow('invalid signature')
  })
})
