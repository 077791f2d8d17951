/** Attacks on the console: from other sites, with other cookies, by other users, with an old login. */
import { beforeAll, describe, expect, it } from 'vitest'
import { call, newUser, newUserWithRoles, type TestUser } from '../support/client.ts'
import { consoleOf, openConsole } from '../support/console.ts'
import { useGateway } from '../support/fixtures.ts'
import { rows } from '../support/rows.ts'
import { codeOf, enrol } from '../support/totp.ts'

const gateway = useGateway({ config: { auth: { browser: { enabled: true } } } })
let admin: TestUser
beforeAll(async () => {
  admin = await newUserWithRoles(gateway, ['admin'])
})

const COOKIE = 'portcullis-console-dev'
const isDisabled = async (id: string) => (await rows(gateway, 'SELECT disabled_at FROM users WHERE id = $1', [id]))[0].disabled_at !== null

describe('who may enter', () => {
  it('a wrong password opens no session, and is counted and audited as every login', async () => {
    const site = openConsole(gateway)
    const { status, text } = await site.post('/console/login', { login: admin.username, password: 'wrong wrong wrong' })
    expect([status, text.includes('role="alert"'), text.includes(`value="${admin.username}"`), text.includes('wrong wrong')]).toEqual([
      401,
      true,
      true,
      false,
    ])
    expect(site.cookies.size).toBe(0)
    expect(
      await rows(gateway, `SELECT outcome FROM audit_log WHERE event = 'login' AND user_id = $1 ORDER BY at DESC LIMIT 1`, [admin.id]),
    ).toEqual([{ outcome: 'invalid_credentials' }])
  })

  it('a user without the role sees a page that says so, and can change nothing', async () => {
    const user = await newUser(gateway)
    const site = await consoleOf(gateway, user)
    for (const path of [
      '/console/users',
      `/console/users/${admin.id}`,
      '/console/users/new',
      '/console/clients',
      `/console/users/${admin.id}/disable`,
    ]) {
      const { status, text } = await site.get(path)
      expect([status, text.includes('no administrator'), text.includes(admin.email)], path).toEqual([403, true, false])
    }
    expect((await site.post(`/console/users/${admin.id}/disable`)).status).toBe(403)
    expect((await site.post(`/console/users/${user.id}/grant?role=admin`)).status).toBe(403)
    expect(await isDisabled(admin.id)).toBe(false)
  })

  it('an administrator who loses the role is out with the next request', async () => {
    const other = await newUserWithRoles(gateway, ['admin'])
    const site = await consoleOf(gateway, other)
    expect((await site.get('/console/users')).status).toBe(200)
    await (await consoleOf(gateway, admin)).post(`/console/users/${other.id}/revoke?role=admin`)
    expect((await site.get('/console/users')).status).toBe(403)
    expect((await site.post(`/console/users/${admin.id}/disable`)).status).toBe(403)
  })

  it('an ended session leads to the login', async () => {
    const site = await consoleOf(gateway, admin)
    const copy = openConsole(gateway)
    copy.cookies.set(COOKIE, site.cookies.get(COOKIE)!)
    expect((await copy.get('/console/users')).status).toBe(200)
    const out = await site.post('/console/logout')
    expect([out.to, out.headers.get('clear-site-data'), site.cookies.has(COOKIE)]).toEqual(['/console/login?done=logout', '"cache"', false])
    expect((await copy.get('/console/users')).to).toBe('/console/login?return_to=%2Fconsole%2Fusers')
    expect((await copy.post(`/console/users/${admin.id}/disable`)).to).toMatch(/^\/console\/login\?/)
  })

  it('a GET does not log out', async () => {
    const site = await consoleOf(gateway, admin)
    expect((await site.get('/console/logout')).status).toBe(200)
    expect((await site.get('/console/users')).status).toBe(200)
  })

  it('who must change the password, or owes a second factor, is led to the account', async () => {
    const other = await newUserWithRoles(gateway, ['admin'])
    await rows(gateway, 'UPDATE users SET password_must_change = true WHERE id = $1', [other.id])
    const { status, text } = await (await consoleOf(gateway, other)).get('/console/users')
    expect([status, text.includes('/auth/ui/account/password')]).toEqual([403, true])
  })
})

