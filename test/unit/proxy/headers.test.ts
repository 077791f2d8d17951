import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { encodeHeaderValue } from '../../../src/identity/access/identity-headers.ts'
import type { Assertions } from '../../../src/identity/tokens/assertions.ts'
import { createClientReader, parseNetworks } from '../../../src/platform/request/client-address.ts'
import { createHeaderRules, readResponse } from '../../../src/proxy/forward/headers.ts'
import type { Authenticated } from '../../../src/proxy/routing/exchange.ts'
import { type HeaderEdits, NO_EDITS } from '../../../src/proxy/routing/route-table.ts'
import type { Upstream } from '../../../src/proxy/upstream/upstreams.ts'
import { configWith } from '../../support/config.ts'

const IDENTITY = ['x-auth-user', 'u1', 'x-auth-roles', 'admin,user']

interface Options {
  config?: object
  peer?: string
  viaTrustedProxy?: boolean
  forwardAuthorization?: boolean
  isAnonymous?: boolean
  requestHeaders?: HeaderEdits
}

/** What goes upstream for these fields of a client: [name, value][]. */
function outgoing(
  fields: [string, string][],
  {
    config = {},
    peer = '192.0.2.1',
    viaTrustedProxy = false,
    forwardAuthorization = false,
    isAnonymous = false,
    requestHeaders = NO_EDITS,
  }: Options = {},
) {
  const socket = new Socket()
  Object.defineProperty(socket, 'remoteAddress', { value: peer })
  const req = new IncomingMessage(socket)
  req.rawHeaders = fields.flat()
  const headers: Record<string, string> = { host: 'gateway.test' }
  for (const [name, value] of fields) {
    const known = headers[name.toLowerCase()]
    headers[name.toLowerCase()] = known && name.toLowerCase() !== 'host' ? `${known}, ${value}` : value
  }
  req.headers = headers
  const exchange = {
    requestId: 'req-1',
    host: 'gateway.test',
    client: createClientReader(parseNetworks(viaTrustedProxy ? [peer] : [])!, parseNetworks([])!)(req),
    route: { forwardAuthorization, requestHeaders, assertion: false },
    principal: isAnonymous ? null : { identityHeaders: IDENTITY },
  } as unknown as Authenticated
  const upstream = { authority: 'orders:3000' } as Upstream
  const flat = createHeaderRules(configWith(config), {} as Assertions).outgoing(req, exchange, upstream) as string[]
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i]!, flat[2 * i + 1]!] as [string, string])
}
/** The headers that come from the client's fields alone. */
const passed = (fields: [string, string][], options?: Options) => {
  const own = new Set(outgoing([], options).map(([name]) => name))
  return outgoing(fields, options).filter(([name]) => !own.has(name))
}
const values = (list: [string, string][], name: string) => list.filter(([n]) => n === name).map(([, v]) => v)

describe('to the upstream', () => {
  it('goes what the client sent, in order and repeated as it was, after the Host of the upstream and before our own', () => {
    const list = outgoing([
      ['Host', 'gateway.test'],
      ['Accept', 'a'],
      ['COOKIE', 'b=c'],
      ['accept', 'd'],
      ['Content-Type', 'text/plain'],
    ])
    expect(list.slice(0, 5)).toEqual([
      ['host', 'orders:3000'],
      ['accept', 'a'],
      ['cookie', 'b=c'],
      ['accept', 'd'],
      ['content-type', 'text/plain'],
    ])
    expect(list.slice(5).map(([name]) => name)).toEqual([
      'x-forwarded-for',
      'x-forwarded-proto',
      'x-forwarded-host',
      'via',
      'traceparent',
      'x-request-id',
      'x-auth-user',
      'x-auth-roles',
    ])
  })

  it.each([
    'Connection',
    'Keep-Alive',
    'Proxy-Authenticate',
    'Proxy-Authorization',
    'Proxy-Connection',
    'TE',
    'Trailer',
    'Transfer-Encoding',
    'Upgrade',
    'HTTP2-Settings',
    'Expect',
  ])('goes no %s: it is of this connection (RFC 9110 §7.6.1)', (name) => {
    expect(passed([[name, 'x']])).toEqual([])
  })

  it('goes no field that Connection names, but Content-Length', () => {
    const named: [string, string][] = [
      ['Connection', 'close, X-Hop , content-length'],
      ['x-hop', '1'],
      ['content-length', '3'],
      ['x-stays', '1'],
    ]
    expect(passed(named).map(([name]) => name)).toEqual(['content-length', 'x-stays'])
  })

  it('goes our identity although Connection names it', () => {
    const list = outgoing([['connection', 'x-auth-user, x-auth-roles, x-request-id, x-forwarded-for']])
    for (const name of ['x-auth-user', 'x-auth-roles', 'x-request-id', 'x-forwarded-for']) expect(values(list, name)).toHaveLength(1)
  })
})

