/**
 * RFC 8725 §3.12: every kind of credential at every place that takes one. All the tokens are signed with the gateway's own key, and their claims
 * are those of an admin's access token but for what makes them another kind.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createLinks } from '../../src/identity/accounts/links.ts'
import type { LinkPurpose } from '../../src/identity/credentials/credential-limits.ts'
import { inTransaction } from '../../src/platform/db/database.ts'
import { makeApiKey } from '../../src/platform/request/api-key-format.ts'
import { byCookie, cookieLogin } from '../support/browser-session.ts'
import { call, newUserWithRoles, OPERATOR, raw, statusOf, type TestUser } from '../support/client.ts'
import { basic, tokenOf as machineTokenOf, newClient, post, type TestClient } from '../support/clients.ts'
import { askForCode, mailedLogin } from '../support/email-login.ts'
import { ownEndpoints } from '../support/endpoints.ts'
import { type ExternalIssuer, startExternalIssuer } from '../support/external-issuer.ts'
import { type FakeProvider, startFakeProvider } from '../support/fake-provider.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { newKey } from '../support/keys.ts'
import { mailsTo, tokenOf } from '../support/mails.ts'
import { claimsOf, me, refresh } from '../support/session.ts'
import { openIdSettings } from '../support/sign-in.ts'
import { rotateKey } from '../support/signing-keys.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let provider: FakeProvider
let other: ExternalIssuer
let gateway: Gateway
let admin: TestUser
let machine: TestClient
beforeAll(async () => {
  upstream = await startUpstream()
  provider = await startFakeProvider()
  other = await startExternalIssuer()
  const to = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], ...part })
  gateway = await startGateway({
    config: {
      server: { publicUrl: 'http://localhost', trustedProxies: ['127.0.0.1/32'] },
      forwardAuth: { dialect: 'haproxy' },
      issuers: [other.settings()],
      limits: { credentials: { mail: { limit: 1000, windowSeconds: 600 } } },
      auth: {
        apiKeys: { maxPerUser: 1000 },
        browser: { enabled: true },
        passkeys: { enabled: true },
        emailLogin: 'on',
        proofOfWork: { enabled: true },
        providers: [openIdSettings(provider), { id: 'github', kind: 'github', clientId: 'x', clientSecretEnv: 'GITHUB_SECRET' }],
      },
    },
    env: { ACME_SECRET: provider.clientSecret, GITHUB_SECRET: 'x' },
    routes: [
      to('public', { access: 'public' }),
      to('users', { access: 'authenticated' }),
      to('admins', { access: { roles: ['admin'] } }),
      to('ws', { access: 'authenticated', websocket: true }),
    ],
  })
  admin = await newUserWithRoles(gateway, ['admin'])
  machine = await newClient(gateway, { roles: ['admin'], scopes: ['introspect'] })
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
  await provider.close()
  await other.close()
})

type Make = (user: TestUser) => string | Promise<string>
const signed =
  (typ: string | undefined, claims: Record<string, unknown> = {}): Make =>
  ({ token }) => {
    const { privateKey, algorithm, kid } = gateway.app.identity.keyring.signing()
    return new SignJWT({ ...claimsOf(token), ...claims })
      .setProtectedHeader({ alg: algorithm, kid, ...(typ === undefined ? {} : { typ }) })
      .sign(privateKey)
  }

const linkFor =
  (purpose: LinkPurpose): Make =>
  async (user) => {
    const { db, config } = gateway.app.platform
    const links = createLinks(config)
    const { url } = await inTransaction(db, (trx) => links.issue(trx, { user, purpose, ttlSeconds: 600, sessionId: null, device: null }))
    return url.split('#token=')[1]!
  }

async function invitationToken(): Promise<string> {
  const email = `${randomUUID()}@example.com`
  await gateway.app.identity.administration.invite({ email, roles: ['user'] }, OPERATOR)
  return tokenOf((await mailsTo(gateway, email)).at(-1)!)
}

/** The claims of our own tokens would be no use to it. */
const EXTERNAL = 'access token of a configured issuer'

