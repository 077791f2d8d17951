/** The storms of `npm run faults:storm` in small, in one process. */
import { once } from 'node:events'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { call } from '../support/client.ts'
import { route } from '../support/config.ts'
import { type Gateway, metric, startGateway } from '../support/gateway.ts'
import { freePort, until } from '../support/processes.ts'
import type { RawUpstream } from '../support/raw-upstream.ts'
import { aborts } from './storms/aborts.ts'
import { AT_ONCE, capacity } from './storms/capacity.ts'
import { malformedAnswers, startBadUpstream } from './storms/malformed-answers.ts'
import { malformedRequests } from './storms/malformed-requests.ts'
import { inParallel } from './storms/random.ts'
import { down, up } from './storms/transfers.ts'
import { type StormUpstream, startStormUpstream } from './storms/upstream.ts'
import { openClient } from './storms/wire-client.ts'

const MIB = 1024 * 1024
const SEED = 1
let upstream: StormUpstream
let bad: RawUpstream
let gateway: Gateway
beforeAll(async () => {
  upstream = await startStormUpstream()
  bad = await startBadUpstream()
  const to = (path: string, url: string, more = {}) => route(path, { upstream: [url], ...more })
  gateway = await startGateway({
    routes: [
      to('/', upstream.url, { body: { maxBytes: 64 * MIB } }),
      to('/ws', upstream.url, { websocket: true }),
      to('/refusing', `http://127.0.0.1:${await freePort()}`),
      to('/bad', bad.url, { timeouts: { headersMs: 500, idleMs: 500 }, breaker: { failures: 0 } }),
      // its own answer, however busy the machine is
      to('/good', bad.url, { timeouts: { headersMs: 15_000, idleMs: 15_000 }, breaker: { failures: 0 } }),
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
  await bad.close()
})
/** An error that nobody caught fails the run by itself. */
afterEach(async () => {
  await until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 0, 'no request in flight')
  await until(() => upstream.inFlight() === 0, 'no request at the upstream')
  expect(gateway.log().filter((l) => l.reason === 'internal')).toEqual([])
  expect(upstream.broken).toEqual([])
  expect((await call(gateway, '/echo/alive')).status).toBe(200)
})

it('2000 malformed requests: each connection ends, none is answered 500, and each place for a request is free again', async () => {
  const { sent, broken } = await malformedRequests({ port: gateway.port, count: 2000, width: 64, seed: SEED })
  expect(broken).toEqual([])
  expect(sent).toBe(2000)
  expect(await capacity(gateway.port, upstream)).toBe(AT_ONCE)
})

const GET = 'GET /echo/1 HTTP/1.1\r\nHost: a\r\n\r\n'
/** What follows a row of requests on a connection. */
const BEHIND = [
  '',
  'NONSENSE\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  'CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n',
]
it('requests in a row whose connection ends before their answers keep no place, whatever ends it', async () => {
  await inParallel(50, 10, async (index) => {
    const { socket } = await openClient(gateway.port)
    socket.end(GET.repeat(20) + BEHIND[index % BEHIND.length])
    await once(socket, 'close')
  })
  expect(await capacity(gateway.port, upstream)).toBe(AT_ONCE)
})

it('a client that resets its connection behind CONNECT ends nothing but itself', async () => {
  await inParallel(200, 20, async () => {
    const { socket } = await openClient(gateway.port)
    socket.write('CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n', () => socket.resetAndDestroy())
    await once(socket, 'close')
  })
})

it('a body that breaks off after its upstream has failed ends nothing but its request', async () => {
  await inParallel(100, 20, async (index) => {
    const { socket } = await openClient(gateway.port)
    socket.write(`${GET.repeat(3)}POST /refusing HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf`, () =>
      index % 2 ? socket.end() : socket.resetAndDestroy(),
    )
    await once(socket, 'close')
  })
})

it('200 malformed answers: each is refused or broken off, and the next request gets its own answer', async () => {
  const { sent, broken } = await malformedAnswers({ port: gateway.port, count: 200, width: 16, seed: SEED })
  expect(broken).toEqual([])
  expect(sent).toBe(200)
})

it('300 clients disconnect at any moment: no client gets another’s bytes, and all their work ends', async () => {
  const { left, kept, broken } = await aborts({ port: gateway.port, upstream, count: 300, width: 32, seed: SEED })
  expect(broken).toEqual([])
  expect(left).toBe(300)
  expect(kept).toBeGreaterThan(0)
  await until(() => upstream.inFlight() === 0, 'the end of every request at the upstream')
  expect(await capacity(gateway.port, upstream)).toBe(AT_ONCE)
})

it.each([
  ['down', down],
  ['up', up],
])('64 MiB %s arrive as they were sent', async (_way, transfer) => {
  expect(await transfer(gateway.port, 64 * MIB)).toBe(true)
})
