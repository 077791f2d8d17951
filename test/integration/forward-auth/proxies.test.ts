/** The configurations of docs/forward-auth.md, run with the real programs. A program that is missing fails the checks of a change. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { parse } from 'yaml'
import { cookieLogin } from '../../support/browser-session.ts'
import { type Authority, createAuthority, type Issued } from '../../support/certificates.ts'
import { newUser, type TestUser } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { ASKING_PROXIES, blocks, NAME } from '../../support/forward-auth-proxies.ts'
import { newKey } from '../../support/keys.ts'
import { TOP } from '../../support/navigation.ts'
import { freePort, type Running, until } from '../../support/processes.ts'
import { describeWith } from '../../support/tools.ts'

/** The client's own address, another one than the proxy's. */
const CLIENT = '127.0.0.2'
const COOKIE = '__Host-portcullis'
const [settings] = blocks('yaml').map((block) => parse(block))

const streams: ServerResponse[] = []
const sockets = new WebSocketServer({ noServer: true })
/** Offers that reached the app. */
const upgrades: string[] = []
/** Subprotocols that reached the app. */
const offers: string[] = []
const app = useUpstream((req, res) => {
  if (req.url !== '/site/feed') return false
  res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
  streams.push(res)
  return true
})

let authority: Authority
let certificate: Issued
let folder: string
beforeAll(async () => {
  authority = await createAuthority()
  certificate = await authority.issue([NAME])
  folder = mkdtempSync(join(tmpdir(), 'portcullis-asking-'))
  app.server.on('upgrade', (req, socket, head) => {
    upgrades.push(String(req.headers.upgrade))
    offers.push(String(req.headers['sec-websocket-protocol']))
    sockets.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data) => ws.send(`${req.headers['x-auth-user']}: ${data}`)))
  })
})
afterAll(() => {
  for (const ws of sockets.clients) ws.terminate()
  rmSync(folder, { recursive: true, force: true })
  authority.close()
})

