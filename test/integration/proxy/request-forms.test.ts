/** Requests of old and unusual clients: HTTP/1.0 without Host, targets in absolute form, `OPTIONS *`. */
import { once } from 'node:events'
import tls from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Authority, createAuthority } from '../../support/certificates.ts'
import { raw, statusOf } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'

const upstream = useUpstream((req, res) => {
  if (!req.url!.startsWith('/stream')) return false
  res.write('one ')
  res.end('two')
  return true
})
const routes = () => [
  { name: 'any', match: { path: '/' }, upstream: [upstream.url], access: 'public' },
  { name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' },
  { name: 'host', match: { path: '/of-host', host: 'a.test' }, upstream: [upstream.url], access: 'public', rewrite: { prefix: '/host' } },
  { name: 'ws', match: { path: '/ws' }, upstream: [upstream.url], access: 'public', websocket: true },
]
const gateway = useGateway(() => ({ routes: routes() }))
const ask = (bytes: string) => raw(gateway.port, bytes)
const code = (answer: string) => /"code":"(\w+)"/.exec(answer)?.[1]

describe('HTTP/1.0 without Host', () => {
  it('matches routes without a host', async () => {
    upstream.take()
    expect(statusOf(await ask('GET /x?y=1 HTTP/1.0\r\n\r\n'))).toBe(200)
    expect(statusOf(await ask('POST /of-host HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello'))).toBe(200)
    const [first, second] = upstream.take()
    expect(first).toMatchObject({ url: '/x?y=1' })
    expect(first!.headers['x-forwarded-host']).toBeUndefined()
    expect(second).toMatchObject({ url: '/of-host', body: 'hello' })
  })

  it('is judged as every request', async () => {
    expect(statusOf(await ask('GET /api HTTP/1.0\r\n\r\n'))).toBe(401)
    expect(code(await ask('GET /a/../api HTTP/1.0\r\n\r\n'))).toBe('target_ambiguous')
  })

  it('asks for the health', async () => {
    for (const method of ['GET', 'HEAD']) expect(statusOf(await ask(`${method} /health HTTP/1.0\r\n\r\n`))).toBe(200)
  })

  it('reaches no other endpoint of the gateway', async () => {
    for (const path of ['/auth/me', '/auth/login', '/auth', '/.well-known/jwks.json']) {
      const answer = await ask(`GET ${path} HTTP/1.0\r\n\r\n`)
      expect([statusOf(answer), code(answer)], path).toEqual([400, 'header_invalid'])
      expect(statusOf(await ask(`GET ${path} HTTP/1.0\r\nHost: a.test\r\n\r\n`)), path).not.toBe(400)
    }
  })

  it('reaches no root page', async () => {
    const alone = await startGateway()
    expect(statusOf(await raw(alone.port, 'GET / HTTP/1.0\r\n\r\n'))).toBe(400)
    expect(statusOf(await raw(alone.port, 'GET /x HTTP/1.0\r\n\r\n'))).toBe(404)
    await alone.close()
  })

  it.each([
    'GET / HTTP/1.1\r\nConnection: close\r\n\r\n',
    'GET / HTTP/1.0\r\nHost:\r\n\r\n',
    'GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n',
  ])('is the only exception: %j', async (bytes) => {
    const answer = await ask(bytes)
    expect([statusOf(answer), code(answer)]).toEqual([400, 'header_invalid'])
  })
})

it.each([
  'GET /stream HTTP/1.0\r\n\r\n',
  'GET /stream HTTP/1.0\r\nTE: chunked\r\n\r\n',
  'GET /stream HTTP/1.0\r\nHost: a\r\nTE: trailers, chunked\r\nConnection: TE, keep-alive\r\n\r\n',
])('HTTP/1.0 is never answered in chunks: %j', async (bytes) => {
  const answer = await ask(bytes)
  expect(answer).not.toMatch(/transfer-encoding/i)
  expect(answer.endsWith('\r\n\r\none two')).toBe(true)
})

describe('a target in absolute form', () => {
  it.each([
    ['http://a.test/x?y=1', 'a.test', '/x?y=1'],
    ['HTTP://A.test:81/x', 'a.TEST:81', '/x'],
    ['http://a.test', 'a.test', '/'],
    ['http://a.test?y', 'a.test', '/?y'],
    ['http://a.test/of-host/x', 'a.test', '/host/x'],
    ['http://127.0.0.1:8080/x', '127.0.0.1:8080', '/x'],
    ['http://[::1]/x', '[::1]', '/x'],
  ])('%s with Host %s is read as its origin form', async (target, host, wanted) => {
    upstream.take()
    expect(statusOf(await ask(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`))).toBe(200)
    expect(upstream.take()).toMatchObject([{ url: wanted, headers: { 'x-forwarded-host': host } }])
  })

  it('reaches our own endpoints, and is judged', async () => {
    const to = (path: string) => ask(`GET http://a.test${path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`)
    expect(statusOf(await to('/health'))).toBe(200)
    expect(statusOf(await to('/api/x'))).toBe(401)
    for (const path of ['/%2e%2e/api', '//api', '/a\\b', '/x#y']) expect(code(await to(path)), path).toBe('target_ambiguous')
  })

  it('reaches the admin listener', async () => {
    const { host, port } = new URL(gateway.adminUrl)
    const answer = await raw(Number(port), `GET http://${host}/livez HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    expect(statusOf(answer)).toBe(200)
    expect(statusOf(await raw(Number(port), 'GET /livez HTTP/1.0\r\n\r\n'))).toBe(200)
  })

  it('of a WebSocket handshake is read, too', async () => {
    const fields = ['Host: a.test', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 8']
    const answer = await ask(
      `GET http://a.test/ws HTTP/1.1\r\n${[...fields, 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='].join('\r\n')}\r\n\r\n`,
    )
    expect(statusOf(answer)).toBe(426)
  })

  it.each([
    ['another authority', 'http://b.test/', 'a.test'],
    ['another port', 'http://a.test:81/', 'a.test'],
    ['a longer authority', 'http://a.test.evil.test/', 'a.test'],
    ['a user', 'http://me@a.test/', 'a.test'],
    ['a user and a password', 'http://me:it@a.test/', 'a.test'],
    ['the scheme of TLS', 'https://a.test/', 'a.test'],
    ['another scheme', 'ftp://a.test/', 'a.test'],
    ['no authority', 'http:///x', 'a.test'],
    ['no scheme', '//a.test/x', 'a.test'],
    ['a fragment', 'http://a.test#x', 'a.test'],
    ['a backslash', 'http://a.test\\x', 'a.test'],
    ['an authority alone', 'a.test', 'a.test'],
  ])('with %s is refused', async (_, target, host) => {
    upstream.take()
    const answer = await ask(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    expect(statusOf(answer)).toBe(400)
    expect(upstream.take()).toEqual([])
  })

  it('without Host is refused', async () => {
    expect(statusOf(await ask('GET http://a.test/ HTTP/1.0\r\n\r\n'))).toBe(400)
  })
})

describe('over TLS', () => {
  let authority: Authority
  let secure: Gateway
  beforeAll(async () => {
    authority = await createAuthority()
    const { certFile: cert, keyFile: key } = await authority.issue(['a.test'])
    secure = await startGateway({
      routes: routes(),
      config: { server: { publicUrl: 'https://a.test', tls: { cert, key, redirectPort: 0 } } },
    })
    secure.app.redirect!.listen(0, '127.0.0.1')
    await once(secure.app.redirect!, 'listening')
  })
  afterAll(async () => {
    await secure.close()
    authority.close()
  })

  it('an absolute form names https', async () => {
    const statusFor = async (target: string) => {
      const socket = tls.connect({ host: '127.0.0.1', port: secure.port, ca: authority.cert, servername: 'a.test' })
      socket.write(`GET ${target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`)
      return statusOf((await socket.setEncoding('latin1').toArray()).join(''))
    }
    expect([await statusFor('https://a.test/x'), await statusFor('http://a.test/x')]).toEqual([200, 400])
  })

  it('the redirect listener reads the absolute form and HTTP/1.0', async () => {
    const { port } = secure.app.redirect!.address() as { port: number }
    const toX = /^HTTP\/1\.1 308 [\s\S]*location: https:\/\/a\.test\/x\r\n/
    expect(await raw(port, 'GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n')).toMatch(toX)
    expect(await raw(port, 'GET /x HTTP/1.0\r\n\r\n')).toMatch(toX)
    expect(statusOf(await raw(port, 'GET http://b.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n'))).toBe(400)
  })
})

describe('OPTIONS *', () => {
  it.each([
    'OPTIONS * HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n',
    'OPTIONS http://a.test HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n',
    'OPTIONS * HTTP/1.0\r\n\r\n',
    'OPTIONS * HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello',
  ])('is answered with the methods: %j', async (bytes) => {
    upstream.take()
    const answer = await ask(bytes)
    expect(statusOf(answer)).toBe(204)
    expect(answer).toMatch(/^allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r$/im)
    expect(upstream.take()).toEqual([])
  })

  it('is a question of OPTIONS alone', async () => {
    for (const bytes of ['GET * HTTP/1.1\r\nHost: a\r\n\r\n', 'OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n'])
      expect(code(await ask(bytes))).toBe('target_ambiguous')
  })

  it('leaves OPTIONS of / to its route', async () => {
    upstream.take()
    expect(statusOf(await ask('OPTIONS http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n'))).toBe(200)
    expect(upstream.take()).toMatchObject([{ method: 'OPTIONS', url: '/' }])
  })

  it('is counted by the limit of the address', async () => {
    const limited = await startGateway({
      config: { limits: { exempt: [], policies: { few: { limit: 2, windowSeconds: 60, key: 'client' } }, default: ['few'] } },
    })
    const statuses = []
    for (let i = 0; i < 3; i++)
      statuses.push(statusOf(await raw(limited.port, 'OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')))
    expect(statuses).toEqual([204, 204, 429])
    await limited.close()
  })
})
