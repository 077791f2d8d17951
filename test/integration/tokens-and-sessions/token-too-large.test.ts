import { describe, expect, it } from 'vitest'
import { type Answer, call, login, newUser, newUserWithRoles, OPERATOR, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, endGrace, me, refresh } from '../../support/session.ts'

const NAMES = Array.from({ length: 150 }, (_, i) => `department.number-${i}`)

describe('an access token that would be too large', () => {
  const gateway = useGateway({
    config: {
      auth: { roles: { user: {}, admin: {}, ...Object.fromEntries(NAMES.map((n) => [n, {}])), everything: { inherits: NAMES } } },
    },
  })

  const setRoles = ({ id }: TestUser, roles: string[]) => rows(gateway, 'UPDATE users SET roles = $2 WHERE id = $1', [id, roles])
  const sessions = async ({ id }: TestUser) => (await rows(gateway, 'SELECT id FROM sessions WHERE user_id = $1', [id])).length
  const codeOf = async (answer: Promise<Answer>) => {
    const { status, body } = await answer
    return `${status} ${body.code}`
  }

  it('leaves the refresh token as it was', async () => {
    const user = await newUser(gateway)
    await setRoles(user, ['everything'])
    for (let i = 0; i < 2; i++) expect(await codeOf(refresh(gateway, user.refreshToken))).toBe('403 identity_too_large')
    await setRoles(user, ['user'])
    await endGrace(gateway, claimsOf(user.token).sid)
    const { status, body } = await refresh(gateway, user.refreshToken)
    expect(status).toBe(200)
    expect(await me(gateway, body.access_token)).toBe(200)
  })

  it('leaves no session after a login, a reauthentication or a password change', async () => {
    const user = await newUser(gateway)
    await setRoles(user, ['everything'])
    const { username, password, token } = user
    expect(await codeOf(call(gateway, '/auth/login', { body: { login: username, password } }))).toBe('403 identity_too_large')
    expect(await codeOf(call(gateway, '/auth/reauthenticate', { token, body: { password } }))).toBe('403 identity_too_large')
    const change = { current_password: password, new_password: `${password} again` }
    expect(await codeOf(call(gateway, '/auth/password/change', { token, body: change }))).toBe('403 identity_too_large')
    expect(await sessions(user)).toBe(1)
    // neither the session nor the password has changed
    await setRoles(user, ['user'])
    expect(await me(gateway, token)).toBe(200)
    await login(gateway, user)
  })

  it('is foreseen when a role is granted, and when a user is created with roles', async () => {
    const user = await newUser(gateway)
    const { token } = await newUserWithRoles(gateway, ['admin'])
    const grant = (role: string) => call(gateway, `/auth/admin/users/${user.id}/roles/${role}`, { method: 'PUT', token })
    const fault = {
      field: 'role',
      code: 'too_many',
      detail: 'does not fit: with this role, the access token of the user would be too long',
    }
    const refused = await grant('everything')
    expect([refused.status, refused.body.errors]).toEqual([422, [fault]])
    let granted = 0
    while ((await grant(NAMES[granted]!)).status === 200) granted++
    expect(granted).toBeGreaterThan(50)
    expect(granted).toBeLessThan(NAMES.length)
    const body = { username: 'has-everything', email: 'everything@example.com', roles: ['everything'] }
    expect((await call(gateway, '/auth/admin/users', { token, body })).body.errors).toEqual([fault])
    await expect(gateway.app.identity.administration.grant(user.id, 'everything', OPERATOR)).rejects.toMatchObject({ errors: [fault] })
  })
})
