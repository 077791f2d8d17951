/** The judge of histories: it passes what the gateway promises, and finds each kind of broken promise that is put into a history. */
import { describe, expect, it } from 'vitest'
import type { BlindTime, Bounds, Issued, Operation, OperationOf, Outcome } from '../../faults/history/history.ts'
import { deadline, judge } from '../../faults/history/judge.ts'
import { randomOf } from '../../faults/storms/random.ts'

const BOUNDS: Bounds = { revocationMs: 2000, accessTtlMs: 900_000, graceMs: 30_000 }
const user = 'ann'
const passwords = new Map([[user, 'first']])
const issued = (session: string, n: number, roles: string[] = []): Issued => ({
  session,
  refreshToken: `${session}-r${n}`,
  accessToken: `${session}-a${n}`,
  roles,
})
const ok = <T>(value: T) => ({ kind: 'ok' as const, value })
const refused = (code: string) => ({ kind: 'refused' as const, code })
const unknown = { kind: 'unknown' as const, why: 'ECONNRESET' }

/** An operation from `at` to `to`; default: 10 ms. */
type At = [from: number, to?: number]
const times = ([from, to = from + 10]: At) => ({ invokedAt: from, answeredAt: to, user })
const login = (at: At, value: Issued, password = 'first'): Operation => ({ kind: 'login', ...times(at), password, outcome: ok(value) })
const refresh = (at: At, session: string, n: number, outcome: Outcome<Issued>): Operation => ({
  kind: 'refresh',
  ...times(at),
  session,
  token: `${session}-r${n}`,
  outcome,
})
const logout = (at: At, session: string, outcome: Outcome = ok(null)): Operation => ({
  kind: 'logout',
  ...times(at),
  session,
  outcome,
})
const logoutAll = (at: At, outcome: Outcome = ok(null)): Operation => ({
  kind: 'logoutAll',
  ...times(at),
  outcome,
})
const role = (kind: 'grant' | 'revoke', at: At, outcome: Outcome = ok(null)): Operation => ({
  kind,
  ...times(at),
  role: 'editor',
  outcome,
})
const passwordChange = (at: At, to: string, outcome: Outcome<Issued>): Operation => ({
  kind: 'passwordChange',
  ...times(at),
  from: 'first',
  to,
  outcome,
})
const use = (at: At, token: Issued, outcome: Outcome = ok(null), gateway = 'g1'): Operation => ({
  kind: 'use',
  ...times(at),
  session: token.session,
  token,
  gateway,
  outcome,
})

const brokenIn = (operations: Operation[], blindTimes: BlindTime[] = []) => judge({ operations, blindTimes }, BOUNDS, passwords).broken

const first = issued('s', 0)
const opened = login([0], first)

