/** Registers OAuth clients as an operator does, and requests tokens as they do. */
import { randomUUID } from 'node:crypto'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTHeaderParameters, SignJWT } from 'jose'
import type { ClientInput } from '../../src/identity/oauth/clients.service.ts'
import { type Answer, call, OPERATOR } from './client.ts'
import type { Gateway } from './gateway.ts'

export const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

export interface TestClient {
  id: string
  secret: string
}

let count = 0
export async function newClient(gateway: Pick<Gateway, 'app'>, input: Partial<ClientInput> = {}): Promise<TestClient> {
  const made = await gateway.app.identity.clients.create({ name: `client ${count++}`, roles: ['service'], ...input }, OPERATOR)
  return { id: made.client.id, secret: made.client_secret ?? '' }
}

/** RFC 6749: a form in, JSON out. */
export const post = (
  gateway: { url: string },
  path: string,
  form: Record<string, string> | string,
  headers: Record<string, string> = {},
): Promise<Answer> =>
  call(gateway, path, {
    method: 'POST',
    body: typeof form === 'string' ? form : new URLSearchParams(form).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })

export const basic = ({ id, secret }: TestClient) => ({ authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` })

export const askForToken = (gateway: { url: string }, client: TestClient, form: Record<string, string> = {}): Promise<Answer> =>
  post(gateway, '/auth/token', { grant_type: 'client_credentials', ...form }, basic(client))

export async function tokenOf(gateway: { url: string }, client: TestClient, form: Record<string, string> = {}): Promise<string> {
  const { status, body } = await askForToken(gateway, client, form)
  if (status !== 200) throw new Error(`/token answered ${status}: ${JSON.stringify(body)}`)
  return body.access_token
}

export interface KeyClient {
  id: string
  alg: string
  privateKey: CryptoKey
  jwk: JWK
}

/** An OAuth client with its own key; the gateway knows the public part. */
export async function newKeyClient(gateway: Pick<Gateway, 'app'>, alg = 'RS256', input: Partial<ClientInput> = {}): Promise<KeyClient> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), kid: `k-${alg}` }
  return { ...(await newClient(gateway, { jwks: { keys: [jwk] }, ...input })), alg, privateKey, jwk }
}

/** A valid assertion with the given changes; `undefined` removes a claim. */
export function assertionOf(
  { id, alg, privateKey }: KeyClient,
  claims: Record<string, unknown> = {},
  header: Partial<JWTHeaderParameters> = {},
) {
  const now = Math.floor(Date.now() / 1000)
  const all = { iss: id, sub: id, aud: 'http://gateway.test', jti: randomUUID(), iat: now, exp: now + 60, ...claims }
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  return new SignJWT(given).setProtectedHeader({ alg, ...header }).sign(privateKey)
}

export const askWithAssertion = (gateway: { url: string }, assertion: string, form: Record<string, string> = {}): Promise<Answer> =>
  post(gateway, '/auth/token', {
    grant_type: 'client_credentials',
    client_assertion_type: ASSERTION_TYPE,
    client_assertion: assertion,
    ...form,
  })
