import { beforeEach, describe, expect, it } from 'vitest'
import { type Answer, call, login, newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'
import { times } from '../../support/times.ts'

const BY = { actor: 'command line', context: { ip: null, userAgent: null, requestId: null } }

describe.each(['embedded', 'postgres'] as const)('the last admin on %s', (stores) => {
  const gateway = useGateway({
    stores,
    config: { auth: { roles: { user: {}, admin: { inherits: ['user'] }, owner: { inherits: ['admin'] } } } },
  })
  /** Nobody is an admin: each test begins anew. */
  beforeEach(() => rows(gateway, `UPDATE users SET roles = '{user}'`))

  const asked = (by: TestUser, method: string, path: string) =>
    call(gateway, `/auth/admin/users/${path}`, { method, token: by.token, body: {} })
  const administration = () => gateway.app.identity.administration
  const admins = async () =>
    (await rows(gateway, `SELECT id FROM users WHERE disabled_at IS NULL AND roles && '{admin,owner}'::text[]`)).map((r) => r.id)

  const ways: Record<string, (admin: TestUser) => Promise<unknown>> = {
    'by a request that takes the role': (a) => asked(a, 'DELETE', `${a.id}/roles/admin`),
    'by a request that disables': (a) => asked(a, 'POST', `${a.id}/disable`),
    'by a request that deletes': (a) => asked(a, 'DELETE', a.id),
    'by deleting the own account': (a) =>
      call(gateway, '/auth/me', { method: 'DELETE', token: a.token, body: { current_password: a.password } }),
    'by a command that takes the role': (a) => administration().revoke(a.username, 'admin', BY),
    'by a command that disables': (a) => administration().disable(a.email, BY),
    'by a command that deletes': (a) => administration().remove(a.username, BY),
  }
  const refusal = async (work: Promise<unknown>) =>
    work.then(
      (answer) => (answer as Answer | undefined)?.body?.code ?? 'done',
      (error) => error.code,
    )

  it.each(Object.entries(ways))('is not removed %s, and is after another was made', async (_, remove) => {
    const admin = await newUserWithRoles(gateway, ['admin'])
    expect(await refusal(remove(admin))).toBe('last_admin')
    expect(await admins()).toEqual([admin.id])
    // nothing was done by halves
    expect((await call(gateway, '/auth/admin/users', { token: admin.token })).status).toBe(200)
    const other = await newUserWithRoles(gateway, ['admin'])
    expect(await refusal(remove(admin))).toBe('done')
    expect(await admins()).toEqual([other.id])
  })

  it('is not one who is disabled', async () => {
    const [admin, disabled] = [await newUserWithRoles(gateway, ['admin']), await newUserWithRoles(gateway, ['admin'])]
    await administration().disable(disabled.id, BY)
    expect(await refusal(asked(admin, 'DELETE', `${admin.id}/roles/admin`))).toBe('last_admin')
    // who is disabled may go
    expect(await refusal(asked(admin, 'DELETE', `${disabled.id}/roles/admin`))).toBe('done')
    expect(await refusal(asked(admin, 'DELETE', disabled.id))).toBe('done')
  })

  it('is also one whose role inherits admin', async () => {
    const [owner, admin] = [await newUserWithRoles(gateway, ['owner']), await newUserWithRoles(gateway, ['admin'])]
    expect(await refusal(asked(admin, 'DELETE', `${admin.id}/roles/admin`))).toBe('done')
    expect(await refusal(asked(owner, 'DELETE', `${owner.id}/roles/owner`))).toBe('last_admin')
    // with both roles, one may go
    await administration().grant(owner.id, 'admin', BY)
    expect(await refusal(asked(await login(gateway, owner), 'DELETE', `${owner.id}/roles/owner`))).toBe('done')
    expect(await admins()).toEqual([owner.id])
  })

  it('a refusal is in the log', async () => {
    const admin = await newUserWithRoles(gateway, ['admin'])
    await asked(admin, 'POST', `${admin.id}/disable`)
    expect(await rows(gateway, `SELECT outcome, actor FROM audit_log WHERE user_id = $1 AND event = 'user_disable'`, [admin.id])).toEqual([
      { outcome: 'last_admin', actor: `user:${admin.id}` },
    ])
  })
})

describe('admins who remove each other at the same moment', () => {
  const gateway = useGateway()

  const ways: Record<string, (admin: TestUser, victim: TestUser) => Promise<Answer>> = {
    'demote each other': (a, b) => call(gateway, `/auth/admin/users/${b.id}/roles/admin`, { method: 'DELETE', token: a.token, body: {} }),
    'disable each other': (a, b) => call(gateway, `/auth/admin/users/${b.id}/disable`, { token: a.token, body: {} }),
    'delete each other': (a, b) => call(gateway, `/auth/admin/users/${b.id}`, { method: 'DELETE', token: a.token, body: {} }),
    'demote themselves': (a) => call(gateway, `/auth/admin/users/${a.id}/roles/admin`, { method: 'DELETE', token: a.token, body: {} }),
    'delete themselves': (a) => call(gateway, '/auth/me', { method: 'DELETE', token: a.token, body: {} }),
  }
  it.each(Object.entries(ways))('leave one: %s', async (_, remove) => {
    for (let round = 0; round < 8; round++) {
      await rows(gateway, `UPDATE users SET roles = '{user}'`)
      const three = await Promise.all(times(3, () => newUserWithRoles(gateway, ['admin'])))
      const answers = await Promise.all(three.map((admin, i) => remove(admin, three[(i + 1) % 3]!)))
      const left = await rows(gateway, `SELECT id FROM users WHERE disabled_at IS NULL AND 'admin' = ANY(roles)`)
      expect(left.length).toBeGreaterThan(0)
      expect(answers.filter((a) => a.status < 300)).toHaveLength(3 - left.length)
      // the refused request gets its reason: removed meanwhile, or the last admin
      for (const { status, body } of answers) if (status >= 300) expect(['last_admin', 'token_revoked']).toContain(body.code)
    }
  })

  it('leave one: two operators by command, any mixture of ways', async () => {
    const { administration } = gateway.app.identity
    const acts = [
      (id: string) => administration.revoke(id, 'admin', BY),
      (id: string) => administration.disable(id, BY),
      (id: string) => administration.remove(id, BY),
    ]
    for (const one of acts)
      for (const other of acts) {
        await rows(gateway, `UPDATE users SET roles = '{user}'`)
        const [a, b] = await Promise.all([newUserWithRoles(gateway, ['admin']), newUserWithRoles(gateway, ['admin'])])
        const reported = await Promise.allSettled([one(a.id), other(b.id)])
        expect(reported.filter((t) => t.status === 'fulfilled')).toHaveLength(1)
        expect(reported.find((t) => t.status === 'rejected')!.reason.code).toBe('last_admin')
      }
  })
})

it('the first admin is not made again from the environment where a role that inherits admin has taken its place', async () => {
  const roles = { user: {}, admin: {}, owner: { inherits: ['admin'] } }
  const env = { PORTCULLIS_ADMIN_EMAIL: 'root@example.com', PORTCULLIS_ADMIN_PASSWORD: 'correct horse battery' }
  const first = await startGateway({ env, config: { auth: { roles } } })
  const owner = await newUser(first)
  await first.app.identity.administration.grant(owner.id, 'owner', BY)
  await first.app.identity.administration.remove('root@example.com', BY)
  const { databaseUrl, secretKey } = first
  await first.close()
  const again = await startGateway({ env, databaseUrl, secretKey, config: { auth: { roles } } })
  expect(await rows(again, `SELECT id FROM users WHERE email_canonical = 'root@example.com'`)).toEqual([])
  await again.close()
})
