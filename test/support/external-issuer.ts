/** Another issuer of access tokens, whose keys, answers and tokens a test can change. */
import { generateKeyPairSync, type KeyObject, randomBytes, randomUUID } from 'node:crypto'
import http, { type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CompactSign, exportJWK, type JWK } from 'jose'

type Json = Record<string, any>

export interface IssuerSigningKey {
  kid: string
  alg: string
  privateKey: KeyObject
  publicKey: KeyObject
}

export interface ExternalIssuer {
  issuer: string
  jwksUri: string
  port: number
  /** The keys that it publishes. The first signs. */
  keys: IssuerSigningKey[]
  /** Changes the key set before it is sent. */
  publish: ((keys: JWK[]) => unknown) | null
  /** Answers everything in its place. */
  everything: ((response: ServerResponse, path: string) => void) | null
  /** The requests, with their paths. */
  seen: { path: string; authorization: string | undefined }[]
  /** How often each path was asked. */
  count(path: string): number
  /** An entry of `issuers`. */
  settings(changed?: Json): Json
  /** Members of the value undefined are left out. */
  token(claims?: Json, header?: Json, key?: IssuerSigningKey): Promise<string>
  /** Signs these bytes as the payload. */
  signed(payload: string, header?: Json, key?: IssuerSigningKey): Promise<string>
  close(): Promise<void>
}

export function newSigningKey(alg = 'ES256', kid = randomBytes(6).toString('hex')): IssuerSigningKey {
  const pair = alg.startsWith('ES')
    ? generateKeyPairSync('ec', { namedCurve: { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[alg]! })
    : alg === 'EdDSA'
      ? generateKeyPairSync('ed25519')
      : generateKeyPairSync('rsa', { modulusLength: 2048 })
  return { kid, alg, ...pair }
}

export const publicJwkOf = async ({ kid, alg, publicKey }: IssuerSigningKey): Promise<JWK> => ({
  ...(await exportJWK(publicKey)),
  kid,
  alg,
  use: 'sig',
})

const seconds = () => Math.floor(Date.now() / 1000)

export async function startExternalIssuer({ port: wanted = 0 } = {}): Promise<ExternalIssuer> {
  const json = (response: ServerResponse, status: number, value: unknown) =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
  const server = http.createServer(async (request, response) => {
    const path = request.url!
    other.seen.push({ path, authorization: request.headers.authorization })
    if (other.everything) return other.everything(response, path)
    if (path === '/.well-known/openid-configuration') return json(response, 200, { issuer: other.issuer, jwks_uri: other.jwksUri })
    if (path !== '/jwks') return json(response, 404, {})
    const keys = await Promise.all(other.keys.map(publicJwkOf))
    json(response, 200, other.publish ? other.publish(keys) : { keys })
  })
  await new Promise<void>((resolve) => server.listen(wanted, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const issuer = `http://127.0.0.1:${port}`

  const other: ExternalIssuer = {
    issuer,
    jwksUri: `${issuer}/jwks`,
    port,
    keys: [newSigningKey()],
    publish: null,
    everything: null,
    seen: [],
    count: (path) => other.seen.filter((one) => one.path === path).length,
    settings: (changed = {}) => ({
      id: 'work',
      issuer,
      jwksUri: other.jwksUri,
      audience: 'orders',
      algorithms: ['ES256'],
      roles: { claim: 'groups', map: { staff: ['user'] } },
      scopes: { claim: 'scope', map: { 'orders.read': ['orders:read'] } },
      ...changed,
    }),
    token: (claims = {}, header = {}, key = other.keys[0]!) =>
      other.signed(
        JSON.stringify({
          iss: issuer,
          aud: 'orders',
          sub: 'ann',
          iat: seconds(),
          exp: seconds() + 300,
          jti: randomUUID(),
          ...claims,
        }),
        header,
        key,
      ),
    signed: (payload, header = {}, key = other.keys[0]!) =>
      new CompactSign(Buffer.from(payload))
        .setProtectedHeader(JSON.parse(JSON.stringify({ alg: key.alg, typ: 'at+jwt', kid: key.kid, ...header })))
        .sign(key.privateKey),
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return other
}
