/** The refresh family against a model of it in memory: any sequence of what clients, thieves and time do has the outcome that the model foretells. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { call, login, newUser, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, endGrace, me, refresh } from '../../support/session.ts'

const RUNS = Number(process.env.MODEL_RUNS ?? 20)

type OnRetry = 'reject' | 'repeat'
type OnReuse = 'revokeSession' | 'revokeUser'

interface Token {
  value: string
  isRotated: boolean
  inGrace: boolean
  isExpired: boolean
}

/** A session: its tokens in the order of their birth, each the parent of the next. */
interface Family {
  sid: string
  tokens: Token[]
  access: string[]
  isAlive: boolean
}

/** Numbers are taken modulo what there is. */
type Step =
  | { do: 'refresh'; family: number; token: number }
  | { do: 'newest'; family: number }
  | { do: 'unknown' }
  | { do: 'graceEnds'; family: number }
  | { do: 'expires'; family: number }
  | { do: 'logout'; family: number; token: number }
  | { do: 'logoutAll'; family: number; token: number }
  | { do: 'login' }

const index = fc.nat(7)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('newest' as const), family: index }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('refresh' as const), family: index, token: index }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('graceEnds' as const), family: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('expires' as const), family: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('logout' as const), family: index, token: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('logoutAll' as const), family: index, token: index }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('login' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('unknown' as const) }) },
)

const newToken = (value: string): Token => ({ value, isRotated: false, inGrace: false, isExpired: false })

/** What the model says of a token that is presented; it changes as the session does. `successor`: the value that is born is not foretold. */
function foretell(families: Family[], family: Family, position: number, onRetry: OnRetry, onReuse: OnReuse): string | { sameAs: string } {
  const token = family.tokens[position]!
  const child = family.tokens[position + 1]
  if (!family.isAlive) return 'refresh_invalid'
  if (token.isRotated) {
    if (token.inGrace && !child!.isRotated)
      return onRetry === 'repeat' && !child!.isExpired ? { sameAs: child!.value } : 'refresh_superseded'
    for (const f of onReuse === 'revokeUser' ? families : [family]) f.isAlive = false
    return 'refresh_reused'
  }
  if (token.isExpired) return 'refresh_expired'
  token.isRotated = true
  token.inGrace = true
  return 'successor'
}

/** Only the newest token, while it is valid, has power over other families. A reuse has what `onReuse` says. */
function endedByLogout(
  families: Family[],
  family: Family,
  position: number,
  scope: 'logout' | 'logoutAll',
  onReuse: OnReuse,
): readonly Family[] {
  const token = family.tokens[position]!
  if (token.isRotated) {
    const isRetry = token.inGrace && !family.tokens[position + 1]!.isRotated
    return !isRetry && onReuse === 'revokeUser' ? families : [family]
  }
  return scope === 'logoutAll' && !token.isExpired ? families : [family]
}

describe.each<[OnRetry, OnReuse]>([
  ['reject', 'revokeSession'],
  ['reject', 'revokeUser'],
  ['repeat', 'revokeSession'],
  ['repeat', 'revokeUser'],
])('with onRetry %s and onReuse %s', (onRetry, onReuse) => {
  const gateway = useGateway({ config: { auth: { refresh: { graceSeconds: 300, onRetry, onReuse } } } })

  async function play(steps: Step[]): Promise<void> {
    const user = await newUser(gateway)
    const familyOf = (u: TestUser): Family => ({
      sid: claimsOf(u.token).sid,
      tokens: [newToken(u.refreshToken)],
      access: [u.token],
      isAlive: true,
    })
    const families = [familyOf(user)]
    const pick = (i: number) => families[i % families.length]!

    const present = async (family: Family, position: number) => {
      const expected = foretell(families, family, position, onRetry, onReuse)
      const { status, body } = await refresh(gateway, family.tokens[position]!.value)
      if (expected === 'successor') {
        expect(status, body.code).toBe(200)
        family.tokens.push(newToken(body.refresh_token))
        family.access.push(body.access_token)
      } else if (typeof expected === 'object') {
        expect([status, body.refresh_token]).toEqual([200, expected.sameAs])
      } else {
        expect([status, body.code]).toEqual([401, expected])
      }
    }

    for (const s of steps) {
      if (s.do === 'newest') await present(pick(s.family), pick(s.family).tokens.length - 1)
      else if (s.do === 'refresh') await present(pick(s.family), s.token % pick(s.family).tokens.length)
      else if (s.do === 'login') families.push(familyOf(await login(gateway, user)))
      else if (s.do === 'unknown') expect((await refresh(gateway, `rt_${'x'.repeat(43)}`)).body.code).toBe('refresh_invalid')
      else if (s.do === 'graceEnds') {
        await endGrace(gateway, pick(s.family).sid)
        for (const token of pick(s.family).tokens) token.inGrace = false
      } else if (s.do === 'expires') {
        pick(s.family).tokens.at(-1)!.isExpired = true
        await rows(
          gateway,
          `UPDATE refresh_tokens SET expires_at = now() - interval '1 second' WHERE session_id = $1 AND rotated_at IS NULL`,
          [pick(s.family).sid],
        )
      } else {
        const family = pick(s.family)
        const position = s.token % family.tokens.length
        const path = s.do === 'logout' ? '/auth/logout' : '/auth/logout-all'
        expect((await call(gateway, path, { body: { refresh_token: family.tokens[position]!.value } })).status).toBe(204)
        if (family.isAlive) for (const f of endedByLogout(families, family, position, s.do, onReuse)) f.isAlive = false
      }
    }
    for (const { isAlive, access } of families)
      for (const token of access) expect(await me(gateway, token)).toBe(isAlive ? 200 : 'token_revoked')
    const living = families.filter((f) => f.isAlive).map((f) => f.sid)
    const found = await rows(gateway, 'SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL', [user.id])
    expect(found.map(({ id }) => id).sort()).toEqual(living.sort())
  }

  it('every sequence ends as the model says', { timeout: 300_000 }, async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), play), { numRuns: RUNS })
  })
})
