import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { newUser, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { dump, rows } from '../../support/rows.ts'
import { claimsOf, endGrace, logout, me, refresh } from '../../support/session.ts'

describe.each(['embedded', 'postgres+redis'] as const)('refresh with onRetry: reject on %s', (stores) => {
  const gateway = useGateway({ stores, config: { auth: { refresh: { onRetry: 'reject' } } } })

  const sessionOf = (user: TestUser): string => claimsOf(user.token).sid
  const expireToken = (user: TestUser) =>
    rows(gateway, `UPDATE refresh_tokens SET expires_at = clock_timestamp() - interval '1 s' WHERE session_id = $1`, [sessionOf(user)])
  const isRevoked = async (user: TestUser) =>
    (await rows(gateway, 'SELECT revoked_at FROM sessions WHERE id = $1', [sessionOf(user)]))[0].revoked_at !== null
  const code = async (token: string) => {
    const { status, body } = await refresh(gateway, token)
    return status === 200 ? 200 : `${status} ${body.code}`
  }

  it('exchanges a token for a new pair of the same session', async () => {
    const user = await newUser(gateway)
    const { status, body, headers } = await refresh(gateway, user.refreshToken)
    expect(status).toBe(200)
    expect(Object.keys(body).sort()).toEqual(['access_token', 'expires_in', 'refresh_token', 'token_type'])
    expect(body).toMatchObject({ token_type: 'Bearer', expires_in: 900, refresh_token: expect.stringMatching(/^rt_[\w-]{43}$/) })
    expect(headers.get('cache-control')).toBe('no-store')
    expect(body.refresh_token).not.toBe(user.refreshToken)
    const [old, fresh] = [claimsOf(user.token), claimsOf(body.access_token)]
    expect(fresh).toMatchObject({ sub: user.id, sid: old.sid, auth_time: old.auth_time })
    expect(fresh.jti).not.toBe(old.jti)
    expect(await me(gateway, body.access_token)).toBe(200)
  })

  it('takes a token once: the successor works, the spent one does not', async () => {
    const user = await newUser(gateway)
    const { body } = await refresh(gateway, user.refreshToken)
    expect(await code(user.refreshToken)).toBe('401 refresh_superseded')
    expect(await code(body.refresh_token)).toBe(200)
  })

  it.each(['rt_', `rt_${'x'.repeat(43)}`, 'anything at all', `RT_${'x'.repeat(43)}`])('answers refresh_invalid to %j', async (token) => {
    expect(await code(token)).toBe('401 refresh_invalid')
  })

  it('answers refresh_invalid to a token of a session that has ended, and of a user who is disabled', async () => {
    const [left, disabled] = [await newUser(gateway), await newUser(gateway)]
    await logout(gateway, left.token)
    expect(await code(left.refreshToken)).toBe('401 refresh_invalid')
    await rows(gateway, 'UPDATE users SET disabled_at = now() WHERE id = $1', [disabled.id])
    expect(await code(disabled.refreshToken)).toBe('401 refresh_invalid')
  })

  it('answers refresh_expired to a token that was not used in time, and ends nothing', async () => {
    const user = await newUser(gateway)
    await expireToken(user)
    expect(await code(user.refreshToken)).toBe('401 refresh_expired')
    expect(await isRevoked(user)).toBe(false)
    expect(await me(gateway, user.token)).toBe(200)
  })

  it('judges revoked before used, and before expired', async () => {
    const user = await newUser(gateway)
    const { body } = await refresh(gateway, user.refreshToken)
    await endGrace(gateway, sessionOf(user))
    await expireToken(user)
    await logout(gateway, body.access_token)
    expect(await code(user.refreshToken)).toBe('401 refresh_invalid')
    expect(await code(body.refresh_token)).toBe('401 refresh_invalid')
  })

  it('judges superseded before expired', async () => {
    const user = await newUser(gateway)
    await refresh(gateway, user.refreshToken)
    await expireToken(user)
    expect(await code(user.refreshToken)).toBe('401 refresh_superseded')
  })

  it('judges reused before expired', async () => {
    const user = await newUser(gateway)
    await refresh(gateway, user.refreshToken)
    await endGrace(gateway, sessionOf(user))
    await expireToken(user)
    expect(await code(user.refreshToken)).toBe('401 refresh_reused')
    expect(await isRevoked(user)).toBe(true)
  })

  it('revokes nothing when the immediate parent is repeated within grace', async () => {
    const user = await newUser(gateway)
    const { body: second } = await refresh(gateway, user.refreshToken)
    const { body: third } = await refresh(gateway, second.refresh_token)
    for (let i = 0; i < 3; i++) expect(await code(second.refresh_token)).toBe('401 refresh_superseded')
    expect(await isRevoked(user)).toBe(false)
    for (const token of [user.token, second.access_token, third.access_token]) expect(await me(gateway, token)).toBe(200)
    expect(await code(third.refresh_token)).toBe(200)
  })

  it('ends a session at its absolute lifetime, however often it is refreshed', async () => {
    const user = await newUser(gateway)
    const [near] = await rows(
      gateway,
      `UPDATE sessions SET expires_at = date_trunc('milliseconds', clock_timestamp()) + interval '1 minute' WHERE id = $1 RETURNING expires_at`,
      [sessionOf(user)],
    )
    const { body } = await refresh(gateway, user.refreshToken)
    const [child] = await rows(gateway, 'SELECT expires_at FROM refresh_tokens WHERE session_id = $1 AND rotated_at IS NULL', [
      sessionOf(user),
    ])
    expect(child.expires_at).toEqual(near.expires_at)
    await rows(gateway, `UPDATE sessions SET expires_at = clock_timestamp() - interval '1 s' WHERE id = $1`, [sessionOf(user)])
    expect(await code(body.refresh_token)).toBe('401 refresh_expired')
  })

  it('keeps only the SHA-256 of a token', async () => {
    const user = await newUser(gateway)
    const { body } = await refresh(gateway, user.refreshToken)
    const text = await dump(gateway)
    for (const token of [user.refreshToken, body.refresh_token]) {
      const secret = token.slice('rt_'.length)
      expect(text).not.toContain(secret)
      expect(text).not.toContain(Buffer.from(token).toString('hex'))
      expect(text).not.toContain(Buffer.from(secret, 'base64url').toString('hex'))
      expect(text).toContain(createHash('sha256').update(token).digest('hex'))
    }
    expect(text).not.toContain(body.access_token)
  })
})
