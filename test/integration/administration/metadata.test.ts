/** Metadata of users: who reads it, who changes it, and what of it tokens and upstreams get. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, call, login, newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { basic, newClient, post, tokenOf } from '../../support/clients.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { newKey, withKey } from '../../support/keys.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, me } from '../../support/session.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

describe.each(['embedded', 'postgres'] as const)('metadata on %s', (stores) => {
  let gateway: Gateway
  let upstream: Upstream
  let admin: TestUser
  beforeAll(async () => {
    upstream = await startUpstream()
    gateway = await startGateway({
      stores,
      config: {
        tokens: {
          claims: [
            { claim: 'plan', from: 'metadata.public.plan', header: 'X-Plan' },
            { claim: 'https://example.com/tenant', from: 'metadata.admin.org.tenant', header: 'X-Auth-Tenant' },
            { claim: 'seats', from: 'metadata.admin.seats' },
          ],
        },
        limits: { credentials: { register: { limit: 1000, windowSeconds: 60 } } },
      },
      routes: [{ name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' }],
    })
    admin = await newUserWithRoles(gateway, ['admin'])
  })
  afterAll(async () => {
    await gateway.close()
    await upstream.close()
  })

  const patch = (user: { id: string }, body: unknown, token = admin.token): Promise<Answer> =>
    call(gateway, `/auth/admin/users/${user.id}/metadata`, { method: 'PATCH', body, token })
  const shown = async (user: { id: string }) => (await call(gateway, `/auth/admin/users/${user.id}`, { token: admin.token })).body.metadata
  const stored = async (user: { id: string }) => (await rows(gateway, 'SELECT metadata FROM users WHERE id = $1', [user.id]))[0].metadata
  const headersOf = async (options: object): Promise<Record<string, string>> => (await call(gateway, '/api/x', options)).body.headers

  it('is empty at first; an admin merges into it, and sees both parts; the user sees the public part alone', async () => {
    const user = await newUser(gateway)
    expect(await shown(user)).toEqual({ public: {}, admin: {} })
    const changed = await patch(user, { public: { theme: { dark: true }, a: 1 }, admin: { note: 'late payer' } })
    expect(changed).toMatchObject({ status: 200, body: { id: user.id, metadata: { admin: { note: 'late payer' } } } })
    expect((await patch(user, { public: { theme: { size: 2 }, a: null } })).body.metadata).toEqual({
      public: { theme: { dark: true, size: 2 } },
      admin: { note: 'late payer' },
    })
    const own = await call(gateway, '/auth/me', { token: user.token })
    expect(own.body.metadata).toEqual({ theme: { dark: true, size: 2 } })
    const renamed = await call(gateway, '/auth/me', {
      method: 'PATCH',
      body: { username: `x-${user.username}`.slice(0, 32) },
      token: user.token,
    })
    expect(JSON.stringify([own.body, renamed.body])).not.toContain('late payer')
    expect((await patch(user, { admin: null })).body.metadata.admin).toEqual({})
    expect(await stored(user)).toEqual({ public: { theme: { dark: true, size: 2 } } })
  })

  it('a change has an audit row that names the members and no value', async () => {
    const user = await newUser(gateway)
    await patch(user, { public: { plan: 'secret gold' }, admin: { 'a b': 1 } })
    expect(
      await rows(gateway, `SELECT outcome, actor, detail FROM audit_log WHERE event = 'metadata_change' AND user_id = $1`, [user.id]),
    ).toEqual([{ outcome: 'success', actor: `user:${admin.id}`, detail: 'public.plan admin.a%20b' }])
  })

  it.each<[string, unknown, string]>([
    ['more than 4 KiB', { public: { text: 'x'.repeat(4100) } }, 'metadata'],
    ['a NUL', { public: { text: 'a\0b' } }, 'metadata'],
    ['another part', { private: {} }, 'private'],
    ['a part that is no object', { public: 'gold' }, 'public'],
    ['an object where a token takes a text', { public: { plan: { name: 'gold' } } }, 'metadata.public.plan'],
    ['numbers in a list for a token', { public: { plan: [1] } }, 'metadata.public.plan'],
    ['more than 1 KiB for tokens', { public: { plan: 'x'.repeat(1100) } }, 'metadata'],
  ])('%s is refused with the field, and changes nothing', async (_, body, field) => {
    const user = await newUser(gateway)
    const refused = await patch(user, body)
    expect(refused).toMatchObject({ status: 422, body: { code: 'validation_failed' } })
    expect(refused.body.errors.map((error: { field: string }) => error.field)).toContain(field)
    expect(await stored(user)).toEqual({})
    expect(await me(gateway, user.token)).toBe(200)
  })

  it('values that no token of the user could carry beside the roles are refused', async () => {
    const user = await newUser(gateway)
    const roles = Array.from({ length: 40 }, (_, i) => `role-${i}-${'x'.repeat(50)}`)
    await rows(gateway, 'UPDATE users SET roles = $2 WHERE id = $1', [user.id, roles])
    expect(await patch(user, { public: { plan: 'x'.repeat(900) } })).toMatchObject({
      status: 422,
      body: { errors: [{ field: 'metadata', code: 'too_long' }] },
    })
  })

  it('only admins change it', async () => {
    const user = await newUser(gateway)
    expect(await patch(user, { public: { plan: 'gold' } }, user.token)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
    const own = await call(gateway, '/auth/me', { method: 'PATCH', body: { metadata: { plan: 'gold' } }, token: user.token })
    expect(own).toMatchObject({ status: 422, body: { errors: [{ field: 'metadata', code: 'unknown' }] } })
    const registered = await call(gateway, '/auth/register', {
      body: { username: `m${user.username}`, email: `m${user.email}`, password: user.password, metadata: { public: { plan: 'gold' } } },
    })
    expect(registered.body.errors).toMatchObject([{ field: 'metadata', code: 'unknown' }])
  })

  it('a mapped value is in the next token and its headers; the change outdates the older token', async () => {
    const user = await newUser(gateway)
    expect(Object.keys(await headersOf({ token: user.token })).filter((name) => /plan|tenant/.test(name))).toEqual([])
    await patch(user, { public: { plan: 'gold, 50%' }, admin: { org: { tenant: ['a,b', 'zoë'] }, seats: 12 } })
    expect(await me(gateway, user.token)).toBe('token_revoked')
    const again = await login(gateway, user)
    expect(claimsOf(again.token)).toMatchObject({ plan: 'gold, 50%', 'https://example.com/tenant': ['a,b', 'zoë'], seats: 12 })
    const headers = await headersOf({ token: again.token })
    expect(headers).toMatchObject({ 'x-plan': 'gold,%2050%25', 'x-auth-tenant': 'a%2Cb,zo%C3%AB' })
    expect(Object.values(headers)).not.toContain('12')

    await patch(user, { admin: { unmapped: true } })
    expect(await me(gateway, again.token)).toBe(200)
    await patch(user, { public: { plan: false }, admin: { seats: 0 } })
    const third = await login(gateway, user)
    expect(claimsOf(third.token)).toMatchObject({ plan: false, seats: 0 })
    expect(await headersOf({ token: third.token })).toMatchObject({ 'x-plan': 'false' })
  })

  it('a client cannot send the headers of mapped values, in whatever form', async () => {
    const user = await newUser(gateway)
    const headers = { 'x-plan': 'gold', X_Plan: 'gold', 'X-Auth-Tenant': 'root', x_auth_tenant: 'root' }
    const received = await headersOf({ token: user.token, headers })
    expect(JSON.stringify(received)).not.toMatch(/gold|root/)
  })

  it('an API key carries the values of its owner, and follows a change', async () => {
    const user = await newUser(gateway)
    const { key } = await newKey(gateway, user)
    await patch(user, { public: { plan: 'silver' } })
    const ask = async () => (await headersOf({ headers: { 'x-api-key': key } }))['x-plan']
    expect(await ask()).toBe('silver')
    await patch(user, { public: { plan: 'gold' } })
    expect(await ask()).toBe('gold')
    expect(await withKey(gateway, '/api/x', key)).toBe(200)
  })

  it('introspection shows the values, and cannot be led astray by them', async () => {
    const user = await newUser(gateway)
    await patch(user, { public: { plan: 'silver' } })
    const client = await newClient(gateway, { scopes: ['introspect'] })
    const { token } = await login(gateway, user)
    const described = await post(gateway, '/auth/introspect', { token }, basic(client))
    expect(described.body).toMatchObject({ active: true, sub: user.id, plan: 'silver' })
    expect(claimsOf(await tokenOf(gateway, client))).not.toHaveProperty('plan')
  })
})
