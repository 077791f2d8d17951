/** How the session cookie is named, read, set, cleared, and taken out of a header for an upstream. */
import type { IncomingMessage } from 'node:http'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createCrossSite } from '../../../src/identity/access/cross-site.ts'
import { createSessionCookies, SESSION_COOKIE_NAMES, withoutOurCookies } from '../../../src/identity/access/session-cookie.ts'
import type { Config } from '../../../src/platform/config/schema.ts'
import type { Client } from '../../../src/platform/request/client-address.ts'

interface Options {
  publicUrl?: string
  cookieDomain?: string
  purpose?: 'browser' | 'console'
}

function cookiesOf({ publicUrl = 'http://gateway.test', cookieDomain, purpose = 'browser' }: Options = {}) {
  const config = {
    server: { publicUrl, forwardedBy: 'x-forwarded' },
    auth: { browser: { origins: [], ...(cookieDomain === undefined ? {} : { cookieDomain }) } },
  } as unknown as Config
  return createSessionCookies(config, createCrossSite(config), purpose)
}

const request = (headers: Record<string, string>) => ({ method: 'GET', headers }) as unknown as IncomingMessage
const client = (over: Partial<Client> = {}) => ({ viaTrustedProxy: false, isSecure: false, ...over }) as Client
const https = client({ isSecure: true })

const VALUE = `ps_${'a'.repeat(55)}`
const read = (cookie: string, options?: Options) => cookiesOf(options).read(request({ host: 'api.test', cookie }), https)

describe('the name', () => {
  it('over https is bound to the host, or to the domain of the configuration', () => {
    expect(cookiesOf().nameFor(request({ host: 'api.test' }), https)).toBe('__Host-portcullis')
    expect(cookiesOf({ cookieDomain: 'example.com' }).nameFor(request({ host: 'api.test' }), https)).toBe('__Secure-portcullis')
    expect(cookiesOf({ purpose: 'console', cookieDomain: 'example.com' }).nameFor(request({ host: 'api.test' }), https)).toBe(
      '__Host-portcullis-console',
    )
  })

  it('is that of https where publicUrl is https, whatever the connection is', () => {
    expect(cookiesOf({ publicUrl: 'https://api.test' }).nameFor(request({ host: 'localhost' }), client())).toBe('__Host-portcullis')
  })

  it.each([
    'localhost',
    'localhost:8080',
    'LOCALHOST',
    '127.0.0.1',
    '127.8.9.1:80',
    '[::1]',
    '[::1]:8080',
  ])('over plain http to %s is another name', (host) => {
    expect(cookiesOf().nameFor(request({ host }), client())).toBe('portcullis-dev')
    expect(cookiesOf({ purpose: 'console' }).nameFor(request({ host }), client())).toBe('portcullis-console-dev')
  })

  it.each([
    'api.test',
    'localhost.evil.test',
    'evil.localhost',
    '127.0.0.1.evil.test',
    '192.168.0.1',
    '[::2]',
    'localhost:80:80',
    '',
  ])('over plain http to %s there is none, although the peer is on this machine', (host) => {
    const local = client({ peer: '127.0.0.1', address: '127.0.0.1' })
    expect(cookiesOf().nameFor(request({ host }), local)).toBeNull()
    expect(cookiesOf().read(request({ host, cookie: `portcullis-dev=${VALUE}` }), local)).toEqual([])
    expect(cookiesOf().toClear(request({ host }), local)).toEqual([])
    expect(() => cookiesOf().toSet(request({ host }), local, { value: VALUE, maxAgeSeconds: null })).toThrow(TypeError)
  })

  it('follows the host that a trusted proxy names', () => {
    const behind = client({ viaTrustedProxy: true })
    const name = (host: string, forwarded: string) => cookiesOf().nameFor(request({ host, 'x-forwarded-host': forwarded }), behind)
    expect(name('localhost', 'api.test')).toBeNull()
    expect(name('gateway.internal', 'localhost:3000')).toBe('portcullis-dev')
  })
})

describe('reading', () => {
  it.each<[header: string, values: string[]]>([
    [`__Host-portcullis=${VALUE}`, [VALUE]],
    [`a=1; __Host-portcullis=${VALUE}; b=2`, [VALUE]],
    [`a=1;__Host-portcullis=${VALUE};b=2`, [VALUE]],
    [`a=1;\t __Host-portcullis=${VALUE}\t ;b=2`, [VALUE]],
    [`__Host-portcullis=${VALUE}=`, [`${VALUE}=`]],
    [`__Host-portcullis="${VALUE}"`, [`"${VALUE}"`]],
    [`__Host-portcullis=`, ['']],
    // other names
    [`__host-portcullis=${VALUE}`, []],
    [`__HOST-PORTCULLIS=${VALUE}`, []],
    [`__Host-portcullis =${VALUE}`, []],
    [`\u00a0__Host-portcullis=${VALUE}`, []],
    [`\u2000__Host-portcullis=${VALUE}`, []],
    [`\v__Host-portcullis=${VALUE}`, []],
    [`__Host-portcullis-x=${VALUE}`, []],
    [`x__Host-portcullis=${VALUE}`, []],
    [`__Secure-portcullis=${VALUE}`, []],
    [`portcullis-dev=${VALUE}`, []],
    [`a=__Host-portcullis=${VALUE}`, []],
    [`$Version=1, __Host-portcullis=${VALUE}`, []],
    ['__Host-portcullis', []],
  ])('%j', (header, values) => {
    expect(read(header)).toEqual(values)
  })

  it('takes the first four different values', () => {
    const header = ['a', 'b', 'a', 'c', 'd', 'e'].map((value) => `__Host-portcullis=${value}`).join('; ')
    expect(read(header)).toEqual(['a', 'b', 'c', 'd'])
  })
})