describe('the cookie', () => {
  it('is of the host, HttpOnly and Lax, and ends with the browser', async () => {
    const { headers } = await openConsole(gateway).post('/console/login', { login: admin.username, password: admin.password })
    const cookie = headers.getSetCookie().find((header) => header.startsWith(COOKIE))!
    expect(cookie).toMatch(/^portcullis-console-dev=ps_[A-Za-z0-9_-]{55}; Path=\/; HttpOnly; SameSite=Lax$/)
  })

  it('opens nothing on the public listener, and the cookie of the public listener nothing here', async () => {
    const value = (await consoleOf(gateway, admin)).cookies.get(COOKIE)!
    for (const name of [COOKIE, 'portcullis-dev', '__Host-portcullis', '__Host-portcullis-console'])
      expect((await call(gateway, '/auth/me', { headers: { cookie: `${name}=${value}`, host: 'localhost' } })).status, name).toBe(401)

    const own = await call(gateway, '/auth/login', {
      body: { login: admin.username, password: admin.password, session: 'cookie' },
      headers: { origin: gateway.url.replace('127.0.0.1', 'localhost'), 'sec-fetch-site': 'same-origin' },
    })
    const publicValue = /=(ps_[^;]+)/.exec(own.headers.getSetCookie()[0] ?? '')?.[1]
    if (publicValue !== undefined) {
      const site = openConsole(gateway)
      site.cookies.set(COOKIE, publicValue)
      expect((await site.get('/console/users')).status).toBe(303)
    }
  })

  it('is the only credential: neither a bearer nor an API key opens the console', async () => {
    const answers = await Promise.all(
      [{ authorization: `Bearer ${admin.token}` }, { 'x-api-key': `pk_${'a'.repeat(40)}` }].map((headers) =>
        fetch(`${gateway.adminUrl}/console/users`, { headers, redirect: 'manual' }),
      ),
    )
    expect(answers.map(({ status }) => status)).toEqual([303, 303])
  })

  it('a login makes a new session: a planted value stays what it was', async () => {
    const site = await consoleOf(gateway, await newUser(gateway))
    const planted = site.cookies.get(COOKIE)!
    await site.post('/console/login', { login: admin.username, password: admin.password })
    expect(site.cookies.get(COOKIE)).not.toBe(planted)
    const attacker = openConsole(gateway)
    attacker.cookies.set(COOKIE, planted)
    expect((await attacker.get('/console/users')).status).toBe(403)
  })
})

describe('another site', () => {
  it.each([
    ['another origin', { origin: 'https://evil.example' }],
    ['an origin of another port of this host', { origin: 'http://127.0.0.1:1' }],
    ['the same site', { origin: '', 'sec-fetch-site': 'same-site' }],
    ['a cross-site fetch', { origin: '', 'sec-fetch-site': 'cross-site' }],
    ['the origin null', { origin: 'null' }],
    ['nothing that shows the page', { origin: '' }],
  ])('%s changes nothing', async (_name, headers) => {
    const { id } = await newUser(gateway)
    const site = await consoleOf(gateway, admin)
    for (const path of [`/console/users/${id}/disable`, `/console/users/${id}/grant?role=admin`, '/console/logout']) {
      const { status } = await site.post(path, {}, headers)
      expect(status, path).toBe(403)
    }
    expect(await isDisabled(id)).toBe(false)
    expect((await site.get('/console/users')).status).toBe(200)
  })

  it('cannot log a browser in', async () => {
    const site = openConsole(gateway)
    const { status } = await site.post(
      '/console/login',
      { login: admin.username, password: admin.password },
      { origin: 'https://evil.example' },
    )
    expect([status, site.cookies.size]).toEqual([403, 0])
  })

  it('an origin that the public listener trusts is another site here', async () => {
    const { headers } = await fetch(`${gateway.adminUrl}/console/login`, {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example.com' },
    })
    expect(headers.get('access-control-allow-origin')).toBeNull()
  })

  it.each([
    'https://evil.example/',
    '//evil.example',
    '/\\evil.example',
    'javascript:alert(1)',
    '/metrics',
    '/console/logout',
    '/console/login',
    '/consolex',
  ])('return_to %s leads to the console', async (target) => {
    const site = openConsole(gateway)
    const path = `/console/login?return_to=${encodeURIComponent(target)}`
    const { to } = await site.post(path, { login: admin.username, password: admin.password })
    expect((await site.get(to!)).to).toBe('/console')
  })
})

