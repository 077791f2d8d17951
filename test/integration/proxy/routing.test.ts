import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, newUserWithRoles, raw, statusOf } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let gateway: Gateway
beforeAll(async () => {
  upstream = await startUpstream()
  // where a request ends is shown by what its route puts before the path
  const to = (name: string, path: string, part: { match?: object; [key: string]: unknown } = {}) => ({
    name,
    upstream: [upstream.url],
    access: 'public',
    rewrite: { prefix: `/${name}` },
    ...part,
    match: { path, ...part.match },
  })
  gateway = await startGateway({
    routes: [
      to('api', '/api'),
      to('orders', '/api/orders', { match: { methods: ['GET', 'PUT'] } }),
      to('orders-post', '/api/orders', { match: { methods: ['POST'] }, access: { roles: ['admin'] } }),
      to('hosted', '/api', { match: { host: 'shop.test' } }),
      to('exact', '/Exact', { match: { caseSensitive: true } }),
      to('shadow', '/auth/shadow'),
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})

/** Where a GET of this path ends. */
const landing = async (path: string) => {
  const { status, body } = await call(gateway, path)
  return status === 200 ? body.url : body.code
}
const asHost = async (host: string, path: string) =>
  /"url":"([^"]*)"/.exec(await raw(gateway.port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`))?.[1]

describe('paths', () => {
  it.each([
    ['/api', '/api'],
    ['/api/', '/api/'],
    ['/api/x/y', '/api/x/y'],
    ['/api/orders', '/orders'],
    ['/api/orders/7?a=b', '/orders/7?a=b'],
    ['/api/ordersx', '/api/ordersx'],
    ['/apix', 'route_not_found'],
    ['/nowhere/at/all', 'route_not_found'],
  ])('%s ends at %s: the longest prefix on a segment boundary', async (path, end) => {
    expect(await landing(path)).toBe(end)
  })

  it('/ without a route is answered by the gateway itself', async () => {
    expect((await call(gateway, '/')).body.links.health).toBe('/health')
  })

  it('match without regard to case, and are forwarded in the letter case of the client', async () => {
    expect(await landing('/API/Orders/Seven')).toBe('/orders/Seven')
  })

  it('match in their own letter case only where a route asks for it', async () => {
    expect(await landing('/Exact/a')).toBe('/exact/a')
    expect(await landing('/exact/a')).toBe('route_not_found')
    expect(await landing('/EXACT')).toBe('route_not_found')
  })

  it('of our own win over routes', async () => {
    expect(await landing('/auth/shadow')).toBe('route_not_found')
    expect(await call(gateway, '/health')).toMatchObject({ status: 200, body: { status: 'healthy' } })
    expect((await call(gateway, '/.well-known/jwks.json')).body.keys).toHaveLength(1)
  })
})

describe('methods', () => {
  it('of the longest path decide: 405 with Allow, never a shorter route that takes all', async () => {
    upstream.take()
    const refused = await call(gateway, '/api/orders/7', { method: 'DELETE' })
    expect(refused).toMatchObject({ status: 405, body: { code: 'method_not_allowed' } })
    expect(refused.headers.get('allow')).toBe('GET, HEAD, POST, PUT')
    expect(upstream.take()).toEqual([])
  })

  it('GET brings HEAD with it', async () => {
    expect((await call(gateway, '/api/orders', { method: 'HEAD' })).status).toBe(200)
  })

  it('on one path may have different access', async () => {
    const admin = await newUserWithRoles(gateway, ['admin'])
    expect((await call(gateway, '/api/orders')).status).toBe(200)
    expect((await call(gateway, '/api/orders', { body: {} })).status).toBe(401)
    expect((await call(gateway, '/api/orders', { body: {}, token: admin.token })).body.url).toBe('/orders-post')
  })

  it('that are unknown are refused', async () => {
    const answer = await raw(gateway.port, 'BREW /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    expect(statusOf(answer)).toBe(400)
  })
})

describe('hosts', () => {
  it('a route with a host goes before a route without, in any letter case and with any port', async () => {
    for (const host of ['shop.test', 'SHOP.test:8080', 'shop.test.']) expect(await asHost(host, '/api/x')).toBe('/hosted/x')
  })
  it('another host, or a part of it, is another host', async () => {
    for (const host of ['other.test', 'xshop.test', 'shop.test.evil', 'a.shop.test']) expect(await asHost(host, '/api/x')).toBe('/api/x')
  })
  it('a route with a host and a shorter path goes before a route without a host and a longer path', async () => {
    expect(await asHost('shop.test', '/api/orders/1')).toBe('/hosted/orders/1')
  })
})
