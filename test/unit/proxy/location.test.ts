import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { attachContext, type RequestContext } from '../../../src/platform/request/request-context.ts'
import { rewriteLocations } from '../../../src/proxy/forward/location.ts'
import { compileRoutes } from '../../../src/proxy/routing/route-table.ts'
import { configWith, route } from '../../support/config.ts'

interface Mounting {
  path?: string
  /** `rewrite.prefix` */
  prefix?: string | undefined
  part?: object
  /** Of the client's request. */
  headers?: Record<string, string>
  viaTrustedProxy?: boolean
}
const APP: Mounting = { path: '/app', prefix: '/' }

/** What becomes of one field of an upstream at orders:3000, for a client that asked for gw.test. */
function rewritten(name: string, value: string, { path = '/api', prefix, part, headers, viaTrustedProxy = false }: Mounting = {}): string {
  const own = { upstream: ['http://orders:3000'], ...(prefix && { rewrite: { prefix } }), ...part }
  const [compiled] = compileRoutes(configWith({ routes: [route(path, own)] })).routes
  const request = new IncomingMessage(new Socket())
  request.headers = { host: 'gw.test', ...headers }
  attachContext(request, { client: { viaTrustedProxy } } as RequestContext)
  const fields = ['x-other', '/', name, value]
  rewriteLocations(fields, compiled!, request)
  expect(fields.slice(0, 3)).toEqual(['x-other', '/', name])
  return fields[3]!
}

describe('Location under a rewrite', () => {
  it.each<[string, string, string, Mounting]>([
    ['a path of the upstream', '/home?x#y', '/app/home?x#y', APP],
    ['the root', '/', '/app/', APP],
    ['the origin of the upstream', 'http://orders:3000/home', '/app/home', APP],
    ['the origin of the upstream alone', 'http://orders:3000', '/app/', APP],
    ['the host that the client asked', 'http://gw.test/home', 'http://gw.test/app/home', APP],
    ['the host that the client asked, by another scheme', 'https://GW.test:443/home', 'https://GW.test:443/app/home', APP],
    ['the host that the client asked, without a path', 'http://gw.test?x', 'http://gw.test/app/?x', APP],
    ['the host that the client asked at another port', 'http://gw.test:8080/home', 'http://gw.test:8080/home', APP],
    ['the host that the client asked as a user', 'http://gw.test@evil.test/home', 'http://gw.test@evil.test/home', APP],
    ['a path by X-Forwarded-Prefix', '/app/home', '/app/home', APP],
    ['a URL by X-Forwarded-Host and -Prefix', 'http://gw.test/app/home', 'http://gw.test/app/home', APP],
    ['a path that only begins as the prefix does', '/apple', '/app/apple', APP],
    ['another host', 'http://elsewhere.test/home', 'http://elsewhere.test/home', APP],
    ['a prefix for another', '/v2/home', '/app/home', { path: '/app', prefix: '/v2' }],
    ['a path by X-Forwarded-Prefix, before a prefix for another', '/app/v2/home', '/app/home', { path: '/app', prefix: '/v2' }],
    ['a path beside the prefix', '/other', '/other', { path: '/app', prefix: '/v2' }],
    ['a longer prefix', '/app/v1/home', '/app/home', { path: '/app', prefix: '/app/v1' }],
    ['a shorter prefix', '/v2/home', '/api/v2/home', { path: '/api/v2', prefix: '/v2' }],
    ['a shorter prefix, by X-Forwarded-Prefix', '/api/v2/home', '/api/v2/home', { path: '/api/v2', prefix: '/v2' }],
    ['a prefix for none', '/app/home', '/home', { path: '/', prefix: '/app' }],
  ])('of %s: %s becomes %s', (_, value, expected, place) => {
    expect(rewritten('location', value, place)).toBe(expected)
    expect(rewritten('content-location', value, place)).toBe(expected)
  })

  const behind: Mounting = {
    ...APP,
    viaTrustedProxy: true,
    headers: { 'x-forwarded-host': 'public.test', 'x-forwarded-port': '8443', 'x-forwarded-prefix': '/outer' },
  }
  it.each([
    ['http://public.test/home', 'http://public.test/app/home'],
    ['http://gw.test/home', 'http://gw.test/app/home'],
    ['https://public.test:8443/home', 'https://public.test:8443/app/home'],
    ['https://public.test:9443/home', 'https://public.test:9443/home'],
    ['/outer/app/home', '/outer/app/home'],
    ['/home', '/app/home'],
  ])('behind a trusted proxy: %s becomes %s', (value, expected) => {
    expect(rewritten('location', value, behind)).toBe(expected)
  })

  it('of a host that a client only claims stays', () => {
    expect(rewritten('location', 'http://public.test/home', { ...behind, viaTrustedProxy: false })).toBe('http://public.test/home')
  })
})

