/** An OpenID provider whose every answer a test can change. It logs everybody in. */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { exportJWK, type JWK, type JWTHeaderParameters, SignJWT } from 'jose'

type Json = Record<string, any>

export interface FakeProvider {
  issuer: string
  port: number
  clientId: string
  clientSecret: string
  /** Of the person who logs in. */
  person: Json
  /** Changes the metadata. */
  metadata: Json
  /** Changes an ID token before it is signed. */
  tamper: ((claims: Json, header: JWTHeaderParameters) => void) | null
  /** Signs in place of the current key. */
  sign: ((claims: Json, header: JWTHeaderParameters) => Promise<string> | string) | null
  /** Changes the answer of the authorization endpoint. */
  answer: ((parameters: URLSearchParams) => void) | null
  /** Answers the token endpoint in its place. */
  token: ((response: ServerResponse) => void) | null
  /** Answers everything in its place. */
  everything: ((response: ServerResponse, path: string) => void) | null
  /** Requests, by path. */
  seen: { path: string; query: URLSearchParams; body: URLSearchParams; authorization: string | undefined }[]
  /** How often each path was asked. */
  count(path: string): number
  /** From now on another key signs. The key before is gone. */
  rotate(): void
  /** A logout token. */
  logoutToken(claims?: Json, header?: Json): Promise<string>
  /** The public key that signs now. */
  publicJwk(): Promise<JWK>
  close(): Promise<void>
}

interface Key {
  kid: string
  privateKey: KeyObject
  publicKey: KeyObject
}

function newKey(): Key {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { kid: randomBytes(6).toString('hex'), privateKey, publicKey }
}

export interface FakeProviderOptions {
  kind?: 'oidc' | 'apple'
  /** Of 127.0.0.1: it then listens with TLS. */
  certificate?: { cert: string; key: string }
}

export async function startFakeProvider({ kind = 'oidc', certificate }: FakeProviderOptions = {}): Promise<FakeProvider> {
  let key = newKey()
  const codes = new Map<string, URLSearchParams>()
  const listener = (request: IncomingMessage, response: ServerResponse) => void handle(request, response)
  const server = certificate ? https.createServer(certificate, listener) : http.createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const issuer = `${certificate ? 'https' : 'http'}://127.0.0.1:${port}`

  const provider: FakeProvider = {
    issuer,
    port,
    clientId: 'gateway',
    clientSecret: randomBytes(16).toString('hex'),
    person: { sub: 'ann', email: 'ann@example.com', email_verified: true },
    metadata: {},
    tamper: null,
    sign: null,
    answer: null,
    token: null,
    everything: null,
    seen: [],
    count: (path) => provider.seen.filter((one) => one.path === path).length,
    rotate() {
      key = newKey()
    },
    logoutToken: (claims = {}, header = {}) =>
      signed(
        {
          iss: issuer,
          aud: provider.clientId,
          iat: seconds(),
          exp: seconds() + 120,
          jti: randomBytes(8).toString('hex'),
          sub: provider.person.sub,
          events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
          ...claims,
        },
        { alg: 'ES256', typ: 'logout+jwt', kid: key.kid, ...header },
      ),
    publicJwk: async () => ({ ...(await exportJWK(key.publicKey)), kid: key.kid, alg: 'ES256', use: 'sig' }),
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }

  const seconds = () => Math.floor(Date.now() / 1000)

  /** Members of the value undefined are left out. */
  const signed = (claims: Json, header: JWTHeaderParameters) =>
    new SignJWT(JSON.parse(JSON.stringify(claims))).setProtectedHeader(header).sign(key.privateKey)

  async function idToken(asked: URLSearchParams): Promise<string> {
    const claims: Json = {
      iss: issuer,
      aud: provider.clientId,
      iat: seconds(),
      exp: seconds() + 300,
      auth_time: seconds(),
      nonce: asked.get('nonce'),
      ...provider.person,
    }
    const header: JWTHeaderParameters = { alg: 'ES256', kid: key.kid }
    provider.tamper?.(claims, header)
    return provider.sign ? provider.sign(claims, header) : signed(claims, header)
  }

  function authorize(query: URLSearchParams, response: ServerResponse): void {
    const code = randomBytes(16).toString('hex')
    codes.set(code, query)
    const parameters = new URLSearchParams({ code, state: query.get('state')!, iss: issuer })
    provider.answer?.(parameters)
    const to = query.get('redirect_uri')!
    if (query.get('response_mode') === 'form_post') {
      const fields = [...parameters].map(([name, value]) => `<input name="${name}" value="${value}">`).join('')
      response.setHeader('content-type', 'text/html').end(`<form method="post" action="${to}">${fields}<button>Continue</button></form>`)
    } else response.writeHead(303, { location: `${to}?${parameters}` }).end()
  }

  async function exchange(body: URLSearchParams, response: ServerResponse): Promise<void> {
    const asked = codes.get(body.get('code') ?? '')
    codes.delete(body.get('code') ?? '')
    const challenge = createHash('sha256')
      .update(body.get('code_verifier') ?? '')
      .digest('base64url')
    if (!asked || asked.get('code_challenge') !== challenge || asked.get('redirect_uri') !== body.get('redirect_uri'))
      return json(response, 400, { error: 'invalid_grant', error_description: '<b>a text of the provider</b>' })
    json(response, 200, { access_token: 'at', token_type: 'Bearer', expires_in: 60, id_token: await idToken(asked) })
  }

  const json = (response: ServerResponse, status: number, value: unknown) =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, issuer)
    let text = ''
    for await (const chunk of request.setEncoding('utf8')) text += chunk
    const body = new URLSearchParams(text)
    provider.seen.push({ path: url.pathname, query: url.searchParams, body, authorization: request.headers.authorization })
    if (provider.everything) return provider.everything(response, url.pathname)
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return json(response, 200, {
          issuer,
          authorization_endpoint: `${issuer}/authorize`,
          token_endpoint: `${issuer}/token`,
          jwks_uri: `${issuer}/jwks`,
          end_session_endpoint: kind === 'apple' ? undefined : `${issuer}/logout`,
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          id_token_signing_alg_values_supported: ['ES256'],
          authorization_response_iss_parameter_supported: kind !== 'apple',
          ...(kind === 'apple' && { token_endpoint_auth_methods_supported: ['client_secret_post'] }),
          ...provider.metadata,
        })
      case '/jwks':
        return json(response, 200, { keys: [await provider.publicJwk()] })
      case '/authorize':
        return authorize(url.searchParams, response)
      case '/token':
        return provider.token ? provider.token(response) : exchange(body, response)
      default:
        return json(response, 404, {})
    }
  }

  return provider
}
