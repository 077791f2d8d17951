/** The client library with sessions by cookie, and the single-page app of docs/browsers.md. The pages come through the gateway. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { WebSocketServer } from 'ws'
import type { Client, ClientOptions } from '../../clients/javascript/src/portcullis-client.d.ts'
import { useBrowserGateway, type Visit } from '../support/browser-gateway.ts'
import { call, newUser, type TestUser } from '../support/client.ts'
import { useKeep, useUpstream } from '../support/fixtures.ts'
import { packClient } from '../support/packed-client.ts'
import { until } from '../support/processes.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

// in the page
declare const createClient: (options?: ClientOptions) => Client
declare const client: Client
declare const events: string[]
declare const document: { cookie: string }
declare const localStorage: object
declare const sessionStorage: object

const packed = packClient()
const files: Record<string, [type: string, content: string]> = {
  '/app/portcullis-client.js': ['text/javascript', readFileSync(packed.file, 'utf8')],
  '/app/': [
    'text/html',
    `<!doctype html><title>app</title>
<script type="module">import { createClient } from '/app/portcullis-client.js'; Object.assign(globalThis, { createClient })</script>`,
  ],
}

/** The first block of JavaScript below the heading. */
const example = /^## A single-page app$.*?^```js\n(.*?)^```$/ms.exec(readFileSync('docs/browsers.md', 'utf8'))![1]!
files['/app/example'] = [
  'text/html',
  `<!doctype html><title>example</title><script type="importmap">{ "imports": { "portcullis-client": "/app/portcullis-client.js" } }</script>
<body><script type="module">${example}</script>`,
]

/** The same pages from other origins of the same site. */
const site = http.createServer((req, res) => {
  const found = files[req.url!]
  res.setHeader('content-type', found?.[0] ?? 'text/plain').end(found?.[1])
})
const listening = (async () => {
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  return (site.address() as AddressInfo).port
})()

const sockets = new WebSocketServer({ noServer: true })
const upstream = useUpstream((req, res) => {
  const found = files[req.url!]
  if (found) res.setHeader('content-type', found[0]).end(found[1])
  else if (req.url === '/feed') res.setHeader('content-type', 'text/event-stream').write('data: one\n\n')
  else if (req.url === '/orders') res.setHeader('content-type', 'application/json').end('[{ "id": 1 }, { "id": 2 }]')
  else return false
  return true
})
const port = await listening
const gateway = useBrowserGateway(() => {
  upstream.server.on('upgrade', (req, socket, head) =>
    sockets.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data) => ws.send(`echo ${data}`))),
  )
  const to = (path: string, part: object) => ({ name: path.slice(1), match: { path }, upstream: [upstream.url], ...part })
  return {
    config: { server: { publicUrl: 'http://localhost' }, auth: { browser: { origins: [`http://localhost:${port}`] } } },
    routes: [
      to('/app', { access: 'public' }),
      to('/orders', { access: 'authenticated' }),
      to('/feed', { access: 'authenticated' }),
      to('/chat', { access: 'authenticated', websocket: true }),
    ],
  }
})
afterAll(() => {
  packed.close()
  site.close()
  site.closeAllConnections()
})
const keep = useKeep()

let user: TestUser
let visit: Visit
beforeEach(async () => {
  user = await newUser(gateway)
  visit = await keep(gateway.visit())
})

async function openTab(origin = gateway.origin) {
  const page = await visit.context.newPage()
  await page.goto(`${origin}/app/`)
  await page.evaluate((baseUrl) => {
    const made = createClient({ baseUrl })
    const seen: string[] = []
    for (const type of ['loggedin', 'loggedout'] as const) made.addEventListener(type, () => seen.push(type))
    Object.assign(globalThis, { client: made, events: seen })
  }, gateway.origin)
  const logIn = () => page.evaluate(async ([login, password]) => client.login({ login, password }), [user.username, user.password] as const)
  return {
    page,
    logIn,
    logOut: () => page.evaluate(() => client.logout()),
    name: () => page.evaluate(async () => (await client.session())?.user.username ?? null),
    status: () => page.evaluate(async () => (await client.fetch('/orders')).status),
    events: () => page.evaluate(() => events),
  }
}

