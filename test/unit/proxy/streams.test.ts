/** When a stream by session cookie is read again, and when it ends. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { compileAccess } from '../../../src/identity/access/access-policy.ts'
import type { Principal } from '../../../src/identity/access/principal.ts'
import { createStreams, type StreamEnd, type StreamsDeps, type StreamTerms } from '../../../src/proxy/forward/streams.ts'
import type { Authenticated } from '../../../src/proxy/routing/exchange.ts'
import type { Route } from '../../../src/proxy/routing/route-table.ts'

const LIFE_SECONDS = 900
const SWEEP_MS = 1000

/** What the streams were read with, and the answers: null for an ended session, an error for a database that is away. */
let read: string[] = []
let answer: (principal: Principal) => Promise<Principal | null>
let ended: Set<string>
let epochs: Map<string, number>
let changed: () => void = () => {}
let streams: ReturnType<typeof createStreams>

beforeEach(() => {
  vi.useFakeTimers()
  read = []
  ended = new Set()
  epochs = new Map()
  answer = async (principal) => principalOf({ ...principal, expiresAt: secondsFromNow(LIFE_SECONDS) })
  const gauge = { inc() {}, dec() {} }
  streams = createStreams({
    revocations: {
      isEnded: (id: string) => ended.has(id),
      isOutdated: (id: string, epoch: number) => epoch < (epochs.get(id) ?? 0),
      isRevoked: (sessionId: string, id: string, epoch: number) => ended.has(sessionId) || epoch < (epochs.get(id) ?? 0),
      isKeyRevoked: () => false,
      onChange: (listener: () => void) => {
        changed = listener
      },
    },
    clock: { now: () => Date.now(), steady: () => Date.now() },
    metrics: { streamsOpen: gauge, streamsClosed: gauge },
  } as unknown as StreamsDeps)
  streams.adopt(terms)
})
const anyRoute = { has: () => true } as unknown as ReadonlySet<Route>
const terms: StreamTerms = {
  cookies: {
    reload(principal: Principal) {
      read.push(principal.cookieId!)
      return answer(principal)
    },
  },
  maxOfOne: 1000,
  rules: { onExpiry: 'finish', maxOverrunSeconds: 300 },
  routes: anyRoute,
  routesBefore: anyRoute,
  routeAfter: (_request, route) => route,
  hasOtherGrants: () => false,
}

afterEach(() => {
  streams.stop()
  vi.useRealTimers()
})

const secondsFromNow = (seconds: number) => Math.floor(Date.now() / 1000) + seconds

const principalOf = (part: Partial<Principal>): Principal => ({
  kind: 'user',
  id: 'user',
  sessionId: 'session',
  cookieId: 'cookie',
  email: null,
  roles: new Set(['user']),
  scopes: new Set(),
  external: null,
  signingKid: null,
  epoch: 1,
  expiresAt: secondsFromNow(LIFE_SECONDS),
  mustChangePassword: false,
  hasFactor: false,
  owesFactor: false,
  authenticatedAt: secondsFromNow(0),
  identityHeaders: [],
  ...part,
})

/** @returns why it ended; empty while it is open */
function open(part: Partial<Principal> = {}, access: Parameters<typeof compileAccess>[0] = 'authenticated', isAnswer = false): StreamEnd[] {
  const ends: StreamEnd[] = []
  const exchange = {
    principal: principalOf(part),
    client: { address: '192.0.2.1' },
    route: { access: compileAccess(access), cookieRule: { isStrict: false, isPublic: access === 'public' } },
  } as unknown as Authenticated
  const close = streams.open('websocket', isAnswer, { method: 'GET', exchange }, (reason) => {
    ends.push(reason)
    close(reason)
  })
  return ends
}

const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000)
const change = async () => {
  changed()
  await vi.advanceTimersByTimeAsync(SWEEP_MS)
}

describe('a session that is remembered', () => {
  test('is not read', async () => {
    const ends = open()
    await pass(LIFE_SECONDS / 2 - 5)
    expect([read, ends]).toEqual([[], []])
  })

  test('is read after half of its time, and goes on', async () => {
    const ends = open()
    await pass(LIFE_SECONDS / 2 + 5)
    expect(read).toEqual(['cookie'])
    await pass(LIFE_SECONDS * 10)
    expect(ends).toEqual([])
    expect(read.length).toBeLessThan(25)
  })

  test('with a very short time is read before it ends', async () => {
    answer = async (principal) => principalOf({ ...principal, expiresAt: secondsFromNow(1) })
    const ends = open({ expiresAt: secondsFromNow(1) })
    await pass(30)
    expect(ends).toEqual([])
  })

  test('shares one read over all its streams', async () => {
    for (let i = 0; i < 50; i++) open()
    await pass(LIFE_SECONDS / 2 + 5)
    expect(read).toEqual(['cookie'])
  })

  test('of another level is read for itself: an older value has no factor', async () => {
    const access = { mfa: true } as const
    const low = open({ cookieId: 'old' })
    const high = open({ cookieId: 'new', hasFactor: true }, access)
    await pass(LIFE_SECONDS * 2)
    expect(new Set(read)).toEqual(new Set(['old', 'new']))
    expect([low, high]).toEqual([[], []])
  })

  test('is read with few others at a time', async () => {
    let running = 0
    let most = 0
    const keep = answer
    answer = async (principal) => {
      most = Math.max(most, ++running)
      await Promise.resolve()
      running--
      return keep(principal)
    }
    for (let i = 0; i < 200; i++) open({ id: `user${i}`, sessionId: `session${i}`, cookieId: `cookie${i}` })
    await pass(LIFE_SECONDS / 2 + 5)
    expect(new Set(read).size).toBe(200)
    expect(read).toHaveLength(200)
    expect(most).toBeLessThanOrEqual(5)
  })
})

