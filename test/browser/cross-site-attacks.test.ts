/**
 * A logged-in user visits pages of other sites, which try to act in the user's name. `evil.test` is another site. `app.gateway.test` is a
 * subdomain of the gateway: same-site for the browser, so that its cookies are sent, and still another origin. Everything runs over TLS.
 */
import { once } from 'node:events'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { WebSocketServer } from 'ws'
import { useBrowserGateway, type Visit } from '../support/browser-gateway.ts'
import { type Authority, createAuthority } from '../support/certificates.ts'
import { newUser, type TestUser } from '../support/client.ts'
import { route } from '../support/config.ts'
import { useUpstream } from '../support/fixtures.ts'
import { until } from '../support/processes.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const upstream = useUpstream((req, res) => {
  if (req.url === '/api/page') return Boolean(res.setHeader('content-type', 'text/html').end('<!doctype html><title>private</title>'))
  return false
})
const sockets = new WebSocketServer({ host: '127.0.0.1', port: 0 })

const gateway = useBrowserGateway(() => ({
  isSecure: true,
  routes: [
    route('/api', { upstream: [upstream.url], access: 'authenticated' }),
    route('/effects', { upstream: [upstream.url], access: 'authenticated', browser: { safeMethods: 'strict' } }),
    route('/socket', {
      upstream: [`http://127.0.0.1:${(sockets.address() as AddressInfo).port}`],
      access: 'authenticated',
      websocket: true,
    }),
  ],
}))

let authority: Authority
let site: https.Server
let user: TestUser
let visit: Visit
/** Origins of the attacker. */
let origins: Record<'evil' | 'subdomain', string>
/** The page that the attacker's server gives. */
let attack = ''
/** Cookies that the attacker's server sets. */
let tossed: string[] = []

beforeAll(async () => {
  authority = await createAuthority()
  const { cert, key } = await authority.issue(['evil.test', 'app.gateway.test'])
  site = https.createServer({ cert, key }, (_req, res) => {
    for (const cookie of tossed) res.appendHeader('set-cookie', cookie)
    res.setHeader('content-type', 'text/html').end(`<!doctype html><title>attack</title><body>${attack}`)
  })
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  const { port } = site.address() as AddressInfo
  origins = { evil: `https://evil.test:${port}`, subdomain: `https://app.gateway.test:${port}` }
  user = await newUser(gateway)
})

afterAll(async () => {
  await visit?.close()
  for (const socket of sockets.clients) socket.terminate()
  sockets.close()
  site.close()
  site.closeAllConnections()
  authority.close()
})

/** A browser in which the user is logged in, before each attack. */
beforeEach(async () => {
  await visit?.close()
  tossed = []
  visit = await gateway.visit()
  await visit.logIn(user)
  upstream.take()
})

const isLoggedIn = async (): Promise<boolean> => {
  await visit.page.goto(`${gateway.origin}/auth/session`)
  return (await visit.page.locator('body').innerText()).includes(user.username)
}

/** Opens a page of the attacker. */
async function lure(from: keyof typeof origins, markup: string): Promise<Page> {
  attack = markup
  await visit.page.goto(`${origins[from]}/`)
  return visit.page
}

const seen = () => upstream.take().map(({ method, url, headers }) => ({ method, url, user: headers['x-auth-user'] }))

it('the user reaches the protected route, so that a refusal below means something', async () => {
  const response = await visit.page.goto(`${gateway.origin}/api/me`)
  expect(response!.status()).toBe(200)
  expect(seen()).toEqual([{ method: 'GET', url: '/api/me', user: user.id }])
})

