/** Attacks on sessions by cookie: fixation, tossed cookies, kept values after a step-up, other kinds of credentials, other sites. */
import { beforeAll, describe, expect, it } from 'vitest'
import { BROWSER, byCookie, COOKIE, cookieFrom, cookieLogin, SAME_ORIGIN } from '../support/browser-session.ts'
import { call, newUser, newUserWithRoles, raw, statusOf, type TestUser } from '../support/client.ts'
import { ownEndpoints } from '../support/endpoints.ts'
import { useGateway } from '../support/fixtures.ts'
import { dump, rows } from '../support/rows.ts'
import { codeOf, enrol } from '../support/totp.ts'

const gateway = useGateway({
  config: {
    server: { publicUrl: 'http://localhost' },
    auth: {
      browser: { ...BROWSER.auth.browser, origins: ['http://localhost:5173'] },
      mfa: { requiredForRoles: ['admin'] },
      passkeys: { enabled: true },
    },
    docs: { enabled: true },
  },
})

let user: TestUser
let cookie: string
beforeAll(async () => {
  user = await newUser(gateway)
  cookie = await cookieLogin(gateway, user)
})

const idOf = async (value: string): Promise<string> => (await byCookie(gateway, '/auth/session', value)).body.session.id

describe('fixation', () => {
  it('a login takes over nothing of the cookie that the browser had before', async () => {
    const attacker = await newUser(gateway)
    const planted = await cookieLogin(gateway, attacker)
    const body = { login: user.username, password: user.password, session: 'cookie' }
    const answer = await call(gateway, '/auth/login', { body, headers: { ...SAME_ORIGIN, cookie: `${COOKIE}=${planted}` } })
    const fresh = cookieFrom(answer)!
    expect(fresh).not.toBe(planted)
    expect(await idOf(fresh)).not.toBe(await idOf(planted))
    expect((await byCookie(gateway, '/auth/me', planted)).body.id).toBe(attacker.id)
  })

  it('a value that a client makes up opens nothing, and is never stored', async () => {
    const planted = `ps_${'A'.repeat(55)}`
    const body = { login: user.username, password: user.password, session: 'cookie' }
    const answer = await call(gateway, '/auth/login', { body, headers: { ...SAME_ORIGIN, cookie: `${COOKIE}=${planted}` } })
    expect(cookieFrom(answer)).not.toBe(planted)
    expect(await byCookie(gateway, '/auth/me', planted)).toMatchObject({ status: 401, body: { code: 'token_missing' } })
  })
})

describe('tossed cookies', () => {
  it('a second session of another path or domain makes the request anonymous', async () => {
    const attacker = await cookieLogin(gateway, await newUser(gateway))
    for (const both of [`${COOKIE}=${attacker}; ${COOKIE}=${cookie}`, `${COOKIE}=${cookie}; ${COOKIE}=${attacker}`])
      expect(await call(gateway, '/auth/me', { headers: { ...SAME_ORIGIN, cookie: both } })).toMatchObject({ status: 401 })
  })

  it('junk beside the session does not log the user out', async () => {
    const junk = [`${COOKIE}=`, `${COOKIE}=junk`, `${COOKIE}=ps_${'A'.repeat(55)}`].join('; ')
    const answer = await call(gateway, '/auth/me', { headers: { ...SAME_ORIGIN, cookie: `${junk}; ${COOKIE}=${cookie}` } })
    expect(answer).toMatchObject({ status: 200, body: { id: user.id } })
  })

  it('the names of https and of the console are not read over plain http', async () => {
    for (const name of ['__Host-portcullis', '__Secure-portcullis', 'portcullis-console-dev', 'Portcullis-Dev'])
      expect((await call(gateway, '/auth/me', { headers: { ...SAME_ORIGIN, cookie: `${name}=${cookie}` } })).status, name).toBe(401)
  })

  it('the Host decides whether plain http has a cookie, and not the peer', async () => {
    const send = async (line: string, body = '') => {
      const head = [line, 'Host: gateway.test', 'Sec-Fetch-Site: same-origin', `Cookie: ${COOKIE}=${cookie}`, 'Connection: close']
      const type = body === '' ? [] : ['Content-Type: application/json', `Content-Length: ${body.length}`]
      return raw(gateway.port, [...head, ...type, '', body].join('\r\n'))
    }
    expect(statusOf(await send('GET /auth/me HTTP/1.1'))).toBe(401)
    const body = JSON.stringify({ login: user.username, password: user.password, session: 'cookie' })
    const answer = await send('POST /auth/login HTTP/1.1', body)
    expect(statusOf(answer)).toBe(422)
    expect(answer).toContain('needs https')
  })
})

