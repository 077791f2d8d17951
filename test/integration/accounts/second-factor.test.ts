import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, call, login, newUser, newUserWithRoles, proveAddress } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { mailsTo } from '../../support/mails.ts'
import { dump, rows } from '../../support/rows.ts'
import { claimsOf, me, refresh } from '../../support/session.ts'
import { codeOf, enrol, type FactorUser, mfaToken, newFactorUser } from '../../support/totp.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let gateway: Gateway
let upstream: Upstream
beforeAll(async () => {
  upstream = await startUpstream()
  const to = (name: string, access: unknown) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], access })
  gateway = await startGateway({
    config: {
      auth: {
        mfa: { issuer: 'Example', requiredForRoles: ['auditor'] },
        roles: { user: {}, auditor: {}, chief: { inherits: ['auditor'] } },
      },
      limits: { credentials: { mfa: { limit: 5, windowSeconds: 900 } } },
    },
    routes: [
      to('plain', 'authenticated'),
      to('vault', { roles: ['user'], mfa: true }),
      to('fresh', { roles: ['user'], maxAuthAgeSeconds: 300 }),
      to('fresh-vault', { roles: ['user'], mfa: true, maxAuthAgeSeconds: 300 }),
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})

const finish = (mfa_token: string, code: string, more: object = {}) =>
  call(gateway, '/auth/login/mfa', { body: { mfa_token, code, ...more } })
const audited = (userId: string) =>
  rows<{ event: string; outcome: string }>(gateway, 'SELECT event, outcome FROM audit_log WHERE user_id = $1 ORDER BY at, id', [userId])

describe('setting a factor up', () => {
  it('needs the password, shows secret, URI and QR code, and takes the first code to be in force', async () => {
    const user = await newUser(gateway)
    await proveAddress(gateway, user)
    const wrong = await call(gateway, '/auth/mfa/totp', { body: { password: 'not the password' }, token: user.token })
    expect(wrong).toMatchObject({ status: 401, body: { code: 'invalid_credentials' } })

    const { status, body } = await call(gateway, '/auth/mfa/totp', { body: { password: user.password }, token: user.token })
    expect(status).toBe(200)
    expect(body.otpauth_uri).toBe(
      `otpauth://totp/Example:${user.username}?issuer=Example&secret=${body.secret}&algorithm=SHA1&digits=6&period=30`,
    )
    expect(body.qr_svg).toContain('<svg')
    // not in force yet
    expect((await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })).body.access_token).toBeTruthy()

    const confirm = (code: string) => call(gateway, '/auth/mfa/totp/confirm', { body: { code }, token: user.token })
    expect(await confirm(codeOf(body.secret, 5))).toMatchObject({ status: 401, body: { code: 'invalid_code' } })
    const confirmed = await confirm(codeOf(body.secret))
    expect(confirmed.status).toBe(200)
    expect(new Set(confirmed.body.backup_codes).size).toBe(10)
    expect((await call(gateway, '/auth/me', { token: user.token })).body.mfa_enabled).toBe(true)
    expect((await mailsTo(gateway, user.email)).map((mail) => mail.template)).toContain('factor_enabled')
    expect(await audited(user.id)).toContainEqual({ event: 'mfa_confirm', outcome: 'success' })
  })

  it('ends every other session, and the next access token of this session names the factor', async () => {
    const [user, other] = [await newUser(gateway), { token: '' }]
    Object.assign(other, await login(gateway, user))
    const { token } = await enrol(gateway, user)
    expect(await me(gateway, other.token)).toBe('token_revoked')
    expect(claimsOf(user.token).amr).toEqual(['pwd'])
    expect(claimsOf(token).amr).toEqual(['pwd', 'otp', 'mfa'])
  })

  it('never replaces a confirmed factor', async () => {
    const user = await newFactorUser(gateway)
    const again = await call(gateway, '/auth/mfa/totp', { body: { password: user.password }, token: user.token })
    expect(again).toMatchObject({ status: 409, body: { code: 'mfa_already_enabled' } })
  })

  it('begun twice, only the second secret counts; begun long ago, none does', async () => {
    const user = await newUser(gateway)
    const begin = async () => (await call(gateway, '/auth/mfa/totp', { body: { password: user.password }, token: user.token })).body.secret
    const confirm = (secret: string) => call(gateway, '/auth/mfa/totp/confirm', { body: { code: codeOf(secret) }, token: user.token })
    const [first, second] = [await begin(), await begin()]
    expect((await confirm(first)).body.code).toBe('invalid_code')
    await rows(gateway, `UPDATE totp_factors SET created_at = created_at - interval '16 minutes' WHERE user_id = $1`, [user.id])
    expect((await confirm(second)).body.code).toBe('mfa_not_enabled')
    expect((await confirm(await begin())).status).toBe(200)
  })

  it('confirmed by many at once: one gets the codes', async () => {
    const user = await newUser(gateway)
    const { secret } = (await call(gateway, '/auth/mfa/totp', { body: { password: user.password }, token: user.token })).body
    const confirm = () => call(gateway, '/auth/mfa/totp/confirm', { body: { code: codeOf(secret) }, token: user.token })
    const answers = await Promise.all([confirm(), confirm(), confirm(), confirm()])
    expect(answers.map((a) => a.status).sort()).toEqual([200, 409, 409, 409])
  })
})