describe.each(['evil', 'subdomain'] as const)('a page of %s', (from) => {
  it.each([
    'application/x-www-form-urlencoded',
    'text/plain',
    'multipart/form-data',
  ])('a form post of type %s changes nothing', async (type) => {
    const page = await lure(
      from,
      `<form method="post" enctype="${type}" action="${gateway.origin}/api/orders"><input name="item" value="1"></form><script>document.forms[0].submit()</script>`,
    )
    await page.waitForURL(`${gateway.origin}/api/orders`)
    expect(seen()).toEqual([])
    expect(await page.locator('body').innerText()).not.toBe('')
  })

  it('a form of ours, sent from there, does not change the account', async () => {
    const page = await lure(
      from,
      `<form method="post" action="${gateway.origin}/auth/ui/account/password"><input name="new_password" value="violet tractor under moon"></form><script>document.forms[0].submit()</script>`,
    )
    await page.waitForURL(/account\/password|login/)
    // the password is the old password
    await visit.close()
    visit = await gateway.visit()
    await visit.logIn(user)
    expect(await isLoggedIn()).toBe(true)
  })

  it('fetch with credentials reads nothing and changes nothing', async () => {
    const page = await lure(from, '')
    const outcomes = await page.evaluate(async (origin) => {
      const tries: [string, RequestInit][] = [
        ['/api/me', { credentials: 'include' }],
        ['/api/me', { credentials: 'include', mode: 'no-cors' }],
        ['/api/orders', { credentials: 'include', method: 'POST', body: 'x', mode: 'no-cors' }],
        ['/api/orders', { credentials: 'include', method: 'DELETE' }],
        ['/auth/session', { credentials: 'include' }],
        ['/auth/session', { credentials: 'include', method: 'DELETE' }],
        ['/auth/logout', { credentials: 'include', method: 'POST', mode: 'no-cors' }],
      ]
      return Promise.all(
        tries.map(([path, init]) =>
          fetch(origin + path, init).then(
            (r) => r.type,
            () => 'failed',
          ),
        ),
      )
    }, gateway.origin)
    expect(outcomes.filter((outcome) => outcome !== 'failed' && outcome !== 'opaque')).toEqual([])
    expect(seen().filter((request) => request.user !== undefined || ['POST', 'DELETE'].includes(request.method))).toEqual([])
    expect(await isLoggedIn()).toBe(true)
  })

  it('images, scripts and styles are asked without the session', async () => {
    const page = await lure(
      from,
      ['img src', 'script src', 'link rel=stylesheet href']
        .map((tag) => `<${tag}="${gateway.origin}/api/me?${tag[0]}"></${tag.split(' ')[0]}>`)
        .join(''),
    )
    await page.waitForLoadState('networkidle')
    expect(seen()).toEqual([])
  })

  it('a frame shows neither the API nor our pages', async () => {
    const page = await lure(
      from,
      `<iframe src="${gateway.origin}/api/page"></iframe><iframe src="${gateway.origin}/auth/ui/account"></iframe><iframe src="${gateway.origin}/auth/ui/login"></iframe>`,
    )
    await page.waitForLoadState('networkidle')
    expect(seen()).toEqual([])
    const texts = await Promise.all(
      page
        .frames()
        .slice(1)
        .map((frame) =>
          frame
            .locator('body')
            .innerText()
            .catch(() => ''),
        ),
    )
    expect(texts.join(' ')).not.toContain(user.username)
    expect(
      await Promise.all(
        page
          .frames()
          .slice(1)
          .map((frame) => frame.locator('form').count()),
      ),
    ).toEqual([0, 0, 0])
  })

  it('a WebSocket is refused', async () => {
    const page = await lure(from, '')
    const outcome = await page.evaluate(
      (origin) =>
        new Promise((resolve) => {
          const socket = new WebSocket(`${origin.replace('https', 'wss')}/socket`)
          socket.onopen = () => resolve('open')
          socket.onerror = () => resolve('refused')
        }),
      gateway.origin,
    )
    expect(outcome).toBe('refused')
    expect(sockets.clients.size).toBe(0)
  })

  it('an EventSource with credentials reads nothing', async () => {
    const page = await lure(from, '')
    const outcome = await page.evaluate(
      (origin) =>
        new Promise((resolve) => {
          const source = new EventSource(`${origin}/api/me`, { withCredentials: true })
          source.onopen = () => resolve('open')
          source.onerror = () => resolve('failed')
        }),
      gateway.origin,
    )
    expect(outcome).toBe('failed')
    expect(seen().filter((request) => request.user !== undefined)).toEqual([])
  })

  it('a link to a route whose GET requests have effects does not act in the name of the user', async () => {
    const page = await lure(from, `<a href="${gateway.origin}/effects/delete?all=1">win</a>`)
    await Promise.all([page.waitForURL(`${gateway.origin}/**`), page.click('a')])
    expect(seen()).toEqual([])
  })

  it('windows that open one after the other do not act, and tell nothing', async () => {
    const page = await lure(from, '<button>win</button>')
    await page.evaluate(`document.querySelector('button').onclick = () => {
      window.opened = window.open('${gateway.origin}/auth/ui/account', 'target')
      setTimeout(() => window.open('${gateway.origin}/auth/ui/logout', 'target'), 300)
    }`)
    const [popup] = await Promise.all([page.waitForEvent('popup'), page.click('button')])
    await popup.waitForLoadState()
    // the opener cannot read the page, whatever it holds
    const read = await page.evaluate("try { window.opened.document.title } catch { 'refused' }")
    expect(['refused', '']).toContain(read)
    expect(await isLoggedIn()).toBe(true)
  })

  it('a post to the login does not replace the session by the session of the attacker', async () => {
    const attacker = await newUser(gateway)
    const page = await lure(
      from,
      `<form method="post" action="${gateway.origin}/auth/ui/login"><input name="login" value="${attacker.username}"><input name="password" value="${attacker.password}"></form><script>document.forms[0].submit()</script>`,
    )
    await page.waitForURL(`${gateway.origin}/**`)
    expect(await isLoggedIn()).toBe(true)
  })

  it('the JSON login does not replace the session either', async () => {
    const attacker = await newUser(gateway)
    const page = await lure(from, '')
    await page.evaluate(
      ({ origin, login, password }) =>
        fetch(`${origin}/auth/login`, {
          method: 'POST',
          mode: 'no-cors',
          credentials: 'include',
          body: JSON.stringify({ login, password, session: 'cookie' }),
        }).catch(() => null),
      { origin: gateway.origin, login: attacker.username, password: attacker.password },
    )
    expect(await isLoggedIn()).toBe(true)
  })

  it('a post to the logout does not end the session', async () => {
    const page = await lure(
      from,
      `<form method="post" action="${gateway.origin}/auth/ui/logout"></form><script>document.forms[0].submit()</script>`,
    )
    await page.waitForURL(`${gateway.origin}/**`)
    expect(await isLoggedIn()).toBe(true)
  })
})

