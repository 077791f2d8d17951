import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { call, newUser, newUserWithRoles, OPERATOR, type TestUser } from '../../support/client.ts'
import { askForToken, askWithAssertion, assertionOf, basic, newClient, newKeyClient, post, tokenOf } from '../../support/clients.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { dump, rows } from '../../support/rows.ts'
import { claimsOf, headerOf } from '../../support/session.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const routesTo = (upstream: Upstream) => {
  const route = (name: string, access: unknown, part: object = {}) => ({
    name,
    match: { path: `/${name}` },
    upstream: [upstream.url],
    access,
    ...part,
  })
  return [
    route('users', 'authenticated'),
    route('services', { roles: ['service'] }),
    route('writers', { scopes: ['orders:write'] }),
    route('assured', 'authenticated', { headers: { assertion: true } }),
    route('fresh', { maxAuthAgeSeconds: 3600 }),
    route('factor', { mfa: true }),
  ]
}
const config = { auth: { roles: { admin: {}, user: {}, service: { scopes: ['orders:read'] } }, mfa: { requiredForRoles: ['admin'] } } }

describe.each(['postgres', 'embedded'] as const)('a machine client on %s', (stores) => {
  const upstream = useUpstream()
  const gateway = useGateway(() => ({ stores, routes: routesTo(upstream), config }))
  const statusWith = async (path: string, token: string) => {
    const { status, body } = await call(gateway, path, { token })
    return status === 200 ? 200 : body.code
  }

  it('gets an access token by its secret, and no refresh token', async () => {
    const client = await newClient(gateway, { scopes: ['orders:write'] })
    const { status, headers, body } = await askForToken(gateway, client)
    expect(status).toBe(200)
    expect(body).toEqual({ access_token: expect.any(String), token_type: 'Bearer', expires_in: 900, scope: 'orders:read orders:write' })
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('pragma')).toBe('no-cache')
    expect(headerOf(body.access_token)).toMatchObject({ typ: 'at+jwt' })
    const claims = claimsOf(body.access_token)
    expect(claims).toEqual({
      iss: 'http://gateway.test',
      aud: 'api',
      sub: client.id,
      client_id: client.id,
      sid: expect.any(String),
      jti: expect.any(String),
      ver: 1,
      roles: ['service'],
      scope: 'orders:read orders:write',
      iat: expect.any(Number),
      exp: claims.iat + 900,
    })
    expect(await dump(gateway)).not.toContain(client.secret.slice(4))
  })

  it('by its secret in the body; by an assertion of any algorithm, to the issuer or to the endpoint', async () => {
    const client = await newClient(gateway)
    const form = { grant_type: 'client_credentials', client_id: client.id, client_secret: client.secret }
    expect((await post(gateway, '/auth/token', form)).status).toBe(200)
    for (const alg of ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519']) {
      const machine = await newKeyClient(gateway, alg)
      for (const aud of ['http://gateway.test', 'http://gateway.test/auth/token', ['http://gateway.test']])
        expect((await askWithAssertion(gateway, await assertionOf(machine, { aud }))).status).toBe(200)
      expect((await askWithAssertion(gateway, await assertionOf(machine), { client_id: machine.id })).status).toBe(200)
    }
  })

  // RFC 9864 §2.2: two names of one algorithm
  it('by an assertion of an Ed25519 key under either name, whichever of them the key was registered with', async () => {
    for (const registered of ['EdDSA', 'Ed25519', undefined]) {
      const { privateKey, jwk } = await newKeyClient(gateway, 'EdDSA')
      const key = registered === undefined ? jwk : { ...jwk, alg: registered }
      const machine = await newClient(gateway, { jwks: { keys: [key] } })
      for (const alg of ['EdDSA', 'Ed25519'])
        expect((await askWithAssertion(gateway, await assertionOf({ ...machine, alg, privateKey, jwk }))).status).toBe(200)
    }
  })

  it('passes by its roles and scopes, and upstreams receive its identity without a session', async () => {
    const client = await newClient(gateway, { scopes: ['orders:write'] })
    const token = await tokenOf(gateway, client)
    upstream.take()
    for (const path of ['/users', '/services', '/writers']) expect(await statusWith(path, token)).toBe(200)
    expect(upstream.take()[0]!.headers).toMatchObject({ 'x-auth-user': client.id, 'x-auth-roles': 'service' })
    await statusWith('/assured', token)
    const { headers } = upstream.take()[0]!
    expect(headers).not.toHaveProperty('x-auth-session')
    const { sub, sid, scope } = claimsOf(headers['x-auth-assertion'] as string)
    expect({ sub, sid, scope }).toEqual({ sub: client.id, sid: undefined, scope: 'orders:read orders:write' })
    expect(await statusWith('/fresh', token)).toBe('reauthentication_required')
    expect(await statusWith('/factor', token)).toBe('mfa_required')
  })

  it('a scope narrows, and never widens', async () => {
    const client = await newClient(gateway, { scopes: ['orders:write', 'a', 'b'] })
    const { body } = await askForToken(gateway, client, { scope: 'b a b' })
    expect(body.scope).toBe('a b')
    expect(claimsOf(body.access_token).scope).toBe('a b')
    expect(await statusWith('/writers', body.access_token)).toBe('forbidden')
    for (const scope of ['c', 'a c', 'a  b', ' a', 'A', 'orders:*']) {
      const { status, body } = await askForToken(gateway, client, { scope })
      expect({ scope, status, error: body.error }).toEqual({ scope, status: 400, error: 'invalid_scope' })
    }
    expect((await askForToken(gateway, client, { scope: '' })).body.scope).toBe('a b orders:read orders:write')
  })

  it('reaches no account, whatever its roles', async () => {
    const token = await tokenOf(gateway, await newClient(gateway, { roles: ['admin', 'service'] }))
    const asked: [string, string, unknown?][] = [
      ['GET', '/auth/me'],
      ['PATCH', '/auth/me', { username: 'machine' }],
      ['GET', '/auth/api-keys'],
      ['POST', '/auth/api-keys', { name: 'x' }],
      ['POST', '/auth/logout'],
      ['POST', '/auth/logout-all'],
      ['GET', '/auth/admin/errors'],
      ['GET', '/auth/admin/clients'],
      ['POST', '/auth/admin/clients', { name: 'x' }],
    ]
    for (const [method, path, body] of asked) expect((await call(gateway, path, { method, token, body })).body.code).toBe('forbidden')
    expect(await statusWith('/services', token)).toBe(200)
  })

  it.each<[string, (ref: string) => Promise<unknown>]>([
    ['disabled', (ref) => gateway.app.identity.clients.disable(ref, OPERATOR)],
    ['removed', (ref) => gateway.app.identity.clients.remove(ref, OPERATOR)],
    ['given a new secret', (ref) => gateway.app.identity.clients.rotateSecret(ref, OPERATOR)],
    ['changed', (ref) => gateway.app.identity.clients.update(ref, { roles: [] }, OPERATOR)],
  ])('%s, all its tokens end at once; those of others go on', async (_, change) => {
    const [client, other] = [await newClient(gateway), await newClient(gateway)]
    const tokens = [await tokenOf(gateway, client), await tokenOf(gateway, client)]
    const kept = await tokenOf(gateway, other)
    for (const token of tokens) expect(await statusWith('/users', token)).toBe(200)
    await change(client.id)
    for (const token of tokens) expect(await statusWith('/users', token)).toBe('token_revoked')
    expect(await statusWith('/users', kept)).toBe(200)
  })

  it('each token ends alone when it is revoked', async () => {
    const client = await newClient(gateway)
    const [one, other] = [await tokenOf(gateway, client), await tokenOf(gateway, client)]
    const { status, body } = await post(gateway, '/auth/revoke', { token: one }, basic(client))
    expect({ status, body }).toEqual({ status: 200, body: {} })
    expect(await statusWith('/users', one)).toBe('token_revoked')
    expect(await statusWith('/users', other)).toBe(200)
  })

  it('has its tokens and its refusals in the audit log', async () => {
    const client = await newClient(gateway)
    await tokenOf(gateway, client)
    await askForToken(gateway, { ...client, secret: 'pcs_wrong' })
    const reported = await rows(gateway, 'SELECT event, outcome FROM audit_log WHERE actor = $1 ORDER BY id', [`client:${client.id}`])
    expect(reported).toEqual([
      { event: 'client_token', outcome: 'success' },
      { event: 'client_authentication', outcome: 'invalid_client' },
    ])
    for (const [event, outcome] of [
      ['client_token', 'success'],
      ['client_token', 'invalid_client'],
      ['client_authentication', 'invalid_client'],
      ['client_create', 'success'],
    ] as const)
      expect(await metric(gateway, 'portcullis_account_events_total', { event, outcome })).toBeGreaterThan(0)
    const [{ last_used_at }] = await rows(gateway, 'SELECT last_used_at FROM clients WHERE id = $1', [client.id])
    expect(last_used_at).not.toBeNull()
  })
})

