import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, raw, statusOf } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { type RawUpstream, startRawUpstream } from '../../support/raw-upstream.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const zipped = gzipSync('zipped by the upstream')
/** What the bare upstream answers, by the path that it is asked for. */
const ANSWERS: Record<string, string> = {
  '/raw/bytes': 'HTTP/1.1 200 Fine\r\nX-Name: caf\xe9\r\nContent-Length: 2\r\n\r\nok',
  '/raw/text': 'HTTP/1.1 404 Gibt\xb4s nicht\r\nContent-Length: 2\r\n\r\nok',
  '/raw/control': 'HTTP/1.1 404 Not\x01found\r\nContent-Length: 2\r\n\r\nok',
  '/raw/trailers': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n',
  '/raw/hop': 'HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nContent-Length: 2\r\n\r\nok',
  '/raw/early': 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
}

let [one, two]: Upstream[] = []
let bare: RawUpstream
let gateway: Gateway
beforeAll(async () => {
  one = await startUpstream((req, res) => {
    const path = req.url!.split('?')[0]!
    if (path === '/api/204') res.writeHead(204, { 'x-a': '1' }).end()
    else if (path === '/api/304') res.writeHead(304, { etag: '"v1"' }).end()
    else if (path === '/api/404') res.writeHead(404, { 'content-type': 'text/plain' }).end('not here, says the upstream')
    else if (path === '/api/cookies') res.writeHead(200, { 'set-cookie': ['a=1; Path=/', 'b=2; Secure'] }).end()
    else if (path.endsWith('/moved'))
      res.writeHead(302, { location: new URL(req.url!, one!.url).searchParams.get('to')!, 'content-location': '/v2/here' }).end()
    else if (path === '/api/gzip') res.writeHead(200, { 'content-encoding': 'gzip', 'content-length': zipped.length }).end(zipped)
    else return false
    return true
  })
  two = await startUpstream()
  bare = await startRawUpstream((socket, request) => socket.write(ANSWERS[request.split(' ')[1]!] ?? ANSWERS['/raw/early']!, 'latin1'))
  const to = (path: string, part: object = {}) => ({
    name: path.slice(1),
    match: { path },
    upstream: [one!.url],
    access: 'public',
    ...part,
  })
  gateway = await startGateway({
    routes: [
      to('/api'),
      to('/raw', { upstream: [bare.url] }),
      to('/gone', { rewrite: { prefix: '/' } }),
      to('/moved', { rewrite: { prefix: '/v2/api' } }),
      to('/rewritten', { rewrite: { prefix: '/v2' } }),
      { ...to('/', { rewrite: { prefix: '/app' } }), name: 'root' },
      to('/round', { upstream: [one.url, two.url] }),
      to('/weighted', { upstream: [one.url, { url: two.url, weight: 3 }] }),
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  await Promise.all([one!.close(), two!.close(), bare.close()])
})

const get = (path: string) => raw(gateway.port, `GET ${path} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n`)

describe('a request', () => {
  it.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('by %s reaches the upstream as it was sent', async (method) => {
    one!.take()
    const body = method === 'GET' || method === 'OPTIONS' ? undefined : '{"an":"order", "spaced" : 1}'
    const { status } = await call(gateway, '/api/orders', { method, body })
    expect(status).toBe(200)
    expect(one!.take()).toMatchObject([{ method, url: '/api/orders', body: body ?? '' }])
  })

  it('by HEAD gets the headers and no body', async () => {
    const answer = await raw(gateway.port, 'HEAD /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    expect(statusOf(answer)).toBe(200)
    expect(answer).toMatch(/content-type: application\/json\r\n/i)
    expect(answer.split('\r\n\r\n')[1]).toBe('')
  })

  it('by a method of WebDAV passes as well', async () => {
    one!.take()
    await raw(gateway.port, 'PROPFIND /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    expect(one!.take()).toMatchObject([{ method: 'PROPFIND' }])
  })

  it('keeps its path and query byte for byte', async () => {
    one!.take()
    const target = "/api/%C3%A9%20x/~!$&'()*+,=:@?a=%2f%zz&&b=[1]{2}|\"<>'^`\\&c=//../;&=?"
    await get(target)
    expect(one!.take()[0]?.url).toBe(target)
  })

  it.each([
    ['/gone/a/b?c=d', '/a/b?c=d'],
    ['/gone', '/'],
    ['/gone?x', '/?x'],
    ['/moved/a%20b', '/v2/api/a%20b'],
    ['/MOVED', '/v2/api'],
  ])('to %s with a rewritten prefix asks for %s', async (path, url) => {
    one!.take()
    await get(path)
    expect(one!.take()[0]?.url).toBe(url)
  })

  it('asks for the Host of the upstream', async () => {
    one!.take()
    await get('/api/x')
    expect(one!.take()[0]?.headers.host).toBe(`127.0.0.1:${one!.port}`)
  })

  it('carries header bytes above 7F unchanged', async () => {
    one!.take()
    await raw(gateway.port, 'GET /api/x HTTP/1.1\r\nHost: a\r\nX-Name: caf\xe9\r\nConnection: close\r\n\r\n')
    expect(one!.take()[0]?.headers['x-name']).toBe('caf\xe9')
  })

  it('loses its trailers, which were not checked', async () => {
    one!.take()
    const body = '5\r\nhello\r\n0\r\nX-Auth-User: evil\r\nX-Sum: 1\r\n\r\n'
    const answer = await raw(
      gateway.port,
      `POST /raw/trailers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n${body}`,
    )
    expect(statusOf(answer)).toBe(200)
    expect(bare.received()).toContain('hello')
    expect(bare.received()).not.toMatch(/evil|x-sum/i)
  })

  it('with a gzipped body is not unpacked', async () => {
    const body = gzipSync('zipped by the client').toString('latin1')
    const fields = `Host: a\r\nContent-Encoding: gzip\r\nContent-Length: ${body.length}\r\nConnection: close`
    await raw(gateway.port, `POST /raw/bytes HTTP/1.1\r\n${fields}\r\n\r\n${body}`)
    expect(bare.received()).toContain('content-encoding: gzip\r\n')
    expect(bare.received().endsWith(body)).toBe(true)
  })
})

describe('an answer', () => {
  it('204 has no body and keeps its headers', async () => {
    const { status, headers, body } = await call(gateway, '/api/204')
    expect([status, headers.get('x-a'), headers.get('content-length'), body]).toEqual([204, '1', null, ''])
  })

  it('304 keeps its validator', async () => {
    const answer = await get('/api/304')
    expect(statusOf(answer)).toBe(304)
    expect(answer).toMatch(/^etag: "v1"\r$/im)
    expect(answer.split('\r\n\r\n')[1]).toBe('')
  })

  it('of an error is the upstream’s own, word for word', async () => {
    const { status, body, headers } = await call(gateway, '/api/404')
    expect([status, body, headers.get('content-type')]).toEqual([404, 'not here, says the upstream', 'text/plain'])
  })

  it('may set two cookies', async () => {
    const { headers } = await call(gateway, '/api/cookies')
    expect(headers.getSetCookie()).toEqual(['a=1; Path=/', 'b=2; Secure'])
  })

  it.each([
    ['its own path', '/api', '/api/x?y=1#z', '/api/x?y=1#z'],
    ['its own origin, which is nobody’s business', '/api', '{own}/api/x?y=1', '/api/x?y=1'],
    ['its own origin alone', '/api', '{own}', '/'],
    ['its own host by any scheme', '/api', '//{host}/x', '/x'],
    ['a path that would be read as another host', '/api', '{own}//evil.test/x', '/.//evil.test/x'],
    ['its own origin with a tab, which browsers drop', '/api', '{own}/\t/evil.test', '{own}/\t/evil.test'],
    ['a backslash, which browsers take for a slash', '/rewritten', '/v2/\\evil.test', '/v2/\\evil.test'],
    ['a host once the rewrite is undone', '/x', '/app//evil.test', '/.//evil.test'],
    ['somebody else by its own name', '/api', 'http://{host}@evil.test/', 'http://{host}@evil.test/'],
    ['another host', '/api', 'https://elsewhere.test/api/x', 'https://elsewhere.test/api/x'],
    ['another host whose name begins alike', '/api', '{own}.evil.test/x', '{own}.evil.test/x'],
    ['a relative path', '/api', 'x', 'x'],
    ['a path below the rewritten prefix', '/rewritten', '/v2/x?y', '/rewritten/x?y'],
    ['the rewritten prefix itself', '/rewritten', '{own}/v2', '/rewritten'],
    ['a path beside the rewritten prefix', '/rewritten', '/v22/x', '/v22/x'],
  ])('that leads to %s, does so in the terms of the client', async (_, prefix, reported, expected) => {
    const here = (text: string) => text.replace('{own}', one!.url).replace('{host}', new URL(one!.url).host)
    const { headers } = await call(gateway, `${prefix}/moved?to=${encodeURIComponent(here(reported))}`)
    expect(headers.get('location')).toBe(here(expected))
    expect(headers.get('content-location')).toBe(prefix === '/rewritten' ? '/rewritten/here' : '/v2/here')
  })

  it('that is gzipped stays so', async () => {
    const answer = await get('/api/gzip')
    expect(answer).toMatch(/^content-encoding: gzip\r$/im)
    const body = Buffer.from(answer.slice(answer.indexOf('\r\n\r\n') + 4), 'latin1')
    expect(body.equals(zipped)).toBe(true)
    expect(gunzipSync(body).toString()).toBe('zipped by the upstream')
  })

  it('carries status text and header bytes above 7F unchanged', async () => {
    const answer = await get('/raw/bytes')
    expect(answer).toMatch(/^HTTP\/1\.1 200 Fine\r\n/)
    expect(answer).toContain('x-name: caf\xe9\r\n')
  })

  it.each(['/raw/text', '/raw/control'])('is not lost for a status text that cannot be passed on: %s', async (path) => {
    const answer = await get(path)
    expect(statusOf(answer)).toBe(404)
    expect(answer.endsWith('\r\n\r\nok')).toBe(true)
  })

  it('loses what belongs to the connection of the upstream', async () => {
    const answer = await get('/raw/hop')
    expect(statusOf(answer)).toBe(200)
    expect(answer).not.toMatch(/x-hop|timeout=9/i)
  })

  it('loses its trailers', async () => {
    const answer = await get('/raw/trailers')
    expect(answer).toContain('ok')
    expect(answer).not.toMatch(/x-sum/i)
  })

  it('comes without the interim ones before it', async () => {
    expect(await get('/raw/early')).toMatch(/^HTTP\/1\.1 200/)
  })
})

describe('several upstreams', () => {
  const spread = async (path: string, times: number) => {
    one!.take()
    two!.take()
    for (let i = 0; i < times; i++) await call(gateway, path)
    return [one!.take().length, two!.take().length]
  }
  it('take turns', async () => {
    expect(await spread('/round', 10)).toEqual([5, 5])
  })
  it('take turns by their weights', async () => {
    expect(await spread('/weighted', 20)).toEqual([5, 15])
  })
})
