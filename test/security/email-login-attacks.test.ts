/** Attacks on the login with a mailed code or link. */
import { randomBytes, randomUUID } from 'node:crypto'
import pg from 'pg'
import { describe, expect, it } from 'vitest'
import { from, newAddress, newUserFrom } from '../support/addresses.ts'
import { COOKIE, cookieFrom } from '../support/browser-session.ts'
import { type Answer, call, login, newUser, OPERATOR, proveAddress, type TestUser } from '../support/client.ts'
import { askForCode, byCode, byLink, loginMails, type MailedLogin, mailedLogin, otherThan, verify } from '../support/email-login.ts'
import { useGateway } from '../support/fixtures.ts'
import { type Gateway, metric } from '../support/gateway.ts'
import { newKey } from '../support/keys.ts'
import { until } from '../support/processes.ts'
import { resetToken } from '../support/recovery.ts'
import { rows } from '../support/rows.ts'
import { claimsOf, me } from '../support/session.ts'
import { codeOf, enrol } from '../support/totp.ts'

const AUTH = { emailLogin: 'on', browser: { enabled: true } }
const mail = { limit: 100, windowSeconds: 600 }
const gateway = useGateway({ config: { auth: AUTH, limits: { credentials: { mail } } } })
/** Clients have addresses of their own. */
const trusting = useGateway({
  config: {
    server: { trustedProxies: ['127.0.0.1/32'] },
    auth: AUTH,
    limits: { exempt: [], credentials: { mail: { limit: 5, windowSeconds: 600 }, emailLogin: { limit: 6, windowSeconds: 600 } } },
  },
})

async function newProven(of: Gateway = gateway): Promise<TestUser> {
  const user = await newUser(of)
  await proveAddress(of, user)
  return user
}
const codeOrStatus = ({ status, body }: Answer) => (status < 300 ? status : body.code)
const wrongOf = (mailed: MailedLogin): MailedLogin => ({ ...mailed, code: otherThan(mailed.code) })
const livingSessions = ({ id }: TestUser) => rows(gateway, 'SELECT 1 FROM sessions WHERE user_id = $1 AND revoked_at IS NULL', [id])
const newSessions = async (user: TestUser, before: number) => (await livingSessions(user)).length - before

/** All that a client sees of an answer, but for what differs at every request. */
function seen({ status, headers, body }: Answer) {
  const { request_id, timestamp, flow_token, ...rest } = body
  const fields = Object.fromEntries(headers)
  for (const name of ['date', 'x-request-id']) delete fields[name]
  return { status, fields, body: rest, flow: typeof flow_token === 'string' ? flow_token.replace(/[\w-]/g, 'x') : null }
}

