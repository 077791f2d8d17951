/** A busy gateway refuses requests before any work, the least important first. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http, { type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'
import { connect, type Wire } from '../../support/wire.ts'

/** More than the buffers of a connection hold. */
const LARGE = Buffer.alloc(16 * 1024 * 1024)

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close()
})

interface Held {
  gateway: Gateway
  upstream: Upstream
  /** The upstream answers whatever it holds. */
  release(): void
  held(): number
}

/** An upstream that holds its answers, and a gateway with a bound of ten requests in flight. */
async function startHeld(
  overload: object = { maxInFlight: 10 },
  { server = {}, ...config }: { server?: object; cors?: object } = {},
): Promise<Held> {
  const waiting: ServerResponse[] = []
  const upstream = await startUpstream((req, res) => {
    if (req.url?.startsWith('/slow')) waiting.push(res)
    else if (req.url?.startsWith('/large')) res.end(LARGE)
    else if (req.url?.startsWith('/events')) res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n')
    else return false
    return true
  })
  opened.push(upstream)
  const gateway = await startGateway({
    config: { server: { overload, ...server }, limits: { streams: 100 }, ...config },
    routes: [
      { name: 'open', match: { path: '/' }, upstream: [upstream.url], access: 'public' },
      { name: 'theirs', match: { path: '/theirs' }, upstream: [upstream.url], access: 'public', cors: { mode: 'upstream' } },
      { name: 'closed', match: { path: '/slow/closed' }, upstream: [upstream.url], access: 'authenticated' },
    ],
  })
  opened.push(gateway)
  return {
    gateway,
    upstream,
    held: () => waiting.length,
    release: () => {
      for (const res of waiting.splice(0)) res.end('done')
    },
  }
}

async function register({ url }: Gateway): Promise<{ token: string; login: object }> {
  const name = `u${randomUUID().slice(0, 8)}`
  const password = 'correct horse battery'
  const response = await fetch(`${url}/auth/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: name, email: `${name}@example.com`, password }),
  })
  expect(response.status).toBe(201)
  return { token: ((await response.json()) as { access_token: string }).access_token, login: { login: name, password } }
}

const logIn = ({ url }: Gateway, login: object) =>
  fetch(`${url}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(login) })

test('the rest is refused at eight tenths, known credentials at nine, and logins keep the last tenth', async () => {
  const { gateway, held, release } = await startHeld()
  const { token, login } = await register(gateway)
  const known = { headers: { authorization: `Bearer ${token}` } }
  expect((await fetch(`${gateway.url}/auth/me`, known)).status).toBe(200)
  const begun: Promise<Response>[] = []
  const hold = async (path: string, init = {}) => {
    const before = held()
    begun.push(fetch(gateway.url + path, init))
    await until(() => held() === before + 1, 'the upstream holds the request')
  }
  for (let i = 0; i < 8; i++) await hold('/slow/open')

  const refused = await fetch(`${gateway.url}/slow/open`)
  expect(refused.status).toBe(503)
  expect(refused.headers.get('content-type')).toBe('application/problem+json')
  expect(Number(refused.headers.get('retry-after'))).toBeOneOf([1, 2, 3, 4, 5])
  expect(await refused.json()).toMatchObject({ status: 503, code: 'overloaded', request_id: refused.headers.get('x-request-id') })
  // a token that was never proven is work: it counts as the rest
  expect((await fetch(`${gateway.url}/slow/closed`, { headers: { authorization: 'Bearer a.b.c' } })).status).toBe(503)

  await hold('/slow/closed', known)
  expect((await fetch(`${gateway.url}/slow/closed`, known)).status).toBe(503)
  expect((await logIn(gateway, login)).status).toBe(200)
  expect((await fetch(`${gateway.url}/health`)).status).toBe(200)
  expect((await fetch(`${gateway.adminUrl}/readyz`)).status).toBe(200)

  expect(held()).toBe(9)
  release()
  for (const response of await Promise.all(begun)) expect(response.status).toBe(200)
  await until(async () => (await fetch(`${gateway.url}/other`)).status === 200, 'the gateway accepts requests again')
  expect(await metric(gateway, 'portcullis_shed_total', { reason: 'in_flight' })).toBe(3)
  expect(await metric(gateway, 'portcullis_errors_total', { code: 'overloaded' })).toBe(3)
  expect(await metric(gateway, 'portcullis_http_requests_total', { status: '503', route: 'none' })).toBe(3)
})

