/** The account pages as a browser without scripts sees them: what they show, what they refuse, and who may open them. */
import { afterEach, describe, expect, it } from 'vitest'
import { cookieLogin, SAME_ORIGIN } from '../../support/browser-session.ts'
import { call, newUser, newUserWithRoles, OPERATOR, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { mailsTo } from '../../support/mails.ts'
import { createPageReader, loggedInReader, type PageReader } from '../../support/page-reader.ts'
import { rows } from '../../support/rows.ts'
import { codeOf, newFactorUser } from '../../support/totp.ts'

const ROLES = { user: { scopes: ['orders:read', 'orders:write'] }, seller: {}, admin: { inherits: ['user'] } }
const gateway = useGateway({ config: { auth: { browser: { enabled: true }, roles: ROLES } } })
const careful = useGateway({
  config: {
    auth: { browser: { enabled: true }, emailVerification: 'required', roles: { ...ROLES, boss: {} }, mfa: { requiredForRoles: ['boss'] } },
  },
})

const PAGES = ['', '/profile', '/password', '/factors', '/sessions', '/api-keys', '/delete'].map((page) => `/account${page}`)
/** A form of each page. */
const FORMS: [path: string, fields: Record<string, string>][] = [
  ['/account/profile', { action: 'username', username: 'anothername' }],
  ['/account/profile', { action: 'email', email: 'another@example.com', current_password: 'x' }],
  ['/account/profile', { action: 'resend' }],
  ['/account/profile', { action: 'remind' }],
  ['/account/password', { action: 'password', current_password: 'x', new_password: 'plain zebra of other fields' }],
  ['/account/factors', { action: 'begin', current_password: 'x' }],
  ['/account/factors', { action: 'confirm', code: '000000' }],
  ['/account/factors', { action: 'codes' }],
  ['/account/factors', { action: 'remove' }],
  ['/account/sessions', { action: 'end', id: '00000000-0000-7000-8000-000000000000' }],
  ['/account/sessions', { action: 'others' }],
  ['/account/sessions', { action: 'all' }],
  ['/account/api-keys', { action: 'create', name: 'a key' }],
  ['/account/api-keys', { action: 'revoke', id: '00000000-0000-7000-8000-000000000000' }],
  ['/account/delete', { action: 'delete', confirm: 'yes' }],
]

const begin = async (): Promise<{ user: TestUser; reader: PageReader }> => {
  const user = await newUser(gateway)
  return { user, reader: await loggedInReader(gateway, user) }
}

let movedMs = 0
/** Makes the login old. */
const waitSixMinutes = () => {
  movedMs += 360_000
  gateway.clock.advance(360_000)
}
afterEach(() => {
  gateway.clock.advance(-movedMs)
  movedMs = 0
})

const stateOf = ({ id }: TestUser) =>
  Promise.all([
    rows(gateway, 'SELECT username, email, password_hash, mfa_enabled FROM users WHERE id = $1', [id]),
    rows(gateway, 'SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id', [id]),
    rows(gateway, 'SELECT id FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id', [id]),
  ])

/** The field of a form has this error. */
const errorAt = (html: string, id: string): string | null =>
  html.includes(`aria-invalid="true"`) ? (new RegExp(`id="${id}-error">([^<]*)<`).exec(html)?.[1] ?? null) : null

describe.each(PAGES)('%s', (path) => {
  it('has the headers of a page, and links to all account pages', async () => {
    const { reader } = await begin()
    const { status, headers, html } = await reader.get(path)
    expect(status).toBe(200)
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
    expect(headers.get('content-security-policy')).not.toContain('unsafe')
    expect(headers.get('referrer-policy')).toBe('same-origin')
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.getSetCookie()).toEqual([])
    for (const page of PAGES) expect(html).toContain(`href="/auth/ui${page}"`)
    expect(html).toContain(`href="/auth/ui${path}" aria-current="page"`)
    expect(html).not.toMatch(/ style=| on[a-z]+=|<style/)
  })

  it('is in the language of the reader', async () => {
    const { reader } = await begin()
    expect((await reader.get(path, { 'accept-language': 'de' })).html).toContain('<html lang="de">')
  })

  it('shows nothing to a reader who is not logged in, and nothing to the holder of an API key', async () => {
    const { reader } = await begin()
    const created = await reader.submit('/account/api-keys', { action: 'create', name: 'a key' })
    const key = /id="key">(pk_live_[^<]+)</.exec(created.html)![1]!
    const anonymous = await createPageReader(gateway).get(path)
    expect(anonymous.status === 303 ? anonymous.to : anonymous.status).toSatisfy(
      (answer) => answer === 401 || String(answer).startsWith('/auth/ui/login?return_to='),
    )
    expect(anonymous.html).not.toContain('@example.com')
    expect((await createPageReader(gateway).get(path, { 'x-api-key': key })).status).toBe(403)
  })
})