describe('a session that has ended', () => {
  test('ends the stream at once, without a read', async () => {
    const ends = open()
    ended.add('session')
    await change()
    expect([ends, read]).toEqual([['revoked'], []])
  })

  test('is seen by the read', async () => {
    const ends = open()
    answer = async () => null
    await pass(LIFE_SECONDS / 2 + 5)
    expect(ends).toEqual(['revoked'])
  })

  test('by a later value of the cookie alone ends no stream', async () => {
    const ends = open()
    ended.add('cookie')
    await change()
    expect([ends, read]).toEqual([[], []])
  })
})

describe('a change of the user', () => {
  test('is read at once', async () => {
    const ends = open({}, { roles: ['admin', 'user'] })
    epochs.set('user', 2)
    answer = async (principal) => principalOf({ ...principal, epoch: 2 })
    await change()
    expect([read, ends]).toEqual([['cookie'], []])
    await pass(60)
    expect(read).toEqual(['cookie'])
  })

  test.each<[string, Partial<Principal>]>([
    ['a lost role', { roles: new Set() }],
    ['a password that must change', { mustChangePassword: true }],
    ['a factor that is owed', { owesFactor: true }],
  ])('%s ends the stream', async (_, part) => {
    const ends = open({}, { roles: ['user'] })
    epochs.set('user', 2)
    answer = async (principal) => principalOf({ ...principal, epoch: 2, ...part })
    await change()
    expect(ends).toEqual(['revoked'])
  })

  test('that a read does not show yet is read again, and the time does not grow', async () => {
    const ends = open()
    epochs.set('user', 2)
    await change()
    await pass(10)
    expect(read.length).toBeGreaterThan(5)
    expect(ends).toEqual([])
    await pass(LIFE_SECONDS)
    expect(ends).toEqual(['expired'])
  })
})

describe('while the database is away', () => {
  beforeEach(() => {
    answer = () => Promise.reject(new Error('away'))
  })

  test('a stream goes on until what is remembered is over', async () => {
    const ends = open()
    await pass(LIFE_SECONDS - 5)
    expect(ends).toEqual([])
    await pass(10)
    expect(ends).toEqual(['expired'])
  })

  test('an answer goes on for maxOverrunSeconds more', async () => {
    const ends = open({}, 'authenticated', true)
    await pass(LIFE_SECONDS + 290)
    expect(ends).toEqual([])
    await pass(20)
    expect(ends).toEqual(['expired'])
  })

  test('it is asked once a second, for all streams of a session together', async () => {
    for (let i = 0; i < 50; i++) open()
    await pass(LIFE_SECONDS / 2 + 10)
    expect(read.length).toBeLessThanOrEqual(12)
  })

  test('a stream goes on once the database is back', async () => {
    const ends = open()
    await pass(LIFE_SECONDS - 60)
    answer = async (principal) => principalOf({ ...principal, expiresAt: secondsFromNow(LIFE_SECONDS) })
    await pass(LIFE_SECONDS)
    expect(ends).toEqual([])
  })
})

test('a stream by token ends when its token expires, as ever', async () => {
  const ends = open({ cookieId: null })
  await pass(LIFE_SECONDS + 2)
  expect([ends, read]).toEqual([['expired'], []])
})

describe('another configuration', () => {
  test('that changes nothing about a stream leaves it open', async () => {
    const ends = [...open(), ...open({ cookieId: null })]
    streams.adopt(terms)
    await pass(5)
    expect([ends, read]).toEqual([[], []])
  })

  test('that changes what admitted a stream ends it', () => {
    const ends = open()
    streams.adopt({ ...terms, routeAfter: () => null })
    expect(ends).toEqual(['reloaded'])
  })

  test('with other grants ends a stream by token, but not on a public route', () => {
    const [protectedEnds, publicEnds] = [open({ cookieId: null }), open({ cookieId: null }, 'public')]
    streams.adopt({ ...terms, hasOtherGrants: () => true })
    expect([protectedEnds, publicEnds]).toEqual([['reloaded'], []])
  })

  test('with other grants reads a session by cookie again, and judges it', async () => {
    const [kept, lost] = [open(), open({ cookieId: 'other', roles: new Set(['admin']) }, { roles: ['admin'] })]
    streams.adopt({ ...terms, hasOtherGrants: () => true })
    await pass(1)
    expect(read.toSorted()).toEqual(['cookie', 'other'])
    expect([kept, lost]).toEqual([[], []])
    answer = async (principal) => principalOf({ ...principal, roles: new Set() })
    streams.adopt({ ...terms, hasOtherGrants: () => true })
    await pass(1)
    expect([kept, lost]).toEqual([[], ['revoked']])
  })

  test('a stream of a request that began under the configuration before is judged when it opens', async () => {
    const none = new Set<Route>()
    streams.adopt({ ...terms, routes: none, routeAfter: () => null })
    const ends = open()
    expect(ends).toEqual([])
    await pass(0)
    expect(ends).toEqual(['reloaded'])
  })

  test('lowers the number of streams of one user', () => {
    open()
    streams.adopt({ ...terms, maxOfOne: 1 })
    expect(() => open()).toThrow(expect.objectContaining({ code: 'streams_exceeded' }))
  })
})