describe('the endpoints of OAuth', () => {
  let gateway: Gateway
  let client: Awaited<ReturnType<typeof newClient>>
  beforeAll(async () => {
    gateway = await startGateway()
    client = await newClient(gateway, { scopes: ['introspect'] })
  })
  afterAll(() => gateway.close())

  const TOKEN = 'grant_type=client_credentials'
  it.each([
    ['no body', '', 'invalid_request'],
    ['no grant_type', 'scope=a', 'invalid_request'],
    ['an empty grant_type', 'grant_type=', 'invalid_request'],
    ['a parameter twice', `${TOKEN}&${TOKEN}`, 'invalid_request'],
    ['a parameter twice, once empty', `${TOKEN}&scope=&scope=a`, 'invalid_request'],
    ['a parameter twice, encoded', `${TOKEN}&grant%5Ftype=password`, 'invalid_request'],
    ['a malformed escape', `${TOKEN}&scope=%zz`, 'invalid_request'],
    ['no UTF-8', `${TOKEN}&scope=%ff`, 'invalid_request'],
    ['bytes that are not encoded', `${TOKEN}&scope=ü`, 'invalid_request'],
    ['another grant', 'grant_type=password&username=a&password=b', 'unsupported_grant_type'],
    ['a grant in other letters', 'grant_type=Client_Credentials', 'unsupported_grant_type'],
    ['a refresh token', 'grant_type=refresh_token&refresh_token=rt_x', 'unsupported_grant_type'],
  ])('refuse in the words of RFC 6749: %s', async (_, body, error) => {
    const answer = await post(gateway, '/auth/token', body, basic(client))
    expect(answer.status).toBe(400)
    expect(answer.body).toEqual({ error, error_description: expect.stringMatching(/^[\x20\x21\x23-\x5b\x5d-\x7e]+$/) })
    expect(answer.headers.get('content-type')).toMatch(/^application\/json/)
    expect(answer.headers.get('cache-control')).toBe('no-store')
  })

  it('take forms alone; a body that is too large is refused', async () => {
    for (const type of ['application/json', 'text/plain', 'multipart/form-data; boundary=x']) {
      const { status, body } = await post(gateway, '/auth/token', '{"grant_type":"client_credentials"}', {
        ...basic(client),
        'content-type': type,
      })
      expect({ type, status, error: body.error }).toEqual({ type, status: 400, error: 'invalid_request' })
    }
    const { status, body } = await post(gateway, '/auth/token', `${TOKEN}&x=${'x'.repeat(20_000)}`, basic(client))
    expect({ status, error: body.error }).toEqual({ status: 400, error: 'invalid_request' })
    const json = await call(gateway, '/auth/login', {
      body: 'login=a&password=b',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    })
    expect(json.body.code).toBe('content_type_unsupported')
  })

  it('ignore parameters that they do not know', async () => {
    expect((await post(gateway, '/auth/token', `${TOKEN}&resource=x&__proto__=y`, basic(client))).status).toBe(200)
  })

  it('take two names of a client for none', async () => {
    const other = await newClient(gateway)
    const { status, body } = await post(gateway, '/auth/token', `${TOKEN}&client_id=${other.id}`, basic(client))
    expect({ status, error: body.error }).toEqual({ status: 400, error: 'invalid_request' })
    expect((await post(gateway, '/auth/token', `${TOKEN}&client_id=${client.id}`, basic(client))).status).toBe(200)
  })

  it('stand in the metadata of RFC 8414', async () => {
    const { body } = await call(gateway, '/.well-known/oauth-authorization-server')
    expect(body).toMatchObject({
      token_endpoint: 'http://gateway.test/auth/token',
      grant_types_supported: ['client_credentials'],
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
      token_endpoint_auth_signing_alg_values_supported: ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'],
      introspection_endpoint: 'http://gateway.test/auth/introspect',
      revocation_endpoint: 'http://gateway.test/auth/revoke',
    })
  })
})

