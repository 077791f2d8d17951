/** API keys end with a logout everywhere, when a session that it ends has made them. The keys of a disabled account wait. */
import { expect, it } from 'vitest'
import { call, login, newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { newKey, withKey } from '../../support/keys.ts'
import { rows } from '../../support/rows.ts'
import { logout } from '../../support/session.ts'

const upstream = useUpstream()
const gateway = useGateway(() => ({
  routes: [{ name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' }],
}))
const use = (key: string) => withKey(gateway, '/api/x', key)
const logoutAll = (body: { token: string } | { body: object }) => call(gateway, '/auth/logout-all', { method: 'POST', ...body })

it('a logout everywhere ends the keys that its sessions made, at once, with a row in the audit log', async () => {
  const first = await newUser(gateway)
  const second = await login(gateway, first)
  const [a, b] = [await newKey(gateway, first), await newKey(gateway, second)]
  expect([await use(a.key), await use(b.key)]).toEqual([200, 200])
  expect((await logoutAll({ token: first.token })).status).toBe(204)
  expect([await use(a.key), await use(b.key)]).toEqual(['token_revoked', 'token_revoked'])
  const events = await rows(gateway, `SELECT detail FROM audit_log WHERE user_id = $1 AND event = 'api_key_revoke'`, [first.id])
  expect(events.map(({ detail }) => detail).sort()).toEqual([a.id, b.id].sort())
})

it('by a refresh token it does the same', async () => {
  const user = await newUser(gateway)
  const { key } = await newKey(gateway, user)
  expect((await logoutAll({ body: { refresh_token: user.refreshToken } })).status).toBe(204)
  expect(await use(key)).toBe('token_revoked')
})

it('it spares the keys of sessions that had ended before, and the keys of other users', async () => {
  const ended = await newUser(gateway)
  const { key } = await newKey(gateway, ended)
  const other = await newKey(gateway, await newUser(gateway))
  await logout(gateway, ended.token)
  const later = await login(gateway, ended)
  expect((await logoutAll({ token: later.token })).status).toBe(204)
  expect([await use(key), await use(other.key)]).toEqual([200, 200])
})

it.each<[string, (user: TestUser) => Promise<string>]>([
  [
    'POST /reauthenticate',
    async ({ token, password }) => (await call(gateway, '/auth/reauthenticate', { token, body: { password } })).body.access_token,
  ],
  [
    'a new password',
    async ({ token, password: current_password }) =>
      (await call(gateway, '/auth/password/change', { token, body: { current_password, new_password: 'quite another zebra' } })).body
        .access_token,
  ],
])('a session that replaces another by %s takes over its keys', async (_name, replace) => {
  const user = await newUser(gateway)
  const { key } = await newKey(gateway, user)
  const token = await replace(user)
  expect(await use(key)).toBe(200)
  expect((await logoutAll({ token })).status).toBe(204)
  expect(await use(key)).toBe('token_revoked')
})

it('the keys of a disabled account are refused, are not deleted, and work again once it is enabled', async () => {
  const [admin, user] = [await newUserWithRoles(gateway, ['admin']), await newUser(gateway)]
  const { id, key } = await newKey(gateway, user)
  expect(await use(key)).toBe(200)
  const set = (action: string) => call(gateway, `/auth/admin/users/${user.id}/${action}`, { method: 'POST', token: admin.token })
  await set('disable')
  expect(await use(key)).toBe('token_revoked')
  expect(await rows(gateway, 'SELECT id, revoked_at FROM api_keys WHERE user_id = $1', [user.id])).toEqual([{ id, revoked_at: null }])
  await set('enable')
  // a refusal is remembered for ten seconds
  gateway.clock.advance(11_000)
  expect(await use(key)).toBe(200)
})
