import { setImmediate as tick } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { type Answer, call, login, newUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { type GatewayOptions, startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, endGrace, logout, me, refresh } from '../../support/session.ts'
import { times } from '../../support/times.ts'

// as many connections as requests at a time: what is raced for are rows, not connections
const database = { poolSize: 60 }
const withRefresh = (over: object): GatewayOptions => ({ config: { database, auth: { refresh: { graceSeconds: 300, ...over } } } })

const tally = (answers: Answer[]) => {
  const counts: Record<string, number> = {}
  for (const { status, body } of answers) {
    const word = status < 300 ? String(status) : `${status} ${body.code}`
    counts[word] = (counts[word] ?? 0) + 1
  }
  return counts
}
/** As a client does that receives 503 and Retry-After: a machine that is too busy to open connections in time proves nothing. */
async function patiently(ask: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await ask()
    if (answer.status !== 503) return answer
  }
}
/** Some turns of the event loop, another number each time. */
async function aWhile(): Promise<void> {
  for (let left = Math.floor(Math.random() * 60); left > 0; left--) await tick()
}

describe('fifty refreshes of one token at the same moment', () => {
  it('make one successor with onRetry: reject: one gets it, the others are superseded', async () => {
    const gateway = await startGateway(withRefresh({ onRetry: 'reject' }))
    const user = await newUser(gateway)
    const answers = await Promise.all(times(50, () => patiently(() => refresh(gateway, user.refreshToken))))
    expect(tally(answers)).toEqual({ '200': 1, '401 refresh_superseded': 49 })
    expect(await rows(gateway, 'SELECT id FROM refresh_tokens WHERE parent_id IS NOT NULL')).toHaveLength(1)
    const winner = answers.find((a) => a.status === 200)!
    expect((await refresh(gateway, winner.body.refresh_token)).status).toBe(200)
    await gateway.close()
  })

  it('all get the one successor by default', async () => {
    const gateway = await startGateway(withRefresh({}))
    const user = await newUser(gateway)
    const answers = await Promise.all(times(50, () => patiently(() => refresh(gateway, user.refreshToken))))
    expect(tally(answers)).toEqual({ '200': 50 })
    expect(new Set(answers.map((a) => a.body.refresh_token)).size).toBe(1)
    expect(await rows(gateway, 'SELECT id FROM refresh_tokens WHERE parent_id IS NOT NULL')).toHaveLength(1)
    await gateway.close()
  })
})

describe.each(['revokeSession', 'revokeUser'])('with onReuse: %s', (onReuse) => {
  it.each([false, true])('parallel replays of used tokens end each session once (revocation map full: %s)', async (isFull) => {
    const gateway = await startGateway(withRefresh({ onReuse }))
    gateway.app.identity.revocations.isFull = () => isFull
    const user = await newUser(gateway)
    const sessions = [user, await login(gateway, user), await login(gateway, user)]
    for (const { token, refreshToken } of sessions) {
      await refresh(gateway, refreshToken)
      await endGrace(gateway, claimsOf(token).sid)
    }
    const answers = await Promise.all(times(30, (i) => refresh(gateway, sessions[i % 3]!.refreshToken)))
    const ended = onReuse === 'revokeUser' ? 1 : 3
    expect(tally(answers)).toEqual({ '401 refresh_reused': ended, '401 refresh_invalid': 30 - ended })
    expect(await rows(gateway, `SELECT id FROM audit_log WHERE outcome = 'refresh_reused'`)).toHaveLength(ended)
    for (const { token } of sessions) expect(await me(gateway, token)).toBe('token_revoked')
    await gateway.close()
  })
})

describe('refresh and logout', () => {
  const gateway = useGateway(withRefresh({}))

  /** Refreshes and logs out at once; @returns every token that the client has ever held */
  async function interleave(session: { token: string; refreshToken: string }) {
    const access = [session.token]
    const tokens = [session.refreshToken]
    const refreshing = (async () => {
      for (let i = 0; i < 2; i++) {
        await aWhile()
        const { status, body } = await patiently(() => refresh(gateway, tokens.at(-1)!))
        expect([200, 401]).toContain(status)
        if (status !== 200) return
        access.push(body.access_token)
        tokens.push(body.refresh_token)
      }
    })()
    await aWhile()
    const byToken = Math.random() < 0.5
    const left = await patiently(() =>
      byToken ? logout(gateway, session.token) : call(gateway, '/auth/logout', { body: { refresh_token: session.refreshToken } }),
    )
    expect(left.status).toBe(204)
    for (const token of [...access]) expect(await me(gateway, token)).toBe('token_revoked')
    await refreshing
    return { access, tokens }
  }

  // five times forty
  it.each([1, 2, 3, 4, 5])('leave no living token after the 204, however they interleave (%i)', async () => {
    const users = await Promise.all(times(10, () => newUser(gateway)))
    // four sessions of one user at a time: they meet at the user's row, too
    const sessions = (await Promise.all(users.map((u) => Promise.all([u, login(gateway, u), login(gateway, u), login(gateway, u)])))).flat()
    const ended = await Promise.all(sessions.map(interleave))
    const alive = await Promise.all(ended.flatMap(({ access }) => access.map((token) => me(gateway, token))))
    expect(alive.filter((answer) => answer !== 'token_revoked')).toEqual([])
    for (const { tokens } of ended)
      expect(tally(await Promise.all(tokens.map((token) => patiently(() => refresh(gateway, token)))))).toEqual({
        '401 refresh_invalid': tokens.length,
      })
  })

  it('meet logout-all, password changes and logins of the same user without any 5xx', async () => {
    const users = await Promise.all(times(6, () => newUser(gateway)))
    const answers = await Promise.all(
      users.flatMap(async (user) => {
        const sessions = [user, await login(gateway, user), await login(gateway, user)]
        return Promise.all([
          ...sessions.map((s) => aWhile().then(() => refresh(gateway, s.refreshToken))),
          aWhile().then(() => call(gateway, '/auth/logout-all', { method: 'POST', token: sessions[0]!.token })),
          aWhile().then(() => logout(gateway, sessions[1]!.token)),
          aWhile().then(() =>
            call(gateway, '/auth/password/change', {
              token: sessions[2]!.token,
              body: { current_password: user.password, new_password: `${user.password} again` },
            }),
          ),
          aWhile().then(() => call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })),
        ])
      }),
    )
    const statuses = answers.flat().map((a) => a.status)
    expect(statuses).toHaveLength(42)
    expect([...new Set(statuses)].filter((s) => ![200, 204, 401].includes(s))).toEqual([])
    expect(gateway.log().filter((l) => l.outcome === 'internal' || /deadlock/.test(String(l.cause)))).toEqual([])
  })
})
