import { once } from 'node:events'
import { describe, expect, inject, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { call, login, newUser, newUserWithRoles, OPERATOR, proveAddress, type TestUser } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { newKey, revokeKey, withKey } from '../../support/keys.ts'
import { mailsTo } from '../../support/mails.ts'
import { startPostgres } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { dump, rows } from '../../support/rows.ts'
import { claimsOf, pollRevocations } from '../../support/session.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const ROLES = {
  admin: { inherits: ['editor'], scopes: ['users:write'] },
  editor: { inherits: ['user'], scopes: ['orders:write'] },
  user: { inherits: [], scopes: ['orders:read'] },
}
const HOUR = 3600
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
    route('open', 'public'),
    route('admins', { roles: ['admin'] }),
    route('editors', { roles: ['editor'] }),
    route('writers', { scopes: ['orders:write'] }),
    route('fresh', { maxAuthAgeSeconds: 3600 }),
    route('factor', { mfa: true }),
    route('assured', 'authenticated', { headers: { assertion: true } }),
    route('per-key', 'authenticated', { limits: ['perKey'] }),
    route('both', 'authenticated', { limits: ['perKey', 'perUser'] }),
    route('anonymous', 'public', { limits: ['perAnonymous'] }),
  ]
}
const limits = {
  policies: {
    perKey: { limit: 2, windowSeconds: HOUR, key: 'apiKey' },
    perUser: { limit: 3, windowSeconds: HOUR, key: 'principal' },
    perAnonymous: { limit: 1, windowSeconds: HOUR, key: 'anonymous' },
  },
}

const queries = (gateway: Gateway) => metric(gateway, 'portcullis_db_query_duration_seconds_count', { operation: 'select api_keys' })

