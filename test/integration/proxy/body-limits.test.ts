import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { call, newUser, raw, statusOf } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'
import { connect } from '../../support/wire.ts'

const LIMIT = 1000
let upstream: Upstream
let gateway: Gateway
beforeAll(async () => {
  upstream = await startUpstream()
  const to = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], access: 'public', ...part })
  gateway = await startGateway({
    routes: [
      to('small', { body: { maxBytes: LIMIT } }),
      to('none', { body: { maxBytes: 0 } }),
      to('default', {}),
      to('private', { access: 'authenticated', body: { maxBytes: LIMIT } }),
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})

beforeEach(() => void upstream.take())

const post = (path: string, fields: string) => `POST ${path} HTTP/1.1\r\nHost: gateway.test\r\n${fields}\r\n\r\n`
const chunk = (size: number) => `${size.toString(16)}\r\n${'x'.repeat(size)}\r\n`

describe('a body of a declared length', () => {
  it('passes up to the limit', async () => {
    expect((await call(gateway, '/small', { body: 'x'.repeat(LIMIT) })).status).toBe(200)
    expect(upstream.take()[0]?.body).toHaveLength(LIMIT)
  })

  it('above it is refused before a byte of it is read: 413, and the connection is closed', async () => {
    const answer = await raw(gateway.port, post('/small', `Content-Length: ${LIMIT + 1}`))
    expect(statusOf(answer)).toBe(413)
    expect(answer).toMatch(/^connection: close\r$/im)
    expect(answer).toContain('"code":"body_too_large"')
    expect(upstream.take()).toEqual([])
  })

  it('may be 1 MiB where the route does not say otherwise', async () => {
    expect((await call(gateway, '/default', { body: 'x'.repeat(1024 * 1024) })).status).toBe(200)
    expect(statusOf(await raw(gateway.port, post('/default', `Content-Length: ${1024 * 1024 + 1}`)))).toBe(413)
  })

  it('is refused altogether where the limit is 0, and an empty one is not', async () => {
    expect(statusOf(await raw(gateway.port, post('/none', 'Content-Length: 1')))).toBe(413)
    expect((await call(gateway, '/none', { method: 'POST' })).status).toBe(200)
  })
})

describe('a chunked body', () => {
  const fields = 'Transfer-Encoding: chunked'
  it('passes up to the limit', async () => {
    const answer = await raw(gateway.port, `${post('/small', `${fields}\r\nConnection: close`)}${chunk(LIMIT - 1)}${chunk(1)}0\r\n\r\n`)
    expect(statusOf(answer)).toBe(200)
    expect(upstream.take()[0]?.body).toHaveLength(LIMIT)
  })

  it('is counted as it passes: 413 with the first byte too many, and the connection is closed', async () => {
    const answer = await raw(gateway.port, post('/small', fields) + chunk(LIMIT) + chunk(1))
    expect(statusOf(answer)).toBe(413)
    expect(answer).toMatch(/^connection: close\r$/im)
    expect(upstream.take()).toEqual([])
  })
})

describe('Expect: 100-continue', () => {
  const fields = 'Expect: 100-continue\r\nContent-Length: 5'

  it('is answered once the request may go on, and the body follows', async () => {
    const user = await newUser(gateway)
    const client = await connect(gateway.port)
    client.write(post('/private', `${fields}\r\nAuthorization: Bearer ${user.token}\r\nConnection: close`))
    await client.receives('HTTP/1.1 100 Continue\r\n\r\n')
    client.write('hello')
    expect(await client.closes()).toContain('HTTP/1.1 200 OK')
    const [request] = upstream.take()
    expect(request).toMatchObject({ body: 'hello' })
    expect(request?.headers.expect).toBeUndefined()
  })

  it.each([
    ['401 without a token', '/private', fields, 401],
    ['413 when it would be too long', '/small', 'Expect: 100-continue\r\nContent-Length: 1001', 413],
    ['404 where no route is', '/nowhere', fields, 404],
  ])('is answered with %s, and no 100', async (_name, path, sent, status) => {
    const answer = await raw(gateway.port, post(path, sent))
    expect(statusOf(answer)).toBe(status)
    expect(answer).not.toContain('100 Continue')
    expect(answer).toMatch(/^connection: close\r$/im)
  })

  it('is answered by our own endpoints too', async () => {
    const body = '{"login":"x","password":"y"}'
    const client = await connect(gateway.port)
    const sent = `Expect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close`
    client.write(post('/auth/login', sent))
    await client.receives('100 Continue')
    client.write(body)
    expect(await client.closes()).toContain('HTTP/1.1 401')
  })
})

describe('afterwards', () => {
  it('a refused body leaves nothing in flight', async () => {
    await raw(gateway.port, post('/small', 'Transfer-Encoding: chunked') + chunk(LIMIT + 1))
    await until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 0, 'no request in flight')
    expect(await metric(gateway, 'portcullis_errors_total', { code: 'body_too_large', route: 'small' })).toBeGreaterThan(0)
  })
})