describe('a form of another site', () => {
  it.each([
    ['from another site', { 'sec-fetch-site': 'cross-site', origin: 'https://evil.test' }],
    ['from another host of the site', { 'sec-fetch-site': 'same-site', origin: 'http://other.gateway.test' }],
    ['from a sandboxed frame', { 'sec-fetch-site': 'cross-site', origin: 'null' }],
    ['without a sign of its origin', { 'sec-fetch-site': '' }],
  ])('%s changes nothing', async (_name, headers) => {
    const { user, reader } = await begin()
    const before = await stateOf(user)
    for (const [path, fields] of FORMS) {
      const sent: Record<string, string> = { 'sec-fetch-mode': 'navigate', ...headers }
      const { status } = await reader.post(path, { ...fields, current_password: user.password }, sent)
      expect([path, fields.action, status]).toEqual([path, fields.action, 403])
    }
    expect(await stateOf(user)).toEqual(before)
    expect((await reader.get('/account')).status).toBe(200)
  })
})

describe('profile', () => {
  it('changes the username, and says so on the next page', async () => {
    const { user, reader } = await begin()
    const { html } = await reader.submit('/account/profile', { action: 'username', username: `${user.username}x` })
    expect(html).toContain('role="status">Your username is saved.')
    expect(html).toContain(`value="${user.username}x"`)
  })

  it('keeps what was typed when the name is taken, with the reason at the field', async () => {
    const { reader } = await begin()
    const other = await newUser(gateway)
    const { status, html } = await reader.post('/account/profile', { action: 'username', username: other.username })
    expect(status).toBe(409)
    expect(errorAt(html, 'username-username')).toBe('Username is taken.')
    expect(html).toContain(`value="${other.username}"`)
  })

  it('changes the address with the password only, and never shows the password again', async () => {
    const { user, reader } = await begin()
    const wrong = await reader.post('/account/profile', {
      action: 'email',
      email: 'next@example.com',
      current_password: 'not the password',
    })
    expect([wrong.status, errorAt(wrong.html, 'email-current_password')]).toEqual([401, 'The password is wrong.'])
    expect(wrong.html).toContain('value="next@example.com"')
    expect(wrong.html).not.toContain('not the password')
    expect(wrong.headers.has('www-authenticate')).toBe(false)
    const missing = await reader.post('/account/profile', { action: 'email', email: 'next@example.com' })
    expect([missing.status, errorAt(missing.html, 'email-current_password')]).toEqual([422, 'Current password is required.'])
    const email = `${user.username}@next.example`
    const { html } = await reader.submit('/account/profile', { action: 'email', email, current_password: user.password })
    expect(html).toContain('Your e-mail address is saved.')
    expect(html).toContain(email)
  })

  it('sends another link to an address that is not confirmed', async () => {
    const { user, reader } = await begin()
    const before = (await mailsTo(gateway, user.email)).length
    expect((await reader.submit('/account/profile', { action: 'resend' })).html).toContain('another link is on its way')
    await expect.poll(async () => (await mailsTo(gateway, user.email)).length).toBe(before + 1)
  })

  it('shows the address that waits for its link, in the same way whether another account has it', async () => {
    const { administration } = careful.app.identity
    const make = async (name: string) => {
      const password = `plain zebra of ${name}s`
      const { user } = await administration.create(
        { username: name, email: `${name}@example.com`, password, roles: ['user'], mustChangePassword: false },
        OPERATOR,
      )
      return { ...user, username: name, password }
    }
    const [anna, otto] = [await make('anna'), await make('otto')]
    const shown: string[] = []
    for (const email of ['free@example.com', otto.email]) {
      const reader = await loggedInReader(careful, anna)
      const asked = await reader.submit('/account/profile', { action: 'email', email, current_password: anna.password })
      expect(asked.html).toContain('Open the link that was mailed to the new address.')
      const { html } = await reader.get('/account/profile')
      expect(html).toContain(`New address: ${email}.`)
      shown.push(html.replaceAll(email, 'EMAIL'))
      const reminded = await reader.submit('/account/profile', { action: 'remind' })
      expect(reminded.html).toContain('another link is on its way')
    }
    expect(shown[0]).toBe(shown[1])
    await expect.poll(async () => (await mailsTo(careful, 'free@example.com')).filter((m) => m.template === 'verify_email').length).toBe(2)
    expect((await mailsTo(careful, otto.email)).filter((mail) => mail.template === 'verify_email')).toEqual([])
  })
})