describe.each(['postgres', 'embedded'] as const)('API keys on %s', (stores) => {
  const upstream = useUpstream()
  const gateway = useGateway(() => ({
    stores,
    routes: routesTo(upstream),
    config: { auth: { roles: ROLES, apiKeys: { maxPerUser: 3 } }, limits },
  }))
  const list = async ({ token }: TestUser) => (await call(gateway, '/auth/api-keys', { token })).body.api_keys
  const change = (login: string, what: 'grant' | 'revoke', role: string) => gateway.app.identity.administration[what](login, role, OPERATOR)

  it('a key is shown once, announced by mail, recorded in the audit log, and stored only as a hash', async () => {
    const user = await newUser(gateway)
    const expires_at = new Date(Date.now() + 86_400_000).toISOString()
    await proveAddress(gateway, user)
    const { key, ...view } = await newKey(gateway, user, { name: 'nightly – ünï', expires_at })
    expect(key).toMatch(/^pk_live_[0-9A-Za-z]{28}_[0-9A-Za-z]{6}$/)
    expect(view).toEqual({
      id: expect.any(String),
      name: 'nightly – ünï',
      hint: key.slice(0, 12),
      roles: ['user'],
      scopes: ['orders:read'],
      created_at: expect.any(String),
      expires_at,
      last_used_at: null,
    })
    expect(await list(user)).toEqual([view])
    expect(await dump(gateway)).not.toContain(key.slice(12))
    const [mail] = (await mailsTo(gateway, user.email)).filter((m) => m.template === 'api_key_created')
    expect(mail!.data).toMatchObject({ name: 'nightly – ünï', ip: '127.0.0.1' })
    expect(await rows(gateway, `SELECT event, outcome FROM audit_log WHERE user_id = $1 AND event LIKE 'api_key%'`, [user.id])).toEqual([
      { event: 'api_key_create', outcome: 'success' },
    ])
  })

  it('is accepted as a bearer token and in X-Api-Key; upstreams receive its owner and no session', async () => {
    const user = await newUserWithRoles(gateway, ['editor'])
    const { key, id } = await newKey(gateway, user)
    upstream.take()
    const answers = [
      await call(gateway, '/users', { token: key }),
      await call(gateway, '/users', { headers: { authorization: `bearer  ${key} ` } }),
      await call(gateway, '/users', { headers: { 'X-API-KEY': key } }),
    ]
    expect(answers.map((a) => a.status)).toEqual([200, 200, 200])
    for (const { headers } of upstream.take()) {
      expect(headers).toMatchObject({ 'x-auth-user': user.id, 'x-auth-roles': 'editor,user' })
      for (const name of ['x-auth-session', 'authorization', 'x-api-key']) expect(headers).not.toHaveProperty(name)
    }
    await call(gateway, '/assured', { headers: { 'x-api-key': key } })
    const { sub, roles, sid } = claimsOf(upstream.take()[0]!.headers['x-auth-assertion'] as string)
    expect({ sub, roles, sid }).toEqual({ sub: user.id, roles: ['editor', 'user'], sid: undefined })
    await until(async () => (await rows(gateway, 'SELECT last_used_at FROM api_keys WHERE id = $1', [id]))[0].last_used_at, 'last_used_at')
  })

  it('warm, a key costs no query', async () => {
    const { key } = await newKey(gateway, await newUser(gateway))
    await withKey(gateway, '/users', key)
    const before = await queries(gateway)
    for (let i = 0; i < 10; i++) expect(await withKey(gateway, '/users', key)).toBe(200)
    expect(await queries(gateway)).toBe(before)
  })

  it('many first requests at a time share one look-up', async () => {
    const { key } = await newKey(gateway, await newUser(gateway))
    const before = await queries(gateway)
    const answers = await Promise.all(Array.from({ length: 20 }, () => withKey(gateway, '/users', key)))
    expect(new Set(answers)).toEqual(new Set([200]))
    expect(await queries(gateway)).toBe(before + 1)
  })

  it('carries what it was given and no more', async () => {
    const user = await newUserWithRoles(gateway, ['admin'])
    const all = await newKey(gateway, user)
    const editor = await newKey(gateway, user, { roles: ['editor'] })
    const scope = await newKey(gateway, user, { scopes: ['orders:write'] })
    expect([editor.scopes, scope.roles]).toEqual([['orders:read', 'orders:write'], []])
    const seen = async ({ key }: { key: string }) =>
      Promise.all(['/users', '/editors', '/admins', '/writers'].map((path) => withKey(gateway, path, key)))
    expect(await seen(all)).toEqual([200, 200, 200, 200])
    expect(await seen(editor)).toEqual([200, 200, 'forbidden', 200])
    expect(await seen(scope)).toEqual([200, 'forbidden', 'forbidden', 200])
    for (const path of ['/fresh', '/factor']) expect(await withKey(gateway, path, all.key)).not.toBe(200)
  })

  it.each([
    { roles: ['admin'] },
    { roles: ['user', 'editor'] },
    { scopes: ['orders:write'] },
    { roles: ['unheard-of'] },
    { roles: ['user'], scopes: ['users:write'] },
  ])('nobody makes a key that has more than they have: %j', async (input) => {
    const user = await newUser(gateway)
    const { status, body } = await call(gateway, '/auth/api-keys', { body: { name: 'x', ...input }, token: user.token })
    expect({ status, code: body.code }).toEqual({ status: 403, code: 'forbidden' })
    expect(await list(user)).toEqual([])
  })

  it('loses a role with its owner at the next request, and has it again when the owner does', async () => {
    const user = await newUserWithRoles(gateway, ['editor'])
    const { key } = await newKey(gateway, user)
    for (const path of ['/editors', '/writers']) expect(await withKey(gateway, path, key)).toBe(200)
    await change(user.username, 'revoke', 'editor')
    for (const path of ['/editors', '/writers']) expect(await withKey(gateway, path, key)).toBe('forbidden')
    expect(await withKey(gateway, '/users', key)).toBe(200)
    await change(user.username, 'grant', 'editor')
    expect(await withKey(gateway, '/editors', key)).toBe(200)
  })

  it('a role that its owner gets afterwards is none of its own', async () => {
    const user = await newUser(gateway)
    const { key } = await newKey(gateway, user)
    await change(user.username, 'grant', 'admin')
    expect(await withKey(gateway, '/admins', key)).toBe('forbidden')
  })

  it('survives the logout of its session and a new password; is refused while its owner is disabled', async () => {
    const user = await newUser(gateway)
    const { key } = await newKey(gateway, user)
    await withKey(gateway, '/users', key)
    await call(gateway, '/auth/logout', { method: 'POST', token: user.token })
    expect(await withKey(gateway, '/users', key)).toBe(200)
    const { token, password: current_password } = await login(gateway, user)
    await call(gateway, '/auth/password/change', { body: { current_password, new_password: 'quite another zebra' }, token })
    expect(await withKey(gateway, '/users', key)).toBe(200)
    await gateway.app.identity.administration.disable(user.username, OPERATOR)
    expect(await withKey(gateway, '/users', key)).toBe('token_revoked')
    await gateway.app.identity.administration.enable(user.username, OPERATOR)
    gateway.clock.advance(11_000)
    expect(await withKey(gateway, '/users', key)).toBe(200)
  })

  it('is good for nothing while its owner must change the password', async () => {
    const user = await newUser(gateway)
    const { key } = await newKey(gateway, user)
    await rows(gateway, 'UPDATE users SET password_must_change = true WHERE id = $1', [user.id])
    expect(await withKey(gateway, '/users', key)).toBe('password_change_required')
  })

  it('is nothing once its owner is gone', async () => {
    const user = await newUser(gateway)
    const { key } = await newKey(gateway, user)
    expect(await withKey(gateway, '/users', key)).toBe(200)
    await change(user.username, 'grant', 'editor')
    await rows(gateway, 'DELETE FROM users WHERE id = $1', [user.id])
    expect(await withKey(gateway, '/users', key)).toBe('token_invalid')
  })

  it('ends at its time', async () => {
    const user = await newUser(gateway)
    const { key } = await newKey(gateway, user, { expires_at: new Date(gateway.clock.now() + 60_000).toISOString() })
    expect(await withKey(gateway, '/users', key)).toBe(200)
    gateway.clock.advance(60_000)
    expect(await withKey(gateway, '/users', key)).toBe('token_expired')
    expect(await withKey(gateway, '/open', key)).toBe('token_expired')
  })

  it('is no way to the own account, nor out of a session', async () => {
    const user = await newUserWithRoles(gateway, ['admin'])
    const { key, id } = await newKey(gateway, user)
    const asked: [string, string, unknown?][] = [
      ['GET', '/auth/me'],
      ['GET', '/auth/api-keys'],
      ['POST', '/auth/api-keys', { name: 'another' }],
      ['DELETE', `/auth/api-keys/${id}`],
      ['POST', '/auth/logout'],
      ['POST', '/auth/logout-all'],
      ['POST', '/auth/logout', { refresh_token: user.refreshToken }],
      ['GET', '/auth/admin/errors'],
    ]
    for (const [method, path, body] of asked) {
      const answer = await call(gateway, path, { method, token: key, body })
      expect({ path, status: answer.status, code: answer.body.code }).toEqual({ path, status: 403, code: 'forbidden' })
    }
    expect((await call(gateway, '/auth/me', { token: user.token })).status).toBe(200)
  })

  it('revoked, it is refused on every route, and is gone from the list', async () => {
    const user = await newUser(gateway)
    const { key, id } = await newKey(gateway, user)
    const kept = await newKey(gateway, user)
    for (const path of ['/users', '/open']) expect(await withKey(gateway, path, key)).toBe(200)
    expect((await revokeKey(gateway, user, id)).status).toBe(204)
    for (const path of ['/users', '/open']) expect(await withKey(gateway, path, key)).toBe('token_revoked')
    expect(await withKey(gateway, '/users', kept.key)).toBe(200)
    expect((await list(user)).map((k: { id: string }) => k.id)).toEqual([kept.id])
    expect((await revokeKey(gateway, user, id)).body.code).toBe('not_found')
  })

  it.each(['', 'x', '0', '%00', "'", '01900000-0000-7000-8000-000000000000', `${'a'.repeat(90)}`])('no key is called %j', async (id) => {
    const user = await newUser(gateway)
    const { status, body } = await revokeKey(gateway, user, id)
    expect([400, 404]).toContain(status)
    expect(['not_found', 'route_not_found', 'target_ambiguous']).toContain(body.code)
  })

  it("another user's key is answered like a key that does not exist", async () => {
    const [owner, other] = [await newUser(gateway), await newUser(gateway)]
    const { id, key } = await newKey(gateway, owner)
    const { request_id, timestamp, ...reported } = (await revokeKey(gateway, other, id)).body
    const { request_id: _, timestamp: __, ...nothing } = (await revokeKey(gateway, other, '01900000-0000-7000-8000-000000000000')).body
    expect(reported).toEqual(nothing)
    expect(await withKey(gateway, '/users', key)).toBe(200)
  })

  it.each([
    [{}, 'name'],
    [{ name: '' }, 'name'],
    [{ name: 'a\nb' }, 'name'],
    [{ name: 'x'.repeat(65) }, 'name'],
    [{ name: '\ud800' }, 'name'],
    [{ name: 7 }, 'name'],
    [{ name: 'x', roles: 'user' }, 'roles'],
    [{ name: 'x', scopes: [''] }, 'scopes.0'],
    [{ name: 'x', user_id: 'somebody' }, 'user_id'],
    [{ name: 'x', key: 'my own' }, 'key'],
    [{ name: 'x', expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
    [{ name: 'x', expires_at: 'tomorrow' }, 'expires_at'],
    [{ name: 'x', expires_at: '2999-13-01T00:00:00Z' }, 'expires_at'],
    [{ name: 'x', expires_at: '9999-12-31T23:59:59-14:00' }, 'expires_at'],
    [{ name: 'x', expires_at: 4_000_000_000 }, 'expires_at'],
  ])('what is no request for a key is refused: %j', async (body, field) => {
    const { token } = await newUser(gateway)
    const answer = await call(gateway, '/auth/api-keys', { body, token })
    expect(answer.status).toBe(422)
    expect(answer.body.errors[0].field).toBe(field)
  })

  it('no user has more than maxPerUser keys, even after parallel requests; a revoked or expired key does not count', async () => {
    const user = await newUser(gateway)
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => call(gateway, '/auth/api-keys', { body: { name: 'x' }, token: user.token })),
    )
    const made = answers.filter((a) => a.status === 201)
    expect(made).toHaveLength(3)
    for (const { status, body } of answers.filter((a) => a.status !== 201))
      expect({ status, code: body.code }).toEqual({ status: 409, code: 'limit_reached' })
    await revokeKey(gateway, user, made[0]!.body.id)
    await newKey(gateway, user)
    await rows(gateway, `UPDATE api_keys SET expires_at = clock_timestamp() WHERE id = $1`, [made[1]!.body.id])
    await newKey(gateway, user)
    expect((await call(gateway, '/auth/api-keys', { body: { name: 'x' }, token: user.token })).status).toBe(409)
  })

  it('made and revoked in turns, is made so many times a day: each is a row and a mail', async () => {
    const user = await newUser(gateway)
    const statuses: number[] = []
    for (let i = 0; i < 51; i++) {
      const { status, body, headers } = await call(gateway, '/auth/api-keys', { body: { name: 'x' }, token: user.token })
      statuses.push(status)
      if (status === 201) await revokeKey(gateway, user, body.id)
      else expect([body.code, headers.get('retry-after')]).toEqual(['rate_limited', '3600'])
    }
    expect(statuses).toEqual([...Array(50).fill(201), 429])
    await rows(gateway, `UPDATE api_keys SET created_at = created_at - interval '1 day' WHERE user_id = $1`, [user.id])
    await newKey(gateway, user)
  })

  it("counts against its own limit and against its owner's", async () => {
    const user = await newUser(gateway)
    const [a, b] = [await newKey(gateway, user), await newKey(gateway, user)]
    const three = async (path: string, key: string) => [
      await withKey(gateway, path, key),
      await withKey(gateway, path, key),
      await withKey(gateway, path, key),
    ]
    expect(await three('/per-key', a.key)).toEqual([200, 200, 'rate_limited'])
    expect(await three('/per-key', b.key)).toEqual([200, 200, 'rate_limited'])
    expect((await call(gateway, '/per-key', { token: user.token })).status).toBe(200)
    const [c, d] = [await newUser(gateway).then((u) => newKey(gateway, u)), await newUser(gateway)]
    expect(await three('/both', c.key)).toEqual([200, 200, 'rate_limited'])
    const [e, f] = [await newKey(gateway, d), await newKey(gateway, d)]
    expect([await withKey(gateway, '/both', e.key), await withKey(gateway, '/both', e.key)]).toEqual([200, 200])
    expect([await withKey(gateway, '/both', f.key), await withKey(gateway, '/both', f.key)]).toEqual([200, 'rate_limited'])
  })

  it('a request with a key does not count as anonymous', async () => {
    const { key } = await newKey(gateway, await newUser(gateway))
    for (let i = 0; i < 3; i++) expect(await withKey(gateway, '/anonymous', key)).toBe(200)
  })
})

