import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import https, { type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { type Authority, createAuthority, type Issued } from '../../support/certificates.ts'
import { call, raw } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'

let [ours, theirs]: Authority[] = []
let gateway: Gateway
let client: Issued
const servers: https.Server[] = []

/** What a server saw: the name for TLS, the Host, and the connection. */
interface Asked {
  name: string | false
  host: string | undefined
  socket: TLSSocket
}
const asked: Asked[] = []
const note = ({ socket, headers }: IncomingMessage) =>
  void asked.push({
    name: (socket as TLSSocket & { servername: string | false }).servername,
    host: headers.host,
    socket: socket as TLSSocket,
  })

/** Answers with whom it saw in the client's certificate. */
async function startTls(options: ServerOptions): Promise<string> {
  const server = https.createServer(options, (req, res) => {
    note(req)
    const { subject } = (req.socket as TLSSocket).getPeerCertificate()
    res.end(JSON.stringify({ client: subject?.CN ?? null }))
  })
  new WebSocketServer({ server }).on('connection', (ws, req) => {
    note(req)
    ws.send('hello')
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`
}

beforeAll(async () => {
  ours = await createAuthority('our CA')
  theirs = await createAuthority('another CA')
  client = await ours.issue(['gateway.internal'])
  const [good, misnamed, stranger] = [await ours.issue(['localhost']), await ours.issue(['elsewhere.test']), await theirs.issue()]
  const serve = ({ cert, key }: Issued, more: ServerOptions = {}) => startTls({ cert, key, ...more })
  const goodUrl = await serve(good)
  const route = (name: string, url: string, tls?: object, more: object = {}) => ({
    name,
    match: { path: `/${name}` },
    upstream: [{ url, ...(tls ? { tls } : {}) }],
    access: 'public',
    websocket: true,
    ...more,
  })
  const ca = ours.certFile
  const mutual = await serve(good, { ca: ours.cert, requestCert: true, rejectUnauthorized: true })
  gateway = await startGateway({
    routes: [
      route('known', goodUrl, { ca }),
      route('virtual', goodUrl.replace('127.0.0.1', 'localhost'), { ca }, { preserveHost: true }),
      route('virtual-address', goodUrl, { ca }, { preserveHost: true }),
      route('public-cas', goodUrl),
      route('stranger', await serve(stranger), { ca }),
      route('misnamed', (await serve(misnamed)).replace('127.0.0.1', 'localhost'), { ca }),
      route('mutual', mutual, { ca, cert: client.certFile, key: client.keyFile }),
      route('nobody', mutual, { ca }),
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  for (const server of servers) {
    server.close()
    server.closeAllConnections()
  }
  for (const authority of [ours, theirs]) authority!.close()
})

/** `hello`, or the status that refused the handshake. */
async function greet(path: string): Promise<string> {
  const ws = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`)
  ws.on('error', () => {})
  try {
    return await new Promise((resolve) => {
      ws.on('message', (data) => resolve(String(data)))
      ws.on('unexpected-response', (_request, { statusCode }) => resolve(String(statusCode)))
    })
  } finally {
    ws.terminate()
  }
}

describe('an upstream over TLS', () => {
  it('is asked when its certificate comes from the CA that the route names', async () => {
    expect((await call(gateway, '/known')).body).toEqual({ client: null })
    expect(await greet('/known')).toBe('hello')
  })

  it.each([
    ['the public CAs do not know it', '/public-cas', /SELF_SIGNED|UNABLE_TO/],
    ['it comes from another CA', '/stranger', /UNABLE_TO|SELF_SIGNED/],
    ['it is for another name', '/misnamed', /ALTNAME/],
  ])('is 502, with the cause in the log alone, when %s', async (_, path, cause) => {
    const { status, body } = await call(gateway, path, { headers: { 'x-request-id': path.slice(1) } })
    expect([status, body.code]).toEqual([502, 'upstream_unreachable'])
    expect(JSON.stringify(body)).not.toMatch(cause)
    expect(gateway.log().find((l) => l.request_id === path.slice(1))).toMatchObject({ cause: expect.stringMatching(cause) })
    expect(await greet(path)).toBe('502')
  })

  it.each([
    ['/virtual', 'localhost'],
    ['/virtual-address', false],
  ])('keeps its own name for TLS, and its connections, where %s preserves the Host of clients', async (path, name) => {
    asked.length = 0
    for (const host of ['one.test', 'two.test:8443']) {
      const answer = await raw(gateway.port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
      expect(answer).toMatch(/^HTTP\/1\.1 200 /)
    }
    expect(await greet(path)).toBe('hello')
    expect(asked.map((a) => [a.name, a.host])).toEqual([
      [name, 'one.test'],
      [name, 'two.test:8443'],
      [name, `127.0.0.1:${gateway.port}`],
    ])
    expect(asked[0]!.socket).toBe(asked[1]!.socket)
  })

  it('sees our certificate where it asks for one', async () => {
    expect((await call(gateway, '/mutual')).body).toEqual({ client: 'gateway.internal' })
    expect(await greet('/mutual')).toBe('hello')
    expect((await call(gateway, '/nobody')).status).toBe(502)
    expect(await greet('/nobody')).toBe('502')
  })
})

it('a PEM file that is not there stops the start, and is named', async () => {
  const upstream = [{ url: 'https://orders', tls: { ca: '/nowhere/ca.pem' } }]
  const start = startGateway({ stores: 'embedded', routes: [{ name: 'orders', match: { path: '/' }, upstream, access: 'public' }] })
  await expect(start).rejects.toThrow(/route orders.*tls\.ca/)
})