describe('revocation by RFC 7009', () => {
  let upstream: Upstream
  let gateway: Gateway
  let user: TestUser
  beforeAll(async () => {
    upstream = await startUpstream()
    gateway = await startGateway({ routes: routesTo(upstream) })
  })
  afterAll(async () => {
    await gateway.close()
    await upstream.close()
  })
  const revoke = (token: string, headers = {}) => post(gateway, '/auth/revoke', { token }, headers)
  const meWith = async (token: string) => (await call(gateway, '/auth/me', { token })).status

  it.each(['refreshToken', 'token'] as const)('a user’s %s ends its session and no other, for any holder of the token', async (kind) => {
    user = await newUser(gateway)
    const elsewhere = (await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })).body
    expect((await revoke(user[kind])).status).toBe(200)
    expect(await meWith(user.token)).toBe(401)
    expect((await call(gateway, '/auth/refresh', { body: { refresh_token: user.refreshToken } })).body.code).toBe('refresh_invalid')
    expect(await meWith(elsewhere.access_token)).toBe(200)
    expect((await revoke(user[kind])).status).toBe(200)
  })

  it('an API key is revoked, for any holder of the key', async () => {
    user = await newUser(gateway)
    const { body } = await call(gateway, '/auth/api-keys', { body: { name: 'leaked' }, token: user.token })
    expect((await call(gateway, '/users', { token: body.key })).status).toBe(200)
    const counted = () => metric(gateway, 'portcullis_account_events_total', { event: 'api_key_revoke', outcome: 'success' })
    const before = await counted()
    expect((await revoke(body.key)).status).toBe(200)
    expect((await revoke(body.key)).status).toBe(200)
    expect(await counted()).toBe(before + 1)
    expect((await call(gateway, '/users', { token: body.key })).body.code).toBe('token_revoked')
    expect(await meWith(user.token)).toBe(200)
  })

  it.each([
    'nothing',
    'rt_nothing',
    'pk_live_nothing',
    'a.b.c',
    '\0',
    'x'.repeat(9000),
  ])('what is unknown is answered as if it had ended: %j', async (token) => expect((await revoke(token)).status).toBe(200))

  it('a machine’s token is ended by that machine alone', async () => {
    const [owner, other] = [await newClient(gateway), await newClient(gateway)]
    const token = await tokenOf(gateway, owner)
    expect((await revoke(token)).body.error).toBe('invalid_client')
    expect((await revoke(token, basic({ ...owner, secret: 'pcs_wrong' }))).body.error).toBe('invalid_client')
    expect(await revoke(token, basic(other))).toMatchObject({ status: 400, body: { error: 'invalid_request' } })
    expect((await call(gateway, '/users', { token })).status).toBe(200)
    expect((await revoke(token, basic(owner))).status).toBe(200)
    expect((await call(gateway, '/users', { token })).body.code).toBe('token_revoked')
  })

  it('a request without a token is none', async () => {
    expect(await post(gateway, '/auth/revoke', '')).toMatchObject({ status: 400, body: { error: 'invalid_request' } })
  })
})

