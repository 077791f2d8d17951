import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { createAnswerNavigation, type NavigationAnswer } from '../../../src/app/answer-navigation.ts'
import { createPageFrame } from '../../../src/app/page-frame.ts'
import { createCrossSite } from '../../../src/identity/access/cross-site.ts'
import { type ErrorCode, problem } from '../../../src/platform/lib/errors.ts'
import { createClientReader, parseNetworks } from '../../../src/platform/request/client-address.ts'
import { createTexts } from '../../../src/platform/texts/texts.ts'
import type { Exchange } from '../../../src/proxy/routing/exchange.ts'
import { configWith } from '../../support/config.ts'

const nobody = parseNetworks([])!
const clientOf = createClientReader(nobody, nobody)
const config = configWith({
  auth: { browser: { enabled: true, brand: { name: 'Example', supportUrl: 'https://example.com/help', homeUrl: '/shop/' } } },
})
const frame = createPageFrame(config, createTexts(['en', 'de']), createCrossSite(config))
let now = Date.parse('2026-11-27T12:00:00Z')
const answerNavigation = createAnswerNavigation({
  frame,
  clock: { now: () => now },
  origins: ['https://app.example.com'],
  hasFactor: async (id) => id === 'with factor',
})

const NAVIGATION = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'none' }
const FRAME = { ...NAVIGATION, 'sec-fetch-dest': 'iframe', 'sec-fetch-site': 'same-origin' }

interface Asked {
  method?: string
  url?: string
  headers?: Record<string, string>
  user?: string
  retryAfterSeconds?: number
}

async function ask(code: ErrorCode, { method = 'GET', url = '/orders?x=1', headers = NAVIGATION, user, retryAfterSeconds }: Asked = {}) {
  const request = new IncomingMessage(new Socket())
  Object.assign(request, { method, url })
  Object.assign(request.headers, { host: 'gateway.test' }, headers)
  const principal = user === undefined ? null : { kind: 'user', id: user }
  const exchange = { client: clientOf(request), isUpgrade: false, requestId: 'the-id', principal } as unknown as Exchange
  const known = problem(code, retryAfterSeconds === undefined ? {} : { headers: { 'retry-after': String(retryAfterSeconds) } })
  return (await answerNavigation(known, request, exchange)) as NavigationAnswer
}
const cookieOf = ({ headers }: NavigationAnswer) => headers['set-cookie']!.split(';')[0]!

describe('a navigation that lacks something leads to the page for it', () => {
  it.each([
    ['token_missing', undefined, '/auth/ui/login'],
    ['token_invalid', undefined, '/auth/ui/login'],
    ['token_expired', undefined, '/auth/ui/login'],
    ['token_revoked', undefined, '/auth/ui/login'],
    ['reauthentication_required', 'a', '/auth/ui/login'],
    ['mfa_required', 'with factor', '/auth/ui/login'],
    ['mfa_required', 'without', '/auth/ui/account/factors'],
    ['password_change_required', 'a', '/auth/ui/account/password'],
  ] as const)('%s of user %s: %s', async (code, user, page) => {
    for (const method of ['GET', 'HEAD']) {
      const { status, headers, body } = await ask(code, { method, ...(user && { user }) })
      expect(status).toBe(303)
      expect(headers.location).toBe(`${page}?return_to=%2Forders%3Fx%3D1`)
      expect(body).toBe('')
    }
  })

  it('without a way back to a path below the prefix that is no page', async () => {
    expect((await ask('token_missing', { url: '/auth/me' })).headers.location).toBe('/auth/ui/login')
    expect((await ask('token_missing', { url: '//evil.example/' })).headers.location).toBe('/auth/ui/login')
    expect((await ask('token_missing', { url: '/auth/ui/account/profile' })).headers.location).toBe(
      '/auth/ui/login?return_to=%2Fauth%2Fui%2Faccount%2Fprofile',
    )
  })
})

describe('the same request, refused for the same reason within a minute, shows a page', () => {
  it('with a link to where the redirect would lead', async () => {
    const cookie = cookieOf(await ask('reauthentication_required', { user: 'a' }))
    now += 59_000
    const again = await ask('reauthentication_required', { user: 'a', headers: { ...NAVIGATION, cookie: `a=b; ${cookie}; c=d` } })
    expect(again.status).toBe(401)
    expect(again.body).toContain('href="/auth/ui/login?return_to=%2Forders%3Fx%3D1"')
    expect(again.body).toContain('your browser may block cookies')
    expect(again.headers['set-cookie']).toBeUndefined()
  })

  it('not after a minute, for another path or for another reason', async () => {
    const cookie = cookieOf(await ask('token_missing'))
    const headers = { ...NAVIGATION, cookie }
    expect((await ask('token_missing', { headers })).status).toBe(401)
    expect((await ask('token_missing', { headers, url: '/orders?x=2' })).status).toBe(303)
    expect((await ask('mfa_required', { headers, user: 'without' })).status).toBe(303)
    now += 61_000
    expect((await ask('token_missing', { headers })).status).toBe(303)
  })

  it.each([
    'portcullis-step=',
    'portcullis-step',
    'portcullis-step=x.y',
    'portcullis-step=.',
    '=;;=',
  ])('not for a malformed cookie: %s', async (cookie) => {
    expect((await ask('token_missing', { headers: { ...NAVIGATION, cookie } })).status).toBe(303)
  })

  it('the cookie lives a minute, at its path', async () => {
    expect((await ask('token_missing')).headers['set-cookie']).toMatch(
      /^portcullis-step=\d+\.[\w-]{16}; Path=\/orders; Max-Age=60; HttpOnly; SameSite=Lax$/,
    )
    expect((await ask('token_missing', { url: '/a;b' })).headers['set-cookie']).toContain('; Path=/; ')
  })

  it('a prefetch is not counted', async () => {
    const { status, headers } = await ask('token_missing', { headers: { ...NAVIGATION, 'sec-purpose': 'prefetch;prerender' } })
    expect(status).toBe(303)
    expect(headers['set-cookie']).toBeUndefined()
  })
})

