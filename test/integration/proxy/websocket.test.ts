import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { call, newUser, newUserWithRoles, raw, statusOf, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { freePort, until } from '../../support/processes.ts'
import { connect } from '../../support/wire.ts'

let gateway: Gateway
let user: TestUser
let admin: TestUser
/** Handshakes that reached the upstream, and its open sockets. */
let asked: IncomingMessage[] = []
const upstream = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has('v2.chat') ? 'v2.chat' : false) })
/** Plain requests that reached the upstream. */
let plain: IncomingMessage[] = []
const server = http.createServer((req, res) => {
  plain.push(req)
  res.end('plain')
})
server.on('upgrade', (req, socket, head) => {
  asked.push(req)
  if (req.url?.startsWith('/ws/refused')) socket.end('HTTP/1.1 409 Conflict\r\nX-Why: full\r\nContent-Length: 4\r\n\r\nfull')
  else if (req.url?.startsWith('/ws/mute')) socket.resume()
  else upstream.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary })))
})
beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const to = (path: string, part: object) => ({ name: path.slice(1).replace('/', '-'), match: { path }, upstream: [url], ...part })
  gateway = await startGateway({
    routes: [
      to('/ws', { access: 'authenticated', websocket: true, timeouts: { headersMs: 300 } }),
      to('/ws/admin', { access: { roles: ['admin'] }, websocket: true }),
      to('/plain', { access: 'public' }),
      { ...to('/down', { access: 'public', websocket: true }), upstream: [`http://127.0.0.1:${await freePort()}`] },
    ],
  })
  ;[user, admin] = [await newUser(gateway), await newUserWithRoles(gateway, ['admin'])]
})
afterAll(async () => {
  await gateway.close()
  for (const ws of upstream.clients) ws.terminate()
  server.close()
  server.closeAllConnections()
})

const bearer = (who: TestUser) => ({ authorization: `Bearer ${who.token}` })
async function open(path: string, protocols: string[] = [], headers: Record<string, string> = bearer(user)): Promise<WebSocket> {
  const ws = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, protocols, { headers })
  await once(ws, 'open')
  return ws
}
/** The bytes that answer a handshake. */
const shake = (path: string, fields: string[] = [], { version = '13', upgrade = 'websocket', method = 'GET' } = {}) =>
  raw(
    gateway.port,
    [
      `${method} ${path} HTTP/1.1`,
      'Host: gateway.test',
      'Connection: Upgrade',
      `Upgrade: ${upgrade}`,
      `Sec-WebSocket-Version: ${version}`,
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ...fields,
      '\r\n',
    ].join('\r\n'),
    // these connections stay open
    (text) => /^HTTP\/1\.1 (101|200) [\s\S]*\r\n\r\n/.test(text),
  )
const authorization = (who: TestUser) => `Authorization: Bearer ${who.token}`

