import { describe, expect, it } from 'vitest'
import { call, login, newUser, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, me, refresh } from '../../support/session.ts'

const sidOf = ({ token }: TestUser): string => claimsOf(token).sid
const list = async (gateway: Gateway, user: TestUser) => (await call(gateway, '/auth/sessions', { token: user.token })).body.sessions

describe('the own sessions', () => {
  const gateway = useGateway()
  const end = (user: TestUser, id: string) => call(gateway, `/auth/sessions/${id}`, { method: 'DELETE', token: user.token })

  it('are listed with device, address and times; the session of the request is marked', async () => {
    const first = await newUser(gateway)
    const { body } = await call(gateway, '/auth/login', {
      body: { login: first.username, password: first.password },
      headers: {
        'user-agent': 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36',
      },
    })
    const second = { ...first, token: body.access_token }
    const sessions = await list(gateway, second)
    expect(sessions).toHaveLength(2)
    expect(sessions.map((s: any) => [s.id, s.current])).toEqual([
      [sidOf(second), true],
      [sidOf(first), false],
    ])
    expect(sessions[0]).toMatchObject({ device: 'Chrome on Windows', ip: '127.0.0.1', mfa: false })
    for (const time of ['created_at', 'last_used_at', 'expires_at']) expect(sessions[0][time]).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/)
  })

  it('a session that was unused for too long to be refreshed is not listed', async () => {
    const [first, second] = await twice()
    await rows(gateway, `UPDATE refresh_tokens SET expires_at = now() - interval '1 second' WHERE session_id = $1`, [sidOf(first)])
    expect((await list(gateway, second)).map((s: any) => s.id)).toEqual([sidOf(second)])
  })

  it('one is ended, and its tokens with it; the others go on', async () => {
    const [first, second] = await twice()
    expect((await end(second, sidOf(first))).status).toBe(204)
    expect(await me(gateway, first.token)).toBe('token_revoked')
    expect((await refresh(gateway, first.refreshToken)).body.code).toBe('refresh_invalid')
    expect(await me(gateway, second.token)).toBe(200)
    expect(await list(gateway, second)).toHaveLength(1)
    expect((await end(second, sidOf(first))).body.code).toBe('not_found')
  })

  it("one of somebody else's, and what is no id, are not there", async () => {
    const [ann, bob] = [await newUser(gateway), await newUser(gateway)]
    for (const id of [sidOf(bob), '01a1fe56-b14a-72b2-bd52-375d80f533f6', 'x', '%20', "'--", 'a'.repeat(90)])
      expect(await end(ann, id)).toMatchObject({ status: 404, body: { code: 'not_found' } })
    expect(await me(gateway, bob.token)).toBe(200)
  })

  it('all sessions but that of the request end at once, and a login in progress opens no session', async () => {
    const [first, second] = await twice()
    const third = await login(gateway, first)
    expect((await call(gateway, '/auth/sessions', { method: 'DELETE', token: second.token })).status).toBe(204)
    expect(await Promise.all([first, second, third].map((s) => me(gateway, s.token)))).toEqual(['token_revoked', 200, 'token_revoked'])
  })

  async function twice(): Promise<[TestUser, TestUser]> {
    const user = await newUser(gateway)
    return [user, await login(gateway, user)]
  }
})

describe('at most three sessions of a user', () => {
  const gateway = useGateway({ config: { auth: { sessions: { maxPerUser: 3 } } } })

  it('a fourth login ends the session that was unused for longest', async () => {
    const first = await newUser(gateway)
    const [second, third] = [await login(gateway, first), await login(gateway, first)]
    const renewed = (await refresh(gateway, first.refreshToken)).body.access_token
    const fourth = await login(gateway, first)
    const alive = await Promise.all([renewed, second.token, third.token, fourth.token].map((token) => me(gateway, token)))
    expect(alive).toEqual([200, 'token_revoked', 200, 200])
  })

  it('ten logins at once leave three', async () => {
    const user = await newUser(gateway)
    const all = await Promise.all(Array.from({ length: 10 }, () => login(gateway, user)))
    const alive = await Promise.all(all.map(({ token }) => me(gateway, token)))
    expect(alive.filter((state) => state === 200)).toHaveLength(3)
    expect(await rows(gateway, 'SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL', [user.id])).toHaveLength(3)
  })
})

describe('the life of a session', () => {
  it('ends when it was not refreshed for idleTtlSeconds', async () => {
    const gateway = await startGateway({ config: { auth: { sessions: { idleTtlSeconds: 600 } } } })
    const user = await newUser(gateway)
    const [row] = await rows<{ seconds: number }>(
      gateway,
      'SELECT round(extract(epoch FROM t.expires_at - t.created_at))::int AS seconds FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE s.user_id = $1',
      [user.id],
    )
    expect(row!.seconds).toBe(600)
    await rows(gateway, `UPDATE refresh_tokens SET expires_at = now() - interval '1 second'`)
    expect((await refresh(gateway, user.refreshToken)).body.code).toBe('refresh_expired')
    await gateway.close()
  })

  it('ends after absoluteTtlSeconds, used or not, and no access token outlives it', async () => {
    const gateway = await startGateway({ config: { auth: { sessions: { absoluteTtlSeconds: 300 } } } })
    const user = await newUser(gateway)
    const { body } = await refresh(gateway, user.refreshToken)
    expect(body.expires_in).toBeLessThanOrEqual(300)
    await rows(gateway, `UPDATE sessions SET expires_at = now() + interval '20 seconds'`)
    const last = (await refresh(gateway, body.refresh_token)).body
    expect(last.expires_in).toBeLessThanOrEqual(20)
    expect(claimsOf(last.access_token).exp - claimsOf(last.access_token).iat).toBe(last.expires_in)
    await rows(gateway, `UPDATE sessions SET expires_at = now() - interval '1 second'`)
    expect((await refresh(gateway, last.refresh_token)).body.code).toBe('refresh_expired')
    await gateway.close()
  })
})
