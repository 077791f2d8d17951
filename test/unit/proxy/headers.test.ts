import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { encodeHeaderValue } from '../../../src/identity/access/identity-headers.ts'
import type { Assertions } from '../../../src/identity/tokens/assertions.ts'
import { memoize } from '../../../src/platform/lib/memoize.ts'
import { createClientReader, parseNetworks } from '../../../src/platform/request/client-address.ts'
import { readTraceContext } from '../../../src/platform/request/trace-context.ts'
import { createHeaderRules, readResponse } from '../../../src/proxy/forward/headers.ts'
import type { Authenticated } from '../../../src/proxy/routing/exchange.ts'
import { type HeaderEdits, NO_EDITS } from '../../../src/proxy/routing/header-edits.ts'
import { RESERVED_FAMILIES } from '../../../src/proxy/routing/reserved-headers.ts'
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
  /** What the route compiles to, besides. */
  route?: object
}

/** A configuration is loaded once: there are many cases. */
const rulesOf = memoize((config: string) => createHeaderRules(configWith(JSON.parse(config)), {} as Assertions))

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
    route = {},
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
  const client = createClientReader(parseNetworks(viaTrustedProxy ? [peer] : [])!, parseNetworks([])!)(req)
  const exchange = {
    requestId: 'req-1',
    trace: readTraceContext(headers, client.viaTrustedProxy),
    host: 'gateway.test',
    client,
    route: { forwardAuthorization, requestHeaders, assertion: false, forwardedPrefix: '', passedReserved: null, ...route },
    principal: isAnonymous ? null : { identityHeaders: IDENTITY },
  } as unknown as Authenticated
  const upstream = { authority: 'orders:3000' } as Upstream
  const flat = rulesOf(JSON.stringify(config)).outgoing(req, exchange, upstream) as string[]
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
      'x-forwarded-port',
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
    ...RESERVED_FAMILIES.flatMap(({ names }) => names.map((name) => name.replace(/\*$/, 'Any-Thing'))),
  ])('%s', (name) => {
    for (const isAnonymous of [true, false]) {
      const list = outgoing([[name, 'evil']], { isAnonymous })
      expect(list.flat()).not.toContain('evil')
    }
  })

  // as each product documents them
  it.each([
    'X-Consumer-ID',
    'X-Consumer-Groups',
    'X-Credential-Identifier',
    'X-Goog-Authenticated-User-Email',
    'X-Goog-IAP-JWT-Assertion',
    'CF-Access-Jwt-Assertion',
    'Cf-Access-Authenticated-User-Email',
    'CF-IPCountry',
    'X-Amzn-Oidc-Identity',
    'X-Amzn-Oidc-Accesstoken',
    'X-Amzn-Mtls-Clientcert-Subject',
    'X-Amz-Cf-Id',
    'CloudFront-Viewer-Address',
    'X-MS-CLIENT-PRINCIPAL-NAME',
    'X-MS-TOKEN-AAD-ID-TOKEN',
    'X-SSL-Client-Verify',
    'X-SSL-Client-S-DN',
    'X-Client-Cert-Sha256',
    'X-Client-Certificate',
    'Client-Cert-Chain',
    'ssl-client-subject-dn',
    'SSL_CLIENT_S_DN',
    'X-Forwarded',
    'X-Forwarded-Client-Cert',
    'X-Forwarded-Tls-Client-Cert-Info',
    'X-Forwarded-Access-Token',
    'Forwarded-For',
    'Fastly-Client-IP',
    'Fastly-SSL',
    'True-Client-Port',
    'X-Envoy-External-Address',
    'X-Envoy-Original-Path',
    'X-WEBAUTH-ROLE',
    'X-Remote-Extra-Scopes',
    'Remote-Groups',
    'X-Auth-Request-Preferred-Username',
    'X-authentik-username',
    'X-Pomerium-Claim-Email',
    'X-Vouch-User',
    'X-Token-User-Roles',
    'Tailscale-User-Login',
    'X-Akamai-Edgescape',
    'X-Azure-ClientIP',
    'X-Appgw-Trace-Id',
    'X-ARR-ClientCert',
    'X-Kong-Request-Id',
    'X-Userinfo',
    'X-Istio-Attributes',
    'l5d-client-id',
    'l5d-dst-override',
    'X-Spiffe-Id',
    'X-Tyk-Authorization',
    'X-NginX-Proxy',
    'OIDC_CLAIM_sub',
    'SM_USER',
    'iv-groups',
    'Impersonate-Group',
    'X-Middleware-Subrequest',
  ])('%s, as a proxy or a service mesh would set it', (name) => {
    for (const spelling of [name, name.toUpperCase(), name.replaceAll('-', '_'), name.replaceAll('-', '.')])
      expect(passed([[spelling, 'evil']])).toEqual([])
  })

  it.each([
    'X-Api-Key',
    'X-Requested-With',
    'X-CSRF-Token',
    'X-XSRF-Token',
    'X-Access-Token',
    'X-Tenant-Id',
    'X-User-Agent',
    'X-User-Timezone',
    'X-Client-Version',
    'X-Client-Info',
    'X-Anonymous-Id',
    'X-Amz-Date',
    'X-Amzn-Trace-Id',
    'X-B3-TraceId',
    'X-Cloud-Trace-Context',
    'X-Token',
    'X-Real',
    'X-Ms',
    'CFO-Name',
    'Cdn-Loop',
    'Remoteness',
    'Idempotency-Key',
    'Grpc-Timeout',
    'Proxying',
  ])('but %s passes: a client may say it', (name) => {
    expect(passed([[name, 'mine']])).toEqual([[name.toLowerCase(), 'mine']])
  })

  it('but a route lets a reserved header pass by its name, in that form alone', () => {
    const options = { route: { passedReserved: new Set(['cf-ipcountry']) } }
    expect(passed([['CF-IPCountry', 'DE']], options)).toEqual([['cf-ipcountry', 'DE']])
    for (const name of ['CF_IPCountry', 'CF.IPCountry', 'CF-IPCountry-', 'CF-Ray', 'CF-Connecting-IP', 'X-Auth-User'])
      expect(passed([[name, 'evil']], options)).toEqual([])
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
  it('is not changed by X-Forwarded-* of a proxy that sets Forwarded', () => {
    const config = { server: { forwardedBy: 'forwarded' } }
    const list = outgoing([...claims, ['X-Forwarded-Port', '8443'], ['X-Forwarded-Prefix', '/evil']], { viaTrustedProxy: true, config })
    expect(values(list, 'x-forwarded-host')).toEqual(['gateway.test'])
    expect(list.flat()).not.toContain('8443')
    expect(list.flat()).not.toContain('/evil')
  })
  it('has no protocol but http and https', () => {
    expect(reported(outgoing([['X-Forwarded-Proto', 'gopher']], { viaTrustedProxy: true }))[1]).toEqual(['http'])
  })
  it('shows a v4-mapped peer as v4', () => {
    expect(reported(outgoing([], { peer: '::ffff:192.0.2.1' }))[0]).toEqual(['192.0.2.1'])
  })
})