describe('a claim of the client goes nowhere', () => {
  it.each([
    'X-Auth-User',
    'x-auth-user',
    'X-AUTH-ROLES',
    'x_auth_user',
    'X.Auth.User',
    'X-Auth_User',
    'x--auth--user',
    '_x-auth-user',
    'x-auth-user-',
    'X-Auth-Anything',
    'X-Auth-Assertion',
    'Forwarded',
    'X-Forwarded-User',
    'X_Forwarded_For',
    'X-Real-IP',
    'X-Original-URL',
    'X-Rewrite-URL',
    'X-HTTP-Method-Override',
    'Remote-User',
    'Remote_User',
    'X-Remote-User',
  ])('%s', (name) => {
    for (const isAnonymous of [true, false]) {
      const list = outgoing([[name, 'evil']], { isAnonymous })
      expect(list.flat()).not.toContain('evil')
    }
  })

  it('under names of the configuration, in every letter case', () => {
    const config = { headers: { identity: { user: 'Remote-Id', email: 'R-Email', roles: 'R-Roles', session: 'R-Session' } } }
    for (const name of ['Remote-Id', 'REMOTE_ID', 'remote.id', 'r_roles']) expect(passed([[name, 'evil']], { config })).toEqual([])
  })

  it('but a name that only begins alike is kept', () => {
    expect(passed([['x-authentic', '1']])).toEqual([['x-authentic', '1']])
    expect(passed([['x-author', '1']])).toEqual([['x-author', '1']])
  })
})

describe('Authorization', () => {
  it('stays here unless the route forwards it', () => {
    const field: [string, string][] = [['Authorization', 'Bearer t']]
    expect(passed(field)).toEqual([])
    expect(passed(field, { forwardAuthorization: true })).toEqual([['authorization', 'Bearer t']])
  })
})

describe('where the request came from', () => {
  const claims: [string, string][] = [
    ['X-Forwarded-For', '198.51.100.1'],
    ['X-Forwarded-Proto', 'https'],
    ['X-Forwarded-Host', 'public.test'],
  ]
  const reported = (list: [string, string][]) => ['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host'].map((n) => values(list, n))

  it('is set anew for a client that is no trusted proxy', () => {
    expect(reported(outgoing([['Host', 'gateway.test:8080'], ...claims]))).toEqual([['192.0.2.1'], ['http'], ['gateway.test:8080']])
  })
  it('goes on from a trusted proxy, with its address added', () => {
    expect(reported(outgoing(claims, { viaTrustedProxy: true }))).toEqual([['198.51.100.1, 192.0.2.1'], ['https'], ['public.test']])
  })
  it('has no protocol but http and https', () => {
    expect(reported(outgoing([['X-Forwarded-Proto', 'gopher']], { viaTrustedProxy: true }))[1]).toEqual(['http'])
  })
  it('shows a v4-mapped peer as v4', () => {
    expect(reported(outgoing([], { peer: '::ffff:192.0.2.1' }))[0]).toEqual(['192.0.2.1'])
  })
})

describe('traceparent', () => {
  const [trace, span] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331']
  it('goes on with the same trace and flags under a span of ours', () => {
    const [value] = values(outgoing([['traceparent', `00-${trace}-${span}-01`]]), 'traceparent')
    expect(value).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-01$`))
    expect(value).not.toContain(span)
  })
  it.each([
    '',
    'x',
    `00-${'0'.repeat(32)}-${span}-01`,
    `00-${trace}-${'0'.repeat(16)}-01`,
    `ff-${trace}-${span}-01`,
    `00-${trace.toUpperCase()}-${span}-01`,
  ])('begins anew after %j', (sent) => {
    const made = values(outgoing([['traceparent', sent]]), 'traceparent')
    expect(made).toEqual([expect.stringMatching(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00$/)])
    expect(made[0]).not.toContain(trace)
  })
})

describe('a header value', () => {
  it.each([
    ['plain', 'plain'],
    ['a@b.c', 'a@b.c'],
    ['é@ü.de', '%C3%A9@%C3%BC.de'],
    ['100%', '100%25'],
    ['a b', 'a%20b'],
    ['a\r\nX: y', 'a%0D%0AX:%20y'],
    ['日本', '%E6%97%A5%E6%9C%AC'],
    ['\u{1f600}', '%F0%9F%98%80'],
    ['\ud800', '%EF%BF%BD'],
    ['\x7f', '%7F'],
  ])('%j is sent as %s', (value, sent) => {
    expect(encodeHeaderValue(value)).toBe(sent)
  })
})

describe("of the upstream's answer", () => {
  it('every field goes unchanged, in lower case, without the fields of the connection and the fields that Connection names', () => {
    const raw = [
      'Set-Cookie',
      'a=1',
      'Set-Cookie',
      'b=2',
      'Connection',
      'X-Hop',
      'X-Hop',
      '1',
      'Transfer-Encoding',
      'chunked',
      'Keep-Alive',
      't',
    ]
    expect(readResponse(raw, [], NO_EDITS).fields).toEqual(['set-cookie', 'a=1', 'set-cookie', 'b=2'])
  })
  it('goes no field that the gateway sets itself', () => {
    expect(readResponse(['X-Request-Id', 'theirs', 'ETag', 'e'], ['x-request-id', 'ours'], NO_EDITS).fields).toEqual([
      'etag',
      'e',
      'x-request-id',
      'ours',
    ])
  })
  it('go bytes above 7F unchanged', () => {
    expect(readResponse([Buffer.from('X-Name'), Buffer.from([0x63, 0xe9, 0xff])], [], NO_EDITS).fields).toEqual(['x-name', 'c\xe9\xff'])
  })
  it('goes Content-Length although Connection names it', () => {
    expect(readResponse(['connection', 'content-length', 'content-length', '3'], [], NO_EDITS).fields).toEqual(['content-length', '3'])
  })
})
