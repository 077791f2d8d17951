/** No upgrade is a tunnel past the gateway: each is answered at once, and only a WebSocket on a route for it reaches an upstream. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { newUser, raw, statusOf, type TestUser } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { connect } from '../support/wire.ts'

let gateway: Gateway
let user: TestUser
/** What reached the upstream, as `GET /path upgrade`. */
let seen: string[] = []
/** It would switch to anything. */
let server: Upstream
beforeAll(async () => {
  server = await startUpstream((req, res) => {
    seen.push(`${req.method} ${req.url} ${req.headers.upgrade ?? '-'}`)
    req.resume().on('end', () => res.end('plain'))
    return true
  })
  server.server.on('upgrade', (req, socket) => {
    seen.push(`${req.method} ${req.url} ${req.headers.upgrade}`)
    socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0')
  })
  const upstream = [server.url]
  gateway = await startGateway({
    routes: [
      { name: 'plain', match: { path: '/' }, upstream, access: 'public' },
      { name: 'ws', match: { path: '/ws' }, upstream, access: 'authenticated', websocket: true },
      { name: 'admin', match: { path: '/ws/admin' }, upstream, access: { roles: ['admin'] }, websocket: true },
      { name: 'get-only', match: { path: '/ws/get', methods: ['POST'] }, upstream, access: 'public', websocket: true },
    ],
  })
  user = await newUser(gateway)
})
afterAll(async () => {
  await gateway.close()
  await server.close()
})
beforeEach(() => {
  seen = []
})

const KEY = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
const ask = (line: string, fields: string[], behind = '') =>
  raw(gateway.port, [line, 'Host: gateway.test', `Authorization: Bearer ${user.token}`, ...fields, `\r\n${behind}`].join('\r\n'))
const code = (answer: string) => /"code":"(\w+)"/.exec(answer)?.[1]
const SMUGGLED = 'GET /ws/admin HTTP/1.1\r\nHost: gateway.test\r\n\r\n'

describe('a route for plain requests', () => {
  it.each([
    ['h2c', ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA']],
    ['h2c without its settings', ['Connection: Upgrade', 'Upgrade: h2c']],
    ['a WebSocket', ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', KEY]],
    ['TLS', ['Connection: Upgrade', 'Upgrade: TLS/1.2, HTTP/1.1']],
    ['whatever', ['Connection: Upgrade', 'Upgrade: foo/2']],
  ])('ignores %s, and what comes behind it is judged as a request of its own', async (_, fields) => {
    const answer = await ask('GET / HTTP/1.1', fields, SMUGGLED)
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 401'])
    expect(seen).toEqual(['GET / -'])
  })

  it.each([
    ['that Connection does not name is plain (RFC 9110 §7.8)', ['Connection: close', 'Upgrade: h2c']],
    ['that is empty is plain', ['Connection: close, Upgrade']],
  ])('an upgrade %s: the upstream hears nothing of it', async (_, fields) => {
    expect(statusOf(await ask('GET / HTTP/1.1', fields))).toBe(200)
    expect(seen).toEqual(['GET / -'])
  })
})

describe('a route for WebSockets', () => {
  const websocket = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', KEY]
  it.each([
    ['another method', 'POST', [...websocket, 'Content-Length: 0'], 400],
    ['no key', 'GET', ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'], 400],
    ['a key that is none', 'GET', [...websocket.slice(0, 3), 'Sec-WebSocket-Key: short'], 400],
    ['two keys', 'GET', [...websocket, 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='], 400],
    ['another version', 'GET', ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 8', KEY], 426],
  ])('refuses a handshake with %s', async (_, method, fields, status) => {
    const answer = await ask(`${method} /ws HTTP/1.1`, fields, SMUGGLED)
    expect(statusOf(answer)).toBe(status)
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(seen).toEqual([])
  })

  it.each([
    ['h2c beside it', ['Connection: Upgrade', 'Upgrade: websocket, h2c', 'Sec-WebSocket-Version: 13', KEY]],
    ['h2c in its place', ['Connection: Upgrade', 'Upgrade: h2c']],
  ])('ignores %s: a plain request, and then another', async (_, fields) => {
    const answer = await ask('GET /ws HTTP/1.1', fields, SMUGGLED)
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 401'])
    expect(seen).toEqual(['GET /ws -'])
  })

  it('does not let an upstream switch to what was not asked for: 502, and none of its bytes', async () => {
    const answer = await ask('GET /ws HTTP/1.1', websocket)
    expect([statusOf(answer), code(answer)]).toEqual([502, 'upstream_invalid'])
    expect(answer).not.toContain('PRI *')
  })

  it('asks for roles and methods as any route does, before the upstream', async () => {
    expect(statusOf(await ask('GET /ws/admin HTTP/1.1', websocket))).toBe(403)
    expect(statusOf(await ask('GET /ws/get HTTP/1.1', websocket))).toBe(405)
    expect(seen).toEqual([])
  })
})

it('CONNECT opens nothing, and neither does a target that names another host', async () => {
  for (const line of ['CONNECT evil.test:443 HTTP/1.1', 'GET http://evil.test/ws HTTP/1.1', 'GET //evil.test/ws HTTP/1.1']) {
    const answer = await ask(line, ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', KEY], SMUGGLED)
    expect([400, 405], line).toContain(statusOf(answer))
  }
  expect(seen).toEqual([])
})

it('an upgrade behind a request that is not answered yet ends the connection', async () => {
  const wire = await connect(gateway.port)
  const upgrade = ['GET /ws/admin HTTP/1.1', 'Host: gateway.test', 'Connection: Upgrade', 'Upgrade: websocket', '\r\n'].join('\r\n')
  wire.write(`GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n${upgrade}`)
  await wire.closes()
  expect(seen.filter((line) => line.includes('admin'))).toEqual([])
})
