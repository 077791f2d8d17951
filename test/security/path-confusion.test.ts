/** A public root before a protected /admin of the same upstream: no spelling of a path reaches what another spelling protects. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, newUserWithRoles, raw, statusOf } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let gateway: Gateway
beforeAll(async () => {
  upstream = await startUpstream()
  const to = (name: string, path: string, part: object) => ({ name, match: { path }, upstream: [upstream.url], access: 'public', ...part })
  gateway = await startGateway({
    routes: [
      to('root', '/', {}),
      to('admin', '/admin', { access: { roles: ['admin'] } }),
      to('lax', '/lax', { allow: ['encodedSlash', 'doubleSlash', 'semicolon', 'percent'] }),
      to('lax-admin', '/lax/admin', { access: { roles: ['admin'] } }),
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})

const get = (target: string) => raw(gateway.port, `GET ${target} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n`)

describe('without a token', () => {
  it.each([
    '/./admin/x',
    '/x/../admin/x',
    '/x/..//admin',
    '/%2e/admin/x',
    '/%2E%2E/admin',
    '/x/%2e%2e/admin',
    '/x/.%2e/admin',
    '/x%2f..%2fadmin',
    '/%252e%252e/admin',
    '/x/%252e%252e/admin',
    '//admin',
    '///admin/x',
    '/x//../admin',
    '/%2fadmin',
    '/%2Fadmin/x',
    '/%252fadmin',
    '/%61dmin/x',
    '/%61%64%6d%69%6e',
    '/adm%69n',
    '/%2561dmin',
    '/admin%2fx',
    '/admin%252fx',
    '/admin%20',
    '/admin%20/x',
    '/admin.',
    '/admin%2e/x',
    '/admin%00',
    '/admin%00.css',
    '/admin%0a',
    '/admin%09/x',
    '/admin;x=1',
    '/admin;/x',
    '/admin%3bx',
    '/;/admin',
    '/x;/../admin',
    '/x/..;/admin',
    '/x/..;a=b/admin',
    '/x/%2e%2e;/admin',
    '/\\admin',
    '/x\\..\\admin',
    '/%5cadmin',
    '/x/..%5cadmin',
    '/x/..%255cadmin',
    '/%c0%af%61dmin',
    '/%c0%ae%c0%ae/admin',
    '/%e0%80%afadmin',
    '/admin#x',
    '/x#/../admin',
    '/%23/../admin',
    'admin',
    '@127.0.0.1/admin',
    'http://other.test/admin',
    'http://me@gateway.test/admin',
    'http://gateway.test/x/../admin',
    'http://gateway.test//admin',
    'https://gateway.test/admin',
    '//gateway.test/admin',
    '\\admin',
    '/\xe1dmin/../admin',
    '/\tadmin',
    '/x/..%20',
    '/x/.%20/admin',
    '/%20/admin',
    '/.%20/admin',
  ])('%j is refused and reaches nobody', async (target) => {
    upstream.take()
    const status = statusOf(await get(target))
    expect(status).toBe(400)
    expect(upstream.take()).toEqual([])
  })

  it.each([
    '/admin',
    'http://gateway.test/admin',
    '/admin/',
    '/admin/x',
    '/ADMIN/x',
    '/Admin',
    '/aDmIn/x?y',
    '/admin?x',
    '/admin/x?/../../public',
    '/admin/a..b',
  ])('%s is a path of /admin, and 401', async (target) => {
    upstream.take()
    expect(statusOf(await get(target))).toBe(401)
    expect(upstream.take()).toEqual([])
  })

  it.each([
    '/administrator',
    '/admin-x',
    '/x/admin',
    '/x?../admin',
    '/x?a=/admin&b=//..%2f',
    '/adm',
    '/x/ad.min',
    '/.admin',
    '/..admin',
  ])('%s is another path, and goes out as it came', async (target) => {
    upstream.take()
    expect(statusOf(await get(target))).toBe(200)
    expect(upstream.take()[0]?.url).toBe(target)
  })
})

describe('a route that allows ambiguous forms', () => {
  it.each(['/lax/a//b', '/lax/a%2Fb', '/lax/a;v=1', '/lax/50%2525', '/lax//a;b%2fc%252f'])('%s goes out as it came', async (target) => {
    upstream.take()
    expect(statusOf(await get(target))).toBe(200)
    expect(upstream.take()[0]?.url).toBe(target)
  })

  it.each([
    '/lax//admin',
    '/lax/%2fadmin',
    '/lax/;x/admin',
    '/lax/admin;x',
    '/lax/%2561dmin',
    '/lax/admin%2fx',
    '/lax/x/..;/admin',
    '/lax/x%2f..%2fadmin',
    '/lax/%252e%252e/admin',
    '//lax/x',
    '/lax;a/admin',
    '/lax//admin%20',
    '/lax/%2Fadmin.',
    '/lax/admin%2500',
    '/lax/%2509admin',
  ])('%s is refused all the same: it could be read as another route', async (target) => {
    upstream.take()
    expect(statusOf(await get(target))).toBe(400)
    expect(upstream.take()).toEqual([])
  })
})

describe('headers that name another path or method', () => {
  it.each([
    'X-Original-URL',
    'X-Rewrite-URL',
    'X-Forwarded-Path',
    'X-Forwarded-Uri',
    'X-HTTP-Method-Override',
    'X-HTTP-Method',
    'X-Method-Override',
  ])('%s changes nothing and is not passed on', async (name) => {
    upstream.take()
    expect((await call(gateway, '/x', { headers: { [name]: name.includes('ethod') ? 'DELETE' : '/admin' } })).status).toBe(200)
    const [request] = upstream.take()
    expect(request).toMatchObject({ method: 'GET', url: '/x' })
    expect(request!.headers[name.toLowerCase()]).toBeUndefined()
  })
})

it('an admin passes with the one valid form of the path', async () => {
  const admin = await newUserWithRoles(gateway, ['admin'])
  expect((await call(gateway, '/admin/x', { token: admin.token })).body.url).toBe('/admin/x')
  expect((await call(gateway, '/admin//x', { token: admin.token })).status).toBe(400)
})