describe('administration of machine clients', () => {
  let gateway: Gateway
  let admin: TestUser
  beforeAll(async () => {
    gateway = await startGateway({ routes: [] })
    admin = await newUserWithRoles(gateway, ['admin'])
  })
  afterAll(() => gateway.close())
  const ask = (method: string, path: string, body?: unknown, token = admin.token) =>
    call(gateway, `/auth/admin/clients${path}`, { method, body, token })

  it('makes, shows, changes, disables, enables and removes one; its secret is shown once', async () => {
    const made = await ask('POST', '', { name: 'billing', roles: ['service'], scopes: ['introspect'] })
    expect(made.status).toBe(201)
    const { client, client_secret } = made.body
    expect(client_secret).toMatch(/^pcs_[A-Za-z0-9_-]{43}$/)
    expect(client).toEqual({
      id: expect.any(String),
      name: 'billing',
      auth_method: 'client_secret',
      jwks: null,
      roles: ['service'],
      scopes: ['introspect'],
      disabled: false,
      created_at: expect.any(String),
      last_used_at: null,
    })
    expect((await ask('GET', '')).body.clients).toEqual([client])
    const one = { id: client.id, secret: client_secret }
    expect((await askForToken(gateway, one)).status).toBe(200)

    expect((await ask('POST', `/${client.id}/disable`)).body.disabled).toBe(true)
    expect((await askForToken(gateway, one)).body.error).toBe('invalid_client')
    expect((await ask('POST', `/${client.id}/enable`)).body.disabled).toBe(false)
    expect((await askForToken(gateway, one)).status).toBe(200)

    const rotated = (await ask('POST', `/${client.id}/rotate-secret`)).body.client_secret
    expect((await askForToken(gateway, one)).body.error).toBe('invalid_client')
    expect((await askForToken(gateway, { ...one, secret: rotated })).status).toBe(200)

    expect((await ask('PATCH', `/${client.id}`, { scopes: [] })).body.scopes).toEqual([])
    expect((await ask('DELETE', `/${client.id}`)).status).toBe(204)
    expect((await askForToken(gateway, { ...one, secret: rotated })).body.error).toBe('invalid_client')
    expect((await ask('GET', '')).body.clients).toEqual([])
    const reported = await rows(gateway, `SELECT event FROM audit_log WHERE actor = $1 ORDER BY id`, [`user:${admin.id}`])
    expect(reported.map((row) => row.event)).toEqual([
      'client_create',
      'client_disable',
      'client_enable',
      'client_secret_rotate',
      'client_update',
      'client_delete',
    ])
  })

  it('new keys take the place of a secret, and a new secret that of keys', async () => {
    const client = await newClient(gateway)
    const machine = await newKeyClient(gateway, 'ES256')
    const { body } = await ask('PATCH', `/${client.id}`, { jwks: { keys: [machine.jwk] } })
    expect(body.auth_method).toBe('private_key_jwt')
    expect((await askForToken(gateway, client)).body.error).toBe('invalid_client')
    const now = { ...machine, id: client.id }
    expect((await askWithAssertion(gateway, await assertionOf(now))).status).toBe(200)
    await ask('POST', `/${client.id}/rotate-secret`)
    expect((await askWithAssertion(gateway, await assertionOf(now))).body.error).toBe('invalid_client')
  })

  it.each(['x', '01900000-0000-7000-8000-000000000000', '%01', "'"])('there is no client %j', async (ref) => {
    for (const [method, path] of [
      ['DELETE', ''],
      ['POST', '/disable'],
      ['POST', '/rotate-secret'],
    ] as const) {
      const { status, body } = await ask(method, `/${ref}${path}`)
      expect([400, 404]).toContain(status)
      expect(['not_found', 'target_ambiguous']).toContain(body.code)
    }
  })

  it.each([
    [{}, 'name'],
    [{ name: 'a\tb' }, 'name'],
    [{ name: '01900000-0000-7000-8000-000000000000' }, 'name'],
    [{ name: 'x', roles: ['No Role'] }, 'roles'],
    [{ name: 'x', scopes: ['two words'] }, 'scopes'],
    [{ name: 'x', client_secret: 'my own' }, 'client_secret'],
    [{ name: 'x', jwks: { keys: [] } }, 'jwks'],
  ])('refuses %j', async (input, field) => {
    const { status, body } = await ask('POST', '', input)
    expect({ status, field: body.errors?.[0].field }).toEqual({ status: 422, field })
  })

  it('two clients of one name there are not', async () => {
    expect((await ask('POST', '', { name: 'twice' })).status).toBe(201)
    expect((await ask('POST', '', { name: 'twice' })).body.errors).toEqual([{ field: 'name', code: 'taken', detail: 'is taken' }])
    const [other] = [await newClient(gateway)]
    expect((await ask('PATCH', `/${other.id}`, { name: 'twice' })).body.errors).toEqual([
      { field: 'name', code: 'taken', detail: 'is taken' },
    ])
    // and both refusals are in the log
    const reported = await rows(gateway, `SELECT event, detail, actor FROM audit_log WHERE outcome = 'validation_failed' ORDER BY at`)
    const actor = `user:${admin.id}`
    expect(reported).toEqual([
      { event: 'client_create', detail: null, actor },
      { event: 'client_update', detail: other.id, actor },
    ])
  })

  it('is for admins alone', async () => {
    const user = await newUser(gateway)
    for (const [method, path, body] of [
      ['GET', ''],
      ['POST', '', { name: 'x' }],
      ['POST', '/x/rotate-secret'],
      ['DELETE', '/x'],
    ] as const)
      expect((await ask(method, path, body, user.token)).body.code).toBe('forbidden')
  })
})

it('a client that is disabled on one gateway is refused by another, at every endpoint, without a poll', async () => {
  const upstream = await startUpstream()
  const a = await startGateway({ stores: 'postgres+redis', routes: routesTo(upstream) })
  const b = await startGateway({
    routes: routesTo(upstream),
    databaseUrl: a.databaseUrl,
    secretKey: a.secretKey,
    redisUrl: inject('redisUrl'),
  })
  b.app.identity.revocations.stop()
  await until(async () => {
    await a.app.platform.redis!.broadcast.publish(JSON.stringify({ sessionId: 'a session to try with', until: Date.now() + 60_000 }))
    return b.app.identity.revocations.isEnded('a session to try with')
  }, 'the subscription')
  const client = await newClient(a)
  const token = await tokenOf(b, client)
  expect((await call(b, '/users', { token })).status).toBe(200)
  await a.app.identity.clients.disable(client.id, OPERATOR)
  await until(async () => (await call(b, '/users', { token })).body.code === 'token_revoked', 'the message from Redis')
  expect((await askForToken(b, client)).body.error).toBe('invalid_client')
  await Promise.all([a.close(), b.close(), upstream.close()])
})
