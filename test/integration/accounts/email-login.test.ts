/** The login with a mailed code or link. */
import { beforeAll, describe, expect, it } from 'vitest'
import { cookieFrom, SAME_ORIGIN } from '../../support/browser-session.ts'
import { type Answer, call, newUser, OPERATOR, proveAddress, type TestUser } from '../../support/client.ts'
import { askForCode, byCode, byLink, loginMails, mailedLogin, otherThan, verify } from '../../support/email-login.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { dump, rows } from '../../support/rows.ts'
import { claimsOf, me } from '../../support/session.ts'
import { codeOf, enrol } from '../../support/totp.ts'

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
const MANY = { limits: { credentials: { mail: { limit: 100, windowSeconds: 600 } } } }
const AUTH = { emailLogin: 'on', browser: { enabled: true } }

const upstream = useUpstream()
const gateway = useGateway(() => ({
  config: { ...MANY, auth: AUTH },
  routes: [
    { name: 'plain', match: { path: '/plain' }, upstream: [upstream.url], access: 'authenticated' },
    { name: 'vault', match: { path: '/vault' }, upstream: [upstream.url], access: { mfa: true } },
  ],
}))

/** A user whose address is proven. */
async function newProven(of: Gateway = gateway): Promise<TestUser> {
  const user = await newUser(of)
  await proveAddress(of, user)
  return user
}
const codeOrStatus = ({ status, body }: Answer) => (status < 300 ? status : body.code)
const auditOf = (user: TestUser) =>
  rows(gateway, `SELECT event, outcome, detail FROM audit_log WHERE user_id = $1 ORDER BY at, id`, [user.id])

