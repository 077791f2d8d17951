import pg from 'pg'
import { describe, expect, it } from 'vitest'
import { type Answer, call, newUser, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'

const gateway = useGateway()

const NEXT = 'another horse battery'
const changes: Record<string, (user: TestUser) => Promise<Answer>> = {
  'a new password': (u) =>
    call(gateway, '/auth/password/change', { token: u.token, body: { current_password: u.password, new_password: NEXT } }),
  'a new e-mail address': (u) =>
    call(gateway, '/auth/me', { method: 'PATCH', token: u.token, body: { email: `new.${u.email}`, current_password: u.password } }),
  'a new username': (u) => call(gateway, '/auth/me', { method: 'PATCH', token: u.token, body: { username: `${u.username}-2` } }),
}

/** Lets the change pass all its checks, and `meanwhile` happen before it gets the user's lock. */
async function overtake(user: TestUser, change: () => Promise<Answer>, meanwhile: string) {
  const other = new pg.Client({ connectionString: gateway.databaseUrl })
  await other.connect()
  try {
    await other.query('BEGIN')
    await other.query('SELECT 1 FROM users WHERE id = $1 FOR UPDATE', [user.id])
    const answer = change()
    const waiting = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
    await until(async () => (await query(gateway.databaseUrl, waiting)).length > 0, 'the change to wait for the lock')
    await other.query(meanwhile, [user.id])
    await other.query('COMMIT')
    return await answer
  } finally {
    await other.end()
  }
}

describe.each(Object.entries(changes))('%s that was checked before', (_name, change) => {
  it.each([
    ['the session was revoked', 'UPDATE sessions SET revoked_at = now() WHERE user_id = $1'],
    ['the user was disabled', 'UPDATE users SET disabled_at = now() WHERE id = $1'],
    ['older tokens were outdated', 'UPDATE users SET token_epoch = token_epoch + 1 WHERE id = $1'],
  ])('%s is not committed after', async (_what, meanwhile) => {
    const user = await newUser(gateway)
    const { status, body } = await overtake(user, () => change(user), meanwhile)
    expect([status, body.code]).toEqual([401, 'token_revoked'])
    const [row] = await query<{ username: string; email: string }>(gateway.databaseUrl, 'SELECT username, email FROM users WHERE id = $1', [
      user.id,
    ])
    expect(row).toEqual({ username: user.username, email: user.email })
  })
})

it('an e-mail address is not changed by a password that was changed meanwhile', async () => {
  const user = await newUser(gateway)
  const { status, body } = await overtake(
    user,
    () => changes['a new e-mail address']!(user),
    `UPDATE users SET password_hash = 'another' WHERE id = $1`,
  )
  expect([status, body.code]).toEqual([401, 'invalid_credentials'])
})
