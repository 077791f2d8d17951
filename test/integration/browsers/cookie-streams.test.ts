/** WebSockets and event streams by session cookie: they go on while the session may use the route, and end with it. */
import { once } from 'node:events'
import http, { type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { BROWSER, byCookie, COOKIE, cookieFrom, cookieLogin } from '../../support/browser-session.ts'
import { newUser, newUserWithRoles, OPERATOR, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { connect, type Wire } from '../../support/wire.ts'

const MINUTE = 60_000

let gateway: Gateway
const upstream = new WebSocketServer({ noServer: true })
const events: ServerResponse[] = []
const handshakes: http.IncomingMessage[] = []
const server = http.createServer((_, res) => {
  res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: one\n\n')
  events.push(res)
})
server.on('upgrade', (req, socket: Socket, head) => {
  handshakes.push(req)
  upstream.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data) => ws.send(`echo ${data}`)))
})

beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const route = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [url], access: 'authenticated', ...part })
  gateway = await startGateway({
    config: { ...BROWSER, server: { publicUrl: 'http://localhost' } },
    routes: [
      route('ws', { websocket: true }),
      route('admins', { websocket: true, access: { roles: ['admin'] } }),
      route('fresh', { websocket: true, access: { maxAuthAgeSeconds: 1200 } }),
      route('open', { websocket: true, access: 'public' }),
      route('events', {}),
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

const own = () => ({ origin: gateway.url })

async function open(cookie: string, path = '/ws', headers: Record<string, string> = own()): Promise<WebSocket> {
  const ws = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, { headers: { cookie: `a=1; ${COOKIE}=${cookie}; b=2`, ...headers } })
  opened.push(ws)
  await once(ws, 'open')
  return ws
}

/** @returns the status of the refused handshake */
async function refused(cookie: string, path: string, headers: Record<string, string>): Promise<number> {
  const ws = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, { headers: { cookie: `${COOKIE}=${cookie}`, ...headers } })
  const [request, response] = (await once(ws, 'unexpected-response')) as [http.ClientRequest, http.IncomingMessage]
  request.destroy()
  return response.statusCode!
}

const closing = async (ws: WebSocket) => {
  const [code, reason] = await once(ws, 'close')
  return [code, String(reason)]
}

async function echoes(ws: WebSocket, text: string): Promise<void> {
  const answer = once(ws, 'message')
  ws.send(text)
  expect(String((await answer)[0])).toBe(`echo ${text}`)
}

/** An EventSource, as a browser sends it. */
async function listen(cookie: string): Promise<Wire> {
  const wire = await connect(gateway.port)
  opened.push(wire)
  wire.write(
    `GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nSec-Fetch-Site: same-origin\r\nCookie: ${COOKIE}=${cookie}\r\n\r\n`,
  )
  await wire.receives('data: one')
  return wire
}

const session = async (user?: TestUser) => {
  const known = user ?? (await newUser(gateway))
  return { user: known, cookie: await cookieLogin(gateway, known) }
}
const sweepTwice = async () => {
  // the sweep runs each second; a poll of the metrics shows that the process has gone on
  const before = performance.now()
  await until(() => performance.now() - before > 2200, 'two sweeps')
}

describe('a handshake', () => {
  it('with the cookie and our own Origin is of the user, and the upstream sees no cookie of ours', async () => {
    const { user, cookie } = await session()
    handshakes.length = 0
    await echoes(await open(cookie), 'hello')
    expect(handshakes[0]!.headers).toMatchObject({ 'x-auth-user': user.id, cookie: 'a=1; b=2' })
  })

  it('needs an Origin: a WebSocket sends no Fetch Metadata', async () => {
    const { cookie } = await session()
    for (const headers of [
      {},
      { origin: 'null' },
      { origin: 'https://evil.example' },
      { origin: 'http://127.0.0.1' },
      { 'sec-fetch-site': 'same-site' },
    ])
      for (const path of ['/ws', '/open'])
        expect([path, headers, await refused(cookie, path, headers as Record<string, string>)]).toEqual([path, headers, 403])
    expect(await refused('no', '/ws', own())).toBe(401)
  })

  it('by a bearer subprotocol is not by the cookie', async () => {
    const [one, other] = [await session(), await session()]
    handshakes.length = 0
    const ws = new WebSocket(`ws://127.0.0.1:${gateway.port}/ws`, ['portcullis', `portcullis.bearer.${other.user.token}`], {
      headers: { cookie: `${COOKIE}=${one.cookie}`, origin: 'https://elsewhere.example' },
    })
    opened.push(ws)
    await once(ws, 'open')
    expect(handshakes[0]!.headers['x-auth-user']).toBe(other.user.id)
    expect(handshakes[0]!.headers).not.toHaveProperty('cookie')
    expect(handshakes[0]!.headers).not.toHaveProperty('sec-websocket-protocol')
  })
})

describe('the end of the session', () => {
  it('closes its WebSockets with 4401, and ends its EventSource whole', async () => {
    const { cookie } = await session()
    const [ws, wire] = [await open(cookie), await listen(cookie)]
    const closed = closing(ws)
    expect((await byCookie(gateway, '/auth/session', cookie, { method: 'DELETE' })).status).toBe(204)
    expect(await closed).toEqual([4401, 'token revoked'])
    expect(await wire.receives('\r\n0\r\n\r\n')).toContain('data: one')
    expect(wire.error()).toBeNull()
  })

  it('of another session leaves this session alone', async () => {
    const { user, cookie } = await session()
    const other = await cookieLogin(gateway, user)
    const ws = await open(cookie)
    await byCookie(gateway, '/auth/session', other, { method: 'DELETE' })
    await sweepTwice()
    await echoes(ws, 'still here')
  })
})

describe('a stream that outlives what is remembered', () => {
  // first: later tests find the clock ahead of the database's
  it('ends when its login is too long ago for the route', async () => {
    const { cookie } = await session()
    const [fresh, ws] = [await open(cookie, '/fresh'), await open(cookie)]
    const closed = closing(fresh)
    gateway.clock.advance(21 * MINUTE)
    expect((await closed)[0]).toBe(4401)
    await echoes(ws, 'still here')
  })

  it('goes on', async () => {
    const { cookie } = await session()
    const [one, two, wire] = [await open(cookie), await open(cookie), await listen(cookie)]
    for (let i = 0; i < 3; i++) {
      gateway.clock.advance(16 * MINUTE)
      await sweepTwice()
    }
    await echoes(one, 'one')
    await echoes(two, 'two')
    expect(wire.text()).not.toContain('\r\n0\r\n\r\n')
  })
})

describe('a change of the user', () => {
  it('that takes a role ends the streams that need it, and no other', async () => {
    const { user, cookie } = await session(await newUserWithRoles(gateway, ['admin']))
    // another admin remains
    await newUserWithRoles(gateway, ['admin'])
    const [admin, any] = [await open(cookie, '/admins'), await open(cookie)]
    const closed = closing(admin)
    await gateway.app.identity.administration.revoke(user.id, 'admin', OPERATOR)
    expect((await closed)[0]).toBe(4401)
    await echoes(any, 'still here')
  })

  it('that gives a role ends none', async () => {
    const { user, cookie } = await session()
    const ws = await open(cookie)
    await gateway.app.identity.administration.grant(user.id, 'admin', OPERATOR)
    await sweepTwice()
    await echoes(ws, 'still here')
  })

  it('a step-up keeps the streams of the session', async () => {
    const { user, cookie } = await session()
    const ws = await open(cookie)
    const answer = await byCookie(gateway, '/auth/reauthenticate', cookie, { body: { password: user.password } })
    const fresh = cookieFrom(answer)!
    gateway.clock.advance(16 * MINUTE)
    await sweepTwice()
    await echoes(ws, 'old value')
    await echoes(await open(fresh), 'new value')
  })

  it('a disabled user loses every stream', async () => {
    const { user, cookie } = await session()
    const [ws, open_] = [await open(cookie), await open(cookie, '/open')]
    const both = Promise.all([closing(ws), closing(open_)])
    await gateway.app.identity.administration.disable(user.id, OPERATOR)
    expect((await both).map(([code]) => code)).toEqual([4401, 4401])
  })
})
