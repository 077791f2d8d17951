/** What a worker remembers of session cookies, for how long, and what makes it ask the database again. */
import { describe, expect, it } from 'vitest'
import { anotherWorker, BROWSER, byCookie, COOKIE, cookieFrom, cookieLogin } from '../../support/browser-session.ts'
import { call, newUser, newUserWithRoles, OPERATOR } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { until } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'
import { times } from '../../support/times.ts'

const TTL_SECONDS = 900
const IDLE_SECONDS = 3600
const gateway = useGateway({
  config: { ...BROWSER, auth: { ...BROWSER.auth, sessions: { idleTtlSeconds: IDLE_SECONDS } }, tokens: { accessTtlSeconds: TTL_SECONDS } },
})

const session = async () => {
  const user = await newUser(gateway)
  const cookie = await cookieLogin(gateway, user)
  const { id } = (await byCookie(gateway, '/auth/session', cookie)).body.session
  return { user, cookie, id: id as string }
}

describe('a remembered session', () => {
  it('is a user with the roles, the level and the headers of a token', async () => {
    const { user, cookie, id } = await session()
    const principal = await anotherWorker(gateway).see(cookie)
    expect(principal).toMatchObject({ kind: 'user', id: user.id, sessionId: id, hasFactor: false, owesFactor: false, signingKid: null })
    expect(principal!.roles).toEqual(new Set(['user']))
    expect(principal!.identityHeaders).toContain(user.id)
    expect(Math.abs(principal!.authenticatedAt - Date.now() / 1000)).toBeLessThan(60)
  })

  it('costs one look-up, however many requests ask at first', async () => {
    const { cookie } = await session()
    const worker = anotherWorker(gateway)
    const seen = await Promise.all(times(20, () => worker.see(cookie)))
    expect(new Set(seen).size).toBe(1)
    await worker.see(cookie)
    expect(worker.reads()).toBe(1)
  })

  it('answers at once, without a promise', async () => {
    const { cookie } = await session()
    const worker = anotherWorker(gateway)
    await worker.see(cookie)
    const request = { method: 'GET', headers: { host: 'localhost', 'sec-fetch-site': 'none', cookie: `a=1; ${COOKIE}=${cookie}` } }
    const context = { client: { viaTrustedProxy: false, isSecure: false }, isUpgrade: false }
    expect(worker.authenticate(request as never, context as never, { isStrict: false, isPublic: true })).toHaveProperty('cookieId')
  })

  it('is read again in the background after half of its time', async () => {
    const { cookie } = await session()
    const worker = anotherWorker(gateway)
    await worker.see(cookie)
    worker.clock.advance((TTL_SECONDS / 2 + 1) * 1000)
    await worker.see(cookie)
    await until(() => worker.reads() === 2, 'the look-up in the background')
  })

  it('is looked up anew after all of its time', async () => {
    const { cookie } = await session()
    const worker = anotherWorker(gateway)
    await worker.see(cookie)
    worker.clock.advance(TTL_SECONDS * 1000)
    await worker.see(cookie)
    expect(worker.reads()).toBe(2)
  })

  it('goes on for the life of an access token while the database is away, then the answer is 503', async () => {
    const { cookie } = await session()
    const worker = anotherWorker(gateway)
    await worker.see(cookie)
    worker.loseDatabase()
    worker.clock.advance((TTL_SECONDS - 1) * 1000)
    expect(await worker.see(cookie)).not.toBeNull()
    worker.clock.advance(2000)
    await expect(worker.see(cookie)).rejects.toMatchObject({ code: 'unavailable', status: 503 })
  })

  it('an unknown cookie while the database is away: 503, and on a public route nobody', async () => {
    const { cookie } = await session()
    const worker = anotherWorker(gateway)
    worker.loseDatabase()
    await expect(worker.see(cookie)).rejects.toMatchObject({ code: 'unavailable' })
    expect(await worker.see(cookie, { isPublic: true })).toBeNull()
  })

  it('ends at once when the session is ended elsewhere', async () => {
    const { user, cookie, id } = await session()
    const worker = anotherWorker(gateway)
    await worker.see(cookie)
    expect((await call(gateway, `/auth/sessions/${id}`, { method: 'DELETE', token: user.token })).status).toBe(204)
    expect(await worker.see(cookie)).toBeNull()
    expect(await worker.reload((await worker.see(cookie)) ?? ({ sessionId: id, cookieId: 'x' } as never))).toBeNull()
  })

  it('shows a changed user at once', async () => {
    const { user, cookie } = await session()
    const worker = anotherWorker(gateway)
    await newUserWithRoles(gateway, ['admin'])
    expect((await worker.see(cookie))!.roles).toEqual(new Set(['user']))
    await gateway.app.identity.administration.grant(user.id, 'admin', OPERATOR)
    expect((await worker.see(cookie))!.roles).toEqual(new Set(['admin', 'user']))
    await gateway.app.identity.administration.disable(user.id, OPERATOR)
    expect(await worker.see(cookie)).toBeNull()
  })
})