describe('cookies that a subdomain sets for the whole domain', () => {
  const attributes = '; Domain=gateway.test; Path=/; Secure'

  it.each(['__Host-portcullis', '__Secure-portcullis', 'portcullis-dev'])('%s does not disturb the session', async (name) => {
    const other = await gateway.visit()
    const attacker = await newUser(gateway)
    await other.logIn(attacker)
    const value = (await other.context.cookies(gateway.origin)).find((cookie) => cookie.name === '__Host-portcullis')!.value
    await other.close()
    tossed = [`${name}=${value}${attributes}`, `${name}=${value}; Domain=gateway.test; Path=/auth; Secure`]
    await lure('subdomain', '')
    expect(await isLoggedIn()).toBe(true)
  })

  it('a login makes a new session, whatever cookies were there before', async () => {
    const fresh = await gateway.visit()
    try {
      const before = await newUser(gateway)
      await fresh.logIn(before)
      const [planted] = (await fresh.context.cookies(gateway.origin)).filter(({ name }) => name === '__Host-portcullis')
      await fresh.context.clearCookies()
      await fresh.context.addCookies([planted!])
      await fresh.open('/logout')
      await fresh.context.clearCookies()
      await fresh.context.addCookies([planted!])
      await fresh.open('/login')
      await fresh.context.clearCookies()
      await fresh.logIn(user)
      const [after] = (await fresh.context.cookies(gateway.origin)).filter(({ name }) => name === '__Host-portcullis')
      expect(after!.value).not.toBe(planted!.value)
      expect(after).toMatchObject({ httpOnly: true, secure: true, sameSite: 'Lax', path: '/', domain: 'gateway.test' })
    } finally {
      await fresh.close()
    }
  })
})

describe('one browser, two tabs', () => {
  it('a logout in one tab ends the WebSocket of the other, and its next request', async () => {
    await visit.page.goto(`${gateway.origin}/api/page`)
    const closed = visit.page.evaluate(
      (origin) =>
        new Promise<number>((resolve, reject) => {
          const socket = new WebSocket(`${origin.replace('https', 'wss')}/socket`)
          socket.onopen = () => Object.assign(globalThis, { isOpen: true })
          socket.onclose = ({ code }) => resolve(code)
          socket.onerror = () => reject(new Error('refused'))
        }),
      gateway.origin,
    )
    await visit.page.waitForFunction('globalThis.isOpen')
    const second = await visit.context.newPage()
    await second.goto(`${gateway.origin}/auth/ui/logout`)
    await second.click('main form button')
    expect(await closed).toBe(4401)
    const response = await visit.page.goto(`${gateway.origin}/api/page`)
    expect(response!.url()).toContain('/auth/ui/login?return_to=%2Fapi%2Fpage')
    await until(() => sockets.clients.size === 0, 'the end of the WebSocket at the upstream')
  })

  it('after the logout, Back shows nothing of the account', async () => {
    await visit.open('/account')
    expect(await visit.text()).toContain(user.username)
    await visit.open('/logout')
    await visit.page.click('main form button')
    await visit.page.waitForLoadState()
    await visit.page.goBack()
    await visit.page.goBack().catch(() => null)
    await visit.page.waitForURL(/\/ui\/login/)
    expect(await visit.text()).not.toContain(user.email)
  })
})
