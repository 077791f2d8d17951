import type { IncomingMessage, ServerResponse } from 'node:http'
import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'
import { createCompression, MAX_OPEN } from '../../../src/proxy/forward/compression.ts'
import { restoreTags, weakened } from '../../../src/proxy/forward/compression-tags.ts'
import { compileRoutes } from '../../../src/proxy/routing/route-table.ts'
import { configWith, route } from '../../support/config.ts'

const compression = (compress: unknown = true, more: object[] = []) => {
  const { routes } = compileRoutes(configWith({ routes: [route('/a', { compress }), ...more] }))
  return createCompression({ routes, metrics: createMetrics('0'), load: { open: 0 } })(routes[0]!)
}
const JSON_FIELDS = ['content-type', 'application/json', 'content-length', '5000']

interface Asked {
  fields?: string[]
  status?: number
  method?: string
  headers?: Record<string, string>
  isStream?: boolean
  length?: number | null
  compress?: unknown
}

/** The fields that the client gets; the coding is undefined where the body passes as it came. */
function answer({ fields = JSON_FIELDS, status = 200, method = 'GET', headers = {}, isStream = false, length = 5000, compress }: Asked) {
  const out = [...fields]
  const request = { method, headers: { 'accept-encoding': 'gzip', ...headers } } as unknown as IncomingMessage
  const response = new PassThrough()
  const contentType = fields[fields.indexOf('content-type') + 1] ?? ''
  const head = { fields: out, length, coding: '', contentType }
  const coder = compression(compress)!.begin(request, response as unknown as ServerResponse, status, head, isStream)
  response.destroy()
  const value = (name: string) => (out.includes(name) ? out[out.indexOf(name) + 1] : undefined)
  return { fields: out, value, isCompressed: coder !== null }
}

describe('the coding', () => {
  it.each([
    ['gzip', 'gzip'],
    ['br', 'br'],
    ['zstd', 'zstd'],
    ['GZIP', 'gzip'],
    ['gzip, deflate, br, zstd', 'br'],
    ['gzip, zstd', 'zstd'],
    ['gzip;q=1, br;q=0.5', 'gzip'],
    ['gzip;q=0.5', 'gzip'],
    ['*', 'br'],
    ['br;q=0, *', 'zstd'],
    ['gzip;q=0.5, identity;q=1', undefined],
    ['gzip;q=0.5, identity', undefined],
    ['gzip;q=0', undefined],
    ['*;q=0', undefined],
    ['deflate', undefined],
    ['identity', undefined],
    ['', undefined],
    [', ;q=1, gzip;q=x', undefined],
    [`${'a,'.repeat(100)}gzip`, 'gzip'],
  ])('for Accept-Encoding %j is %s', (accepted, coding) => {
    const { value, isCompressed } = answer({ headers: { 'accept-encoding': accepted } })
    expect(value('content-encoding')).toBe(coding)
    expect(isCompressed).toBe(coding !== undefined)
    expect(value('vary')).toBe('Accept-Encoding')
  })
})

describe('compressed', () => {
  it.each([
    ['JSON', {}],
    ['HTML', { fields: ['content-type', 'text/html; charset=utf-8'] }],
    ['SVG', { fields: ['content-type', 'image/svg+xml'] }],
    ['JSON of a vendor', { fields: ['content-type', 'application/vnd.api+json'] }],
    ['a body of an unknown length', { length: null }],
    ['a body of 1024 bytes', { length: 1024 }],
    ['an answer to POST', { method: 'POST' }],
    ['an error', { status: 500 }],
    ['what may be cached', { fields: ['content-type', 'text/plain', 'cache-control', 'max-age=60, no-cache'] }],
    ['a request with a cookie, where the route says so', { headers: { cookie: 'a=1' }, compress: { withCredentials: true } }],
  ] as [string, Asked][])('is %s', (_name, asked) => {
    expect(answer(asked).isCompressed).toBe(true)
  })

  it.each([
    ['an image', { fields: ['content-type', 'image/png'] }],
    ['a body without a type', { fields: [] }],
    ['an event stream', { fields: ['content-type', 'text/event-stream'] }],
    ['a stream without an end', { isStream: true }],
    ['a small body', { length: 1023 }],
    ['an empty body', { length: 0 }],
    ['204', { status: 204, length: null }],
    ['206', { status: 206, fields: [...JSON_FIELDS, 'content-range', 'bytes 0-4999/9000'] }],
    ['416', { status: 416, fields: [...JSON_FIELDS, 'content-range', 'bytes */9000'] }],
    ['what the upstream has coded', { fields: [...JSON_FIELDS, 'content-encoding', 'gzip'] }],
    ['no-transform', { fields: [...JSON_FIELDS, 'cache-control', 'public,No-Transform'] }],
    ['no-store', { fields: [...JSON_FIELDS, 'cache-control', 'private', 'cache-control', 'no-store'] }],
    ['a body with a digest', { fields: [...JSON_FIELDS, 'content-digest', 'sha-256=:x:'] }],
    ['an answer to a cookie', { headers: { cookie: 'a=1' } }],
    ['an answer to Authorization', { headers: { authorization: 'Basic x' } }],
    ['an answer to X-Api-Key', { headers: { 'x-api-key': 'x' } }],
    ['an answer to a cookie, where the route says false', { headers: { cookie: 'a=1' }, compress: { withCredentials: false } }],
  ] as [string, Asked][])('is never %s', (_name, asked) => {
    const { fields, isCompressed } = answer(asked)
    expect(isCompressed).toBe(false)
    const vary = fields.slice((asked.fields ?? JSON_FIELDS).length)
    expect([[], ['vary', 'Accept-Encoding']]).toContainEqual(vary)
  })

  it('are at most so many responses at a time', () => {
    const route = compression()!
    const responses = Array.from({ length: MAX_OPEN + 1 }, () => new PassThrough())
    const coders = responses.map((response) => {
      const head = { fields: [...JSON_FIELDS], length: 5000, coding: '', contentType: 'application/json' }
      const request = { method: 'GET', headers: { 'accept-encoding': 'gzip' } } as unknown as IncomingMessage
      return route.begin(request, response as unknown as ServerResponse, 200, head, false)
    })
    expect(coders.filter((coder) => coder !== null)).toHaveLength(MAX_OPEN)
    expect(coders.at(-1)).toBeNull()
    for (const response of responses) response.destroy()
  })
})