describe('good histories', () => {
  it.each<[string, Operation[]]>([
    ['a session that is refreshed and used', [opened, refresh([100], 's', 0, ok(issued('s', 1))), use([200], issued('s', 1))]],
    ['a retry after an answer was lost', [opened, refresh([100], 's', 0, unknown), refresh([200], 's', 0, ok(issued('s', 1)))]],
    ['a lost refresh that never arrived', [opened, refresh([100], 's', 0, unknown), use([200], first), logout([300], 's')]],
    [
      'two tabs with one token',
      [
        opened,
        refresh([100, 300], 's', 0, ok(issued('s', 1))),
        refresh([150, 250], 's', 0, ok({ ...issued('s', 1), accessToken: 's-a9' })),
      ],
    ],
    ['a refresh beside a logout, either may be first', [opened, refresh([100, 300], 's', 0, ok(issued('s', 1))), logout([100, 300], 's')]],
    [
      'a refresh beside a logout that was first',
      [opened, refresh([100, 300], 's', 0, refused('refresh_invalid')), logout([100, 300], 's')],
    ],
    [
      'a logout without an answer that took effect',
      [opened, logout([100], 's', unknown), refresh([5000], 's', 0, refused('refresh_invalid'))],
    ],
    ['a logout without an answer that took none', [opened, logout([100], 's', unknown), refresh([5000], 's', 0, ok(issued('s', 1)))]],
    [
      'a session that opened beside a logout of all, and lives',
      [login([0, 100], first), logoutAll([50, 90]), refresh([5000], 's', 0, ok(issued('s', 1)))],
    ],
    [
      'a session that opened beside a logout of all, and ended',
      [login([0, 100], first), logoutAll([50, 90]), refresh([5000], 's', 0, refused('refresh_invalid'))],
    ],
    ['a session after a logout of all', [logoutAll([0]), login([100], first), refresh([200], 's', 0, ok(issued('s', 1)))]],
    ['a late retry that counts as theft', [opened, refresh([100], 's', 0, unknown), refresh([40_000], 's', 0, refused('refresh_reused'))]],
    ['a token accepted within the bound', [opened, logout([100], 's'), use([1500], first), use([2500], first, refused('token_revoked'))]],
    ['a token that expired', [opened, use([901_000], first, refused('token_expired'))]],
    [
      'a role that is granted, issued and revoked',
      [
        opened,
        role('grant', [100]),
        refresh([200], 's', 0, ok(issued('s', 1, ['editor']))),
        role('revoke', [300]),
        use([2500], issued('s', 1, ['editor']), refused('token_revoked')),
        refresh([2600], 's', 1, ok(issued('s', 2))),
      ],
    ],
    [
      'a login that fails beside a logout of all',
      [logoutAll([100, 300]), { kind: 'login', ...times([200, 400]), password: 'first', outcome: refused('invalid_credentials') }],
    ],
    [
      'a change of password without an answer, seen by a login later',
      [
        opened,
        passwordChange([100], 'second', unknown),
        login([200], issued('t', 0), 'second'),
        refresh([300], 's', 0, refused('refresh_invalid')),
      ],
    ],
    [
      'a change of password and its own session',
      [opened, passwordChange([100], 'second', ok(issued('t', 0))), use([5000], issued('t', 0))],
    ],
  ])('%s', (_name, operations) => expect(brokenIn(operations)).toEqual([]))

  it('a gateway that cannot read the database has the bound after it can again', () => {
    const operations = [opened, logout([100], 's'), use([9000], first)]
    expect(brokenIn(operations, [{ gateway: 'g1', from: 500, to: 8000 }])).toEqual([])
    expect(brokenIn(operations, [{ gateway: 'g2', from: 500, to: 8000 }])).toHaveLength(1)
    expect(brokenIn(operations, [{ from: 500, to: 8000 }])).toEqual([])
    expect(deadline(100, 'g1', [{ gateway: 'g1', from: 5000, to: 8000 }], 2000)).toBe(2100)
    expect(
      deadline(
        100,
        'g1',
        [
          { from: 50, to: 300 },
          { gateway: 'g1', from: 200, to: 1000 },
        ],
        2000,
      ),
    ).toBe(3000)
  })
})

describe('a broken promise is found', () => {
  it.each<[string, Operation[], RegExp]>([
    [
      'two successors of one token',
      [opened, refresh([100], 's', 0, ok(issued('s', 1))), refresh([200], 's', 0, ok(issued('s', 2)))],
      /s-r0 has 2 successors/,
    ],
    [
      'an old token is exchanged again after its successor was used',
      [
        opened,
        refresh([100], 's', 0, ok(issued('s', 1))),
        refresh([200], 's', 1, ok(issued('s', 2))),
        refresh([300], 's', 0, ok(issued('s', 1))),
      ],
      /session s of ann/,
    ],
    [
      'a refresh after the answer to a logout',
      [opened, logout([100], 's'), refresh([200], 's', 0, ok(issued('s', 1)))],
      /session s of ann/,
    ],
    [
      'a refresh after the answer to a logout of all',
      [opened, logoutAll([100]), refresh([200], 's', 0, ok(issued('s', 1)))],
      /session s of ann/,
    ],
    [
      'a refresh in an old session after a change of password',
      [opened, passwordChange([100], 'second', ok(issued('t', 0))), refresh([200], 's', 0, ok(issued('s', 1)))],
      /session s of ann/,
    ],
    ['a user is logged out without a cause', [opened, refresh([100], 's', 0, refused('refresh_invalid'))], /session s of ann/],
    [
      'a retry in time counts as theft',
      [opened, refresh([100], 's', 0, unknown), refresh([200], 's', 0, refused('refresh_reused'))],
      /session s of ann.*refresh_reused/,
    ],
    [
      'a lost commit: the token that a client received is unknown',
      [opened, refresh([100], 's', 0, ok(issued('s', 1))), refresh([200], 's', 1, refused('refresh_invalid'))],
      /session s of ann/,
    ],
    [
      'an access token is accepted long after a logout',
      [opened, logout([100], 's'), use([2200], first)],
      /accepted 2090 ms after .* logout/,
    ],
    ['an access token is accepted long after a logout of all', [opened, logoutAll([100]), use([3000], first)], /after .* logoutAll/],
    ['a token is refused as revoked without a cause', [opened, use([200], first, refused('token_revoked'))], /nothing in the history/],
    [
      'a token is refused as revoked before its logout was sent',
      [opened, use([200], first, refused('token_revoked')), logout([300], 's')],
      /nothing in the history/,
    ],
    ['a valid token is refused as invalid', [opened, use([200], first, refused('token_invalid'))], /token_invalid/],
    ['a token is refused as expired too early', [opened, use([200], first, refused('token_expired'))], /before its time/],
    [
      'a token with a role that was revoked is accepted',
      [
        opened,
        role('grant', [100]),
        refresh([200], 's', 0, ok(issued('s', 1, ['editor']))),
        role('revoke', [300]),
        use([2500], issued('s', 1, ['editor'])),
      ],
      /after the answer to its revoke/,
    ],
    [
      'a role comes back after it was revoked',
      [opened, role('grant', [100]), role('revoke', [300]), refresh([400], 's', 0, ok(issued('s', 1, ['editor'])))],
      /role editor of ann/,
    ],
    [
      'a role that was granted is missing',
      [opened, role('grant', [100]), refresh([400], 's', 0, ok(issued('s', 1)))],
      /role editor of ann/,
    ],
    [
      'the right password is refused',
      [opened, { kind: 'login', ...times([200]), password: 'first', outcome: refused('invalid_credentials') }],
      /password of ann/,
    ],
    [
      'the old password works after its change',
      [opened, passwordChange([100], 'second', ok(issued('t', 0))), login([200], issued('u', 0), 'first')],
      /password of ann/,
    ],
  ])('%s', (_name, operations, message) => {
    const broken = brokenIn(operations)
    expect(broken.join('\n')).toMatch(message)
  })
})