describe('credentials that were sent on purpose', () => {
  it.each<[what: string, headers: Record<string, string>, code: string]>([
    ['a bad bearer', { authorization: 'Bearer junk' }, 'token_invalid'],
    ['another scheme', { authorization: 'Basic YTpi' }, 'token_missing'],
    ['a bad key of ours', { 'x-api-key': `pk_live_${'A'.repeat(30)}` }, 'token_invalid'],
  ])('%s beside the cookie: the cookie does not count', async (_what, headers, code) => {
    expect(await byCookie(gateway, '/auth/me', cookie, { headers })).toMatchObject({ status: 401, body: { code } })
  })

  it('a refresh token in the body is what ends, and the session of the cookie goes on', async () => {
    const other = await newUser(gateway)
    const own = await cookieLogin(gateway, other)
    const answer = await byCookie(gateway, '/auth/logout', own, { body: { refresh_token: other.refreshToken } })
    expect(answer.status).toBe(204)
    expect(answer.headers.getSetCookie()).toEqual([])
    expect((await byCookie(gateway, '/auth/me', own)).status).toBe(200)
  })

  it('no OAuth endpoint and no refresh reads the cookie', async () => {
    for (const [path, form] of [
      ['/auth/token', 'grant_type=client_credentials'],
      ['/auth/introspect', `token=${cookie}`],
      ['/auth/revoke', `token=${cookie}`],
    ] as const) {
      const headers = { ...SAME_ORIGIN, cookie: `${COOKIE}=${cookie}`, 'content-type': 'application/x-www-form-urlencoded' }
      const answer = await call(gateway, path, { method: 'POST', headers, body: form })
      // the revocation of an unknown token is no error (RFC 7009 §2.2)
      expect(answer.status, path).toBe(path === '/auth/revoke' ? 200 : 401)
    }
    expect((await byCookie(gateway, '/auth/refresh', cookie, { body: {} })).status).toBe(422)
    expect((await byCookie(gateway, '/auth/me', cookie)).status).toBe(200)
  })

  it('a cookie is no bearer, no API key and no refresh token', async () => {
    expect((await call(gateway, '/auth/me', { token: cookie })).body.code).toBe('token_invalid')
    expect((await call(gateway, '/auth/me', { headers: { 'x-api-key': cookie } })).status).toBe(401)
    expect((await call(gateway, '/auth/refresh', { body: { refresh_token: cookie } })).body.code).toBe('refresh_invalid')
  })

  it('an access token is no cookie', async () => {
    expect((await byCookie(gateway, '/auth/me', user.token)).status).toBe(401)
  })
})

