import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, call, login, newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { askForToken, newClient } from '../../support/clients.ts'
import { useGateway } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { newKey, withKey } from '../../support/keys.ts'
import { mailsTo } from '../../support/mails.ts'
import { query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, me, refresh } from '../../support/session.ts'

const AT = { headers: { 'user-agent': 'Admins/1.0' } }

describe.each(['embedded', 'postgres'] as const)('administration on %s', (stores) => {
  let gateway: Gateway
  let admin: TestUser
  beforeAll(async () => {
    gateway = await startGateway({ stores })
    admin = await newUserWithRoles(gateway, ['admin'])
  })
  afterAll(() => gateway.close())

  const ask = (method: string, path: string, body?: unknown): Promise<Answer> =>
    call(gateway, `/auth/admin/${path}`, { method, token: admin.token, ...AT, ...(body === undefined ? {} : { body }) })
  const logIn = (user: { username: string; password: string }) =>
    call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
  /** The newest row that tells of this event and user. */
  const reported = async (event: string, userId: string | null) =>
    (
      await rows(gateway, 'SELECT * FROM audit_log WHERE event = $1 AND user_id IS NOT DISTINCT FROM $2 ORDER BY at DESC', [event, userId])
    )[0]

  describe('a user who is created', () => {
    const person = () => {
      const username = `made${randomBytes(4).toString('hex')}`
      return { username, email: `${username}@example.com` }
    }

    it('gets a password that is shown once, logs in with it, and must change it', async () => {
      const { status, body } = await ask('POST', 'users', { ...person(), roles: ['admin', 'user', 'admin'] })
      expect(status).toBe(201)
      expect(body.user).toMatchObject({ roles: ['admin', 'user'], password_must_change: true, disabled: false, disabled_at: null })
      expect(body.password.length).toBeGreaterThan(20)
      const entered = await logIn({ username: body.user.username, password: body.password })
      expect(entered.body.user.password_must_change).toBe(true)
      const refused = await call(gateway, '/auth/admin/users', { token: entered.body.access_token })
      expect(refused.body.code).toBe('password_change_required')
      expect(await reported('user_create', body.user.id)).toMatchObject({
        actor: `user:${admin.id}`,
        detail: 'admin user',
        outcome: 'success',
      })
    })

    it('with a given password: the answer does not repeat it, and the user must change it, too', async () => {
      const [made, password] = [person(), 'correct horse battery']
      const { status, body } = await ask('POST', 'users', { ...made, password })
      expect([status, body.password, body.user.roles, body.user.password_must_change]).toEqual([201, undefined, ['user'], true])
      expect((await logIn({ ...made, password })).status).toBe(200)
    })

    it.each([
      ['a short password', { password: 'short' }, 422, 'password'],
      ['a role that the configuration does not name', { roles: ['user', 'amdin'] }, 422, 'role'],
      ['what is no e-mail address', { email: 'nowhere' }, 422, 'email'],
      ['what is no username', { username: 'a b' }, 422, 'username'],
    ])('is refused with %s', async (_, over, status, name) => {
      const { body } = await ask('POST', 'users', { ...person(), ...over })
      expect([body.status, body.errors?.[0].field]).toEqual([status, name])
    })

    it('with an unknown role is refused, and the answer lists the known roles', async () => {
      const { body } = await ask('POST', 'users', { ...person(), roles: ['amdin'] })
      expect(body.errors).toEqual([{ field: 'role', code: 'unknown_role', detail: 'must be one of these: admin, user' }])
    })

    it('does not take the name of another; the refusal is counted and written down', async () => {
      const taken = await newUser(gateway)
      const before = await metric(gateway, 'portcullis_account_events_total', { event: 'user_create', outcome: 'username_taken' })
      expect((await ask('POST', 'users', { ...person(), username: taken.username })).body.code).toBe('username_taken')
      expect((await ask('POST', 'users', { ...person(), email: taken.email.toUpperCase() })).body.code).toBe('email_taken')
      expect(await metric(gateway, 'portcullis_account_events_total', { event: 'user_create', outcome: 'username_taken' })).toBe(before + 1)
      expect(await reported('user_create', null)).toMatchObject({ outcome: 'email_taken', actor: `user:${admin.id}` })
    })
  })

  it('a disabled user is out at once, says so, and is in again once enabled', async () => {
    const user = await newUser(gateway)
    const { body } = await ask('POST', `users/${user.id}/disable`)
    expect(body).toMatchObject({ id: user.id, disabled: true, disabled_at: expect.stringMatching(/^\d{4}-/) })
    expect(await me(gateway, user.token)).toBe('token_revoked')
    expect((await refresh(gateway, user.refreshToken)).body.code).toBe('refresh_invalid')
    expect((await logIn(user)).body.code).toBe('invalid_credentials')
    // again: since when stays true
    expect((await ask('POST', `users/${user.id}/disable`)).body.disabled_at).toBe(body.disabled_at)
    expect((await ask('POST', `users/${user.id}/enable`)).body).toMatchObject({ disabled: false, disabled_at: null })
    expect((await logIn(user)).status).toBe(200)
    expect(await reported('user_disable', user.id)).toMatchObject({ actor: `user:${admin.id}`, outcome: 'success' })
    expect(await reported('user_enable', user.id)).toMatchObject({ actor: `user:${admin.id}`, outcome: 'success' })
  })

  it('a forced password change ends every session, and the next one can do nothing else', async () => {
    const user = await newUser(gateway)
    expect((await ask('POST', `users/${user.id}/force-password-change`)).body.password_must_change).toBe(true)
    expect(await me(gateway, user.token)).toBe('token_revoked')
    const { token } = await login(gateway, user)
    expect((await call(gateway, '/auth/me', { method: 'PATCH', token, body: { username: 'another-name' } })).body.code).toBe(
      'password_change_required',
    )
    const change = { current_password: user.password, new_password: 'another horse battery' }
    const changed = await call(gateway, '/auth/password/change', { token, body: change })
    expect(changed.body.user.password_must_change).toBe(false)
    expect(await reported('password_change_force', user.id)).toMatchObject({ actor: `user:${admin.id}` })
  })

  it('sessions are shown and ended, one or all', async () => {
    const user = await newUser(gateway)
    const second = await login(gateway, user)
    const list = async () => (await ask('GET', `users/${user.id}/sessions`)).body.sessions
    const [newest, oldest] = await list()
    expect([newest.id, oldest.id]).toEqual([claimsOf(second.token).sid, claimsOf(user.token).sid])
    expect(Object.keys(newest).sort()).toEqual(['country', 'created_at', 'device', 'expires_at', 'id', 'ip', 'last_used_at', 'mfa'])

    expect((await ask('DELETE', `users/${user.id}/sessions/${oldest.id}`)).status).toBe(204)
    expect([await me(gateway, user.token), await me(gateway, second.token)]).toEqual(['token_revoked', 200])
    expect((await list()).map((s: { id: string }) => s.id)).toEqual([newest.id])
    expect(await reported('session_end', user.id)).toMatchObject({ session_id: oldest.id, actor: `user:${admin.id}` })

    expect((await ask('POST', `users/${user.id}/end-sessions`)).status).toBe(200)
    expect(await me(gateway, second.token)).toBe('token_revoked')
    expect(await list()).toEqual([])
  })

  it('a session is found under its own user alone', async () => {
    const [one, other] = [await newUser(gateway), await newUser(gateway)]
    const { sid } = claimsOf(one.token)
    expect((await ask('DELETE', `users/${other.id}/sessions/${sid}`)).body.code).toBe('not_found')
    expect(await me(gateway, one.token)).toBe(200)
  })

  it('API keys are shown without what opens, and revoked under their own user alone', async () => {
    const [user, other] = [await newUser(gateway), await newUser(gateway)]
    const { id, key } = await newKey(gateway, user)
    const { body } = await ask('GET', `users/${user.id}/api-keys`)
    expect(body.api_keys).toMatchObject([{ id, name: 'ci', roles: ['user'] }])
    expect(JSON.stringify(body)).not.toContain(key)
    // of no session, yet known
    expect(await withKey(gateway, '/auth/me', key)).toBe('forbidden')
    expect((await ask('DELETE', `users/${other.id}/api-keys/${id}`)).body.code).toBe('not_found')
    expect((await ask('DELETE', `users/${user.id}/api-keys/${id}`)).status).toBe(204)
    expect(await withKey(gateway, '/auth/me', key)).toBe('token_revoked')
    expect((await ask('DELETE', `users/${user.id}/api-keys/${id}`)).body.code).toBe('not_found')
    expect((await ask('GET', `users/${user.id}/api-keys`)).body.api_keys).toEqual([])
    expect(
      await rows(gateway, `SELECT outcome, detail FROM audit_log WHERE event = 'api_key_revoke' AND user_id = $1 ORDER BY at`, [user.id]),
    ).toEqual([
      { outcome: 'success', detail: id },
      { outcome: 'not_found', detail: id },
    ])
  })

  it('a role is granted and taken away once, however often it is asked', async () => {
    const user = await newUser(gateway)
    expect((await ask('PUT', `users/${user.id}/roles/admin`)).body.roles).toEqual(['admin', 'user'])
    const granted = await login(gateway, user)
    expect((await ask('PUT', `users/${user.id}/roles/admin`)).body.roles).toEqual(['admin', 'user'])
    // nothing changed, so nothing is outdated
    expect(await me(gateway, granted.token)).toBe(200)
    expect((await ask('DELETE', `users/${user.id}/roles/admin`)).body.roles).toEqual(['user'])
    expect(await me(gateway, granted.token)).toBe('token_revoked')
    expect((await ask('DELETE', `users/${user.id}/roles/admin`)).body.roles).toEqual(['user'])
    expect(await reported('role_grant', user.id)).toMatchObject({ detail: 'admin', actor: `user:${admin.id}` })
    expect(await reported('role_revoke', user.id)).toMatchObject({ detail: 'admin', actor: `user:${admin.id}` })
  })

  it('a role that the configuration does not name is not granted, and can be taken from who has it', async () => {
    const user = await newUserWithRoles(gateway, ['from-before'])
    expect(claimsOf(user.token).roles).toEqual(['from-before', 'user'])
    expect((await ask('PUT', `users/${user.id}/roles/from-nowhere`)).body.errors[0].detail).toBe('must be one of these: admin, user')
    expect((await ask('PUT', `users/${user.id}/roles/constructor`)).body.errors[0].detail).toBe('must be one of these: admin, user')
    expect((await ask('PUT', `users/${user.id}/roles/admin`)).body.roles).toEqual(['admin', 'from-before', 'user'])
    expect((await ask('DELETE', `users/${user.id}/roles/from-before`)).body.roles).toEqual(['admin', 'user'])
  })

  it('a reset removes the factor and its backup codes, ends the sessions, and mails the owner without the address of the admin', async () => {
    const user = await newUser(gateway)
    await rows(gateway, 'UPDATE users SET mfa_enabled = true WHERE id = $1', [user.id])
    await rows(
      gateway,
      `INSERT INTO totp_factors (id, user_id, secret_sealed, created_at, confirmed_at) VALUES (gen_random_uuid(), $1, 'x', now(), now()), (gen_random_uuid(), $1, 'y', now(), null)`,
      [user.id],
    )
    await rows(gateway, `INSERT INTO backup_codes (id, user_id, code_mac) VALUES (gen_random_uuid(), $1, 'x')`, [user.id])
    expect((await ask('POST', `users/${user.id}/reset-factor`)).body.mfa_enabled).toBe(false)
    for (const table of ['totp_factors', 'backup_codes'])
      expect(await rows(gateway, `SELECT 1 FROM ${table} WHERE user_id = $1`, [user.id])).toEqual([])
    expect(await me(gateway, user.token)).toBe('token_revoked')
    const reported = async () => (await mailsTo(gateway, user.email)).filter(({ template }) => template === 'factor_disabled')
    expect(await reported()).toMatchObject([{ data: { ip: null, device: null } }])
    // there is none any more: nothing to tell
    await ask('POST', `users/${user.id}/reset-factor`)
    expect(await reported()).toHaveLength(1)
  })

  it('an account is unlocked by a number that its limits are counted under', async () => {
    const user = await newUser(gateway)
    const unlocks = async () => (await rows(gateway, 'SELECT unlocks FROM users WHERE id = $1', [user.id]))[0].unlocks
    const before = await unlocks()
    expect((await ask('POST', `users/${user.id}/unlock`)).status).toBe(200)
    expect(await unlocks()).toBe(before + 1)
    expect(await me(gateway, user.token)).toBe(200)
    expect(await reported('user_unlock', user.id)).toMatchObject({ actor: `user:${admin.id}` })
  })

  it('signing keys are shown without their private part, and rotated with a row in the log', async () => {
    const list = async () => (await ask('GET', 'keys')).body.keys
    const [old] = await list()
    expect(Object.keys(old).sort()).toEqual(['algorithm', 'created_at', 'kid', 'retired_at', 'signs_from', 'state'])
    const next = (await ask('POST', 'keys/rotate', {})).body
    expect(next.state).toBe('next')
    expect(await reported('key_rotate', null)).toMatchObject({ detail: next.kid, actor: `user:${admin.id}`, outcome: 'success' })
    const { body } = await ask('POST', 'keys/rotate', { now: true })
    // the published key signs, a new one follows, and the old key is gone with its tokens
    expect(body).toMatchObject({ kid: next.kid, state: 'current' })
    expect(await me(gateway, admin.token)).toBe('token_invalid')
    admin = await login(gateway, admin)
    expect((await list()).map((k: { state: string }) => k.state)).toEqual(['current', 'next'])
    expect((await ask('POST', 'keys/rotate', { now: 'yes' })).body.code).toBe('validation_failed')
    expect(await me(gateway, admin.token)).toBe(200)
  })

  it('a signing key is revoked by its kid, with a row in the log; an unknown kid is refused', async () => {
    const revoke = (kid: string) => ask('POST', `keys/${kid}/revoke`)
    const next = (await ask('POST', 'keys/rotate', {})).body
    const signer = gateway.app.identity.keyring.signing().kid
    expect((await revoke(next.kid)).body).toMatchObject({ kid: signer, state: 'current' })
    expect(await reported('key_revoke', null)).toMatchObject({ detail: next.kid, actor: `user:${admin.id}`, outcome: 'success' })
    expect(await me(gateway, admin.token)).toBe(200)

    for (const kid of [next.kid, 'unknown', randomBytes(9).toString('hex')]) {
      expect((await revoke(kid)).body).toMatchObject({ status: 404, code: 'not_found', detail: 'There is no signing key with this kid.' })
      expect(await reported('key_revoke', null)).toMatchObject({ detail: kid, outcome: 'not_found' })
    }

    const successor = (await revoke(signer)).body
    expect(successor).toMatchObject({ state: 'current' })
    expect(successor.kid).not.toBe(signer)
    expect(await me(gateway, admin.token)).toBe('token_invalid')
    admin = await login(gateway, admin)
  })

  it('every act counts once, by its event and outcome', async () => {
    const user = await newUser(gateway)
    const count = (event: string) => metric(gateway, 'portcullis_account_events_total', { event, outcome: 'success' })
    for (const [path, event] of [
      ['disable', 'user_disable'],
      ['enable', 'user_enable'],
      ['unlock', 'user_unlock'],
      ['end-sessions', 'sessions_end'],
      ['force-password-change', 'password_change_force'],
      ['reset-factor', 'factor_reset'],
    ] as const) {
      const before = await count(event)
      await ask('POST', `users/${user.id}/${path}`)
      expect([event, await count(event)]).toEqual([event, before + 1])
    }
  })

  it('the log keeps where an administrator was, and is read in pages and by filter', async () => {
    const user = await newUser(gateway)
    for (const act of ['disable', 'enable', 'unlock']) await ask('POST', `users/${user.id}/${act}`)
    const { body } = await ask('GET', `audit?user=${user.id}&actor=user:${admin.id}`)
    expect(body.events.map((e: { event: string }) => e.event)).toEqual(['user_unlock', 'user_enable', 'user_disable'])
    expect(body.events[0]).toMatchObject({ ip: '127.0.0.1', user_agent: 'Admins/1.0', outcome: 'success' })
    const page = (await ask('GET', `audit?user=${user.id}&limit=2`)).body
    const rest = (await ask('GET', `audit?user=${user.id}&limit=2&cursor=${page.next_cursor}`)).body
    expect([...page.events, ...rest.events].map((e: { event: string }) => e.event)).toEqual([
      'user_unlock',
      'user_enable',
      'user_disable',
      'register',
    ])
    expect(rest.next_cursor).toBe(null)
    const since = encodeURIComponent(body.events[1].at)
    expect((await ask('GET', `audit?user=${user.id}&since=${since}&outcome=success`)).body.events).toHaveLength(2)

    const exported = await fetch(`${gateway.url}/auth/admin/audit/export?user=${user.id}`, {
      headers: { authorization: `Bearer ${admin.token}` },
    })
    expect(exported.headers.get('content-type')).toBe('application/x-ndjson')
    const lines = (await exported.text()).trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line).event)).toEqual(['register', 'user_disable', 'user_enable', 'user_unlock'])
    expect(JSON.parse(lines[3]!)).toEqual(body.events[0])
  })

  it('the log of years that not every database knows is not asked for', async () => {
    const cursor = (at: string) => Buffer.from(`${at} ${admin.id}`).toString('base64url')
    for (const query of [
      'since=9999-12-31T23:59:59-14:00',
      'until=9999-12-31T23:59:59-14:00',
      'since=0000-01-01T00:00:00Z',
      `cursor=${cursor('0000-01-01T00:00:00.000Z')}`,
      `cursor=${cursor('9999-12-31T24:00:00.000Z')}`,
    ])
      expect([query, (await ask('GET', `audit?${query}`)).status]).toEqual([query, 422])
    expect((await ask('GET', 'audit/export?until=9999-12-31T23:59:59-14:00')).status).toBe(422)
  })
})

