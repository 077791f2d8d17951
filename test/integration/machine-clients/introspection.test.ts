import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, newUser, newUserWithRoles, OPERATOR, type TestUser } from '../../support/client.ts'
import { ASSERTION_TYPE, assertionOf, basic, newClient, newKeyClient, post, type TestClient, tokenOf } from '../../support/clients.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { newKey, revokeKey } from '../../support/keys.ts'
import { until } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, logout, refresh } from '../../support/session.ts'

let gateway: Gateway
let asker: TestClient
let user: TestUser
beforeAll(async () => {
  gateway = await startGateway({
    config: {
      auth: {
        roles: { user: { scopes: ['orders:read'] }, reader: { scopes: ['introspect'] }, guarded: {} },
        mfa: { requiredForRoles: ['guarded'] },
      },
    },
  })
  asker = await newClient(gateway, { scopes: ['introspect'] })
})
afterAll(() => gateway.close())

const ask = (token: string, by = asker) => post(gateway, '/auth/introspect', { token }, basic(by))
const inactive = async (token: string) => {
  const { status, body } = await ask(token)
  expect({ status, body }).toEqual({ status: 200, body: { active: false } })
}
const active = async (token: string) => {
  const { status, body } = await ask(token)
  expect({ status, active: body.active }).toEqual({ status: 200, active: true })
  return body
}

it('many tokens are introspected at a time from one address: none counts as an invalid token', async () => {
  const limited = await startGateway({ config: { limits: { exempt: [] } } })
  const other = new pg.Client({ connectionString: limited.databaseUrl })
  await other.connect()
  try {
    const [client, { token }] = [await newClient(limited, { scopes: ['introspect'] }), await newUser(limited)]
    // all of them are under way before the first is answered
    await other.query('BEGIN')
    await other.query('LOCK TABLE clients IN ACCESS EXCLUSIVE MODE')
    const answers = Array.from({ length: 60 }, () => post(limited, '/auth/introspect', { token }, basic(client)))
    await until(async () => (await metric(limited, 'portcullis_http_requests_in_flight')) >= 60, 'all requests in flight')
    await other.query('COMMIT')
    expect([...new Set((await Promise.all(answers)).map(({ status }) => status))]).toEqual([200])
  } finally {
    await other.end()
    await limited.close()
  }
})

describe('answers for an active token with its rights', () => {
  beforeAll(async () => {
    user = await newUser(gateway)
  })
  const place = { active: true, iss: 'http://gateway.test', aud: 'api' }

  it('a person’s access token', async () => {
    const { sid, jti, iat, exp } = claimsOf(user.token)
    expect(await active(user.token)).toEqual({
      ...place,
      sub: user.id,
      client_id: 'portcullis',
      username: user.username,
      roles: ['user'],
      scope: 'orders:read',
      token_type: 'Bearer',
      sid,
      jti,
      iat,
      exp,
    })
  })

  it('a machine’s', async () => {
    const client = await newClient(gateway, { roles: ['service'], scopes: ['a', 'b'] })
    const token = await tokenOf(gateway, client, { scope: 'a' })
    const { sid, jti, iat, exp } = claimsOf(token)
    const who = { sub: client.id, client_id: client.id, roles: ['service'], scope: 'a' }
    expect(await active(token)).toEqual({ ...place, ...who, token_type: 'Bearer', sid, jti, iat, exp })
  })

  it('a token without a scope has no scope in the answer', async () => {
    const client = await newClient(gateway, { roles: ['service'], scopes: [] })
    const reported = await active(await tokenOf(gateway, client))
    expect(reported).toMatchObject({ sub: client.id, token_type: 'Bearer' })
    expect(reported).not.toHaveProperty('scope')
    const { key } = await newKey(gateway, user, { scopes: [] })
    expect(await active(key)).not.toHaveProperty('scope')
  })

  it('an API key', async () => {
    const { key, id } = await newKey(gateway, user, { scopes: ['orders:read'] })
    const who = { sub: user.id, username: user.username, roles: [], scope: 'orders:read', jti: id }
    expect(await active(key)).toEqual({ ...place, ...who, token_type: 'Bearer', iat: expect.any(Number) })
    const ending = await newKey(gateway, user, { expires_at: '2999-01-01T00:00:00Z' })
    expect((await active(ending.key)).exp).toBe(Date.parse('2999-01-01T00:00:00Z') / 1000)
  })
})

