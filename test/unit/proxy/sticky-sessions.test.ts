import { randomBytes } from 'node:crypto'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { attachContext } from '../../../src/platform/request/request-context.ts'
import { createSecrets } from '../../../src/platform/vault/secrets.ts'
import { type Exchange, exchangeOf } from '../../../src/proxy/routing/exchange.ts'
import {
  createStickySessions,
  type StickyOptions,
  stickyKeyOf,
  withoutStickyCookies,
  writeStickyCookie,
} from '../../../src/proxy/upstream/sticky-sessions.ts'

const KEY = randomBytes(32)
const server = (name: string, isFree = true) => ({ stickyKey: `http://${name}|0`, weight: 1, bulkhead: { hasFree: () => isFree } })
const SERVERS = ['a', 'b', 'c', 'd'].map((name) => server(name))

function requestWith(cookie: string | null, { isSecure = false, address = '192.0.2.1' } = {}): IncomingMessage {
  const request = new IncomingMessage(new Socket())
  if (cookie !== null) request.headers.cookie = cookie
  attachContext(request, { client: { isSecure, limitKey: address }, upstreamCookie: null } as unknown as Exchange)
  return request
}
const sessions = (options: Partial<StickyOptions> = {}) =>
  createStickySessions({ name: 'chat', path: '/chat', by: 'cookie', secrets: createSecrets(KEY), ...options })

/** One request: its server, and the cookie that the client has after it. */
function ask(sticky: ReturnType<typeof sessions>, cookie: string | null, servers = SERVERS) {
  const request = requestWith(cookie)
  const chosen = sticky.choose(servers, request)
  const set = exchangeOf(request).upstreamCookie
  return { chosen, set, cookie: set?.split(';')[0] ?? cookie }
}

describe('by cookie', () => {
  it('a client without a cookie gets one, and with it the same server, without another cookie', () => {
    for (let i = 0; i < 20; i++) {
      const first = ask(sessions(), null)
      expect(first.set).toMatch(/^portcullis-upstream-chat=[\w-]{38}\.[0-9a-f]{12}\.[\w-]{43}; Path=\/chat; HttpOnly; SameSite=Lax$/)
      expect(ask(sessions(), `other=1; ${first.cookie}; more=2`)).toMatchObject({ chosen: first.chosen, set: null })
    }
  })

  it('the cookie is Secure where the request is', () => {
    const request = requestWith(null, { isSecure: true })
    sessions().choose(SERVERS, request)
    expect(exchangeOf(request).upstreamCookie).toMatch(/; Secure$/)
  })

  it('cookies of clients at the same server have nothing in common', () => {
    const marks = Array.from({ length: 20 }, () => ask(sessions(), null, [SERVERS[0]!]).cookie!.split('=')[1]!.slice(22, 38))
    expect(new Set(marks).size).toBe(20)
  })

  it('a client whose server is lost moves with all its requests to one other server, and stays there', () => {
    for (let i = 0; i < 20; i++) {
      const first = ask(sessions(), null)
      const left = SERVERS.filter((s) => s !== first.chosen)
      const moved = Array.from({ length: 5 }, () => ask(sessions(), first.cookie, left))
      expect(new Set(moved.map(({ chosen }) => chosen)).size).toBe(1)
      const { chosen, cookie } = moved[0]!
      expect(ask(sessions(), cookie)).toMatchObject({ chosen, set: null })
    }
  })

  it('a client stays when servers are added', () => {
    for (let i = 0; i < 20; i++) {
      const { chosen, cookie } = ask(sessions(), null)
      expect(ask(sessions(), cookie, [...['x', 'y', 'z'].map((name) => server(name)), ...SERVERS])).toMatchObject({ chosen, set: null })
    }
  })

  it('a new client goes to a server with a free slot; a known client waits for its own', () => {
    const full = [server('a', false), server('b', false), server('c')]
    for (let i = 0; i < 20; i++) expect(ask(sessions(), null, full).chosen).toBe(full[2])
    const { cookie } = ask(sessions(), null, [full[0]!])
    expect(ask(sessions(), cookie, full)).toMatchObject({ chosen: full[0], set: null })
  })

  it('after a change of the secret key, the old cookie leads to the same server and is replaced', () => {
    const first = ask(sessions(), null)
    const rotated = sessions({ secrets: createSecrets(randomBytes(32), KEY) })
    const second = ask(rotated, first.cookie)
    expect(second.chosen).toBe(first.chosen)
    expect(second.set).not.toBe(null)
    expect(ask(rotated, second.cookie)).toMatchObject({ chosen: first.chosen, set: null })
  })

  it.each<[string, (cookie: string) => string]>([
    ['was changed', (cookie) => cookie.replace(/=(.)/, (_, c) => `=${c === 'A' ? 'B' : 'A'}`)],
    ['has another MAC', (cookie) => cookie.slice(0, -43) + randomBytes(32).toString('base64url')],
    ['has an unknown key', (cookie) => cookie.replace(/\.[0-9a-f]{12}\./, '.000000000000.')],
    ['is no cookie of ours', () => 'portcullis-upstream-chat=a'],
    ['is empty', () => 'portcullis-upstream-chat='],
    ['has no value', () => 'portcullis-upstream-chat'],
  ])('a cookie that %s is replaced', (_, change) => {
    const { cookie } = ask(sessions(), null)
    const { set } = ask(sessions(), change(cookie!))
    expect(set).not.toBe(null)
    expect(set).not.toContain(cookie!.split('=')[1]!.slice(0, 22))
  })

  it('a cookie of another route is not accepted', () => {
    const { cookie } = ask(sessions({ name: 'other' }), null)
    expect(ask(sessions(), cookie!.replace('-other=', '-chat=')).set).not.toBe(null)
  })

  it('of two cookies of our name, the valid cookie counts', () => {
    const { chosen, cookie } = ask(sessions(), null)
    expect(ask(sessions(), `portcullis-upstream-chat=planted; ${cookie}`)).toMatchObject({ chosen, set: null })
  })

  it('without a server there is no choice', () => {
    expect(ask(sessions(), null, [])).toMatchObject({ chosen: null, set: null })
  })
})

