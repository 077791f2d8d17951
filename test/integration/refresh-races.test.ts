import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, newUser, type TestUser } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { query } from '../support/postgres.ts'

const refresh = (gateway: Gateway, token: string) => call(gateway, '/auth/refresh', { body: { refresh_token: token } })
const tokensOf = (gateway: Gateway, user: TestUser) =>
  query<{ n: number }>(
    gateway.databaseUrl,
    'SELECT count(*)::int AS n FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE s.user_id = $1',
    [user.id],
  )
const statuses = (answers: { status: number }[]) => answers.map((a) => a.status).sort()
/** Lets a random number of turns of the event loop pass. */
const someTurns = async () => {
  for (let n = Math.floor(Math.random() * 12); n > 0; n--) await new Promise((resolve) => setImmediate(resolve))
}

describe('parallel refreshes', () => {
  let strict: Gateway
  let repeating: Gateway
  beforeAll(async () => {
    strict = await startGateway()
    repeating = await startGateway({ config: { auth: { refresh: { onRetry: 'repeat' } } } })
  })
  afterAll(async () => {
    await strict.close()
    await repeating.close()
  })

  it('50 of one token make one new row: one 200 and 49 times refresh_superseded', async () => {
    const user = await newUser(strict)
    const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(strict, user.refreshToken)))
    expect(answers.filter((a) => a.status === 200)).toHaveLength(1)
    expect(answers.filter((a) => a.status === 401 && a.body.code === 'refresh_superseded')).toHaveLength(49)
    expect(await tokensOf(strict, user)).toEqual([{ n: 2 }])
    const successor = answers.find((a) => a.status === 200)!.body.refresh_token
    expect((await refresh(strict, successor)).status).toBe(200)
  })

  it('50 of one token with onRetry: repeat are 50 times the same successor', async () => {
    const user = await newUser(repeating)
    const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(repeating, user.refreshToken)))
    expect(statuses(answers)).toEqual(Array.from({ length: 50 }, () => 200))
    expect(new Set(answers.map((a) => a.body.refresh_token)).size).toBe(1)
    expect(await tokensOf(repeating, user)).toEqual([{ n: 2 }])
  })

  it('200 interleavings with a logout leave no living token after the 204', async () => {
    const round = async () => {
      const user = await newUser(strict)
      const refreshing = someTurns().then(() => refresh(strict, user.refreshToken))
      const loggingOut = someTurns().then(() => call(strict, '/auth/logout', { body: { refresh_token: user.refreshToken } }))
      const [refreshed, loggedOut] = await Promise.all([refreshing, loggingOut])
      expect(loggedOut.status).toBe(204)
      const living = [
        user,
        ...(refreshed.status === 200 ? [{ token: refreshed.body.access_token, refreshToken: refreshed.body.refresh_token }] : []),
      ]
      for (const { token, refreshToken } of living) {
        expect((await call(strict, '/auth/me', { token })).status).toBe(401)
        expect((await refresh(strict, refreshToken)).body.code).toBe('refresh_invalid')
      }
      return refreshed.status
    }
    const seen = new Map<number, number>()
    for (let i = 0; i < 20; i++)
      for (const status of await Promise.all(Array.from({ length: 10 }, round))) seen.set(status, (seen.get(status) ?? 0) + 1)
    // both orders happened, and nothing else
    expect([...seen.keys()].sort()).toEqual([200, 401])
  })

  it('refresh, logout-all and password change at once end in no server error and no old token', async () => {
    const round = async () => {
      const user = await newUser(strict)
      const next = 'another horse battery'
      const [refreshed, ended, changed] = await Promise.all([
        someTurns().then(() => refresh(strict, user.refreshToken)),
        someTurns().then(() => call(strict, '/auth/logout-all', { method: 'POST', token: user.token })),
        someTurns().then(() =>
          call(strict, '/auth/password/change', { token: user.token, body: { current_password: user.password, new_password: next } }),
        ),
      ])
      expect([200, 401]).toContain(refreshed.status)
      expect([204, 401]).toContain(ended.status)
      expect([200, 401]).toContain(changed.status)
      const old = [user.token, ...(refreshed.status === 200 ? [refreshed.body.access_token] : [])]
      for (const token of old) expect((await call(strict, '/auth/me', { token })).status).toBe(401)
    }
    for (let i = 0; i < 8; i++) await Promise.all(Array.from({ length: 8 }, round))
  })

  it('a login that was checking the old password opens no session once it is changed', async () => {
    const round = async () => {
      const user = await newUser(strict)
      const [changed, entered] = await Promise.all([
        call(strict, '/auth/password/change', {
          token: user.token,
          body: { current_password: user.password, new_password: 'another horse battery' },
        }),
        someTurns().then(() => call(strict, '/auth/login', { body: { login: user.username, password: user.password } })),
      ])
      expect(changed.status).toBe(200)
      if (entered.status === 200) expect((await call(strict, '/auth/me', { token: entered.body.access_token })).status).toBe(401)
      else expect(entered.body.code).toBe('invalid_credentials')
    }
    await Promise.all(Array.from({ length: 20 }, round))
  })
})
