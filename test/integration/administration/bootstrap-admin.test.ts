import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '../../support/client.ts'
import { type Gateway, type GatewayOptions, startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const EMAIL = 'Root@example.com'
const PASSWORD = 'change me at once'
const env = { PORTCULLIS_ADMIN_EMAIL: EMAIL, PORTCULLIS_ADMIN_PASSWORD: PASSWORD }

const logIn = (gateway: Gateway, password = PASSWORD) => call(gateway, '/auth/login', { body: { login: 'root@example.com', password } })
const admins = (gateway: Gateway) => rows(gateway, `SELECT username, email FROM users WHERE 'admin' = ANY(roles) ORDER BY created_at`)
/** The same gateway again, with what is different now. */
async function restart(gateway: Gateway, over: GatewayOptions = {}): Promise<Gateway> {
  await gateway.close()
  return startGateway({ databaseUrl: gateway.databaseUrl, secretKey: gateway.secretKey, env, ...over })
}

describe('the admin from the environment', () => {
  let upstream: Upstream
  let gateway: Gateway
  let token: string
  beforeAll(async () => {
    upstream = await startUpstream()
    const route = (name: string, access: unknown) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], access })
    gateway = await startGateway({
      env,
      routes: [route('public', 'public'), route('users', 'authenticated'), route('admins', { roles: ['admin'] })],
    })
    token = (await logIn(gateway)).body.access_token
  })
  afterAll(async () => {
    await gateway.close()
    await upstream.close()
  })

  it('is there, with the role, before anybody can register; the audit log says where from', async () => {
    const { status, body } = await logIn(gateway)
    expect(status).toBe(200)
    expect(body.user).toMatchObject({ username: 'root', email: EMAIL, roles: ['admin'], password_must_change: true })
    expect(await rows(gateway, `SELECT user_id, actor FROM audit_log WHERE event = 'admin_bootstrap'`)).toEqual([
      { user_id: body.user.id, actor: 'environment' },
    ])
  })

  it.each([
    ['GET', '/auth/admin/errors'],
    ['PATCH', '/auth/me'],
    ['GET', '/public'],
    ['GET', '/users'],
    ['GET', '/admins'],
  ])('must change the password first: %s %s answers password_change_required', async (method, path) => {
    const body = method === 'PATCH' ? { username: 'root2' } : undefined
    expect((await call(gateway, path, { method, token, body })).body).toMatchObject({ status: 403, code: 'password_change_required' })
    expect(upstream.take()).toEqual([])
  })

  it('may see the account and log out meanwhile', async () => {
    const other = (await logIn(gateway)).body.access_token
    expect((await call(gateway, '/auth/me', { token: other })).body).toMatchObject({ username: 'root', password_must_change: true })
    expect((await call(gateway, '/auth/logout', { method: 'POST', token: other })).status).toBe(204)
  })

  it('does not get around it with a refresh', async () => {
    const { body } = await logIn(gateway)
    const { body: pair } = await call(gateway, '/auth/refresh', { body: { refresh_token: body.refresh_token } })
    expect((await call(gateway, '/admins', { token: pair.access_token ?? body.access_token })).status).toBe(403)
    expect(upstream.take()).toEqual([])
  })
})

describe('once the admin from the environment has changed the password', () => {
  it('everything is open, to the new token alone', async () => {
    const gateway = await startGateway({ env })
    const { body: old } = await logIn(gateway)
    const changed = await call(gateway, '/auth/password/change', {
      token: old.access_token,
      body: { current_password: PASSWORD, new_password: 'a password of my own' },
    })
    expect(changed.body.user.password_must_change).toBe(false)
    expect((await call(gateway, '/auth/admin/errors', { token: changed.body.access_token })).status).toBe(200)
    expect((await call(gateway, '/auth/admin/errors', { token: old.access_token })).body.code).toBe('token_revoked')
    await gateway.close()
  })

  it('a restart neither resets the password nor makes another', async () => {
    let gateway = await startGateway({ env })
    const { body } = await logIn(gateway)
    const change = { current_password: PASSWORD, new_password: 'a password of my own' }
    await call(gateway, '/auth/password/change', { token: body.access_token, body: change })
    for (const over of [{}, { env: { ...env, PORTCULLIS_ADMIN_EMAIL: 'second@example.com' } }]) {
      gateway = await restart(gateway, over)
      expect(await admins(gateway)).toEqual([{ username: 'root', email: EMAIL }])
      expect((await logIn(gateway)).status).toBe(401)
      expect((await logIn(gateway, 'a password of my own')).status).toBe(200)
    }
    await gateway.close()
  })
})

describe('an admin e-mail address in the environment', () => {
  const register = (gateway: Gateway, username: string, email: string) =>
    call(gateway, '/auth/register', { body: { username, email, password: 'correct horse battery' } })

  it('never promotes a user who has the address already', async () => {
    let gateway = await startGateway()
    await register(gateway, 'mallory', 'root@EXAMPLE.com')
    gateway = await restart(gateway)
    expect(await admins(gateway)).toEqual([])
    expect((await logIn(gateway)).status).toBe(401)
    expect((await logIn(gateway, 'correct horse battery')).body.user.roles).toEqual(['user'])
    expect(gateway.log().some((l) => l.reason === 'bootstrap_refused')).toBe(true)
    await gateway.close()
  })

  it('gets another username when the name before the @ is taken', async () => {
    let gateway = await startGateway({ config: { auth: { reservedUsernames: [] } } })
    await register(gateway, 'root', 'mallory@example.com')
    gateway = await restart(gateway)
    const { status, body } = await logIn(gateway)
    expect(status).toBe(200)
    expect(body.user).toMatchObject({ username: expect.stringMatching(/^admin-/), roles: ['admin'] })
    await gateway.close()
  })

  it('makes one admin when several gateways start at the same moment, even with different addresses', async () => {
    const first = await startGateway()
    const names = ['ann', 'bob', 'cid', 'dan']
    const allBuilt = Promise.withResolvers<void>()
    let built = 0
    const named = (name: string) =>
      startGateway({
        // building takes the loop of this one process for so long that a connection would be given up
        beforeStart() {
          if (++built === names.length) allBuilt.resolve()
          return allBuilt.promise
        },
        databaseUrl: first.databaseUrl,
        secretKey: first.secretKey,
        env: { ...env, PORTCULLIS_ADMIN_EMAIL: `${name}@example.com` },
      })
    const gateways = await Promise.all(names.map(named))
    expect(await admins(first)).toHaveLength(1)
    await Promise.all([first, ...gateways].map((g) => g.close()))
  })

  it('without it there is no account', async () => {
    const gateway = await startGateway()
    expect(await rows(gateway, 'SELECT username FROM users')).toEqual([])
    await gateway.close()
  })

  it('with a password that the policy refuses starts nothing', async () => {
    await expect(startGateway({ env: { ...env, PORTCULLIS_ADMIN_PASSWORD: 'short' } })).rejects.toMatchObject({ code: 'validation_failed' })
  })
})
