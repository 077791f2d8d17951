/** The client library in a browser, with several tabs. The page comes from another origin than that of the gateway. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Client, ClientOptions } from '../../clients/javascript/src/portcullis-client.d.ts'
import { type Browser, startBrowser } from '../support/browser.ts'
import { newUser, type TestUser } from '../support/client.ts'
import { useGateway, useUpstream } from '../support/fixtures.ts'
import { packClient } from '../support/packed-client.ts'
import { until } from '../support/processes.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

// in the page
declare const createClient: (options: object) => Client
declare const client: Client
declare const events: string[]
declare const document: { cookie: string }
declare const sessionStorage: ClientOptions['storage'] & { length: number }
declare const localStorage: object

const packed = packClient()
const module = readFileSync(packed.file)
const PAGE = `<!doctype html><title>app</title>
<script type="module">import { createClient } from '/portcullis-client.js'; Object.assign(globalThis, { createClient })</script>`
const site = http.createServer((req, res) => {
  if (req.url === '/portcullis-client.js') return res.setHeader('content-type', 'text/javascript').end(module)
  return res.setHeader('content-type', 'text/html').end(PAGE)
})
const listening = (async () => {
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  return (site.address() as AddressInfo).port
})()
const originOf = async (host: string) => `http://${host}:${await listening}`
/** Two origins that are secure contexts, and one that is not. */
const HOSTS = ['127.0.0.1', 'localhost', 'app.test']

