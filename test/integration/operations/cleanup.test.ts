import pg from 'pg'
import { describe, expect, it } from 'vitest'
import { CleanupFailed, createCleanup } from '../../../src/app/cleanup.ts'
import { login, newUser, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { newKey } from '../../support/keys.ts'
import { until } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, logout, refresh } from '../../support/session.ts'

const sid = (session: { token: string }): string => claimsOf(session.token).sid
const age = (gateway: Gateway, table: string, column: string, session: TestUser, by: string) =>
  rows(gateway, `UPDATE ${table} SET ${column} = ${column} - interval '${by}' WHERE ${table === 'sessions' ? 'id' : 'session_id'} = $1`, [
    sid(session),
  ])
const living = async (gateway: Gateway, sessions: TestUser[]) => {
  const found = (await rows(gateway, 'SELECT id FROM sessions')).map((r) => r.id)
  return sessions.map((s) => found.includes(sid(s)))
}

describe.each(['embedded', 'postgres'] as const)('cleanup on %s', (stores) => {
  const gateway = useGateway({ stores })

  it('removes sessions that are expired, and those revoked for longer than they are kept, with their tokens; the living stay', async () => {
    const user = await newUser(gateway)
    const [expired, longGone, justGone] = [await login(gateway, user), await login(gateway, user), await login(gateway, user)]
    await age(gateway, 'sessions', 'expires_at', expired, '31 days')
    for (const session of [longGone, justGone]) await logout(gateway, session.token)
    await age(gateway, 'sessions', 'revoked_at', longGone, '31 days')
    await age(gateway, 'sessions', 'revoked_at', justGone, '29 days')

    expect(await gateway.app.identity.cleanup()).toMatchObject({ sessions: 2 })
    expect(await living(gateway, [user, expired, longGone, justGone])).toEqual([true, false, false, true])
    const tokens = await rows(gateway, 'SELECT session_id FROM refresh_tokens')
    expect(tokens.map((t) => t.session_id).sort()).toEqual([sid(user), sid(justGone)].sort())
    expect((await refresh(gateway, user.refreshToken)).status).toBe(200)
    expect((await refresh(gateway, expired.refreshToken)).body.code).toBe('refresh_invalid')
  })

  it('removes expired tokens of a living session, and not their descendants', async () => {
    const user = await newUser(gateway)
    const { body: second } = await refresh(gateway, user.refreshToken)
    const { body: third } = await refresh(gateway, second.refresh_token)
    const spent = () => rows(gateway, 'SELECT id FROM refresh_tokens WHERE session_id = $1 AND rotated_at IS NOT NULL', [sid(user)])
    await rows(gateway, `UPDATE refresh_tokens SET expires_at = now() - interval '1 s' WHERE session_id = $1 AND rotated_at IS NOT NULL`, [
      sid(user),
    ])
    expect(await spent()).toHaveLength(2)
    expect(await gateway.app.identity.cleanup()).toEqual({ sessions: 0, refreshTokens: 2, auditRows: 0 })
    expect(await spent()).toEqual([])
    expect((await refresh(gateway, third.refresh_token)).status).toBe(200)
  })

  it('removes revocations and counters that are over, and no others', async () => {
    const [old, young] = [await newUser(gateway), await newUser(gateway)]
    for (const { token } of [old, young]) await logout(gateway, token)
    await age(gateway, 'revocations', 'expires_at', old, '1 day')
    await rows(gateway, `INSERT INTO limit_counters VALUES ('over', 1, now() - interval '1 s'), ('counting', 1, now() + interval '1 hour')`)
    await gateway.app.identity.cleanup()
    const left = (await rows(gateway, 'SELECT session_id FROM revocations')).map((r) => r.session_id)
    expect(left).toContain(sid(young))
    expect(left).not.toContain(sid(old))
    expect(await rows(gateway, 'SELECT key FROM limit_counters')).toEqual([{ key: 'counting' }])
  })

  it('removes API keys that are revoked or expired for longer than they are kept, and no others', async () => {
    const user = await newUser(gateway)
    const keys = []
    for (let i = 0; i < 5; i++) keys.push(await newKey(gateway, user))
    const [revoked, justRevoked, expired, justExpired, living] = keys.map((k) => k.id)
    for (const [id, column, days] of [
      [revoked, 'revoked_at', 31],
      [justRevoked, 'revoked_at', 29],
      [expired, 'expires_at', 31],
      [justExpired, 'expires_at', 29],
    ])
      await rows(gateway, `UPDATE api_keys SET ${column} = now() - interval '${days} days' WHERE id = $1`, [id])
    await gateway.app.identity.cleanup()
    const left = (await rows(gateway, 'SELECT id FROM api_keys WHERE user_id = $1', [user.id])).map((r) => r.id)
    expect(left.sort()).toEqual([justRevoked, justExpired, living].sort())
  })

  it('works in batches until nothing is left', async () => {
    const user = await newUser(gateway)
    const sessions = []
    for (let i = 0; i < 7; i++) sessions.push(await login(gateway, user))
    for (const session of sessions) await age(gateway, 'sessions', 'expires_at', session, '31 days')
    const { db, config, metrics, logger, database } = gateway.app.platform
    const needsLock = database.kind === 'postgres'
    const cleanup = createCleanup({ db, needsLock, config: config.auth, removeOldAudit: async () => 0, metrics, logger, batch: 3 })
    const deletions = () => metric(gateway, 'portcullis_db_query_duration_seconds_count', { operation: 'delete sessions' })
    const before = await deletions()
    expect(await cleanup()).toMatchObject({ sessions: 7 })
    expect((await deletions()) - before).toBe(3)
    expect(await living(gateway, [user, ...sessions])).toEqual([true, ...sessions.map(() => false)])
  })

  it('removes all of more rows than a batch holds, of each kind', async () => {
    const user = await newUser(gateway)
    await rows(gateway, `INSERT INTO used_tokens SELECT 'x', n::text, now() - interval '1 day' FROM generate_series(1, 7) n`)
    await rows(gateway, `INSERT INTO limit_counters SELECT 'many ' || n, 1, now() - interval '1 s' FROM generate_series(1, 6) n`)
    await rows(
      gateway,
      `INSERT INTO revocations (id, session_id, expires_at)
         SELECT gen_random_uuid(), gen_random_uuid(), now() - interval '1 day' FROM generate_series(1, 8)`,
    )
    await rows(
      gateway,
      `INSERT INTO devices (id, user_id, first_seen_at, last_seen_at)
         SELECT gen_random_uuid(), $1, now() - interval '200 days', now() - interval '181 days' FROM generate_series(1, 5) n`,
      [user.id],
    )
    const { db, config, metrics, logger, database } = gateway.app.platform
    const needsLock = database.kind === 'postgres'
    const removed = (kind: string) => metric(gateway, 'portcullis_cleanup_deleted_total', { kind })
    const kinds = ['used_tokens', 'limit_counters', 'revocations', 'devices']
    const before = await Promise.all(kinds.map(removed))
    await createCleanup({ db, needsLock, config: config.auth, removeOldAudit: async () => 0, metrics, logger, batch: 3 })()
    const after = await Promise.all(kinds.map(removed))
    expect(after.map((n, i) => n - before[i]!)).toEqual([7, 6, 8, 5])
    for (const [table, column] of [
      ['used_tokens', 'expires_at'],
      ['limit_counters', 'resets_at'],
      ['revocations', 'expires_at'],
    ])
      expect(await rows(gateway, `SELECT * FROM ${table} WHERE ${column} < now()`)).toEqual([])
  })

  it('a step that fails is named and counted, and the steps after it run', async () => {
    const user = await newUser(gateway)
    const old = await login(gateway, user)
    await age(gateway, 'sessions', 'expires_at', old, '31 days')
    await rows(gateway, `INSERT INTO used_tokens VALUES ('x', 'stays', now() - interval '1 day')`)
    await rows(gateway, `INSERT INTO limit_counters VALUES ('goes', 1, now() - interval '1 s')`)
    await rows(gateway, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no deletions today'; END $$`)
    await rows(gateway, 'CREATE TRIGGER refuse BEFORE DELETE ON used_tokens FOR EACH ROW EXECUTE FUNCTION refuse()')
    const last = await metric(gateway, 'portcullis_cleanup_last_success_timestamp_seconds')
    const failed = await gateway.app.identity.cleanup().catch((error: unknown) => error)
    expect(failed).toBeInstanceOf(CleanupFailed)
    expect(failed).toMatchObject({
      message: 'the cleanup could not finish: used_tokens: P0001 no deletions today',
      result: { sessions: 1, auditRows: 0 },
    })
    expect(await rows(gateway, `SELECT key FROM limit_counters WHERE key = 'goes'`)).toEqual([])
    expect(await metric(gateway, 'portcullis_cleanup_failures_total', { kind: 'used_tokens' })).toBe(1)
    expect(await metric(gateway, 'portcullis_cleanup_last_success_timestamp_seconds')).toBe(last)
    expect(gateway.log().find((l) => l.reason === 'cleanup_failed')).toMatchObject({
      kind: 'used_tokens',
      cause: 'P0001 no deletions today',
    })

    await rows(gateway, 'DROP TRIGGER refuse ON used_tokens')
    await gateway.app.identity.cleanup()
    expect(await rows(gateway, `SELECT jti FROM used_tokens WHERE jti = 'stays'`)).toEqual([])
    expect(await metric(gateway, 'portcullis_cleanup_last_success_timestamp_seconds')).toBeGreaterThan(0)
  })

  it('has metrics for the removed rows, the number of tokens, and the time of the last success', async () => {
    const user = await newUser(gateway)
    const old = await login(gateway, user)
    await age(gateway, 'sessions', 'expires_at', old, '31 days')
    const removed = () => metric(gateway, 'portcullis_cleanup_deleted_total', { kind: 'sessions' })
    const before = await removed()
    await gateway.app.identity.cleanup()
    expect(await removed()).toBe(before + 1)
    const [{ n, now }] = await rows(
      gateway,
      'SELECT (SELECT count(*) FROM refresh_tokens)::int AS n, extract(epoch FROM now())::float8 AS now',
    )
    expect(await metric(gateway, 'portcullis_refresh_tokens_rows')).toBe(n)
    const last = await metric(gateway, 'portcullis_cleanup_last_success_timestamp_seconds')
    expect(Math.abs(Number(now) - last)).toBeLessThan(3600)
  })
})

describe('cleanup of several replicas', () => {
  it('is done by one at a time', async () => {
    const gateway = await startGateway()
    const old = await newUser(gateway)
    await age(gateway, 'sessions', 'expires_at', old, '31 days')
    const other = new pg.Client({ connectionString: gateway.databaseUrl })
    await other.connect()
    await other.query('SELECT pg_advisory_lock(7610003)')
    expect(await gateway.app.identity.cleanup()).toBeNull()
    expect(await living(gateway, [old])).toEqual([true])
    await other.end()
    // the lock ends with its connection, which Postgres may notice a moment later
    expect(await until(() => gateway.app.identity.cleanup(), 'the lock')).toMatchObject({ sessions: 1 })
    await gateway.close()
  })

  it('gives the lock back: the next run does its work', async () => {
    const gateway = await startGateway()
    for (let i = 0; i < 12; i++) expect(await gateway.app.identity.cleanup()).toEqual({ sessions: 0, refreshTokens: 0, auditRows: 0 })
    await gateway.close()
  })

  it('leaves rows that another transaction holds to the next run, and does not wait for them', async () => {
    const gateway = await startGateway()
    const [held, free] = [await newUser(gateway), await newUser(gateway)]
    for (const session of [held, free]) await age(gateway, 'sessions', 'expires_at', session, '31 days')
    const other = new pg.Client({ connectionString: gateway.databaseUrl })
    await other.connect()
    await other.query('BEGIN')
    await other.query('SELECT id FROM sessions WHERE id = $1 FOR UPDATE', [sid(held)])
    expect(await gateway.app.identity.cleanup()).toMatchObject({ sessions: 1 })
    expect(await living(gateway, [held, free])).toEqual([true, false])
    await other.query('COMMIT')
    await other.end()
    expect(await gateway.app.identity.cleanup()).toMatchObject({ sessions: 1 })
    await gateway.close()
  })

  it('a batch that takes too long is done in smaller batches', async () => {
    const gateway = await startGateway()
    await rows(gateway, `INSERT INTO used_tokens SELECT 'x', n::text, now() - interval '1 day' FROM generate_series(1, 7) n`)
    // as a server does whose statement_timeout is reached: here with more than two rows in one statement
    await rows(
      gateway,
      `CREATE FUNCTION too_many() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF (SELECT count(*) FROM gone) > 2 THEN RAISE 'canceling statement' USING ERRCODE = '57014'; END IF; RETURN NULL; END $$`,
    )
    await rows(
      gateway,
      `CREATE TRIGGER too_many AFTER DELETE ON used_tokens REFERENCING OLD TABLE AS gone
         FOR EACH STATEMENT EXECUTE FUNCTION too_many()`,
    )
    await gateway.app.identity.cleanup()
    expect(await rows(gateway, 'SELECT jti FROM used_tokens')).toEqual([])
    await gateway.close()
  })

  it('needs no more than the one connection of a pool of one', async () => {
    const gateway = await startGateway({ config: { database: { poolSize: 1 } } })
    expect(await gateway.app.identity.cleanup()).toEqual({ sessions: 0, refreshTokens: 0, auditRows: 0 })
    await gateway.close()
  })
})