describe('password', () => {
  const NEXT = 'plain zebra of other fields'

  it('is changed: this session goes on with another cookie, and the others end', async () => {
    const { user, reader } = await begin()
    const other = await loggedInReader(gateway, user)
    const before = new Map(reader.cookies)
    const { html } = await reader.submit('/account/password', { action: 'password', current_password: user.password, new_password: NEXT })
    expect(html).toContain('Your password is changed.')
    expect(reader.cookies).not.toEqual(before)
    expect((await other.get('/account')).status).not.toBe(200)
    expect((await call(gateway, '/auth/login', { body: { login: user.username, password: NEXT } })).status).toBe(200)
  })

  it('is refused with the reason at its field, and is never shown again', async () => {
    const { user, reader } = await begin()
    const form = { action: 'password', current_password: user.password }
    const weak = await reader.post('/account/password', { ...form, new_password: 'Password2026!' })
    expect([weak.status, errorAt(weak.html, 'password-new_password')]).toEqual([422, expect.stringContaining('too common')])
    const same = await reader.post('/account/password', { ...form, new_password: user.password })
    expect(errorAt(same.html, 'password-new_password')).toBe('New password must differ from the current password.')
    const wrong = await reader.post('/account/password', { ...form, current_password: 'not the password', new_password: NEXT })
    expect([wrong.status, errorAt(wrong.html, 'password-current_password')]).toEqual([401, 'The password is wrong.'])
    for (const { html } of [weak, same, wrong])
      for (const secret of ['Password2026!', user.password, NEXT]) expect(html).not.toContain(secret)
  })

  it('must be changed first where that is demanded; then the reader goes on', async () => {
    const { user, reader } = await begin()
    await gateway.app.identity.administration.forcePasswordChange(user.id, OPERATOR)
    const fresh = createPageReader(gateway, await cookieLogin(gateway, user))
    for (const path of PAGES.filter((page) => page !== '/account/password')) expect((await fresh.get(path)).status).not.toBe(200)
    const page = await fresh.get('/account/password?return_to=/shop/basket%3Fa=1')
    expect(page.html).toContain('Please choose a new password before you go on.')
    expect(page.html).toContain('action="/auth/ui/account/password?return_to=%2Fshop%2Fbasket%3Fa%3D1"')
    const form = { action: 'password', current_password: user.password, new_password: NEXT }
    const { status, to } = await fresh.post('/account/password?return_to=/shop/basket%3Fa=1', form)
    expect([status, to]).toEqual([303, '/auth/ui/account/password?done=changed&return_to=%2Fshop%2Fbasket%3Fa%3D1'])
    expect((await fresh.get(to!)).headers.get('refresh')).toBe('0;url=/shop/basket?a=1')
    expect((await fresh.get('/account')).status).toBe(200)
    expect((await reader.get('/account')).status).not.toBe(200)
  })

  it('leads nowhere else', async () => {
    const { user, reader } = await begin()
    const form = { action: 'password', current_password: user.password, new_password: NEXT }
    const { to } = await reader.post('/account/password?return_to=https://evil.test/', form)
    expect(to).toBe('/auth/ui/account/password?done=changed')
  })
})

