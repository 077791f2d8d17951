import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { brotliDecompressSync, constants, createGunzip, gunzipSync, zstdDecompressSync } from 'node:zlib'
import { beforeEach, describe, expect, it } from 'vitest'
import { newUser } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { metric } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { connect } from '../../support/wire.ts'

const PAGE = JSON.stringify(Array.from({ length: 500 }, (_, i) => ({ id: i, name: `user ${i % 7}` })))
const FIELDS = { 'content-type': 'application/json', 'content-length': PAGE.length, etag: '"v1"', 'accept-ranges': 'bytes' }
/** Text that does not compress: two of its letters hold 12 bits. */
const noise = (): Buffer => Buffer.from(Array.from({ length: 64 * 1024 }, () => 33 + Math.floor(Math.random() * 94)))

/** The last answer of the upstream that goes on until the test ends it, and how often the upstream was asked for such an answer. */
let open: ServerResponse
let asked = 0
const upstream = useUpstream((req, res) => {
  const path = req.url!.split('?')[0]!
  if (path.endsWith('/page')) {
    const tags = String(req.headers['if-none-match'] ?? '').split(/, */)
    if (req.method === 'PUT') res.writeHead(req.headers['if-match'] === '"v1"' ? 204 : 412).end()
    else if (req.headers.range !== undefined)
      res.writeHead(206, { ...FIELDS, 'content-length': 2000, 'content-range': `bytes 0-1999/${PAGE.length}` }).end(PAGE.slice(0, 2000))
    else if (tags.includes('"v1"')) res.writeHead(304, { etag: '"v1"' }).end()
    else res.writeHead(200, FIELDS).end(req.method === 'HEAD' ? undefined : PAGE)
  } else if (path.endsWith('/own-weak')) {
    if (req.method === 'PUT') res.writeHead(req.headers['if-match'] === 'W/"v1"' ? 204 : 412).end()
    else res.writeHead(200, { ...FIELDS, etag: 'W/"v1"' }).end(PAGE)
  } else if (path.endsWith('/open')) {
    open = res.writeHead(200, { 'content-type': 'text/plain' })
    open.flushHeaders()
    asked++
  } else if (path.endsWith('/short')) {
    open = res.writeHead(200, { 'content-type': 'text/plain', 'content-length': 100_000 })
    open.write('x'.repeat(50_000))
  } else if (path.endsWith('/events')) {
    res.writeHead(200, { 'content-type': 'text/event-stream' }).end('data: 1\n\n'.repeat(1000))
  } else return false
  return true
})
const other = useUpstream((req, res) => {
  if (req.method === 'PUT') res.writeHead(req.headers['if-match'] === 'W/"v1"' ? 204 : 412).end()
  else res.writeHead(200, { ...FIELDS, etag: 'W/"v1"' }).end(PAGE)
  return true
})
const gateway = useGateway(() => {
  const to = (name: string, part: object = {}) => ({
    name,
    match: { path: `/${name}` },
    upstream: [upstream.url],
    access: 'public',
    ...part,
  })
  return {
    routes: [
      to('on', { compress: true }),
      to('read', { compress: true, match: { path: '/page', methods: ['GET'] } }),
      to('write', { match: { path: '/page', methods: ['PUT'] } }),
      to('private', { compress: { withCredentials: true }, access: 'authenticated' }),
      to('both', { compress: true, access: 'authenticated' }),
      to('weak', { compress: true, upstream: [other.url] }),
    ],
  }
})
const off = useGateway(() => ({ routes: [{ name: 'off', match: { path: '/' }, upstream: [upstream.url], access: 'public' }] }))

interface Options {
  method?: string
  headers?: Record<string, string>
  url?: string
}

/** Undecoded: fetch would undo the coding. */
async function ask(path: string, { method = 'GET', headers = { 'accept-encoding': 'gzip' }, url = gateway.url }: Options = {}) {
  const request = http.request(url + path, { method, headers }).end()
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk)
  return { status: answer.statusCode, headers: answer.headers, rawHeaders: answer.rawHeaders, body: Buffer.concat(chunks) }
}
const compressing = () => metric(gateway, 'portcullis_responses_compressing')
const get = (path: string, version = '1.1') => `GET ${path} HTTP/${version}\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n`
/** Sends the request, and waits until the upstream has begun an answer without an end. */
async function begin(path: string) {
  const before = asked
  const client = await connect(gateway.port)
  client.write(get(path))
  await until(() => asked > before, 'the upstream is asked')
  return client
}

beforeEach(() => until(async () => (await compressing()) === 0, 'nothing is being compressed'))

