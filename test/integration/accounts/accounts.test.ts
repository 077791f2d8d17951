import { describe, expect, it } from 'vitest'
import { call, login, newUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'

describe.each(['embedded', 'postgres+redis'] as const)('accounts on %s', (stores) => {
  const gateway = useGateway({ stores })

  it('registers a user and hands out a pair of tokens', async () => {
    const { status, body, headers } = await call(gateway, '/auth/register', {
      body: { username: 'Ann', email: 'Ann@Example.com', password: 'correct horse battery' },
    })
    expect(status).toBe(201)
    expect(body).toMatchObject({
      token_type: 'Bearer',
      expires_in: 900,
      user: {
        username: 'ann',
        email: 'Ann@Example.com',
        email_verified: false,
        roles: ['user'],
        mfa_enabled: false,
        password_must_change: false,
        last_login_at: null,
      },
    })
    expect(body.access_token.split('.')).toHaveLength(3)
    expect(body.refresh_token).toMatch(/^rt_[\w-]{43}$/)
    expect(headers.get('cache-control')).toBe('no-store')
  })

  it('answers 409 with its code for a username or an e-mail address that is taken, in any case', async () => {
    const user = await newUser(gateway)
    const again = (over: object) =>
      call(gateway, '/auth/register', {
        body: { username: 'somebodyelse', email: 'else@example.com', password: 'correct horse battery', ...over },
      })
    expect((await again({ username: user.username.toUpperCase() })).body).toMatchObject({ status: 409, code: 'username_taken' })
    expect((await again({ email: user.email.toUpperCase() })).body).toMatchObject({ status: 409, code: 'email_taken' })
  })

  it('lets exactly one of several registrations at the same moment through', async () => {
    const body = { username: 'rush', email: 'rush@example.com', password: 'correct horse battery' }
    const answers = await Promise.all(Array.from({ length: 5 }, () => call(gateway, '/auth/register', { body })))
    expect(answers.map((a) => a.status).sort()).toEqual([201, 409, 409, 409, 409])
  })

  it('logs in by username and by e-mail address in any case, and notes when', async () => {
    const user = await newUser(gateway)
    for (const name of [user.username, user.email, user.email.toUpperCase()]) {
      const { status, body } = await call(gateway, '/auth/login', { body: { login: name, password: user.password } })
      expect(status).toBe(200)
      expect(body.user.id).toBe(user.id)
      expect(Date.parse(body.user.last_login_at)).toBeGreaterThan(0)
    }
  })

  it('answers an unknown user and a wrong password alike', async () => {
    const user = await newUser(gateway)
    const [unknown, wrong] = await Promise.all([
      call(gateway, '/auth/login', { body: { login: 'nobody-here', password: user.password } }),
      call(gateway, '/auth/login', { body: { login: user.username, password: 'not the password' } }),
    ])
    expect(unknown.status).toBe(401)
    const plain = ({ request_id, timestamp, ...rest }: any) => rest
    expect(plain(unknown.body)).toEqual(plain(wrong.body))
    expect(unknown.body.code).toBe('invalid_credentials')
  })

  it('never truncates a password, and refuses one above 1 KiB', async () => {
    const long = 'p'.repeat(1024)
    const person = { username: 'longpass', email: 'longpass@example.com', password: long }
    expect((await call(gateway, '/auth/register', { body: person })).status).toBe(201)
    expect((await call(gateway, '/auth/login', { body: { login: 'longpass', password: `${long.slice(0, 1023)}q` } })).status).toBe(401)
    expect((await call(gateway, '/auth/login', { body: { login: 'longpass', password: `${long}p` } })).status).toBe(401)
    expect((await call(gateway, '/auth/login', { body: { login: 'longpass', password: long } })).status).toBe(200)
    const tooLong = await call(gateway, '/auth/register', {
      body: { ...person, username: 'longer', email: 'longer@example.com', password: `${long}p` },
    })
    expect(tooLong.body).toMatchObject({
      status: 422,
      errors: [{ field: 'password', code: 'too_long', detail: 'must be at most 1024 bytes long' }],
    })
  })

  it('shows and changes the own account; a new e-mail address needs the password and outdates the token', async () => {
    const user = await newUser(gateway)
    expect((await call(gateway, '/auth/me', { token: user.token })).body).toMatchObject({ id: user.id, email: user.email })
    const renamed = await call(gateway, '/auth/me', { method: 'PATCH', token: user.token, body: { username: `${user.username}-2` } })
    expect(renamed.body.username).toBe(`${user.username}-2`)
    const bare = await call(gateway, '/auth/me', { method: 'PATCH', token: user.token, body: { email: 'new@example.com' } })
    expect(bare.body).toMatchObject({ status: 422, errors: [{ field: 'current_password', code: 'required' }] })
    const wrong = await call(gateway, '/auth/me', {
      method: 'PATCH',
      token: user.token,
      body: { email: 'new@example.com', current_password: 'wrong' },
    })
    expect(wrong.body.code).toBe('invalid_credentials')
    const moved = await call(gateway, '/auth/me', {
      method: 'PATCH',
      token: user.token,
      body: { email: `new.${user.email}`, current_password: user.password },
    })
    expect(moved.body).toMatchObject({ email: `new.${user.email}`, email_verified: false })
    expect((await call(gateway, '/auth/me', { token: user.token })).body.code).toBe('token_revoked')
    expect((await call(gateway, '/auth/refresh', { body: { refresh_token: user.refreshToken } })).status).toBe(200)
  })

  it('ends every session with a password change, and opens a new one', async () => {
    const user = await newUser(gateway)
    const elsewhere = await login(gateway, user)
    const changed = await call(gateway, '/auth/password/change', {
      token: user.token,
      body: { current_password: user.password, new_password: 'another horse battery' },
    })
    expect(changed.status).toBe(200)
    for (const old of [user, elsewhere]) {
      expect((await call(gateway, '/auth/me', { token: old.token })).body.code).toBe('token_revoked')
      expect((await call(gateway, '/auth/refresh', { body: { refresh_token: old.refreshToken } })).body.code).toBe('refresh_invalid')
    }
    expect((await call(gateway, '/auth/me', { token: changed.body.access_token })).status).toBe(200)
    expect((await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })).status).toBe(401)
    expect((await call(gateway, '/auth/login', { body: { login: user.username, password: 'another horse battery' } })).status).toBe(200)
  })

  it('logs out by access token and by refresh token; an unknown refresh token is no error; nothing at all is', async () => {
    const [one, two] = [await newUser(gateway), await newUser(gateway)]
    expect((await call(gateway, '/auth/logout', { method: 'POST', token: one.token })).status).toBe(204)
    expect((await call(gateway, '/auth/me', { token: one.token })).body.code).toBe('token_revoked')
    expect((await call(gateway, '/auth/logout', { body: { refresh_token: two.refreshToken } })).status).toBe(204)
    expect((await call(gateway, '/auth/me', { token: two.token })).body.code).toBe('token_revoked')
    expect((await call(gateway, '/auth/logout', { body: { refresh_token: `rt_${'x'.repeat(43)}` } })).status).toBe(204)
    expect((await call(gateway, '/auth/logout', { method: 'POST' })).body).toMatchObject({ status: 401, code: 'token_missing' })
  })

  it('logs out everywhere', async () => {
    const user = await newUser(gateway)
    const sessions = [user, await login(gateway, user), await login(gateway, user)]
    expect((await call(gateway, '/auth/logout-all', { method: 'POST', token: user.token })).status).toBe(204)
    for (const session of sessions) {
      expect((await call(gateway, '/auth/me', { token: session.token })).status).toBe(401)
      expect((await call(gateway, '/auth/refresh', { body: { refresh_token: session.refreshToken } })).status).toBe(401)
    }
    expect((await call(gateway, '/auth/me', { token: (await login(gateway, user)).token })).status).toBe(200)
  })

  it('gives no role to a client that asks for one', async () => {
    const user = await newUser(gateway)
    const person = { username: 'wannabe', email: 'wannabe@example.com', password: 'correct horse battery' }
    const asked = [
      await call(gateway, '/auth/register', { body: { ...person, roles: ['admin'] } }),
      await call(gateway, '/auth/register', { body: { ...person, role: 'admin' } }),
      await call(gateway, '/auth/me', { method: 'PATCH', token: user.token, body: { roles: ['admin'] } }),
      await call(gateway, '/auth/login', { body: { login: user.username, password: user.password, roles: ['admin'] } }),
    ]
    for (const { body } of asked)
      expect(body).toMatchObject({ status: 422, code: 'validation_failed', errors: [{ code: 'unknown', detail: 'is not known here' }] })
    expect((await call(gateway, '/auth/me', { token: user.token })).body.roles).toEqual(['user'])
  })
})
