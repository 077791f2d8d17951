/** An offer of another protocol is ignored: the request is answered over HTTP/1.1, and what follows it is a request of its own. */
import { execFile } from 'node:child_process'
import type { Socket } from 'node:net'
import tls from 'node:tls'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Authority, createAuthority } from '../../support/certificates.ts'
import { newUser, raw, statusOf, type TestUser } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { has, until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'
import { connect } from '../../support/wire.ts'

const run = promisify(execFile)

let upstream: Upstream
let gateway: Gateway
let secure: Gateway
let authority: Authority
let user: TestUser
let release = () => {}
let whenAsked = () => {}
beforeAll(async () => {
  upstream = await startUpstream((req, res) => {
    if (req.url !== '/open/slow') return false
    release = () => res.end('slow')
    whenAsked()
    return true
  })
  const to = (path: string, part: object) => ({ name: path.slice(1), match: { path }, upstream: [upstream.url], ...part })
  const routes = [
    to('/open', { access: 'public' }),
    to('/api', { access: 'authenticated' }),
    to('/ws', { access: 'public', websocket: true }),
  ]
  authority = await createAuthority()
  const { certFile: cert, keyFile: key } = await authority.issue(['api.test'])
  gateway = await startGateway({ routes })
  secure = await startGateway({ routes, config: { server: { publicUrl: 'https://api.test', tls: { cert, key, redirectPort: 0 } } } })
  secure.app.redirect!.listen(0, '127.0.0.1')
  user = await newUser(gateway)
})
afterAll(async () => {
  await Promise.all([gateway.close(), secure.close(), upstream.close()])
  authority.close()
})

const H2C = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA']
const WEBSOCKET = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']
const OFFERS: Record<string, string[]> = {
  h2c: H2C,
  'h2c without its settings': ['Connection: Upgrade', 'Upgrade: h2c'],
  TLS: ['Connection: Upgrade', 'Upgrade: TLS/1.2'],
  'a list': ['Connection: Upgrade', 'Upgrade: TLS/1.2, HTTP/1.1'],
  'something unknown': ['Connection: upgrade', 'Upgrade: foo/2'],
  'two fields': ['Connection: Upgrade', 'Upgrade: h2c', 'Upgrade: websocket'],
  'a list with websocket': [...WEBSOCKET.slice(0, 1), 'Upgrade: websocket, h2c', ...WEBSOCKET.slice(2)],
}
const request = (line: string, fields: string[], body = '') => `${[line, 'Host: gateway.test', ...fields].join('\r\n')}\r\n\r\n${body}`
const NEXT = request('GET /open/next HTTP/1.1', ['Connection: close'])
const bearer = () => `Authorization: Bearer ${user.token}`
const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))
/** Sorted, because requests that were sent together may arrive in any order. */
const targets = () =>
  upstream
    .take()
    .map(({ method, url, body }) => `${method} ${url} ${body.replaceAll('\0', '')}`.trim())
    .sort()