describe('two-step login', () => {
  const secretIn = (html: string) => /id="secret">([A-Z2-7 ]+)</.exec(html)![1]!.replaceAll(' ', '')
  const codesIn = (html: string) => [...html.matchAll(/<li><code>([0-9a-z]{5}-[0-9a-z]{5})<\/code><\/li>/g)].map((match) => match[1]!)

  it('is set up with the picture or the secret, and shows its backup codes once', async () => {
    const { user, reader } = await begin()
    const wrong = await reader.post('/account/factors', { action: 'begin', current_password: 'not the password' })
    expect([wrong.status, errorAt(wrong.html, 'begin-current_password')]).toEqual([401, 'The password is wrong.'])
    const shown = await reader.submit('/account/factors', { action: 'begin', current_password: user.password })
    expect(shown.html).toContain('src="data:image/svg+xml;base64,')
    const secret = secretIn(shown.html)
    // a reload and a wrong code keep the picture
    const refused = await reader.post('/account/factors', { action: 'confirm', code: '000000' })
    expect([refused.status, errorAt(refused.html, 'confirm-code')]).toEqual([401, expect.stringContaining('The code is wrong')])
    expect(secretIn(refused.html)).toBe(secret)
    expect(secretIn((await reader.get('/account/factors')).html)).toBe(secret)
    const done = await reader.submit('/account/factors', { action: 'confirm', code: codeOf(secret) })
    expect(done.html).toContain('The two-step login is on.')
    const codes = codesIn(done.html)
    expect(codes).toHaveLength(10)
    expect(decodeURIComponent(/href="data:text\/plain;charset=utf-8,([^"]+)"/.exec(done.html)![1]!)).toContain(codes.join('\n'))
    const again = await reader.get('/account/factors')
    expect(codesIn(again.html)).toEqual([])
    expect(again.html).toContain('Backup codes left: 10.')
    expect((await reader.get('/account')).html).toContain('Backup codes left: 10.')
    expect([...reader.cookies.keys()]).toEqual(['portcullis-dev'])
  })

  it('shows the secret in its own session only', async () => {
    const { user, reader } = await begin()
    const other = await loggedInReader(gateway, user)
    await reader.submit('/account/factors', { action: 'begin', current_password: user.password })
    for (const [name, value] of reader.cookies) if (name !== 'portcullis-dev') other.cookies.set(name, value)
    expect(other.cookies.size).toBe(2)
    expect((await other.get('/account/factors')).html).not.toContain('data:image/svg+xml;base64,')
    other.cookies.set('portcullis-enrolment', 'v1.a.b.c')
    expect((await other.get('/account/factors')).status).toBe(200)
    await reader.submit('/account/factors', { action: 'cancel' })
    expect((await reader.get('/account/factors')).html).not.toContain('data:image/svg+xml;base64,')
  })

  it('leads on to where a role demanded it', async () => {
    const { administration } = careful.app.identity
    await administration.create(
      { username: 'chief', email: 'chief@example.com', password: 'plain zebra of chiefs', roles: ['boss'], mustChangePassword: false },
      OPERATOR,
    )
    const reader = await loggedInReader(careful, { username: 'chief', password: 'plain zebra of chiefs' })
    for (const path of PAGES.filter((page) => !['/account/password', '/account/factors'].includes(page)))
      expect((await reader.get(path)).status).not.toBe(200)
    const path = '/account/factors?return_to=/reports'
    expect((await reader.get(path)).html).toContain('needs a two-step login before you can go on')
    const shown = await reader.submit(path, { action: 'begin', current_password: 'plain zebra of chiefs' })
    const done = await reader.submit(path, { action: 'confirm', code: codeOf(secretIn(shown.html)) })
    expect(done.html).toContain('<a class="button" href="/reports">')
    expect((await reader.get('/account')).status).toBe(200)
  })

  it('gives new backup codes, and is turned off', async () => {
    const { user, reader } = await begin()
    const shown = await reader.submit('/account/factors', { action: 'begin', current_password: user.password })
    const secret = secretIn(shown.html)
    const first = codesIn((await reader.submit('/account/factors', { action: 'confirm', code: codeOf(secret) })).html)
    const second = codesIn((await reader.submit('/account/factors', { action: 'codes' })).html)
    expect(second).toHaveLength(10)
    expect(second).not.toEqual(first)
    const off = await reader.submit('/account/factors', { action: 'remove' })
    expect(off.html).toContain('The two-step login is off.')
    expect(await rows(gateway, 'SELECT mfa_enabled FROM users WHERE id = $1', [user.id])).toEqual([{ mfa_enabled: false }])
  })
})