const upstream = useUpstream()
const gateway = useGateway(async () => ({
  routes: [{ name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' }],
  config: { cors: { origins: await Promise.all(HOSTS.map(originOf)) } },
}))

let browser: Browser
let user: TestUser
beforeAll(async () => {
  browser = await startBrowser(['app.test'])
})
afterAll(async () => {
  await browser?.close()
  site.close()
  site.closeAllConnections()
  packed.close()
})
beforeEach(async () => {
  user = await newUser(gateway)
})
afterEach(async () => {
  await Promise.all(browser.context.pages().map((page) => page.close()))
})

/** @param skewMs how far the clock of the tab is ahead */
async function openTab(host: string, options: ClientOptions = {}, skewMs = 0): Promise<Page> {
  const page = await browser.context.newPage()
  if (skewMs !== 0)
    await page.addInitScript((ms) => {
      const now = Date.now
      Date.now = () => now() + ms
    }, skewMs)
  await page.goto(`${await originOf(host)}/`)
  await begin(page, options)
  return page
}

const begin = (page: Page, options: ClientOptions, keep = false) =>
  page.evaluate(
    ([settings, isKept]) => {
      const made = createClient(isKept ? { ...settings, storage: sessionStorage } : settings)
      const seen: string[] = []
      for (const type of ['loggedin', 'loggedout'] as const) made.addEventListener(type, () => seen.push(type))
      Object.assign(globalThis, { client: made, events: seen })
    },
    [{ baseUrl: gateway.url, mode: 'token', ...options }, keep] as const,
  )
const logIn = (page: Page) =>
  page.evaluate(async ([login, password]) => void (await client.login({ login, password })), [user.username, user.password] as const)
const statusIn = (page: Page) => page.evaluate(async () => (await client.fetch('/api')).status)
const nameIn = (page: Page) => page.evaluate(async () => (await client.session())?.user.username ?? null)
const eventsIn = (page: Page) => page.evaluate(() => events)

/** Requests to an endpoint so far, by their outcome. */
const refreshes = () =>
  gateway
    .log()
    .filter(({ route }) => route === 'auth.refresh')
    .map(({ outcome }) => outcome)
const expire = () => gateway.clock.advance(16 * 60_000)

describe('in token mode', () => {
  it('a login in one tab is a login in all tabs, and all tabs share one refresh', async () => {
    const tabs = [await openTab('127.0.0.1'), await openTab('127.0.0.1'), await openTab('127.0.0.1')]
    await logIn(tabs[0]!)
    for (const tab of tabs) await until(async () => (await eventsIn(tab)).includes('loggedin'), 'the login')
    const later = await openTab('127.0.0.1')
    expect(await nameIn(later)).toBe(user.username)
    const before = refreshes().length
    expire()
    expect(await Promise.all([...tabs, later].map(statusIn))).toEqual([200, 200, 200, 200])
    expect(refreshes().slice(before)).toEqual(['ok'])
  })

  it('a logout in one tab is a logout in all tabs', async () => {
    const [first, second] = [await openTab('127.0.0.1'), await openTab('127.0.0.1')]
    await logIn(first)
    expect(await statusIn(second)).toBe(200)
    await second.evaluate(() => client.logout())
    await until(async () => (await eventsIn(first)).includes('loggedout'), 'the logout')
    expect(await eventsIn(second)).toEqual(['loggedin', 'loggedout'])
    expect([await statusIn(first), await nameIn(first)]).toEqual([401, null])
  })

  it('a lost answer of a refresh does not end the session', async () => {
    const tab = await openTab('127.0.0.1')
    await logIn(tab)
    let isLost = false
    await tab.route('**/auth/refresh', async (route) => {
      if (isLost) return route.continue()
      isLost = true
      // the gateway has answered, and the answer does not arrive
      await route.fetch()
      await route.abort('connectionreset')
    })
    const before = refreshes().length
    expire()
    expect(await statusIn(tab)).toBe(200)
    expect(refreshes().slice(before)).toEqual(['ok', 'ok'])
    expect(await eventsIn(tab)).toEqual(['loggedin'])
  })

  it.each([
    ['a day ahead', 86_400_000],
    ['a day behind', -86_400_000],
  ])('a clock that is %s costs no refresh', async (_name, skewMs) => {
    const tab = await openTab('localhost', {}, skewMs)
    await logIn(tab)
    const before = refreshes().length
    for (let i = 0; i < 3; i++) expect(await statusIn(tab)).toBe(200)
    expect(refreshes().length).toBe(before)
    expire()
    expect(await Promise.all([statusIn(tab), statusIn(tab)])).toEqual([200, 200])
    expect(refreshes().slice(before)).toEqual(['ok'])
  })

  it('a clock that jumps leads to one refresh', async () => {
    const tab = await openTab('localhost')
    await logIn(tab)
    const before = refreshes().length
    await tab.evaluate(() => {
      const now = Date.now
      Date.now = () => now() + 86_400_000
    })
    expect([await statusIn(tab), await statusIn(tab)]).toEqual([200, 200])
    expect(refreshes().slice(before)).toEqual(['ok'])
  })

  it('without Web Locks, over plain http, two tabs that refresh together both go on', async () => {
    const [first, second] = [await openTab('app.test'), await openTab('app.test')]
    expect(await first.evaluate(() => 'locks' in navigator)).toBe(false)
    await logIn(first)
    expect(await statusIn(second)).toBe(200)
    expire()
    expect(await Promise.all([statusIn(first), statusIn(second)])).toEqual([200, 200])
    expire()
    expect(await Promise.all([statusIn(first), statusIn(second)])).toEqual([200, 200])
    for (const tab of [first, second]) expect(await eventsIn(tab)).toEqual(['loggedin'])
  })

  it('no token lies where another page of the origin finds it', async () => {
    const tab = await openTab('127.0.0.1')
    await logIn(tab)
    const found = () => ({ cookies: document.cookie, local: { ...localStorage }, session: { ...sessionStorage } })
    expect(await tab.evaluate(found)).toEqual({ cookies: '', local: {}, session: {} })
    await tab.reload()
    expect(await tab.evaluate(found)).toEqual({ cookies: '', local: {}, session: {} })
  })

  it('with sessionStorage, a tab that is reloaded goes on', async () => {
    const page = await browser.context.newPage()
    await page.goto(`${await originOf('127.0.0.1')}/`)
    await begin(page, {}, true)
    await logIn(page)
    await page.reload()
    await begin(page, {}, true)
    expect(await nameIn(page)).toBe(user.username)
    await page.evaluate(() => client.logout())
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0)
  })
})
