import { describe, expect, it } from 'vitest'
import { call, login, newUser } from '../../support/client.ts'
import { basic, newClient, post } from '../../support/clients.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { type Gateway, metric } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, endGrace, me, refresh } from '../../support/session.ts'

const audits = (gateway: Gateway, userId: string) =>
  rows(
    gateway,
    `SELECT session_id, ip, request_id FROM audit_log JOIN audit_personal ON event_id = id WHERE user_id = $1 AND outcome = 'refresh_reused'`,
    [userId],
  )

describe.each(['embedded', 'postgres+redis'] as const)('a refresh token that was used before, on %s', (stores) => {
  const upstream = useUpstream()
  const gateway = useGateway(() => ({
    stores,
    routes: [{ name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' }],
  }))

  /** Somebody whose first token is spent, and the pair that it was exchanged for. */
  async function spent() {
    const user = await newUser(gateway)
    const { body: pair } = await refresh(gateway, user.refreshToken)
    return { user, pair, sid: claimsOf(user.token).sid as string }
  }

  it('ends its family when it comes after the grace period: every access token of the family is revoked at once', async () => {
    const { user, pair, sid } = await spent()
    const elsewhere = await login(gateway, user)
    for (const token of [user.token, pair.access_token]) expect((await call(gateway, '/api', { token })).status).toBe(200)
    upstream.take()
    await endGrace(gateway, sid)

    expect((await refresh(gateway, user.refreshToken)).body).toMatchObject({ status: 401, code: 'refresh_reused' })
    for (const token of [user.token, pair.access_token])
      expect((await call(gateway, '/api', { token })).body).toMatchObject({ status: 401, code: 'token_revoked' })
    expect(upstream.take()).toEqual([])
    expect((await refresh(gateway, pair.refresh_token)).body.code).toBe('refresh_invalid')
    // the user's other sessions are no part of the family
    expect(await me(gateway, elsewhere.token)).toBe(200)
    expect((await refresh(gateway, elsewhere.refreshToken)).status).toBe(200)
  })

  it('ends its family within grace, too, once its successor was used', async () => {
    const { user, pair } = await spent()
    const { body: third } = await refresh(gateway, pair.refresh_token)
    expect((await refresh(gateway, user.refreshToken)).body.code).toBe('refresh_reused')
    expect(await me(gateway, third.access_token)).toBe('token_revoked')
    expect((await refresh(gateway, third.refresh_token)).body.code).toBe('refresh_invalid')
  })

  it('is recorded once in the audit log: later replays are refresh_invalid', async () => {
    const { user, pair, sid } = await spent()
    await endGrace(gateway, sid)
    expect((await refresh(gateway, user.refreshToken)).body.code).toBe('refresh_reused')
    for (const token of [user.refreshToken, pair.refresh_token, user.refreshToken])
      expect((await refresh(gateway, token)).body.code).toBe('refresh_invalid')
    expect(await audits(gateway, user.id)).toEqual([{ session_id: sid, ip: '127.0.0.1', request_id: expect.any(String) }])
  })

  describe('and is used for something else than a refresh', () => {
    const uses: [string, (token: string) => Promise<number>][] = [
      ['a logout', async (token) => (await call(gateway, '/auth/logout', { body: { refresh_token: token } })).status],
      ['a logout of all sessions', async (token) => (await call(gateway, '/auth/logout-all', { body: { refresh_token: token } })).status],
      ['a revocation', async (token) => (await post(gateway, '/auth/revoke', { token })).status],
      [
        'an introspection',
        async (token) =>
          (await post(gateway, '/auth/introspect', { token }, basic(await newClient(gateway, { scopes: ['introspect'] })))).status,
      ],
    ]

    it.each(uses)('%s ends its family, and is recorded as reuse', async (_name, use) => {
      const { user, pair, sid } = await spent()
      const elsewhere = await login(gateway, user)
      await endGrace(gateway, sid)
      const before = await metric(gateway, 'portcullis_refreshes_total', { outcome: 'reused' })
      expect([200, 204]).toContain(await use(user.refreshToken))
      expect(await me(gateway, pair.access_token)).toBe('token_revoked')
      expect((await refresh(gateway, pair.refresh_token)).body.code).toBe('refresh_invalid')
      expect(await audits(gateway, user.id)).toEqual([{ session_id: sid, ip: '127.0.0.1', request_id: expect.any(String) }])
      expect(await metric(gateway, 'portcullis_refreshes_total', { outcome: 'reused' })).toBe(before + 1)
      // the user's other sessions are no part of the family
      expect(await me(gateway, elsewhere.token)).toBe(200)
      // a session that has ended gives no power either
      await use(user.refreshToken)
      expect(await me(gateway, elsewhere.token)).toBe(200)
    })

    it.each(uses.slice(0, 3))('within grace, while its successor is unused, %s ends its own session alone', async (_name, use) => {
      const { user, pair } = await spent()
      const elsewhere = await login(gateway, user)
      expect([200, 204]).toContain(await use(user.refreshToken))
      expect(await me(gateway, pair.access_token)).toBe('token_revoked')
      expect(await audits(gateway, user.id)).toEqual([])
      expect(await me(gateway, elsewhere.token)).toBe(200)
    })

    it('an expired token that was never used ends its own session alone', async () => {
      const user = await newUser(gateway)
      const elsewhere = await login(gateway, user)
      await rows(gateway, `UPDATE refresh_tokens SET expires_at = now() WHERE session_id = $1`, [claimsOf(user.token).sid])
      expect((await call(gateway, '/auth/logout-all', { body: { refresh_token: user.refreshToken } })).status).toBe(204)
      expect([await me(gateway, user.token), await me(gateway, elsewhere.token)]).toEqual(['token_revoked', 200])
      // the newest token ends every session
      const { body } = await refresh(gateway, elsewhere.refreshToken)
      expect((await call(gateway, '/auth/logout-all', { body: { refresh_token: body.refresh_token } })).status).toBe(204)
      expect(await me(gateway, elsewhere.token)).toBe('token_revoked')
    })
  })

  it('writes audit row, end of session and revocation in one transaction', async () => {
    const { user, sid } = await spent()
    await endGrace(gateway, sid)
    await refresh(gateway, user.refreshToken)
    const [written] = await rows(
      gateway,
      `SELECT a.xmin::text AS audit, s.xmin::text AS session, r.xid::text AS revocation, s.revoke_reason
       FROM audit_log a JOIN sessions s ON s.id = a.session_id JOIN revocations r ON r.session_id = s.id
       WHERE a.outcome = 'refresh_reused' AND s.id = $1`,
      [sid],
    )
    expect(written.revoke_reason).toBe('reuse')
    expect(written.session).toBe(written.audit)
    expect(written.revocation).toBe(written.audit)
  })

  it('ends nothing when its audit row cannot be written', async () => {
    const { user, sid } = await spent()
    await endGrace(gateway, sid)
    await rows(gateway, `ALTER TABLE audit_log ADD CONSTRAINT full_disk CHECK (session_id <> '${sid}') NOT VALID`)
    try {
      expect((await refresh(gateway, user.refreshToken)).body.code).toBe('internal')
      expect((await rows(gateway, 'SELECT revoked_at FROM sessions WHERE id = $1', [sid]))[0].revoked_at).toBeNull()
      expect(await me(gateway, user.token)).toBe(200)
    } finally {
      await rows(gateway, 'ALTER TABLE audit_log DROP CONSTRAINT full_disk')
    }
    expect((await refresh(gateway, user.refreshToken)).body.code).toBe('refresh_reused')
  })

  it('is one word in response, log and metric', async () => {
    const { user, sid } = await spent()
    await endGrace(gateway, sid)
    const before = await metric(gateway, 'portcullis_refreshes_total', { outcome: 'reused' })
    const { body } = await refresh(gateway, user.refreshToken)
    expect(await metric(gateway, 'portcullis_refreshes_total', { outcome: 'reused' })).toBe(before + 1)
    expect(await metric(gateway, 'portcullis_errors_total', { code: 'refresh_reused' })).toBeGreaterThan(0)
    expect(gateway.log().find((l) => l.reason === 'refresh_reused' && l.request_id === body.request_id)).toBeDefined()
  })
})

describe.each(['embedded', 'postgres+redis'] as const)('with onReuse: revokeUser on %s', (stores) => {
  const gateway = useGateway({ stores, config: { auth: { refresh: { onReuse: 'revokeUser' } } } })

  it('a reused token ends every session of its user, and of no other user', async () => {
    const [user, other] = [await newUser(gateway), await newUser(gateway)]
    const elsewhere = await login(gateway, user)
    await refresh(gateway, user.refreshToken)
    await endGrace(gateway, claimsOf(user.token).sid)

    expect((await refresh(gateway, user.refreshToken)).body.code).toBe('refresh_reused')
    for (const token of [user.token, elsewhere.token]) expect(await me(gateway, token)).toBe('token_revoked')
    expect((await refresh(gateway, elsewhere.refreshToken)).body.code).toBe('refresh_invalid')
    expect(await audits(gateway, user.id)).toHaveLength(1)
    expect(await me(gateway, other.token)).toBe(200)
    expect(await me(gateway, (await login(gateway, user)).token)).toBe(200)
  })
})
