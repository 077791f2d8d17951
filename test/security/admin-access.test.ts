/** Every endpoint of administration, by the route table, for everybody who is no admin. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, login, newUser, newUserWithRoles, type TestUser } from '../support/client.ts'
import { newClient, tokenOf } from '../support/clients.ts'
import { ownEndpoints } from '../support/endpoints.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { newKey } from '../support/keys.ts'
import { rows } from '../support/rows.ts'
import { claimsOf } from '../support/session.ts'

let gateway: Gateway
let admin: TestUser
let user: TestUser
let target: TestUser
beforeAll(async () => {
  gateway = await startGateway({ config: { auth: { roles: { user: {}, admin: { inherits: ['user'] }, owner: { inherits: ['admin'] } } } } })
  admin = await newUserWithRoles(gateway, ['admin'])
  ;[user, target] = [await newUser(gateway), await newUser(gateway)]
})

afterAll(() => gateway.close())

const endpoints = () => ownEndpoints(gateway).filter((endpoint) => endpoint.includes('/admin/'))
/** Those of machine clients have tests of their own for what an admin may send. */
const ours = () => endpoints().filter((endpoint) => !endpoint.includes('/admin/clients'))
const asked = (endpoint: string, token: string | undefined, { id = target.id, body = {} as unknown, headers = {} } = {}) => {
  const [method, path] = endpoint.split(' ')
  const to = path!
    .replace(':id', id)
    .replace(':sessionId', claimsOf(target.token).sid)
    .replace(':keyId', randomUUID())
    .replace(':role', 'admin')
  return call(gateway, to, { method: method!, token, headers, ...(method === 'GET' ? {} : { body }) })
}
const CREATE = () => ({ username: `n${randomUUID().slice(0, 20)}`, email: `${randomUUID()}@example.com` })

/** Everything that an administrator could change. Not the mails: they are being sent meanwhile. */
const state = async () =>
  Promise.all(
    ['users', 'sessions', 'totp_factors', 'signing_keys', 'audit_log'].map((table) => rows(gateway, `SELECT * FROM ${table} ORDER BY 1`)),
  )

