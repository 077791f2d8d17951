import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { call, raw, statusOf } from '../../support/client.ts'
import { useKeep } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { freePort, until } from '../../support/processes.ts'
import { type RawUpstream, startRawUpstream } from '../../support/raw-upstream.ts'
import { connect } from '../../support/wire.ts'

const keep = useKeep()
const gatewayTo = (upstream: unknown[], part: object = {}) =>
  keep(startGateway({ routes: [{ name: 'it', match: { path: '/it' }, upstream, access: 'public', ...part }] }))
const answering = (word: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${word.length}\r\n\r\n${word}`
const refusing = async () => `http://127.0.0.1:${await freePort()}`
const breakerState = (gateway: Gateway, name = 'it:0') => metric(gateway, 'portcullis_upstream_breaker_state', { upstream: name })
const statuses = async (gateway: Gateway, times: number) => {
  const seen: number[] = []
  for (let i = 0; i < times; i++) seen.push((await call(gateway, '/it')).status)
  return seen
}

it('a request is sent a second time and never a third time, even when no upstream answers', async () => {
  const gateway = await gatewayTo([await refusing(), await refusing()], { breaker: { failures: 0 } })
  const { status, body } = await call(gateway, '/it')
  expect([status, body.code]).toEqual([502, 'upstream_unreachable'])
  const retries = await Promise.all([0, 1].map((n) => metric(gateway, 'portcullis_upstream_retries_total', { upstream: `it:${n}` })))
  expect(retries.reduce((sum, n) => sum + n, 0)).toBe(1)
})

describe('an unhealthy upstream', () => {
  /** An address without a listener. `recover` starts one. */
  async function startRefusing(): Promise<[url: string, recover: () => Promise<RawUpstream>]> {
    const port = await freePort()
    return [`http://127.0.0.1:${port}`, () => keep(startRawUpstream((socket) => socket.write(answering('ok')), { port }))]
  }

  it('gets no requests: 503 at once with Retry-After, and not one more connection', async () => {
    const [url, recover] = await startRefusing()
    const gateway = await gatewayTo([url], { breaker: { failures: 3, openMs: 60_000 } })
    expect(await statuses(gateway, 3)).toEqual([502, 502, 502])
    expect(await breakerState(gateway)).toBe(2)
    const upstream = await recover()
    const { status, body, headers } = await call(gateway, '/it')
    expect([status, body.code]).toEqual([503, 'unavailable'])
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(30)
    expect(upstream.connections()).toBe(0)
    expect(gateway.log().filter((l) => l.reason === 'upstream_breaker_open')).toMatchObject([{ level: 'warn', upstream: 'it:0' }])
  })

  it('gets one trial request when the time is over, and all requests once that has a connection', async () => {
    const [url, recover] = await startRefusing()
    const gateway = await gatewayTo([url], { breaker: { failures: 1, openMs: 60_000 } })
    await statuses(gateway, 1)
    gateway.clock.advance(60_000)
    expect(await breakerState(gateway)).toBe(1)
    expect(await statuses(gateway, 2)).toEqual([502, 503])
    gateway.clock.advance(60_000)
    expect(await statuses(gateway, 1)).toEqual([503])
    gateway.clock.advance(60_000)
    await recover()
    expect(await statuses(gateway, 3)).toEqual([200, 200, 200])
    expect(await breakerState(gateway)).toBe(0)
  })

  it('is known by a status that the route counts', async () => {
    const upstream = await keep(startRawUpstream((socket) => socket.write('HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n')))
    const gateway = await gatewayTo([upstream.url], { breaker: { failures: 2, openMs: 60_000, statuses: [503] } })
    expect(await statuses(gateway, 2)).toEqual([503, 503])
    expect(await breakerState(gateway)).toBe(2)
  })

  it('is known by several paths without an answer, while nothing else is answered', async () => {
    const upstream = await keep(startRawUpstream(() => {}))
    const gateway = await gatewayTo([upstream.url], {
      timeouts: { headersMs: 50 },
      breaker: { failures: 2, openMs: 60_000, openAfterMs: 50 },
    })
    expect([(await call(gateway, '/it/a')).status, (await call(gateway, '/it/b')).status]).toEqual([504, 504])
    expect(await breakerState(gateway)).toBe(2)
  })

  it('is known by connections that are closed at once, as by a forwarded port without a listener', async () => {
    const forwarding = net.createServer((socket) => socket.on('error', () => {}).resetAndDestroy())
    forwarding.listen(0, '127.0.0.1')
    await once(forwarding, 'listening')
    await keep(Promise.resolve({ close: async () => forwarding.close() }))
    const url = `http://127.0.0.1:${(forwarding.address() as AddressInfo).port}`
    const gateway = await gatewayTo([url], { breaker: { failures: 3, openMs: 60_000 } })
    expect(await statuses(gateway, 3)).toEqual([502, 502, 502])
    await until(async () => (await breakerState(gateway)) === 2, 'the probe')
  })
})

describe('the health of an upstream is not judged by', () => {
  it('long polls on one path, while connections are accepted', async () => {
    const upstream = await keep(startRawUpstream((socket, request) => void (request.includes('/poll') || socket.write(answering('ok')))))
    const gateway = await gatewayTo([upstream.url], {
      timeouts: { headersMs: 50 },
      breaker: { failures: 3, openMs: 60_000, openAfterMs: 0 },
    })
    for (let round = 0; round < 3; round++) {
      const polls = await Promise.all(Array.from({ length: 6 }, () => call(gateway, '/it/poll')))
      expect(polls.map((a) => a.status)).toEqual(Array(6).fill(504))
    }
    expect((await call(gateway, '/it/other')).status).toBe(200)
    expect(await breakerState(gateway)).toBe(0)
  })

  it('requests that it drops, while it answers others', async () => {
    const upstream = await keep(
      startRawUpstream((socket, request) => void (request.includes('/crash') ? socket.destroy() : socket.write(answering('ok')))),
    )
    const gateway = await gatewayTo([upstream.url], { breaker: { failures: 3, openMs: 60_000 } })
    for (let i = 0; i < 8; i++) expect((await call(gateway, `/it/crash${i}`)).status).toBe(502)
    expect((await call(gateway, '/it')).status).toBe(200)
    expect(await breakerState(gateway)).toBe(0)
  })

  it.each([
    ['an answer of its own, even 500', 'HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n', 500],
    ['an answer that is none: one request may cause it, and must not close the door to all', 'HTTP/1.1 200 OK\r\nnonsense\r\n\r\n', 502],
  ])('is not to be seen in %s', async (_, bytes, status) => {
    const upstream = await keep(startRawUpstream((socket) => socket.end(bytes)))
    const gateway = await gatewayTo([upstream.url], { breaker: { failures: 1 } })
    expect(await statuses(gateway, 3)).toEqual([status, status, status])
    expect(await breakerState(gateway)).toBe(0)
  })

  it('is not to be seen in an upload that it breaks off: its refusal may have been lost on the way', async () => {
    const upstream = await keep(startRawUpstream((socket) => socket.resetAndDestroy()))
    const gateway = await gatewayTo([upstream.url], { breaker: { failures: 1 }, body: { maxBytes: 1e9 } })
    for (let i = 0; i < 3; i++) {
      const wire = await connect(gateway.port)
      wire.write('POST /it HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf')
      expect(statusOf(await wire.receives('"code":'))).toBe(502)
      wire.destroy()
    }
    expect(await breakerState(gateway)).toBe(0)
  })

  it('is not to be seen in a client that takes all of totalMs to send: that is 408', async () => {
    const upstream = await keep(startRawUpstream(() => {}))
    const gateway = await gatewayTo([upstream.url], { timeouts: { totalMs: 300 }, breaker: { failures: 1 } })
    const wire = await connect(gateway.port)
    wire.write('POST /it HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n')
    expect(await wire.receives('"code":')).toContain('"request_timeout"')
    expect(await breakerState(gateway)).toBe(0)
    wire.destroy()
  })

  it('is not to be seen in one path that hangs while others are answered', async () => {
    const upstream = await keep(startRawUpstream((socket, request) => void (request.includes('/hangs') || socket.write(answering('ok')))))
    const gateway = await gatewayTo([upstream.url], { timeouts: { headersMs: 500 }, breaker: { failures: 3 } })
    const hanging = Array.from({ length: 8 }, () => call(gateway, '/it/hangs'))
    await until(() => (upstream.received().match(/hangs/g)?.length ?? 0) === 8, 'eight requests at the upstream')
    await call(gateway, '/it')
    expect((await Promise.all(hanging)).map((a) => a.status)).toEqual(Array(8).fill(504))
    expect((await call(gateway, '/it')).status).toBe(200)
  })

  it('is not to be seen in clients that leave, or send too much', async () => {
    const upstream = await keep(startRawUpstream(() => {}))
    const gateway = await gatewayTo([upstream.url], { breaker: { failures: 1 }, body: { maxBytes: 10 } })
    const leaving = await connect(gateway.port)
    leaving.write('GET /it HTTP/1.1\r\nHost: a\r\n\r\n')
    await until(() => upstream.received() !== '', 'the request at the upstream')
    leaving.destroy()
    const half = await connect(gateway.port)
    half.write('POST /it HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf')
    await until(() => upstream.received().includes('half'), 'half a body at the upstream')
    half.destroy()
    const tooMuch = await raw(gateway.port, `POST /it HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n${'x'.repeat(11)}\r\n`)
    expect(statusOf(tooMuch)).toBe(413)
    await until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 0, 'no request in flight')
    expect(await breakerState(gateway)).toBe(0)
  })
})

