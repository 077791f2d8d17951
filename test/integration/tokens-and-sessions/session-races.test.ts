/**
 * Refreshes, a login, a change of roles and what ends every session, all of one user at the same moment, against a real Postgres.
 * `npm run races` plays a thousand; RACES=N and RACE_SEED=S play others.
 */
import { setImmediate as tick } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { inParallel, type Random, randomOf } from '../../faults/storms/random.ts'
import { type Answer, call, login, newUser, OPERATOR, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { claimsOf, me, refresh } from '../../support/session.ts'

const RACES = Number(process.env.RACES ?? 200)
const SEED = Number(process.env.RACE_SEED ?? Date.now() % 1_000_000)
const AT_ONCE = 10
const gateway = useGateway({ config: { database: { poolSize: 60 }, auth: { roles: { user: {}, editor: {} } } } })

/** As a client does that receives 503 and Retry-After. */
async function patiently(ask: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await ask()
    if (answer.status !== 503) return answer
  }
}

interface Held {
  token: string
  refreshToken: string
}

type Ending = 'logout-all' | 'password change'

/** @returns what was wrong with it; nothing, one hopes */
async function race(random: Random): Promise<string[]> {
  const faults: string[] = []
  const user = await newUser(gateway)
  const sessions: Held[] = [user, await login(gateway, user), await login(gateway, user)]
  const held: Held[] = [...sessions]
  const newPassword = `${user.password} again`
  const ending: Ending = random.pick([true, false]) ? 'logout-all' : 'password change'
  const pauses = Array.from({ length: 12 }, () => random.below(60))
  const aWhile = async () => {
    for (let left = pauses.pop() ?? 0; left > 0; left--) await tick()
  }
  const expectStatus = ({ status, body }: Answer, what: string) => {
    if (![200, 204, 401].includes(status)) faults.push(`${what} answered ${status} ${body?.code}`)
    return status === 200
  }

  const refreshing = async (session: Held) => {
    let { refreshToken } = session
    for (let i = 0; i < 2; i++) {
      await aWhile()
      const answer = await patiently(() => refresh(gateway, refreshToken))
      if (!expectStatus(answer, 'refresh')) return
      refreshToken = answer.body.refresh_token
      held.push({ token: answer.body.access_token, refreshToken })
    }
  }
  const loggingIn = async () => {
    await aWhile()
    const answer = await patiently(() => call(gateway, '/auth/login', { body: { login: user.username, password: user.password } }))
    if (!expectStatus(answer, 'login')) return
    // logout-all may be over before it begins; with the old password nothing opens after a change
    if (ending === 'password change') held.push({ token: answer.body.access_token, refreshToken: answer.body.refresh_token })
  }
  const changingRoles = async () => {
    await aWhile()
    const before = held.map(({ token }) => token)
    await gateway.app.identity.administration.grant(user.username, 'editor', OPERATOR)
    for (const token of before)
      if ((await me(gateway, token)) === 200) faults.push('an access token from before a change of roles works after it')
  }
  const endingAll = async (): Promise<Held | null> => {
    await aWhile()
    const answer = await patiently(() => end(ending, user, newPassword))
    if (answer.status === 401) return null // its own token was outdated by the change of roles
    if (answer.status >= 300) faults.push(`${ending} answered ${answer.status} ${answer.body?.code}`)
    for (const { token } of [...held]) if ((await me(gateway, token)) === 200) faults.push(`a token works after ${ending} has answered`)
    return { token: answer.body?.access_token ?? '', refreshToken: answer.body?.refresh_token ?? '' }
  }

  const [, , , , , ended] = await Promise.all([...sessions.map(refreshing), loggingIn(), changingRoles(), endingAll()])
  if (!ended) return faults
  // also the requests that were answered only afterwards
  for (const { token, refreshToken } of held) {
    if ((await me(gateway, token)) === 200) faults.push(`an access token lives on after ${ending}`)
    if ((await refresh(gateway, refreshToken)).status === 200) faults.push(`a refresh token lives on after ${ending}`)
  }
  if (ending === 'password change') {
    const renewed = await refresh(gateway, ended.refreshToken)
    if (renewed.status !== 200) faults.push(`the session of who changed the password answers ${renewed.body.code}`)
    else if (!claimsOf(renewed.body.access_token).roles.includes('editor'))
      faults.push('a role that was granted is not in a token made after it')
  }
  return faults
}

const end = (ending: Ending, user: TestUser, newPassword: string): Promise<Answer> =>
  ending === 'logout-all'
    ? call(gateway, '/auth/logout-all', { method: 'POST', token: user.token })
    : call(gateway, '/auth/password/change', { token: user.token, body: { current_password: user.password, new_password: newPassword } })

describe(`${RACES} interleavings of refreshes, a login, a change of roles, and logout-all or a password change`, () => {
  it(`leave no older token alive anywhere, and no deadlock reaches a client (seed ${SEED})`, { timeout: 600_000 }, async () => {
    const faults: string[] = []
    await inParallel(
      RACES,
      AT_ONCE,
      async (index) => void faults.push(...(await race(randomOf(SEED, index))).map((fault) => `${index}: ${fault}`)),
    )
    expect(faults).toEqual([])
    expect(gateway.log().filter((l) => l.outcome === 'internal' || /deadlock/i.test(String(l.cause)))).toEqual([])
  })
})
