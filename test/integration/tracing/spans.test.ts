/** What a recorded request leaves in a collector: its spans, in their order, and nothing that is personal. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { call, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { freePort, until } from '../../support/processes.ts'
import { type RawUpstream, startRawUpstream } from '../../support/raw-upstream.ts'
import { type ReceivedSpan, startTraceReceiver, type TraceReceiver } from '../../support/trace-receiver.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let receiver: TraceReceiver
let upstream: Upstream
let gateway: Gateway
let user: TestUser
let dying: RawUpstream
const dyingSaw: string[] = []

const socketServer = new WebSocketServer({ noServer: true })
const sockets = createServer().on('upgrade', (req, socket, head) => {
  if (req.url === '/chat/full') return void socket.end('HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n')
  handshakes.push(String(req.headers.traceparent))
  socketServer.handleUpgrade(req, socket as Socket, head, () => {})
})
const handshakes: string[] = []

beforeAll(async () => {
  receiver = await startTraceReceiver()
  upstream = await startUpstream((req, res) => {
    const status = /^\/public\/status\/(\d+)$/.exec(req.url!)?.[1]
    if (status) res.writeHead(Number(status)).end()
    return status !== undefined
  })
  sockets.listen(0, '127.0.0.1')
  await once(sockets, 'listening')
  // the second request on the kept connection finds it closed
  dying = await startRawUpstream((socket, request, before) => {
    dyingSaw.push(/traceparent: (.*)/i.exec(request)![1]!.trim())
    if (before === 1) socket.destroy()
    else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  })
  const to = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], access: 'public', ...part })
  gateway = await startGateway({
    stores: 'postgres+redis',
    config: {
      server: { trustedProxies: ['127.0.0.1/32'] },
      limits: { exempt: [], policies: { each: { key: 'principal', limit: 1000, windowSeconds: 60 } } },
    },
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_TRACES_SAMPLER: 'always_on',
      OTEL_BSP_SCHEDULE_DELAY: '20',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test%20bed',
    },
    routes: [
      to('public', {}),
      to('private', { access: { roles: ['reader'] } }),
      to('limited', { access: 'authenticated', limits: ['each'] }),
      to('away', { upstream: [`http://127.0.0.1:${await freePort()}`] }),
      to('dying', { upstream: [dying.url] }),
      to('chat', { upstream: [`http://127.0.0.1:${(sockets.address() as AddressInfo).port}`], websocket: true }),
    ],
  })
  user = await newUserWithRoles(gateway, ['reader'])
})
afterAll(async () => {
  await gateway.close()
  for (const socket of socketServer.clients) socket.terminate()
  sockets.close()
  sockets.closeAllConnections()
  await Promise.all([upstream.close(), dying.close(), receiver.close()])
})

let count = 0
/** A request within a trace of its own. @returns its spans, once they have arrived */
async function traced(
  path: string,
  options: Parameters<typeof call>[2] = {},
): Promise<{ spans: ReceivedSpan[]; traceparent: string; status: number; id: string }> {
  const traceId = `abcdef${String(++count).padStart(26, '0')}`
  const traceparent = `00-${traceId}-00f067aa0ba902b7-01`
  const { status, headers } = await call(gateway, path, {
    ...options,
    headers: { ...options.headers, traceparent, tracestate: 'vendor=1' },
  })
  await until(() => receiver.trace(traceId).length > 0, `the trace of ${path}`)
  return { spans: receiver.trace(traceId), traceparent, status, id: headers.get('x-request-id')! }
}

/** The spans as a tree in text: one line each, indented below their parents. */
function treeOf(spans: ReceivedSpan[], parentSpanId = '00f067aa0ba902b7', depth = 0): string[] {
  return spans
    .filter((span) => span.parentSpanId === parentSpanId)
    .flatMap((span) => [`${'  '.repeat(depth)}${span.kind} ${span.name}`, ...treeOf(spans, span.spanId, depth + 1)])
}
const named = (spans: ReceivedSpan[], name: string) => spans.filter((span) => span.name === name)