test('logins are refused when the whole bound is used', async () => {
  const { gateway, held, release } = await startHeld({ maxInFlight: 2 })
  const { login } = await register(gateway)
  const begun = [fetch(`${gateway.url}/slow/1`), fetch(`${gateway.url}/slow/2`)]
  await until(() => held() === 2, 'the upstream holds both requests')
  const refused = await logIn(gateway, login)
  expect(refused.status).toBe(503)
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
  expect((await fetch(`${gateway.url}/health`)).status).toBe(200)
  release()
  await Promise.all(begun)
  await until(async () => (await logIn(gateway, login)).status === 200, 'logins are accepted again')
})

test('event streams do not count', async () => {
  const { gateway } = await startHeld({ maxInFlight: 2 })
  const streams = await Promise.all(
    Array.from({ length: 2 }, async (_, i) => {
      const abort = new AbortController()
      const response = await fetch(`${gateway.url}/events/${i}`, { signal: abort.signal })
      return { response, abort }
    }),
  )
  const more = await fetch(`${gateway.url}/events/more`)
  expect([...streams.map(({ response }) => response.status), more.status]).toEqual([200, 200, 200])
  expect((await fetch(`${gateway.url}/other`)).status).toBe(200)
  for (const { abort } of streams) abort.abort()
  await more.body!.cancel()
})

test('WebSockets do not count', async () => {
  const upstream = await startUpstream()
  opened.push(upstream)
  upstream.server.on('upgrade', (_req, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n')
    socket.on('error', () => socket.destroy())
    socket.on('end', () => socket.destroy()).resume()
  })
  const gateway = await startGateway({
    config: { server: { overload: { maxInFlight: 1 } } },
    routes: [{ name: 'open', match: { path: '/' }, upstream: [upstream.url], access: 'public', websocket: true }],
  })
  opened.push(gateway)
  const shake = () =>
    http.get(`${gateway.url}/socket`, {
      agent: false,
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': Buffer.alloc(16).toString('base64'),
      },
    })
  for (let i = 0; i < 2; i++) {
    const [response, socket] = (await once(shake(), 'upgrade')) as [http.IncomingMessage, Socket]
    opened.push({ close: async () => void socket.destroy() })
    expect(response.statusCode).toBe(101)
  }
  expect((await fetch(`${gateway.url}/other`)).status).toBe(200)
})

test('a refused request leaves its connection usable, also with a body', async () => {
  const { gateway, held, release } = await startHeld({ maxInFlight: 1 })
  const begun = fetch(`${gateway.url}/slow/1`)
  await until(() => held() === 1, 'the upstream holds the request')
  for (let i = 0; i < 3; i++) {
    const refused = await fetch(`${gateway.url}/other`, { method: 'POST', body: 'x'.repeat(10_000) })
    expect([refused.status, refused.headers.get('connection')]).toEqual([503, 'keep-alive'])
    await refused.text()
  }
  release()
  await begun
})

test('many refusals are one line of the log', async () => {
  const { gateway, held, release } = await startHeld({ maxInFlight: 1 })
  const begun = fetch(`${gateway.url}/slow/1`)
  await until(() => held() === 1, 'the upstream holds the request')
  for (let i = 0; i < 50; i++) expect((await fetch(`${gateway.url}/other`)).status).toBe(503)
  const lines = gateway.log().filter(({ reason }) => reason === 'overloaded')
  expect(lines).toMatchObject([{ level: 'warn', shed: 'in_flight' }])
  expect(gateway.log().filter(({ msg, status }) => msg === 'request' && status === 503)).toEqual([])
  release()
  await begun
})

test('a blocked loop refuses the requests that waited for it, and recovers by itself', async () => {
  const { gateway } = await startHeld({ maxLoopDelayMs: 50 })
  const { token } = await register(gateway)
  const known = { headers: { authorization: `Bearer ${token}` } }
  await fetch(`${gateway.url}/auth/me`, known)
  const asked = [fetch(`${gateway.url}/other`), fetch(`${gateway.url}/other`, known), fetch(`${gateway.url}/health`)]
  // the requests are sent, and the loop that this test shares with the gateway stands still
  const end = performance.now() + 1000
  while (performance.now() < end);
  const statuses = await Promise.all(asked.map(async (response) => (await response).status))
  expect(statuses).toEqual([503, 503, 200])
  expect(await metric(gateway, 'portcullis_shed_total', { reason: 'loop_delay' })).toBe(2)
  await until(async () => (await fetch(`${gateway.url}/other`)).status === 200, 'the gateway accepts requests again')
})