describe('of several upstreams', () => {
  it('an upstream that cannot be reached is skipped: no client gets an error', async () => {
    const one = await keep(startRawUpstream((socket) => socket.write(answering('one'))))
    const two = await keep(startRawUpstream((socket) => socket.write(answering('two'))))
    const gateway = await gatewayTo([one.url, await refusing(), two.url], { breaker: { failures: 2, openMs: 60_000 } })
    const bodies: string[] = []
    for (let i = 0; i < 20; i++) bodies.push((await call(gateway, '/it')).body)
    expect([...new Set(bodies)].sort()).toEqual(['one', 'two'])
    expect(await breakerState(gateway, 'it:1')).toBe(2)
    // two were tried there and sent on; then it was left alone
    expect(await metric(gateway, 'portcullis_upstream_retries_total', { upstream: 'it:1' })).toBe(2)
    const next: string[] = []
    for (let i = 0; i < 10; i++) next.push((await call(gateway, '/it')).body)
    expect(next.filter((b) => b === 'one')).toHaveLength(5)
  })

  it('a POST of which nothing was sent is sent elsewhere, with its whole body', async () => {
    const other = await keep(startRawUpstream((socket, request) => void (request.endsWith('}') && socket.write(answering('ok')))))
    const gateway = await gatewayTo([await refusing(), other.url])
    const answers = await Promise.all([call(gateway, '/it', { body: { a: 1 } }), call(gateway, '/it', { body: { a: 1 } })])
    expect(answers.map((a) => a.status)).toEqual([200, 200])
    expect(other.received().match(/POST \/it|{"a":1}/g)).toEqual(['POST /it', '{"a":1}', 'POST /it', '{"a":1}'])
  })

  it('with none that can be reached, the answer is that of the first', async () => {
    const gateway = await gatewayTo([await refusing(), await refusing()])
    expect((await call(gateway, '/it')).body.code).toBe('upstream_unreachable')
  })
})

