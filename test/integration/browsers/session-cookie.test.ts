/** A session by cookie over the JSON API: login, use, step-up, logout. */
import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { BROWSER, byCookie, COOKIE, cookieFrom, cookieLogin, SAME_ORIGIN } from '../../support/browser-session.ts'
import { call, newUser } from '../../support/client.ts'
import { useGateway, useKeep } from '../../support/fixtures.ts'
import { metric, startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'

const gateway = useGateway({ config: BROWSER })

describe('login', () => {
  it('sets the cookie, and gives no tokens', async () => {
    const user = await newUser(gateway)
    const body = { login: user.username, password: user.password, session: 'cookie' }
    const answer = await call(gateway, '/auth/login', { body, headers: SAME_ORIGIN })
    expect(answer.status).toBe(200)
    expect(Object.keys(answer.body).sort()).toEqual(['device_token', 'user'])
    const [set, ...more] = answer.headers.getSetCookie()
    expect(more).toEqual([])
    expect(set).toMatch(new RegExp(`^${COOKIE}=ps_[A-Za-z0-9_-]{55}; Path=/; HttpOnly; SameSite=Lax$`))
    const cookie = cookieFrom(answer)!
    expect((await byCookie(gateway, '/auth/me', cookie)).body.username).toBe(user.username)
    const session = await byCookie(gateway, '/auth/session', cookie)
    expect(session).toMatchObject({ status: 200, body: { user: { id: user.id }, session: { amr: ['pwd'] } } })
    expect(await rows(gateway, 'SELECT 1 FROM refresh_tokens WHERE session_id = $1', [session.body.session.id])).toEqual([])
  })

  it('keeps the cookie for the absolute rest of the session, if the user stays logged in', async () => {
    const user = await newUser(gateway)
    const body = { login: user.username, password: user.password, session: 'cookie', remember: true }
    const answer = await call(gateway, '/auth/login', { body, headers: SAME_ORIGIN })
    expect(answer.headers.getSetCookie()[0]).toMatch(/; Max-Age=2592000$/)
  })

  it('comes from a page of this origin', async () => {
    const user = await newUser(gateway)
    const body = { login: user.username, password: user.password, session: 'cookie' }
    for (const headers of [{}, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { origin: 'null' }])
      expect(await call(gateway, '/auth/login', { body, headers })).toMatchObject({ status: 403, body: { code: 'origin_untrusted' } })
  })
})

describe('logout', () => {
  it('ends the session at once, and clears the cookie', async () => {
    const cookie = await cookieLogin(gateway, await newUser(gateway))
    const answer = await byCookie(gateway, '/auth/session', cookie, { method: 'DELETE' })
    expect(answer.status).toBe(204)
    expect(answer.headers.getSetCookie()).toEqual([`${COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0`])
    expect(await byCookie(gateway, '/auth/me', cookie)).toMatchObject({ status: 401, body: { code: 'token_missing' } })
  })
})

describe('step-up', () => {
  it('keeps the session, and changes the cookie', async () => {
    const user = await newUser(gateway)
    const old = await cookieLogin(gateway, user)
    const { id } = (await byCookie(gateway, '/auth/session', old)).body.session
    const answer = await byCookie(gateway, '/auth/reauthenticate', old, { body: { password: user.password } })
    expect(Object.keys(answer.body)).toEqual(['user'])
    const fresh = cookieFrom(answer)!
    expect(fresh).not.toBe(old)
    expect((await byCookie(gateway, '/auth/session', fresh)).body.session.id).toBe(id)
  })
})

describe('a login', () => {
  it('is counted by where it came from', async () => {
    const user = await newUser(gateway)
    const count = (via: string) => metric(gateway, 'portcullis_logins_total', { outcome: 'success', via })
    const [api, page] = [await count('api'), await count('page')]
    await cookieLogin(gateway, user)
    expect([await count('api'), await count('page')]).toEqual([api + 1, page])
    const form = new URLSearchParams({ login: user.username, password: user.password }).toString()
    const headers = { ...SAME_ORIGIN, 'content-type': 'application/x-www-form-urlencoded' }
    const answer = await call(gateway, '/auth/ui/login', { method: 'POST', body: form, headers })
    expect([answer.status, cookieFrom(answer)]).toEqual([303, expect.stringMatching(/^ps_/)])
    expect([await count('api'), await count('page')]).toEqual([api + 1, page + 1])
  })

  it('is asked for with fields that belong together', async () => {
    const user = await newUser(gateway)
    const ask = (fields: object) => call(gateway, '/auth/login', { body: { login: user.username, password: user.password, ...fields } })
    expect(await ask({ remember: true })).toMatchObject({ status: 422, body: { errors: [{ field: 'remember', code: 'not_allowed' }] } })
    for (const session of ['console', 'token', true]) expect((await ask({ session })).status).toBe(422)
  })

  it('registers with a cookie, too', async () => {
    const person = { username: 'by-cookie', email: 'by-cookie@example.com', password: 'plain zebra of the meadow', session: 'cookie' }
    const answer = await call(gateway, '/auth/register', { body: person, headers: SAME_ORIGIN })
    expect([answer.status, Object.keys(answer.body).sort()]).toEqual([201, ['device_token', 'user']])
    expect((await byCookie(gateway, '/auth/me', cookieFrom(answer)!)).body.username).toBe('by-cookie')
  })
})

describe('without browsers', () => {
  const plain = useGateway()

  it('no cookie is given or read, and the endpoints of the cookie do not exist', async () => {
    const user = await newUser(plain)
    const body = { login: user.username, password: user.password, session: 'cookie' }
    const refused = await call(plain, '/auth/login', { body, headers: SAME_ORIGIN })
    expect(refused).toMatchObject({ status: 422, body: { errors: [{ field: 'session', code: 'unknown' }] } })
    expect((await call(plain, '/auth/session', { token: user.token })).status).toBe(404)
    expect((await byCookie(plain, '/auth/me', `ps_${'A'.repeat(55)}`)).body.code).toBe('token_missing')
  })
})

describe('beyond one gateway', () => {
  const keep = useKeep()

  it('a session counts after the secret key was changed, while the previous key is known', async () => {
    const old = await keep(startGateway({ config: BROWSER }))
    const cookie = await cookieLogin(old, await newUser(old))
    const shared = { config: BROWSER, databaseUrl: old.databaseUrl, secretKey: randomBytes(32).toString('base64') }
    const rotated = await keep(startGateway({ ...shared, env: { PORTCULLIS_SECRET_KEY_PREVIOUS: old.secretKey } }))
    expect((await byCookie(rotated, '/auth/me', cookie)).status).toBe(200)
    const alone = await keep(startGateway(shared))
    expect(await byCookie(alone, '/auth/me', cookie)).toMatchObject({ status: 401, body: { code: 'token_missing' } })
  })

  it('a session that is one too many ends, whatever kind it is of', async () => {
    const config = { auth: { browser: { enabled: true }, sessions: { maxPerUser: 2 } } }
    const limited = await keep(startGateway({ config }))
    const user = await newUser(limited)
    const first = await cookieLogin(limited, user)
    const second = await cookieLogin(limited, user)
    expect((await call(limited, '/auth/me', { token: user.token })).body.code).toBe('token_revoked')
    expect((await call(limited, '/auth/login', { body: { login: user.username, password: user.password } })).status).toBe(200)
    expect((await byCookie(limited, '/auth/me', first)).status).toBe(401)
    expect((await byCookie(limited, '/auth/me', second)).status).toBe(200)
  })
})