const KINDS: Record<string, Make> = {
  'access token': ({ token }) => token,
  'refresh token': ({ refreshToken }) => refreshToken,
  'access token for another audience': signed('at+jwt', { aud: 'billing' }),
  'access token for an upstream': signed('at+jwt', { aud: 'http://orders:3000' }),
  'access token of another issuer': signed('at+jwt', { iss: 'https://other.test' }),
  // as long as ours, so that it meets the same limits
  [EXTERNAL]: () => other.token({ groups: ['staff'], scope: 'orders.read', roles: ['admin'], fill: 'x'.repeat(300) }),
  'assertion to an upstream': signed('assertion+jwt', { aud: 'http://orders:3000' }),
  'assertion to ourselves': signed('assertion+jwt'),
  'ID token': signed('JWT', { nonce: 'n', at_hash: 'h' }),
  'ID token without a typ': signed(undefined, { nonce: 'n' }),
  'MFA token': signed('mfa+jwt', { aud: 'http://localhost#mfa', sev: 1 }),
  'MFA token for the audience of access tokens': signed('mfa+jwt'),
  'logout token': signed('logout+jwt', { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }),
  'DPoP proof': signed('dpop+jwt', { htm: 'GET', htu: 'http://localhost/users' }),
  'introspection answer': signed('token-introspection+jwt'),
  'security event': signed('secevent+jwt'),
  'random string': () => randomBytes(32).toString('base64url'),
  'random refresh token': () => `rt_${randomBytes(32).toString('base64url')}`,
  'session cookie': (user) => cookieLogin(gateway, user),
  'random session cookie': () => `ps_${randomBytes(41).toString('base64url')}`,
  'device token': () => `dt_${randomBytes(32).toString('base64url')}`,
  'mailed token': async ({ email }) => tokenOf((await mailsTo(gateway, email)).findLast(({ template }) => template === 'verify_email')!),
  'reset link': linkFor('reset_password'),
  'login link': linkFor('confirm_login'),
  'link that logs in': async ({ email }) => (await mailedLogin(gateway, email)).token!,
  'flow of a mailed code': ({ email }) => askForCode(gateway, email),
  invitation: () => invitationToken(),
  'flow of a passkey': async () => (await call(gateway, '/auth/passkeys/login/options', { body: {} })).body.flow_token,
  'API key': async (user) => (await newKey(gateway, user)).key,
  'random API key': makeApiKey,
  'machine token': () => machineTokenOf(gateway, machine),
  'client secret': () => machine.secret,
  'client id': () => machine.id,
  'user id': ({ id }) => id,
  'session id': ({ token }) => claimsOf(token).sid,
  password: ({ password }) => password.replaceAll(' ', '-'),
}
const isJwt = (kind: string) => /access token|assertion|ID token|MFA|logout|DPoP|introspection|security event|machine token/.test(kind)

interface Verifier {
  /** As in the route table; null for a proxied route. */
  endpoint: string | null
  takes: readonly string[]
  /** A proxy asks about the route, and forwards nothing to an upstream of ours. */
  isAsked?: boolean
  present(credential: string, owner: TestUser): Promise<{ status: number; code?: string }>
  /** The answer to another kind; `token_invalid`, as for a bearer token, unless it is given here. */
  refusal?(kind: string): { status: number; code?: string }
}

const INVALID = { status: 401, code: 'token_invalid' }
/** A refresh token has 46 characters: the schema of the body sends away what is longer than 256. */
const inBody = (short: { status: number; code?: string }) => () => short
const ask = async (path: string, options: Parameters<typeof call>[2]) => {
  const { status, body } = await call(gateway, path, options)
  return { status, code: body.code }
}
/** What a route takes; an endpoint of our own wants a session besides. */
const BEARERS = ['access token', 'API key', 'machine token']
const bearer = (endpoint: string | null, path: string, options: Parameters<typeof call>[2] = {}): Verifier => ({
  endpoint,
  takes: endpoint === null ? [...BEARERS, EXTERNAL] : ['access token'],
  present: (token) => ask(path, { ...options, token }),
  refusal: (kind) => (BEARERS.includes(kind) || kind === EXTERNAL ? { status: 403, code: 'forbidden' } : INVALID),
})
/** Below /auth/admin; `:id` and `:sessionId` are the caller's own. */
const administering = (endpoints: [endpoint: string, path?: string][]): Record<string, Verifier> =>
  Object.fromEntries(
    endpoints.map(([text, path]): [string, Verifier] => {
      const [method, route] = text.split(' ') as [string, string]
      const endpoint = `${method} /auth/admin${route}`
      const body = () =>
        route === '/users'
          ? { username: `n${randomUUID().slice(0, 20)}`, email: `${randomUUID()}@example.com` }
          : route === '/invitations'
            ? { email: `${randomUUID()}@example.com` }
            : {}
      const present: Verifier['present'] = (token, owner) => {
        const to = (path ?? route).replace(':id', owner.id).replace(':sessionId', claimsOf(owner.token).sid)
        return ask(`/auth/admin${to}`, { method, token, ...(method === 'GET' ? {} : { body: body() }) })
      }
      return [endpoint, { ...bearer(endpoint, ''), present }]
    }),
  )
