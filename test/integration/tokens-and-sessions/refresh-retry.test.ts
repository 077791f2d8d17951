import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createRetryErasure } from '../../../src/app/cleanup.ts'
import { newUser, raw, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, endGrace, me, refresh } from '../../support/session.ts'
import { connect } from '../../support/wire.ts'

describe.each(['embedded', 'postgres+redis'] as const)('by default, with onRetry: repeat, on %s', (stores) => {
  const gateway = useGateway({ stores })

  it('two tabs with one token both go on', async () => {
    const user = await newUser(gateway)
    const tabs = await Promise.all([1, 2].map(() => refresh(gateway, user.refreshToken)))
    expect(tabs.map(({ status }) => status)).toEqual([200, 200])
    for (const { body } of tabs) expect(await me(gateway, body.access_token)).toBe(200)
    expect((await refresh(gateway, tabs[1]!.body.refresh_token)).status).toBe(200)
  })

  it('an answer that is lost on its way costs nothing', async () => {
    const user = await newUser(gateway)
    const body = JSON.stringify({ refresh_token: user.refreshToken })
    const head = `POST /auth/refresh HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
    // the connection is cut once the first byte of the answer has arrived
    await raw(gateway.port, head + body, (text) => text !== '')
    const { status, body: again } = await refresh(gateway, user.refreshToken)
    expect(status).toBe(200)
    expect((await refresh(gateway, again.refresh_token)).status).toBe(200)
  })

  it('a repeat within 30 seconds is a retry, and later it is theft', async () => {
    const [soon, late] = [await newUser(gateway), await newUser(gateway)]
    for (const { refreshToken } of [soon, late]) await refresh(gateway, refreshToken)
    await letPass(soon, 20)
    await letPass(late, 31)
    expect((await refresh(gateway, soon.refreshToken)).status).toBe(200)
    expect((await refresh(gateway, late.refreshToken)).body.code).toBe('refresh_reused')
  })

  it('a client that left before its answer has ten minutes more', async () => {
    const [soon, late] = [await newUser(gateway), await newUser(gateway)]
    for (const { refreshToken, token } of [soon, late]) {
      const body = JSON.stringify({ refresh_token: refreshToken })
      const wire = await connect(gateway.port)
      wire.socket.end(
        `POST /auth/refresh HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      )
      await wire.closes()
      expect(await nonces(token)).toBe(1)
    }
    await letPass(soon, 600)
    await letPass(late, 660)
    expect((await refresh(gateway, soon.refreshToken)).status).toBe(200)
    expect((await refresh(gateway, late.refreshToken)).body.code).toBe('refresh_reused')
  })

  /** As if so many seconds had passed since the rotation. */
  const letPass = (user: TestUser, seconds: number) =>
    rows(gateway, `UPDATE refresh_tokens SET rotated_at = rotated_at - $2 * interval '1 s' WHERE session_id = $1`, [
      claimsOf(user.token).sid,
      seconds,
    ])
  const nonces = async (token: string) =>
    (await rows(gateway, 'SELECT 1 AS one FROM refresh_tokens WHERE session_id = $1 AND retry_nonce IS NOT NULL', [claimsOf(token).sid]))
      .length

  it('a repeat within grace gets the same successor and a good access token', async () => {
    const user = await newUser(gateway)
    const { body: first } = await refresh(gateway, user.refreshToken)
    for (let i = 0; i < 2; i++) {
      const again = await refresh(gateway, user.refreshToken)
      expect(again.status).toBe(200)
      expect(again.body.refresh_token).toBe(first.refresh_token)
      expect(await me(gateway, again.body.access_token)).toBe(200)
    }
    expect(await rows(gateway, 'SELECT id FROM refresh_tokens WHERE session_id = $1', [claimsOf(user.token).sid])).toHaveLength(2)
    expect((await refresh(gateway, first.refresh_token)).status).toBe(200)
  })

  it('what a repeat is made from is erased once the successor is used: then it is theft', async () => {
    const user = await newUser(gateway)
    const { body: second } = await refresh(gateway, user.refreshToken)
    expect(await nonces(user.token)).toBe(1)
    await refresh(gateway, second.refresh_token)
    const [parent] = await rows(
      gateway,
      'SELECT retry_nonce, retry_key_id FROM refresh_tokens WHERE session_id = $1 AND parent_id IS NULL',
      [claimsOf(user.token).sid],
    )
    expect(parent).toEqual({ retry_nonce: null, retry_key_id: null })
    expect((await refresh(gateway, user.refreshToken)).body.code).toBe('refresh_reused')
    expect((await refresh(gateway, second.refresh_token)).body.code).toBe('refresh_invalid')
  })

  it('after grace a repeat is theft, and what it was made from is erased', async () => {
    const [user, other] = [await newUser(gateway), await newUser(gateway)]
    for (const { refreshToken } of [user, other]) await refresh(gateway, refreshToken)
    await endGrace(gateway, claimsOf(user.token).sid)
    await createRetryErasure(gateway.app.platform.db, gateway.app.platform.config.auth.refresh)()
    expect([await nonces(user.token), await nonces(other.token)]).toEqual([0, 1])
    expect((await refresh(gateway, user.refreshToken)).body.code).toBe('refresh_reused')
    expect((await refresh(gateway, other.refreshToken)).status).toBe(200)
  })

  it('a session that has reached its absolute lifetime is not repeated into a new access token', async () => {
    const user = await newUser(gateway)
    await refresh(gateway, user.refreshToken)
    await rows(gateway, `UPDATE sessions SET expires_at = clock_timestamp() - interval '1 s' WHERE id = $1`, [claimsOf(user.token).sid])
    expect((await refresh(gateway, user.refreshToken)).status).toBe(401)
  })
})

describe('with onRetry: repeat and a new secret key', () => {
  it('a repeat under the previous key gets the same successor; without that key it is superseded', async () => {
    const old = await startGateway()
    const user = await newUser(old)
    const { body: first } = await refresh(old, user.refreshToken)
    const secretKey = randomBytes(32).toString('base64')
    const shared = { databaseUrl: old.databaseUrl, secretKey }
    await old.close()

    const rotated = await startGateway({ ...shared, env: { PORTCULLIS_SECRET_KEY_PREVIOUS: old.secretKey } })
    expect((await refresh(rotated, user.refreshToken)).body.refresh_token).toBe(first.refresh_token)
    await rotated.close()

    const later = await startGateway(shared)
    // a slow machine is no thief
    await rows(later, 'UPDATE refresh_tokens SET rotated_at = clock_timestamp() WHERE rotated_at IS NOT NULL')
    expect((await refresh(later, user.refreshToken)).body.code).toBe('refresh_superseded')
    expect((await refresh(later, first.refresh_token)).status).toBe(200)
    await later.close()
  })

  it('no nonce is kept with onRetry: reject', async () => {
    const gateway = await startGateway({ config: { auth: { refresh: { onRetry: 'reject' } } } })
    const user = await newUser(gateway)
    await refresh(gateway, user.refreshToken)
    expect(await rows(gateway, 'SELECT 1 FROM refresh_tokens WHERE retry_nonce IS NOT NULL OR retry_key_id IS NOT NULL')).toEqual([])
    await gateway.close()
  })
})