describe('an unknown value', () => {
  it('without the form of ours costs nothing, with a wrong tag the budget of the address, and neither is looked up', async () => {
    const { cookie } = await session()
    const worker = anotherWorker(gateway)
    for (const value of ['', 'x', 'a'.repeat(5000), `${cookie}x`, `"${cookie}"`]) expect(await worker.see(value)).toBeNull()
    expect([worker.reads(), worker.failures()]).toEqual([0, 0])
    expect(await worker.see(`${cookie.slice(0, -1)}${cookie.endsWith('A') ? 'B' : 'A'}`)).toBeNull()
    expect([worker.reads(), worker.failures()]).toEqual([0, 1])
  })

  it('never gets 429, and keeps nobody out', async () => {
    const { cookie } = await session()
    const worker = anotherWorker(gateway, { isExhausted: true })
    expect(await worker.see(`ps_${'A'.repeat(55)}`)).toBeNull()
    expect(await worker.see(cookie)).not.toBeNull()
  })

  it('of a session that has ended is asked once, and costs nothing', async () => {
    const { cookie } = await session()
    await byCookie(gateway, '/auth/session', cookie, { method: 'DELETE' })
    const worker = anotherWorker(gateway)
    for (let i = 0; i < 45; i++) expect(await worker.see(cookie)).toBeNull()
    expect([worker.reads(), worker.failures()]).toEqual([1, 0])
  })

  it('of the console is none of a browser, and the other way round', async () => {
    const { cookie } = await session()
    const worker = anotherWorker(gateway, { purpose: 'console' })
    expect(await worker.see(cookie)).toBeNull()
    expect(worker.reads()).toBe(0)
  })
})

describe('the last use', () => {
  const lastUse = async (id: string) =>
    (await rows(gateway, 'SELECT last_used_at FROM sessions WHERE id = $1', [id]))[0].last_used_at.getTime()
  const setLastUse = (id: string, secondsAgo: number) =>
    rows(gateway, `UPDATE sessions SET last_used_at = clock_timestamp() - make_interval(secs => $2::float8) WHERE id = $1`, [
      id,
      secondsAgo,
    ])

  it('is written at most once a minute, and never set back', async () => {
    const { cookie, id } = await session()
    const worker = anotherWorker(gateway)
    const begin = await lastUse(id)
    await worker.see(cookie)
    expect(await lastUse(id)).toBe(begin)
    await setLastUse(id, 120)
    worker.clock.advance(61_000)
    await worker.see(cookie)
    await until(async () => (await lastUse(id)) >= begin, 'the last use')
    await setLastUse(id, -300)
    const later = await lastUse(id)
    worker.clock.advance(61_000)
    await worker.see(cookie)
    await worker.see(cookie)
    expect(await lastUse(id)).toBe(later)
  })

  it('ends the session when it is too long ago', async () => {
    const { cookie, id } = await session()
    await setLastUse(id, IDLE_SECONDS + 1)
    expect(await anotherWorker(gateway).see(cookie)).toBeNull()
  })

  it('is read again before a refusal: another worker may have seen the session since', async () => {
    const { cookie, id } = await session()
    const worker = anotherWorker(gateway)
    await worker.see(cookie)
    // one worker after the other believes that nobody was here
    worker.clock.advance((TTL_SECONDS - 1) * 1000)
    worker.clock.advance(IDLE_SECONDS * 1000)
    expect(await worker.see(cookie)).not.toBeNull()
    worker.clock.advance((IDLE_SECONDS + 1) * 1000)
    await setLastUse(id, IDLE_SECONDS + 1)
    expect(await worker.see(cookie)).toBeNull()
  })

  it('ends a session that a list no longer shows', async () => {
    const { user, cookie, id } = await session()
    const listed = async () => (await call(gateway, '/auth/sessions', { token: user.token })).body.sessions.map((s: { id: string }) => s.id)
    expect(await listed()).toContain(id)
    await setLastUse(id, IDLE_SECONDS + 1)
    expect(await listed()).not.toContain(id)
    expect(await anotherWorker(gateway).see(cookie)).toBeNull()
  })
})