/** Past the door there is this refusal, which stands for a success. */
const letIn = (endpoint: string, status: number, options: Parameters<typeof call>[2]): Verifier => ({
  ...bearer(endpoint, ''),
  async present(token) {
    const answer = await ask(endpoint.split(' ')[1]!, { ...options, token })
    return answer.status === status ? { status: 200 } : answer
  },
})
/** RFC 7009 and RFC 7662: a value that is no token of the kind gets this answer, without a reason. */
const asForm = async (path: string, token: string) => {
  const { status, body } = await post(gateway, path, { token }, basic(machine))
  return { status, ...(body.active === undefined ? {} : { code: String(body.active) }) }
}
const handshake = (token: string) =>
  `GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nAuthorization: Bearer ${token}\r\n\r\n`

const NO_PASSKEY = {
  id: 'eA',
  rawId: 'eA',
  type: 'public-key',
  response: { clientDataJSON: '', authenticatorData: '', signature: '', attestationObject: '' },
}
/** Past the door the passkey is refused, which stands for a success. */
const withPasskey = async (path: string, options: Parameters<typeof call>[2]) => {
  const answer = await ask(path, options)
  return answer.code === 'passkey_refused' ? { status: 200 } : answer
}
const PASSKEYS: Record<string, Verifier> = {
  ...Object.fromEntries(
    ['login/options', 'login/verify'].flatMap((step): [string, Verifier][] => {
      const path = `/auth/passkeys/${step}`
      const body = step === 'login/verify' ? { flow_token: 'x', credential: NO_PASSKEY } : {}
      return [
        [`POST ${path} by bearer`, { ...bearer(`POST ${path}`, ''), present: (token) => withPasskey(path, { token, body }) }],
        [
          `POST ${path} by MFA token`,
          {
            endpoint: `POST ${path}`,
            takes: ['MFA token'],
            present: (token) => withPasskey(path, { body: { ...body, mfa_token: token } }),
            refusal: inBody({ status: 401, code: 'mfa_token_invalid' }),
          },
        ],
      ]
    }),
  ),
  // a flow token is worth nothing without the signature of a passkey
  'POST /auth/passkeys/login/verify by flow': {
    endpoint: 'POST /auth/passkeys/login/verify',
    takes: [],
    present: (token) => ask('/auth/passkeys/login/verify', { body: { flow_token: token, credential: NO_PASSKEY } }),
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 401, code: 'passkey_refused' }),
  },
  'POST /auth/passkeys/register/options': bearer('POST /auth/passkeys/register/options', '/auth/passkeys/register/options', { body: {} }),
  'POST /auth/passkeys/register/verify': {
    ...bearer('POST /auth/passkeys/register/verify', ''),
    present: (token) => withPasskey('/auth/passkeys/register/verify', { token, body: { flow_token: 'x', credential: NO_PASSKEY } }),
  },
  'GET /auth/passkeys': bearer('GET /auth/passkeys', '/auth/passkeys'),
  ...Object.fromEntries(
    (
      [
        ['PATCH', { name: 'x' }],
        ['DELETE', {}],
      ] as const
    ).map(([method, body]): [string, Verifier] => {
      const endpoint = `${method} /auth/passkeys/:id`
      const present: Verifier['present'] = async (token) => {
        const answer = await ask(`/auth/passkeys/${randomUUID()}`, { method, token, body })
        return answer.status === 404 ? { status: 200 } : answer
      }
      return [endpoint, { ...bearer(endpoint, ''), present }]
    }),
  ),
}

