import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { statusOf } from '../support/client.ts'
import { type Gateway, metric, startGateway } from '../support/gateway.ts'
import { until } from '../support/processes.ts'
import { type RawUpstream, startRawUpstream } from '../support/raw-upstream.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { connect } from '../support/wire.ts'

let upstream: Upstream
/** Reads the header section of a request, and nothing after it. */
let deaf: RawUpstream
let gateway: Gateway
beforeAll(async () => {
  upstream = await startUpstream()
  deaf = await startRawUpstream((socket) => void socket.pause())
  gateway = await startGateway({
    config: { server: { headersTimeoutMs: 300, keepAliveTimeoutMs: 300 } },
    routes: [
      { name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'public', timeouts: { idleMs: 200 } },
      { name: 'steady', match: { path: '/steady' }, upstream: [upstream.url], access: 'public', timeouts: { idleMs: 1000 } },
      {
        name: 'deaf',
        match: { path: '/deaf' },
        upstream: [deaf.url],
        access: 'public',
        timeouts: { idleMs: 200, headersMs: 60_000 },
        body: { maxBytes: 1e9 },
      },
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
  await deaf.close()
})
afterEach(() => until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 0, 'no request in flight'))

/** Sends this, then nothing more. @returns what came until the gateway closed */
async function send(bytes: string): Promise<string> {
  const wire = await connect(gateway.port)
  wire.write(bytes)
  const text = await wire.closes()
  wire.destroy()
  return text
}
const post = (path: string, length = 100) =>
  `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`

describe('a client that sends half of', () => {
  it.each([
    ['a request line', 'GET /ap'],
    ['a header section', 'GET /api HTTP/1.1\r\nHost: a\r\nX-Slow: '],
    ['a body for our own endpoint', `${post('/auth/login')}{"login":`],
    ['a body for an upstream', `${post('/api')}half`],
  ])('%s gets 408, and its connection is closed', async (_, bytes) => {
    const answer = await send(bytes)
    expect(statusOf(answer)).toBe(408)
    expect(answer).toContain('"code":"request_timeout"')
    expect(answer).toMatch(/^connection: close\r$/im)
  })

  it('nothing at all is cut off', async () => {
    await send('')
  })

  it('a body holds nothing at the upstream afterwards', async () => {
    await send(`${post('/api')}half`)
    await until(
      () => new Promise<boolean>((resolve) => upstream.server.getConnections((_error, n) => resolve(n === 0))),
      'no connection at the upstream that waits for the rest',
    )
    expect(upstream.take()).toEqual([])
  })
})

it('a client that has nothing to ask is let go after a while', async () => {
  const answer = await send('GET /api HTTP/1.1\r\nHost: a\r\n\r\n')
  expect(statusOf(answer)).toBe(200)
})

it('a body that comes slowly but steadily is taken', async () => {
  const wire = await connect(gateway.port)
  wire.write(post('/steady', 60))
  for (let i = 0; i < 60; i++) {
    wire.write('x')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  expect(statusOf(await wire.receives('"body":"xxxxx'))).toBe(200)
  wire.destroy()
})

it('an upstream that takes nothing of a body is 504: the client is not to blame', async () => {
  const wire = await connect(gateway.port)
  wire.write(post('/deaf', 1e8))
  const piece = Buffer.alloc(1 << 20, 'x')
  const push = () => {
    while (!wire.socket.destroyed && wire.socket.write(piece));
  }
  wire.socket.on('drain', push)
  push()
  expect(statusOf(await wire.receives('"upstream_timeout"'))).toBe(504)
  wire.destroy()
})