describe('a proxied request', () => {
  it('has a span for each stage, in the order of the pipeline, and one for the upstream', async () => {
    await traced('/private/a', { token: user.token })
    const { spans, id } = await traced('/private/a', { token: user.token })
    expect(treeOf(spans)).toEqual([
      'server GET private',
      ...['canonical', 'serverOptions', 'httpsOnly', 'preflight', 'rootPage', 'route', 'network', 'country', 'serviceWorker'].map(inside),
      ...['upgrade', 'limitClient', 'passPreflight', 'authenticate', 'authorize', 'limitPrincipal', 'forward'].map(inside),
      '    client GET',
    ])
    const [server] = spans
    expect(server).toMatchObject({ isError: false, state: 'vendor=1' })
    expect(server!.attributes).toEqual({
      'http.request.method': 'GET',
      'http.route': 'private',
      'http.response.status_code': 200,
      'url.scheme': 'http',
      'server.address': 'gateway.test',
      'network.protocol.version': '1.1',
      'portcullis.request_id': id,
    })
    expect(server!.resource).toMatchObject({
      'service.name': 'portcullis',
      'deployment.environment.name': 'test bed',
      'process.pid': process.pid,
    })
    for (const span of spans) {
      expect(span.end >= span.start).toBe(true)
      expect(span.start >= server!.start && span.end <= server!.end).toBe(true)
    }
  })

  it('names the span of the upstream in the traceparent that the upstream gets', async () => {
    upstream.take()
    const { spans, traceparent } = await traced('/public/a')
    const [sending] = named(spans, 'GET')
    expect(sending!.attributes).toEqual({
      'http.request.method': 'GET',
      'url.scheme': 'http',
      'server.address': '127.0.0.1',
      'server.port': upstream.port,
      'portcullis.upstream': 'public:0',
      'http.response.status_code': 200,
    })
    const [seen] = upstream.take()
    expect(seen!.headers).toMatchObject({ traceparent: `${traceparent.slice(0, 36)}${sending!.spanId}-01`, tracestate: 'vendor=1' })
  })

  it('is found by the trace id and the request id of its log line', async () => {
    const { spans, id } = await traced('/public/a')
    await until(() => gateway.log().some(({ request_id }) => request_id === id), 'the log line')
    expect(gateway.log()).toContainEqual(expect.objectContaining({ request_id: id, trace_id: spans[0]!.traceId }))
  })

  it('says of a refusal which stage refused and why, and that nothing has failed', async () => {
    const { spans, status } = await traced('/private/a')
    expect(status).toBe(401)
    const stages = spans.filter(({ kind }) => kind === 'internal')
    expect(stages.at(-1)).toMatchObject({ name: 'authorize', isError: false, attributes: { 'error.type': 'token_missing' } })
    expect(spans[0]).toMatchObject({
      name: 'GET private',
      isError: false,
      attributes: { 'error.type': 'token_missing', 'http.response.status_code': 401 },
    })
    expect(named(spans, 'forward')).toEqual([])
  })

  it('has the label OTHER and no name of a route when there is no route', async () => {
    const { spans } = await traced('/nowhere/at/all', { method: 'PROPFIND' })
    expect(spans[0]).toMatchObject({ name: 'OTHER', attributes: { 'http.request.method': '_OTHER', 'error.type': 'route_not_found' } })
    expect(spans[0]!.attributes).not.toHaveProperty('http.route')
  })

  it('fails when the upstream cannot be reached', async () => {
    const { spans, status } = await traced('/away/a')
    expect(status).toBe(502)
    expect(spans[0]).toMatchObject({ isError: true, message: 'upstream_unreachable', attributes: { 'error.type': 'upstream_unreachable' } })
    expect(named(spans, 'forward')[0]).toMatchObject({ isError: true, message: 'upstream_unreachable' })
    expect(named(spans, 'GET')[0]!.isError).toBe(true)
  })

  it.each([
    [404, false, true],
    [500, true, true],
  ])('with the upstream’s own %i: failed %s, at the upstream %s', async (code, isFailed, isFailedThere) => {
    const { spans } = await traced(`/public/status/${code}`)
    expect(spans[0]).toMatchObject({ isError: isFailed })
    expect(named(spans, 'GET')[0]).toMatchObject({ isError: isFailedThere, attributes: { 'error.type': String(code) } })
  })

  it('that is sent again has a second span for the upstream, whose id the upstream gets', async () => {
    await traced('/dying/a')
    const { spans, status } = await traced('/dying/a')
    expect(status).toBe(200)
    const [first, second, ...more] = named(spans, 'GET')
    expect(more).toEqual([])
    expect(first).toMatchObject({ isError: true, parentSpanId: named(spans, 'forward')[0]!.spanId })
    expect(second).toMatchObject({ isError: false, attributes: { 'http.request.resend_count': 1, 'http.response.status_code': 200 } })
    expect(dyingSaw.slice(1).map((value) => value.split('-')[2])).toEqual([first!.spanId, second!.spanId])
  })
})