describe('whether an address has an account', () => {
  const worked = (n: number) =>
    until(
      async () => (await rows(gateway, `SELECT 1 FROM audit_log WHERE event = 'email_login'`)).length >= n,
      'the work after the answers',
    )

  it('is in no answer to the question for a code', async () => {
    const [user, disabled] = [await newProven(), await newProven()]
    await gateway.app.identity.administration.disable(disabled.username, OPERATOR)
    const answers = []
    for (const email of [user.email, 'nobody@mail.test', disabled.email, user.username, 'no address', 'nul\0@mail.test', '😀@'])
      answers.push(seen(await call(gateway, '/auth/login/email', { body: { email } })))
    for (const answer of answers) expect(answer).toEqual(answers[0])
    expect(answers[0]).toMatchObject({ status: 202, body: { status: 'accepted' }, flow: expect.stringMatching(/^x{10}\.x{43}\.x{22}$/) })
    await worked(7)
    expect(await loginMails(gateway, disabled.email)).toEqual([])
  })

  it('is not looked up before the answer: also while the table of users is locked', async () => {
    const user = await newProven()
    const client = new pg.Client(gateway.databaseUrl)
    await client.connect()
    await client.query('BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE')
    for (const email of ['nobody@mail.test', user.email])
      expect((await call(gateway, '/auth/login/email', { body: { email } })).status).toBe(202)
    await client.query('ROLLBACK')
    await client.end()
    await until(async () => (await loginMails(gateway, user.email)).length === 1, 'the mail')
  })

  it('is in no answer to a wrong code, from the first to the seventh', async () => {
    const [user, disabled, unproven] = [await newProven(), await newProven(), await newUser(gateway)]
    const [mailed, before] = [await mailedLogin(gateway, user.email), await mailedLogin(gateway, disabled.email)]
    await gateway.app.identity.administration.disable(disabled.username, OPERATOR)
    const ofUnproven = await mailedLogin(gateway, unproven.email)
    const unknown = await askForCode(gateway, `${randomUUID()}@mail.test`)
    const replaced = await mailedLogin(gateway, user.email)
    for (let i = 0; i < 3; i++) await mailedLogin(gateway, user.email)
    const flows: [string, string][] = [
      [unknown, '123456'],
      [wrongOf(replaced).flow, wrongOf(replaced).code],
      [replaced.flow, replaced.code],
      [mailed.flow, mailed.code],
      [before.flow, before.code],
      [ofUnproven.flow, otherThan(ofUnproven.code)],
      [unknown, 'no code at all'],
    ]
    const byFlow = Map.groupBy(flows, ([flow]) => flow)
    for (const [flow, [first]] of byFlow) {
      const answers = []
      for (let i = 0; i < 7; i++) answers.push(seen(await verify(gateway, { flow_token: flow, code: first![1] })))
      expect([flow, ...answers.map(({ body }) => body.code)]).toEqual([
        flow,
        ...Array(5).fill('invalid_code'),
        ...Array(2).fill('flow_invalid'),
      ])
      expect(new Set(answers.slice(0, 5).map((answer) => JSON.stringify(answer))).size).toBe(1)
      expect(answers[0]).toEqual({
        status: 401,
        flow: null,
        fields: expect.any(Object),
        body: expect.objectContaining({ code: 'invalid_code' }),
      })
    }
  })

  it('is in no header, at any step', async () => {
    const user = await newProven()
    const mailed = await mailedLogin(gateway, user.email)
    const unknown = await askForCode(gateway, `${randomUUID()}@mail.test`)
    for (let i = 0; i < 7; i++) {
      const [known, other] = [
        seen(await byCode(gateway, wrongOf(mailed))),
        seen(await verify(gateway, { flow_token: unknown, code: wrongOf(mailed).code })),
      ]
      expect(known).toEqual(other)
    }
  })

  it('is in no row count of a flow, when every code of the account is refused', async () => {
    const user = await newProven()
    await useUpCodes(gateway, user.email)
    const last = await mailedLogin(gateway, user.email)
    const unknown = await askForCode(gateway, `${randomUUID()}@mail.test`)
    for (let i = 0; i < 6; i++)
      expect(seen(await byCode(gateway, last))).toEqual(seen(await verify(gateway, { flow_token: unknown, code: last.code })))
  })

  it('is in no answer of the pages', async () => {
    const user = await newProven()
    const page = async (email: string) => {
      const first = await form('/login/email', { email })
      const cookie = cookiesOf(first)
      const shown = await show('/login/email?step=2', cookie)
      const wrong = []
      for (let i = 0; i < 7; i++) wrong.push(await form('/login/email?step=2', { code: '000000' }, cookie))
      return [first, shown, ...wrong].map(({ status, location, body }) => ({ status, location, body }))
    }
    expect(await page(user.email)).toEqual(await page(`${randomUUID()}@mail.test`))
  })
})