describe('a form and a frame get a page with a link for the whole window', () => {
  const referer = 'http://gateway.test/cart?step=2'

  it('a form leads back to its own page, and says that it was not saved', async () => {
    const { status, headers, body } = await ask('token_missing', { method: 'POST', headers: { ...NAVIGATION, referer } })
    expect(status).toBe(401)
    expect(headers['content-type']).toBe('text/html; charset=utf-8')
    expect(body).toContain('<a class="button" href="/auth/ui/login?return_to=%2Fcart%3Fstep%3D2" target="_top">')
    expect(body).toContain('The form was not saved.')
  })

  it('a form of another site leads to the login alone', async () => {
    const { body } = await ask('token_missing', { method: 'POST', headers: { ...NAVIGATION, referer: 'https://evil.example/' } })
    expect(body).toContain('href="/auth/ui/login" target="_top"')
  })

  it('a frame may be shown by our own pages and by listed origins only', async () => {
    const { status, headers, without, body } = await ask('token_missing', { headers: { ...FRAME, referer } })
    expect(status).toBe(401)
    expect(headers['content-security-policy']).toContain("frame-ancestors 'self' https://app.example.com;")
    expect(headers['x-frame-options']).toBeUndefined()
    expect(without).toContain('x-frame-options')
    expect(body).toContain('<base target="_top">')
    expect(body).toContain('href="/auth/ui/login?return_to=%2Fcart%3Fstep%3D2" target="_top"')
  })

  it('other pages are never framed', async () => {
    const { headers } = await ask('token_missing', { method: 'POST' })
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'")
    expect(headers['x-frame-options']).toBe('DENY')
  })
})

describe('other refusals of a navigation are a small page', () => {
  it.each([
    ['forbidden', 403, 'You may not open this page'],
    ['route_not_found', 404, 'This page does not exist'],
    ['rate_limited', 429, 'Too many requests'],
    ['internal', 500, 'An error occurred'],
    ['upstream_unreachable', 502, 'This service does not answer'],
    ['unavailable', 503, 'This service is not available'],
    ['upstream_timeout', 504, 'This service is too slow'],
    ['method_not_allowed', 405, 'This did not work'],
  ] as const)('%s: %i, %s', async (code, status, title) => {
    const answer = await ask(code)
    expect(answer.status).toBe(status)
    expect(answer.body).toContain(`<h1>${title}</h1>`)
    expect(answer.body).toContain('Request id: the-id')
    expect(answer.headers['cache-control']).toBe('no-store')
    for (const name of ['Accept', 'Accept-Language', 'Cookie', 'Sec-Fetch-Dest', 'Sec-Fetch-Mode'])
      expect(answer.headers.vary).toContain(name)
    expect(Buffer.byteLength(answer.body)).toBeLessThan(5000)
  })

  it('with the time to wait in words', async () => {
    expect((await ask('rate_limited', { retryAfterSeconds: 1 })).body).toContain('Please try again in 1 second.')
    expect((await ask('unavailable', { retryAfterSeconds: 90 })).body).toContain('Please try again in 90 seconds.')
  })

  it("in the reader's language", async () => {
    const headers = { ...NAVIGATION, 'accept-language': 'de-AT,de;q=0.9,en;q=0.8' }
    const { body } = await ask('rate_limited', { headers, retryAfterSeconds: 600 })
    expect(body).toContain('<html lang="de">')
    expect(body).toContain('<h1>Zu viele Anfragen</h1>')
    expect(body).toContain('Bitte versuchen Sie es in 10 Minuten noch einmal.')
    expect((await ask('rate_limited', { headers: { ...headers, cookie: 'portcullis-lang=en' } })).body).toContain('<html lang="en">')
  })

  it('a request from another site is named as the reason', async () => {
    expect((await ask('origin_untrusted', { method: 'POST' })).body).toContain('another site')
  })

  it('with the links of a logged-in user, and the help of the operator', async () => {
    expect((await ask('forbidden', { user: 'a' })).body).toContain('action="/auth/ui/logout"')
    expect((await ask('forbidden')).body).not.toContain('/logout')
    expect((await ask('forbidden')).body).toContain('href="https://example.com/help"')
    expect((await ask('forbidden')).body).toContain('<a class="brand" href="/shop/">')
  })
})

it('a program gets no page', async () => {
  expect(await ask('token_missing', { headers: { accept: '*/*' } })).toBeNull()
  expect(await ask('route_not_found', { headers: { accept: 'application/json' } })).toBeNull()
  expect(await ask('token_missing', { headers: { ...NAVIGATION, authorization: 'Bearer x' } })).toBeNull()
})
