/** The content of a method that gives it no meaning is never a request of its own, also at an upstream that leaves it unread. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { raw, statusOf } from '../support/client.ts'
import { useGateway, useKeep, useUpstream } from '../support/fixtures.ts'
import { startGateway } from '../support/gateway.ts'
import { type Running, start, until } from '../support/processes.ts'
import { startRawUpstream } from '../support/raw-upstream.ts'

const INNER = 'GET /admin HTTP/1.1\r\nHost: a\r\nX-Auth-User: root\r\nX-Auth-Roles: admin\r\n\r\n'
const METHODS = ['GET', 'HEAD', 'DELETE', 'OPTIONS']
const FRAMINGS: [string, (content: string) => string][] = [
  ['a declared length', (content) => `Content-Length: ${content.length}\r\n\r\n${content}`],
  ['chunks', (content) => `Transfer-Encoding: chunked\r\n\r\n${content.length.toString(16)}\r\n${content}\r\n0\r\n\r\n`],
]
const CASES = METHODS.flatMap((method) => FRAMINGS.map(([framing, frame]) => [method, framing, frame] as const))
const request = (method: string, frame: (content: string) => string, path = '/x') =>
  `${method} ${path} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n${frame(INNER)}`

/** Python's http.server reads no content by itself, and keeps connections. It prints its port, then each request that it handles. */
const PYTHON = `
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        print(self.command, self.path, self.headers.get('x-auth-user'), flush=True)
        self.send_response(200)
        self.send_header('content-length', '2')
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(b'ok')
    do_HEAD = do_DELETE = do_OPTIONS = do_PURGE = do_GET
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()`

describe("Python's http.server", () => {
  let python: Running
  beforeAll(async () => {
    python = start('python3', ['-u', '-c', PYTHON])
    await until(() => python.output().includes('\n'), 'the port of http.server')
  })
  afterAll(() => python.stop())
  const handled = () => python.output().trim().split('\n').slice(1)
  const gateway = useGateway(async () => {
    const port = await until(() => /^(\d+)\n/.exec(python.output())?.[1], 'the port of http.server')
    return { routes: [{ name: 'public', match: { path: '/' }, upstream: [`http://127.0.0.1:${port}`], access: 'public' }] }
  })

  it.each([
    ...CASES,
    ...FRAMINGS.map(([framing, frame]) => ['PURGE', framing, frame] as const),
  ])('%s with content of %s is one request', async (method, framing, frame) => {
    const before = handled().length
    const path = `/${framing.replaceAll(' ', '-')}`
    expect(statusOf(await raw(gateway.port, request(method, frame, path)))).toBe(200)
    // a later request shows that the server has handled all earlier requests
    await raw(gateway.port, 'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    await until(() => handled().at(-1)?.startsWith('GET /last'), 'the last request')
    expect(handled().slice(before)).toEqual([`${method} ${path} None`, 'GET /last None'])
  })

  it('answers before it has read a long content, and the answer arrives', async () => {
    const content = INNER.repeat(2000)
    const before = handled().length
    const long = `GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${content.length}\r\n\r\n${content}`
    expect(statusOf(await raw(gateway.port, long))).toBe(200)
    await raw(gateway.port, 'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    await until(() => handled().at(-1)?.startsWith('GET /last'), 'the last request')
    expect(handled().slice(before)).toEqual(['GET /long None', 'GET /last None'])
  })
})

describe('the connection to the upstream', () => {
  const upstream = useUpstream()
  const gateway = useGateway(() => ({
    routes: [{ name: 'public', match: { path: '/' }, upstream: [upstream.url], access: 'public' }],
  }))
  const connectionsDuring = async (run: () => Promise<unknown>): Promise<number> => {
    let opened = 0
    const count = () => void opened++
    upstream.server.on('connection', count)
    await run()
    upstream.server.off('connection', count)
    return opened
  }
  const plain = () => raw(gateway.port, 'GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')

  it.each(CASES)('closes after a %s with content of %s', async (method, _framing, frame) => {
    await plain()
    upstream.take()
    expect(statusOf(await raw(gateway.port, request(method, frame)))).toBe(200)
    expect(upstream.take()).toMatchObject([{ method, body: INNER, headers: { connection: 'close' } }])
    // the request took the kept connection, and none is left
    expect(await connectionsDuring(plain)).toBe(1)
  })

  it('is kept after a GET without content, and after a POST with content', async () => {
    await plain()
    upstream.take()
    const opened = await connectionsDuring(async () => {
      await plain()
      await raw(gateway.port, request('POST', FRAMINGS[0]![1]))
      await raw(gateway.port, 'GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    })
    expect(opened).toBe(0)
    expect(upstream.take().map(({ headers }) => headers.connection)).toEqual(['keep-alive', 'keep-alive', 'keep-alive'])
  })
})

describe('an upstream that ignores Connection: close', () => {
  const keep = useKeep()

  it('answers the content, too, and nobody gets that answer', async () => {
    const answer = (text: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`
    const upstream = await keep(
      startRawUpstream(
        (socket, request) => void socket.write(request.includes('/admin') ? answer('outer') + answer('inner') : answer('plain')),
      ),
    )
    const gateway = await keep(
      startGateway({ routes: [{ name: 'public', match: { path: '/' }, upstream: [upstream.url], access: 'public' }] }),
    )
    const answers = await raw(gateway.port, request('GET', FRAMINGS[0]![1]))
    expect(answers).toContain('outer')
    expect(answers).not.toContain('inner')
    for (const _ of [1, 2, 3]) {
      const next = await raw(gateway.port, 'GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
      expect(next.endsWith('plain')).toBe(true)
    }
  })

  it('a lost connection sends the content again only on a connection of its own', async () => {
    const upstream = await keep(
      startRawUpstream((socket, text, before) => {
        // the kept connection is closed without an answer
        if (before === 1) socket.destroy()
        else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`)
        if (text.includes('/admin')) expect(text).toMatch(/^GET \/x HTTP\/1\.1\r\n(.*\r\n)*connection: close\r\n/i)
      }),
    )
    const gateway = await keep(
      startGateway({ routes: [{ name: 'public', match: { path: '/' }, upstream: [upstream.url], access: 'public' }] }),
    )
    const plain = () => raw(gateway.port, 'GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    await plain()
    expect(statusOf(await raw(gateway.port, request('GET', FRAMINGS[0]![1])))).toBe(200)
    expect(upstream.connections()).toBe(2)
    await plain()
    expect(upstream.connections()).toBe(3)
    expect(upstream.received().match(/connection: close/gi)).toHaveLength(2)
  })
})