describe('a login with a factor', () => {
  it('is answered with a token that opens nothing, and finished by the code', async () => {
    const user = await newFactorUser(gateway)
    const { body } = await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
    expect(body).toEqual({ mfa_required: true, mfa_token: expect.any(String), methods: ['totp', 'backup_code'] })
    expect(await me(gateway, body.mfa_token)).toBe('token_invalid')
    const done = await finish(body.mfa_token, codeOf(user.secret))
    expect(done.status).toBe(200)
    expect(done.body).toMatchObject({
      token_type: 'Bearer',
      device_token: expect.stringMatching(/^dt_/),
      user: { id: user.id, mfa_enabled: true },
    })
    expect(claimsOf(done.body.access_token).amr).toEqual(['pwd', 'otp', 'mfa'])
    expect((await audited(user.id)).slice(-2)).toEqual([
      { event: 'login', outcome: 'mfa_required' },
      { event: 'login', outcome: 'success' },
    ])
  })

  it('a code opens one session, however many try it at once, with one token or with several', async () => {
    const user = await newFactorUser(gateway)
    const sessions = () => rows(gateway, 'SELECT id FROM sessions WHERE user_id = $1', [user.id])
    const before = (await sessions()).length
    const tokens = await Promise.all(Array.from({ length: 5 }, () => mfaToken(gateway, user)))
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => finish(tokens[i % 5]!, codeOf(user.secret))))
    expect(answers.filter((a) => a.status === 200)).toHaveLength(1)
    expect(await sessions()).toHaveLength(before + 1)
    for (const { status, body } of answers)
      if (status !== 200) expect(['invalid_code', 'mfa_token_invalid', 'rate_limited']).toContain(body.code)
  })

  it('its token is good for one login, for five minutes, and not after every session was ended', async () => {
    const user = await newFactorUser(gateway)
    const token = await mfaToken(gateway, user)
    expect((await finish(token, codeOf(user.secret))).status).toBe(200)
    expect((await finish(token, user.backupCodes[0]!)).body.code).toBe('mfa_token_invalid')

    const late = await mfaToken(gateway, user)
    gateway.clock.advance(301_000)
    expect((await finish(late, user.backupCodes[0]!)).body.code).toBe('mfa_token_invalid')
    gateway.clock.advance(-301_000)

    const half = await mfaToken(gateway, user)
    await call(gateway, '/auth/logout-all', { method: 'POST', token: user.token })
    expect((await finish(half, user.backupCodes[0]!)).body.code).toBe('mfa_token_invalid')
  })

  it('a code that was used, or an older one, is refused', async () => {
    const user = await newFactorUser(gateway)
    expect((await finish(await mfaToken(gateway, user), codeOf(user.secret, 1))).status).toBe(200)
    for (const steps of [1, 0, -1])
      expect((await finish(await mfaToken(gateway, user), codeOf(user.secret, steps))).body.code).toBe('invalid_code')
  })

  it('wrong codes are counted before they are looked at: of fifty at once five are judged, and the right one has to wait as well', async () => {
    const user = await newFactorUser(gateway)
    // a stranger: another network, no device token
    await rows(gateway, 'DELETE FROM devices WHERE user_id = $1', [user.id])
    const token = await mfaToken(gateway, user)
    const answers = await Promise.all(Array.from({ length: 50 }, () => finish(token, '000000')))
    expect(answers.filter((a) => a.status === 401)).toHaveLength(5)
    const refused = answers.find((a) => a.status === 429)!
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(600)
    expect((await finish(token, codeOf(user.secret))).status).toBe(429)
    expect(await audited(user.id)).toContainEqual({ event: 'login', outcome: 'invalid_code' })
    expect(await metric(gateway, 'portcullis_mfa_total', { outcome: 'invalid_code' })).toBeGreaterThanOrEqual(5)
  })

  it('right codes do not count as failed attempts', async () => {
    const user = await newFactorUser(gateway)
    for (const code of user.backupCodes) expect((await finish(await mfaToken(gateway, user), code)).status).toBe(200)
  })
})