/** Twenty wrong codes over four flows. */
async function useUpCodes(of: Gateway, email: string, headers: () => Record<string, string> = () => ({})): Promise<void> {
  for (let flow = 0; flow < 4; flow++) {
    const mailed = await mailedLogin(of, email, headers())
    for (let i = 0; i < 5; i++) {
      const { body } = await verify(of, { flow_token: mailed.flow, code: otherThan(mailed.code) }, headers())
      expect(body.code).toBe('invalid_code')
    }
  }
}

describe('who guesses codes', () => {
  it('has twenty a day for an account, over all flows: then the link alone logs in', async () => {
    const user = await newProven()
    await useUpCodes(gateway, user.email)
    const mailed = await mailedLogin(gateway, user.email)
    expect((await byCode(gateway, mailed)).body.code).toBe('invalid_code')
    expect((await byLink(gateway, mailed)).status).toBe(200)
    // a day later
    await rows(gateway, `UPDATE limit_counters SET resets_at = now() - interval '1 second' WHERE key LIKE '%mailedCodes%'`)
    expect((await byCode(gateway, await mailedLogin(gateway, user.email))).status).toBe(200)
  })

  it('takes nobody else a code, and the password works on', async () => {
    const [user, other] = [await newProven(), await newProven()]
    await useUpCodes(gateway, user.email)
    expect((await byCode(gateway, await mailedLogin(gateway, other.email))).status).toBe(200)
    expect((await login(gateway, user)).token).toBeTruthy()
  })

  it('gets five in parallel, however many they send', async () => {
    const mailed = await mailedLogin(gateway, (await newProven()).email)
    const answers = await Promise.all(Array.from({ length: 20 }, () => byCode(gateway, wrongOf(mailed))))
    const codes = answers.map(codeOrStatus)
    expect(codes.filter((code) => code === 'invalid_code')).toHaveLength(5)
    expect(codes.filter((code) => code === 'flow_invalid')).toHaveLength(15)
  })

  it('finds no code of one flow in another: not of the same account, and not of another', async () => {
    const [user, other] = [await newProven(), await newProven()]
    const [one, two, foreign] = [
      await mailedLogin(gateway, user.email),
      await mailedLogin(gateway, user.email),
      await mailedLogin(gateway, other.email),
    ]
    // one in a million is the same code
    if (new Set([one.code, two.code, foreign.code]).size < 3) return
    for (const [flow, code] of [
      [one.flow, two.code],
      [one.flow, foreign.code],
      [foreign.flow, one.code],
    ])
      expect((await verify(gateway, { flow_token: flow, code })).body.code).toBe('invalid_code')
    expect([await byCode(gateway, one), await byCode(gateway, two)].map(codeOrStatus)).toEqual([200, 200])
  })

  it('cannot do so with a code that has the MAC of another row', async () => {
    const user = await newProven()
    const [own, mailed] = [await mailedLogin(gateway, (await newProven()).email), await mailedLogin(gateway, user.email)]
    const moved = `UPDATE email_logins l SET code_mac = o.code_mac FROM email_logins o, users u
      WHERE l.user_id = u.id AND u.id = $1 AND o.user_id <> u.id AND o.id = (SELECT max(id::text)::uuid FROM email_logins WHERE user_id <> $1)`
    await rows(gateway, moved, [user.id])
    expect((await verify(gateway, { flow_token: mailed.flow, code: own.code })).body.code).toBe('invalid_code')
  })

  it('is stopped by the address, also with codes of many accounts', async () => {
    const attacker = newAddress()
    const flow = await askForCode(trusting, 'nobody@mail.test', from(attacker))
    const answers = []
    for (let i = 0; i < 6; i++) answers.push(codeOrStatus(await verify(trusting, { flow_token: flow, code: '000000' }, from(attacker))))
    expect(answers).toEqual([...Array(5).fill('invalid_code'), 'rate_limited'])
    const links = newAddress()
    const found = []
    for (let i = 0; i < 7; i++)
      found.push(codeOrStatus(await verify(trusting, { token: randomBytes(32).toString('base64url') }, from(links))))
    expect(found).toEqual([...Array(6).fill('link_invalid'), 'rate_limited'])
  })
})