const VERIFIERS: Record<string, Verifier> = {
  'a proxied route for users': bearer(null, '/users/x'),
  'a proxied route for a role': { ...bearer(null, '/admins/x', { method: 'POST', body: {} }), takes: BEARERS },
  'a public proxied route': bearer(null, '/public/x'),
  'a WebSocket upgrade': {
    endpoint: null,
    takes: [...BEARERS, EXTERNAL],
    async present(token) {
      const text = await raw(gateway.port, handshake(token))
      const code = /"code":"(\w+)"/.exec(text)?.[1]
      return { status: statusOf(text), ...(code ? { code } : {}) }
    },
  },
  'a question of a proxy': {
    ...bearer(null, '/auth/verify', { headers: { 'x-original-method': 'POST', 'x-original-uri': '/users/x' } }),
    isAsked: true,
  },
  'a question of a proxy about a WebSocket': {
    ...bearer(null, '/auth/verify', {
      headers: {
        'x-original-method': 'GET',
        'x-original-uri': '/ws',
        'sec-websocket-version': '13',
        'sec-websocket-key': randomBytes(16).toString('base64'),
      },
    }),
    isAsked: true,
  },
  'GET /auth/me': bearer('GET /auth/me', '/auth/me'),
  'PATCH /auth/me': bearer('PATCH /auth/me', '/auth/me', { method: 'PATCH', body: { username: `n${randomUUID().slice(0, 20)}` } }),
  'POST /auth/password/change': {
    ...bearer('POST /auth/password/change', ''),
    present: (token, { password }) =>
      ask('/auth/password/change', { body: { current_password: password, new_password: 'another plain zebra 7' }, token }),
  },
  'DELETE /auth/me': bearer('DELETE /auth/me', '/auth/me', { method: 'DELETE' }),
  ...administering([
    ['GET /errors'],
    ['GET /config'],
    ['GET /external/blocks'],
    ['GET /explain', '/explain?url=/x'],
    ['GET /keys'],
    ['POST /keys/rotate'],
    ['GET /audit'],
    ['GET /audit/export'],
    ['GET /invitations'],
    ['POST /invitations'],
    ['GET /users'],
    ['POST /users'],
    ['GET /users/:id'],
    ['DELETE /users/:id'],
    ['PATCH /users/:id/metadata'],
    ['POST /users/:id/disable'],
    ['POST /users/:id/enable'],
    ['POST /users/:id/unlock'],
    ['POST /users/:id/end-sessions'],
    ['POST /users/:id/force-password-change'],
    ['POST /users/:id/reset-factor'],
    ['PUT /users/:id/roles/:role', '/users/:id/roles/user'],
    ['DELETE /users/:id/roles/:role', '/users/:id/roles/user'],
    ['GET /users/:id/sessions'],
    ['DELETE /users/:id/sessions/:sessionId'],
    ['GET /users/:id/api-keys'],
  ]),
  ...Object.fromEntries(
    ['block', 'unblock'].map((action) => {
      const endpoint = `POST /auth/admin/external/${action}`
      // what passes finds no block to lift
      const present: Verifier['present'] = async (token) => {
        const answer = await ask(endpoint.split(' ')[1]!, { token, body: { issuer: 'work', sub: randomUUID() } })
        return answer.status === 404 ? { status: 200 } : answer
      }
      return [endpoint, { ...bearer(endpoint, ''), present }]
    }),
  ),
  'POST /auth/admin/keys/:kid/revoke': {
    ...bearer('POST /auth/admin/keys/:kid/revoke', ''),
    present: async (token) => ask(`/auth/admin/keys/${(await rotateKey(gateway)).kid}/revoke`, { method: 'POST', token }),
  },
  ...Object.fromEntries(
    (
      [
        ['POST', '/resend'],
        ['DELETE', ''],
      ] as const
    ).map(([method, path]) => {
      const endpoint = `${method} /auth/admin/invitations/:id${path}`
      const present: Verifier['present'] = async (token) => {
        const { id } = await gateway.app.identity.administration.invite({ email: `${randomUUID()}@example.com`, roles: ['user'] }, OPERATOR)
        return ask(`/auth/admin/invitations/${id}${path}`, { method, token, body: {} })
      }
      return [endpoint, { ...bearer(endpoint, ''), present }]
    }),
  ),
  ...Object.fromEntries(
    ['GET', 'POST'].map((method) => {
      const endpoint = `${method} /auth/invitations/:token`
      const body = { username: `n${randomUUID().slice(0, 20)}`, password: 'another plain zebra 7' }
      const verifier: Verifier = {
        endpoint,
        takes: ['invitation'],
        present: (token) => ask(`/auth/invitations/${token}`, { method, ...(method === 'POST' && { body }) }),
        refusal: (kind) => (isJwt(kind) ? { status: 404, code: 'route_not_found' } : { status: 400, code: 'invitation_invalid' }),
      }
      return [endpoint, verifier]
    }),
  ),
  'GET /auth/providers/linked': bearer('GET /auth/providers/linked', '/auth/providers/linked'),
  'POST /auth/providers/:id/link': {
    ...bearer('POST /auth/providers/:id/link', ''),
    present: (token) => ask('/auth/providers/github/link', { body: {}, token }),
  },
  // the user who passes has no linked login
  'DELETE /auth/providers/:id/link': {
    ...bearer('DELETE /auth/providers/:id/link', ''),
    async present(token) {
      const answer = await ask('/auth/providers/github/link', { method: 'DELETE', body: {}, token })
      return answer.status === 404 ? { status: 200 } : answer
    },
  },
  // test/security/provider-attacks.test.ts has the tokens of providers
  'POST /auth/providers/:id/backchannel-logout': {
    endpoint: 'POST /auth/providers/:id/backchannel-logout',
    takes: [],
    async present(token) {
      const { status, body } = await call(gateway, '/auth/providers/acme/backchannel-logout', {
        method: 'POST',
        body: `logout_token=${encodeURIComponent(token)}`,
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
      })
      return { status, code: body.code }
    },
    refusal: () => ({ status: 400, code: 'logout_token_invalid' }),
  },
  'GET /auth/api-keys': bearer('GET /auth/api-keys', '/auth/api-keys'),
  'POST /auth/api-keys': bearer('POST /auth/api-keys', '/auth/api-keys', { body: { name: 'x' } }),
  'DELETE /auth/api-keys/:id': {
    ...bearer('DELETE /auth/api-keys/:id', ''),
    present: (token, owner) => newKey(gateway, owner).then(({ id }) => ask(`/auth/api-keys/${id}`, { method: 'DELETE', token })),
  },
  ...Object.fromEntries(
    (
      [
        ['GET', ''],
        ['POST', '', { name: 'one of many' }],
        ['PATCH', '/:id', { roles: ['user'] }],
        ['POST', '/:id/rotate-secret'],
        ['POST', '/:id/disable'],
        ['POST', '/:id/enable'],
        ['DELETE', '/:id'],
      ] as const
    ).map(([method, path, body]) => {
      const endpoint = `${method} /auth/admin/clients${path}`
      const present: Verifier['present'] = async (token) => {
        const { id } = await newClient(gateway)
        return ask(`/auth/admin/clients${path.replace(':id', id)}`, {
          method,
          token,
          body: body && { ...body, ...(path ? {} : { name: id.slice(9) }) },
        })
      }
      return [endpoint, { ...bearer(endpoint, ''), present }]
    }),
  ),
  'POST /auth/token': {
    endpoint: 'POST /auth/token',
    takes: ['client secret'],
    async present(secret) {
      const { status, body } = await post(gateway, '/auth/token', { grant_type: 'client_credentials' }, basic({ ...machine, secret }))
      return { status, ...(body.error ? { code: body.error } : {}) }
    },
    refusal: () => ({ status: 401, code: 'invalid_client' }),
  },
  'POST /auth/introspect': {
    endpoint: 'POST /auth/introspect',
    takes: BEARERS,
    present: (token) => asForm('/auth/introspect', token),
    refusal: () => ({ status: 200, code: 'false' }),
  },
  // as with a logout: what matters is that no session has ended
  'POST /auth/revoke': {
    endpoint: 'POST /auth/revoke',
    takes: [...BEARERS, 'refresh token'],
    present: (token) => asForm('/auth/revoke', token),
    refusal: () => ({ status: 200 }),
  },
  'DELETE /auth/admin/users/:id/api-keys/:keyId': {
    ...bearer('DELETE /auth/admin/users/:id/api-keys/:keyId', ''),
    present: (token, owner) =>
      newKey(gateway, owner).then(({ id }) => ask(`/auth/admin/users/${owner.id}/api-keys/${id}`, { method: 'DELETE', token })),
  },
  'the cookie of a browser': {
    endpoint: null,
    takes: ['session cookie'],
    async present(value) {
      const { status, body } = await byCookie(gateway, '/auth/me', value)
      return { status, code: body.code }
    },
    refusal: () => ({ status: 401, code: 'token_missing' }),
  },
  'GET /auth/session': bearer('GET /auth/session', '/auth/session'),
  'DELETE /auth/session': bearer('DELETE /auth/session', '/auth/session', { method: 'DELETE' }),
  'GET /auth/sessions': bearer('GET /auth/sessions', '/auth/sessions'),
  'DELETE /auth/sessions': bearer('DELETE /auth/sessions', '/auth/sessions', { method: 'DELETE' }),
  'DELETE /auth/sessions/:id': {
    ...bearer('DELETE /auth/sessions/:id', ''),
    present: (token, { token: own }) => ask(`/auth/sessions/${claimsOf(own).sid}`, { method: 'DELETE', token }),
  },
  'POST /auth/reauthenticate': {
    ...bearer('POST /auth/reauthenticate', ''),
    present: (token, { password }) => ask('/auth/reauthenticate', { body: { password }, token }),
  },
  'GET /auth/mfa': bearer('GET /auth/mfa', '/auth/mfa'),
  'POST /auth/mfa/totp': {
    ...bearer('POST /auth/mfa/totp', ''),
    present: (token, { password }) => ask('/auth/mfa/totp', { body: { password }, token }),
  },
  // the user who passes has no factor yet, and the answer says so
  'POST /auth/mfa/totp/confirm': letIn('POST /auth/mfa/totp/confirm', 409, { body: { code: '000000' } }),
  'DELETE /auth/mfa/totp': letIn('DELETE /auth/mfa/totp', 409, { method: 'DELETE', body: { code: '000000' } }),
  'POST /auth/mfa/backup-codes': letIn('POST /auth/mfa/backup-codes', 409, { body: { code: '000000' } }),
  'POST /auth/login/mfa': {
    endpoint: 'POST /auth/login/mfa',
    takes: ['MFA token'],
    present: async (token) => {
      const answer = await ask('/auth/login/mfa', { body: { mfa_token: token, code: '000000' } })
      return answer.code === 'invalid_code' ? { status: 200 } : answer
    },
    refusal: inBody({ status: 401, code: 'mfa_token_invalid' }),
  },
  ...PASSKEYS,
  'POST /auth/logout by bearer': bearer('POST /auth/logout', '/auth/logout', { method: 'POST' }),
  'POST /auth/logout-all by bearer': bearer('POST /auth/logout-all', '/auth/logout-all', { method: 'POST' }),
  'POST /auth/email/verify/request': bearer('POST /auth/email/verify/request', '/auth/email/verify/request', { method: 'POST' }),
  'POST /auth/email/verify/details': {
    endpoint: 'POST /auth/email/verify/details',
    takes: ['mailed token'],
    present: (token) => ask('/auth/email/verify/details', { body: { token } }),
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 400, code: 'link_invalid' }),
  },
  'POST /auth/email/verify': {
    endpoint: 'POST /auth/email/verify',
    takes: ['mailed token'],
    present: (token, { password }) => ask('/auth/email/verify', { body: { token, password } }),
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 400, code: 'link_invalid' }),
  },
  'POST /auth/refresh': {
    endpoint: 'POST /auth/refresh',
    takes: ['refresh token'],
    present: (token) => ask('/auth/refresh', { body: { refresh_token: token } }),
    refusal: inBody({ status: 401, code: 'refresh_invalid' }),
  },
  // RFC 7009 §2.2: an unknown token is as good as revoked. What matters is that no session has ended
  'POST /auth/logout by body': {
    endpoint: 'POST /auth/logout',
    takes: ['refresh token'],
    present: (token) => ask('/auth/logout', { body: { refresh_token: token } }),
    refusal: inBody({ status: 204 }),
  },
  'POST /auth/logout-all by body': {
    endpoint: 'POST /auth/logout-all',
    takes: ['refresh token'],
    present: (token) => ask('/auth/logout-all', { body: { refresh_token: token } }),
    refusal: inBody({ status: 204 }),
  },
  'POST /auth/password/reset': {
    endpoint: 'POST /auth/password/reset',
    takes: ['reset link'],
    present: (token) => ask('/auth/password/reset', { body: { token, new_password: 'another plain zebra 7' } }),
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 400, code: 'link_invalid' }),
  },
  'POST /auth/login/confirm/details': {
    endpoint: 'POST /auth/login/confirm/details',
    takes: ['login link'],
    present: (token) => ask('/auth/login/confirm/details', { body: { token } }),
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 400, code: 'link_invalid' }),
  },
  'POST /auth/login/confirm': {
    endpoint: 'POST /auth/login/confirm',
    takes: ['login link'],
    present: (token) => ask('/auth/login/confirm', { body: { token } }),
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 400, code: 'link_invalid' }),
  },
  'POST /auth/login/email/verify by link': {
    endpoint: 'POST /auth/login/email/verify',
    takes: ['link that logs in'],
    present: (token) => ask('/auth/login/email/verify', { body: { token } }),
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 400, code: 'link_invalid' }),
  },
  'POST /auth/login/email/verify by code': {
    endpoint: 'POST /auth/login/email/verify',
    takes: ['flow of a mailed code'],
    async present(token) {
      const answer = await ask('/auth/login/email/verify', { body: { flow_token: token, code: 'no code' } })
      return answer.code === 'invalid_code' ? { status: 200 } : answer
    },
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 400, code: 'flow_invalid' }),
  },
  'POST /auth/password/reset/details': {
    endpoint: 'POST /auth/password/reset/details',
    takes: ['reset link'],
    present: (token) => ask('/auth/password/reset/details', { body: { token } }),
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 400, code: 'link_invalid' }),
  },
  // it stands beside a password and takes the place of none
  'POST /auth/login as device_token': {
    endpoint: 'POST /auth/login',
    takes: [],
    present: (token, { username }) => ask('/auth/login', { body: { login: username, password: 'not the password', device_token: token } }),
    refusal: (kind) => (isJwt(kind) ? { status: 422, code: 'validation_failed' } : { status: 401, code: 'invalid_credentials' }),
  },
}