describe('answers for every other token that it is not active, and nothing more', () => {
  it.each(['nothing', 'a.b.c', 'rt_nothing', 'pk_live_nothing', '\0', 'x'.repeat(9000)])('%j', inactive)

  it('what has ended: a session, an exchanged refresh token, a key, a client, a user', async () => {
    const one = await newUser(gateway)
    await logout(gateway, one.token)
    await inactive(one.token)
    await inactive(one.refreshToken)
    const two = await newUser(gateway)
    await refresh(gateway, two.refreshToken)
    await inactive(two.refreshToken)
    const { key, id } = await newKey(gateway, two)
    await revokeKey(gateway, two, id)
    await inactive(key)
    const client = await newClient(gateway)
    const token = await tokenOf(gateway, client)
    await gateway.app.identity.clients.disable(client.id, OPERATOR)
    await inactive(token)
    const kept = await newKey(gateway, two)
    await gateway.app.identity.administration.disable(two.username, OPERATOR)
    for (const credential of [two.token, kept.key]) await inactive(credential)
  })

  it('a refresh token, without using it: it is for no resource server', async () => {
    const one = await newUser(gateway)
    await inactive(one.refreshToken)
    const { status, body } = await refresh(gateway, one.refreshToken)
    expect(status).toBe(200)
    // neither is a retry a reuse
    await inactive(one.refreshToken)
    expect((await refresh(gateway, body.refresh_token)).status).toBe(200)
  })

  it('what is outdated, or has expired', async () => {
    const one = await newUser(gateway)
    const { key } = await newKey(gateway, one, { expires_at: new Date(Date.now() + 60_000).toISOString() })
    await rows(gateway, `UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE user_id = $1`, [one.id])
    await inactive(key)
    await gateway.app.identity.administration.grant(one.username, 'reader', OPERATOR)
    await inactive(one.token)
    await rows(gateway, `UPDATE refresh_tokens SET expires_at = now() WHERE session_id = $1`, [claimsOf(one.token).sid])
    await inactive(one.refreshToken)
  })

  it('what no protected route would take: a password that must be changed, a factor that is owed', async () => {
    const one = await newUser(gateway)
    await rows(gateway, 'UPDATE users SET password_must_change = true WHERE id = $1', [one.id])
    const login = await call(gateway, '/auth/login', { body: { login: one.username, password: one.password } })
    await inactive(login.body.access_token)
    const two = await newUserWithRoles(gateway, ['guarded'])
    await inactive(two.token)
  })
})

describe('answers', () => {
  it('only a client that has the scope, by itself or by a role', async () => {
    const other = await newClient(gateway, { scopes: ['introspection', 'Introspect'] })
    const token = (await newUser(gateway)).token
    expect(await ask(token, other)).toMatchObject({ status: 403, body: { error: 'insufficient_scope' } })
    const reader = await newClient(gateway, { roles: ['reader'] })
    expect((await ask(token, reader)).body.active).toBe(true)
  })

  it('a client that proves itself by a key, too', async () => {
    const machine = await newKeyClient(gateway, 'EdDSA', { scopes: ['introspect'] })
    const client_assertion = await assertionOf(machine)
    const { token } = await newUser(gateway)
    const form = { token, client_assertion_type: ASSERTION_TYPE, client_assertion }
    expect((await post(gateway, '/auth/introspect', form)).body.active).toBe(true)
  })

  it('a request without a token, or with two, is refused', async () => {
    for (const form of ['', 'token=', 'token=a&token=b'])
      expect(await post(gateway, '/auth/introspect', form, basic(asker))).toMatchObject({ status: 400, body: { error: 'invalid_request' } })
  })

  it('whatever the hint says', async () => {
    const { token } = await newUser(gateway)
    for (const token_type_hint of ['access_token', 'refresh_token', 'unheard-of'])
      expect((await post(gateway, '/auth/introspect', { token, token_type_hint }, basic(asker))).body.active).toBe(true)
  })
})
