/** An issuer of tokens for subjects without their own: keys, tokens, and an endpoint that publishes the keys. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose'

export const AUDIENCE = 'api'
const ALGORITHMS = ['EdDSA', 'RS256'] as const
export type Algorithm = (typeof ALGORITHMS)[number]

export interface Identity {
  issuer: string
  jwksUrl: string
  /** PEM. */
  publicKeys: Record<Algorithm, string>
  /** Tokens of one user, valid for a day. */
  tokens: Record<Algorithm, string>
  stop(): void
}

export async function startIdentity(): Promise<Identity> {
  const pairs = {
    EdDSA: await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true }),
    RS256: await generateKeyPair('RS256', { extractable: true }),
  }
  const published = async (alg: Algorithm) => ({ ...(await exportJWK(pairs[alg].publicKey)), alg, kid: alg, use: 'sig' })
  // some gateways in Go reject a key set that holds an EdDSA key
  const keys = [await published('RS256')]
  const server = createServer((req, res) => {
    const document = req.url === '/jwks.json' ? { keys } : discovery(issuer)
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(document))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const of = async <T>(make: (alg: Algorithm) => Promise<T>) =>
    Object.fromEntries(await Promise.all(ALGORITHMS.map(async (alg) => [alg, await make(alg)]))) as Record<Algorithm, T>
  return {
    issuer,
    jwksUrl: `${issuer}/jwks.json`,
    publicKeys: await of((alg) => exportSPKI(pairs[alg].publicKey)),
    tokens: await of((alg) => sign(issuer, alg, pairs[alg].privateKey)),
    stop: () => server.close().closeAllConnections(),
  }
}

/** The same claims as an access token of the gateway. */
const sign = (issuer: string, alg: Algorithm, key: CryptoKey): Promise<string> =>
  new SignJWT({
    sid: crypto.randomUUID(),
    roles: ['user'],
    scope: '',
    amr: ['pwd'],
    email: 'user@example.com',
    email_verified: true,
    preferred_username: 'user',
  })
    .setProtectedHeader({ alg, kid: alg, typ: 'JWT' })
    .setSubject(crypto.randomUUID())
    .setIssuer(issuer)
    .setAudience(AUDIENCE)
    .setJti(crypto.randomUUID())
    .setIssuedAt()
    .setExpirationTime('1 day')
    .sign(key)

/** OpenID Connect Discovery 1.0 §3. */
const discovery = (issuer: string) => ({
  issuer,
  jwks_uri: `${issuer}/jwks.json`,
  authorization_endpoint: `${issuer}/authorize`,
  token_endpoint: `${issuer}/token`,
  response_types_supported: ['code'],
  subject_types_supported: ['public'],
  id_token_signing_alg_values_supported: ['RS256'],
})