describe('two gateways on one Postgres and one Redis', () => {
  it('a key revoked on one is refused by the other, where it was known, without a poll; a role taken away as well', async () => {
    const upstream = await startUpstream()
    const options = { routes: routesTo(upstream), config: { auth: { roles: ROLES }, limits } }
    const a = await startGateway({ stores: 'postgres+redis', ...options })
    const b = await startGateway({ ...options, databaseUrl: a.databaseUrl, secretKey: a.secretKey, redisUrl: inject('redisUrl') })
    b.app.identity.revocations.stop()
    await until(async () => {
      await a.app.platform.redis!.broadcast.publish(JSON.stringify({ sessionId: 'a session to try with', until: Date.now() + 60_000 }))
      return b.app.identity.revocations.isEnded('a session to try with')
    }, 'the subscription')
    const user = await newUserWithRoles(a, ['editor'])
    const [revoked, kept] = [await newKey(a, user), await newKey(a, user)]
    for (const { key } of [revoked, kept]) expect(await withKey(b, '/editors', key)).toBe(200)
    await revokeKey(a, user, revoked.id)
    await until(async () => (await withKey(b, '/editors', revoked.key)) === 'token_revoked', 'the message from Redis')
    expect(await withKey(b, '/editors', kept.key)).toBe(200)
    await a.app.identity.administration.revoke(user.username, 'editor', OPERATOR)
    await until(async () => (await withKey(b, '/editors', kept.key)) === 'forbidden', 'the role that is gone')
    await Promise.all([a.close(), b.close(), upstream.close()])
  })

  it('without Redis the next poll finds it', async () => {
    const upstream = await startUpstream()
    const a = await startGateway({ routes: routesTo(upstream), config: { limits } })
    const b = await startGateway({ routes: routesTo(upstream), config: { limits }, databaseUrl: a.databaseUrl, secretKey: a.secretKey })
    b.app.identity.revocations.stop()
    const user = await newUser(a)
    const { key, id } = await newKey(a, user)
    expect(await withKey(b, '/users', key)).toBe(200)
    await revokeKey(a, user, id)
    await pollRevocations(b)
    expect(await withKey(b, '/users', key)).toBe('token_revoked')
    await Promise.all([a.close(), b.close(), upstream.close()])
  })
})

