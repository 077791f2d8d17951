import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { inTransaction } from '../../../src/platform/db/database.ts'
import { sealAll, verify } from '../../support/audit.ts'
import { type Answer, call, login, newUser, newUserWithRoles, proveAddress, type TestUser } from '../../support/client.ts'
import { post } from '../../support/clients.ts'
import { useGateway } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { newKey, withKey } from '../../support/keys.ts'
import { mailsTo } from '../../support/mails.ts'
import { until } from '../../support/processes.ts'
import { dump, rows } from '../../support/rows.ts'
import { claimsOf, me, pollRevocations, refresh } from '../../support/session.ts'

const BY_OPERATOR = { actor: 'command line', context: { ip: null, userAgent: null, requestId: null } }
const ADDRESS = '203.0.113.77'
const AGENT = 'Perelandra/7.1'
/** As the person's own device sends them. */
const AS_PERSON = { 'x-forwarded-for': ADDRESS, 'user-agent': AGENT }

describe.each(['embedded', 'postgres'] as const)('a deleted account on %s', (stores) => {
  let gateway: Gateway
  let admin: TestUser
  beforeAll(async () => {
    // nothing is delivered, so that the mails wait in the database
    const transport = {
      deliver: async (message: { to: string }) => {
        throw new Error(`550 no mailbox ${message.to}`)
      },
      close() {},
    }
    const many = { limit: 1000, windowSeconds: 60 }
    gateway = await startGateway({
      stores,
      transport,
      config: { server: { trustedProxies: ['127.0.0.1/32'] }, limits: { credentials: { recovery: many, address: many } } },
    })
    admin = await newUserWithRoles(gateway, ['admin'])
  })
  afterAll(() => gateway.close())

  /** Somebody of whom there is something in every place that there is. */
  async function newPerson(): Promise<TestUser> {
    const person = await newUser(gateway)
    await proveAddress(gateway, person)
    const { username, password, id } = person
    const entered = await call(gateway, '/auth/login', { headers: AS_PERSON, body: { login: username, password } })
    await call(gateway, '/auth/login', { headers: AS_PERSON, body: { login: username, password: 'not the password' } })
    await call(gateway, '/auth/password/forgot', { headers: AS_PERSON, body: { email: person.email } })
    const forgot = `SELECT 1 FROM audit_log WHERE user_id = $1 AND event = 'password_forgot'`
    await until(async () => (await rows(gateway, forgot, [id])).length > 0, 'what is done after the answer')
    const { key } = await newKey(gateway, { token: entered.body.access_token })
    await post(gateway, '/auth/revoke', { token: key }, AS_PERSON)
    const { db, outbox } = gateway.app.platform
    await inTransaction(db, (trx) =>
      outbox.post(trx, { template: 'new_device', data: { at: '', ip: ADDRESS, device: AGENT }, to: person.email, userId: id }),
    )
    await rows(gateway, `UPDATE outbox SET last_error = '550 no mailbox ' || $2::text WHERE user_id = $1`, [id, person.email])
    for (const [table, columns, values] of [
      ['devices', 'network, user_agent, first_seen_at, last_seen_at', `'203.0.113.0/24', '${AGENT}', now(), now()`],
      ['totp_factors', 'secret_sealed, created_at, confirmed_at', `'x', now(), now()`],
      ['backup_codes', 'code_mac', `'x'`],
      [
        'api_keys',
        'name, hint, key_hash, roles, scopes, created_at',
        `'key of ${username}', 'pk', decode(md5('${id}'), 'hex'), '{}', '{}', now()`,
      ],
    ] as const)
      await rows(gateway, `INSERT INTO ${table} (id, user_id, ${columns}) VALUES (gen_random_uuid(), $1, ${values})`, [id])
    await rows(
      gateway,
      `INSERT INTO pending_registrations (id, username, email, email_canonical, created_at, expires_at) VALUES (gen_random_uuid(), $1, $2, $2, now(), now() + interval '1 hour')`,
      [`${username}-waiting`, person.email],
    )
    return { ...person, token: entered.body.access_token, refreshToken: entered.body.refresh_token }
  }

  const tracesOf = async ({ username }: TestUser) => {
    const all = await dump(gateway)
    // the e-mail address begins with the username
    return [username, ADDRESS, '203.0.113.0/24', AGENT].filter((trace) => all.includes(trace))
  }
  const ways: Record<string, (person: TestUser) => Promise<Answer | undefined>> = {
    'by its owner': ({ token, password }) =>
      call(gateway, '/auth/me', { method: 'DELETE', token, headers: AS_PERSON, body: { current_password: password } }),
    'by an administrator': ({ id }) => call(gateway, `/auth/admin/users/${id}`, { method: 'DELETE', token: admin.token }),
    'by command': async ({ email }) => void (await gateway.app.identity.administration.remove(email, BY_OPERATOR)),
  }
  const events = (id: string) => rows(gateway, 'SELECT * FROM audit_log WHERE user_id = $1 ORDER BY at, id', [id])

  it.each(Object.entries(ways))('%s leaves no trace of the person in any table', async (_, remove) => {
    const person = await newPerson()
    expect(await tracesOf(person)).toEqual([person.username, ADDRESS, '203.0.113.0/24', AGENT])
    expect((await mailsTo(gateway, person.email)).length).toBeGreaterThan(0)
    const before = (await events(person.id)).map(({ batch: _, ...event }) => event)
    const head = await sealAll(gateway)

    const answer = await remove(person)
    if (answer) expect([answer.status, answer.body]).toEqual([204, ''])

    expect(await tracesOf(person)).toEqual([])
    expect(await mailsTo(gateway, person.email)).toEqual([])
    // the earlier rows stay unchanged, and a further row records the deletion
    const after = (await events(person.id)).map(({ batch: _, ...event }) => event)
    expect(after.slice(0, before.length)).toEqual(before)
    expect(after.slice(before.length).map((e) => e.event)).toEqual(['audit_erase', 'user_delete'])
    expect((await verify(gateway, { head })).faults).toEqual([])
    await sealAll(gateway)
    expect((await verify(gateway, { head })).faults).toEqual([])
    const last = after.at(-1)!
    expect(await rows(gateway, 'SELECT 1 FROM audit_personal WHERE event_id = $1', [last.id])).toEqual([])
  })

  it.each(Object.entries(ways))('%s is invalid at once: access token, API key, refresh token, login', async (_, remove) => {
    const person = await newPerson()
    const { key } = await newKey(gateway, person)
    expect([await me(gateway, person.token), await withKey(gateway, '/auth/me', key)]).toEqual([200, 'forbidden'])
    await remove(person)
    expect(await withKey(gateway, '/auth/me', key)).toBe('token_invalid')
    expect(await me(gateway, person.token)).toBe('token_revoked')
    await pollRevocations(gateway)
    expect(await me(gateway, person.token)).toBe('token_revoked')
    expect((await refresh(gateway, person.refreshToken)).body.code).toBe('refresh_invalid')
    const { body } = await call(gateway, '/auth/login', { body: { login: person.username, password: person.password } })
    expect(body.code).toBe('invalid_credentials')
  })

  it('frees its names, and the next user with these names is another user', async () => {
    const person = await newPerson()
    await ways['by an administrator']!(person)
    const { username, email } = person
    // the username is held while access tokens with it are valid
    await rows(gateway, 'UPDATE held_usernames SET held_until = now()')
    const { status, body } = await call(gateway, '/auth/register', { body: { username, email, password: 'correct horse battery' } })
    expect(status).toBe(201)
    expect(body.user.id).not.toBe(person.id)
    expect(await me(gateway, person.token)).toBe('token_revoked')
    expect((await call(gateway, `/auth/admin/audit?user=${body.user.id}`, { token: admin.token })).body.events).toHaveLength(1)
  })

  it('is not there any more for administrators', async () => {
    const person = await newPerson()
    await ways['by an administrator']!(person)
    for (const [method, path] of [
      ['GET', ''],
      ['DELETE', ''],
      ['POST', '/enable'],
      ['GET', '/sessions'],
      ['PUT', '/roles/admin'],
    ] as const)
      expect((await call(gateway, `/auth/admin/users/${person.id}${path}`, { method, token: admin.token })).body.code).toBe('not_found')
    const { body } = await call(gateway, `/auth/admin/audit?user=${person.id}&event=user_delete`, { token: admin.token })
    expect(body.events).toMatchObject([{ actor: `user:${admin.id}`, ip: null, user_agent: null, outcome: 'success' }])
  })

  it('of an administrator takes along where that administrator acted from, too', async () => {
    const gone = await newUserWithRoles(gateway, ['admin'])
    const user = await newUser(gateway)
    await call(gateway, `/auth/admin/users/${user.id}/unlock`, { token: gone.token, headers: AS_PERSON, body: {} })
    expect(await dump(gateway)).toContain(ADDRESS)
    await call(gateway, '/auth/me', { method: 'DELETE', token: gone.token, headers: AS_PERSON, body: {} })
    expect(await dump(gateway)).not.toContain(ADDRESS)
    expect((await events(user.id)).at(-1)).toMatchObject({ event: 'user_unlock', actor: `user:${gone.id}` })
  })
})