test('a connection that was refused for a late loop is read again', async () => {
  const { gateway } = await startHeld({ maxLoopDelayMs: 50 })
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const ask = () =>
    new Promise<{ status: number; isReused: boolean }>((resolve, reject) => {
      const request = http.get(`${gateway.url}/other`, { agent }, (response) => {
        response.resume().on('end', () => resolve({ status: response.statusCode!, isReused: request.reusedSocket }))
      })
      request.on('error', reject)
    })
  expect(await ask()).toEqual({ status: 200, isReused: false })
  const refused = ask()
  const end = performance.now() + 1000
  while (performance.now() < end);
  expect(await refused).toEqual({ status: 503, isReused: true })
  expect(await until(async () => (await ask()).status === 200, 'the connection is served again')).toBe(true)
  expect(await ask()).toEqual({ status: 200, isReused: true })
  agent.destroy()
})

const LOGIN = 'POST /auth/login HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{'

async function open({ port }: Gateway, bytes: string): Promise<Wire> {
  const wire = await connect(port)
  opened.push({ close: async () => wire.destroy() })
  wire.write(bytes)
  return wire
}

const requestsInFlight = (gateway: Gateway) => metric(gateway, 'portcullis_http_requests_in_flight')
const servesOthers = ({ url }: Gateway) => until(async () => (await fetch(`${url}/other`)).status === 200, 'others are served')

/** With a bound of ten: the rest fills eight tenths, not one request more or less. */
async function expectWholeBound({ gateway, held, release }: Held): Promise<void> {
  await until(async () => (await requestsInFlight(gateway)) === 0, 'no request is in flight')
  const begun: Promise<Response>[] = []
  for (let i = 1; i <= 8; i++) {
    begun.push(fetch(`${gateway.url}/slow/${i}`))
    await until(() => held() === i, 'the upstream holds the request')
  }
  expect((await fetch(`${gateway.url}/other`)).status).toBe(503)
  release()
  for (const response of await Promise.all(begun)) expect(response.status).toBe(200)
}

