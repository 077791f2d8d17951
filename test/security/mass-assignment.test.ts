import { describe, expect, it } from 'vitest'
import { call, newUser } from '../support/client.ts'
import { useGateway } from '../support/fixtures.ts'
import { rows } from '../support/rows.ts'
import { claimsOf } from '../support/session.ts'

const gateway = useGateway()

const EXTRA: [string, unknown][] = [
  ['roles', ['admin']],
  ['role', 'admin'],
  ['scope', 'users:write'],
  ['is_admin', true],
  ['id', '00000000-0000-7000-8000-000000000000'],
  ['user_id', '00000000-0000-7000-8000-000000000000'],
  ['email_verified', true],
  ['email_verified_at', '2020-01-01T00:00:00Z'],
  ['password_must_change', false],
  ['password_hash', '$argon2id$v=19$m=1024,t=1,p=1$AAAA$AAAA'],
  ['token_epoch', 99],
  ['disabled_at', null],
  ['created_at', '2020-01-01T00:00:00Z'],
  ['user', { roles: ['admin'] }],
]
let count = 0
const person = () => ({ username: `greedy${count++}`, email: `greedy${count}@example.com`, password: 'correct horse battery' })
const account = async (id: string) => (await rows(gateway, 'SELECT * FROM users WHERE id = $1', [id]))[0]
const accounts = async () => (await rows(gateway, 'SELECT count(*)::int AS n FROM users'))[0].n

describe.each(EXTRA)('a body with %s beside what belongs into it', (name, value) => {
  it('is refused by every endpoint, by name, and changes nothing', async () => {
    const user = await newUser(gateway)
    const [before, total] = [await account(user.id), await accounts()]
    const { token } = user
    const asked = [
      await call(gateway, '/auth/register', { body: { ...person(), [name]: value } }),
      await call(gateway, '/auth/login', { body: { login: user.username, password: user.password, [name]: value } }),
      await call(gateway, '/auth/refresh', { body: { refresh_token: user.refreshToken, [name]: value } }),
      await call(gateway, '/auth/me', { method: 'PATCH', token, body: { [name]: value } }),
      await call(gateway, '/auth/me', { method: 'PATCH', token, body: { username: 'somebody-else', [name]: value } }),
      await call(gateway, '/auth/logout', { token, body: { [name]: value } }),
      await call(gateway, '/auth/logout-all', { token, body: { [name]: value } }),
      await call(gateway, '/auth/password/change', {
        token,
        body: { current_password: user.password, new_password: 'another horse battery', [name]: value },
      }),
      await call(gateway, '/auth/password/forgot', { body: { email: user.email, [name]: value } }),
      await call(gateway, '/auth/password/reset', { body: { token: 'x', new_password: 'another horse battery', [name]: value } }),
    ]
    for (const { body } of asked) {
      expect(body).toMatchObject({ status: 422, code: 'validation_failed' })
      expect(body.errors).toContainEqual({ field: name, code: 'unknown', detail: 'is not known here' })
    }
    expect(await account(user.id)).toEqual(before)
    expect(await accounts()).toBe(total)
  })
})

describe('a body that tries to reach past its own fields', () => {
  const register = (body: unknown, path = '/auth/register') => call(gateway, path, { method: 'POST', body })
  const isPlainUser = (answer: { status: number; body: any }) => {
    expect(answer.status).toBe(201)
    expect(answer.body.user.roles).toEqual(['user'])
    expect(claimsOf(answer.body.access_token).roles).toEqual(['user'])
  }

  it.each([
    '"__proto__": {"roles": ["admin"]}',
    '"constructor": {"prototype": {"roles": ["admin"]}}',
    '"prototype": {"roles": ["admin"]}',
  ])('with %s is refused, and objects are as before', async (more) => {
    const text = JSON.stringify(person()).replace(/}$/, `, ${more}}`)
    const { status } = await register(text)
    expect([400, 422]).toContain(status)
    expect(({} as any).roles).toBeUndefined()
    isPlainUser(await register(person()))
  })

  it.each([
    ['a list', [person()]],
    ['a text', '"greedy"'],
    ['null', 'null'],
    ['a number', '1'],
  ])('that is %s is refused', async (_, body) => {
    expect((await register(body)).body).toMatchObject({ status: 422, code: 'validation_failed' })
  })

  it.each([
    ['username', 12345],
    ['username', ['greedyname']],
    ['username', { toString: 'greedy' }],
    ['email', ['greedy@example.com']],
    ['password', 123456789012],
    ['password', null],
    ['password', true],
    ['password', { $ne: null }],
  ])('with a %s that is %j is refused: nothing is turned into a text', async (name, value) => {
    const { body } = await register({ ...person(), [name]: value })
    expect(body).toMatchObject({ status: 422, code: 'validation_failed' })
    expect(body.errors.map((e: any) => e.field)).toContain(name)
  })

  it('finds no other way in: not the query, not a form, not a header', async () => {
    isPlainUser(await register(person(), '/auth/register?roles=admin&role=admin&is_admin=true'))
    const form = await call(gateway, '/auth/register', {
      body: new URLSearchParams({ ...person(), roles: 'admin' }).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    })
    expect(form.body).toMatchObject({ status: 415, code: 'content_type_unsupported' })
    isPlainUser(await call(gateway, '/auth/register', { body: person(), headers: { 'x-auth-roles': 'admin', 'x-auth-user': 'root' } }))
  })

  it('takes one of two fields of a name, never a mixture with what was not checked', async () => {
    const p = person()
    const text = `{"username":"ab","username":"${p.username}","email":"${p.email}","password":"short","password":"${p.password}"}`
    const answer = await register(text)
    isPlainUser(answer)
    expect(answer.body.user.username).toBe(p.username)
  })
})
