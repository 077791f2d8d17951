/** The upstream never sees a request that the gateway did not see: what is framed in two ways is refused, and nothing of a body becomes a head. */
import { describe, expect, it } from 'vitest'
import { randomOf } from '../faults/storms/random.ts'
import { raw, statusOf } from '../support/client.ts'
import { useGateway, useUpstream } from '../support/fixtures.ts'
import { connect } from '../support/wire.ts'

const upstream = useUpstream()
const gateway = useGateway(() => ({
  routes: [
    { name: 'public', match: { path: '/' }, upstream: [upstream.url], access: 'public' },
    { name: 'ws', match: { path: '/ws' }, upstream: [upstream.url], access: 'public', websocket: true },
    { name: 'admin', match: { path: '/admin' }, upstream: [upstream.url], access: { roles: ['admin'] } },
  ],
}))

const INNER = 'GET /admin HTTP/1.1\r\nHost: a\r\nX-Auth-Roles: admin\r\n\r\n'
const post = (fields: string[], body: string) => ['POST /x HTTP/1.1', 'Host: gateway.test', ...fields, '', body].join('\r\n')
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`

describe('a body that is framed in two ways', () => {
  it.each<[string, string[]]>([
    ['a length and chunks', [`Content-Length: ${INNER.length + 5}`, 'Transfer-Encoding: chunked']],
    ['chunks and a length', ['Transfer-Encoding: chunked', `Content-Length: ${INNER.length + 5}`]],
    ['a length and chunks in another case', ['content-length: 6', 'TRANSFER-ENCODING: Chunked']],
    ['two lengths', ['Content-Length: 0', `Content-Length: ${INNER.length}`]],
    ['a list of lengths', [`Content-Length: 0, ${INNER.length}`]],
    ['a signed length', ['Content-Length: +6']],
    ['a hexadecimal length', ['Content-Length: 0x6']],
    ['a length with an underscore', ['Content-Length: 1_0']],
    ['a length with blanks in it', ['Content-Length: 1 0']],
    ['an empty length', ['Content-Length:']],
    ['an enormous length', ['Content-Length: 18446744073709551617']],
    ['two codings', ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity']],
    ['chunked twice', ['Transfer-Encoding: chunked, chunked']],
    ['chunked before another coding', ['Transfer-Encoding: chunked, identity']],
    ['an unknown coding', ['Transfer-Encoding: xchunked']],
    ['a quoted coding', ['Transfer-Encoding: "chunked"']],
    ['a coding behind a vertical tab', ['Transfer-Encoding: \x0bchunked']],
    ['a blank before the colon', ['Transfer-Encoding : chunked']],
    ['a tab before the colon', ['Transfer-Encoding\t: chunked']],
    ['a folded coding', ['Transfer-Encoding:\r\n chunked']],
    ['a coding behind a folded line', ['X: y\r\n Transfer-Encoding: chunked']],
    ['a name behind a bare LF', ['X: y\nTransfer-Encoding: chunked']],
    ['a name behind a bare CR', ['X: y\rTransfer-Encoding: chunked']],
    ['a NUL in the coding', ['Transfer-Encoding: chunked\0']],
  ])('%s is refused, and the connection is closed', async (_name, fields) => {
    upstream.take()
    const answer = await raw(gateway.port, post(fields, `0\r\n\r\n${INNER}`))
    expect([400, 413, 501]).toContain(statusOf(answer))
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(upstream.take()).toEqual([])
  })
})

describe('a malformed chunk', () => {
  it.each([
    ['a size that is none', `zz\r\n${INNER}`],
    ['a negative size', `-1\r\n${INNER}`],
    ['a size with 0x', `0x5\r\nhello\r\n0\r\n\r\n`],
    ['a size too large to count', `ffffffffffffffffff\r\n${INNER}`],
    ['more than the size said', `1\r\nab\r\n0\r\n\r\n${INNER}`],
    ['a size that a bare LF ends', `5\nhello\r\n0\r\n\r\n`],
    ['a chunk that a bare LF ends', `5\r\nhello\n0\r\n\r\n`],
    ['an extension with a bare LF', `5;a\nb\r\nhello\r\n0\r\n\r\n`],
  ])('%s: the upstream gets no whole request from it', async (_name, body) => {
    upstream.take()
    const answer = await raw(gateway.port, post(['Transfer-Encoding: chunked'], body))
    expect(answer).not.toMatch(/^HTTP\/1\.1 200/)
    expect(upstream.take()).toEqual([])
  })
})

describe('a request inside a body', () => {
  it.each([
    ['of a declared length', post([`Content-Length: ${INNER.length}`, 'Connection: close'], INNER)],
    ['in chunks', post(['Transfer-Encoding: chunked', 'Connection: close'], `${chunk(INNER)}0\r\n\r\n`)],
    [
      'in chunks with an extension',
      post(['Transfer-Encoding: chunked', 'Connection: close'], `${INNER.length.toString(16)};a=b\r\n${INNER}\r\n0\r\n\r\n`),
    ],
  ])('%s stays a body', async (_name, bytes) => {
    upstream.take()
    expect(statusOf(await raw(gateway.port, bytes))).toBe(200)
    expect(upstream.take()).toMatchObject([{ method: 'POST', url: '/x', body: INNER }])
  })

  it.each(['GET', 'HEAD', 'DELETE', 'OPTIONS'])('of a %s goes on as its body and is no second request', async (method) => {
    upstream.take()
    const bytes = post([`Content-Length: ${INNER.length}`, 'Connection: close'], INNER).replace('POST', method)
    expect(statusOf(await raw(gateway.port, bytes))).toBe(200)
    expect(upstream.take()).toMatchObject([{ method, url: '/x', body: INNER }])
  })

  it('behind a whole request is a request of its own, and is judged', async () => {
    upstream.take()
    const answer = await raw(gateway.port, post(['Content-Length: 0'], INNER), (text) => text.includes('token_missing'))
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 401'])
    expect(upstream.take()).toMatchObject([{ url: '/x', body: '' }])
  })

  it('behind a refused one is never read', async () => {
    upstream.take()
    const refused = post([`Content-Length: ${2 * 1024 * 1024}`], INNER)
    const answer = await raw(gateway.port, refused)
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 413'])
    expect(upstream.take()).toEqual([])
  })

  it('behind an upgrade that was refused is never read', async () => {
    upstream.take()
    const fields = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 8', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']
    const answer = await raw(gateway.port, `${['GET /ws HTTP/1.1', 'Host: a', ...fields].join('\r\n')}\r\n\r\n${INNER}`)
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 426'])
    expect(upstream.take()).toEqual([])
  })

  it('behind an upgrade that was ignored is judged as a request of its own', async () => {
    upstream.take()
    const fields = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']
    const answer = await raw(gateway.port, `${['GET /x HTTP/1.1', 'Host: a', ...fields].join('\r\n')}\r\n\r\n${INNER}`)
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 401'])
    expect(upstream.take()).toMatchObject([{ url: '/x', body: '' }])
  })

  it('of an upgrade that was ignored stays a body', async () => {
    upstream.take()
    const bytes = post([`Content-Length: ${INNER.length}`, 'Connection: close, Upgrade', 'Upgrade: h2c'], INNER)
    expect(statusOf(await raw(gateway.port, bytes))).toBe(200)
    expect(upstream.take()).toMatchObject([{ method: 'POST', url: '/x', body: INNER }])
  })
})

it('an HTTP/1.0 request with chunks, or without a Host, is no way in', async () => {
  upstream.take()
  const chunked = `POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${INNER}`
  await raw(gateway.port, chunked)
  await raw(gateway.port, 'GET /admin HTTP/1.0\r\n\r\n')
  expect(upstream.take().filter((r) => r.url.startsWith('/admin'))).toEqual([])
})

describe('requests in a row, some with offers that are ignored', () => {
  it.each(Array.from({ length: 10 }, (_, i) => i + 1))('arrive as they were sent, in any packets (seed %i)', async (seed) => {
    upstream.take()
    const offers = [
      ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk'],
      ['Connection: Upgrade', 'Upgrade: a/1, b'],
      [],
    ]
    const bodies: [string[], string, string][] = [
      [[], '', ''],
      [[`Content-Length: ${INNER.length}`], INNER, INNER],
      [['Transfer-Encoding: chunked'], `${chunk(INNER)}${chunk('tail')}0\r\n\r\n`, `${INNER}tail`],
    ]
    const connections = Array.from({ length: 10 }, async (_, connection) => {
      const r = randomOf(seed, connection)
      const wanted: string[] = []
      let bytes = ''
      const count = 1 + r.below(6)
      for (let i = 1; i <= count; i++) {
        const [fields, body, content] = r.pick(bodies)
        const url = `/r/${connection}/${i}`
        const last = i === count ? ['Connection: close'] : []
        bytes += [`POST ${url} HTTP/1.1`, 'Host: gateway.test', ...r.pick(offers), ...fields, ...last, '', body].join('\r\n')
        wanted.push(`${url} ${content}`)
      }
      const wire = await connect(gateway.port)
      while (bytes) {
        const size = r.pick([1, 7, 50, 200, 1000])
        wire.write(bytes.slice(0, size))
        bytes = bytes.slice(size)
        await new Promise((resolve) => setImmediate(resolve))
      }
      const text = await wire.closes()
      expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(wanted.map(() => 'HTTP/1.1 200'))
      // answers keep their order
      expect(text.match(/"url":"[^"]+"/g)).toEqual(wanted.map((line) => `"url":"${line.split(' ')[0]}"`))
      return wanted
    })
    const sent = (await Promise.all(connections)).flat()
    const seen = upstream.take().map(({ url, body }) => `${url} ${body}`)
    expect(seen.toSorted()).toEqual(sent.toSorted())
  })
})