describe('a stranger who asks for codes of another person', () => {
  it('does not end the flow of a known device, and takes no mail of its owner', async () => {
    const home = newAddress()
    const user = await newUserFrom(trusting, home)
    await proveAddress(trusting, user)
    const own = await mailedLogin(trusting, user.email, from(home))
    for (let i = 0; i < 8; i++) await askForCode(trusting, user.email, from(newAddress()))
    const limited = () => metric(trusting, 'portcullis_account_events_total', { event: 'email_login', outcome: 'rate_limited' })
    await until(async () => (await limited()) === 3, 'the work after the answers')
    expect(await rows(trusting, 'SELECT is_known FROM email_logins WHERE user_id = $1 ORDER BY id', [user.id])).toEqual([
      { is_known: true },
      { is_known: false },
      { is_known: false },
    ])
    expect((await verify(trusting, { flow_token: own.flow, code: own.code }, from(home))).status).toBe(200)
    expect((await mailedLogin(trusting, user.email, from(home))).code).toMatch(/^\d{6}$/)
  })

  it('locks nobody out: codes at a known network, links and passwords work while the codes of strangers are used up', async () => {
    const home = newAddress()
    const user = await newUserFrom(trusting, home)
    await proveAddress(trusting, user)
    await useUpCodes(trusting, user.email, () => from(newAddress()))
    const away = from(newAddress())
    const refused = await mailedLogin(trusting, user.email, away)
    expect((await verify(trusting, { flow_token: refused.flow, code: refused.code }, away)).body.code).toBe('invalid_code')
    expect((await verify(trusting, { token: refused.token }, away)).status).toBe(200)
    const mailed = await mailedLogin(trusting, user.email, from(home))
    expect((await verify(trusting, { flow_token: mailed.flow, code: mailed.code }, from(home))).status).toBe(200)
    const body = { login: user.email, password: user.password }
    expect((await call(trusting, '/auth/login', { body, headers: from(home) })).status).toBe(200)
  })
})