const inside = (name: string) => `  internal ${name}`

describe('a WebSocket', () => {
  it('has the spans of its handshake, which end before its messages', async () => {
    const traceId = 'fedcba00000000000000000000000001'
    const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/chat`, { headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` } })
    await once(socket, 'open')
    await until(() => receiver.trace(traceId).length > 0, 'the trace, while the socket is open')
    const spans = receiver.trace(traceId)
    expect(spans[0]).toMatchObject({ name: 'GET chat', isError: false, attributes: { 'http.response.status_code': 101 } })
    const [sending] = named(spans, 'GET')
    expect(sending).toMatchObject({ kind: 'client', attributes: { 'http.response.status_code': 101 } })
    expect(handshakes.at(-1)).toBe(`00-${traceId}-${sending!.spanId}-01`)
    socket.terminate()
    await until(() => gateway.log().some(({ trace_id }) => trace_id === traceId), 'the log line')
    expect(receiver.trace(traceId)).toHaveLength(spans.length)
  })

  it('that is refused by the upstream has its status', async () => {
    const traceId = 'fedcba00000000000000000000000002'
    const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/chat/full`, {
      headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` },
    })
    await once(socket, 'error')
    await until(() => receiver.trace(traceId).length > 0, 'the trace')
    expect(named(receiver.trace(traceId), 'GET')[0]!.attributes).toMatchObject({ 'http.response.status_code': 409, 'error.type': '409' })
  })
})

describe('an own endpoint', () => {
  it('has the stages of the entrance, and below it the database and the password hash', async () => {
    const { spans, status } = await traced('/auth/login', { body: { login: user.username, password: user.password } })
    expect(status).toBe(200)
    expect(spans[0]).toMatchObject({ name: 'POST auth.login', attributes: { 'http.route': 'auth.login' } })
    const tree = treeOf(spans)
    expect(tree.slice(0, 6)).toEqual([
      'server POST auth.login',
      ...['canonical', 'serverOptions', 'httpsOnly', 'preflight', 'endpoint'].map(inside),
    ])
    expect(tree).toContain('    internal password hash')
    expect(tree).toContain('    client select users')
    expect(tree).toContain('    client insert sessions')
    const [lookup] = named(spans, 'select users')
    expect(lookup!.attributes).toEqual({ 'db.system.name': 'postgresql', 'db.operation.name': 'select users' })
  })

  it('of a wrong password is no failure, and names the code', async () => {
    const { spans } = await traced('/auth/login', { body: { login: user.username, password: 'wrong zebra' } })
    expect(spans[0]).toMatchObject({
      isError: false,
      attributes: { 'error.type': 'invalid_credentials', 'http.response.status_code': 401 },
    })
    expect(named(spans, 'endpoint')[0]!.attributes).toEqual({ 'error.type': 'invalid_credentials' })
  })
})

describe('the stores', () => {
  it('are named where a stage waits for them', async () => {
    const { spans } = await traced('/limited/a', { token: user.token })
    const [redis] = named(spans, 'redis')
    expect(redis).toMatchObject({ kind: 'client', attributes: { 'db.system.name': 'redis' } })
    expect(redis!.parentSpanId).toBe(named(spans, 'limitPrincipal')[0]!.spanId)
  })
})

describe('no span holds', () => {
  it('a path, a query, a user, a token, an address of a client or a header', async () => {
    const before = receiver.spans().length
    const secrets = [
      'secret-path',
      'secret-query',
      'secret-agent',
      '198.51.100.77',
      user.id,
      user.username,
      user.email,
      user.token,
      user.password,
    ]
    await traced(`/private/secret-path?q=secret-query`, {
      token: user.token,
      headers: { 'user-agent': 'secret-agent', 'x-forwarded-for': '198.51.100.77' },
    })
    await traced('/auth/me?q=secret-query', { token: user.token })
    await traced('/secret-path')
    await traced('/auth/login?q=secret-query', { body: { login: user.email, password: user.password } })
    const text = JSON.stringify(receiver.spans().slice(before), (_, value) => (typeof value === 'bigint' ? String(value) : value))
    expect(secrets.filter((secret) => text.includes(secret))).toEqual([])
  })
})

it('spans are counted', async () => {
  await traced('/public/a')
  await until(async () => (await metric(gateway, 'portcullis_spans_exported_total')) >= receiver.spans().length, 'the count')
  expect(await metric(gateway, 'portcullis_spans_dropped_total')).toBe(0)
})