describe.each(Object.entries(OFFERS))('an offer of %s', (_, offer) => {
  it('on a route is ignored: the upstream hears nothing of it', async () => {
    upstream.take()
    const answer = await raw(gateway.port, request('GET /open/x HTTP/1.1', [...offer, 'X-Kept: yes']) + NEXT)
    expect(statuses(answer)).toEqual([200, 200])
    const [first] = upstream.take()
    expect(first!.headers['x-kept']).toBe('yes')
    for (const name of ['upgrade', 'http2-settings']) expect(first!.headers[name], name).toBeUndefined()
    expect(first!.headers.connection).not.toMatch(/upgrade|settings/i)
  })

  it('on a route for WebSockets is ignored, too', async () => {
    upstream.take()
    expect(statuses(await raw(gateway.port, request('GET /ws HTTP/1.1', offer) + NEXT))).toEqual([200, 200])
    expect(targets()).toEqual(['GET /open/next', 'GET /ws'])
  })

  it.each([
    ['a length', ['Content-Length: 5'], 'hello'],
    ['chunks', ['Transfer-Encoding: chunked'], '2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n'],
  ])('with a body of %s: the body arrives, and what follows is a request of its own', async (_framing, fields, body) => {
    upstream.take()
    const bytes = request('POST /api/x HTTP/1.1', [bearer(), ...offer, ...fields], body)
    expect(statuses(await raw(gateway.port, bytes + NEXT))).toEqual([200, 200])
    expect(targets()).toEqual(['GET /open/next', 'POST /api/x hello'])
    // each byte in a packet of its own
    const wire = await connect(gateway.port)
    wire.socket.setNoDelay(true)
    for (const byte of bytes + NEXT) {
      wire.write(byte)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(statuses(await wire.closes())).toEqual([200, 200])
    expect(targets()).toEqual(['GET /open/next', 'POST /api/x hello'])
  })

  it('on our own endpoints is ignored', async () => {
    const body = JSON.stringify({ login: user.email, password: user.password })
    const login = request('POST /auth/login HTTP/1.1', [...offer, 'Content-Type: application/json', `Content-Length: ${body.length}`], body)
    const text = await raw(gateway.port, request('GET /health HTTP/1.1', offer) + login + NEXT)
    expect(statuses(text)).toEqual([200, 200, 200])
    expect(text).toContain('"access_token"')
  })

  it('on the admin listener and the redirect listener is ignored', async () => {
    const admin = Number(new URL(gateway.adminUrl).port)
    const livez = request('GET /livez HTTP/1.1', offer)
    expect(statuses(await raw(admin, livez + livez.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')))).toEqual([200, 200])
    const { port } = secure.app.redirect!.address() as { port: number }
    const post = request('POST /open/x HTTP/1.1', [...offer, 'Content-Length: 100000'], 'x'.repeat(100_000))
    for (const bytes of [request('GET /open/x HTTP/1.1', offer), post]) {
      const text = await raw(port, bytes, (seen) => seen.includes('\r\n\r\n'))
      expect(text).toMatch(/^HTTP\/1\.1 308 [\s\S]*location: https:\/\/api\.test\/open\/x\r\n/)
    }
  })

  it('over TLS is ignored', async () => {
    upstream.take()
    const socket = tls.connect({ host: '127.0.0.1', port: secure.port, ca: authority.cert, servername: 'api.test' })
    socket.write(request('POST /open/x HTTP/1.1', [...offer, 'Content-Length: 5'], 'hello') + NEXT)
    const text = (await socket.setEncoding('latin1').toArray()).join('')
    expect(statuses(text)).toEqual([200, 200])
    expect(targets()).toEqual(['GET /open/next', 'POST /open/x hello'])
  })
})

describe('an offer of WebSocket', () => {
  it('is ignored on a route that has none and on our own endpoints', async () => {
    upstream.take()
    const lines = ['GET /open/x HTTP/1.1', 'POST /open/x HTTP/1.1', 'GET /health HTTP/1.1', 'GET / HTTP/1.1']
    const bytes = lines.map((line) => request(line, [...WEBSOCKET, ...(line.startsWith('POST') ? ['Content-Length: 0'] : [])])).join('')
    expect(statuses(await raw(gateway.port, bytes + NEXT))).toEqual([200, 200, 200, 200, 200])
    expect(statusOf(await raw(gateway.port, request('GET /nowhere HTTP/1.1', WEBSOCKET)))).toBe(404)
    expect(targets()).toEqual(['GET /open/next', 'GET /open/x', 'POST /open/x'])
  })

  it('by HTTP/1.0 is ignored (RFC 9110 §7.8)', async () => {
    upstream.take()
    expect(statusOf(await raw(gateway.port, request('GET /ws HTTP/1.0', WEBSOCKET)))).toBe(200)
    expect(targets()).toEqual(['GET /ws'])
  })
})

describe('behind an ignored offer', () => {
  it('a malformed request ends the connection', async () => {
    upstream.take()
    expect(statuses(await raw(gateway.port, `${request('GET /open/x HTTP/1.1', H2C)}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`))).toEqual([200])
    expect(targets()).toEqual(['GET /open/x'])
  })

  it('a malformed body is refused', async () => {
    upstream.take()
    const answer = await raw(gateway.port, request('POST /open/x HTTP/1.1', [...H2C, 'Transfer-Encoding: chunked'], 'zz\r\nx\r\n0\r\n\r\n'))
    expect(statusOf(answer)).not.toBe(200)
    expect(targets()).toEqual([])
  })

  it('a request that asks for a role is judged', async () => {
    upstream.take()
    const inner = request('GET /api/x HTTP/1.1', ['X-Auth-Roles: admin', 'Connection: close'])
    expect(statuses(await raw(gateway.port, request('GET /open/x HTTP/1.1', H2C) + inner))).toEqual([200, 401])
    expect(targets()).toEqual(['GET /open/x'])
  })
})

it('fields that Connection names beside the offer end here', async () => {
  upstream.take()
  await raw(gateway.port, request('GET /open/x HTTP/1.1', ['Connection: Upgrade, X-Mine', 'Upgrade: h2c', 'X-Mine: 1', 'X-Kept: 1']) + NEXT)
  const [first] = upstream.take()
  expect(first!.headers).toMatchObject({ 'x-kept': '1' })
  expect(first!.headers['x-mine']).toBeUndefined()
})

it('an offer behind a request that is not answered yet waits for its turn', async () => {
  upstream.take()
  const asked = new Promise<void>((resolve) => {
    whenAsked = resolve
  })
  const wire = await connect(gateway.port)
  wire.write(request('GET /open/slow HTTP/1.1', []) + request('POST /open/x HTTP/1.1', [...H2C, 'Content-Length: 5'], 'hello') + NEXT)
  await asked
  release()
  const text = await wire.closes()
  expect(statuses(text)).toEqual([200, 200, 200])
  expect(text.indexOf('slow')).toBeLessThan(text.indexOf('/open/x'))
  expect(targets()).toEqual(['GET /open/next', 'POST /open/x hello'])
})

it('a hundred offers on one connection are answered, and leave no listeners behind', async () => {
  const accepted = new Promise<Socket>((resolve) => gateway.app.server.server.once('connection', resolve))
  const wire = await connect(gateway.port)
  const socket = await accepted
  const listeners = () => socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name), 0)
  const before = listeners()
  for (let i = 1; i <= 100; i++) {
    wire.write(request(`GET /health?${i} HTTP/1.1`, H2C))
    await until(() => statuses(wire.text()).length === i, 'the answer')
  }
  expect(listeners()).toBeLessThanOrEqual(before)
  wire.destroy()
})

it('Expect: 100-continue beside an offer is answered', async () => {
  upstream.take()
  const wire = await connect(gateway.port)
  wire.write(request('POST /open/x HTTP/1.1', [...H2C, 'Content-Length: 5', 'Expect: 100-continue', 'Connection: close']))
  await wire.receives('HTTP/1.1 100 Continue')
  wire.write('hello')
  expect(statuses(await wire.closes())).toEqual([100, 200])
  expect(targets()).toEqual(['POST /open/x hello'])
})

describe.skipIf(!has('curl'))('curl --http2 (skipped where curl is not installed)', () => {
  it('is answered, with a body, too', async () => {
    upstream.take()
    const url = `${gateway.url}/open/x`
    for (const more of [[], ['--data', 'hello'], ['--header', 'Transfer-Encoding: chunked', '--data', 'hello']]) {
      const { stdout } = await run('curl', ['--silent', '--http2', '--write-out', ' %{http_code} %{http_version}', ...more, url, url])
      expect(stdout.match(/ 200 1\.1/g)).toHaveLength(2)
    }
    const [get, post] = ['GET /open/x', 'POST /open/x hello']
    expect(targets()).toEqual([get, get, post, post, post, post])
  })
})

describe.skipIf(!has('java'))('java.net.http (skipped where no JDK is installed)', () => {
  it('is answered, on routes and on our own endpoints', async () => {
    upstream.take()
    const login = JSON.stringify({ login: user.email, password: user.password })
    const { stdout } = await run('java', ['-XX:TieredStopAtLevel=1', 'test/support/OfferingClient.java', gateway.url, login])
    expect(stdout.split('\n').map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual([
      ...Array.from({ length: 4 }, () => '200 HTTP_1_1'),
      '401 HTTP_1_1',
      '200 HTTP_1_1',
      '200 HTTP_1_1',
      '',
    ])
    expect(targets()).toEqual(['DELETE /open/delete', 'GET /open/get', 'POST /open/length hello', 'PUT /open/chunks'])
  }, 30_000)
})