for (const asking of ASKING_PROXIES)
  describeWith(asking, `${asking.name} asks`, () => {
    const { dialect, launch, program } = asking
    const gateway = useGateway(() => ({
      config: {
        server: { trustedProxies: settings.server.trustedProxies, publicUrl: settings.server.publicUrl },
        auth: { browser: { enabled: true } },
        forwardAuth: { dialect },
        limits: { policies: { one: { limit: 1, windowSeconds: 3600, key: 'client' } } },
      },
      routes: [
        ...settings.routes,
        { name: 'near', match: { path: '/near' }, access: 'public', forwardAuth: true, networks: { allow: [`${CLIENT}/32`] } },
        { name: 'reading', match: { path: '/reading', methods: ['GET'] }, access: 'public', forwardAuth: true },
        { name: 'limited', match: { path: '/limited' }, access: 'public', forwardAuth: true, limits: ['one'] },
        { name: 'chat', match: { path: '/chat' }, access: 'authenticated', forwardAuth: true, websocket: true },
        {
          name: 'passing',
          match: { path: '/passing' },
          access: 'authenticated',
          forwardAuth: true,
          headers: { forwardAuthorization: true },
        },
      ],
    }))
    let port: number
    let proxy: Running
    let user: TestUser
    const seen = (status: number) => (dialect === 'nginx' && status !== 401 ? 403 : status)
    const options = () => ({ host: '127.0.0.1', port, servername: NAME, ca: authority.cert, localAddress: CLIENT, agent: false as const })

    interface Sent {
      method?: string
      headers?: Record<string, string | string[]>
      body?: string
      from?: string
    }
    const begin = async (path: string, { method = 'GET', headers = {}, body, from = CLIENT }: Sent = {}): Promise<IncomingMessage> => {
      const request = https.request({ ...options(), localAddress: from, path, method, headers: { host: NAME, ...headers } }).end(body)
      return ((await once(request, 'response')) as [IncomingMessage])[0]
    }
    const send = async (path: string, sent: Sent = {}) => {
      const answer = await begin(path, sent)
      const body = await text(answer)
      return { status: answer.statusCode!, headers: answer.headers, body: body.startsWith('{') ? JSON.parse(body) : body }
    }
    const bearer = () => ({ authorization: `Bearer ${user.token}` })

    beforeAll(async () => {
      port = await freePort()
      proxy = launch({ folder: mkdtempSync(join(folder, 'proxy-')), port, gatewayPort: gateway.port, appPort: app.port, certificate })
      await until(async () => {
        if (proxy.child.exitCode !== null) throw new Error(proxy.output())
        return (await send('/site')).status === 200
      }, program).catch((error) => {
        throw new Error(proxy.output(), { cause: error })
      })
      user = await newUser(gateway)
    })
    beforeEach(() => void app.take())
    afterAll(() => proxy?.stop())

    it('the app gets the request of the client as it was sent, and the identity of the caller', async () => {
      const { status, body } = await send('/x/y%20z?a=1', { method: 'POST', body: 'hello', headers: bearer() })
      expect([status, body]).toMatchObject([200, { method: 'POST', url: '/x/y%20z?a=1', body: 'hello' }])
      expect(body.headers).toMatchObject({ 'x-auth-user': user.id, 'x-auth-roles': 'user' })
      expect(body.headers['x-auth-session']).toMatch(/^[0-9a-f-]{36}$/)
      // some proxies send the empty header, others leave it out
      expect(body.headers.authorization ?? '').toBe('')
      expect(body.headers['x-request-id']).toBe(
        (await until(() => gateway.log().find((line) => line.kind === 'verify' && line.user === user.id), 'the log line')).request_id,
      )
    })

    it('nothing that a client sends under the names of the answer reaches the app, in any spelling', async () => {
      const spellings = ['X-Auth-User', 'x-auth-user', 'X_Auth_User', 'X-Auth_User', 'x_auth-user', 'X-AUTH-ROLES', 'X_Auth_Roles']
      for (const headers of [{}, bearer()])
        for (const spelling of spellings) {
          const { status, body } = await send('/site', { headers: { ...headers, [spelling]: ['admin', 'root'] } })
          // a proxy may also refuse the request
          if (status >= 400) continue
          const got = Object.entries(body.headers).filter(([, value]) => /admin|root/.test(String(value)))
          expect(got, spelling).toEqual([])
        }
      const { body } = await send('/site', { headers: { 'X-Auth-User': 'admin', Authorization: 'Basic eA==' } })
      expect([body.headers['x-auth-user'] ?? '', body.headers.authorization ?? '']).toEqual(['', ''])
    })

    it('cookies of Portcullis and its API keys stay out; other cookies pass', async () => {
      const cookie = await cookieLogin(gateway, user, { name: COOKIE })
      const { status, body } = await send('/x', { headers: { cookie: `a=1; ${COOKIE}=${cookie}; b=2` } })
      expect([status, body.headers.cookie, body.headers['x-auth-user']]).toEqual([200, 'a=1; b=2', user.id])
      const { key } = await newKey(gateway, user)
      const byKey = await send('/x', { headers: { 'x-api-key': key } })
      expect([byKey.status, byKey.body.headers['x-auth-user'], byKey.body.headers['x-api-key'] ?? '']).toEqual([200, user.id, ''])
      expect((await send('/passing', { headers: bearer() })).body.headers.authorization).toBe(bearer().authorization)
    })

    it('refusals reach the client, and nothing reaches the app', async () => {
      const refused: [string, Sent, number, string][] = [
        ['/x', {}, 401, 'token_missing'],
        ['/x', { headers: { authorization: 'Bearer nonsense' } }, 401, 'token_invalid'],
        ['/admin', { headers: bearer() }, 403, 'forbidden'],
        ['/reading', { method: 'POST', body: 'x' }, 405, 'method_not_allowed'],
        ['/near', { from: '127.0.0.3', headers: { 'x-forwarded-for': CLIENT } }, 403, 'forbidden'],
      ]
      for (const [path, sent, status, code] of refused) {
        const answer = await send(path, sent)
        expect(answer.status, path).toBe(seen(status))
        // nginx has its own page
        if (dialect !== 'nginx') expect(answer.body.code, path).toBe(code)
        if (status === 401) expect(answer.headers['www-authenticate'], path).toMatch(/^Bearer/)
      }
      expect(app.take()).toEqual([])
      expect((await send('/near')).status).toBe(200)
    })

    it('the method of the client decides, not that of the question', async () => {
      const cookie = { cookie: `${COOKIE}=${await cookieLogin(gateway, user, { name: COOKIE })}` }
      const post = (origin: string) => send('/x', { method: 'POST', body: 'x', headers: { ...cookie, origin } })
      expect((await post(`https://${NAME}`)).status).toBe(200)
      expect((await post('https://evil.example')).status).toBe(403)
      const claimed = { 'x-original-method': 'GET', 'x-forwarded-method': 'GET', 'x-original-uri': '/site', 'x-forwarded-uri': '/site' }
      expect(
        (await send('/x', { method: 'POST', body: 'x', headers: { ...cookie, ...claimed, origin: 'https://evil.example' } })).status,
      ).toBe(403)
      expect((await send('/x', { headers: claimed })).status).toBe(401)
      expect((await send('/site', { method: 'HEAD' })).status).toBe(200)
    })

    it('a path that can be read in two ways reaches no app', async () => {
      for (const path of [
        '/site/../x',
        '/site/%2e%2e/x',
        '/site/..%2fx',
        '/site//x',
        '/site/%2e/x',
        '/auth/../x',
        '/auth/%2e%2e/x',
        '/site/..;/x',
        '/site%00/x',
      ]) {
        const { status, body } = await send(path)
        expect(status, path).toBeGreaterThanOrEqual(400)
        expect(status, path).toBeLessThan(500)
        expect(body?.code ?? 'target_ambiguous', path).toBe('target_ambiguous')
      }
      expect(app.take()).toEqual([])
    })

    it('limits count the client', async () => {
      expect((await send('/limited', { from: '127.0.0.4' })).status).toBe(200)
      expect((await send('/limited', { from: '127.0.0.4', headers: { 'x-forwarded-for': '198.51.100.1' } })).status).toBe(seen(429))
      expect((await send('/limited', { from: '127.0.0.5' })).status).toBe(200)
    })

    it('a person is sent to the login of this host, and logs in there', async () => {
      const { status, headers } = await send('/page?a=1', { headers: TOP })
      expect([status, headers.location]).toEqual([303, `https://${NAME}/auth/ui/login?return_to=${encodeURIComponent('/page?a=1')}`])
      const page = await send('/auth/ui/login', { headers: TOP })
      expect([page.status, page.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8'])
      const body = JSON.stringify({ login: user.username, password: user.password, session: 'cookie' })
      const login = await send('/auth/login', {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/json', origin: `https://${NAME}`, 'sec-fetch-site': 'same-origin' },
      })
      expect([login.status, login.headers['set-cookie']?.[0]]).toEqual([200, expect.stringContaining(`${COOKIE}=`)])
    })

    it('nobody can ask through the proxy', async () => {
      for (const path of ['/auth/verify', '/auth/verify/site']) {
        const { status, body } = await send(path, {
          headers: { 'x-original-method': 'GET', 'x-original-uri': '/site', 'x-forwarded-method': 'GET', 'x-forwarded-uri': '/site' },
        })
        // an answer would tell only what the caller may do
        if (status === 200) expect(body).toBe('')
      }
      expect(app.take()).toEqual([])
    })

    it('a WebSocket opens for the pages of this host', async () => {
      const cookie = `${COOKIE}=${await cookieLogin(gateway, user, { name: COOKIE })}`
      const open = (origin: string) => {
        const { host, port: at, ...tls } = options()
        return new WebSocket(`wss://${host}:${at}/chat`, { ...tls, agent: undefined, headers: { host: NAME, cookie, origin } })
      }
      const socket = open(`https://${NAME}`)
      await once(socket, 'open')
      socket.send('hello')
      expect(String((await once(socket, 'message'))[0])).toBe(`${user.id}: hello`)
      socket.terminate()
      const [, refusal] = (await once(open('https://evil.example'), 'unexpected-response')) as [unknown, IncomingMessage]
      expect(refusal.statusCode).toBe(403)
      refusal.destroy()
    })

    it('a token in the offer of subprotocols stays out of the app', async () => {
      const { host, port: at, ...tls } = options()
      const offer = ['portcullis', `portcullis.bearer.${user.token}`]
      offers.length = 0
      const socket = new WebSocket(`wss://${host}:${at}/chat`, offer, { ...tls, agent: undefined, headers: { host: NAME } })
      // no answer can choose the subprotocol
      await once(socket, 'error')
      expect(offers).toHaveLength(1)
      expect(offers[0]).not.toContain(user.token)
    })

    it('no other upgrade reaches the app: it could take over the connection, or go on without being judged', async () => {
      upgrades.length = 0
      const others: Record<string, string>[] = [
        { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAARAAAAAAAIAAAAA' },
        { connection: 'Upgrade', upgrade: 'websocket' },
        { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' },
      ]
      for (const headers of others) expect([200, 400, 403, 426]).toContain((await send('/site', { headers })).status)
      expect(upgrades).toEqual([])
    })

    it('a client cannot take the identity away from its request', async () => {
      for (const connection of ['x-auth-user', 'close, X-Auth-User, X-Auth-Roles', 'keep-alive, Cookie, Authorization']) {
        const { status, body } = await send('/x', { headers: { ...bearer(), connection } })
        // a proxy may also refuse the request, or take the credential out of it
        if (status < 400) expect([connection, body.headers['x-auth-user']]).toEqual([connection, user.id])
      }
    })

    it('a request without a host, or with two, reaches no app', async () => {
      const { host, port: at, ...tls } = options()
      for (const hosts of ['', `Host: ${NAME}\r\nHost: other.example.com\r\n`]) {
        const socket = connect({ host, port: at, ...tls })
        socket.end(`GET /site HTTP/1.1\r\n${hosts}Connection: close\r\n\r\n`)
        expect((await text(socket)).slice(0, 12)).toMatch(/^(HTTP\/1\.1 4\d\d)?$/)
      }
      expect(app.take()).toEqual([])
    })

    it('a request in absolute form, as HTTP/2 makes it in some proxies, is judged by its path', async () => {
      const { host, port: at, ...tls } = options()
      const absolute = async (path: string, headers: string) => {
        const socket = connect({ host, port: at, ...tls })
        socket.write(`GET https://${NAME}${path} HTTP/1.1\r\nHost: ${NAME}\r\n${headers}Connection: close\r\n\r\n`)
        return text(socket)
      }
      expect((await absolute('/x', '')).slice(0, 12)).toBe('HTTP/1.1 401')
      expect(await absolute('/site?a=1', '')).toMatch(/^HTTP\/1\.1 200/)
      const navigation = Object.entries(TOP).map(([name, value]) => `${name}: ${value}\r\n`)
      expect(await absolute('/x?a=1', navigation.join(''))).toMatch(
        new RegExp(`location: https://${NAME}/auth/ui/login\\?return_to=${encodeURIComponent('/x?a=1')}\r\n`, 'i'),
      )

      const session = http2.connect(`https://${NAME}:${at}`, {
        ...tls,
        createConnection: () => connect({ ...options(), ALPNProtocols: ['h2', 'http/1.1'] }),
      })
      session.on('error', () => {})
      await once(session, 'connect')
      if ((session.socket as TLSSocket).alpnProtocol === 'h2') {
        const overHttp2 = async (path: string, headers: Record<string, string> = {}) => {
          const stream = session.request({ ':path': path, ':authority': NAME, ...headers })
          const [answer] = await once(stream, 'response')
          const body = await text(stream)
          return { status: answer[':status'], body: body.startsWith('{') ? JSON.parse(body) : body }
        }
        expect((await overHttp2('/x')).status).toBe(401)
        const { status, body } = await overHttp2('/x?a=1', bearer())
        expect([status, body]).toMatchObject([200, { url: '/x?a=1', headers: { 'x-auth-user': user.id } }])
      }
      session.destroy()
    })

    it('server-sent events arrive one by one', async () => {
      const answer = await begin('/site/feed')
      const feed = streams.pop()!
      const parts = answer.setEncoding('utf8')[Symbol.asyncIterator]()
      for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
        feed.write(event)
        let arrived = ''
        while (arrived.length < event.length) arrived += (await parts.next()).value
        expect(arrived).toBe(event)
      }
      feed.end()
      expect((await parts.next()).done).toBe(true)
    })
  })

it('the first block of the page is a part of a valid configuration', () => {
  expect(settings.server).toMatchObject({ host: '127.0.0.1', publicUrl: `https://${NAME}` })
})