describe('what an entry of the cache outlives', () => {
  it('while the database is away a known key works for the lifetime of an access token, and then gets 503 as unknown keys do', async () => {
    const [postgres, upstream] = await Promise.all([startPostgres(), startUpstream()])
    const gateway = await startGateway({ databaseUrl: postgres.url, routes: routesTo(upstream), config: { limits } })
    const user = await newUser(gateway)
    const [known, unknown] = [await newKey(gateway, user), await newKey(gateway, user)]
    expect(await withKey(gateway, '/users', known.key)).toBe(200)
    await postgres.kill()
    // past half of its life it is looked up behind each request, to no avail
    for (const ms of [0, 500_000, 390_000]) {
      gateway.clock.advance(ms)
      expect(await withKey(gateway, '/users', known.key)).toBe(200)
      expect(await withKey(gateway, '/users', unknown.key)).toBe('unavailable')
    }
    gateway.clock.advance(15_000)
    expect(await withKey(gateway, '/users', known.key)).toBe('unavailable')
    await postgres.restart()
    await until(async () => (await withKey(gateway, '/users', known.key)) === 200, 'the key')
    await gateway.close()
    await Promise.all([upstream.close(), postgres.stop()])
  })

  it('what the database says is asked for again when half of its life is over, and no request waits for it', async () => {
    const upstream = await startUpstream()
    const gateway = await startGateway({ routes: routesTo(upstream), config: { limits } })
    const user = await newUser(gateway)
    const { key, id } = await newKey(gateway, user)
    expect(await withKey(gateway, '/users', key)).toBe(200)
    // behind the gateway's back
    await rows(gateway, 'UPDATE api_keys SET revoked_at = now() WHERE id = $1', [id])
    gateway.clock.advance(449_000)
    expect(await withKey(gateway, '/users', key)).toBe(200)
    gateway.clock.advance(2_000)
    await until(async () => (await withKey(gateway, '/users', key)) === 'token_revoked', 'the look-up behind a request')
    await Promise.all([gateway.close(), upstream.close()])
  })
})

it('a stream that was opened with a key ends when the key is revoked', async () => {
  const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(sockets, 'listening')
  const { port } = sockets.address() as { port: number }
  const gateway = await startGateway({
    routes: [{ name: 'ws', match: { path: '/ws' }, upstream: [`http://127.0.0.1:${port}`], access: 'authenticated', websocket: true }],
  })
  const user = await newUser(gateway)
  const { key, id } = await newKey(gateway, user)
  const ws = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`, { headers: { 'x-api-key': key } })
  await once(ws, 'open')
  const closed = once(ws, 'close')
  await revokeKey(gateway, user, id)
  expect((await closed)[0]).toBe(4401)
  await gateway.close()
  sockets.close()
})