/** A sequential server, and clients whose answers are lost at random: every history of it is good. */
function randomHistory(seed: number, length: number): Operation[] {
  const random = randomOf(seed, 0)
  const operations: Operation[] = []
  let session = 0
  let state = { id: 's0', token: 0, isAlive: true }
  let held = 0
  let now = 0
  const lost = () => random.below(4) === 0
  const span = (): At => {
    const from = now
    now += 1 + random.below(20)
    return [from, now]
  }
  operations.push(login(span(), issued('s0', 0)))
  for (let n = 0; n < length; n++) {
    now += random.below(2000)
    const { id } = state
    if (random.below(10) === 0) {
      const arrives = !lost()
      const answered = arrives && !lost()
      if (arrives) state = { ...state, isAlive: false }
      operations.push(logout(span(), id, answered ? ok(null) : unknown))
    } else if (!lost() || random.below(2) === 0) {
      const at = span()
      if (!state.isAlive) {
        operations.push(refresh(at, id, held, refused('refresh_invalid')))
        state = { id: `s${++session}`, token: 0, isAlive: true }
        held = 0
        operations.push(login(span(), issued(state.id, 0)))
        continue
      }
      if (held === state.token) state = { ...state, token: held + 1 }
      if (lost()) operations.push(refresh(at, id, held, unknown))
      else {
        operations.push(refresh(at, id, held, ok({ ...issued(id, state.token), accessToken: `${id}-a${n}-${state.token}` })))
        held = state.token
      }
    } else operations.push(refresh(span(), id, held, unknown))
  }
  return operations
}

describe('random histories', () => {
  it('of a right server with lost answers are good', () => {
    for (let seed = 1; seed <= 100; seed++) expect(brokenIn(randomHistory(seed, 60)), `seed ${seed}`).toEqual([])
  })

  it('are judged as broken when the answer of one refresh in them is another token', () => {
    let seeded = 0
    for (let seed = 1; seed <= 100; seed++) {
      const operations = randomHistory(seed, 60)
      const victims = operations.filter((o): o is OperationOf<'refresh'> => o.kind === 'refresh' && o.outcome.kind === 'ok')
      // a later operation shows its successor
      const victim = victims.find((o) =>
        operations.some(
          (p) =>
            p !== o &&
            p.kind === 'refresh' &&
            p.outcome.kind === 'ok' &&
            p.session === o.session &&
            p.invokedAt > o.answeredAt &&
            p.token !== o.token,
        ),
      )
      if (victim?.outcome.kind !== 'ok') continue
      seeded++
      const forged = { ...victim, outcome: ok({ ...victim.outcome.value, refreshToken: 'another' }) }
      expect(brokenIn(operations.map((o) => (o === victim ? forged : o))), `seed ${seed}`).not.toEqual([])
    }
    expect(seeded).toBeGreaterThan(50)
  })

  it('with hundreds of operations without an answer are judged in time', () => {
    const operations: Operation[] = [opened]
    for (let n = 0; n < 300; n++) {
      operations.push(
        refresh([1000 * n + 100, 1000 * n + 900], 's', n, unknown),
        refresh([1000 * n + 200, 1000 * n + 800], 's', n, unknown),
      )
      operations.push(refresh([1000 * n + 950], 's', n, ok(issued('s', n + 1))))
    }
    expect(brokenIn(operations)).toEqual([])
  })
})