describe('an answer', () => {
  it.each([
    ['gzip', gunzipSync],
    ['br', brotliDecompressSync],
    ['zstd', zstdDecompressSync],
  ] as const)('comes as %s to a client that accepts it', async (coding, decode) => {
    const before = await metric(gateway, 'portcullis_compressed_responses_total', { route: 'on', coding })
    const { status, headers, body } = await ask('/on/page', { headers: { 'accept-encoding': coding } })
    expect(status).toBe(200)
    expect(headers).toMatchObject({
      'content-encoding': coding,
      vary: 'Accept-Encoding',
      etag: 'W/"v1"',
      'content-type': 'application/json',
    })
    expect(headers).not.toHaveProperty('content-length')
    expect(headers).not.toHaveProperty('accept-ranges')
    expect(body.length).toBeLessThan(PAGE.length / 2)
    expect(decode(body).toString()).toBe(PAGE)
    expect(await metric(gateway, 'portcullis_compressed_responses_total', { route: 'on', coding })).toBe(before + 1)
  })

  it('comes as it is to others, and says that there is a choice', async () => {
    const { headers, body } = await ask('/on/page', { headers: {} })
    expect(body.toString()).toBe(PAGE)
    expect(headers).toMatchObject({
      vary: 'Accept-Encoding',
      etag: '"v1"',
      'content-length': String(PAGE.length),
      'accept-ranges': 'bytes',
    })
    expect(headers).not.toHaveProperty('content-encoding')
  })

  it('has for HEAD the fields that it has for GET, and no body', async () => {
    const [byGet, byHead] = [await ask('/on/page'), await ask('/on/page', { method: 'HEAD' })]
    const { date: _date, 'x-request-id': _id, 'transfer-encoding': _coding, ...fields } = byGet.headers
    expect(byHead.headers).toMatchObject(fields)
    expect(byHead.headers).not.toHaveProperty('content-length')
    expect(byHead.body).toHaveLength(0)
  })

  it('of a range passes as it came', async () => {
    const { status, headers, body } = await ask('/on/page', { headers: { 'accept-encoding': 'gzip', range: 'bytes=0-1999' } })
    expect(status).toBe(206)
    expect(headers).toMatchObject({ etag: '"v1"', 'content-length': '2000', vary: 'Accept-Encoding' })
    expect(body.toString()).toBe(PAGE.slice(0, 2000))
  })

  it('of events passes as it came', async () => {
    const { headers, body } = await ask('/on/events')
    expect(headers).not.toHaveProperty('content-encoding')
    expect(body.toString()).toBe('data: 1\n\n'.repeat(1000))
  })

  it('passes as it came on a route that does not compress', async () => {
    const { headers, body } = await ask('/page', { url: off.url })
    expect(headers).not.toHaveProperty('vary')
    expect(headers.etag).toBe('"v1"')
    expect(body.toString()).toBe(PAGE)
  })

  it('to a request with a credential is compressed only where the route says so', async () => {
    const { token } = await newUser(gateway)
    const headers = { 'accept-encoding': 'gzip', authorization: `Bearer ${token}` }
    expect((await ask('/both/page', { headers })).headers).not.toHaveProperty('content-encoding')
    expect((await ask('/private/page', { headers })).headers['content-encoding']).toBe('gzip')
    expect((await ask('/on/page', { headers: { 'accept-encoding': 'gzip', cookie: 'a=1' } })).headers).not.toHaveProperty(
      'content-encoding',
    )
  })

  it('to HTTP/1.0 ends with the connection', async () => {
    const client = await connect(gateway.port)
    client.write(get('/on/page', '1.0'))
    const answer = await client.closes()
    expect(answer).not.toMatch(/transfer-encoding/i)
    const body = Buffer.from(answer.slice(answer.indexOf('\r\n\r\n') + 4), 'latin1')
    expect(gunzipSync(body).toString()).toBe(PAGE)
  })
})

