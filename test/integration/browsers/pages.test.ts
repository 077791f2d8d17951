/** Statuses and headers of the pages that everyone may open. */
import { describe, expect, it } from 'vitest'
import { BROWSER, COOKIE, cookieFrom, cookieLogin } from '../../support/browser-session.ts'
import { newUser, raw, statusOf } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import type { GatewayOptions } from '../../support/gateway.ts'
import { mailsTo } from '../../support/mails.ts'
import { until } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'
import { newFactorUser } from '../../support/totp.ts'

const withAuth = (auth: object, more: object = {}): GatewayOptions => ({ config: { auth: { ...BROWSER.auth, ...auth }, ...more } })

const gateway = useGateway({ config: BROWSER })
const strict = useGateway(
  withAuth(
    { registration: 'closed', username: 'off', emailVerification: 'required' },
    { limits: { exempt: [], credentials: { login: { limit: 2, windowSeconds: 300 } } } },
  ),
)
const behindTls = useGateway({ ...withAuth({}), config: { ...BROWSER, server: { publicUrl: 'https://api.example.com' } } })

interface Ask {
  path: string
  form?: Record<string, string>
  cookie?: string
  headers?: Record<string, string>
  of?: { url: string }
}

/** What a browser sends with a form of the gateway's own page. */
const OWN = { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }

async function ask({ path, form, cookie, headers, of = gateway }: Ask) {
  const response = await fetch(`${of.url}/auth/ui${path}`, {
    method: form ? 'POST' : 'GET',
    redirect: 'manual',
    headers: { ...OWN, ...(cookie === undefined ? {} : { cookie }), ...headers },
    ...(form && { body: new URLSearchParams(form) }),
  })
  return { status: response.status, headers: response.headers, location: response.headers.get('location'), body: await response.text() }
}

describe('every page', () => {
  it.each([
    '/login',
    '/register',
    '/forgot',
    '/verify',
    '/reset',
    '/confirm-login',
  ])('%s has the headers that keep others out', async (path) => {
    const { status, headers } = await ask({ path })
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(headers.get('content-security-policy')).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    )
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('referrer-policy')).toBe('same-origin')
    expect(headers.get('x-frame-options')).toBe('DENY')
    expect(headers.get('vary')).toContain('Cookie')
    expect(headers.getSetCookie()).toEqual([])
  })

  it('speaks the language of the reader, or the language that the reader chose', async () => {
    expect((await ask({ path: '/login', headers: { 'accept-language': 'de-AT,en;q=0.5' } })).body).toContain('<html lang="de">')
    const chosen = await ask({ path: '/language/de', headers: { referer: `${gateway.url}/auth/ui/forgot?sent=1` } })
    expect([chosen.status, chosen.location]).toEqual([303, '/auth/ui/forgot?sent=1'])
    const cookie = chosen.headers.getSetCookie()[0]!.split(';')[0]!
    expect((await ask({ path: '/login', cookie, headers: { 'accept-language': 'en' } })).body).toContain('<html lang="de">')
    expect((await ask({ path: '/language/xx' })).status).toBe(404)
  })

  it.each(['', '/'])('below %j leads to the account', async (path) => {
    const { status, location } = await ask({ path })
    expect([status, location]).toEqual([303, '/auth/ui/account'])
  })

  it('takes forms only, and each field once', async () => {
    const post = (type: string, body: string) =>
      fetch(`${gateway.url}/auth/ui/login`, { method: 'POST', headers: { ...OWN, 'content-type': type }, body })
    expect((await post('application/json', '{}')).status).toBe(415)
    expect((await post('application/x-www-form-urlencoded', 'login=a&login=b&password=c')).status).toBe(422)
  })
})