describe('an old login', () => {
  const has = (html: string, id: string) => html.includes(`id="${id}"`)

  it('must show again that it is the user: by the password', async () => {
    const { user, reader } = await begin()
    expect(has((await reader.get('/account/profile')).html, 'username-current_password')).toBe(false)
    waitSixMinutes()
    const { html } = await reader.get('/account/profile')
    expect([has(html, 'username-current_password'), has(html, 'username-code')]).toEqual([true, false])
    const refused = await reader.post('/account/profile', { action: 'username', username: 'newname' })
    expect(refused.status).toBe(401)
    expect(refused.html).toContain('Please show again that it is you.')
    expect(refused.html).toContain('value="newname"')
    const made = await reader.submit('/account/api-keys', { action: 'create', name: 'a key', current_password: user.password })
    expect(made.html).toContain('it is not shown again')
    expect((await reader.post('/account/delete', { action: 'delete', confirm: 'yes' })).status).toBe(401)
  })

  it('shows the fields when the login has aged between the form and its answer', async () => {
    const { reader } = await begin()
    await reader.get('/account/delete')
    waitSixMinutes()
    const { status, html } = await reader.post('/account/delete', { action: 'delete', confirm: 'yes' })
    expect([status, has(html, 'delete-current_password')]).toEqual([401, true])
  })

  it('of a user with a second factor must show password and code', async () => {
    const user = await newFactorUser(gateway)
    const step = await call(gateway, '/auth/login', {
      body: { login: user.username, password: user.password, session: 'cookie' },
      headers: SAME_ORIGIN,
    })
    const answer = await call(gateway, '/auth/login/mfa', {
      body: { mfa_token: step.body.mfa_token, code: user.backupCodes[0], session: 'cookie' },
      headers: SAME_ORIGIN,
    })
    const reader = createPageReader(gateway, /=(ps_[^;]+)/.exec(answer.headers.getSetCookie()[0]!)![1]!)
    expect(has((await reader.get('/account/api-keys')).html, 'create-code')).toBe(false)
    waitSixMinutes()
    const { html } = await reader.get('/account/api-keys')
    expect([has(html, 'create-current_password'), has(html, 'create-code')]).toEqual([true, true])
    const form = { action: 'create', name: 'a key', current_password: user.password }
    expect((await reader.post('/account/api-keys', form)).status).toBe(401)
    const wrong = await reader.post('/account/api-keys', { ...form, code: '000000' })
    expect([wrong.status, errorAt(wrong.html, 'create-code')]).toEqual([401, expect.stringContaining('The code is wrong')])
    const made = await reader.submit('/account/api-keys', { ...form, code: user.backupCodes[1]! })
    expect(made.html).toContain('it is not shown again')
  })
})

describe('devices', () => {
  it('lists the sessions, marks this session first, and ends another session', async () => {
    const { user, reader } = await begin()
    const other = await loggedInReader(gateway, user)
    const { html } = await other.get('/account/sessions')
    expect(html.match(/class="row"/g)).toHaveLength(3) // the registration opened a session, too
    expect(html.match(/>This device</g)).toHaveLength(1)
    expect(html.indexOf('>This device<')).toBeLessThan(html.indexOf('name="id"'))
    const [session] = await rows<{ session_id: string }>(
      gateway,
      'SELECT session_id FROM session_cookies JOIN sessions ON sessions.id = session_id WHERE user_id = $1 ORDER BY session_cookies.created_at LIMIT 1',
      [user.id],
    )
    expect((await other.submit('/account/sessions', { action: 'end', id: session!.session_id })).html).toContain(
      'The device is logged out.',
    )
    expect((await reader.get('/account')).status).not.toBe(200)
    expect((await other.submit('/account/sessions', { action: 'others' })).html).toContain('All other devices are logged out.')
    expect((await other.get('/account/sessions')).html.match(/class="row"/g)).toHaveLength(1)
  })

  it('cannot end the session of another user', async () => {
    const { reader } = await begin()
    const victim = await begin()
    const [session] = await rows<{ id: string }>(gateway, 'SELECT id FROM sessions WHERE user_id = $1', [victim.user.id])
    for (const id of [session!.id, 'no id', '']) expect((await reader.post('/account/sessions', { action: 'end', id })).status).toBe(404)
    expect((await victim.reader.get('/account')).status).toBe(200)
  })

  it('ends everything, and leads to the login', async () => {
    const { user, reader } = await begin()
    const { status, to } = await reader.post('/account/sessions', { action: 'all' })
    expect([status, to]).toEqual([303, '/auth/ui/login'])
    expect(reader.cookies.size).toBe(0)
    expect((await stateOf(user))[1]).toEqual([])
  })
})

