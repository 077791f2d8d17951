/** A session by cookie over the JSON API: login, use, step-up, logout. */
import { describe, expect, it } from 'vitest'
import { BROWSER, byCookie, COOKIE, cookieFrom, cookieLogin, SAME_ORIGIN } from '../../support/browser-session.ts'
import { call, newUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
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
