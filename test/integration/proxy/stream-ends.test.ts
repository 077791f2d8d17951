import { once } from 'node:events'
import http, { type ServerResponse } from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { createAuthority } from '../../support/certificates.ts'
import { call, newUser, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { claimsOf } from '../../support/session.ts'
import { connect, type Wire } from '../../support/wire.ts'

const VERSIONS = ['1.1', '1.0']
const TYPES = [
  'text/event-stream',
  'application/x-ndjson',
  'application/json-seq',
  'application/grpc-web+proto',
  'multipart/x-mixed-replace; boundary=x',
]

let gateway: Gateway
/** With `onExpiry: break`. */
let breaking: Gateway
/** Bare sockets behind the path /bare, after their 101. */
const bare: { socket: Socket; received: Buffer }[] = []
const events: ServerResponse[] = []
let contentType = 'text/event-stream'
const upstream = new WebSocketServer({ noServer: true })
const server = http.createServer((req, res) => {
  if (req.url === '/events/long') res.setHeader('content-length', 20)
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
      route('quiet', { timeouts: { idleMs: 300 } }),
      route('open', { access: 'public' }),
    ],
  })
  breaking = await startGateway({ config: { streams: { onExpiry: 'break' } }, routes: [route('events', {})] })
})
afterAll(async () => {
  await gateway.close()
  await breaking.close()
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
async function ask(user: TestUser | null, line: string, fields: string, { type = 'text/event-stream', port = gateway.port } = {}) {
  contentType = type
  const wire = await connect(port)
  opened.push(wire)
  const bearer = user ? `Authorization: Bearer ${user.token}\r\n` : ''
  wire.write(`${line}\r\nHost: a\r\n${bearer}${fields}\r\n`)
  await wire.receives('data: one')
  contentType = 'text/event-stream'
  return wire
}
/** As an EventSource does. */
const listen = (user: TestUser | null, path = '/events', version = '1.1') =>
  ask(user, `GET ${path} HTTP/${version}`, 'Accept: text/event-stream\r\n')
/** As a client of a language model does. */
const post = (
  user: TestUser | null,
  version = '1.1',
  { path = '/events', ...options }: { path?: string; type?: string; port?: number } = {},
) => ask(user, `POST ${path} HTTP/${version}`, 'Accept: application/json, text/event-stream\r\nContent-Length: 0\r\n', options)
/** One answer of each type to each version of HTTP, each to a user of its own. */
async function postEach(to: Gateway) {
  const answers: { user: TestUser; wire: Wire; res: ServerResponse; version: string }[] = []
  for (const type of TYPES)
    for (const version of VERSIONS) {
      const user = await newUser(to)
      answers.push({ user, version, wire: await post(user, version, { type, port: to.port }), res: events.at(-1)! })
    }
  return answers
}
/** The client cannot take for whole what it has got. */
async function breaks(wire: Wire, version = '1.1'): Promise<void> {
  const text = await wire.closes()
  expect(text).toContain('data: one')
  if (version === '1.0') expect(wire.error()).toBe('ECONNRESET')
  else expect([text.includes('Transfer-Encoding: chunked'), text.includes('\r\n0\r\n')]).toEqual([true, false])
}
const ends = async (wire: Wire, version = '1.1') => {
  if (version === '1.1') return void (await until(() => wire.text().endsWith('\r\n0\r\n\r\n'), 'the last chunk'))
  await wire.closes()
  expect(wire.error()).toBe(null)
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

  it.each(VERSIONS)('the stream of an EventSource ends as a whole answer does (HTTP/%s), and the upstream hears of it', async (version) => {
    const wire = await listen(await newUser(gateway), '/events', version)
    const res = events.at(-1)!
    await whileExpired(async () => {
      await ends(wire, version)
      await until(() => res.destroyed, 'the end at the upstream')
    })
  })

  it('an answer goes on for maxOverrunSeconds, then it is broken off', async () => {
    const [answers, ws, before] = [await postEach(gateway), await open(await newUser(gateway)), await closed('expired')]
    await whileExpired(async () => {
      // closed by the same look that leaves the answers alone
      await closing(ws)
      for (const { res } of answers) res.write('data: two\n\n')
      for (const { wire } of answers) await wire.receives('data: two')
      gateway.clock.advance(300_000)
      for (const { wire, version } of answers) await breaks(wire, version)
      gateway.clock.advance(-300_000)
    })
    await until(async () => (await closed('expired')) === before + answers.length + 1, 'the count of them')
  })

  it('an answer that ends in this time is whole', async () => {
    const user = await newUser(gateway)
    const [wire, ws] = [await post(user), await open(user)]
    const res = events.at(-1)!
    await whileExpired(async () => {
      await closing(ws)
      res.end('data: [DONE]\n\n')
      await ends(wire)
    })
    expect(wire.text()).toContain('[DONE]')
  })

  it('an answer is broken off at once under onExpiry: break', async () => {
    const answers = await postEach(breaking)
    breaking.clock.advance(901_000)
    for (const { wire, version } of answers) await breaks(wire, version)
    breaking.clock.advance(-901_000)
  })

  it.each(['text/event-stream', 'application/x-ndjson'])('an answer of a known length is no stream: %s arrives whole', async (type) => {
    const user = await newUser(breaking)
    const { port } = breaking
    const wire = await post(user, '1.1', { path: '/events/long', type, port })
    const res = events.at(-1)!
    expect(await metric(breaking, 'portcullis_streams_open')).toBe(0)
    const source = await ask(user, 'GET /events HTTP/1.1', 'Accept: text/event-stream\r\n', { port })
    breaking.clock.advance(901_000)
    await ends(source)
    breaking.clock.advance(-901_000)
    res.end('the rest\n')
    await wire.receives('the rest\n')
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
  it('an answer is broken off', async () => {
    const [answers, before] = [await postEach(gateway), await closed('revoked')]
    for (const { user } of answers) await call(gateway, '/auth/logout', { method: 'POST', token: user.token })
    for (const { wire, version } of answers) await breaks(wire, version)
    await until(async () => (await closed('revoked')) === before + answers.length, 'the count of them')
  })

  it('an answer that outlives its token is broken off', async () => {
    const user = await newUser(gateway)
    const [wire, ws] = [await post(user), await open(user)]
    await whileExpired(async () => {
      await closing(ws)
      await gateway.app.identity.revocations.announce({ sessionId: claimsOf(user.token).sid, until: gateway.clock.now() + 60_000 })
      await breaks(wire)
    })
  })

  it.each([
    ['GET without Accept', 'GET', ''],
    ['GET that takes JSON as well', 'GET', 'Accept: application/json, text/event-stream\r\n'],
    ['GET with a body', 'GET', 'Accept: text/event-stream\r\nContent-Length: 1\r\n\r\nx'],
    ['POST', 'POST', 'Accept: text/event-stream\r\nContent-Length: 0\r\n'],
    ['QUERY', 'QUERY', 'Accept: text/event-stream\r\nContent-Length: 0\r\n'],
  ])('the event stream of a %s is broken off', async (_, method, fields) => {
    const user = await newUser(gateway)
    const wire = await ask(user, `${method} /events HTTP/1.1`, fields)
    await call(gateway, '/auth/logout', { method: 'POST', token: user.token })
    await breaks(wire)
  })

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
    await ends(wire)
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

it.each(VERSIONS)('an answer that says nothing for idleMs is broken off (HTTP/%s)', async (version) => {
  const before = await closed('idle')
  await breaks(await post(await newUser(gateway), version, { path: '/quiet' }), version)
  await until(async () => (await closed('idle')) === before + 1, 'the count of it')
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

const startStopping = (shutdownTimeoutMs: number, tls?: object) =>
  startGateway({
    config: { server: { shutdownTimeoutMs, ...(tls && { tls }) } },
    routes: [
      {
        name: 'all',
        match: { path: '/' },
        upstream: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`],
        access: 'public',
        websocket: true,
      },
    ],
  })

it('at the stop of the gateway a WebSocket is closed with 1001 and an event stream ends', async () => {
  const stopping = await startStopping(5000)
  const ws = new WebSocket(`ws://127.0.0.1:${stopping.port}/`)
  await once(ws, 'open')
  const wire = await ask(null, 'GET /events HTTP/1.1', 'Accept: text/event-stream\r\n', stopping)
  const end = closing(ws)
  const stop = stopping.close()
  expect(await end).toEqual([1001, 'going away'])
  expect((await wire.closes()).endsWith('\r\n0\r\n\r\n')).toBe(true)
  await stop
})

it('at the stop of the gateway an answer goes on, as every request in flight does', async () => {
  const stopping = await startStopping(5000)
  const wire = await post(null, '1.1', stopping)
  const res = events.at(-1)!
  const stop = stopping.close()
  await until(() => !stopping.app.server.server.listening, 'the end of listening')
  res.end('data: [DONE]\n\n')
  expect(await wire.closes()).toMatch(/\[DONE\]\n\n\r\n0\r\n\r\n$/)
  await stop
})

it.each(VERSIONS)('an answer that outlives shutdownTimeoutMs is broken off (HTTP/%s)', async (version) => {
  const stopping = await startStopping(300)
  const wire = await post(null, version, stopping)
  await stopping.close()
  await breaks(wire, version)
})

it('an answer over TLS that outlives shutdownTimeoutMs is broken off (HTTP/1.0)', async () => {
  const authority = await createAuthority('our CA')
  const { certFile, keyFile } = await authority.issue()
  const stopping = await startStopping(300, { cert: certFile, key: keyFile })
  const socket = tls.connect({ port: stopping.port, host: '127.0.0.1', ca: authority.cert })
  opened.push(socket)
  const failed = once(socket, 'error').catch((error) => [error])
  socket.write('POST /events HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n')
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  await until(() => text.includes('data: one'), 'the first event')
  await stopping.close()
  expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' })
  authority.close()
})