it('the absolute end is final', async () => {
  const { cookie, id } = await session()
  const worker = anotherWorker(gateway)
  await worker.see(cookie)
  await rows(gateway, `UPDATE sessions SET expires_at = clock_timestamp() + interval '10 seconds' WHERE id = $1`, [id])
  worker.clock.advance(TTL_SECONDS * 1000)
  expect(await worker.see(cookie)).not.toBeNull()
  worker.clock.advance(11_000)
  expect(await worker.see(cookie)).toBeNull()
})

describe('after a step-up', () => {
  it('the old value goes on for ten seconds at its old level, on every worker', async () => {
    const { user, cookie, id } = await session()
    const worker = anotherWorker(gateway)
    await rows(gateway, `UPDATE session_cookies SET auth_time = auth_time - interval '1 hour' WHERE session_id = $1`, [id])
    const before = (await worker.see(cookie))!
    const answer = await byCookie(gateway, '/auth/reauthenticate', cookie, { body: { password: user.password } })
    const after = (await worker.see(cookieFrom(answer)!))!
    expect(after.sessionId).toBe(before.sessionId)
    expect(after.authenticatedAt).toBeGreaterThan(before.authenticatedAt + 3000)
    const old = (await worker.see(cookie))!
    expect(old.authenticatedAt).toBe(before.authenticatedAt)
    worker.clock.advance(10_001)
    expect(await worker.see(cookie)).toBeNull()
    expect(await worker.see(cookieFrom(answer)!)).not.toBeNull()
  })

  it('a worker that has never seen the old value refuses it after ten seconds', async () => {
    const { user, cookie, id } = await session()
    await byCookie(gateway, '/auth/reauthenticate', cookie, { body: { password: user.password } })
    await rows(gateway, `UPDATE session_cookies SET superseded_at = superseded_at - interval '11 seconds' WHERE session_id = $1`, [id])
    expect(await anotherWorker(gateway).see(cookie)).toBeNull()
  })

  it('a stream of the old value goes on, at its own level, until the session ends', async () => {
    const { user, cookie, id } = await session()
    const worker = anotherWorker(gateway)
    await rows(gateway, `UPDATE session_cookies SET auth_time = auth_time - interval '1 hour' WHERE session_id = $1`, [id])
    const streaming = (await worker.see(cookie))!
    const answer = await byCookie(gateway, '/auth/reauthenticate', cookie, { body: { password: user.password } })
    await rows(gateway, `UPDATE session_cookies SET superseded_at = superseded_at - interval '1 day' WHERE superseded_at IS NOT NULL`)
    expect(await worker.reload(streaming)).toMatchObject({ sessionId: id, authenticatedAt: streaming.authenticatedAt })
    await byCookie(gateway, '/auth/session', cookieFrom(answer)!, { method: 'DELETE' })
    expect(await worker.reload(streaming)).toBeNull()
  })
})

it('several values: one valid session counts, two do not', async () => {
  const [a, b] = [await session(), await session()]
  const worker = anotherWorker(gateway)
  const together = (...values: string[]) => worker.see(values.join(`; ${COOKIE}=`))
  expect((await together('junk', a.cookie))!.id).toBe(a.user.id)
  expect((await together(`ps_${'A'.repeat(55)}`, a.cookie, a.cookie))!.id).toBe(a.user.id)
  expect(await together(a.cookie, b.cookie)).toBeNull()
  expect(await together('1', '2', '3', '4', a.cookie)).toBeNull()
  await byCookie(gateway, '/auth/session', b.cookie, { method: 'DELETE' })
  expect((await together(a.cookie, b.cookie))!.id).toBe(a.user.id)
})

it('an operator who is an administrator sees and ends a session by cookie', async () => {
  const { user, cookie, id } = await session()
  const admin = await newUserWithRoles(gateway, ['admin'])
  const { body } = await call(gateway, `/auth/admin/users/${user.id}/sessions`, { token: admin.token })
  expect(body.sessions.map((s: { id: string }) => s.id)).toContain(id)
  await call(gateway, `/auth/admin/users/${user.id}/sessions/${id}`, { method: 'DELETE', token: admin.token })
  expect(await byCookie(gateway, '/auth/me', cookie)).toMatchObject({ status: 401 })
})