describe('an old login', () => {
  const ageOf = (site: { cookies: Map<string, string> }, seconds: number) =>
    rows(
      gateway,
      `WITH aged AS (UPDATE session_cookies SET auth_time = auth_time - make_interval(secs => $2) WHERE token_hash = sha256($1::bytea) RETURNING session_id)
       UPDATE sessions SET auth_time = auth_time - make_interval(secs => $2) WHERE id IN (SELECT session_id FROM aged)`,
      [site.cookies.get(COOKIE), seconds],
    )

  it('reads, but is asked for the password before a change, and comes back to the form', async () => {
    const { id } = await newUser(gateway)
    const site = openConsole(gateway)
    await site.post('/console/login', { login: admin.username, password: admin.password })
    await ageOf(site, 1000)
    expect((await site.get(`/console/users/${id}`)).status).toBe(200)
    const path = `/console/users/${id}/disable`
    const login = `/console/login?return_to=${encodeURIComponent(path)}`
    expect((await site.get(path)).to).toBe(login)
    expect((await site.post(path)).to).toBe(login)
    expect(await isDisabled(id)).toBe(false)

    const form = await site.get(login)
    expect([form.status, form.text.includes(`value="${admin.username}"`), form.text.includes('name="code"')]).toEqual([200, true, false])
    expect((await site.post(login, { password: 'not the password' })).status).toBe(401)
    const before = site.cookies.get(COOKIE)
    const { to } = await site.post(login, { password: admin.password })
    expect(site.cookies.get(COOKIE)).not.toBe(before)
    expect((await site.get(to!)).to).toBe(path)
    expect((await site.get(path)).status).toBe(200)
    await site.post(path)
    expect(await isDisabled(id)).toBe(true)
  })

  it('a form keeps what was typed', async () => {
    const site = openConsole(gateway)
    await site.post('/console/login', { login: admin.username, password: admin.password })
    await ageOf(site, 1000)
    const { status, text } = await site.post('/console/clients/new', { name: 'kept-name' })
    expect([status, text.includes('value="kept-name"'), text.includes('target="_blank"')]).toEqual([401, true, true])
    expect(await rows(gateway, `SELECT id FROM clients WHERE name = 'kept-name'`)).toEqual([])
  })
})

describe('a second factor', () => {
  it('is asked for at the login, and for a change', async () => {
    const other = await newUserWithRoles(gateway, ['admin'])
    const { secret } = await enrol(gateway, other)
    const site = openConsole(gateway)
    const first = await site.post('/console/login?return_to=%2Fconsole%2Fclients', { login: other.username, password: other.password })
    expect([first.to, site.cookies.has(COOKIE)]).toEqual(['/console/factor?return_to=%2Fconsole%2Fclients', false])
    expect((await site.get('/console/users')).status).toBe(303)
    expect((await site.post(first.to!, { code: '000000' })).status).toBe(401)
    const entered = await site.post(first.to!, { code: codeOf(secret) })
    expect((await site.get(entered.to!)).to).toBe('/console/clients')
    expect((await site.get('/console/clients')).status).toBe(200)
  })

  it('set up later, a session by password alone must show it', async () => {
    const other = await newUserWithRoles(gateway, ['admin'])
    const site = await consoleOf(gateway, other)
    await rows(gateway, 'UPDATE users SET mfa_enabled = true WHERE id = $1', [other.id])
    expect((await site.get('/console/users')).to).toBe('/console/login?return_to=%2Fconsole%2Fusers')
    expect((await site.get('/console/login')).text).toContain('name="code"')
    expect((await site.post(`/console/users/${admin.id}/disable`)).to).toMatch(/^\/console\/login/)
    expect(await isDisabled(admin.id)).toBe(false)
  })

  it('without the first step there is no second', async () => {
    const site = openConsole(gateway)
    expect((await site.get('/console/factor')).to).toBe('/console/login?done=expired&return_to=%2Fconsole')
    site.cookies.set('portcullis-mfa', 'forged')
    expect((await site.post('/console/factor', { code: '123456' })).to).toBe('/console/login?done=expired&return_to=%2Fconsole')
  })
})

it('every page has the strict headers', async () => {
  const site = await consoleOf(gateway, admin)
  for (const path of ['/console/login', '/console/users', `/console/users/${admin.id}`, '/console/users/none', '/console/nowhere']) {
    const { headers } = await site.get(path)
    expect(headers.get('cache-control'), path).toBe('no-store')
    expect(headers.get('content-security-policy'), path).toContain("default-src 'none'")
    expect(headers.get('content-security-policy'), path).not.toContain('unsafe')
    expect(headers.get('referrer-policy'), path).toBe('same-origin')
    expect(headers.get('x-frame-options'), path).toBe('DENY')
  }
})