describe('API keys', () => {
  const keyIn = (html: string) => /id="key">(pk_live_[^<]+)</.exec(html)?.[1] ?? null

  it('shows a new key once; the key works until it is revoked', async () => {
    const { user, reader } = await begin()
    const made = await reader.submit('/account/api-keys', { action: 'create', name: 'Backup <b>job</b>', life: 'never' })
    const key = keyIn(made.html)!
    expect(made.html).toContain('Backup &lt;b&gt;job&lt;/b&gt;')
    expect(made.html).toContain('Never expires')
    const again = await reader.get('/account/api-keys')
    expect(again.html).not.toContain(key)
    expect(keyIn(again.html)).toBe(null)
    const [row] = await rows<{ id: string; scopes: string[] }>(gateway, 'SELECT id, scopes FROM api_keys WHERE user_id = $1', [user.id])
    expect(row!.scopes).toEqual(['orders:read', 'orders:write'])
    const revoked = await reader.submit('/account/api-keys', { action: 'revoke', id: row!.id })
    expect(revoked.html).toContain('The key is revoked.')
    expect(revoked.html).toContain('You have no API keys.')
  })

  it('carries what was chosen, and expires when it was said', async () => {
    const { user, reader } = await begin()
    const chosen = { access: 'chosen', 'role:user': 'yes', 'scope:orders:read': 'yes' }
    await reader.submit('/account/api-keys', { action: 'create', name: 'a', ...chosen, life: 'date', expires_on: '2099-12-31' })
    expect(await rows(gateway, 'SELECT roles, scopes, expires_at FROM api_keys WHERE user_id = $1', [user.id])).toEqual([
      { roles: ['user'], scopes: ['orders:read'], expires_at: new Date('2099-12-31T23:59:59Z') },
    ])
  })

  it('refuses a wrong form at its field, with what was typed', async () => {
    const { user, reader } = await begin()
    const post = (fields: Record<string, string>) => reader.post('/account/api-keys', { action: 'create', name: 'typed', ...fields })
    const past = await post({ life: 'date', expires_on: '2001-01-01' })
    expect([past.status, errorAt(past.html, 'create-expires_on')]).toEqual([422, 'Last day must be in the future.'])
    expect(past.html).toContain('value="typed"')
    expect(past.html).toContain('<option value="date" selected>')
    const none = await post({ access: 'chosen' })
    expect([none.status, none.html.includes('Choose at least one role or scope.')]).toEqual([422, true])
    const partly = await post({ name: '', access: 'chosen', 'scope:orders:read': 'yes' })
    expect(errorAt(partly.html, 'create-name')).toBe('Name is required.')
    expect(partly.html).toContain('name="scope:orders:read" value="yes" checked')
    expect((await post({ access: 'chosen', 'role:admin': 'yes' })).status).toBe(403)
    expect((await post({ life: 'soon' })).status).toBe(422)
    expect((await post({ life: 'date', expires_on: 'x' })).status).toBe(422)
    expect((await reader.post('/account/api-keys', { action: 'other' })).status).toBe(422)
    expect((await stateOf(user))[2]).toEqual([])
  })

  it('cannot revoke the key of another user', async () => {
    const { reader } = await begin()
    const victim = await begin()
    await victim.reader.submit('/account/api-keys', { action: 'create', name: 'a key' })
    const [key] = await rows<{ id: string }>(gateway, 'SELECT id FROM api_keys WHERE user_id = $1', [victim.user.id])
    const refused = await reader.post('/account/api-keys', { action: 'revoke', id: key!.id })
    expect(refused.status).toBe(404)
    expect((await stateOf(victim.user))[2]).toEqual([key])
  })
})

describe('the deletion', () => {
  it('asks first, then deletes the account, and says so', async () => {
    const { user, reader } = await begin()
    const asked = await reader.post('/account/delete', { action: 'delete' })
    expect([asked.status, asked.html.includes('Tick the box if you want to delete your account.')]).toEqual([422, true])
    const { status, html } = await reader.submit('/account/delete', { action: 'delete', confirm: 'yes' })
    expect([status, html.includes('Your account and your personal data are deleted.')]).toEqual([200, true])
    expect(reader.cookies.size).toBe(0)
    expect(await rows(gateway, 'SELECT 1 FROM users WHERE id = $1', [user.id])).toEqual([])
  })

  it('is refused to the last administrator', async () => {
    const admin = await newUserWithRoles(gateway, ['admin'])
    const reader = await loggedInReader(gateway, admin)
    const { status, html } = await reader.post('/account/delete', { action: 'delete', confirm: 'yes' })
    expect([status, html.includes('This is the last administrator.')]).toEqual([409, true])
  })
})