describe('a handshake', () => {
  it('is asked of the upstream only for those who may: 401 and 403 come before', async () => {
    asked = []
    const nobody = await shake('/ws')
    expect(statusOf(nobody)).toBe(401)
    expect(nobody).toContain('"code":"token_missing"')
    expect(statusOf(await shake('/ws/admin', [authorization(user)]))).toBe(403)
    expect(statusOf(await shake('/ws', ['Authorization: Bearer x.y.z']))).toBe(401)
    expect(asked).toEqual([])
  })

  it('is answered 101 with the accept key of RFC 6455', async () => {
    const answer = await shake('/ws/admin/x', [authorization(admin)])
    expect(statusOf(answer)).toBe(101)
    expect(answer).toMatch(/^sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r$/im)
    expect(asked.at(-1)!.url).toBe('/ws/admin/x')
  })

  it('sends the upstream the identity without the token', async () => {
    asked = []
    const ws = await open('/ws?room=1', [], { ...bearer(user), 'x-auth-user': 'evil', cookie: 'a=b', 'x-request-id': 'ws-1' })
    ws.terminate()
    const [request] = asked
    expect(request!.url).toBe('/ws?room=1')
    expect(request!.headers).toMatchObject({
      'x-auth-user': user.id,
      'x-auth-roles': 'user',
      'x-request-id': 'ws-1',
      'x-forwarded-for': '127.0.0.1',
      cookie: 'a=b',
    })
    expect(request!.headers.authorization).toBeUndefined()
  })

  it('gets the subprotocol that the upstream chose', async () => {
    const ws = await open('/ws', ['v1.chat', 'v2.chat'])
    expect(ws.protocol).toBe('v2.chat')
    ws.terminate()
  })

  it('gets the refusal of the upstream as it is', async () => {
    const answer = await shake('/ws/refused', [authorization(user)])
    expect(statusOf(answer)).toBe(409)
    expect(answer).toMatch(/^x-why: full\r$/im)
    expect(answer.endsWith('full')).toBe(true)
  })

  it('is 502 when the upstream is away, and 504 when it says nothing', async () => {
    expect(await shake('/down')).toMatch(/^HTTP\/1\.1 502[\s\S]*"upstream_unreachable"/)
    expect(await shake('/ws/mute', [authorization(user)])).toMatch(/^HTTP\/1\.1 504[\s\S]*"upstream_timeout"/)
  })

  it('on a route without WebSocket is ignored: the upstream gets a plain request', async () => {
    plain = []
    expect(statusOf(await shake('/plain'))).toBe(200)
    expect(plain).toMatchObject([{ url: '/plain' }])
    expect(plain[0]!.headers.upgrade).toBeUndefined()
  })

  it('where no route is, is 404', async () => {
    expect(statusOf(await shake('/nowhere'))).toBe(404)
  })

  it('to an endpoint of our own is ignored: it answers as ever (RFC 9110 §7.8)', async () => {
    expect(statusOf(await shake('/health'))).toBe(200)
    expect(statusOf(await shake('/auth/me', ['Connection: close']))).toBe(401)
  })

  it.each(['h2c', 'TLS/1.0', 'foo', 'websocket, h2c'])('to %s is ignored, and never left hanging', async (upgrade) => {
    for (const path of ['/plain', '/ws']) expect(statusOf(await shake(path, [authorization(user)], { upgrade }))).toBe(200)
  })

  it('of another version gets 426 with the supported version', async () => {
    const answer = await shake('/ws', [authorization(user)], { version: '8' })
    expect(statusOf(answer)).toBe(426)
    expect(answer).toMatch(/^sec-websocket-version: 13\r$/im)
  })

  it('by POST is refused', async () => {
    expect(statusOf(await shake('/ws', [authorization(user), 'Content-Length: 0'], { method: 'POST' }))).toBe(400)
  })

  it('with a target that can be read in two ways is refused', async () => {
    for (const path of ['/ws/../ws/admin', '/ws/%2e%2e/admin', '/ws%2fadmin', '//ws'])
      expect(statusOf(await shake(path, [authorization(user)]))).toBe(400)
  })
})

describe('an open WebSocket', () => {
  it('carries text both ways', async () => {
    const ws = await open('/ws')
    ws.send('h\u00e9llo')
    const [data, isBinary] = await once(ws, 'message')
    expect([data.toString(), isBinary]).toEqual(['h\u00e9llo', false])
    ws.terminate()
  })

  it('carries a message of 4 MiB both ways, byte for byte', async () => {
    const ws = await open('/ws')
    const message = randomBytes(4 * 1024 * 1024)
    ws.send(message)
    const [data] = await once(ws, 'message')
    expect(message.equals(data)).toBe(true)
    ws.terminate()
  })

  it('carries what the client sent in one piece with its handshake', async () => {
    const client = await connect(gateway.port)
    const head = `GET /ws HTTP/1.1\r\nHost: a\r\n${authorization(user)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n`
    const frame = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69])
    client.write(Buffer.concat([Buffer.from(`${head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`), frame]))
    await client.receives('\x81\x02hi')
    client.destroy()
  })

  it('is closed on both sides with the code of the closing side', async () => {
    const one = await open('/ws/first')
    one.close(4001, 'bye')
    await once(one, 'close')
    await until(() => upstream.clients.size === 0, 'the end at the upstream')

    const two = await open('/ws/second')
    const [theirs] = upstream.clients
    theirs!.close(4002, 'gone')
    const [code, reason] = await once(two, 'close')
    expect([code, reason.toString()]).toEqual([4002, 'gone'])
  })

  it('ends on the other side when one side breaks off', async () => {
    const one = await open('/ws')
    one.terminate()
    await until(() => upstream.clients.size === 0, 'the end at the upstream')
    const two = await open('/ws')
    for (const theirs of upstream.clients) theirs.terminate()
    const [code] = await once(two, 'close')
    expect(code).toBe(1006)
  })

  it('is counted while it is open, and logged with 101', async () => {
    await until(async () => (await metric(gateway, 'portcullis_streams_open', { kind: 'websocket' })) === 0, 'no open streams')
    const ws = await open('/ws', [], { ...bearer(user), 'x-request-id': 'counted' })
    expect(await metric(gateway, 'portcullis_streams_open', { kind: 'websocket' })).toBe(1)
    ws.terminate()
    await until(async () => (await metric(gateway, 'portcullis_streams_open', { kind: 'websocket' })) === 0, 'no open streams')
    const line = await until(() => gateway.log().find((l) => l.request_id === 'counted'), 'the log line')
    expect(line).toMatchObject({ status: 101, route: 'ws', outcome: 'ok' })
    await until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 0, 'no request in flight')
  })
})

it('the same route answers plain requests too', async () => {
  expect((await call(gateway, '/ws', { token: user.token })).body).toBe('plain')
})