it('by address, a client has the same server under every key and on every route, without a cookie', () => {
  const chosen = Array.from({ length: 50 }, (_, i) => {
    const request = requestWith(null, { address: `192.0.2.${i}` })
    const first = sessions({ by: 'address' }).choose(SERVERS, request)
    expect(sessions({ by: 'address', name: 'b', secrets: createSecrets(randomBytes(32)) }).choose(SERVERS, request)).toBe(first)
    expect(exchangeOf(request).upstreamCookie).toBe(null)
    return first
  })
  expect(new Set(chosen).size).toBe(4)
})

it('a server that a route names twice has two keys, and others keep theirs', () => {
  const keys = ['http://a', 'http://b', 'http://a'].map((_, i, all) =>
    stickyKeyOf(
      all.map((origin) => ({ origin })),
      i,
    ),
  )
  expect(keys).toEqual(['http://a|0', 'http://b|0', 'http://a|1'])
})

it.each([
  ['a=1; b=2', 'a=1; b=2'],
  ['a=1;  b="x y" ; c', 'a=1;  b="x y" ; c'],
  ['portcullis-upstream-chat=x', null],
  [' portcullis-upstream-chat=x ;', null],
  ['a=1; portcullis-upstream-chat=x; b=2', 'a=1; b=2'],
  ['portcullis-upstream-chat=x; a=1', 'a=1'],
  ['a=1;Portcullis-Upstream-other=x;portcullis-upstream-chat', 'a=1'],
  ['my-portcullis-upstream-chat=x', 'my-portcullis-upstream-chat=x'],
])('of the cookies %j the upstream gets %j', (sent, left) => {
  expect(withoutStickyCookies(sent)).toBe(left)
})

it('our cookie joins those of the upstream, which sets none of ours', () => {
  const request = requestWith(null)
  exchangeOf(request).upstreamCookie = 'portcullis-upstream-chat=ours'
  const fields = [
    'set-cookie',
    'portcullis-upstream-chat=forged; Path=/',
    'x-a',
    '1',
    'set-cookie',
    'sid=1',
    'set-cookie',
    ' PORTCULLIS-upstream-b=2',
  ]
  writeStickyCookie(fields, request)
  expect(fields).toEqual(['x-a', '1', 'set-cookie', 'sid=1', 'set-cookie', 'portcullis-upstream-chat=ours'])
})
