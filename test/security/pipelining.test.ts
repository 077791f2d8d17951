import { afterAll, beforeAll, expect, it } from 'vitest'
import { call, raw } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let gateway: Gateway
let release: () => void = () => {}
beforeAll(async () => {
  // answers /slow when the test releases it
  upstream = await startUpstream((req, res) => {
    if (req.url !== '/slow') return false
    release = () => res.end('slow')
    waiting()
    return true
  })
  gateway = await startGateway({
    routes: [
      { name: 'ws', match: { path: '/ws' }, upstream: [upstream.url], access: 'public', websocket: true },
      { name: 'all', match: { path: '/' }, upstream: [upstream.url], access: 'public' },
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})

let waiting: () => void = () => {}
const SLOW = 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n'

it.each([
  ['an expectation that nobody knows', 'GET / HTTP/1.1\r\nHost: a\r\nExpect: foo\r\n\r\n'],
  [
    'a WebSocket handshake',
    'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  ],
  ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['no HTTP at all', '\x16\x03\x01garbage\r\n\r\n'],
])('%s behind a request that is not answered yet ends nothing but its own connection', async (_name, second) => {
  upstream.take()
  const reached = new Promise<void>((resolve) => {
    waiting = resolve
  })
  const answers = raw(gateway.port, SLOW + second, (text) => text.includes('HTTP/1.1 417'))
  await reached
  release()
  const text = await answers
  // the answer to the second is never given as that to the first
  expect(text === '' || text.startsWith('HTTP/1.1 200')).toBe(true)
  expect(upstream.take()).toEqual([])
  expect((await call(gateway, '/still/here')).status).toBe(200)
})

it('an offer that is ignored, behind a request that is not answered yet, is answered after it', async () => {
  upstream.take()
  const reached = new Promise<void>((resolve) => {
    waiting = resolve
  })
  const offer = 'GET /offer HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n'
  const answers = raw(gateway.port, SLOW + offer)
  await reached
  release()
  expect((await answers).match(/HTTP\/1\.1 \d+|\/offer/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200', '/offer'])
  expect(upstream.take()).toMatchObject([{ url: '/offer' }])
})
