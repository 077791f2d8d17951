/** A failover of Postgres loses the last commits. What the gateways remember as ended does not come back. */
import { randomUUID } from 'node:crypto'
import { expect, it } from 'vitest'
import { writeBackRevocations } from '../../../src/identity/sessions/revocations.repo.ts'
import { createRevocations } from '../../../src/identity/sessions/revocations.ts'
import { call, login, newUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { newKey } from '../../support/keys.ts'
import { until } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, logout, me, refresh } from '../../support/session.ts'

const gateway = useGateway()

/** What a server that was behind would have: the last changes are missing. */
async function lose(...users: { id: string }[]): Promise<void> {
  const ids = users.map(({ id }) => id)
  await rows(gateway, 'DELETE FROM revocations')
  await rows(gateway, 'UPDATE sessions SET revoked_at = NULL, revoke_reason = NULL WHERE user_id = ANY($1)', [ids])
  await rows(gateway, 'UPDATE users SET token_epoch = 1, session_epoch = 1 WHERE id = ANY($1)', [ids])
  await rows(gateway, 'UPDATE api_keys SET revoked_at = NULL WHERE user_id = ANY($1)', [ids])
}
const revocations = async () => (await rows(gateway, 'SELECT count(*)::int AS n FROM revocations'))[0]!.n

it('the revocations are written back, and the sessions, keys and epochs end again', async () => {
  const [one, all, holder] = [await newUser(gateway), await newUser(gateway), await newUser(gateway)]
  const kept = await login(gateway, one)
  const { key, id } = await newKey(gateway, holder)
  await logout(gateway, one.token)
  await call(gateway, '/auth/logout-all', { method: 'POST', token: all.token })
  await call(gateway, `/auth/api-keys/${id}`, { method: 'DELETE', token: holder.token })
  await lose(one, all, holder)

  await gateway.app.identity.revocations.writeBack()
  expect(await revocations()).toBeGreaterThanOrEqual(3)
  expect(gateway.log()).toContainEqual(expect.objectContaining({ reason: 'revocations_written_back', count: 3 }))
  await until(async () => (await refresh(gateway, all.refreshToken)).status === 401, 'the sessions to end')
  await until(async () => (await rows(gateway, 'SELECT 1 FROM api_keys WHERE revoked_at IS NULL')).length === 0, 'the API key to end')
  for (const { refreshToken } of [one, all]) expect((await refresh(gateway, refreshToken)).body.code).toBe('refresh_invalid')
  for (const { token } of [one, all]) expect(await me(gateway, token)).toBe('token_revoked')
  expect((await call(gateway, '/auth/me', { headers: { 'x-api-key': key } })).status).toBe(401)
  // another session of the user goes on, and a new login works
  expect((await refresh(gateway, kept.refreshToken)).status).toBe(200)
  expect(await me(gateway, (await login(gateway, all)).token)).toBe(200)
  const audited = await rows(gateway, `SELECT event, session_id FROM audit_log WHERE actor = 'failover' ORDER BY id`)
  expect(audited).toContainEqual({ event: 'session_end', session_id: claimsOf(one.token).sid })
  expect(audited.map(({ event }) => event).sort()).toEqual(['api_key_revoke', 'session_end', 'session_end'])
})

it('the new server is asked, also when a read of the server before has just been answered', async () => {
  const { db, clock, logger } = gateway.app.platform
  const sessionId = randomUUID()
  const stored = async () => (await rows(gateway, 'SELECT 1 FROM revocations WHERE session_id = $1', [sessionId])).length
  let release = () => {}
  let answered = () => {}
  const isAnswered = new Promise<void>((resolve) => (answered = resolve))
  const released = new Promise<void>((resolve) => (release = resolve))
  const polled = db.withPlugin({
    transformQuery: ({ node }) => node,
    async transformResult({ result }) {
      answered()
      await released
      return result
    },
  })
  const revocations = createRevocations({ db, polled, clock, logger, broadcasts: [], onKeyRevoked: () => {} })
  await writeBackRevocations(db, [{ sessionId, until: clock.now() + 60_000 }])

  const reading = revocations.poll()
  await isAnswered
  await rows(gateway, 'DELETE FROM revocations WHERE session_id = $1', [sessionId])
  const written = revocations.writeBack()
  release()
  await Promise.all([reading, written])
  expect(await stored()).toBe(1)
})

it('nothing is written where nothing was lost', async () => {
  const user = await newUser(gateway)
  await logout(gateway, user.token)
  const before = await revocations()
  // what no table can hold stays in memory
  await gateway.app.identity.revocations.announce({ sessionId: 'no UUID', until: Date.now() + 60_000 })
  await gateway.app.identity.revocations.writeBack()
  expect(await revocations()).toBe(before)
})