describe('a change that an administrator began', () => {
  const gateway = useGateway()

  /** Lets the request pass all its checks, and `meanwhile` happen to the admin before it gets its locks. */
  async function overtake(admin: TestUser, work: () => Promise<Answer>, meanwhile: string): Promise<Answer> {
    const other = new pg.Client({ connectionString: gateway.databaseUrl })
    await other.connect()
    try {
      await other.query('BEGIN')
      await other.query('SELECT 1 FROM users WHERE id = $1 FOR UPDATE', [admin.id])
      const answer = work()
      const waiting = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
      await until(async () => (await query(gateway.databaseUrl, waiting)).length > 0, 'the change to wait for the lock')
      await other.query(meanwhile, [admin.id])
      await other.query('COMMIT')
      return await answer
    } finally {
      await other.end()
    }
  }

  const meanwhile: [string, string][] = [
    ['demoted', `UPDATE users SET roles = '{user}', token_epoch = token_epoch + 1 WHERE id = $1`],
    ['disabled', 'UPDATE users SET disabled_at = now(), token_epoch = token_epoch + 1 WHERE id = $1'],
    ['logged out', 'UPDATE sessions SET revoked_at = now() WHERE user_id = $1'],
  ]
  it.each(meanwhile)('before being %s is not committed after', async (_, statement) => {
    const [admin, user] = [await newUserWithRoles(gateway, ['admin']), await newUser(gateway)]
    const client = await newClient(gateway)
    const asks: [string, string, unknown][] = [
      ['POST', `users/${user.id}/disable`, {}],
      ['PUT', `users/${user.id}/roles/admin`, {}],
      ['DELETE', `users/${user.id}`, {}],
      ['POST', 'users', { username: `late${randomBytes(4).toString('hex')}`, email: `${randomBytes(4).toString('hex')}@example.com` }],
      ['POST', 'keys/rotate', { now: true }],
      ['POST', `keys/${gateway.app.identity.keyring.signing().kid}/revoke`, undefined],
      ['POST', 'clients', { name: 'late', roles: ['admin'] }],
      ['POST', `clients/${client.id}/rotate-secret`, undefined],
      ['DELETE', `clients/${client.id}`, undefined],
    ]
    for (const [method, path, body] of asks) {
      const stale = await login(gateway, admin)
      const [count] = await query(gateway.databaseUrl, 'SELECT count(*) FROM users')
      const [key] = await query(gateway.databaseUrl, `SELECT kid FROM signing_keys WHERE state = 'current'`)
      const answer = await overtake(admin, () => call(gateway, `/auth/admin/${path}`, { method, body, token: stale.token }), statement)
      expect([path, answer.body.code]).toEqual([path, 'token_revoked'])
      expect(await query(gateway.databaseUrl, 'SELECT count(*) FROM users')).toEqual([count])
      expect(await query(gateway.databaseUrl, `SELECT kid FROM signing_keys WHERE state = 'current'`)).toEqual([key])
      const [after] = await query(gateway.databaseUrl, 'SELECT roles, disabled_at FROM users WHERE id = $1', [user.id])
      expect(after).toEqual({ roles: ['user'], disabled_at: null })
      expect(await query(gateway.databaseUrl, `SELECT 1 FROM clients WHERE name = 'late'`)).toEqual([])
      expect((await askForToken(gateway, client)).status).toBe(200)
      await query(gateway.databaseUrl, `UPDATE users SET roles = '{admin,user}', disabled_at = NULL WHERE id = $1`, [admin.id])
    }
  })
})

