import { once } from 'node:events'
import http, { type ServerResponse } from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { call, newUser, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { connect, type Wire } from '../../support/wire.ts'

let gateway: Gateway
/** Bare sockets behind the path /bare, after their 101. */
const bare: { socket: Socket; received: Buffer }[] = []
const events: ServerResponse[] = []
let contentType = 'text/event-stream'
const upstream = new WebSocketServer({ noServer: true })
const server = http.createServer((req, res) => {
  if (req.url === '/events/long') res.setHeader('content-length', 1000)
  res.writeHead(200, { 'content-type': contentType }).write('data: one\n\n')
  events.push(res)
})
server.on('upgrade', (req, socket: Socket, head) => {
  if (req.url !== '/ws/bare') return upstream.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data) => ws.send(`echo ${data}`)))
  const side = { socket, received: Buffer.alloc(0) }
  bare.push(side)
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    side.received = Buffer.concat([side.received, chunk])
  })
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
})
beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const route = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [url], access: 'authenticated', ...part })
  gateway = await startGateway({
    config: { limits: { streams: 3 } },
    routes: [
      route('ws', { websocket: true }),
      route('impatient', { websocket: true, timeouts: { idleMs: 300 } }),
      route('few', { websocket: true, connections: { max: 1, queue: 0 } }),
      route('events', {}),
      route('open', { access: 'public' }),
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  for (const ws of upstream.clients) ws.terminate()
  server.close()
  server.closeAllConnections()
})
const opened: { destroy?(): void; terminate?(): void }[] = []
afterEach(async () => {
  for (const it of opened.splice(0)) (it.terminate ?? it.destroy)!.call(it)
  await until(async () => (await metric(gateway, 'portcullis_streams_open')) === 0, 'no stream open')
})

async function open(user: TestUser, path = '/ws'): Promise<WebSocket> {
  const ws = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, { headers: { authorization: `Bearer ${user.token}` } })
  opened.push(ws)
  await once(ws, 'open')
  return ws
}
const closing = async (ws: WebSocket) => {
  const [code, reason] = await once(ws, 'close')
  return [code, String(reason)]
}
async function listen(user: TestUser | null, path = '/events'): Promise<Wire> {
  const wire = await connect(gateway.port)
  opened.push(wire)
  const bearer = user ? `Authorization: Bearer ${user.token}\r\n` : ''
  wire.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n${bearer}\r\n`)
  await wire.receives('data: one')
  return wire
}
/** A socket that has shaken hands, on both ends. */
async function openBare(user: TestUser): Promise<[client: Wire, server: (typeof bare)[number]]> {
  const wire = await connect(gateway.port)
  opened.push(wire)
  const fields = `Host: a\r\nAuthorization: Bearer ${user.token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
  wire.write(`GET /ws/bare HTTP/1.1\r\n${fields}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`)
  await wire.receives('\r\n\r\n')
  return [wire, bare.at(-1)!]
}
const closed = (reason: string) => metric(gateway, 'portcullis_streams_closed_total', { reason })
/** Everybody else in this file is somebody else: the clock is set back, for them. */
async function whileExpired(check: () => Promise<void>): Promise<void> {
  gateway.clock.advance(901_000)
  try {
    await check()
  } finally {
    gateway.clock.advance(-901_000)
  }
}

describe('when its token expires', () => {
  it('a WebSocket is closed with 4401, at both ends', async () => {
    const before = await closed('expired')
    const ws = await open(await newUser(gateway))
    const atUpstream = [...upstream.clients].at(-1)!
    const ends = [closing(ws), closing(atUpstream)]
    await whileExpired(async () => {
      expect(await Promise.all(ends)).toEqual([
        [4401, 'token expired'],
        [4401, 'token expired'],
      ])
    })
    await until(async () => (await closed('expired')) === before + 1, 'the count of it')
  })

  it('an event stream ends as a whole answer does, and the upstream hears of it', async () => {
    const wire = await listen(await newUser(gateway))
    const res = events.at(-1)!
    await whileExpired(async () => {
      await until(() => wire.text().endsWith('\r\n0\r\n\r\n'), 'the last chunk')
      await until(() => res.destroyed, 'the end at the upstream')
    })
  })

  it.each([
    'application/x-ndjson',
    'multipart/x-mixed-replace; boundary=x',
  ])('one of %s, where a cut looks like an end, is broken off', async (type) => {
    contentType = type
    const wire = await listen(await newUser(gateway))
    contentType = 'text/event-stream'
    await whileExpired(async () => {
      expect((await wire.closes()).endsWith('0\r\n\r\n')).toBe(false)
    })
  })

  it('one of a promised length is broken off', async () => {
    const wire = await listen(await newUser(gateway), '/events/long')
    await whileExpired(async () => {
      await wire.closes()
    })
  })

  it('an anonymous stream stays open', async () => {
    const wire = await listen(null, '/open')
    await whileExpired(async () => {
      const someone = await open(await newUser(gateway))
      // the check that closes an expired stream leaves the other stream open
      gateway.clock.advance(901_000)
      await closing(someone)
      gateway.clock.advance(-901_000)
    })
    events.at(-1)!.write('data: two\n\n')
    await wire.receives('data: two')
  })
})

describe('when its session ends', () => {
  it.each([
    ['logout', '/auth/logout'],
    ['logout from everywhere', '/auth/logout-all'],
  ])('by %s, a WebSocket is closed with 4401 and an event stream ends, those of others go on', async (_, path) => {
    const [user, other] = [await newUser(gateway), await newUser(gateway)]
    const [ws, wire, theirs] = [await open(user), await listen(user), await open(other)]
    const end = closing(ws)
    const before = await closed('revoked')
    expect((await call(gateway, path, { method: 'POST', token: user.token })).status).toBe(204)
    expect(await end).toEqual([4401, 'token revoked'])
    await until(() => wire.text().endsWith('\r\n0\r\n\r\n'), 'the last chunk')
    await until(async () => (await closed('revoked')) === before + 2, 'the count of both')
    theirs.send('still here')
    expect(String((await once(theirs, 'message'))[0])).toBe('echo still here')
  })

  it('by another gateway, it is closed as soon as the database was read', async () => {
    const user = await newUser(gateway)
    const ws = await open(user)
    const elsewhere = await startGateway({ databaseUrl: gateway.databaseUrl, secretKey: gateway.secretKey })
    const end = closing(ws)
    await call(elsewhere, '/auth/logout', { method: 'POST', token: user.token })
    expect(await end).toEqual([4401, 'token revoked'])
    await elsewhere.close()
  })
})

describe('between the frames', () => {
  const text = Buffer.concat([Buffer.from([0x81, 126, 0x01, 0x2c]), Buffer.alloc(300, 'x')])

  it('a close waits for the end of the frame that is passing', async () => {
    const user = await newUser(gateway)
    const [wire, side] = await openBare(user)
    const { socket: server } = side
    const head = wire.text().length
    server.write(text.subarray(0, 100))
    await until(() => wire.text().length === head + 100, 'the first part of the frame')
    await call(gateway, '/auth/logout', { method: 'POST', token: user.token })
    // in the other direction nothing passes: the close is there at once, masked (RFC 6455 §5.3)
    await until(() => side.received.length > 0, 'the close at the upstream')
    expect([...side.received.subarray(0, 2)]).toEqual([0x88, 0x80 | 15])
    server.write(Buffer.concat([text.subarray(100), Buffer.from([0x81, 0x05]), Buffer.from('after')]))
    const seen = Buffer.from((await wire.closes()).slice(head), 'latin1')
    expect(seen.subarray(0, text.length).equals(text)).toBe(true)
    expect(seen.subarray(text.length)).toEqual(Buffer.concat([Buffer.from([0x88, 0x0f, 0x11, 0x31]), Buffer.from('token revoked')]))
  })

  it('a frame that does not end ends with its connection', async () => {
    const user = await newUser(gateway)
    const [wire, { socket: server }] = await openBare(user)
    server.write(text.subarray(0, 100))
    await call(gateway, '/auth/logout', { method: 'POST', token: user.token })
    await wire.closes()
    await until(() => server.readableEnded, 'the end at the upstream')
  })
})

it('a client that has said goodbye already is not waited for any longer when its session ends', async () => {
  const user = await newUser(gateway)
  const [wire, { socket: server }] = await openBare(user)
  wire.socket.end()
  await until(() => server.readableEnded, 'the goodbye at the upstream')
  // a frame that does not end: only the bound of the close is left
  server.write(Buffer.from([0x81, 126, 0x01, 0x2c, 0x78]))
  await call(gateway, '/auth/logout', { method: 'POST', token: user.token })
  await wire.closes()
})

describe('a side that says nothing', () => {
  it('is pinged, and stays open when it answers', async () => {
    const ws = await open(await newUser(gateway), '/impatient')
    let pings = 0
    ws.on('ping', () => pings++)
    await until(() => pings > 3, 'four pings')
    ws.send('here')
    expect(String((await once(ws, 'message'))[0])).toBe('echo here')
  })

  it('is given up when it does not', async () => {
    const user = await newUser(gateway)
    const before = await closed('idle')
    const socket = net.connect(gateway.port, '127.0.0.1')
    opened.push(socket)
    const fields = `Host: a\r\nAuthorization: Bearer ${user.token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
    socket.write(`GET /impatient HTTP/1.1\r\n${fields}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`)
    let seen = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      seen = Buffer.concat([seen, chunk])
    })
    await once(socket, 'close')
    expect(seen.includes(Buffer.from([0x89, 0x00]))).toBe(true)
    expect(seen.subarray(-19)).toEqual(Buffer.concat([Buffer.from([0x88, 0x11, 0x03, 0xe9]), Buffer.from('no sign of life')]))
    await until(async () => (await closed('idle')) === before + 1, 'the count of it')
  })
})

describe('the streams of one user', () => {
  it('are so many and no more, WebSockets and event streams together; another user has as many', async () => {
    const [user, other] = [await newUser(gateway), await newUser(gateway)]
    const first = await open(user)
    await open(user)
    await listen(user)
    const refused = new WebSocket(`ws://127.0.0.1:${gateway.port}/ws`, { headers: { authorization: `Bearer ${user.token}` } })
    expect(String((await once(refused, 'error'))[0])).toContain('429')
    const { status, body, headers } = await call(gateway, '/events', { token: user.token })
    expect([status, body.code, headers.get('retry-after')]).toEqual([429, 'streams_exceeded', '5'])
    await open(other)
    first.close()
    await until(async () => (await metric(gateway, 'portcullis_streams_open', { kind: 'websocket' })) === 2, 'one closed')
    await open(user)
  })

  it('of anonymous clients are counted by address', async () => {
    for (let i = 0; i < 3; i++) await listen(null, '/open')
    expect((await call(gateway, '/open')).status).toBe(429)
  })

  it('take places of their upstream', async () => {
    const user = await newUser(gateway)
    const ws = await open(user, '/few')
    expect((await call(gateway, '/few', { token: user.token })).body.code).toBe('overloaded')
    ws.close()
    await until(async () => (await metric(gateway, 'portcullis_streams_open')) === 0, 'no stream open')
    expect((await listen(user, '/few')).text()).toContain('200 OK')
  })
})

it('at the stop of the gateway a WebSocket is closed with 1001 and an event stream ends', async () => {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const stopping = await startGateway({
    routes: [{ name: 'all', match: { path: '/' }, upstream: [url], access: 'public', websocket: true }],
  })
  const ws = new WebSocket(`ws://127.0.0.1:${stopping.port}/`)
  await once(ws, 'open')
  const wire = await connect(stopping.port)
  wire.write('GET /events HTTP/1.1\r\nHost: a\r\n\r\n')
  await wire.receives('data: one')
  const end = closing(ws)
  const stop = stopping.close()
  expect(await end).toEqual([1001, 'going away'])
  expect((await wire.closes()).endsWith('\r\n0\r\n\r\n')).toBe(true)
  await stop
})