/** Endpoints that anybody may call, and that look at no credential. */
const WITHOUT = [
  'GET /health',
  'GET /.well-known/jwks.json',
  'GET /.well-known/oauth-authorization-server',
  'POST /auth/register',
  'GET /auth/email/verify',
  'GET /auth/password/reset',
  'GET /auth/login/confirm',
  'POST /auth/password/forgot',
  'POST /auth/login/email',
  'GET /auth/challenge',
  'GET /auth/providers',
  'GET /auth/providers/:id/start',
  'GET /auth/providers/:id/callback',
  'POST /auth/providers/:id/callback',
]

it('the verifiers below, and what takes no credential, are all the endpoints that there are', () => {
  const known = [...WITHOUT, ...Object.values(VERIFIERS).flatMap((v) => v.endpoint ?? [])]
  // a page takes the cookie alone
  // what a proxy asks about is no endpoint: it is judged as a route
  const all = ownEndpoints(gateway).filter((endpoint) => !/ \/auth\/(ui(\/|$)|verify$)/.test(endpoint))
  expect([...new Set(known)].sort()).toEqual(all.sort())
})

describe.each(Object.keys(VERIFIERS))('%s', (place) => {
  const { takes, present, refusal = () => INVALID } = VERIFIERS[place]!
  const others = Object.keys(KINDS).filter((kind) => !takes.includes(kind))

  it.each(others)('refuses: %s', async (kind) => {
    const answer = await present(await KINDS[kind]!(admin), admin)
    expect({ code: undefined, ...answer }).toEqual({ code: undefined, ...refusal(kind) })
    expect(upstream.take()).toEqual([])
  })

  it.each(takes)('takes: %s', async (kind) => {
    const owner = await newUserWithRoles(gateway, ['admin'])
    const { status } = await present(await KINDS[kind]!(owner), owner)
    expect([200, 201, 202, 204]).toContain(status)
    const { endpoint, isAsked = false } = VERIFIERS[place]!
    expect(upstream.take()).toHaveLength(endpoint || isAsked || takes.includes('session cookie') ? 0 : 1)
  })
})

it('a credential that was tried in the wrong place loses no session and no password', async () => {
  expect(await me(gateway, admin.token)).toBe(200)
  expect((await refresh(gateway, admin.refreshToken)).status).toBe(200)
  expect((await call(gateway, '/auth/login', { body: { login: admin.username, password: admin.password } })).status).toBe(200)
})