describe('backup codes', () => {
  it('each opens one session, in either case and with a space or a hyphen, and the owner is notified how many are left', async () => {
    const user = await newFactorUser(gateway)
    await proveAddress(gateway, user)
    const [code] = user.backupCodes as [string]
    expect((await finish(await mfaToken(gateway, user), code.toUpperCase().replace('-', ' '))).status).toBe(200)
    expect((await finish(await mfaToken(gateway, user), code)).body.code).toBe('invalid_code')
    const mail = (await mailsTo(gateway, user.email)).find(({ template }) => template === 'backup_code_used')
    expect(mail?.data).toMatchObject({ left: 9 })
    expect((await call(gateway, '/auth/mfa', { token: user.token })).body).toEqual({ totp: true, passkeys: 0, backup_codes_left: 9 })
  })

  it('one code tried at once by many opens one session', async () => {
    const user = await newFactorUser(gateway)
    const tokens = await Promise.all(Array.from({ length: 5 }, () => mfaToken(gateway, user)))
    const answers = await Promise.all(tokens.map((token) => finish(token, user.backupCodes[0]!)))
    expect(answers.filter((a) => a.status === 200)).toHaveLength(1)
  })

  it('are replaced after the password or a code; the old codes are invalid', async () => {
    const user = await newFactorUser(gateway)
    await proveAddress(gateway, user)
    const renew = (body: object) => call(gateway, '/auth/mfa/backup-codes', { body, token: user.token })
    expect((await renew({ password: 'not the password' })).body.code).toBe('invalid_credentials')
    const byPassword = await renew({ password: user.password })
    expect(byPassword.body.backup_codes).toHaveLength(10)
    expect((await finish(await mfaToken(gateway, user), user.backupCodes[0]!)).body.code).toBe('invalid_code')
    const byCode = await renew({ code: byPassword.body.backup_codes[0] })
    expect(byCode.status).toBe(200)
    // the owner is notified of every use of a backup code
    expect((await mailsTo(gateway, user.email)).map((mail) => mail.template)).toContain('backup_code_used')
    expect((await finish(await mfaToken(gateway, user), byCode.body.backup_codes[3])).status).toBe(200)
  })
})

