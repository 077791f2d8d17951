import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { WebSocketServer } from 'ws'
import { type Browser, startBrowser } from '../support/browser.ts'
import { newUser, type TestUser } from '../support/client.ts'
import { useGateway, useUpstream } from '../support/fixtures.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

/** The pages come from here: other origins than that of the gateway. */
const site = http.createServer((_req, res) => res.setHeader('content-type', 'text/html').end('<!doctype html><title>app</title>'))
const listening = (async () => {
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  return (site.address() as AddressInfo).port
})()
const originOf = async (host: string) => `http://${host}:${await listening}`

/** Handles CORS itself, as Express with `cors()` does, and names one field. */
const upstream = useUpstream((req, res) => {
  res.setHeader('access-control-allow-origin', '*')
  res.setHeader('access-control-expose-headers', 'x-total-count')
  res.setHeader('x-total-count', '3')
  if (req.method !== 'OPTIONS') return false
  res.writeHead(204, { 'access-control-allow-headers': 'authorization,content-type', 'access-control-allow-methods': 'PUT,PROPFIND' }).end()
  return true
})
const sockets = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: (offered) => (offered.has('chat') ? 'chat' : false) })
sockets.on('connection', (ws) => ws.on('message', (data) => ws.send(`echo ${data}`)))

const routes = () => [
  { name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' },
  { name: 'small', match: { path: '/small' }, upstream: [upstream.url], access: 'public', body: { maxBytes: 10 } },
  {
    name: 'ws',
    match: { path: '/ws' },
    upstream: [`http://127.0.0.1:${(sockets.address() as AddressInfo).port}`],
    access: 'authenticated',
    websocket: true,
  },
]
const own = useGateway(async () => ({ routes: routes(), config: { cors: { origins: [await originOf('app.test')] } } }))
const theirs = useGateway(() => ({ routes: routes() }))

let browser: Browser
let user: TestUser
let stranger: TestUser
beforeAll(async () => {
  ;[browser, user, stranger] = await Promise.all([startBrowser(['app.test', 'evil.test']), newUser(own), newUser(theirs)])
})
afterAll(async () => {
  await browser?.close()
  for (const ws of sockets.clients) ws.terminate()
  sockets.close()
  site.close()
  site.closeAllConnections()
})

interface Ask {
  url: string
  method?: string
  headers?: Record<string, string>
  body?: string
}

/** What a script of this page reads: the status and some fields, or the name of the error. */
async function read(host: string, ask: Ask) {
  const page = await browser.context.newPage()
  try {
    await page.goto(`${await originOf(host)}/`)
    return await page.evaluate(async ({ url, ...init }: Ask) => {
      try {
        const response = await fetch(url, init)
        const text = await response.text()
        return {
          status: response.status,
          code: text.includes('"code"') ? JSON.parse(text).code : null,
          total: response.headers.get('x-total-count'),
          id: response.headers.get('x-request-id') !== null,
        }
      } catch (error) {
        return (error as Error).name
      }
    }, ask)
  } finally {
    await page.close()
  }
}

describe('a page that the gateway lets in', () => {
  const bearer = () => ({ authorization: `Bearer ${user.token}` })

  it('reads the answers of a route, with the fields of both sides', async () => {
    const whole = { status: 200, code: null, total: '3', id: true }
    expect(await read('app.test', { url: `${own.url}/api`, method: 'PUT', headers: bearer(), body: '1' })).toEqual(whole)
    expect(await read('app.test', { url: `${own.url}/api`, method: 'PROPFIND', headers: bearer() })).toEqual(whole)
  })

  it.each([
    ['401', '/api', {}, 401, 'token_missing'],
    ['413', '/small', { method: 'POST', body: 'more than ten' }, 413, 'body_too_large'],
    ['414', `/api?${'a'.repeat(9000)}`, {}, 414, 'target_too_long'],
    ['400', '/api/%5c', {}, 400, 'target_ambiguous'],
    ['431', '/small', { headers: { 'x-long': 'a'.repeat(20_000) } }, 431, 'headers_too_large'],
  ])('reads a %s', async (_name, path, init, status, code) => {
    expect(await read('app.test', { url: own.url + path, ...init })).toMatchObject({ status, code })
  })

  it('is not a page of another origin, though the upstream lets everybody in', async () => {
    expect(await read('evil.test', { url: `${own.url}/small` })).toBe('TypeError')
    expect(await read('evil.test', { url: `${own.url}/api`, headers: bearer() })).toBe('TypeError')
  })
})

describe('where the upstream decides', () => {
  const bearer = () => ({ authorization: `Bearer ${stranger.token}` })

  it('a page passes its preflight and reads the answer', async () => {
    upstream.take()
    const ask = { url: `${theirs.url}/api`, headers: { ...bearer(), 'content-type': 'application/json' } }
    expect(await read('app.test', { ...ask, method: 'PUT', body: '{}' })).toEqual({ status: 200, code: null, total: '3', id: false })
    expect(await read('app.test', { ...ask, method: 'PROPFIND' })).toMatchObject({ status: 200 })
    // the upstream does not allow this method
    expect(await read('app.test', { ...ask, method: 'DELETE' })).toBe('TypeError')
  })

  it('a page reads the errors of the gateway', async () => {
    expect(await read('app.test', { url: `${theirs.url}/api`, headers: { authorization: 'Bearer x.y.z' } })).toEqual({
      status: 401,
      code: 'token_invalid',
      total: null,
      id: true,
    })
    expect(await read('app.test', { url: `${theirs.url}/nowhere` })).toMatchObject({ status: 404, code: 'route_not_found' })
  })
})

describe('a WebSocket of a page', () => {
  /** What the page gets from a socket with these subprotocols. */
  const talk = (page: Page, protocols: string[]) =>
    page.evaluate(
      ([url, offered]) =>
        new Promise((resolve) => {
          const ws = new WebSocket(url, offered)
          ws.onopen = () => ws.send('hello')
          ws.onmessage = ({ data }) => {
            resolve({ protocol: ws.protocol, data })
            ws.close()
          }
          ws.onerror = () => resolve('error')
        }),
      [`ws://127.0.0.1:${own.port}/ws`, protocols] as const,
    )

  it('opens with a token as a subprotocol, from any origin, and not without', async () => {
    const page = await browser.context.newPage()
    await page.goto(`${await originOf('evil.test')}/`)
    const bearer = `portcullis.bearer.${user.token}`
    expect(await talk(page, ['portcullis', bearer])).toEqual({ protocol: 'portcullis', data: 'echo hello' })
    expect(await talk(page, ['portcullis', bearer, 'chat'])).toEqual({ protocol: 'chat', data: 'echo hello' })
    expect(await talk(page, ['portcullis', 'portcullis.bearer.x.y.z'])).toBe('error')
    expect(await talk(page, ['portcullis'])).toBe('error')
    await page.close()
  })
})
