/**
 * RFC 8725 §3.12: every kind of credential at every place that takes one. All the tokens are signed with the gateway's own key, and their claims
 * are those of an admin's access token but for what makes them another kind.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, newUserWithRoles, raw, statusOf, type TestUser } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { claimsOf, me, refresh } from '../support/session.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let gateway: Gateway
let admin: TestUser
beforeAll(async () => {
  upstream = await startUpstream()
  const to = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], ...part })
  gateway = await startGateway({
    routes: [
      to('public', { access: 'public' }),
      to('users', { access: 'authenticated' }),
      to('admins', { access: { roles: ['admin'] } }),
      to('ws', { access: 'authenticated', websocket: true }),
    ],
  })
  admin = await newUserWithRoles(gateway, ['admin'])
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})

type Make = (user: TestUser) => string | Promise<string>
const signed =
  (typ: string | undefined, claims: Record<string, unknown> = {}): Make =>
  ({ token }) => {
    const { privateKey, algorithm, kid } = gateway.app.core.keyring.signing()
    return new SignJWT({ ...claimsOf(token), ...claims })
      .setProtectedHeader({ alg: algorithm, kid, ...(typ === undefined ? {} : { typ }) })
      .sign(privateKey)
  }

const KINDS: Record<string, Make> = {
  'access token': ({ token }) => token,
  'refresh token': ({ refreshToken }) => refreshToken,
  'access token for another audience': signed('at+jwt', { aud: 'billing' }),
  'access token for an upstream': signed('at+jwt', { aud: 'http://orders:3000' }),
  'access token of another issuer': signed('at+jwt', { iss: 'https://other.test' }),
  'assertion to an upstream': signed('assertion+jwt', { aud: 'http://orders:3000' }),
  'assertion to ourselves': signed('assertion+jwt'),
  'ID token': signed('JWT', { nonce: 'n', at_hash: 'h' }),
  'ID token without a typ': signed(undefined, { nonce: 'n' }),
  'MFA token': signed('mfa+jwt', { aud: 'mfa' }),
  'MFA token for the audience of access tokens': signed('mfa+jwt'),
  'logout token': signed('logout+jwt', { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }),
  'DPoP proof': signed('dpop+jwt', { htm: 'GET', htu: 'http://gateway.test/users' }),
  'introspection answer': signed('token-introspection+jwt'),
  'security event': signed('secevent+jwt'),
  'random string': () => randomBytes(32).toString('base64url'),
  'random refresh token': () => `rt_${randomBytes(32).toString('base64url')}`,
  'device token': () => `dt_${randomBytes(32).toString('base64url')}`,
  'API key': () => `pk_${randomBytes(32).toString('base64url')}`,
  'user id': ({ id }) => id,
  'session id': ({ token }) => claimsOf(token).sid,
  password: ({ password }) => password.replaceAll(' ', '-'),
}
const isJwt = (kind: string) => /access token|assertion|ID token|MFA|logout|DPoP|introspection|security event/.test(kind)

interface Verifier {
  /** As in the route table; null for a proxied route. */
  endpoint: string | null
  takes: string
  present(credential: string, owner: TestUser): Promise<{ status: number; code?: string }>
  /** What another kind is told; a bearer's `token_invalid` unless it is something else. */
  refusal?(kind: string): { status: number; code?: string }
}

const INVALID = { status: 401, code: 'token_invalid' }
/** A refresh token has 46 characters: the schema of the body sends away what is longer than 256. */
const inBody = (short: { status: number; code?: string }) => () => short
const ask = async (path: string, options: Parameters<typeof call>[2]) => {
  const { status, body } = await call(gateway, path, options)
  return { status, code: body.code }
}
const bearer = (endpoint: string | null, path: string, options: Parameters<typeof call>[2] = {}): Verifier => ({
  endpoint,
  takes: 'access token',
  present: (token) => ask(path, { ...options, token }),
})
const handshake = (token: string) =>
  `GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nAuthorization: Bearer ${token}\r\n\r\n`

