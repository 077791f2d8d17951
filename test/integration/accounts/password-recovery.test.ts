import { describe, expect, it } from 'vitest'
import { createLinks } from '../../../src/identity/accounts/links.ts'
import { inTransaction } from '../../../src/platform/db/database.ts'
import { call, login, newUser, OPERATOR, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { metric, startGateway } from '../../support/gateway.ts'
import { mailsTo, tokenOf } from '../../support/mails.ts'
import { forgot, reset, resetMail, resetMails, resetToken } from '../../support/recovery.ts'
import { rows } from '../../support/rows.ts'
import { me, refresh } from '../../support/session.ts'

const NEW_PASSWORD = 'tulips by the river'
const INVALID = { status: 400, body: { code: 'link_invalid' } }

describe.each(['embedded', 'postgres+redis'] as const)('a forgotten password on %s', (stores) => {
  const gateway = useGateway({ stores })
  const account = async ({ id }: TestUser) => (await rows(gateway, 'SELECT * FROM users WHERE id = $1', [id]))[0]
  const audited = (event: string) =>
    rows(
      gateway,
      'SELECT outcome, user_id, ip, request_id FROM audit_log JOIN audit_personal ON event_id = id WHERE event = $1 ORDER BY id',
      [event],
    )
  const canLogIn = async (user: TestUser, password: string) =>
    (await call(gateway, '/auth/login', { body: { login: user.username, password } })).status

  it('is replaced through the mailed link: every session ends, and only the new password works', async () => {
    const user = await newUser(gateway)
    const elsewhere = await login(gateway, user)
    expect(await forgot(gateway, user.email.toUpperCase())).toMatchObject({ status: 202, body: { status: 'accepted' } })
    const mail = await resetMail(gateway, user.email)
    expect(mail.data).toEqual({ url: `http://gateway.test/auth/password/reset#token=${tokenOf(mail)}`, minutes: 30 })
    expect(await me(gateway, user.token)).toBe(200)

    const answer = await reset(gateway, tokenOf(mail), NEW_PASSWORD)
    expect([answer.status, answer.body]).toEqual([204, ''])
    for (const session of [user, elsewhere]) {
      expect(await me(gateway, session.token)).toBe('token_revoked')
      expect((await refresh(gateway, session.refreshToken)).body.code).toBe('refresh_invalid')
    }
    expect([await canLogIn(user, user.password), await canLogIn(user, NEW_PASSWORD)]).toEqual([401, 200])
  })

  it('is mailed to its owner, and is in the audit log and in the metrics', async () => {
    const user = await newUser(gateway)
    const token = await resetToken(gateway, user.email)
    const before = await metric(gateway, 'portcullis_account_events_total', { event: 'password_reset', outcome: 'success' })
    await reset(gateway, token, NEW_PASSWORD)
    expect((await mailsTo(gateway, user.email)).at(-1)).toMatchObject({
      template: 'password_changed',
      data: { at: expect.stringMatching(/^\d{4}-.*Z$/), ip: '127.0.0.1', device: expect.any(String) },
    })
    for (const event of ['password_forgot', 'password_reset'])
      expect((await audited(event)).at(-1)).toEqual({
        outcome: 'success',
        user_id: user.id,
        ip: '127.0.0.1',
        request_id: expect.any(String),
      })
    expect(await metric(gateway, 'portcullis_account_events_total', { event: 'password_reset', outcome: 'success' })).toBe(before + 1)
    expect(await metric(gateway, 'portcullis_account_events_total', { event: 'password_forgot', outcome: 'success' })).toBeGreaterThan(0)
  })

  it('a link is good once, even when it is used ten times at the same moment', async () => {
    const user = await newUser(gateway)
    const token = await resetToken(gateway, user.email)
    const passwords = Array.from({ length: 10 }, (_, i) => `${NEW_PASSWORD} ${i}`)
    const answers = await Promise.all(passwords.map((password) => reset(gateway, token, password)))
    expect(answers.map((a) => a.status).sort()).toEqual([204, ...Array(9).fill(400)])
    expect(answers.filter((a) => a.status === 400).every((a) => a.body.code === 'link_invalid')).toBe(true)
    expect(await canLogIn(user, passwords[answers.findIndex((a) => a.status === 204)]!)).toBe(200)
    expect((await mailsTo(gateway, user.email)).filter((m) => m.template === 'password_changed')).toHaveLength(1)
    expect(await reset(gateway, token, NEW_PASSWORD)).toMatchObject(INVALID)
  })

  it('a password that is refused does not use the link up', async () => {
    const user = await newUser(gateway)
    const token = await resetToken(gateway, user.email)
    for (const bad of ['short', 'Password2026!', `${user.username}-1`, 'x'.repeat(1025)])
      expect(await reset(gateway, token, bad)).toMatchObject({
        status: 422,
        body: { code: 'validation_failed', errors: [{ field: 'new_password' }] },
      })
    expect(await me(gateway, user.token)).toBe(200)
    expect((await reset(gateway, token, NEW_PASSWORD)).status).toBe(204)
  })

  it('a second link leaves the first valid; when one of them is used, both end', async () => {
    const user = await newUser(gateway)
    const first = await resetToken(gateway, user.email)
    const second = await resetToken(gateway, user.email, 2)
    expect((await reset(gateway, first, NEW_PASSWORD)).status).toBe(204)
    for (const token of [first, second]) expect(await reset(gateway, token, NEW_PASSWORD)).toMatchObject(INVALID)
  })

  it('of more than five links the oldest ends', async () => {
    const user = await newUser(gateway)
    const tokens = []
    for (let i = 1; i <= 5; i++) tokens.push(await resetToken(gateway, user.email, i))
    const { db, config } = gateway.app.platform
    const asked = { user, purpose: 'reset_password', ttlSeconds: 600, sessionId: null, device: null } as const
    await inTransaction(db, (trx) => createLinks(config).issue(trx, asked))
    expect(await reset(gateway, tokens[0]!, NEW_PASSWORD)).toMatchObject(INVALID)
    expect((await reset(gateway, tokens[1]!, NEW_PASSWORD)).status).toBe(204)
  })

  it('a password that has to be changed is not kept by way of a link', async () => {
    const user = await newUser(gateway)
    await rows(gateway, 'UPDATE users SET password_must_change = true WHERE id = $1', [user.id])
    const token = await resetToken(gateway, user.email)
    expect((await reset(gateway, token, user.password)).body.errors).toEqual([
      { field: 'new_password', code: 'same_as_current', detail: 'must differ from the current password' },
    ])
    expect((await reset(gateway, token, NEW_PASSWORD)).status).toBe(204)
  })

  it('a link expires after half an hour', async () => {
    const user = await newUser(gateway)
    const token = await resetToken(gateway, user.email)
    const [{ minutes }] = await rows(
      gateway,
      'SELECT round(extract(epoch FROM expires_at - created_at) / 60)::int AS minutes FROM links WHERE user_id = $1 AND purpose = $2',
      [user.id, 'reset_password'],
    )
    expect(minutes).toBe(30)
    await rows(gateway, `UPDATE links SET expires_at = clock_timestamp() - interval '1 second' WHERE user_id = $1`, [user.id])
    expect(await reset(gateway, token, NEW_PASSWORD)).toMatchObject(INVALID)
    expect(await canLogIn(user, user.password)).toBe(200)
  })

  it.each<[string, (user: TestUser) => Promise<unknown>]>([
    [
      'the password was changed',
      ({ token, password }) =>
        call(gateway, '/auth/password/change', { token, body: { current_password: password, new_password: 'geese on the lake' } }),
    ],
    ['all sessions were ended', ({ token }) => call(gateway, '/auth/logout-all', { method: 'POST', token })],
    [
      'the address was changed',
      ({ token, password, email }) =>
        call(gateway, '/auth/me', { method: 'PATCH', token, body: { email: `new.${email}`, current_password: password } }),
    ],
    ['the user was disabled', ({ username }) => gateway.app.identity.administration.disable(username, OPERATOR)],
  ])('a link from before %s is dead', async (_, happens) => {
    const user = await newUser(gateway)
    const token = await resetToken(gateway, user.email)
    await happens(user)
    const before = await account(user)
    expect(await reset(gateway, token, NEW_PASSWORD)).toMatchObject(INVALID)
    expect(await account(user)).toEqual(before)
  })

  it('ends the API keys, unless a user with a proven address keeps them', async () => {
    const enter = async (proven: boolean, keep_api_keys?: boolean) => {
      const user = await newUser(gateway)
      if (proven) await rows(gateway, 'UPDATE users SET email_verified_at = now() WHERE id = $1', [user.id])
      const { key } = (await call(gateway, '/auth/api-keys', { body: { name: 'mine' }, token: user.token })).body
      const whose = async () => (await call(gateway, '/auth/sessions', { token: key })).body.code
      expect(await whose()).toBe('forbidden')
      await reset(gateway, await resetToken(gateway, user.email), NEW_PASSWORD, keep_api_keys)
      return whose()
    }
    for (const [proven, keeps] of [[false], [false, false], [false, true], [true], [true, false]] as const)
      expect(await enter(proven, keeps)).toBe('token_revoked')
    expect(await enter(true, true)).toBe('forbidden')
  })

  it('a disabled user gets no link', async () => {
    const user = await newUser(gateway)
    await gateway.app.identity.administration.disable(user.username, OPERATOR)
    expect((await forgot(gateway, user.email)).status).toBe(202)
    // the work for one address follows that for another
    await resetToken(gateway, (await newUser(gateway)).email)
    expect(await resetMails(gateway, user.email)).toEqual([])
    expect(await audited('password_forgot')).toContainEqual(expect.objectContaining({ outcome: 'not_found', user_id: user.id }))
  })

  it('opening the link proves the address that it went to', async () => {
    const user = await newUser(gateway)
    expect((await account(user)).email_verified_at).toBeNull()
    await reset(gateway, await resetToken(gateway, user.email), NEW_PASSWORD)
    const { email_verified_at } = await account(user)
    expect(email_verified_at).toBeInstanceOf(Date)
    await reset(gateway, await resetToken(gateway, user.email), `${NEW_PASSWORD}!`)
    expect((await account(user)).email_verified_at).toEqual(email_verified_at)
  })

  it('a password that had to be changed has been; what is left of a second factor stays, and no session is opened', async () => {
    const user = await newUser(gateway)
    const proven = 'password_must_change = true, mfa_enabled = true, email_verified_at = now()'
    await rows(gateway, `UPDATE users SET ${proven} WHERE id = $1`, [user.id])
    await rows(
      gateway,
      `INSERT INTO totp_factors (id, user_id, secret_sealed, created_at, confirmed_at) VALUES (gen_random_uuid(), $1, 'sealed', now(), now())`,
      [user.id],
    )
    expect((await reset(gateway, await resetToken(gateway, user.email), NEW_PASSWORD)).status).toBe(204)
    expect(await account(user)).toMatchObject({ password_must_change: false, mfa_enabled: true })
    expect(await rows(gateway, 'SELECT 1 FROM totp_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL', [user.id])).toHaveLength(1)
    expect(await rows(gateway, 'SELECT 1 FROM sessions WHERE user_id = $1 AND revoked_at IS NULL', [user.id])).toEqual([])
  })

  it('a login that was under way with the old password opens no session after it', async () => {
    const user = await newUser(gateway)
    const token = await resetToken(gateway, user.email)
    const { passwords } = gateway.app.identity
    const { verify } = passwords
    passwords.verify = async (...args) => {
      passwords.verify = verify
      const matches = await verify(...args)
      expect((await reset(gateway, token, NEW_PASSWORD)).status).toBe(204)
      return matches
    }
    expect(await canLogIn(user, user.password)).toBe(401)
  })
})

it('a gateway that stops finishes the mails that were asked for', async () => {
  const gateway = await startGateway()
  const users = await Promise.all([newUser(gateway), newUser(gateway), newUser(gateway)])
  await Promise.all(users.map(({ email }) => forgot(gateway, email)))
  await gateway.close()
  const again = await startGateway({ databaseUrl: gateway.databaseUrl, secretKey: gateway.secretKey })
  const mails = { app: again.app, messages: [...gateway.messages, ...again.messages] }
  for (const { email } of users) expect(await resetMails(mails, email)).toHaveLength(1)
  await again.close()
})