describe('a tag that became weak', () => {
  const put = (path: string, headers: Record<string, string>) => ask(path, { method: 'PUT', headers })

  it.each(['/on/page', '/page'])('is strong again in If-Match of %s', async (path) => {
    const { etag } = (await ask(path)).headers
    expect(etag).toBe('W/"v1"')
    expect((await put(path, { 'if-match': etag! })).status).toBe(204)
    expect((await put(path, { 'if-match': 'W/"v0"' })).status).toBe(412)
  })
  it('finds the same answer by If-None-Match, and keeps its form', async () => {
    const { status, headers } = await ask('/on/page', { headers: { 'accept-encoding': 'gzip', 'if-none-match': 'W/"v0", W/"v1"' } })
    expect(status).toBe(304)
    expect(headers).toMatchObject({ etag: 'W/"v1"', vary: 'Accept-Encoding' })
    expect(headers).not.toHaveProperty('content-encoding')
  })
  it('never joins a range of the uncompressed bytes', async () => {
    upstream.take()
    await ask('/on/echo', { headers: { range: 'bytes=10-', 'if-match': 'W/"v1"', 'if-range': 'W/"v1"' } })
    expect(upstream.take()[0]!.headers).toMatchObject({ 'if-match': 'W/"v1"', 'if-range': 'W/"v1"' })
  })
  it('stays weak where the upstream has made it so', async () => {
    expect((await ask('/weak/page')).headers.etag).toBe('W/"v1"')
    expect((await put('/weak/page', { 'if-match': 'W/"v1"' })).status).toBe(204)
  })
  it('passes as it came on a route that does not compress', async () => {
    expect((await ask('/page', { method: 'PUT', headers: { 'if-match': 'W/"v1"' }, url: off.url })).status).toBe(412)
  })
})

describe('what the upstream has sent', () => {
  it.each(['gzip', 'br', 'zstd'])('arrives as %s while the upstream pauses', async (coding) => {
    const request = http.get(`${gateway.url}/on/open`, { headers: { 'accept-encoding': coding } })
    // the header section does not wait for the first byte
    const [answer] = (await once(request, 'response')) as [IncomingMessage]
    let bytes = Buffer.alloc(0)
    answer.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
    })
    const partOf = {
      gzip: () => gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }),
      br: () => brotliDecompressSync(bytes, { finishFlush: constants.BROTLI_OPERATION_FLUSH }),
      zstd: () => zstdDecompressSync(bytes, { finishFlush: constants.ZSTD_e_flush }),
    }[coding]!
    let sent = ''
    for (const line of ['one line\n', 'another line\n']) {
      open.write(line)
      sent += line
      await until(() => bytes.length > 0 && partOf().toString() === sent, `${sent} arrives`)
    }
    open.end()
    await once(answer, 'end')
    expect(partOf().toString()).toBe(sent)
  })

  it('waits at the upstream while the client does not read', async () => {
    const client = await begin('/on/open')
    client.socket.pause()
    // more than all buffers on the way hold
    let sent = 0
    const chunk = noise()
    const feed = () => {
      while (sent < 64 * 1024 * 1024) {
        sent += chunk.length
        if (!open.write(chunk)) return
      }
      open.end()
    }
    open.on('drain', feed)
    feed()
    let before = -1
    let still = 0
    await until(() => {
      still = before === sent ? still + 1 : 0
      before = sent
      return still > 20 && open.writableNeedDrain
    }, 'the upstream waits')
    expect(sent).toBeLessThan(64 * 1024 * 1024)
    client.destroy()
    await until(() => open.destroyed, 'the upstream is left')
    await until(async () => (await compressing()) === 0, 'nothing is being compressed')
  })

  it('arrives whole at a slow client', async () => {
    const request = http.get(`${gateway.url}/on/open`, { headers: { 'accept-encoding': 'gzip' } })
    const [answer] = (await once(request, 'response')) as [IncomingMessage]
    const chunk = noise()
    Readable.from(Array.from({ length: 100 }, () => chunk)).pipe(open)
    const whole = await text(answer.pipe(createGunzip({ chunkSize: 1024 })))
    expect(whole.length).toBe(100 * chunk.length)
    expect(whole.startsWith(chunk.toString())).toBe(true)
  })
})

describe('a broken response', () => {
  it('looks broken to the client', async () => {
    const client = await connect(gateway.port)
    client.write(get('/on/short'))
    await client.receives('\r\n\r\n')
    open.destroy()
    expect(await client.closes()).not.toContain('\r\n0\r\n\r\n')
  })

  it('frees its compressor, 200 times', async () => {
    for (let i = 0; i < 20; i++) {
      const clients = await Promise.all(
        Array.from({ length: 10 }, async (_, j) => {
          const client = await connect(gateway.port)
          client.write(get(j % 2 ? '/on/open' : '/on/short'))
          await client.receives('content-encoding: gzip')
          return client
        }),
      )
      if (i === 0) expect(await compressing()).toBe(10)
      for (const client of clients) client.socket.resetAndDestroy()
      await until(async () => (await compressing()) === 0, 'nothing is being compressed')
    }
    expect((await ask('/on/page')).headers['content-encoding']).toBe('gzip')
  })
})