describe('taking the factor away', () => {
  it('needs a code, or a login with a factor just now; the password alone is not enough', async () => {
    const user = await newFactorUser(gateway)
    await proveAddress(gateway, user)
    const disable = (body?: object, token = user.token) => call(gateway, '/auth/mfa/totp', { method: 'DELETE', body, token })
    gateway.clock.advance(400_000)
    try {
      expect(await disable()).toMatchObject({ status: 401, body: { code: 'reauthentication_required' } })
      expect(await disable({ password: user.password })).toMatchObject({ status: 401, body: { code: 'reauthentication_required' } })
      expect((await disable({ password: 'not the password', code: user.backupCodes[0] })).body.code).toBe('invalid_credentials')
      expect((await disable({ code: '000000' })).body.code).toBe('invalid_code')
    } finally {
      gateway.clock.advance(-400_000)
    }
    const fresh = (await finish(await mfaToken(gateway, user), codeOf(user.secret))).body
    expect((await disable(undefined, fresh.access_token)).status).toBe(204)
    // every token said that there was a factor
    expect(await me(gateway, fresh.access_token)).toBe('token_revoked')
    const again = (await refresh(gateway, fresh.refresh_token)).body.access_token
    expect(claimsOf(again).amr).toEqual(['pwd'])
    expect((await call(gateway, '/auth/me', { token: again })).body.mfa_enabled).toBe(false)
    expect(await me(gateway, user.token)).toBe('token_revoked')
    expect((await login(gateway, user)).token).toBeTruthy()
    expect((await mailsTo(gateway, user.email)).map((mail) => mail.template)).toContain('factor_disabled')
    expect((await disable({ password: user.password }, again)).body.code).toBe('mfa_not_enabled')
  })
})

describe('a role or a route that asks for a factor', () => {
  const get = async (path: string, token: string) => {
    const { status, body, headers } = await call(gateway, path, { token })
    return status === 200 ? 200 : { status, code: body.code, challenge: headers.get('www-authenticate'), detail: body.detail }
  }

  it('refuses a session without one and says what to do; with one it opens', async () => {
    const user = await newUser(gateway)
    expect(await get('/plain', user.token)).toBe(200)
    expect(await get('/vault', user.token)).toMatchObject({
      status: 403,
      code: 'mfa_required',
      detail: 'This needs a second factor: set it up with POST /auth/mfa/totp, then log in with it.',
    })
    const { token } = await enrol(gateway, user)
    expect(await get('/vault', token)).toBe(200)
  })

  it.each([['auditor'], ['chief']])('%s owes one everywhere but where it is set up', async (role) => {
    const user = await newUserWithRoles(gateway, [role])
    for (const path of ['/plain', '/auth/sessions'])
      expect(await get(path, user.token)).toMatchObject({ status: 403, code: 'mfa_required' })
    expect(await get('/auth/me', user.token)).toBe(200)
    const { token } = await enrol(gateway, user)
    expect(await get('/plain', token)).toBe(200)
  })

  it('a route that asks for a fresh one gets it by showing the credentials again, in a new session', async () => {
    const user = await newFactorUser(gateway)
    expect(await get('/fresh-vault', user.token)).toBe(200)
    gateway.clock.advance(301_000)
    try {
      expect(await get('/fresh', user.token)).toEqual({
        status: 401,
        code: 'reauthentication_required',
        challenge: 'Bearer error="insufficient_user_authentication", max_age="300"',
        detail: 'Show your credentials again: POST /auth/reauthenticate.',
      })
      const again = (body: object) => call(gateway, '/auth/reauthenticate', { body, token: user.token })
      expect(await again({ password: user.password })).toMatchObject({
        status: 422,
        body: { errors: [{ field: 'code', code: 'required' }] },
      })
      expect((await again({ password: user.password, code: '000000' })).body.code).toBe('invalid_code')
    } finally {
      gateway.clock.advance(-301_000)
    }
    const { status, body } = await call(gateway, '/auth/reauthenticate', {
      body: { password: user.password, code: codeOf(user.secret) },
      token: user.token,
    })
    expect(status).toBe(200)
    expect(claimsOf(body.access_token).sid).not.toBe(claimsOf(user.token).sid)
    expect(await get('/fresh-vault', body.access_token)).toBe(200)
    expect(await me(gateway, user.token)).toBe('token_revoked')
  })

  it('is not given a fresh one by a new password, which shows no code', async () => {
    const user = await newFactorUser(gateway)
    await rows(gateway, `UPDATE sessions SET auth_time = auth_time - interval '1 hour' WHERE user_id = $1`, [user.id])
    const { body } = await call(gateway, '/auth/password/change', {
      body: { current_password: user.password, new_password: 'quite another zebra' },
      token: user.token,
    })
    expect(claimsOf(body.access_token).amr).toEqual(['pwd', 'otp', 'mfa'])
    expect(await get('/vault', body.access_token)).toBe(200)
    expect(await get('/fresh-vault', body.access_token)).toMatchObject({ code: 'reauthentication_required' })
    // a password alone is as fresh as it is shown
    const plain = await newUser(gateway)
    await rows(gateway, `UPDATE sessions SET auth_time = auth_time - interval '1 hour' WHERE user_id = $1`, [plain.id])
    const changed = await call(gateway, '/auth/password/change', {
      body: { current_password: plain.password, new_password: 'quite another zebra' },
      token: plain.token,
    })
    expect(await get('/fresh', changed.body.access_token)).toBe(200)
  })
})

