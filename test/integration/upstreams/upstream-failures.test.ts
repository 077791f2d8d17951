import type { Socket } from 'node:net'
import { beforeAll, describe, expect, it } from 'vitest'
import { call, raw, statusOf } from '../../support/client.ts'
import { useKeep } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { freePort, until } from '../../support/processes.ts'
import { type RawUpstream, startRawUpstream } from '../../support/raw-upstream.ts'
import { connect } from '../../support/wire.ts'

const keep = useKeep()
/** A gateway before an upstream that behaves like this. */
async function startBefore(answer: (socket: Socket, request: string, nth: number) => void, timeouts = {}): Promise<[Gateway, RawUpstream]> {
  const upstream = await keep(startRawUpstream(answer))
  return [await gatewayTo(upstream.url, timeouts), upstream]
}
async function gatewayTo(url: string, timeouts = {}): Promise<Gateway> {
  return keep(startGateway({ routes: [{ name: 'it', match: { path: '/it' }, upstream: [url], access: 'public', timeouts }] }))
}
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

let refusing: string
beforeAll(async () => {
  refusing = `127.0.0.1:${await freePort()}`
})

describe('an upstream that refuses connections', () => {
  it('is 502 upstream_unreachable; its address is in the log and not in the answer', async () => {
    const gateway = await gatewayTo(`http://${refusing}`)
    const { status, body, headers } = await call(gateway, '/it', { headers: { 'x-request-id': 'refused' } })
    expect(status).toBe(502)
    expect(body).toMatchObject({ code: 'upstream_unreachable', request_id: 'refused' })
    expect(JSON.stringify([body, [...headers]])).not.toContain(refusing)
    const line = gateway.log().find((l) => l.request_id === 'refused')
    expect(line).toMatchObject({ level: 'error', outcome: 'upstream_unreachable', cause: expect.stringContaining(refusing) })
    expect(await metric(gateway, 'portcullis_errors_total', { code: 'upstream_unreachable', route: 'it' })).toBe(1)
  })
})

describe('an upstream that is too slow', () => {
  it('with its headers is 504', async () => {
    const [gateway] = await startBefore(() => {}, { headersMs: 50 })
    expect((await call(gateway, '/it')).body).toMatchObject({ status: 504, code: 'upstream_timeout' })
  })

  it('with its whole answer is 504 as long as nothing of it was sent on', async () => {
    const [gateway] = await startBefore(() => {}, { totalMs: 50 })
    expect((await call(gateway, '/it')).body).toMatchObject({ status: 504, code: 'upstream_timeout' })
  })

  it.each([
    ['between two pieces of a body', { idleMs: 50 }],
    ['with the rest of its answer', { totalMs: 300 }],
  ])('%s breaks the answer off', async (_name, timeouts) => {
    const [gateway] = await startBefore(
      (socket) => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n'),
      timeouts,
    )
    const answer = await raw(gateway.port, 'GET /it HTTP/1.1\r\nHost: a\r\n\r\n')
    expect(answer).toContain('ok')
    expect(answer).not.toContain('\r\n0\r\n')
    const line = await until(() => gateway.log().find((l) => l.outcome === 'broken_off'), 'the log line of the broken answer')
    expect(line).toMatchObject({ status: 200, cause: expect.stringMatching(/totalMs|timeout/i) })
    expect(await metric(gateway, 'portcullis_errors_total', { code: 'upstream_timeout', route: 'it' })).toBe(1)
  })
})