describe('a session by cookie', () => {
  it('is shared by the tabs, and no script can read a credential', async () => {
    const [first, second] = [await openTab(), await openTab()]
    expect([await first.name(), await first.status()]).toEqual([null, 401])
    expect(Object.keys(await first.logIn())).toEqual(['user', 'device_token'])
    expect([await second.name(), await second.status()]).toEqual([user.username, 200])
    await until(async () => (await second.events()).includes('loggedin'), 'the login in the other tab')
    const found = () => ({ cookies: document.cookie, local: { ...localStorage }, session: { ...sessionStorage } })
    expect(await first.page.evaluate(found)).toEqual({ cookies: '', local: {}, session: {} })
  })

  it('is ended in all tabs by a logout in one tab', async () => {
    const [first, second] = [await openTab(), await openTab()]
    await first.logIn()
    expect(await second.status()).toBe(200)
    await first.logOut()
    await until(async () => (await second.events()).includes('loggedout'), 'the logout in the other tab')
    expect([await second.name(), await second.status()]).toEqual([null, 401])
    // a second logout is no error
    await second.logOut()
    expect(await first.events()).toEqual(['loggedin', 'loggedout'])
  })

  it('that was ended elsewhere is reported at the next request, and closes its WebSocket', async () => {
    const tab = await openTab()
    await tab.logIn()
    const opened = tab.page.evaluate(async () => {
      const socket = await client.webSocket('/chat')
      const messages = await new Promise((resolve) => {
        socket.onmessage = ({ data }) => resolve(data)
        socket.onopen = () => socket.send('hello')
      })
      Object.assign(globalThis, { closeCode: new Promise((resolve) => socket.addEventListener('close', ({ code }) => resolve(code))) })
      return messages
    })
    expect(await opened).toBe('echo hello')
    expect((await call(gateway, '/auth/logout-all', { method: 'POST', token: user.token })).status).toBe(204)
    expect(await tab.page.evaluate('closeCode')).toBe(4401)
    await until(async () => (await tab.events()).includes('loggedout'), 'the event')
    expect(await tab.status()).toBe(401)
  })

  it('survives a password change and a new proof of the user', async () => {
    const tab = await openTab()
    await tab.logIn()
    const change = ([current_password, new_password]: readonly [string, string]) =>
      client.changePassword({ current_password, new_password }).then(() => client.reauthenticate({ password: new_password }))
    await tab.page.evaluate(change, [user.password, 'plain zebra changed'] as const)
    expect([await tab.name(), await tab.status()]).toEqual([user.username, 200])
  })
})

describe('a page of another origin of the same site', () => {
  it('uses the session when its origin is listed: requests, events, WebSocket, logout', async () => {
    const tab = await openTab(`http://localhost:${port}`)
    expect(await tab.name()).toBeNull()
    await tab.logIn()
    expect([await tab.name(), await tab.status()]).toEqual([user.username, 200])
    const heard = (url: string) =>
      new Promise((resolve) => {
        new EventSource(url, { withCredentials: true }).onmessage = ({ data }) => resolve(data)
      })
    expect(await tab.page.evaluate(heard, `${gateway.origin}/feed`)).toBe('one')
    const talk = async () => {
      const socket = await client.webSocket('/chat')
      return new Promise((resolve) => {
        socket.onmessage = ({ data }) => resolve(data)
        socket.onopen = () => socket.send('hello')
      })
    }
    expect(await tab.page.evaluate(talk)).toBe('echo hello')
    await tab.logOut()
    expect([await tab.name(), await tab.status()]).toEqual([null, 401])
  })

  it('is refused when its origin is not listed, though the browser sends the cookie', async () => {
    await visit.logIn(user)
    // a site is a scheme and a domain: subdomains of localhost are of the same site
    const tab = await openTab(`http://shop.localhost:${port}`)
    await expect(tab.name()).rejects.toThrow('Failed to fetch')
    await expect(tab.status()).rejects.toThrow('Failed to fetch')
    const opens = async () => {
      const socket = await client.webSocket('/chat')
      return new Promise((resolve) => {
        socket.onopen = () => resolve(true)
        socket.onerror = () => resolve(false)
      })
    }
    expect(await tab.page.evaluate(opens)).toBe(false)
  })
})

describe('the single-page app of the documentation', () => {
  it('has few lines', () => {
    expect(example.split('\n').filter((line) => line.trim() !== '').length).toBeLessThanOrEqual(8)
  })

  it('leads to the login, and back to the orders', async () => {
    const { page } = visit
    await page.goto(`${gateway.origin}/app/example`)
    await page.waitForURL((url) => url.pathname === '/auth/ui/login')
    expect(new URL(page.url()).searchParams.get('return_to')).toContain('/app/example')
    await page.fill('[name=login]', user.username)
    await page.fill('[name=password]', user.password)
    await page.click('main form button')
    await page.waitForURL((url) => url.pathname === '/app/example')
    await until(async () => (await page.innerText('body')) === `${user.username}: 2 orders`, 'the orders')
  })

  it('starts again when the user logs out in another tab', async () => {
    const tab = await openTab()
    await tab.logIn()
    const { page } = visit
    await page.goto(`${gateway.origin}/app/example`)
    await until(async () => (await page.innerText('body')) === `${user.username}: 2 orders`, 'the orders')
    await tab.logOut()
    await page.waitForURL((url) => url.pathname === '/auth/ui/login')
  })
})