describe('who has a factor', () => {
  it.each<[string, (token: string, user: FactorUser) => Promise<Answer>]>([
    [
      'a new address',
      (token, { password, username }) =>
        call(gateway, '/auth/me', { method: 'PATCH', body: { email: `new-${username}@example.com`, current_password: password }, token }),
    ],
    ['an API key', (token) => call(gateway, '/auth/api-keys', { body: { name: 'x' }, token })],
  ])('shows it again for %s, unless it was shown just now', async (_, change) => {
    const user = await newFactorUser(gateway)
    gateway.clock.advance(301_000)
    const stale = await change(user.token, user)
    gateway.clock.advance(-301_000)
    expect(stale).toMatchObject({ status: 401, body: { code: 'reauthentication_required' } })
    expect(stale.headers.get('www-authenticate')).toBe('Bearer error="insufficient_user_authentication", max_age="300"')
    const fresh = (await finish(await mfaToken(gateway, user), codeOf(user.secret))).body.access_token
    expect((await change(fresh, user)).status).toBeLessThan(300)
  })
})

describe('at rest', () => {
  it('neither a seed nor a backup code can be read in the database', async () => {
    const user = await newFactorUser(gateway)
    const text = await dump(gateway)
    for (const secret of [user.secret, ...user.backupCodes, ...user.backupCodes.map((code) => code.replace('-', ''))])
      expect(text.includes(secret)).toBe(false)
  })

  it('a seed moved to another user opens nothing, and skips nothing: 503', async () => {
    const [ann, bob] = [await newFactorUser(gateway), await newFactorUser(gateway)]
    await rows(
      gateway,
      `UPDATE totp_factors SET secret_sealed = (SELECT secret_sealed FROM totp_factors WHERE user_id = $1) WHERE user_id = $2`,
      [ann.id, bob.id],
    )
    expect(await finish(await mfaToken(gateway, bob), codeOf(ann.secret))).toMatchObject({ status: 503, body: { code: 'unavailable' } })
  })

  it('under a new secret key seeds are sealed again at the start, and codes of both kinds still open', async () => {
    const first = await startGateway()
    const user = await newFactorUser(first)
    const { databaseUrl, secretKey: old } = first
    await first.close()
    const next = randomBytes(32).toString('base64')
    const second = await startGateway({ databaseUrl, secretKey: next, env: { PORTCULLIS_SECRET_KEY_PREVIOUS: old } })
    const [row] = await rows<{ secret_sealed: string }>(second, 'SELECT secret_sealed FROM totp_factors')
    expect(second.app.platform.secrets.isStale(row!.secret_sealed)).toBe(false)
    await second.close()
    const third = await startGateway({ databaseUrl, secretKey: next })
    const enter = async (code: string) => call(third, '/auth/login/mfa', { body: { mfa_token: await mfaToken(third, user), code } })
    expect((await enter(codeOf(user.secret))).status).toBe(200)
    expect((await enter(user.backupCodes[7]!)).status).toBe(200)
    await third.close()
  })
})