describe('used in parallel', () => {
  it.each<[string, (mailed: MailedLogin, i: number) => Promise<Answer>]>([
    ['a code', (mailed) => byCode(gateway, mailed)],
    ['a link', (mailed) => byLink(gateway, mailed)],
    ['a code and its link', (mailed, i) => (i % 2 ? byCode : byLink)(gateway, mailed)],
  ])('%s opens one session', async (_what, use) => {
    const user = await newProven()
    const mailed = await mailedLogin(gateway, user.email)
    const before = (await livingSessions(user)).length
    // a flow compares five codes
    const answers = await Promise.all(Array.from({ length: 5 }, (_, i) => use(mailed, i)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    expect(await newSessions(user, before)).toBe(1)
  })

  it('a code of a user with a factor gives one token for the second step', async () => {
    const user = await enrol(gateway, await newProven())
    const mailed = await mailedLogin(gateway, user.email)
    const answers = await Promise.all(Array.from({ length: 5 }, () => byCode(gateway, mailed)))
    expect(answers.filter(({ body }) => body.mfa_required)).toHaveLength(1)
  })
})

describe('a second factor', () => {
  it('is not skipped by a code, by a link, or by the token of the flow', async () => {
    const user = await enrol(gateway, await newProven())
    for (const use of [byCode, byLink]) {
      const before = (await livingSessions(user)).length
      const { body } = await use(gateway, await mailedLogin(gateway, user.email))
      expect(Object.keys(body).sort()).toEqual(['methods', 'mfa_required', 'mfa_token'])
      expect(await newSessions(user, before)).toBe(0)
    }
    const { flow } = await mailedLogin(gateway, user.email)
    const asFactor = await call(gateway, '/auth/login/mfa', { body: { mfa_token: flow, code: codeOf(user.secret) } })
    expect(asFactor.body.code).toBe('mfa_token_invalid')
  })

  it('is not what a mailed code is: it confirms no login, removes no factor, and steps nobody up', async () => {
    const user = await enrol(gateway, await newProven())
    const { code } = await mailedLogin(gateway, user.email)
    const { body } = await call(gateway, '/auth/login', { body: { login: user.email, password: user.password } })
    expect((await call(gateway, '/auth/login/mfa', { body: { mfa_token: body.mfa_token, code } })).body.code).toBe('invalid_code')
    expect((await call(gateway, '/auth/mfa/totp', { method: 'DELETE', body: { code }, token: user.token })).body.code).toBe('invalid_code')
    expect(claimsOf((await byCode(gateway, await mailedLogin(gateway, (await newProven()).email))).body.access_token).amr).toEqual([
      'email',
    ])
  })
})

describe('somebody who has registered with the address of another person', () => {
  /** An account with all that can log in: password, session, factor, API key, passkey, linked login, reset link. */
  async function equipped(): Promise<{ user: TestUser & { secret: string }; key: string; reset: string; device: string }> {
    const before = await newUser(gateway)
    const { key } = await newKey(gateway, before)
    const user = await enrol(gateway, before)
    const passkey = `INSERT INTO passkeys (id, user_id, credential_id, public_key, rp_id, sign_count, transports, is_backup_eligible, is_backed_up, name, created_at)
      VALUES ($1, $2, $3, '\\x00', 'gateway.test', 0, '{}', false, false, 'p', now())`
    await rows(gateway, passkey, [randomUUID(), user.id, randomBytes(16)])
    const linked = `INSERT INTO linked_logins (id, user_id, provider, issuer, subject, created_at, last_used_at)
      VALUES ($1, $2, 'acme', 'https://acme.test', $3, now(), now())`
    await rows(gateway, linked, [randomUUID(), user.id, randomUUID()])
    const [{ id: device }] = (await rows(gateway, 'SELECT id FROM devices WHERE user_id = $1', [user.id])) as [{ id: string }]
    return { user, key, reset: await resetToken(gateway, user.email), device }
  }

  it.each([
    ['code', byCode],
    ['link', byLink],
  ] as const)('keeps nothing of it after the first login by %s of the owner', async (_how, use) => {
    const { user, key, reset, device } = await equipped()
    const earlier = await mailedLogin(gateway, user.email)
    const { status, body } = await use(gateway, await mailedLogin(gateway, user.email))
    expect([status, body.user]).toEqual([200, expect.objectContaining({ id: user.id, mfa_enabled: false, email_verified: true })])
    expect(await me(gateway, body.access_token)).toBe(200)

    expect((await call(gateway, '/auth/login', { body: { login: user.email, password: user.password } })).body.code).toBe(
      'invalid_credentials',
    )
    expect([await me(gateway, user.token), await me(gateway, key)]).toEqual(['token_revoked', 'token_revoked'])
    expect((await call(gateway, '/auth/refresh', { body: { refresh_token: user.refreshToken } })).status).toBe(401)
    expect((await call(gateway, '/auth/password/reset', { body: { token: reset, new_password: 'tulips by the river' } })).body.code).toBe(
      'link_invalid',
    )
    expect((await byCode(gateway, earlier)).body.code).toBe('invalid_code')
    for (const table of ['totp_factors', 'backup_codes', 'backup_code_keys', 'passkeys', 'linked_logins'])
      expect([table, await rows(gateway, `SELECT 1 FROM ${table} WHERE user_id = $1`, [user.id])]).toEqual([table, []])
    expect(await rows(gateway, 'SELECT 1 FROM devices WHERE id = $1', [device])).toEqual([])
    expect(await livingSessions(user)).toHaveLength(1)
    const events = await rows(gateway, 'SELECT event FROM audit_log WHERE user_id = $1', [user.id])
    expect(events.map(({ event }) => event)).toEqual(expect.arrayContaining(['mfa_disable', 'api_key_revoke', 'email_verify', 'login']))
    // the second login by mail removes nothing
    await enrolAgain(body.access_token)
  })

  /** The owner sets a password by mail, and keeps what the account has from now on. */
  async function enrolAgain(token: string) {
    const { body } = await call(gateway, '/auth/me', { token })
    const { key } = await newKey(gateway, { token } as TestUser)
    expect((await byCode(gateway, await mailedLogin(gateway, body.email))).status).toBe(200)
    expect((await call(gateway, '/auth/sessions', { token: key })).body.code).toBe('forbidden')
  }

  it('loses a second step that they have begun', async () => {
    const { user } = await equipped()
    const { body } = await call(gateway, '/auth/login', { body: { login: user.email, password: user.password } })
    await byCode(gateway, await mailedLogin(gateway, user.email))
    const second = await call(gateway, '/auth/login/mfa', { body: { mfa_token: body.mfa_token, code: codeOf(user.secret, 1) } })
    expect(second.body.code).toBe('mfa_token_invalid')
  })

  it('keeps no key that was made meanwhile', async () => {
    const user = await newUser(gateway)
    const mailed = await mailedLogin(gateway, user.email)
    const [entered] = await Promise.all([
      byCode(gateway, mailed),
      ...Array.from({ length: 4 }, () => call(gateway, '/auth/api-keys', { body: { name: 'k' }, token: user.token })),
    ])
    expect(entered.status).toBe(200)
    expect(await rows(gateway, 'SELECT 1 FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL', [user.id])).toEqual([])
    expect(await livingSessions(user)).toHaveLength(1)
  })
})

// a page: forms as a browser of the gateway's own origin sends them
const OWN = { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }
async function page(path: string, init: RequestInit & { cookie?: string }) {
  const { cookie, ...rest } = init
  const response = await fetch(`${gateway.url.replace('127.0.0.1', 'localhost')}/auth/ui${path}`, {
    redirect: 'manual',
    ...rest,
    headers: { ...OWN, ...(cookie === undefined ? {} : { cookie }) },
  })
  return { status: response.status, headers: response.headers, location: response.headers.get('location'), body: await response.text() }
}
const show = (path: string, cookie?: string) => page(path, { ...(cookie !== undefined && { cookie }) })
const form = (path: string, fields: Record<string, string>, cookie?: string) =>
  page(path, { method: 'POST', body: new URLSearchParams(fields), ...(cookie !== undefined && { cookie }) })
const cookiesOf = ({ headers }: { headers: Headers }) =>
  headers
    .getSetCookie()
    .filter((cookie) => !cookie.includes('Max-Age=0'))
    .map((cookie) => cookie.split(';')[0])
    .join('; ')

describe('the pages', () => {
  async function mailedOnPage(email: string, path = '/login/email') {
    const before = (await loginMails(gateway, email)).length
    const asked = await form(path, { email, remember: 'yes' })
    const posted = await until(async () => (await loginMails(gateway, email))[before], 'the mail')
    return { asked, cookie: cookiesOf(asked), code: posted.data.code as string, link: posted.data.url as string }
  }

  it('keep the token of the flow in a cookie of the pages, which no script reads', async () => {
    const { asked } = await mailedOnPage((await newProven()).email)
    const [cookie] = asked.headers.getSetCookie()
    expect(cookie).toMatch(
      /^portcullis-email-flow=\d{10}\.[\w-]{43}\.[\w-]{22}~; Path=\/auth\/ui; Max-Age=3600; SameSite=Strict; HttpOnly$/,
    )
  })

  it('log in with the code in the browser that has asked, for as long as it wished, and lead on', async () => {
    const user = await newProven()
    const { asked, cookie, code } = await mailedOnPage(user.email, '/login/email?return_to=%2Fauth%2Fui%2Faccount%2Fprofile')
    expect(asked.location).toBe('/auth/ui/login/email?step=2&return_to=%2Fauth%2Fui%2Faccount%2Fprofile')
    const entered = await form('/login/email?step=2&return_to=%2Fauth%2Fui%2Faccount%2Fprofile', { code }, cookie)
    expect([entered.status, entered.location]).toEqual([303, '/auth/ui/login?check=1&return_to=%2Fauth%2Fui%2Faccount%2Fprofile'])
    const session = cookieFrom(entered)
    expect(entered.headers.getSetCookie().find((set) => set.startsWith(COOKIE))).toContain('Max-Age=')
    expect(entered.headers.getSetCookie().find((set) => set.startsWith('portcullis-email-flow'))).toContain('Max-Age=0')
    expect((await show('/login?check=1', `${COOKIE}=${session}`)).location).toBe('/auth/ui/account')
  })

  it('log nobody in with the code in another browser', async () => {
    const [user, other] = [await newProven(), await newProven()]
    const { code } = await mailedOnPage(user.email)
    const without = await form('/login/email?step=2', { code })
    expect([without.status, without.location, without.headers.getSetCookie()]).toEqual([303, '/auth/ui/login/email', []])
    const { cookie } = await mailedOnPage(other.email)
    const foreign = await form('/login/email?step=2', { code }, cookie)
    expect([foreign.status, cookieFrom(foreign)]).toEqual([401, null])
    expect(foreign.body).toContain('The code is wrong, or no longer valid.')
  })

  it.each([
    'https://evil.example/',
    '//evil.example/',
    '/\\evil.example',
    'javascript:alert(1)',
    '/auth/ui/logout',
    'https:evil.example',
  ])('lead to no other place: %s', async (target) => {
    const query = `return_to=${encodeURIComponent(target)}`
    const { asked, cookie, code } = await mailedOnPage((await newProven()).email, `/login/email?${query}`)
    expect(asked.location).toBe('/auth/ui/login/email?step=2')
    expect((await show(`/login/email?step=2&${query}`, cookie)).body).not.toContain('evil')
    expect((await form(`/login/email?step=2&${query}`, { code }, cookie)).location).toBe('/auth/ui/login?check=1')
  })

  it('ask for the second factor', async () => {
    const user = await enrol(gateway, await newProven())
    const { cookie, code } = await mailedOnPage(user.email)
    const entered = await form('/login/email?step=2', { code }, cookie)
    expect([entered.location, cookieFrom(entered)]).toEqual(['/auth/ui/factor', null])
    const second = await form('/factor', { code: codeOf(user.secret) }, cookiesOf(entered))
    expect(second.location).toBe('/auth/ui/login?check=1')
    expect(cookieFrom(second)).toMatch(/^ps_/)
  })

  it('begin again after five wrong codes', async () => {
    const { cookie, code } = await mailedOnPage((await newProven()).email)
    for (let i = 0; i < 5; i++) expect((await form('/login/email?step=2', { code: otherThan(code) }, cookie)).status).toBe(401)
    const over = await form('/login/email?step=2', { code }, cookie)
    expect(over.status).toBe(400)
    expect(over.body).toContain('too many wrong codes were entered')
    expect(over.body).toContain('name="email"')
  })

  it('take no form of another site', async () => {
    const { cookie, code, link } = await mailedOnPage((await newProven()).email)
    const foreign = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example', 'content-type': 'application/x-www-form-urlencoded' }
    const send = (path: string, body: string) =>
      fetch(`${gateway.url}/auth/ui${path}`, { method: 'POST', redirect: 'manual', headers: { ...foreign, cookie }, body })
    const link64 = encodeURIComponent(link)
    for (const [path, body] of [
      ['/login/email', 'email=ann%40example.com'],
      ['/login/email?step=2', `code=${code}`],
      ['/email-login', `link=${link64}`],
      ['/email-login?step=2', 'x=y'],
    ]) {
      const answer = await send(path!, body!)
      expect([path, answer.status, answer.headers.getSetCookie()]).toEqual([path, 403, []])
    }
  })
})

describe('the mailed link', () => {
  const first = (link: string) => form('/email-login', { link })

  it('is used by no GET: a mail scanner that opens it, and a page that shows it, leave it as it is', async () => {
    const user = await newProven()
    const { token } = await mailedLogin(gateway, user.email)
    const link = `/email-login#token=${token}`
    const before = (await livingSessions(user)).length
    expect((await show('/email-login')).status).toBe(200)
    const opened = await first(link)
    expect([opened.location, cookieFrom(opened)]).toEqual(['/auth/ui/email-login?step=2#content', null])
    const shown = await show('/email-login?step=2', cookiesOf(opened))
    for (const text of [user.username, user.email, 'Log in here']) expect(shown.body).toContain(text)
    expect(await newSessions(user, before)).toBe(0)
    const used = await form('/email-login?step=2', { remember: 'yes' }, cookiesOf(opened))
    expect([used.location, cookieFrom(used)]).toEqual(['/auth/ui/login?check=1', expect.stringMatching(/^ps_/)])
    expect(await newSessions(user, before)).toBe(1)
    expect((await form('/email-login?step=2', {}, cookiesOf(opened))).status).toBe(400)
  })

  it('names the device that has asked, from a list and never as its text', async () => {
    const user = await newProven()
    const agent = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 <b>evil</b>'
    const { token } = await mailedLogin(gateway, user.email, { 'user-agent': agent })
    const opened = await first(`#token=${token}`)
    const { body } = await show('/email-login?step=2', cookiesOf(opened))
    expect(body).toContain('Firefox on Linux')
    expect(body).not.toContain('evil')
  })

  it('of a disabled user, and of one whose sessions have ended, is not valid', async () => {
    const [disabled, ended] = [await newProven(), await newProven()]
    const [one, other] = [await mailedLogin(gateway, disabled.email), await mailedLogin(gateway, ended.email)]
    await gateway.app.identity.administration.disable(disabled.username, OPERATOR)
    await call(gateway, '/auth/logout-all', { method: 'POST', token: ended.token })
    for (const { token } of [one, other]) {
      expect((await verify(gateway, { token })).body.code).toBe('link_invalid')
      expect((await first(`#token=${token}`)).status).toBe(400)
    }
  })

  it('of another purpose is not one, and it is no link of another purpose', async () => {
    const user = await newProven()
    expect((await verify(gateway, { token: await resetToken(gateway, user.email) })).body.code).toBe('link_invalid')
    const { token } = await mailedLogin(gateway, user.email)
    expect((await call(gateway, '/auth/password/reset', { body: { token, new_password: 'tulips by the river' } })).body.code).toBe(
      'link_invalid',
    )
    expect((await call(gateway, '/auth/login/confirm', { body: { token } })).body.code).toBe('link_invalid')
    expect((await verify(gateway, { token })).status).toBe(200)
  })

  it('asks for the second factor', async () => {
    const user = await enrol(gateway, await newProven())
    const { token } = await mailedLogin(gateway, user.email)
    const opened = await first(`#token=${token}`)
    const used = await form('/email-login?step=2', {}, cookiesOf(opened))
    expect([used.location, cookieFrom(used)]).toEqual(['/auth/ui/factor', null])
  })
})

it('the mail repeats no text of the client, and the log holds neither code nor token', async () => {
  const user = await newProven()
  const mailed = await mailedLogin(gateway, user.email, { 'user-agent': 'Evil/1.0 (https://evil.example)' })
  const [posted] = await loginMails(gateway, user.email)
  expect(JSON.stringify(posted!.data)).not.toMatch(/evil/i)
  await byCode(gateway, mailed)
  const log = JSON.stringify(gateway.log())
  for (const secret of [mailed.flow, mailed.token!, `"${mailed.code}"`]) expect(log).not.toContain(secret)
})
