/** A client that closes its half of the connection after its whole request gets its answer. A client that has left stops its upstream. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import tls from 'node:tls'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Authority, createAuthority } from '../../support/certificates.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { connect, type Wire } from '../../support/wire.ts'

/** Requests that the upstream holds, by path. */
const held = new Map<string, { req: IncomingMessage; res: ServerResponse; isAborted: boolean }>()
const upstream = useUpstream((req, res) => {
  if (!req.url!.startsWith('/held')) return false
  const one = { req: req.resume(), res, isAborted: false }
  held.set(req.url!, one)
  res.on('close', () => {
    one.isAborted = !res.writableFinished
  })
  return true
})
const routes = () => [{ name: 'all', match: { path: '/' }, upstream: [upstream.url], access: 'public' }]
const gateway = useGateway(() => ({ routes: routes() }))
let accepted: Socket
beforeAll(() => void gateway.app.server.server.on('connection', (socket) => (accepted = socket)))
beforeEach(() => held.clear())

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))
/** Sends the bytes and then FIN. @returns once the gateway has seen the FIN */
async function sendAndClose(bytes: string): Promise<Wire> {
  const wire = await connect(gateway.port)
  await until(() => accepted?.remotePort === wire.socket.localPort, 'the connection at the gateway')
  const socket = accepted
  wire.write(bytes)
  wire.socket.end()
  await until(() => socket.readableEnded, 'the FIN at the gateway')
  return wire
}
const heldAt = (path: string) => until(() => held.get(path), `the request ${path} at the upstream`)
const isAborted = async (path: string) => {
  const request = await heldAt(path)
  await until(() => request.isAborted, 'the end of the request at the upstream')
}

describe('gets its answer', () => {
  it.each([
    ['a GET', get('/x'), [200]],
    ['a body', 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello', [200]],
    ['chunks', 'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n', [200]],
    ['HTTP/1.0', 'GET /x HTTP/1.0\r\n\r\n', [200]],
    ['requests in a row', get('/x').repeat(3), [200, 200, 200]],
    ['an endpoint of our own', get('/auth/me'), [401]],
    ['a path without endpoint', get('/auth/none'), [404]],
    ['an ignored offer', get('/x').replace('\r\n\r\n', '\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n').repeat(3), [200, 200, 200]],
  ])('to %s', async (_, bytes, wanted) => {
    expect(statuses(await (await sendAndClose(bytes)).closes())).toEqual(wanted)
  })

  it('when its upstream answers later', async () => {
    const wire = await sendAndClose(get('/held/later'))
    const { res } = await heldAt('/held/later')
    res.end('at last')
    expect(await wire.closes()).toMatch(/^HTTP\/1\.1 200 [\s\S]*at last/)
  })

  it('however long its body takes', async () => {
    const wire = await sendAndClose(get('/held/body'))
    const { res } = await heldAt('/held/body')
    res.write('one ')
    await wire.receives('one')
    gateway.clock.advance(20_000)
    // an answer behind it shows that the deadline was looked at
    res.write('two ')
    await wire.receives('two')
    res.end('three')
    expect(await wire.closes()).toMatch(/three\r\n0\r\n\r\n$/)
  })

  it('on the admin listener', async () => {
    const wire = await connect(Number(new URL(gateway.adminUrl).port))
    wire.write(get('/metrics'))
    wire.socket.end()
    expect(statuses(await wire.closes())).toEqual([200])
  })
})

describe('over TLS', () => {
  let authority: Authority
  let secure: Gateway
  beforeAll(async () => {
    authority = await createAuthority()
    const { certFile: cert, keyFile: key } = await authority.issue(['a.test'])
    secure = await startGateway({ routes: routes(), config: { server: { publicUrl: 'https://a.test', tls: { cert, key } } } })
  })
  afterAll(async () => {
    await secure.close()
    authority.close()
  })

  it('gets its answer, too', async () => {
    const ended = new Promise((resolve) => secure.app.server.server.once('secureConnection', (socket) => socket.once('end', resolve)))
    const options = { host: '127.0.0.1', port: secure.port, ca: authority.cert, servername: 'a.test', allowHalfOpen: true }
    const socket = tls.connect(options as tls.ConnectionOptions) // allowHalfOpen is missing in @types/node
    socket.end(get('/held/tls'))
    const { res } = await heldAt('/held/tls')
    await ended
    res.end('at last')
    expect((await socket.setEncoding('latin1').toArray()).join('')).toMatch(/^HTTP\/1\.1 200 [\s\S]*at last/)
  })
})

describe('stops its upstream', () => {
  it('10 s after it has left: 499 in the log and in the metrics', async () => {
    const counted = () => metric(gateway, 'portcullis_http_requests_total', { route: 'all', status: '499' })
    const before = await counted()
    const wire = await sendAndClose(get('/held/left'))
    const request = await heldAt('/held/left')
    gateway.clock.advance(9000)
    expect(request.isAborted).toBe(false)
    gateway.clock.advance(1000)
    await isAborted('/held/left')
    expect(await wire.closes()).toBe('')
    const line = await until(() => gateway.log().find(({ status }) => status === 499), 'the line of the log')
    expect(line).toMatchObject({ route: 'all', outcome: 'broken_off', upstream: upstream.url })
    expect(await counted()).toBe((before || 0) + 1)
  })

  it('at once by a reset', async () => {
    const wire = await connect(gateway.port)
    wire.write(get('/held/reset'))
    await heldAt('/held/reset')
    wire.socket.resetAndDestroy()
    await isAborted('/held/reset')
  })

  it('at once while it reads events', async () => {
    const wire = await connect(gateway.port)
    wire.write(get('/held/events'))
    const { res } = await heldAt('/held/events')
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n')
    await wire.receives('data: 1')
    wire.socket.end()
    await isAborted('/held/events')
  })

  it('as soon as events begin', async () => {
    await sendAndClose(get('/held/events/later'))
    const { res } = await heldAt('/held/events/later')
    res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    await isAborted('/held/events/later')
  })

  it('not while it reads events of a known length', async () => {
    const wire = await sendAndClose(get('/held/file'))
    const { res } = await heldAt('/held/file')
    res.writeHead(200, { 'content-type': 'text/event-stream', 'content-length': 18 }).write('data: 1\n\n')
    await wire.receives('data: 1')
    res.end('data: 2\n\n')
    expect(await wire.closes()).toMatch(/data: 2\n\n$/)
  })
})