describe('other sites', () => {
  it('every endpoint that changes something refuses the cookie of a request from elsewhere', async () => {
    const NEVER = ['/auth/token', '/auth/introspect', '/auth/revoke', '/auth/refresh', '/auth/providers/:id/backchannel-logout']
    // it keeps the answer of a provider, by the cookie of the sign-in alone
    const BY_FLOW = ['/auth/providers/:id/callback']
    const BY_BODY = [
      '/auth/register',
      '/auth/login',
      '/auth/login/mfa',
      '/auth/login/confirm',
      '/auth/password/forgot',
      '/auth/password/reset',
      '/auth/invitations/:token',
    ]
    const admin = await newUserWithRoles(gateway, ['admin'])
    const own = await cookieLogin(gateway, admin)
    const acts = async () => (await rows(gateway, 'SELECT event FROM audit_log WHERE user_id = $1', [admin.id])).length
    const before = await acts()
    let walked = 0
    for (const endpoint of ownEndpoints(gateway)) {
      const [method, path] = endpoint.split(' ') as [string, string]
      if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS' || path.startsWith('/auth/ui')) continue
      if (NEVER.includes(path) || BY_FLOW.includes(path) || BY_BODY.some((open) => path === open || path === `${open}/details`)) continue
      if (/\/email\/verify/.test(path)) continue
      const url = path.replace(/:[a-zA-Z]+/g, admin.id)
      for (const headers of [
        { 'sec-fetch-site': 'cross-site' },
        { 'sec-fetch-site': 'same-site' },
        { origin: 'null', 'sec-fetch-site': '' },
      ]) {
        const answer = await byCookie(gateway, url, own, { method, body: {}, headers: headers as Record<string, string> })
        expect([answer.status, answer.body.code], `${endpoint} ${JSON.stringify(headers)}`).toEqual([403, 'origin_untrusted'])
        expect(answer.headers.getSetCookie(), endpoint).toEqual([])
      }
      walked++
    }
    expect(walked).toBeGreaterThan(30)
    expect(await acts()).toBe(before)
  })

  it('a read from elsewhere is anonymous, and a navigation is not', async () => {
    // `fetch` of Node sends a Sec-Fetch-Mode of its own
    const from = async (fields: Record<string, string>) => {
      const lines = Object.entries({ Cookie: `${COOKIE}=${cookie}`, 'Sec-Fetch-Site': 'cross-site', ...fields }).map((field) =>
        field.join(': '),
      )
      return statusOf(
        await raw(gateway.port, ['GET /auth/me HTTP/1.1', 'Host: localhost', 'Connection: close', ...lines, '', ''].join('\r\n')),
      )
    }
    expect(await from({})).toBe(401)
    expect(await from({ 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'iframe' })).toBe(401)
    expect(await from({ 'Sec-Fetch-Mode': 'no-cors', 'Sec-Fetch-Dest': 'image' })).toBe(401)
    expect(await from({ 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' })).toBe(200)
    expect(await from({ 'Sec-Fetch-Mode': 'cors', Origin: 'http://localhost:5173' })).toBe(200)
    expect(await from({ 'Sec-Fetch-Mode': 'cors', Origin: 'http://localhost:5174' })).toBe(401)
  })

  it('a bearer is judged as before, wherever the request comes from', async () => {
    const headers = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.test', cookie: `${COOKIE}=${cookie}` }
    expect((await call(gateway, '/auth/me', { token: user.token, headers })).status).toBe(200)
    expect((await call(gateway, '/auth/sessions', { method: 'DELETE', token: (await newUser(gateway)).token, headers })).status).toBe(204)
  })
})

describe('step-up', () => {
  it('a code raises the level of the new value alone, and of no token', async () => {
    const owner = await newUser(gateway)
    const old = await cookieLogin(gateway, owner)
    const begun = await byCookie(gateway, '/auth/mfa/totp', old, { body: { password: owner.password } })
    const confirm = () => byCookie(gateway, '/auth/mfa/totp/confirm', old, { body: { code: codeOf(begun.body.secret, -1) } })
    const first = await confirm()
    const confirmed = first.status === 200 ? first : await confirm()
    expect(Object.keys(confirmed.body)).toEqual(['backup_codes'])
    const fresh = cookieFrom(confirmed)!
    expect((await byCookie(gateway, '/auth/session', fresh)).body).toMatchObject({
      user: { mfa_enabled: true },
      session: { amr: ['pwd', 'otp', 'mfa'] },
    })
    expect((await byCookie(gateway, '/auth/session', old)).body.session.amr).toEqual(['pwd'])
    // a change that asks for the factor: the old value is not enough
    expect((await byCookie(gateway, '/auth/api-keys', old, { body: { name: 'k' } })).body.code).toBe('reauthentication_required')
    expect((await byCookie(gateway, '/auth/api-keys', fresh, { body: { name: 'k' } })).status).toBe(201)
    await rows(gateway, `UPDATE session_cookies SET superseded_at = superseded_at - interval '11 seconds' WHERE superseded_at IS NOT NULL`)
    await call(gateway, '/auth/mfa', { token: owner.token })
  })

  it('removing the factor lowers every value at once', async () => {
    const owner = await enrol(gateway, await newUser(gateway))
    const login = await call(gateway, '/auth/login', { body: { login: owner.username, password: owner.password } })
    const body = { mfa_token: login.body.mfa_token, code: owner.backupCodes[0], session: 'cookie' }
    const entered = await call(gateway, '/auth/login/mfa', { body, headers: SAME_ORIGIN })
    expect(Object.keys(entered.body).sort()).toEqual(['device_token', 'user'])
    const own = cookieFrom(entered)!
    expect((await byCookie(gateway, '/auth/session', own)).body.session.amr).toContain('otp')
    const removed = await byCookie(gateway, '/auth/mfa/totp', own, { method: 'DELETE', body: { code: owner.backupCodes[1] } })
    expect(removed.status).toBe(204)
    expect((await byCookie(gateway, '/auth/session', own)).body.session.amr).toEqual(['pwd'])
  })

  it('a changed password ends every other session, and keeps this session with a new cookie', async () => {
    const owner = await newUser(gateway)
    const [own, other] = [await cookieLogin(gateway, owner, { remember: true }), await cookieLogin(gateway, owner)]
    const id = await idOf(own)
    const change = { current_password: owner.password, new_password: 'another plain zebra 77' }
    const changed = await byCookie(gateway, '/auth/password/change', own, { body: change })
    expect(Object.keys(changed.body)).toEqual(['user'])
    expect(changed.headers.getSetCookie()[0]).toMatch(/; Max-Age=\d+$/)
    const fresh = cookieFrom(changed)!
    expect(await idOf(fresh)).toBe(id)
    expect((await byCookie(gateway, '/auth/sessions', fresh)).body.sessions).toHaveLength(1)
    expect((await byCookie(gateway, '/auth/me', other)).status).toBe(401)
    expect((await call(gateway, '/auth/me', { token: owner.token })).body.code).toBe('token_revoked')
  })

  it('two step-ups at the same moment leave one value', async () => {
    const owner = await newUser(gateway)
    const own = await cookieLogin(gateway, owner)
    const id = await idOf(own)
    const again = () => byCookie(gateway, '/auth/reauthenticate', own, { body: { password: owner.password } })
    const both = await Promise.all([again(), again()])
    expect(both.map(({ status }) => status)).toEqual([200, 200])
    const current = await rows(gateway, 'SELECT 1 FROM session_cookies WHERE session_id = $1 AND superseded_at IS NULL', [id])
    expect(current).toHaveLength(1)
  })

  it('a caller by token may go over to a cookie, and its tokens end', async () => {
    const owner = await newUser(gateway)
    const body = { password: owner.password, session: 'cookie' }
    expect(await call(gateway, '/auth/reauthenticate', { token: owner.token, body })).toMatchObject({ body: { code: 'origin_untrusted' } })
    const answer = await call(gateway, '/auth/reauthenticate', { token: owner.token, body, headers: SAME_ORIGIN })
    expect(Object.keys(answer.body)).toEqual(['user'])
    expect((await byCookie(gateway, '/auth/me', cookieFrom(answer)!)).status).toBe(200)
    expect((await call(gateway, '/auth/me', { token: owner.token })).body.code).toBe('token_revoked')
  })

  it('a role that asks for a factor is not in force before the factor', async () => {
    const owner = await newUserWithRoles(gateway, ['admin'])
    const own = await cookieLogin(gateway, owner)
    expect((await byCookie(gateway, '/auth/admin/users', own)).body.code).toBe('mfa_required')
  })
})

describe('the end', () => {
  it('a logout everywhere ends cookies and tokens, and the keys that the session made', async () => {
    const owner = await newUser(gateway)
    const own = await cookieLogin(gateway, owner)
    const { key } = (await byCookie(gateway, '/auth/api-keys', own, { body: { name: 'k' } })).body
    expect(key).toMatch(/^pk_/)
    const answer = await byCookie(gateway, '/auth/logout-all', own, { method: 'POST' })
    expect(answer.status).toBe(204)
    expect(answer.headers.getSetCookie()).toHaveLength(1)
    expect((await byCookie(gateway, '/auth/me', own)).status).toBe(401)
    expect((await call(gateway, '/auth/me', { token: owner.token })).body.code).toBe('token_revoked')
    expect((await rows(gateway, 'SELECT 1 FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL', [owner.id])).length).toBe(0)
  })

  it('a deleted account leaves no cookie', async () => {
    const owner = await newUser(gateway)
    const own = await cookieLogin(gateway, owner)
    const id = await idOf(own)
    expect((await byCookie(gateway, '/auth/me', own, { method: 'DELETE', body: { current_password: owner.password } })).status).toBe(204)
    expect(await rows(gateway, 'SELECT 1 FROM session_cookies WHERE session_id = $1', [id])).toEqual([])
    expect((await byCookie(gateway, '/auth/me', own)).status).toBe(401)
  })

  it('a logout without a session clears the cookie, but not for another site', async () => {
    const dead = `ps_${'A'.repeat(55)}`
    const answer = await byCookie(gateway, '/auth/session', dead, { method: 'DELETE' })
    expect([answer.status, answer.headers.getSetCookie().length]).toEqual([204, 1])
    for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }]) {
      const refused = await call(gateway, '/auth/session', { method: 'DELETE', headers })
      expect([refused.status, refused.headers.getSetCookie()]).toEqual([403, []])
    }
  })

  it('an answer that refuses an unknown cookie leaves it where it is', async () => {
    const answer = await byCookie(gateway, '/auth/me', `ps_${'A'.repeat(55)}`)
    expect(answer.headers.getSetCookie()).toEqual([])
  })
})

it('no value is in the database or in the log', async () => {
  const all = await dump(gateway)
  expect(all).not.toContain(cookie)
  expect(all).not.toContain(cookie.slice(3, 30))
  expect(JSON.stringify(gateway.log())).not.toContain(cookie.slice(3, 30))
})