describe('a login', () => {
  it('with a wrong password keeps what was typed, but never the password', async () => {
    const { status, headers, body } = await ask({ path: '/login', form: { login: '"><b>', password: 'secret zebra 17', remember: 'yes' } })
    expect(status).toBe(401)
    expect(headers.get('www-authenticate')).toBeNull()
    expect(headers.getSetCookie()).toEqual([])
    expect(body).toContain('value="&quot;&gt;&lt;b&gt;"')
    expect(body).toContain('checked')
    expect(body).not.toContain('secret zebra 17')
  })

  it('without its fields names each of them', async () => {
    const { status, body } = await ask({ path: '/login', form: { remember: 'yes' } })
    expect(status).toBe(422)
    expect(body).toContain('id="login-error"')
    expect(body).toContain('id="password-error"')
  })

  it('from another site is refused, and what was typed is kept', async () => {
    const user = await newUser(gateway)
    const form = { login: user.username, password: user.password }
    for (const headers of [
      { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
      { 'sec-fetch-site': 'same-site', origin: 'http://other.example.com' },
      { 'sec-fetch-site': '', origin: 'null' },
    ] as Record<string, string>[]) {
      const answer = await ask({ path: '/login', form, headers })
      expect(answer.status).toBe(403)
      expect(answer.headers.getSetCookie()).toEqual([])
      expect(answer.body).toContain('sent from another site')
      expect(answer.body).toContain(`value="${user.username}"`)
      expect(answer.body).not.toContain(user.password)
    }
  })

  it('sets the session cookie and the token of the device, and looks whether the cookie comes back', async () => {
    const user = await newUser(gateway)
    const answer = await ask({ path: '/login?return_to=%2Fapi', form: { login: user.email, password: user.password, remember: 'yes' } })
    expect([answer.status, answer.location]).toEqual([303, '/auth/ui/login?check=1&return_to=%2Fapi'])
    const [session, device] = answer.headers.getSetCookie()
    expect(session).toMatch(/^portcullis-dev=ps_[^;]+; Path=\/; HttpOnly; SameSite=Lax; Max-Age=\d+$/)
    expect(device).toMatch(/^portcullis-device=dt_[^;]+; Path=\/auth; Max-Age=31536000; SameSite=Strict; HttpOnly$/)

    const blocked = await ask({ path: '/login?check=1&return_to=%2Fapi' })
    expect(blocked.body).toContain('Your browser blocks cookies')
    const arrived = await ask({ path: '/login?check=1&return_to=%2Fapi', cookie: session!.split(';')[0]! })
    // a page, since the service may redirect to another site
    expect([arrived.status, arrived.headers.get('refresh')]).toEqual([200, '0;url=/api'])
    const home = await ask({ path: '/login?check=1', cookie: session!.split(';')[0]! })
    expect([home.status, home.location]).toEqual([303, '/auth/ui/account'])

    const again = await ask({ path: '/login', form: { login: user.email, password: user.password }, cookie: device!.split(';')[0]! })
    expect(again.headers.getSetCookie()[1]).toContain(device!.split(';')[0]!)
    expect(await rows(gateway, 'SELECT 1 FROM devices WHERE user_id = $1', [user.id])).toHaveLength(1)
  })

  it.each([
    'https://evil.example/',
    '//evil.example',
    '/\\evil.example',
    'javascript:alert(1)',
    '/auth/logout',
  ])('ignores return_to=%s', async (target) => {
    const user = await newUser(gateway)
    const path = `/login?return_to=${encodeURIComponent(target)}`
    const { location } = await ask({ path, form: { login: user.username, password: user.password } })
    expect(location).toBe('/auth/ui/login?check=1')
  })

  it('with a password that must change leads to its page', async () => {
    const user = await newUser(gateway)
    await rows(gateway, 'UPDATE users SET password_must_change = true WHERE id = $1', [user.id])
    const cookie = `${COOKIE}=${await cookieLogin(gateway, user)}`
    expect((await ask({ path: '/login?check=1&return_to=%2Fapi', cookie })).location).toBe('/auth/ui/account/password?return_to=%2Fapi')
  })

  it('of a disabled user answers as for a wrong password', async () => {
    const user = await newUser(gateway)
    await rows(gateway, 'UPDATE users SET disabled_at = now() WHERE id = $1', [user.id])
    const { status, body } = await ask({ path: '/login', form: { login: user.username, password: user.password } })
    expect(status).toBe(401)
    expect(body).toContain('The login or the password is wrong.')
  })

  it('after too many attempts says when to try again', async () => {
    const form = { login: 'somebody@example.com', password: 'secret zebra 17' }
    for (let i = 0; i < 2; i++) expect((await ask({ of: strict, path: '/login', form })).status).toBe(401)
    const { status, headers, body } = await ask({ of: strict, path: '/login', form })
    expect(status).toBe(429)
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    expect(body).toMatch(/Too many attempts\. Please try again in \d+ (?:minutes|seconds)\./)
  })

  it.each([
    ['/login', 'login=a&password=b'],
    ['/register', 'username=overhttp&email=over-http%40example.com&password=correct-horse-battery'],
  ])('over plain http of another host is not offered: %s', async (path, form) => {
    const head = (method: string) =>
      `${method} /auth/ui${path} HTTP/1.1\r\nHost: api.example.com\r\nSec-Fetch-Site: same-origin\r\nConnection: close\r\n`
    const page = await raw(gateway.port, `${head('GET')}\r\n`)
    expect(page).toContain('with https')
    expect(page).not.toContain('type="password"')
    const type = 'Content-Type: application/x-www-form-urlencoded'
    const sent = await raw(gateway.port, `${head('POST')}${type}\r\nContent-Length: ${form.length}\r\n\r\n${form}`)
    expect([statusOf(sent), sent.toLowerCase().includes('set-cookie')]).toEqual([303, false])
  })

  it('over https sets cookies that only https carries', async () => {
    const user = await newUser(behindTls)
    const headers = { host: 'api.example.com' }
    const answer = await ask({ of: behindTls, path: '/login', form: { login: user.username, password: user.password }, headers })
    const [session, device] = answer.headers.getSetCookie()
    expect(session).toMatch(/^__Host-portcullis=ps_[^;]+; Path=\/; Secure; HttpOnly; SameSite=Lax$/)
    expect(device).toMatch(/^__Secure-portcullis-device=dt_[^;]+; Path=\/auth; Max-Age=31536000; SameSite=Strict; HttpOnly; Secure$/)
  })
})

describe('the second step', () => {
  it('keeps its token in a cookie of the pages, and no upstream gets it', async () => {
    const user = await newFactorUser(gateway)
    const answer = await ask({ path: '/login?return_to=%2Fapi', form: { login: user.username, password: user.password } })
    expect([answer.status, answer.location]).toEqual([303, '/auth/ui/factor?return_to=%2Fapi'])
    const [kept, ...more] = answer.headers.getSetCookie()
    expect(more).toEqual([])
    expect(kept).toMatch(/^portcullis-mfa=[^;]+; Path=\/auth\/ui; Max-Age=3600; SameSite=Strict; HttpOnly$/)
    const cookie = kept!.split(';')[0]!
    expect((await ask({ path: '/factor', cookie })).body).toContain('autocomplete="one-time-code"')
    const wrong = await ask({ path: '/factor', cookie, form: { code: '000000' } })
    expect(wrong.status).toBe(401)
    expect(wrong.body).toContain('The code is wrong')
    const done = await ask({ path: '/factor?return_to=%2Fapi', cookie, form: { code: user.backupCodes[0]! } })
    expect([done.status, done.location]).toEqual([303, '/auth/ui/login?check=1&return_to=%2Fapi'])
    expect(cookieFrom(done)).toMatch(/^ps_/)
    expect(done.headers.getSetCookie().at(-1)).toBe('portcullis-mfa=; Path=/auth/ui; Max-Age=0; SameSite=Strict; HttpOnly')
  })

  it('that has expired says so', async () => {
    const expired = await ask({ path: '/factor?return_to=%2Fapi', cookie: 'portcullis-mfa=a.b.c', form: { code: '123456' } })
    expect([expired.status, expired.location]).toEqual([303, '/auth/ui/login?done=expired&return_to=%2Fapi'])
    expect((await ask({ path: expired.location!.slice('/auth/ui'.length) })).body).toContain('not finished in time')
    expect((await ask({ path: '/factor' })).location).toBe('/auth/ui/login?done=expired')
  })
})

describe('the login page of a logged-in user', () => {
  it('asks for the password again, and raises the session', async () => {
    const user = await newUser(gateway)
    const value = await cookieLogin(gateway, user)
    const cookie = `${COOKIE}=${value}`
    const page = await ask({ path: '/login?return_to=%2Fapi', cookie })
    expect(page.body).toContain(`value="${user.username}" readonly`)
    const wrong = await ask({ path: '/login?return_to=%2Fapi', cookie, form: { password: 'secret zebra 17' } })
    expect(wrong.status).toBe(401)
    expect(wrong.body).toContain('The password is wrong.')
    const right = await ask({ path: '/login?return_to=%2Fapi', cookie, form: { password: user.password } })
    expect([right.status, right.headers.get('refresh')]).toEqual([200, '0;url=/api'])
    expect(cookieFrom(right)).not.toBe(value)
    expect(
      await rows(gateway, `SELECT count(*)::int AS n FROM sessions s JOIN session_cookies c ON c.session_id = s.id WHERE s.user_id = $1`, [
        user.id,
      ]),
    ).toEqual([{ n: 2 }])
  })

  it('asks a user with a second factor for a code too', async () => {
    const user = await newFactorUser(gateway)
    const { location, headers } = await ask({ path: '/login', form: { login: user.username, password: user.password } })
    expect(location).toBe('/auth/ui/factor')
    const step = await ask({ path: '/factor', cookie: headers.getSetCookie()[0]!.split(';')[0]!, form: { code: user.backupCodes[0]! } })
    const cookie = `${COOKIE}=${cookieFrom(step)}`
    expect((await ask({ path: '/login', cookie })).body).toContain('name="code"')
    const without = await ask({ path: '/login', cookie, form: { password: user.password } })
    expect(without.status).toBe(422)
    expect(without.body).toContain('id="code-error"')
    expect((await ask({ path: '/login', cookie, form: { password: user.password, code: user.backupCodes[1]! } })).location).toBe(
      '/auth/ui/account',
    )
  })
})

describe('a cookie that is no session', () => {
  const CLEARED = [`${COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0`]
  const cookie = `${COOKIE}=junk`

  it('is cleared on the login page, and on no other page', async () => {
    expect((await ask({ path: '/login', cookie })).headers.getSetCookie()).toEqual(CLEARED)
    for (const path of ['/register', '/forgot', '/verify', '/reset'])
      expect((await ask({ path, cookie })).headers.getSetCookie()).toEqual([])
    expect((await ask({ path: '/login', cookie, form: { login: 'a', password: 'b' } })).headers.getSetCookie()).toEqual([])
  })

  it('is not cleared by a request that a page of another origin makes', async () => {
    const headers = { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }
    expect((await ask({ path: '/login', cookie, headers })).headers.getSetCookie()).toEqual([])
  })
})

describe('a logout', () => {
  it('shows a button, and ends the session by a form alone', async () => {
    const user = await newUser(gateway)
    const cookie = `${COOKIE}=${await cookieLogin(gateway, user)}`
    const shown = await ask({ path: '/logout', cookie })
    expect([shown.status, shown.headers.getSetCookie()]).toEqual([200, []])
    const foreign = await ask({
      path: '/logout',
      cookie,
      form: {},
      headers: { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
    })
    expect([foreign.status, foreign.headers.getSetCookie(), foreign.headers.get('clear-site-data')]).toEqual([403, [], null])
    expect((await ask({ path: '/login?check=1', cookie })).location).toBe('/auth/ui/account')

    const done = await ask({ path: '/logout', cookie, form: {} })
    expect([done.status, done.location, done.headers.get('clear-site-data')]).toEqual([303, '/auth/ui/login?done=logout', '"cache"'])
    expect(done.headers.getSetCookie()).toEqual([`${COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0`])
    expect((await ask({ path: '/login?check=1', cookie })).body).toContain('Your browser blocks cookies')
    // no session any more: the cookie goes all the same
    expect((await ask({ path: '/logout', cookie, form: {} })).headers.getSetCookie()).toHaveLength(1)
    expect((await ask({ path: '/logout' })).location).toBe('/auth/ui/login')
  })
})

describe('a registration', () => {
  it('shows what is wrong at its fields', async () => {
    const user = await newUser(gateway)
    const form = { username: user.username, email: `x${user.email}`, password: 'quiet umbrella forty two' }
    const taken = await ask({ path: '/register', form })
    expect(taken.status).toBe(409)
    expect(taken.body).toContain('<p class="error" id="username-error">Username is taken.</p>')
    expect(taken.body).not.toContain(form.password)
    const short = await ask({ path: '/register', form: { ...form, username: '!', password: 'short' } })
    expect(short.status).toBe(422)
    expect(short.body).toContain('id="username-error"')
    expect(short.body).toContain('id="password-error"')
  })

  it('that is closed says so, and the login page has no link to it', async () => {
    expect(await ask({ of: strict, path: '/register' })).toMatchObject({ status: 403 })
    expect(
      (await ask({ of: strict, path: '/register', form: { email: 'a@example.com', password: 'quiet umbrella forty two' } })).status,
    ).toBe(403)
    expect((await ask({ of: strict, path: '/login' })).body).not.toContain('/register')
    expect((await ask({ path: '/login' })).body).toContain('/auth/ui/register')
  })
})

describe('a forgotten password', () => {
  it('gets the same answer for every address', async () => {
    const user = await newUser(gateway)
    const answers = await Promise.all([user.email, 'nobody@example.com'].map((email) => ask({ path: '/forgot', form: { email } })))
    expect(answers.map(({ status, location }) => [status, location])).toEqual([
      [303, '/auth/ui/forgot?sent=1'],
      [303, '/auth/ui/forgot?sent=1'],
    ])
  })
})

describe('a mailed link', () => {
  it('that is not valid says so on its page', async () => {
    for (const path of ['/verify', '/reset', '/confirm-login']) {
      for (const link of ['rubbish', `${gateway.url}/auth/ui/reset#token=${'a'.repeat(43)}`]) {
        const { status, headers, body } = await ask({ path, form: { link } })
        expect([status, headers.getSetCookie()]).toEqual([400, []])
        expect(body).toContain('The link is not valid')
      }
      const late = await ask({ path: `${path}?step=2`, form: { new_password: 'quiet umbrella forty two', password: 'x' } })
      expect(late.status).toBe(400)
    }
  })

  it('that was used elsewhere between the two steps says so on its page', async () => {
    const user = await newUser(gateway)
    await ask({ path: '/forgot', form: { email: user.email } })
    const mail = await until(
      async () => (await mailsTo(gateway, user.email)).find((sent) => sent.template === 'reset_password'),
      'the mail',
    )
    const token = new URLSearchParams(new URL(mail.data.url).hash.slice(1)).get('token')!
    const first = await ask({ path: '/reset', form: { link: token } })
    expect(first.location).toBe('/auth/ui/reset?step=2#content')
    const cookie = first.headers.getSetCookie()[0]!.split(';')[0]!
    const second = { path: '/reset?step=2', cookie, form: { new_password: 'quiet umbrella forty two' } }
    expect((await ask(second)).status).toBe(303)
    const again = await ask(second)
    expect(again.status).toBe(400)
    expect(again.body).toContain('The link is not valid')
    expect(again.body).toContain('name="link"')
  })

  it('of a former page leads to the page for browsers', async () => {
    for (const [old, present] of [
      ['/email/verify', '/ui/verify'],
      ['/password/reset', '/ui/reset'],
      ['/login/confirm', '/ui/confirm-login'],
    ]) {
      const response = await fetch(`${gateway.url}/auth${old}`, { redirect: 'manual' })
      expect([response.status, response.headers.get('location')]).toEqual([303, `/auth${present}`])
    }
  })
})
