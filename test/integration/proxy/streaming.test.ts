import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { metric } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { connect } from '../../support/wire.ts'

const MIB = 1024 * 1024
const BIG = 400 * MIB
/** What the process may grow by meanwhile: garbage that is not collected yet, of gateway, upstream and client together; far below BIG. */
const MOST = 250
const piece = Buffer.alloc(64 * 1024, 'x')
const pieces = (bytes: number) =>
  Readable.from(
    (function* () {
      for (let sent = 0; sent < bytes; sent += piece.length) yield piece
    })(),
    { objectMode: false },
  )

/** What the upstream is doing, by path. */
const at = new Map<string, { req: IncomingMessage; res: ServerResponse; isAborted: boolean; bytesBefore: number }>()
const upstream = useUpstream(async (req, res) => {
  const path = req.url!
  const here = { req, res, isAborted: false, bytesBefore: req.socket.bytesWritten }
  at.set(path, here)
  res.on('close', () => {
    here.isAborted = !res.writableFinished
  })
  if (path === '/down') await pipeline(pieces(BIG), res.writeHead(200, { 'content-length': BIG }))
  else if (path === '/up') {
    let bytes = 0
    for await (const chunk of req) bytes += chunk.length
    res.end(String(bytes))
  } else if (path.startsWith('/endless')) await pipeline(pieces(Number.MAX_SAFE_INTEGER), res)
  else if (path.startsWith('/events')) res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
  else if (path.startsWith('/length')) res.writeHead(200, { 'content-length': 100 }).write('x'.repeat(10))
  else if (path.startsWith('/chunked')) res.writeHead(200).write('x'.repeat(10))
  // /silent and /slurp: the request is kept, and nothing is said
  if (path.startsWith('/slurp')) req.resume()
  return true
})
const gateway = useGateway(() => ({
  routes: [
    // a transfer that stalls is to say so before the test's own time is over
    {
      name: 'all',
      match: { path: '/' },
      upstream: [upstream.url],
      access: 'public',
      body: { maxBytes: BIG },
      timeouts: { idleMs: 10_000 },
    },
  ],
}))

