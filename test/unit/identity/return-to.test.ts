import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createCrossSite } from '../../../src/identity/access/cross-site.ts'
import { createReturnTo } from '../../../src/identity/pages/return-to.ts'
import { createClientReader, parseNetworks } from '../../../src/platform/request/client-address.ts'

const ORIGIN = 'https://api.example.com:8443'
const nobody = parseNetworks([])!
const clientOf = createClientReader(nobody, nobody)
const crossSite = createCrossSite({
  server: { publicUrl: ORIGIN, forwardedBy: 'x-forwarded' },
  auth: { browser: { origins: ['https://app.example.com'] } },
})
const returnTo = createReturnTo(crossSite, '/auth')

function pageAt(host: string | undefined) {
  const raw = new IncomingMessage(new Socket())
  if (host !== undefined) raw.headers.host = host
  return { request: { raw }, client: clientOf(raw) }
}
const page = pageAt('api.example.com:8443')
const of = (value: string | undefined) => returnTo.of(page, value)

describe('a return_to of our origin', () => {
  it.each([
    ['/', '/'],
    ['/orders?from=1&to=%20x', '/orders?from=1&to=%20x'],
    ['/app#/orders/7', '/app#/orders/7'],
    ['/a path/ü', '/a%20path/%C3%BC'],
    ['/search/100%25', '/search/100%25'],
    ['/a/../orders', '/orders'],
    ['/orders//7', '/orders//7'],
    ['/@user', '/@user'],
    ['/authors', '/authors'],
    [`${ORIGIN}/orders?x=1`, '/orders?x=1'],
    ['HTTPS://API.Example.com:8443/orders', '/orders'],
    ['/auth/ui/account', '/auth/ui/account'],
    ['/auth/console', '/auth/console'],
    ['/auth/console/users/new?x=1', '/auth/console/users/new?x=1'],
    ['/auth/ui/account/factors?return_to=%2Forders', '/auth/ui/account/factors?return_to=%2Forders'],
    ['/next?to=//evil.example', '/next?to=//evil.example'],
  ])('%s leads to %s', (value, expected) => {
    expect(of(value)).toBe(expected)
  })
})

describe('a return_to of an attacker is ignored', () => {
  it.each([
    undefined,
    '',
    '//evil.example',
    '///evil.example',
    '////evil.example/a',
    '/\\evil.example',
    '\\\\evil.example',
    '\\/evil.example',
    '/\t/evil.example',
    '/\n/evil.example',
    '\t//evil.example',
    ' //evil.example',
    '/\u0000/evil.example',
    '/.//evil.example',
    '/..//evil.example',
    '/%2e//evil.example',
    '/a/..//evil.example',
    'https:evil.example',
    'https:/evil.example',
    'https:/orders',
    'https:orders',
    'https://evil.example',
    'https:///evil.example',
    'https://evil.example/https://api.example.com:8443/',
    'https://api.example.com:8443.evil.example/',
    'https://api.example.com:8443@evil.example/',
    'https://api.example.com%2eevil.example:8443/',
    'https://evil.example\\@api.example.com:8443/',
    'https://user@api.example.com:8443/',
    'https://user:word@api.example.com:8443/',
    'https://api.example.com/orders',
    'https://api.example.com:443/orders',
    'https://api.example.com:8444/orders',
    'http://api.example.com:8443/orders',
    'https://app.example.com/orders',
    'wss://api.example.com:8443/orders',
    'blob:https://api.example.com:8443/orders',
    'javascript:alert(1)',
    'JavaScript:alert(1)//https://api.example.com:8443/',
    'java\nscript:alert(1)',
    'data:text/html,x',
    'vbscript:x',
    'about:blank',
    'file:///etc/passwd',
    'orders',
    '?x=1',
    '#x',
    '.',
    `/${'a'.repeat(2048)}`,
    'https://[::1',
    'https://',
  ])('%j', (value) => {
    expect(of(value)).toBeNull()
  })

  it.each([
    '%2f%2fevil.example',
    '/%2fevil.example',
    '/%5cevil.example',
    '/%09/evil.example',
    '//%65vil.example',
  ])('%s, which is encoded, stays on our origin', (value) => {
    const target = of(value)
    if (target !== null) expect(new URL(target, ORIGIN).origin).toBe(ORIGIN)
  })
})

describe('below the prefix, only some pages can be returned to', () => {
  it.each([
    '/auth',
    '/auth/',
    '/auth/ui',
    '/auth/ui/',
    '/auth/ui/login',
    '/auth/ui/login?return_to=/orders',
    '/auth/ui/logout',
    '/auth/ui/language/de',
    '/auth/ui/account/',
    '/auth/console/',
    '/auth/console/%2e%2e/logout',
    '/auth/consoles',
    '/auth/ui/account/unknown',
    '/auth/ui/reset#token=x',
    '/auth/email/verify#token=x',
    '/auth/session',
    '/auth/docs',
    '/AUTH/ui/logout',
    '/auth;a/ui/logout',
    '/auth//ui/logout',
    '//auth/ui/logout',
    '/x/../auth/ui/logout',
    '/%61uth/ui/logout',
    '/auth%2fui%2flogout',
    '/auth%252fui/logout',
    '/%2561uth/ui/logout',
    '/auth%5cui/logout',
    `${ORIGIN}/auth/ui/logout`,
  ])('not %s', (value) => {
    expect(of(value)).toBeNull()
  })

  it('drops a fragment there: it would be the token of a link', () => {
    expect(of('/auth/ui/account#token=x')).toBe('/auth/ui/account')
  })
})

it('is ignored when the request names no host', () => {
  expect(returnTo.of(pageAt(undefined), '/orders')).toBeNull()
  expect(returnTo.of(pageAt('a b'), '/orders')).toBeNull()
})

it('never leads off our origin, and stays as it is when it is read again', () => {
  const hostile = fc.stringMatching(/^[/\\.:@%\t\n a-zA-Z0-9?#;-]{0,40}$/)
  const value = fc.oneof(
    hostile,
    hostile.map((text) => `/${text}`),
    hostile.map((text) => `${ORIGIN}${text}`),
    fc.webUrl(),
  )
  fc.assert(
    fc.property(value, (text) => {
      const target = of(text)
      if (target === null) return
      const url = new URL(target, ORIGIN)
      expect(url.origin).toBe(ORIGIN)
      expect(target).toMatch(/^\/(?!\/)/)
      expect(of(target)).toBe(target)
    }),
    { numRuns: 2000 },
  )
})

it('is written into the address of a page, and can be read from there', () => {
  expect(returnTo.to('/auth/ui/login', null)).toBe('/auth/ui/login')
  const target = '/orders?a=1&b=ü#c'
  const address = returnTo.to('/auth/ui/login', target)
  expect(new URL(address, ORIGIN).searchParams.get('return_to')).toBe(target)
  expect(returnTo.to('/auth/ui/login?check=1', '/orders')).toBe('/auth/ui/login?check=1&return_to=%2Forders')
})
