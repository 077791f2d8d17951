import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, login, newUser, newUserWithRoles, OPERATOR, type TestUser } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, me, refresh } from '../../support/session.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

describe('roles', () => {
  let upstream: Upstream
  let gateway: Gateway
  beforeAll(async () => {
    upstream = await startUpstream()
    const route = (path: string, access: unknown) => ({
      name: path.slice(1).replaceAll('/', '-'),
      match: { path },
      upstream: [upstream.url],
      access,
    })
    gateway = await startGateway({
      config: {
        auth: {
          roles: {
            admin: { inherits: ['editor'], scopes: ['users:write'] },
            editor: { inherits: ['user'], scopes: ['posts:write', 'posts:read'] },
            user: { scopes: ['posts:read'] },
          },
        },
      },
      routes: [
        route('/posts', 'authenticated'),
        route('/posts/drafts', { roles: ['editor'] }),
        route('/posts/drafts/shared', 'public'),
        route('/users', { scopes: ['users:write', 'posts:read'] }),
        route('/staff', { anyOf: [{ roles: ['auditor'] }, { scopes: ['users:write'] }] }),
      ],
    })
  })
  afterAll(async () => {
    await gateway.close()
    await upstream.close()
  })
  const grant = ({ username }: TestUser, role: string) => gateway.app.identity.administration.grant(username, role, OPERATOR)
  const revoke = ({ username }: TestUser, role: string) => gateway.app.identity.administration.revoke(username, role, OPERATOR)
  const disable = ({ username }: TestUser) => gateway.app.identity.administration.disable(username, OPERATOR)
  const enable = ({ username }: TestUser) => gateway.app.identity.administration.enable(username, OPERATOR)
  const ask = async (path: string, token: string) => {
    const { status, body } = await call(gateway, path, { token })
    return status === 200 ? 200 : `${status} ${body.code}`
  }

  it.each(['refresh', 'login'])('a role that was granted opens its routes after a %s', async (how) => {
    const user = await newUser(gateway)
    expect(await ask('/posts/drafts', user.token)).toBe('403 forbidden')
    await grant(user, 'editor')
    // the token from before does not have it and is refused: nobody works on with half a truth
    expect(await ask('/posts/drafts', user.token)).toBe('401 token_revoked')
    const token = how === 'login' ? (await login(gateway, user)).token : (await refresh(gateway, user.refreshToken)).body.access_token
    expect(await ask('/posts/drafts', token)).toBe(200)
  })

  it('a role that was taken away is gone with the next request, and from every later token', async () => {
    const user = await newUserWithRoles(gateway, ['editor'])
    expect(await ask('/posts/drafts', user.token)).toBe(200)
    upstream.take()
    await revoke(user, 'editor')
    expect(await ask('/posts/drafts', user.token)).toBe('401 token_revoked')
    const { body } = await refresh(gateway, user.refreshToken)
    expect(claimsOf(body.access_token).roles).toEqual(['user'])
    expect(await ask('/posts/drafts', body.access_token)).toBe('403 forbidden')
    expect(upstream.take()).toEqual([])
    expect(await ask('/posts', body.access_token)).toBe(200)
  })

  it('a disabled user is refused at the next request, at refresh and at login; enabled again, at none but with old tokens', async () => {
    const user = await newUser(gateway)
    expect(await ask('/posts', user.token)).toBe(200)
    await disable(user)
    const logIn = () => call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
    expect(await ask('/posts', user.token)).toBe('401 token_revoked')
    expect((await refresh(gateway, user.refreshToken)).body.code).toBe('refresh_invalid')
    expect((await logIn()).body.code).toBe('invalid_credentials')
    await enable(user)
    expect(await ask('/posts', user.token)).toBe('401 token_revoked')
    expect((await refresh(gateway, user.refreshToken)).body.code).toBe('refresh_invalid')
    expect(await ask('/posts', (await login(gateway, user)).token)).toBe(200)
  })

  it('a role brings the roles that it inherits and all their scopes into the token, and to the upstream', async () => {
    const admin = await newUserWithRoles(gateway, ['admin'])
    const { roles, scope } = claimsOf(admin.token)
    expect(roles).toEqual(['admin', 'editor', 'user'])
    expect(scope).toBe('posts:read posts:write users:write')
    upstream.take()
    for (const path of ['/posts', '/posts/drafts', '/users', '/staff']) expect(await ask(path, admin.token)).toBe(200)
    for (const { headers } of upstream.take()) expect(headers['x-auth-roles']).toBe('admin,editor,user')
    // the account itself has what it was granted
    expect((await call(gateway, '/auth/me', { token: admin.token })).body.roles).toEqual(['admin', 'user'])
  })

  it('a role inherits downwards only', async () => {
    const editor = await newUserWithRoles(gateway, ['editor'])
    expect(claimsOf(editor.token)).toMatchObject({ roles: ['editor', 'user'], scope: 'posts:read posts:write' })
    expect(await ask('/users', editor.token)).toBe('403 forbidden')
    expect(await ask('/staff', editor.token)).toBe('403 forbidden')
  })

  it('a role that the configuration does not name gives itself and nothing else', async () => {
    const auditor = await newUserWithRoles(gateway, ['auditor'])
    expect(claimsOf(auditor.token)).toMatchObject({ roles: ['auditor', 'user'], scope: 'posts:read' })
    expect(await ask('/staff', auditor.token)).toBe(200)
    expect(await ask('/posts/drafts', auditor.token)).toBe('403 forbidden')
  })

  it('what a caller needs is judged on the longest route that matches, not on a shorter one', async () => {
    const user = await newUser(gateway)
    expect(await ask('/posts/1', user.token)).toBe(200)
    expect(await ask('/posts/drafts/1', user.token)).toBe('403 forbidden')
    expect((await call(gateway, '/posts/drafts/1')).body.code).toBe('token_missing')
    expect((await call(gateway, '/posts/drafts/shared/1')).status).toBe(200)
  })

  it('a refusal says insufficient_scope, and which scopes would do', async () => {
    const { token } = await newUser(gateway)
    const byScope = await call(gateway, '/users', { token })
    expect(byScope.headers.get('www-authenticate')).toBe('Bearer error="insufficient_scope", scope="users:write posts:read"')
    const byRole = await call(gateway, '/posts/drafts', { token })
    expect(byRole.headers.get('www-authenticate')).toBe('Bearer error="insufficient_scope"')
  })

  it('every change is in the audit log, with who did it', async () => {
    const user = await newUser(gateway)
    await grant(user, 'editor')
    await revoke(user, 'editor')
    await disable(user)
    await enable(user)
    expect(
      await rows(gateway, 'SELECT event, actor FROM audit_log WHERE user_id = $1 AND actor IS NOT NULL ORDER BY id', [user.id]),
    ).toEqual(['role_grant', 'role_revoke', 'user_disable', 'user_enable'].map((event) => ({ event, actor: 'test' })))
    expect(await me(gateway, user.token)).toBe('token_revoked')
  })
})