describe('a mailed code', () => {
  it('logs in as the user whom the address belongs to, and the session says how', async () => {
    const user = await newProven()
    const { status, body } = await byCode(gateway, await mailedLogin(gateway, user.email))
    expect(status).toBe(200)
    expect(body).toMatchObject({ user: { id: user.id }, device_token: expect.stringMatching(/^dt_/), refresh_token: expect.any(String) })
    expect(claimsOf(body.access_token).amr).toEqual(['email'])
    expect(await auditOf(user)).toEqual(
      expect.arrayContaining([
        { event: 'email_login', outcome: 'success', detail: null },
        { event: 'login', outcome: 'success', detail: 'email' },
      ]),
    )
    expect(await metric(gateway, 'portcullis_account_events_total', { event: 'email_login', outcome: 'success' })).toBeGreaterThan(0)
  })

  it('may be typed with spaces', async () => {
    const mailed = await mailedLogin(gateway, (await newProven()).email)
    const code = `${mailed.code.slice(0, 3)} ${mailed.code.slice(3)}`
    expect((await byCode(gateway, { ...mailed, code })).status).toBe(200)
  })

  it('has six digits; the mail names the device from a list, and holds the link in the fragment', async () => {
    const user = await newProven()
    await mailedLogin(gateway, user.email, { 'user-agent': FIREFOX })
    const [mail] = await loginMails(gateway, user.email)
    expect(mail!.data).toMatchObject({ code: expect.stringMatching(/^\d{6}$/), minutes: 10, device: 'Firefox on Linux' })
    expect(mail!.data.url).toMatch(/^http:\/\/gateway\.test\/auth\/ui\/email-login#token=[\w-]{43}$/)
  })

  it('opens a session by cookie for a browser, for the time that it wishes', async () => {
    const user = await newProven()
    const mailed = await mailedLogin(gateway, user.email)
    const answer = await verify(
      { url: gateway.url.replace('127.0.0.1', 'localhost') },
      { flow_token: mailed.flow, code: mailed.code, session: 'cookie', remember: true },
      SAME_ORIGIN,
    )
    expect(answer.body).toEqual({ user: expect.objectContaining({ id: user.id }), device_token: expect.any(String) })
    expect(cookieFrom(answer)).toMatch(/^ps_/)
    expect(answer.headers.getSetCookie()[0]).toContain('Max-Age=')
  })

  it('works once, and so does its link, whichever comes first', async () => {
    const first = await mailedLogin(gateway, (await newProven()).email)
    expect([await byCode(gateway, first), await byCode(gateway, first), await byLink(gateway, first)].map(codeOrStatus)).toEqual([
      200,
      'invalid_code',
      'link_invalid',
    ])
    const second = await mailedLogin(gateway, (await newProven()).email)
    expect([await byLink(gateway, second), await byLink(gateway, second), await byCode(gateway, second)].map(codeOrStatus)).toEqual([
      200,
      'link_invalid',
      'invalid_code',
    ])
  })

  it('works for ten minutes, by the clock of the gateway and by that of the database', async () => {
    const user = await newProven()
    const late = await mailedLogin(gateway, user.email)
    const life = 'SELECT extract(epoch FROM expires_at - created_at)::int AS seconds FROM email_logins WHERE user_id = $1'
    expect(await rows(gateway, life, [user.id])).toEqual([{ seconds: 600 }])
    await rows(gateway, `UPDATE email_logins SET expires_at = clock_timestamp() WHERE user_id = $1`, [user.id])
    expect([await byCode(gateway, late), await byLink(gateway, late)].map(codeOrStatus)).toEqual(['invalid_code', 'link_invalid'])
    const next = await mailedLogin(gateway, user.email)
    gateway.clock.advance(600_000)
    expect((await byCode(gateway, next)).body.code).toBe('flow_invalid')
    gateway.clock.advance(-60_000)
    expect((await byCode(gateway, next)).status).toBe(200)
    gateway.clock.advance(-540_000)
  })

  it.each<[string, (user: TestUser) => Promise<unknown>]>([
    [
      'a password change',
      ({ token, password }) =>
        call(gateway, '/auth/password/change', { body: { current_password: password, new_password: 'another plain zebra 7' }, token }),
    ],
    ['the end of all sessions', ({ token }) => call(gateway, '/auth/logout-all', { method: 'POST', token })],
    ['a disabled account', ({ username }) => gateway.app.identity.administration.disable(username, OPERATOR)],
    [
      'a new address',
      ({ email, token, password }) =>
        call(gateway, '/auth/me', { method: 'PATCH', body: { email: `new-${email}`, current_password: password }, token }),
    ],
  ])('ends with %s, and its link too', async (_what, end) => {
    const user = await newProven()
    const [one, other] = [await mailedLogin(gateway, user.email), await mailedLogin(gateway, user.email)]
    await end(user)
    expect([await byCode(gateway, one), await byLink(gateway, other)].map(codeOrStatus)).toEqual(['invalid_code', 'link_invalid'])
  })

  it('is stored as a MAC, and no secret of it is in the database', async () => {
    const mailed = await mailedLogin(gateway, (await newProven()).email)
    const text = await dump(gateway)
    for (const secret of [mailed.flow, mailed.token!]) expect(text).not.toContain(secret)
    const [row] = await rows(gateway, 'SELECT code_mac FROM email_logins ORDER BY id DESC LIMIT 1')
    expect(row.code_mac).not.toContain(mailed.code)
    expect(row.code_mac).toMatch(/^[0-9a-f]{12}\.[\w-]{43}$/)
  })

  it('leaves the other live flows of the account as they are', async () => {
    const user = await newProven()
    const [laptop, phone] = [await mailedLogin(gateway, user.email), await mailedLogin(gateway, user.email)]
    expect((await byCode(gateway, laptop)).status).toBe(200)
    expect((await byCode(gateway, phone)).status).toBe(200)
  })
})

describe('an account', () => {
  it('has three live flows: a fourth ends the oldest', async () => {
    const user = await newProven()
    const flows = []
    for (let i = 0; i < 4; i++) flows.push(await mailedLogin(gateway, user.email))
    expect(await rows(gateway, 'SELECT 1 FROM email_logins WHERE user_id = $1', [user.id])).toHaveLength(3)
    const answers = []
    for (const flow of flows) answers.push(codeOrStatus(await byCode(gateway, flow)))
    expect(answers).toEqual(['invalid_code', 200, 200, 200])
  })

  it('that has a second factor is asked for it, and then has both', async () => {
    const user = await enrol(gateway, await newProven())
    const { status, body } = await byCode(gateway, await mailedLogin(gateway, user.email))
    expect([status, body]).toEqual([200, { mfa_required: true, mfa_token: expect.any(String), methods: ['totp', 'backup_code'] }])
    const second = await call(gateway, '/auth/login/mfa', { body: { mfa_token: body.mfa_token, code: codeOf(user.secret) } })
    expect(second.status).toBe(200)
    expect(claimsOf(second.body.access_token).amr).toEqual(['email', 'otp', 'mfa'])
    expect(await auditOf(user)).toContainEqual({ event: 'login', outcome: 'mfa_required', detail: 'email' })
  })

  it('does not satisfy a route that asks for a second factor', async () => {
    const user = await newProven()
    const { body } = await byCode(gateway, await mailedLogin(gateway, user.email))
    const { access_token: token } = body
    expect((await call(gateway, '/plain', { token })).status).toBe(200)
    expect((await call(gateway, '/vault', { token })).body.code).toBe('mfa_required')
  })

  it('that waits for a mailed link after the reset of its factor needs none: the mailbox is proven', async () => {
    const user = await newProven()
    await rows(gateway, 'UPDATE users SET must_confirm_login = true WHERE id = $1', [user.id])
    expect((await byCode(gateway, await mailedLogin(gateway, user.email))).status).toBe(200)
    expect((await call(gateway, '/auth/login', { body: { login: user.email, password: user.password } })).status).toBe(200)
  })

  it('that an operator has made is proven by the login, and keeps its password', async () => {
    const person = { username: 'made-by-mail', email: 'made-by-mail@example.com', password: 'a plain zebra of fields' }
    await gateway.app.identity.administration.create({ ...person, roles: ['user'], mustChangePassword: false }, OPERATOR)
    const answer = await byCode(gateway, await mailedLogin(gateway, person.email))
    expect(answer.body.user).toMatchObject({ email_verified: true })
    expect(await me(gateway, answer.body.access_token)).toBe(200)
    expect((await call(gateway, '/auth/login', { body: { login: person.email, password: person.password } })).status).toBe(200)
  })

  it('with a changed spelling of its address is found', async () => {
    const user = await newProven()
    await call(gateway, '/auth/login/email', { body: { email: ` ${user.email.toUpperCase()} ` } })
    await until(async () => (await loginMails(gateway, user.email)).length === 1, 'the mail')
  })

  it('is never made: an unknown address gets no mail, and no user', async () => {
    const email = 'nobody-by-mail@example.com'
    const flow = await askForCode(gateway, email)
    await until(
      async () => (await metric(gateway, 'portcullis_account_events_total', { event: 'email_login', outcome: 'not_found' })) > 0,
      'the work',
    )
    expect((await verify(gateway, { flow_token: flow, code: '000000' })).body.code).toBe('invalid_code')
    expect(await loginMails(gateway, email)).toEqual([])
    expect(await rows(gateway, 'SELECT 1 FROM users WHERE email_canonical = $1', [email])).toEqual([])
  })
})

describe('a wrong code', () => {
  it('leaves the flow as it is four times; the fifth ends the code, and the link still works', async () => {
    const user = await newProven()
    const mailed = await mailedLogin(gateway, user.email)
    const wrong = { ...mailed, code: otherThan(mailed.code) }
    const answers = []
    for (let i = 0; i < 5; i++) answers.push(codeOrStatus(await byCode(gateway, wrong)))
    expect(answers).toEqual(Array(5).fill('invalid_code'))
    expect([await byCode(gateway, wrong), await byCode(gateway, mailed)].map(codeOrStatus)).toEqual(['flow_invalid', 'flow_invalid'])
    expect((await byLink(gateway, mailed)).status).toBe(200)
    expect((await auditOf(user)).filter(({ outcome }) => outcome === 'invalid_code')).toEqual(
      Array(5).fill({ event: 'login', outcome: 'invalid_code', detail: 'email' }),
    )
  })

  it('costs the right code nothing', async () => {
    const mailed = await mailedLogin(gateway, (await newProven()).email)
    for (let i = 0; i < 4; i++) await byCode(gateway, { ...mailed, code: otherThan(mailed.code) })
    expect((await byCode(gateway, mailed)).status).toBe(200)
  })
})

describe('a request', () => {
  it.each([
    [{}, 'flow_token'],
    [{ code: '123456' }, 'flow_token'],
    [{ flow_token: 'x' }, 'code'],
    [{ token: 'x', code: '123456' }, 'token'],
    [{ token: 'x', flow_token: 'x' }, 'token'],
  ])('%j names what is missing or too much', async (body, field) => {
    const answer = await verify(gateway, body)
    expect([answer.status, answer.body.errors.map((error: { field: string }) => error.field)]).toEqual([422, [field]])
  })

  it('with a token that was never given out is answered by its form alone', async () => {
    const mailed = await mailedLogin(gateway, (await newProven()).email)
    const [end, random, tag] = mailed.flow.split('.') as [string, string, string]
    for (const flow of [
      'x',
      `${Number(end) + 60}.${random}.${tag}`,
      `${end}.${random}.${'A'.repeat(22)}`,
      `${end}.${random}`,
      ` ${mailed.flow}`,
    ])
      expect((await byCode(gateway, { ...mailed, flow })).body.code).toBe('flow_invalid')
    expect((await byCode(gateway, mailed)).status).toBe(200)
  })
})

describe('the cleanup', () => {
  it('deletes logins that have expired, and no other', async () => {
    const user = await newProven()
    await mailedLogin(gateway, user.email)
    const living = await mailedLogin(gateway, user.email)
    const old = `UPDATE email_logins SET expires_at = clock_timestamp() WHERE id = (SELECT min(id::text)::uuid FROM email_logins WHERE user_id = $1)`
    await rows(gateway, old, [user.id])
    await gateway.app.identity.cleanup()
    expect(await rows(gateway, 'SELECT 1 FROM email_logins WHERE user_id = $1', [user.id])).toHaveLength(1)
    expect((await byCode(gateway, living)).status).toBe(200)
  })

  it('of an account takes its logins along', async () => {
    const user = await newProven()
    await mailedLogin(gateway, user.email)
    expect(
      (await call(gateway, '/auth/me', { method: 'DELETE', body: { current_password: user.password }, token: user.token })).status,
    ).toBe(204)
    expect(await rows(gateway, 'SELECT 1 FROM email_logins WHERE user_id = $1', [user.id])).toEqual([])
  })
})

describe('without pages for browsers', () => {
  const bare = useGateway({ stores: 'embedded', config: { ...MANY, auth: { emailLogin: 'on' } } })
  let user: TestUser
  beforeAll(async () => {
    user = await newProven(bare)
  })

  it('the mail holds the code alone, and the code logs in', async () => {
    const mailed = await mailedLogin(bare, user.email)
    expect(mailed.token).toBeNull()
    expect((await byCode(bare, mailed)).status).toBe(200)
  })

  it('a cookie cannot be asked for', async () => {
    expect((await verify(bare, { token: 'x', session: 'cookie' })).status).toBe(422)
  })
})

describe('with auth.emailLogin: off', () => {
  const off = useGateway({ config: { auth: { browser: { enabled: true } } } })

  it('there is neither an endpoint nor a page, and the login page does not speak of it', async () => {
    expect((await call(off, '/auth/login/email', { body: { email: 'ann@example.com' } })).status).toBe(404)
    expect((await verify(off, { token: 'x' })).status).toBe(404)
    for (const path of ['/login/email', '/email-login']) expect((await call(off, `/auth/ui${path}`)).status).toBe(404)
    expect((await call(off, '/auth/ui/login', { headers: { host: 'localhost' } })).body).not.toContain('/login/email')
  })
})

it('works with the embedded database, by code and by link', async () => {
  const embedded = await startGateway({ stores: 'embedded', config: { auth: { emailLogin: 'on', browser: { enabled: true } } } })
  const user = await newUser(embedded)
  const mailed = await mailedLogin(embedded, user.email)
  expect((await verify(embedded, { flow_token: mailed.flow, code: mailed.code })).status).toBe(200)
  const again = await mailedLogin(embedded, user.email)
  expect((await verify(embedded, { token: again.token })).status).toBe(200)
  await embedded.close()
})