const VERIFIERS: Record<string, Verifier> = {
  'a proxied route for users': bearer(null, '/users/x'),
  'a proxied route for a role': bearer(null, '/admins/x', { method: 'POST', body: {} }),
  'a public proxied route': bearer(null, '/public/x'),
  'a WebSocket upgrade': {
    endpoint: null,
    takes: 'access token',
    async present(token) {
      const text = await raw(gateway.port, handshake(token))
      const code = /"code":"(\w+)"/.exec(text)?.[1]
      return { status: statusOf(text), ...(code ? { code } : {}) }
    },
  },
  'GET /auth/me': bearer('GET /auth/me', '/auth/me'),
  'PATCH /auth/me': bearer('PATCH /auth/me', '/auth/me', { method: 'PATCH', body: { username: `n${randomUUID().slice(0, 20)}` } }),
  'POST /auth/password/change': {
    ...bearer('POST /auth/password/change', ''),
    present: (token, { password }) =>
      ask('/auth/password/change', { body: { current_password: password, new_password: 'another plain zebra 7' }, token }),
  },
  'GET /auth/admin/errors': bearer('GET /auth/admin/errors', '/auth/admin/errors'),
  'POST /auth/logout by bearer': bearer('POST /auth/logout', '/auth/logout', { method: 'POST' }),
  'POST /auth/logout-all by bearer': bearer('POST /auth/logout-all', '/auth/logout-all', { method: 'POST' }),
  'POST /auth/refresh': {
    endpoint: 'POST /auth/refresh',
    takes: 'refresh token',
    present: (token) => ask('/auth/refresh', { body: { refresh_token: token } }),
    refusal: inBody({ status: 401, code: 'refresh_invalid' }),
  },
  // RFC 7009 §2.2: an unknown token is as good as revoked. What matters is that no session has ended
  'POST /auth/logout by body': {
    endpoint: 'POST /auth/logout',
    takes: 'refresh token',
    present: (token) => ask('/auth/logout', { body: { refresh_token: token } }),
    refusal: inBody({ status: 204 }),
  },
  'POST /auth/logout-all by body': {
    endpoint: 'POST /auth/logout-all',
    takes: 'refresh token',
    present: (token) => ask('/auth/logout-all', { body: { refresh_token: token } }),
    refusal: inBody({ status: 204 }),
  },
  // it stands beside a password and takes the place of none
  'POST /auth/login as device_token': {
    endpoint: 'POST /auth/login',
    takes: 'nothing',
    present: (token, { username }) => ask('/auth/login', { body: { login: username, password: 'not the password', device_token: token } }),
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 401, code: 'invalid_credentials' }),
  },
}

/** Endpoints that anybody may call, and that look at no credential. */
const WITHOUT = ['GET /health', 'GET /.well-known/jwks.json', 'GET /.well-known/oauth-authorization-server', 'POST /auth/register']

/** Every `METHOD /path` of the server's own, as Fastify prints its routes. */
function ownEndpoints(): string[] {
  const above: string[] = []
  return gateway.app.server
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const [, indent, part, methods] = /^([│ ]*)[├└]── (\S*) \((.*)\)$/.exec(line) ?? []
      if (part === undefined) return []
      const depth = indent!.length / 4
      above.length = depth
      above[depth] = part
      const path = above.join('')
      return methods!.split(', ').map((method) => `${method} ${path}`)
    })
    .filter((endpoint) => !/ \/\*?$/.test(endpoint) && !endpoint.startsWith('HEAD '))
}

it('the verifiers below, and what takes no credential, are all the endpoints that there are', () => {
  const known = [...WITHOUT, ...Object.values(VERIFIERS).flatMap((v) => v.endpoint ?? [])]
  expect([...new Set(known)].sort()).toEqual(ownEndpoints().sort())
})

describe.each(Object.keys(VERIFIERS))('%s', (place) => {
  const { takes, present, refusal = () => INVALID } = VERIFIERS[place]!
  const others = Object.keys(KINDS).filter((kind) => kind !== takes)

  it.each(others)('refuses: %s', async (kind) => {
    const answer = await present(await KINDS[kind]!(admin), admin)
    expect({ code: undefined, ...answer }).toEqual({ code: undefined, ...refusal(kind) })
    expect(upstream.take()).toEqual([])
  })

  it.each(Object.keys(KINDS).filter((kind) => kind === takes))('takes: %s', async (kind) => {
    const owner = await newUserWithRoles(gateway, ['admin'])
    const { status } = await present(await KINDS[kind]!(owner), owner)
    expect([200, 204]).toContain(status)
    expect(upstream.take()).toHaveLength(VERIFIERS[place]!.endpoint ? 0 : 1)
  })
})

it('nobody whose credentials were tried in the wrong places has lost a session or a password', async () => {
  expect(await me(gateway, admin.token)).toBe(200)
  expect((await refresh(gateway, admin.refreshToken)).status).toBe(200)
  expect((await call(gateway, '/auth/login', { body: { login: admin.username, password: admin.password } })).status).toBe(200)
})