describe('X-Forwarded-Port', () => {
  const portOf = (fields: [string, string][], options?: Options) => values(outgoing(fields, options), 'x-forwarded-port')
  const secure: [string, string] = ['X-Forwarded-Proto', 'https']

  it.each<[string, [string, string][], boolean, string]>([
    ['the port of Host', [['Host', 'gateway.test:8080']], false, '8080'],
    ['the port of an IPv6 Host', [['Host', '[2001:db8::1]:8080']], false, '8080'],
    ['80 without a port', [['Host', '[2001:db8::1]']], false, '80'],
    ['443 over https', [secure], true, '443'],
    ['the port that a trusted proxy tells', [secure, ['X-Forwarded-Port', '8443']], true, '8443'],
    ['the port that the nearest proxy tells', [['X-Forwarded-Port', '1, 8443']], true, '8443'],
    ['the port of X-Forwarded-Host', [['X-Forwarded-Host', 'public.test:8443'], secure], true, '8443'],
    ['no word of a proxy', [secure, ['X-Forwarded-Port', 'evil']], true, '443'],
    ['not what a client claims', [['X-Forwarded-Port', '8443']], false, '80'],
  ])('is %s', (_, fields, viaTrustedProxy, port) => {
    expect(portOf(fields, { viaTrustedProxy })).toEqual([port])
  })

  it('is left to a route that sets it', () => {
    const options = { requestHeaders: { dropped: new Set(['x-forwarded-port']), set: ['x-forwarded-port', '9'] } }
    expect(portOf([], { ...options, route: { setsForwardedPort: true } })).toEqual(['9'])
  })
})