afterEach(() => until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 0, 'no request in flight'))

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`

describe('server-sent events', () => {
  it('each arrives before the answer ends, and the headers before the first', async () => {
    const client = await connect(gateway.port)
    client.write(get('/events'))
    await client.receives(/content-type: text\/event-stream\r\n[\s\S]*\r\n\r\n/)
    const { res } = at.get('/events')!
    for (const event of ['data: one\n\n', 'data: two\n\n']) {
      res.write(event)
      await client.receives(event)
      expect(res.writableEnded).toBe(false)
    }
    res.end()
    await client.receives('\r\n0\r\n\r\n')
    client.destroy()
  })
})

describe('400 MiB', () => {
  /** The most that the process grew by while this ran, in MiB. */
  async function growth(work: () => Promise<void>): Promise<number> {
    const start = process.memoryUsage().rss
    let peak = start
    const timer = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss)
    }, 5)
    await work().finally(() => clearInterval(timer))
    return (peak - start) / MIB
  }

  it('go down without being held here', async () => {
    let bytes = 0
    const grown = await growth(async () => {
      const request = http.get(`${gateway.url}/down`)
      const [answer] = (await once(request, 'response')) as [IncomingMessage]
      await pipeline(
        answer,
        new Writable({
          write(chunk, _encoding, done) {
            bytes += chunk.length
            done()
          },
        }),
      )
    })
    expect(bytes).toBe(BIG)
    expect(grown).toBeLessThan(MOST)
  })

  it.each([
    ['of a declared length', { 'content-length': BIG }],
    ['chunked', {}],
  ])('go up without being held here, %s', async (_name, headers) => {
    let text = ''
    const grown = await growth(async () => {
      const request = http.request(`${gateway.url}/up`, { method: 'POST', headers })
      const [[answer]] = (await Promise.all([once(request, 'response'), pipeline(pieces(BIG), request)])) as unknown as [[IncomingMessage]]
      for await (const chunk of answer) text += chunk
    })
    expect(text).toBe(String(BIG))
    expect(grown).toBeLessThan(MOST)
  })
})

describe('a side that does not read', () => {
  /** What is on its way when it stalls, or too much of it: in buffers of the kernel, and little here. */
  async function stalled(bytes: () => number): Promise<number> {
    let [last, same] = [-1, 0]
    await until(() => {
      same = bytes() === last ? same + 1 : 0
      last = bytes()
      return (last > 0 && same > 20) || last > BIG
    }, 'the stream to stall')
    return last / MIB
  }

  it('a client: the upstream is held up', async () => {
    const client = await connect(gateway.port)
    client.socket.pause()
    client.write(get('/endless/unread'))
    const here = await until(() => at.get('/endless/unread'), 'the request at the upstream')
    expect(await stalled(() => here.req.socket.bytesWritten - here.bytesBefore)).toBeLessThan(64)
    client.destroy()
    await until(() => here.isAborted, 'the end of the request at the upstream')
  })

  it.each([
    ['of a declared length', { 'content-length': BIG }],
    ['chunked', {}],
  ])('an upstream: the client is held up, with a body %s', async (name, headers) => {
    const path = `/silent/${name.length}`
    const request = http.request(gateway.url + path, { method: 'POST', headers, agent: false })
    request.on('error', () => {})
    const sending = pipeline(pieces(BIG), request).catch(() => {})
    await until(() => at.has(path), 'the request at the upstream')
    expect(await stalled(() => request.socket?.bytesWritten ?? 0)).toBeLessThan(64)
    // a socket that is not read does not tell that its peer left: the upstream ends it
    at.get(path)!.res.destroy()
    request.destroy()
    await sending
  })
})

describe('a client that leaves', () => {
  it.each([
    ['before the answer began', '/silent', undefined],
    ['in the middle of the answer', '/endless', 'xxxx'],
    ['while events are awaited', '/events/left', 'event-stream'],
  ])('%s ends the request of the upstream', async (_name, path, part) => {
    const client = await connect(gateway.port)
    client.write(get(path))
    await until(() => at.has(path), 'the request at the upstream')
    if (part) await client.receives(part)
    // a FIN alone may come from a client that waits for its answer: see half-closed-clients.test.ts
    if (part) client.destroy()
    else client.socket.resetAndDestroy()
    await until(() => at.get(path)!.isAborted, 'the end of the request at the upstream')
  })

  it.each([
    ['of a declared length', 'Content-Length: 100000', 'x'.repeat(1000)],
    ['in chunks', 'Transfer-Encoding: chunked', `3e8\r\n${'x'.repeat(1000)}\r\n`],
  ])('in the middle of a body %s ends the request of the upstream, which never sees a whole one', async (name, fields, body) => {
    const path = `/slurp/${name.length}`
    const client = await connect(gateway.port)
    client.write(`POST ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`)
    await until(() => at.has(path), 'the request at the upstream')
    client.destroy()
    await until(() => at.get(path)!.isAborted, 'the end of the request at the upstream')
    expect(at.get(path)!.req.complete).toBe(false)
  })
})

describe('an upstream that breaks off in the middle of its answer', () => {
  it.each(['/length', '/chunked'])('%s: the client sees a broken answer, never a short one that looks whole', async (path) => {
    const client = await connect(gateway.port)
    client.write(get(path))
    await client.receives('x'.repeat(10))
    at.get(path)!.res.destroy()
    const text = await client.closes()
    expect(text).toMatch(/^HTTP\/1\.1 200/)
    expect(text).not.toContain('\r\n0\r\n')
    if (path === '/length') expect(text).toContain('content-length: 100\r\n')
    await until(() => gateway.log().some((l) => l.outcome === 'broken_off' && l.status === 200), 'its log line')
  })

  it.each(['/length/fetch', '/chunked/fetch'])('%s: fetch fails instead of giving half an answer', async (path) => {
    const answer = await fetch(gateway.url + path)
    at.get(path)!.res.destroy()
    await expect(answer.text()).rejects.toThrow()
  })
})