test('many logins whose bodies do not arrive leave others served', async () => {
  const all = await startHeld()
  const { gateway } = all
  const { token, login } = await register(gateway)
  const wires: Wire[] = []
  // each wave is larger than the whole bound
  for (let wave = 0; wave < 3; wave++) {
    for (let i = 0; i < 12; i++) wires.push(await open(gateway, LOGIN))
    await servesOthers(gateway)
  }
  expect(await requestsInFlight(gateway)).toBeGreaterThan(10)
  for (let i = 0; i < 3; i++) {
    expect((await fetch(`${gateway.url}/auth/me`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(200)
    expect((await logIn(gateway, login)).status).toBe(200)
    expect((await fetch(`${gateway.url}/other`)).status).toBe(200)
  }
  const waiting = wires.find((wire) => wire.text() === '')!
  waiting.write(`${' '.repeat(97)}}`)
  await waiting.receives('HTTP/1.1 422')
  for (const wire of wires) wire.destroy()
  await expectWholeBound(all)
})

test('many clients that do not read their responses leave others served', async () => {
  const all = await startHeld()
  const { gateway } = all
  const wires: Wire[] = []
  for (let i = 0; i < 15; i++) {
    const wire = await open(gateway, 'GET /large HTTP/1.1\r\nhost: g\r\n\r\n')
    wire.socket.pause()
    wires.push(wire)
    // its buffers are full before the next begins
    await until(async () => (await fetch(`${gateway.url}/other`)).status === 200, 'the gateway serves others')
  }
  expect(await requestsInFlight(gateway)).toBeGreaterThan(10)
  for (let i = 0; i < 3; i++) expect((await fetch(`${gateway.url}/other`)).status).toBe(200)
  for (const wire of wires) wire.destroy()
  await expectWholeBound(all)
})

test('logins beyond their tenth are judged like the rest, and logins within it take no room from known credentials', async () => {
  const { gateway } = await startHeld()
  const { token } = await register(gateway)
  const known = { headers: { authorization: `Bearer ${token}` } }
  expect((await fetch(`${gateway.url}/auth/me`, known)).status).toBe(200)
  const wires: Wire[] = []
  await until(async () => {
    wires.push(await open(gateway, LOGIN))
    return wires.some((wire) => wire.text().startsWith('HTTP/1.1 503'))
  }, 'a login is refused')
  expect(wires.length).toBeGreaterThan(8)
  expect((await fetch(`${gateway.url}/auth/me`, known)).status).toBe(200)
})

const POST = (path: string) => `POST ${path} HTTP/1.1\r\nhost: g\r\ncontent-length: 4\r\n\r\nab`
const GET = 'GET /other HTTP/1.1\r\nhost: g\r\n\r\n'

test('the count is right again after each end of a request with a slow body', async () => {
  const all = await startHeld({ maxInFlight: 10 }, { server: { requestTimeoutMs: 2000, headersTimeoutMs: 2000 } })
  const { gateway, held, release } = all
  const begin = async (...bytes: string[]) => {
    const wires = await Promise.all(bytes.map((one) => open(gateway, one)))
    await until(async () => (await requestsInFlight(gateway)) >= wires.length, 'the requests have begun')
    return wires
  }
  /** Until they are slow, they fill the bound. */
  const fill = async (bytes: string) => {
    const wires = await begin(...Array.from({ length: 8 }, () => bytes))
    await servesOthers(gateway)
    return wires
  }

  // the clients leave
  for (const wire of await fill(POST('/other'))) wire.destroy()
  await expectWholeBound(all)

  // the deadline of the request ends
  for (const wire of await fill(POST('/other'))) expect(await wire.closes()).toContain('HTTP/1.1 408')
  await expectWholeBound(all)

  // the bodies arrive, and the connections serve further requests
  for (const wire of await fill(POST('/other'))) {
    wire.write(`cd${POST('/other')}`)
    await wire.receives('HTTP/1.1 200')
    wire.write(`cd${GET}`)
    await until(() => wire.text().split('HTTP/1.1 200').length === 4, 'three answers')
    wire.destroy()
  }
  await expectWholeBound(all)

  // a request waits behind another on its connection, and the client leaves
  const behind = await begin(`GET /slow/1 HTTP/1.1\r\nhost: g\r\n\r\n${LOGIN}`, `GET /slow/2 HTTP/1.1\r\nhost: g\r\n\r\n${POST('/other')}`)
  await until(() => held() === 2, 'the upstream holds the first requests')
  await until(async () => (await requestsInFlight(gateway)) === 4, 'the requests behind them have begun')
  await fill(POST('/other'))
  for (const wire of behind) wire.destroy()
  release()
  for (const one of opened.splice(2)) await one.close()
  await expectWholeBound(all)

  // the answer comes before the rest of the body: a stream, and a refusal
  const early = [await open(gateway, POST('/events/1')), await open(gateway, POST('/slow/closed'))]
  await early[0]!.receives('data: 1')
  await early[1]!.receives('HTTP/1.1 401')
  await servesOthers(gateway)
  for (const wire of early) wire.destroy()
  await expectWholeBound(all)
})

test('pages of other origins can read a refusal as they can read any error', async () => {
  const origins = ['https://app.example.com']
  const { gateway, held, release } = await startHeld({ maxInFlight: 1 }, { cors: { origins, credentials: true } })
  const errorFor = async (path: string, origin: string, status: number) => {
    const response = await fetch(gateway.url + path, { method: 'POST', headers: { origin, authorization: 'Bearer a.b.c' } })
    expect([path, response.status]).toEqual([path, status])
    return Object.fromEntries([...response.headers].filter(([name]) => name.startsWith('access-control-')))
  }
  const cases = [
    ['/auth/me', origins[0]!, 405],
    ['/auth/me', 'https://else.example', 405],
    ['/slow/closed', origins[0]!, 401],
    ['/slow/closed', 'https://else.example', 401],
    ['/theirs', 'https://else.example', 401],
  ] as const
  const usual = []
  for (const [path, origin, status] of cases) usual.push(await errorFor(path, origin, status))
  expect(usual[0]).toMatchObject({ 'access-control-allow-origin': origins[0], 'access-control-allow-credentials': 'true' })
  expect(usual[0]!['access-control-expose-headers']).toContain('retry-after')
  expect(usual[3]).toEqual({})
  expect(usual[4]).toMatchObject({ 'access-control-allow-origin': 'https://else.example' })

  const begun = fetch(`${gateway.url}/slow/1`)
  await until(() => held() === 1, 'the upstream holds the request')
  const refused = []
  for (const [path, origin] of cases) refused.push(await errorFor(path, origin, 503))
  expect(refused).toEqual(usual)
  release()
  await begun
})
