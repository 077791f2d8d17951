import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { call, newUser, raw, statusOf, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'

/** Handshakes and requests that reached the upstream. */
let asked: IncomingMessage[] = []
const upstream = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has('v2.chat') ? 'v2.chat' : false) })
const server = http.createServer((req, res) => {
  asked.push(req)
  res.end('plain')
})
server.on('upgrade', (req, socket, head) => {
  asked.push(req)
  upstream.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary })))
})
const gateway = useGateway(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const to = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [url], ...part })
  return {
    config: {
      log: { level: 'trace' },
      limits: { exempt: [], default: ['anonymous'], policies: { anonymous: { limit: 3, windowSeconds: 60, key: 'anonymous' } } },
    },
    routes: [
      to('ws', { access: 'authenticated', websocket: true, headers: { forwardAuthorization: true } }),
      to('open', { access: 'public', websocket: true, limits: [] }),
      to('plain', { access: 'public', limits: [] }),
      to('closed', { access: 'authenticated', limits: [] }),
    ],
  }
})
let user: TestUser
beforeAll(async () => {
  user = await newUser(gateway)
})
afterAll(() => {
  for (const ws of upstream.clients) ws.terminate()
  server.close()
  server.closeAllConnections()
})
beforeEach(() => {
  asked = []
})

const offerOf = (token: string) => `portcullis.bearer.${token}`
async function open(path: string, protocols: string[], headers: Record<string, string> = {}): Promise<WebSocket> {
  const ws = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, protocols, { headers })
  await once(ws, 'open')
  ws.terminate()
  return ws
}
const shake = (path: string, fields: string[]) =>
  raw(
    gateway.port,
    `${[
      `GET ${path} HTTP/1.1`,
      'Host: gateway.test',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
      ...fields,
    ].join('\r\n')}\r\n\r\n`,
    (text) => text.includes(' 101 ') && text.includes('\r\n\r\n'),
  )
const offered = () => asked.map(({ headers }) => headers['sec-websocket-protocol'])

it('a bearer among the subprotocols logs the page in, and reaches neither the upstream nor the answer nor the log', async () => {
  const ws = await open('/ws', ['portcullis', offerOf(user.token)])
  expect(ws.protocol).toBe('portcullis')
  expect(asked).toHaveLength(1)
  expect(asked[0]!.headers['x-auth-user']).toBe(user.id)
  expect(asked[0]!.rawHeaders.join('\n')).not.toMatch(/portcullis\.bearer|sec-websocket-protocol/i)
  expect(asked[0]!.rawHeaders.join('\n')).not.toContain(user.token)
  const answer = await shake('/ws', [`Sec-WebSocket-Protocol: portcullis, ${offerOf(user.token)}`])
  expect(statusOf(answer)).toBe(101)
  expect(answer.match(/^sec-websocket-protocol: .*$/gim)).toEqual(['sec-websocket-protocol: portcullis'])
  expect(answer).not.toContain(user.token)
  expect(JSON.stringify(gateway.log())).not.toContain(user.token.split('.')[2])
})

it.each([
  ['between the others', (token: string) => [`Sec-WebSocket-Protocol: v1.chat, portcullis,${offerOf(token)} ,v2.chat`]],
  ['in fields of their own', (token: string) => ['v1.chat', offerOf(token), 'v2.chat'].map((p) => `Sec-WebSocket-Protocol: ${p}`)],
  ['in other case', (token: string) => [`Sec-WebSocket-Protocol: v1.chat, Portcullis.BEARER.${token}, v2.chat`]],
])('%s, the upstream chooses among the rest', async (_name, fields) => {
  const answer = await shake('/ws', fields(user.token))
  expect(statusOf(answer)).toBe(101)
  expect(answer.match(/^sec-websocket-protocol: .*$/gim)).toEqual(['sec-websocket-protocol: v2.chat'])
  expect(offered()).toEqual(['v1.chat, v2.chat'])
})

it('a page without a login has a subprotocol, too', async () => {
  expect((await open('/open', ['portcullis'])).protocol).toBe('portcullis')
  expect((await open('/open', ['v2.chat', 'portcullis'])).protocol).toBe('v2.chat')
  expect(offered()).toEqual([undefined, 'v2.chat'])
  expect(await shake('/open', [])).not.toMatch(/sec-websocket-protocol/i)
  expect(await shake('/open', ['Sec-WebSocket-Protocol: v1.chat'])).not.toMatch(/sec-websocket-protocol/i)
})

it('a bad bearer is refused as ever, on public routes too', async () => {
  for (const path of ['/ws', '/open'])
    for (const token of ['x.y.z', '']) {
      const answer = await shake(path, [`Sec-WebSocket-Protocol: portcullis, ${offerOf(token)}`])
      expect(answer).toMatch(/^HTTP\/1\.1 401[\s\S]*"token_invalid"/)
    }
  expect(asked).toEqual([])
})

it('a second credential beside it is refused', async () => {
  const offer = `Sec-WebSocket-Protocol: portcullis, ${offerOf(user.token)}`
  for (const second of [`Authorization: Bearer ${user.token}`, 'X-Api-Key: pk_live_x', `Sec-WebSocket-Protocol: ${offerOf(user.token)}`]) {
    const answer = await shake('/ws', [offer, second])
    expect(answer).toMatch(/^HTTP\/1\.1 400[\s\S]*"header_invalid"/)
    expect(answer).not.toContain(user.token)
  }
  expect(asked).toEqual([])
})

it('an API key may be the bearer', async () => {
  const { body } = await call(gateway, '/auth/api-keys', { token: user.token, body: { name: 'socket' } })
  expect((await open('/ws', ['portcullis', offerOf(body.key), 'v2.chat'])).protocol).toBe('v2.chat')
  expect(offered()).toEqual(['v2.chat'])
  expect(asked[0]!.headers['x-auth-user']).toBe(user.id)
})

it('it counts as a credential, so that the limit of the anonymous does not meet it', async () => {
  for (let i = 0; i < 5; i++) await open('/ws', ['portcullis', offerOf(user.token)])
})

it('outside of a handshake it is no credential, and goes nowhere', async () => {
  const headers = { 'sec-websocket-protocol': `portcullis, ${offerOf(user.token)}`, sec_websocket_protocol: offerOf(user.token) }
  expect((await call(gateway, '/closed', { headers })).status).toBe(401)
  expect((await call(gateway, '/auth/me', { headers })).status).toBe(401)
  expect((await call(gateway, '/plain', { headers })).status).toBe(200)
  expect(asked).toHaveLength(1)
  expect(asked[0]!.rawHeaders.join('\n')).not.toContain(user.token)
})