describe('an answer that is cut short', () => {
  it.each([
    ['with a reset in place of an end', 'HTTP/1.1 200 OK\r\n\r\nsome', '1.1'],
    ['in the middle of its chunks, to HTTP/1.0', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nsome', '1.0'],
  ])('%s has no good end', async (_, bytes, version) => {
    const [gateway] = await startBefore((socket) => socket.write(bytes, () => setImmediate(() => socket.resetAndDestroy())))
    const wire = await connect(gateway.port)
    const ended = new Promise((resolve) => {
      wire.socket.once('error', () => resolve('reset'))
      wire.socket.once('end', () => resolve('end'))
    })
    wire.write(`GET /it HTTP/${version}\r\nHost: a\r\n\r\n`)
    const end = await ended
    if (version === '1.0') expect(end).toBe('reset')
    else expect(wire.text()).not.toContain('\r\n0\r\n')
  })

  it('is none where blanks follow the transfer coding (RFC 9110 §5.5)', async () => {
    const [gateway] = await startBefore((socket) =>
      socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked  \r\n\r\n2\r\nok\r\n0\r\n\r\n'),
    )
    expect((await call(gateway, '/it')).body).toBe('ok')
  })

  it.each([
    'gzip, chunked',
    'chunked, gzip',
    'deflate',
  ])('under the transfer coding %s, which was not requested, is 502', async (coding) => {
    const [gateway] = await startBefore((socket) =>
      socket.end(`HTTP/1.1 200 OK\r\nTransfer-Encoding: ${coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n`),
    )
    expect((await call(gateway, '/it')).body).toMatchObject({ status: 502, code: 'upstream_invalid' })
  })

  it('by interim answers without end is 504', async () => {
    const [gateway] = await startBefore(
      (socket) => {
        const timer = setInterval(() => socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'), 20)
        socket.on('close', () => clearInterval(timer))
      },
      { headersMs: 200 },
    )
    expect((await call(gateway, '/it')).status).toBe(504)
  })
})

describe('an upstream that does not speak HTTP', () => {
  it.each([
    ['no status line', 'SSH-2.0-OpenSSH_9\r\n\r\n'],
    ['a header without a colon', 'HTTP/1.1 200 OK\r\nnonsense\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
    ['a length beside chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'],
    ['a folded header', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok'],
    ['a status that is none', 'HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['a switch of protocols that nobody asked for', 'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'],
    ['a length that is none', 'HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok'],
    ['headers beyond all measure', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}\r\n\r\n`],
  ])('%s is 502 upstream_invalid', async (_name, bytes) => {
    const [gateway] = await startBefore((socket) => socket.end(bytes))
    expect((await call(gateway, '/it')).body).toMatchObject({ status: 502, code: 'upstream_invalid' })
  })

  it('a connection that is closed without a word is 502 upstream_unreachable', async () => {
    const [gateway, upstream] = await startBefore((socket) => socket.destroy())
    expect((await call(gateway, '/it', { body: {} })).body).toMatchObject({ status: 502, code: 'upstream_unreachable' })
    expect(upstream.connections()).toBe(1)
  })
})

describe('a kept-alive connection that the upstream closes while a request is on its way', () => {
  /** Answers the first request, and closes the connection on the second. */
  const closing = (socket: Socket, _request: string, nth: number) => (nth === 1 ? socket.destroy() : socket.write(OK))

  it.each(['GET', 'HEAD', 'OPTIONS'])('%s is sent once more', async (method) => {
    const [gateway, upstream] = await startBefore(closing)
    expect((await call(gateway, '/it')).status).toBe(200)
    expect((await call(gateway, '/it', { method })).status).toBe(200)
    expect(upstream.connections()).toBe(2)
    expect(await metric(gateway, 'portcullis_upstream_retries_total', { upstream: 'it:0' })).toBe(1)
  })

  it.each(['PUT', 'DELETE'])('%s is sent once more where retry.methods has it, with its whole body', async (method) => {
    const upstream = await keep(
      startRawUpstream((socket, request, nth) => {
        if (nth === 1) socket.destroy()
        else if (nth === 0 || request.endsWith('{"a":1}')) socket.write(OK)
      }),
    )
    const gateway = await keep(
      startGateway({
        routes: [{ name: 'it', match: { path: '/it' }, upstream: [upstream.url], access: 'public', retry: { methods: [method] } }],
      }),
    )
    expect((await call(gateway, '/it')).status).toBe(200)
    expect((await call(gateway, '/it', { method, body: { a: 1 } })).status).toBe(200)
    expect(upstream.connections()).toBe(2)
    expect(upstream.received().split('{"a":1}')).toHaveLength(3)
  })

  it('a body of more than 64 KiB is sent once only, even where retry.methods has the method', async () => {
    const upstream = await keep(startRawUpstream((socket, _request, nth) => (nth === 0 ? socket.write(OK) : socket.destroy())))
    const gateway = await keep(
      startGateway({
        routes: [{ name: 'it', match: { path: '/it' }, upstream: [upstream.url], access: 'public', retry: { methods: ['PUT'] } }],
      }),
    )
    expect((await call(gateway, '/it')).status).toBe(200)
    expect((await call(gateway, '/it', { method: 'PUT', body: 'x'.repeat(70_000) })).status).toBe(502)
    expect(upstream.received().match(/^PUT /gm)).toHaveLength(1)
  })

  it('a POST of which nothing was written is sent again, on a fresh connection', async () => {
    // the connection is reset while the request waits for the client's body: no byte of it has left
    const sockets: Socket[] = []
    const [gateway, upstream] = await startBefore((socket) => {
      sockets.push(socket)
      socket.write(OK)
    })
    expect((await call(gateway, '/it')).status).toBe(200)
    const wire = await connect(gateway.port)
    wire.write('POST /it HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n')
    await until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 1, 'the request in flight')
    sockets[0]!.resetAndDestroy()
    await until(async () => (await metric(gateway, 'portcullis_upstream_retries_total', { upstream: 'it:0' })) === 1, 'another try')
    wire.write('body')
    expect(statusOf(await wire.receives('\r\n\r\n'))).toBe(200)
    expect(upstream.received().match(/^POST /gm)).toHaveLength(1)
    expect(upstream.received()).toContain('body')
    wire.destroy()
  })

  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])('%s that was written is not: it may have been done', async (method) => {
    const [gateway, upstream] = await startBefore(closing)
    expect((await call(gateway, '/it')).status).toBe(200)
    expect((await call(gateway, '/it', { method, body: {} })).body).toMatchObject({ status: 502, code: 'upstream_unreachable' })
    expect(upstream.received().match(/^(GET|POST|PUT|PATCH|DELETE) /gm)).toEqual(['GET ', `${method} `])
  })

  it('a GET is sent once more where no second place is left', async () => {
    const upstream = await keep(startRawUpstream(closing))
    const connections = { max: 1, queue: 0 }
    const gateway = await keep(
      startGateway({
        routes: [{ name: 'it', match: { path: '/it' }, upstream: [upstream.url], access: 'public', connections }],
      }),
    )
    expect([(await call(gateway, '/it')).status, (await call(gateway, '/it')).status]).toEqual([200, 200])
  })

  it('a GET is sent no third time', async () => {
    const [gateway, upstream] = await startBefore((socket, _request, nth) => (nth === 0 ? socket.write(OK) : socket.destroy()))
    expect((await call(gateway, '/it')).status).toBe(200)
    expect((await call(gateway, '/it')).status).toBe(502)
    expect(upstream.received().match(/^GET /gm)).toHaveLength(3)
  })

  it('a GET whose fresh connection broke is not sent again: the request may be what breaks the upstream', async () => {
    const [gateway, upstream] = await startBefore((socket) => socket.destroy())
    expect((await call(gateway, '/it')).status).toBe(502)
    expect(upstream.received().match(/^GET /gm)).toHaveLength(1)
  })
})

it('one upstream that is down does not touch another', async () => {
  const upstream = await keep(startRawUpstream((socket) => socket.write(OK)))
  const route = (name: string, url: string) => ({ name, match: { path: `/${name}` }, upstream: [url], access: 'public' })
  const gateway = await keep(startGateway({ routes: [route('up', upstream.url), route('down', `http://${refusing}`)] }))
  const [down, up] = await Promise.all([call(gateway, '/down'), call(gateway, '/up')])
  expect([down.status, up.status]).toEqual([502, 200])
  expect(statusOf(await raw(gateway.port, 'GET /up HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'))).toBe(200)
})

describe('an answer before the whole body was sent', () => {
  const LARGE = 'x'.repeat(4_000_000)

  it.each([
    ['413', 'HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno'],
    ['401', 'HTTP/1.1 401 No\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n'],
    ['303', 'HTTP/1.1 303 See\r\nLocation: /login\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'],
  ])('%s reaches the client, although the upstream closes its connection', async (status, answer) => {
    const upstream = await keep(
      startRawUpstream((socket) => {
        socket.pause()
        socket.end(answer)
        socket.once('finish', () => socket.destroy())
      }),
    )
    const route = {
      name: 'it',
      match: { path: '/it' },
      upstream: [upstream.url],
      access: 'public',
      body: { maxBytes: 1e8 },
      breaker: { failures: 1 },
    }
    const gateway = await keep(startGateway({ routes: [route] }))
    for (let i = 0; i < 20; i++) {
      const text = await raw(
        gateway.port,
        `POST /it HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${LARGE.length}\r\n\r\n${LARGE}`,
      )
      expect(String(statusOf(text))).toBe(status)
    }
    expect(await metric(gateway, 'portcullis_upstream_breaker_state', { upstream: 'it:0' })).toBe(0)
  })
})

describe('a 100 Continue that was not asked for', () => {
  it.each([
    ['before the answer', ['HTTP/1.1 100 Continue\r\n\r\n', OK]],
    ['in one piece with it', [`HTTP/1.1 100 Continue\r\nX: a\r\n\r\n${OK}`]],
    ['in pieces', ['HTTP/1', '.1 100 Con', 'tinue\r\n', '\r', '\n', OK.slice(0, 5), OK.slice(5)]],
    ['twice', [`HTTP/1.1 100 \r\n\r\nHTTP/1.1 100 Continue\r\n\r\n${OK}`]],
  ])('%s is ignored', async (_, pieces) => {
    const [gateway, upstream] = await startBefore((socket) => {
      socket.setNoDelay(true)
      const next = (i: number) => {
        if (i < pieces.length) socket.write(pieces[i]!, () => setImmediate(next, i + 1))
      }
      next(0)
    })
    for (let i = 0; i < 3; i++) expect(await call(gateway, '/it', { body: {} })).toMatchObject({ status: 200, body: 'ok' })
    expect(upstream.connections()).toBe(1)
  })

  it('text that looks like it in a body is left alone', async () => {
    const body = 'HTTP/1.1 100 Continue\r\n\r\n'
    const [gateway] = await startBefore((socket) => {
      socket.setNoDelay(true)
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`, () => setImmediate(() => socket.write(body)))
    })
    expect((await call(gateway, '/it')).body).toBe(body)
  })
})