describe('an upstream that takes no more', () => {
  /** Holds every answer until the test releases it. */
  async function startHolding(): Promise<[RawUpstream, () => void]> {
    let waiting: Socket[] = []
    const upstream = await keep(startRawUpstream((socket) => waiting.push(socket)))
    return [
      upstream,
      () => {
        for (const socket of waiting) socket.write(answering('ok'))
        waiting = []
      },
    ]
  }
  const requestsAt = (upstream: RawUpstream) => upstream.received().match(/^GET /gm)?.length ?? 0

  it('has a queue: who waits there is answered in turn, over connections that there are', async () => {
    const [upstream, release] = await startHolding()
    const gateway = await gatewayTo([upstream.url], { connections: { max: 2, queue: 10, waitMs: 20_000 } })
    const answers = Array.from({ length: 5 }, () => call(gateway, '/it'))
    for (const wave of [2, 4, 5]) {
      await until(() => requestsAt(upstream) === wave, `${wave} requests at the upstream`)
      release()
    }
    expect((await Promise.all(answers)).map((a) => a.status)).toEqual([200, 200, 200, 200, 200])
    expect(upstream.connections()).toBe(2)
  })

  it('answers 503 overloaded to those for whom the queue has no room, and to those who waited too long', async () => {
    const [upstream, release] = await startHolding()
    const gateway = await gatewayTo([upstream.url], { connections: { max: 1, queue: 1, waitMs: 1000 } })
    const first = call(gateway, '/it')
    await until(() => requestsAt(upstream) === 1, 'a request at the upstream')
    const others = await Promise.all([call(gateway, '/it'), call(gateway, '/it')])
    expect(others.map((a) => [a.status, a.body.code, a.headers.get('retry-after')])).toEqual([
      [503, 'overloaded', '1'],
      [503, 'overloaded', '1'],
    ])
    expect(gateway.log().map((l) => l.cause)).toEqual(
      expect.arrayContaining([expect.stringContaining('1 waiting'), expect.stringContaining('no slot within 1000 ms')]),
    )
    release()
    expect((await first).status).toBe(200)
    const next = call(gateway, '/it')
    await until(() => requestsAt(upstream) === 2, 'the place given back')
    release()
    expect((await next).status).toBe(200)
  })

  it('sends no queued request to it once its circuit is open', async () => {
    const waiting: Socket[] = []
    const upstream = await keep(startRawUpstream((socket) => waiting.push(socket)))
    const gateway = await gatewayTo([upstream.url], {
      connections: { max: 1, queue: 10, waitMs: 20_000 },
      breaker: { failures: 1, openMs: 60_000, statuses: [500] },
    })
    const answers = Array.from({ length: 4 }, () => call(gateway, '/it'))
    await until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 4, 'four requests')
    for (const socket of waiting) socket.write('HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n')
    expect((await Promise.all(answers)).map((a) => a.status).sort()).toEqual([500, 503, 503, 503])
    expect(upstream.connections()).toBe(1)
  })

  it('forgets a client that leaves the queue', async () => {
    const [upstream, release] = await startHolding()
    const gateway = await gatewayTo([upstream.url], { connections: { max: 1, queue: 1, waitMs: 20_000 } })
    const first = call(gateway, '/it')
    await until(() => requestsAt(upstream) === 1, 'a request at the upstream')
    const leaving = await connect(gateway.port)
    leaving.write('GET /it?leaving HTTP/1.1\r\nHost: a\r\n\r\n')
    await until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 2, 'two requests')
    leaving.destroy()
    await until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 1, 'one request')
    const third = call(gateway, '/it')
    await until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 2, 'another in its place')
    release()
    await until(() => requestsAt(upstream) === 2, 'the third at the upstream')
    release()
    expect([(await first).status, (await third).status]).toEqual([200, 200])
    expect(upstream.received()).not.toContain('leaving')
  })
})