describe('DELETE /me', () => {
  const gateway = useGateway()
  const remove = (user: TestUser, body?: unknown) =>
    call(gateway, '/auth/me', { method: 'DELETE', token: user.token, ...(body === undefined ? {} : { body }) })
  /** The session was opened so long ago. */
  const age = (user: TestUser, minutes: number) =>
    rows(gateway, `UPDATE sessions SET auth_time = auth_time - make_interval(mins => $2) WHERE id = $1`, [
      claimsOf(user.token).sid,
      minutes,
    ])
  const older = async (user: TestUser, minutes: number) => {
    await age(user, minutes)
    return { ...user, token: (await refresh(gateway, user.refreshToken)).body.access_token }
  }

  it('asks for nothing within five minutes of the login, and for the password after', async () => {
    expect((await remove(await newUser(gateway))).status).toBe(204)
    expect((await remove(await older(await newUser(gateway), 4), {})).status).toBe(204)
    const stale = await older(await newUser(gateway), 6)
    for (const body of [undefined, {}]) {
      const answer = await remove(stale, body)
      expect([answer.status, answer.body.code]).toEqual([401, 'reauthentication_required'])
      expect(answer.headers.get('www-authenticate')).toBe('Bearer error="insufficient_user_authentication", max_age="300"')
    }
    expect((await remove(stale, { current_password: stale.password })).status).toBe(204)
  })

  it('refuses a wrong password even in a fresh session, and counts it as a failed attempt', async () => {
    const user = await newUser(gateway)
    const before = await metric(gateway, 'portcullis_account_events_total', { event: 'user_delete', outcome: 'invalid_credentials' })
    expect((await remove(user, { current_password: 'not the password' })).body.code).toBe('invalid_credentials')
    expect(await me(gateway, user.token)).toBe(200)
    expect(await metric(gateway, 'portcullis_account_events_total', { event: 'user_delete', outcome: 'invalid_credentials' })).toBe(
      before + 1,
    )
    for (let i = 0; i < 29; i++) await remove(user, { current_password: 'not the password' })
    expect((await remove(user, { current_password: user.password })).body.code).toBe('rate_limited')
  })

  it('deletes whom the token is of, whatever the body says', async () => {
    const [user, other] = [await newUser(gateway), await newUser(gateway)]
    for (const name of ['id', 'user_id', 'username']) expect((await remove(user, { [name]: other.id })).body.code).toBe('validation_failed')
    expect([await me(gateway, user.token), await me(gateway, other.token)]).toEqual([200, 200])
  })

  it('asked many times at once deletes once', async () => {
    const user = await newUser(gateway)
    const answers = await Promise.all(Array.from({ length: 10 }, () => remove(user)))
    expect(answers.filter(({ status }) => status === 204)).toHaveLength(1)
    for (const { status, body } of answers) if (status !== 204) expect(body.code).toBe('token_revoked')
    expect(await rows(gateway, `SELECT 1 FROM audit_log WHERE user_id = $1 AND event = 'user_delete'`, [user.id])).toHaveLength(1)
  })

  it('beside refreshes and logins: whatever comes first, nothing of the account is left', async () => {
    for (let round = 0; round < 10; round++) {
      const user = await newUser(gateway)
      const logIn = () => call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
      const answers = await Promise.all([
        logIn(),
        refresh(gateway, user.refreshToken),
        remove(user),
        refresh(gateway, user.refreshToken),
        logIn(),
      ])
      expect(answers[2]!.status).toBe(204)
      for (const { body } of answers) if (body?.access_token) expect(await me(gateway, body.access_token)).toBe('token_revoked')
      for (const { status } of answers) expect(status).toBeLessThan(500)
      expect(await rows(gateway, 'SELECT 1 FROM users WHERE id = $1', [user.id])).toEqual([])
      expect(await rows(gateway, 'SELECT 1 FROM sessions WHERE user_id = $1', [user.id])).toEqual([])
      await expect(login(gateway, user)).rejects.toThrow('401')
    }
  })
})