it('without a rewrite, a URL of the host that the client asked stays', () => {
  expect(rewritten('location', 'http://gw.test/home')).toBe('http://gw.test/home')
})

describe('Link', () => {
  it.each<[string, string, Mounting]>([
    ['<http://orders:3000/items?page=2>; rel="next"', '</app/items?page=2>; rel="next"', APP],
    ['</a>; rel=prev, <b>; rel=next,<http://elsewhere.test/>', '</app/a>; rel=prev, <b>; rel=next,<http://elsewhere.test/>', APP],
    ['</a>; title="</b>, \\"</c>"; rel=x, </d>', '</app/a>; title="</b>, \\"</c>"; rel=x, </app/d>', APP],
    ['</a>; title="open </b>', '</app/a>; title="open </b>', APP],
    ['<http://orders:3000/a>; rel=self', '</a>; rel=self', {}],
  ])('%s becomes %s', (value, expected, place) => {
    expect(rewritten('link', value, place)).toBe(expected)
  })
})

describe('Refresh', () => {
  it.each([
    ['5', '5'],
    ['5; url=/home', '5; url=/app/home'],
    ['0;URL="http://orders:3000/home"', '0;URL="/app/home"'],
    ["0, url = '/home' and more", "0, url = '/app/home' and more"],
    ['1.5 /home', '1.5 /app/home'],
    ['5; url=http://elsewhere.test/', '5; url=http://elsewhere.test/'],
  ])('%s becomes %s', (value, expected) => {
    expect(rewritten('refresh', value, APP)).toBe(expected)
  })
})

describe('Set-Cookie', () => {
  it.each<[string, string, Mounting]>([
    ['sid=1; Path=/account; HttpOnly', 'sid=1; Path=/app/account; HttpOnly', APP],
    ['sid=1; path=/', 'sid=1; path=/app', APP],
    ['sid=1; Path=/app', 'sid=1; Path=/app', APP],
    ['sid=1; Secure', 'sid=1; Secure', APP],
    ['sid=/account', 'sid=/account', APP],
    ['sid=1; Path="/account"', 'sid=1; Path="/account"', APP],
    ['__Host-sid=1; Secure; Path=/', '__Host-sid=1; Secure; Path=/', APP],
    ['__host-sid=1; Secure; Path=/', '__host-sid=1; Secure; Path=/', APP],
    ['__Secure-sid=1; Secure; Path=/', '__Secure-sid=1; Secure; Path=/app', APP],
    ['sid=1; Path=/v2/account', 'sid=1; Path=/app/account', { path: '/app', prefix: '/v2' }],
    ['sid=1; Path=/', 'sid=1; Path=/', { path: '/app', prefix: '/v2' }],
    ['sid=1; Path=/v2/', 'sid=1; Path=/app', { path: '/app', prefix: '/v2/api' }],
    ['sid=1; Path=/app', 'sid=1; Path=/', { path: '/', prefix: '/app' }],
    ['sid=1; Path=/account', 'sid=1; Path=/account', {}],
    ['sid=1; Domain=orders; Path=/', 'sid=1; Path=/', {}],
    ['sid=1; domain = .Orders ;Path=/', 'sid=1;Path=/', {}],
    ['sid=1; Domain=gw.test', 'sid=1; Domain=gw.test', {}],
    ['sid=1; Domain=test', 'sid=1; Domain=test', { part: { upstream: ['http://test:3000'] } }],
    ['sid=1; Domain=tenant.internal', 'sid=1', { part: { headers: { request: { set: { Host: 'tenant.internal:80' } } } } }],
  ])('%s becomes %s', (value, expected, place) => {
    expect(rewritten('set-cookie', value, place)).toBe(expected)
  })
})

it('a cookie of many blanks takes no time', () => {
  const value = `sid=1; Domain=a${' '.repeat(60_000)}b; Path=/x`
  expect(rewritten('set-cookie', value, APP)).toBe(value.replace('/x', '/app/x'))
})

it('a rewrite tells the upstream what stands before its own paths', () => {
  const prefixOf = (path: string, prefix?: string) =>
    compileRoutes(configWith({ routes: [route(path, prefix ? { rewrite: { prefix } } : {})] })).routes[0]!.forwardedPrefix
  expect([prefixOf('/app', '/'), prefixOf('/app'), prefixOf('/app/', '/v2'), prefixOf('/api/v2', '/v2'), prefixOf('/', '/app')]).toEqual([
    '/app',
    '',
    '/app',
    '/api',
    '',
  ])
})
