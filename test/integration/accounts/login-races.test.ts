import { describe, expect, it } from 'vitest'
import { call, newUser, OPERATOR, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import type { Gateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'

/** What ends every session, while a login has checked its password and has not opened its session yet. */
const endings: [string, (gateway: Gateway, user: TestUser) => Promise<unknown>][] = [
  [
    'a password change',
    (gateway, { token, password }) =>
      call(gateway, '/auth/password/change', { token, body: { current_password: password, new_password: `${password} again` } }),
  ],
  ['logout-all', (gateway, { token }) => call(gateway, '/auth/logout-all', { method: 'POST', token })],
  ['disabling', (gateway, { username }) => gateway.app.identity.administration.disable(username, OPERATOR)],
]

/** One failed attempt uses an account up. */
const ONE_FAILURE = { limits: { credentials: { account: { limit: 1, windowSeconds: 3600 } } } }

describe('a login that has checked its password', () => {
  const gateway = useGateway({ config: ONE_FAILURE })

  /** The first check of a password from now on ends, but its caller does not hear of it before `release`. */
  function holdNextCheck() {
    const { passwords } = gateway.app.identity
    const { verify } = passwords
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const checked = new Promise<void>((resolve) => {
      passwords.verify = async (...args) => {
        passwords.verify = verify
        const matches = await verify(...args)
        resolve()
        await released
        return matches
      }
    })
    return { checked, release }
  }

  const livingSessions = (user: TestUser) => rows(gateway, 'SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL', [user.id])
  const logIn = (user: TestUser) => call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })

  it.each(endings)('opens no session after %s', async (_, end) => {
    const user = await newUser(gateway)
    const { checked, release } = holdNextCheck()
    const answer = logIn(user)
    await checked
    await end(gateway, user)
    const before = await livingSessions(user)
    release()
    expect((await answer).body).toMatchObject({ status: 401, code: 'invalid_credentials' })
    expect(await livingSessions(user)).toEqual(before)
  })

  it('is no failed attempt when all sessions end meanwhile', async () => {
    const user = await newUser(gateway)
    const { checked, release } = holdNextCheck()
    const answer = logIn(user)
    await checked
    await call(gateway, '/auth/logout-all', { method: 'POST', token: user.token })
    release()
    expect((await answer).status).toBe(401)
    expect((await logIn(user)).status).toBe(200)
    // a wrong password is a failed attempt
    await call(gateway, '/auth/login', { body: { login: user.username, password: `not ${user.password}` } })
    expect((await logIn(user)).status).toBe(429)
  })

  it('opens its session when nothing has changed meanwhile', async () => {
    const user = await newUser(gateway)
    const { checked, release } = holdNextCheck()
    const answer = logIn(user)
    await checked
    release()
    expect((await answer).status).toBe(200)
    expect(await livingSessions(user)).toHaveLength(2)
  })
})