describe('an endpoint of administration', () => {
  it('is one of many, found in the route table', () => {
    expect(endpoints().length).toBeGreaterThan(20)
  })

  const strangers: [string, () => Promise<[token: string | undefined, headers?: Record<string, string>]>, number, string][] = [
    ['without a token', async () => [undefined], 401, 'token_missing'],
    ['as a user', async () => [user.token], 403, 'forbidden'],
    ['as a user who says otherwise', async () => [user.token, { 'x-auth-roles': 'admin', 'x-auth-user': admin.id }], 403, 'forbidden'],
    ['with a refresh token of an admin', async () => [admin.refreshToken], 401, 'token_invalid'],
    ['with an API key that an admin made', async () => [(await newKey(gateway, admin)).key], 403, 'forbidden'],
    ['as a machine with the role', async () => [await tokenOf(gateway, await newClient(gateway, { roles: ['admin'] }))], 403, 'forbidden'],
    [
      'as an admin who was demoted just now',
      async () => {
        const former = await newUserWithRoles(gateway, ['admin'])
        await call(gateway, `/auth/admin/users/${former.id}/roles/admin`, { method: 'DELETE', token: admin.token, body: {} })
        return [former.token]
      },
      401,
      'token_revoked',
    ],
    [
      'as an admin who must change the password',
      async () => {
        const fresh = await newUserWithRoles(gateway, ['admin'])
        await rows(gateway, 'UPDATE users SET password_must_change = true WHERE id = $1', [fresh.id])
        return [(await login(gateway, fresh)).token]
      },
      403,
      'password_change_required',
    ],
  ]
  it.each(strangers)('%s answers before it looks at anything, and does nothing', async (_, who, status, code) => {
    const [token, headers = {}] = await who()
    const before = await state()
    for (const endpoint of endpoints())
      for (const how of [
        { headers },
        { headers, id: 'not-an-id' },
        { headers, id: randomUUID() },
        { headers, body: { roles: ['admin'] } },
      ]) {
        const { status: reported, body } = await asked(endpoint, token, how)
        expect([endpoint, reported, body.code]).toEqual([endpoint, status, code])
      }
    expect(await state()).toEqual(before)
  })

  it('lets an admin in, also one whose role inherits admin', async () => {
    const owner = await newUserWithRoles(gateway, ['owner'])
    for (const token of [admin.token, owner.token]) {
      for (const path of ['errors', 'config', 'keys', 'audit', 'audit/export', 'users', `users/${target.id}`])
        expect([path, (await call(gateway, `/auth/admin/${path}`, { token })).status]).toEqual([path, 200])
      expect((await call(gateway, '/auth/admin/users', { token, body: CREATE() })).status).toBe(201)
    }
  })

  it.each([
    'not-an-id',
    '00000000-0000-7000-8000-000000000000',
    "'; DROP TABLE users; --",
    '%00',
    'urn:uuid:x',
    '..%2fx',
    'ann@example.com',
  ])('answers 404 or 400 for the id %j, and never 500', async (id) => {
    for (const endpoint of ours().filter((e) => e.includes(':id'))) {
      const { status, body } = await asked(endpoint, admin.token, { id: id.includes('%') ? id : encodeURIComponent(id) })
      expect([endpoint, `${status} ${body.code}`]).toEqual([endpoint, expect.stringMatching(/^(404 not_found|400 target_ambiguous)$/)])
    }
  })

  it('does not take the username or e-mail address of a user for an id', async () => {
    for (const name of [target.username, target.email])
      expect((await call(gateway, `/auth/admin/users/${name}/disable`, { token: admin.token, body: {} })).body.code).toBe('not_found')
  })

  it.each([
    ['id', randomUUID()],
    ['user_id', randomUUID()],
    ['password_hash', 'x'],
    ['email_verified', true],
    ['password_must_change', false],
    ['token_epoch', 9],
    ['disabled_at', null],
    ['actor', 'command line'],
    ['detail', 'x'],
  ])('refuses a body with %s beside what belongs into it, by name', async (name, value) => {
    const changing = ours().filter((e) => !e.startsWith('GET '))
    const before = await state()
    for (const endpoint of changing) {
      const body = { ...(endpoint === 'POST /auth/admin/users' ? CREATE() : {}), [name]: value }
      const answer = await asked(endpoint, admin.token, { body })
      expect([endpoint, answer.body.code]).toEqual([endpoint, 'validation_failed'])
      expect(answer.body.errors).toContainEqual({ field: name, code: 'unknown', detail: 'is not known here' })
    }
    expect(await state()).toEqual(before)
  })

  it.each([
    ['users', 'limit=0'],
    ['users', 'limit=201'],
    ['users', 'limit=-1'],
    ['users', 'limit=1e3'],
    ['users', 'limit=50&limit=60'],
    ['users', 'cursor=x'],
    ['users', 'cursor=urn:uuid:00000000-0000-7000-8000-000000000000'],
    ['users', 'disabled=yes'],
    ['users', 'search='],
    ['users', 'search=%00'],
    ['users', 'role=%00'],
    ['users', 'serach=ann'],
    ['users', 'search[]=ann'],
    ['audit', 'limit=1000'],
    ['audit', 'user=ann'],
    ['audit', 'cursor=x'],
    ['audit', 'event=%00'],
    ['audit', 'actor=%00'],
    ['audit', 'since=yesterday'],
    ['audit', 'since=2026-12-31T23:59:60Z'],
    ['audit', 'since=0000-01-01T00:00:00Z'],
    ['audit/export', 'until=1'],
    ['audit/export', 'limit=1'],
  ])('refuses the query %s?%s with 422', async (path, query) => {
    const { status, body } = await call(gateway, `/auth/admin/${path}?${query}`, { token: admin.token })
    expect([status, body.code]).toEqual([422, 'validation_failed'])
  })
})