describe('the fields of a compressed response', () => {
  const fields = [...JSON_FIELDS, 'accept-ranges', 'bytes', 'etag', '"v1"', 'vary', 'Origin', 'x-a', '1']
  const compressed = ['content-type', 'application/json', 'etag', 'W/"v1"', 'vary', 'Origin', 'x-a', '1']

  it('say what holds of the compressed body', () => {
    expect(answer({ fields }).fields).toEqual([...compressed, 'vary', 'Accept-Encoding', 'content-encoding', 'gzip'])
  })
  it('are the same for HEAD, without a compressor', () => {
    const head = answer({ fields, method: 'HEAD' })
    expect(head.fields).toEqual(answer({ fields }).fields)
    expect(head.isCompressed).toBe(false)
  })
  it.each(['*', 'accept-encoding', 'Origin, Accept-Encoding', 'Accept-Encoding,Origin'])('keep Vary: %s', (vary) => {
    expect(answer({ fields: [...JSON_FIELDS, 'vary', vary] }).fields.filter((f) => f === 'vary')).toHaveLength(1)
  })
  it('have Vary besides names that only look alike', () => {
    expect(answer({ fields: [...JSON_FIELDS, 'vary', 'X-Accept-Encoding'] }).fields).toContain('Accept-Encoding')
  })
  it('of 304 have the tag that the client has', () => {
    const notModified = (tags: string) =>
      answer({ status: 304, fields: ['etag', '"v1"'], length: null, headers: { 'if-none-match': tags } }).fields
    expect(notModified('"v0", W/"v1"')).toEqual(['etag', 'W/"v1"', 'vary', 'Accept-Encoding'])
    expect(notModified('"v1"')).toEqual(['etag', '"v1"', 'vary', 'Accept-Encoding'])
  })
})

describe('an entity tag for the upstream', () => {
  const strong = { strong: true, weak: false }
  it.each([
    ['W/"a"', '"a"'],
    ['"a"', '"a"'],
    ['W/"a", "b",W/"c"', '"a", "b","c"'],
    ['"a,W/", W/"b"', '"a,W/", "b"'],
    ['*', '*'],
    ['W/nonsense', 'W/nonsense'],
  ])('%j is %j again', (list, restored) => {
    expect(restoreTags(list, strong)).toBe(restored)
    expect(restoreTags(list, { strong: false, weak: false })).toBe(restored)
  })
  it('is not touched where all tags of the upstream are weak', () => {
    expect(restoreTags('W/"a", "b"', { strong: false, weak: true })).toBe('W/"a", "b"')
  })
  it('has both forms where the upstream sends both kinds', () => {
    expect(restoreTags('W/"a", "b"', { strong: true, weak: true })).toBe('W/"a", "a", "b"')
  })
  it('is weak once', () => {
    expect(weakened(weakened('"a"'))).toBe('W/"a"')
  })
})

describe('a route', () => {
  const another = route('/b', { upstream: ['http://127.0.0.1:10'] })
  it('without compression has none, beside others with it', () => {
    expect(compression(false)).toBeNull()
    expect(compression(false, [{ ...another, compress: true }])).toBeNull()
  })
  it('of the same upstream gives back the tags, and compresses nothing', () => {
    const writing = compression(false, [route('/b', { compress: true })])!
    const fields = ['host', 'a', 'if-match', 'W/"v1"']
    writing.restoreTags(fields, { headers: {} } as IncomingMessage)
    expect(fields).toEqual(['host', 'a', 'if-match', '"v1"'])
    const head = { fields: [...JSON_FIELDS], length: 5000, coding: '', contentType: 'application/json' }
    const request = { method: 'GET', headers: { 'accept-encoding': 'gzip' } } as unknown as IncomingMessage
    expect(writing.begin(request, new PassThrough() as unknown as ServerResponse, 200, head, false)).toBeNull()
    expect(head.fields).toEqual(JSON_FIELDS)
  })
})