describe('the audit log as a stream', () => {
  const ROWS = 30_000

  it('is read no faster than its reader takes it, and ends when the reader leaves', async () => {
    const gateway = await startGateway()
    const { token } = await newUserWithRoles(gateway, ['admin'])
    await rows(
      gateway,
      `INSERT INTO audit_log (id, at, event, outcome) SELECT gen_random_uuid(), date_trunc('second', now()) + i * interval '1 ms', 'filler', repeat('x', 1200) FROM generate_series(1, ${ROWS}) i`,
    )
    const pages = () => metric(gateway, 'portcullis_db_query_duration_seconds_count', { operation: 'select audit_log' })
    const controller = new AbortController()
    const response = await fetch(`${gateway.url}/auth/admin/audit/export?event=filler`, {
      headers: { authorization: `Bearer ${token}` },
      signal: controller.signal,
    })
    // nobody reads: what is on its way fills the buffers, then the database is asked no more
    let [before, still] = [-1, 0]
    await until(async () => {
      const now = await pages()
      still = now === before ? still + 1 : 0
      before = now
      return now > 0 && still > 20
    }, 'the export to stand still')
    expect(before).toBeLessThan(ROWS / 500 / 2)
    controller.abort()
    await response.text().catch(() => undefined)

    const whole = await fetch(`${gateway.url}/auth/admin/audit/export?event=filler`, { headers: { authorization: `Bearer ${token}` } })
    let lines = 0
    for await (const chunk of whole.body!) for (const byte of chunk) if (byte === 10) lines++
    expect(lines).toBe(ROWS)
    await gateway.close()
  })
})