describe('X-Forwarded-Prefix', () => {
  const prefixOf = (sent: string | null, viaTrustedProxy: boolean, forwardedPrefix: string | null) =>
    values(
      outgoing(sent === null ? [] : [['X-Forwarded-Prefix', sent]], { viaTrustedProxy, route: { forwardedPrefix } }),
      'x-forwarded-prefix',
    )

  it.each<[string | null, boolean, string | null, string[]]>([
    [null, false, '', []],
    [null, false, '/app', ['/app']],
    ['/evil', false, '', []],
    ['/evil', false, '/app', ['/app']],
    ['/outer', true, '', ['/outer']],
    ['/outer/', true, '/app', ['/outer/app']],
    ['/far, /near', true, '/app', ['/far/near/app']],
    ['/', true, '/app', ['/app']],
    ['//evil.test', true, '/app', ['/app']],
    ['https://evil.test', true, '/app', ['/app']],
    ['/outer', true, null, []],
  ])('of %j (trusted: %s) with %j of the route is %j', (sent, viaTrustedProxy, own, expected) => {
    expect(prefixOf(sent, viaTrustedProxy, own)).toEqual(expected)
  })
})

describe('Via', () => {
  it('names us, unless it is turned off', () => {
    expect(values(outgoing([], {}), 'via')).toEqual([expect.stringMatching(/ portcullis$/)])
    expect(
      values(outgoing([['Via', '1.1 proxy']], { config: { headers: { via: { request: false } } }, viaTrustedProxy: true }), 'via'),
    ).toEqual([])
  })
})

describe('Host', () => {
  it('is the upstream’s, or the client’s where the route preserves it', () => {
    const fields: [string, string][] = [['Host', 'shop.test:8080']]
    expect(values(outgoing(fields), 'host')).toEqual(['orders:3000'])
    expect(values(outgoing(fields, { route: { preserveHost: true } }), 'host')).toEqual(['shop.test:8080'])
  })
})

describe('traceparent', () => {
  const [trace, span] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331']
  const given = `00-${trace}-${span}-01`
  it('goes on with the same trace under a span of ours; the flag of a stranger does not', () => {
    const sent = (viaTrustedProxy: boolean) => values(outgoing([['traceparent', given]], { viaTrustedProxy }), 'traceparent')
    expect(sent(true)).toEqual([expect.stringMatching(new RegExp(`^00-${trace}-(?!${span})[0-9a-f]{16}-01$`))])
    expect(sent(false)).toEqual([expect.stringMatching(new RegExp(`^00-${trace}-(?!${span})[0-9a-f]{16}-00$`))])
  })
  it('begins anew, at random, after what is not valid', () => {
    const made = values(outgoing([['traceparent', `ff-${trace}-${span}-01`]]), 'traceparent')
    expect(made).toEqual([expect.stringMatching(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-02$/)])
    expect(made[0]).not.toContain(trace)
  })

  const state = (fields: [string, string][], options?: Options) => values(outgoing(fields, options), 'tracestate')
  it('takes tracestate along, as one field', () => {
    const sent: [string, string][] = [
      ['traceparent', given],
      ['Tracestate', 'foo=1'],
      ['tracestate', 'bar=2 , baz=3'],
    ]
    expect(state(sent)).toEqual(['foo=1,bar=2,baz=3'])
    expect(state([...sent, ['Connection', 'tracestate']])).toEqual([])
    expect(state(sent, { requestHeaders: { ...NO_EDITS, dropped: new Set(['tracestate']) } })).toEqual([])
    expect(state([['tracestate', 'foo=1']])).toEqual([])
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