describe('setting', () => {
  const set = (maxAgeSeconds: number | null, options?: Options) =>
    cookiesOf(options).toSet(request({ host: 'api.test' }), https, { value: VALUE, maxAgeSeconds })

  it('has every attribute that protects the cookie', () => {
    expect(set(null)).toBe(`__Host-portcullis=${VALUE}; Path=/; Secure; HttpOnly; SameSite=Lax`)
    expect(set(60)).toBe(`__Host-portcullis=${VALUE}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60`)
    expect(set(null, { cookieDomain: 'example.com' })).toBe(
      `__Secure-portcullis=${VALUE}; Path=/; Domain=example.com; Secure; HttpOnly; SameSite=Lax`,
    )
    const local = cookiesOf().toSet(request({ host: 'localhost' }), client(), { value: VALUE, maxAgeSeconds: null })
    expect(local).toBe(`portcullis-dev=${VALUE}; Path=/; HttpOnly; SameSite=Lax`)
  })

  it('is cleared with and without the domain', () => {
    const clear = (options?: Options) => cookiesOf(options).toClear(request({ host: 'api.test' }), https)
    expect(clear()).toEqual(['__Host-portcullis=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0'])
    expect(clear({ cookieDomain: 'example.com' })).toEqual([
      '__Secure-portcullis=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0',
      '__Secure-portcullis=; Path=/; Domain=example.com; Secure; HttpOnly; SameSite=Lax; Max-Age=0',
    ])
  })
})

describe('for an upstream', () => {
  it.each<[header: string, left: string | null]>([
    [`__Host-portcullis=${VALUE}`, null],
    [`__Host-portcullis=${VALUE}; portcullis-dev=x`, null],
    [`a=1; __Host-portcullis=${VALUE}; b=2`, 'a=1; b=2'],
    [`__Host-portcullis=${VALUE}; a=1`, 'a=1'],
    [`a=1;  b="x y" ;__Host-portcullis=${VALUE}`, 'a=1;  b="x y" '],
    [`a=1; portcullis=2`, 'a=1; portcullis=2'],
    [`a=__Host-portcullis; __host-portcullis=1`, 'a=__Host-portcullis; __host-portcullis=1'],
    ['a=1; __Host-portcullis-flow-0a1b=1.x; b=2', 'a=1; b=2'],
    ['portcullis-flow-0a1b=1.x', null],
    ['portcullis-flow-=1; my-portcullis-flow-0a=1', 'portcullis-flow-=1; my-portcullis-flow-0a=1'],
    ['a=1;;b', 'a=1;;b'],
    ['', ''],
  ])('%j', (header, left) => {
    expect(withoutOurCookies(header)).toBe(left)
  })

  const text = fc.string({ unit: fc.constantFrom('a', 'B', '1', '=', ' ', '\t', '"', '_', '-', 'é') })
  const ours = fc.constantFrom(...SESSION_COOKIE_NAMES).chain((name) => text.map((value) => `${name}=${value}`))
  const blank = fc.constantFrom('', ' ', '\t', '  ')
  const part = fc.tuple(blank, fc.oneof(text, ours), blank).map((pieces) => pieces.join(''))

  it('nothing of ours is left, and every other cookie is, in its order', () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 8 }), (parts) => {
        const isOurs = (one: string) => SESSION_COOKIE_NAMES.has(one.replace(/^[ \t]+/, '').split('=')[0]!) && one.includes('=')
        const left = withoutOurCookies(parts.join(';')) ?? ''
        const others = parts.filter((one) => !isOurs(one))
        expect(
          left
            .split(';')
            .map((one) => one.trim())
            .filter(Boolean),
        ).toEqual(others.map((one) => one.trim()).filter(Boolean))
        if (others.length === parts.length) expect(left).toBe(parts.join(';'))
        for (const name of SESSION_COOKIE_NAMES) expect(` ;${left}`).not.toMatch(new RegExp(`;[ \\t]*${name}=`))
      }),
    )
  })

  it('what is read as ours is never left, and what is left is never read as ours', () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 8 }), (parts) => {
        for (const cookies of [cookiesOf(), cookiesOf({ cookieDomain: 'example.com' }), cookiesOf({ purpose: 'console' })]) {
          const left = withoutOurCookies(parts.join(';'))
          expect(cookies.read(request({ host: 'api.test', ...(left === null ? {} : { cookie: left }) }), https)).toEqual([])
        }
      }),
    )
  })
})
