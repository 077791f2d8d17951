import { describe, expect, it } from 'vitest'
import { compileRoutes, type Route, rewritePath, routesFor } from '../../../src/proxy/routing/route-table.ts'
import { configWith, route } from '../../support/config.ts'

const compile = (...routes: object[]) => compileRoutes(configWith({ routes }))
const compileOne = (path: string, part?: { [key: string]: unknown }): Route => compile(route(path, part)).routes[0]!

describe('finding', () => {
  const table = compile(
    route('/'),
    route('/api'),
    route('/api/Orders'),
    route('/api', { name: 'hosted', match: { host: 'Shop.test' } }),
    route('/health', { name: 'shadowed' }),
  )
  const found = (host: string, path: string) => table.find(host, path)?.routes.map((r) => r.name)

  it.each([
    ['/', ['r-']],
    ['/apis', ['r-']],
    ['/api', ['r-api']],
    ['/api/', ['r-api']],
    ['/api/x', ['r-api']],
    ['/api/orders', ['r-api-Orders']],
    ['/api/orders/1', ['r-api-Orders']],
    ['/api/ordersx', ['r-api']],
  ])('%s: the longest prefix on a segment boundary', (path, names) => {
    expect(found('any.test', path)).toEqual(names)
  })

  it("a host's routes go before those of any host, which serve the rest", () => {
    expect(found('shop.test', '/api/orders')).toEqual(['hosted'])
    expect(found('shop.test', '/other')).toEqual(['r-'])
    expect(found('notshop.test', '/api')).toEqual(['r-api'])
  })

  it('our own paths go before every route, and exact ones have nothing below them', () => {
    for (const path of ['/auth', '/auth/login', '/auth/unknown', '/health', '/.well-known/jwks.json'])
      expect(table.find('any.test', path)).toMatchObject({ own: true, routes: [] })
    expect(found('any.test', '/health/x')).toEqual(['shadowed'])
    expect(found('any.test', '/authx')).toEqual(['r-'])
  })

  it('finds nothing where no route stands', () => {
    expect(compile(route('/api')).find('any.test', '/')).toBeNull()
  })
})

describe('letter case', () => {
  it('a case-sensitive route is found in its own letter case only', () => {
    const table = compile(route('/Api', { match: { caseSensitive: true } }))
    const node = table.find('', '/api')!
    expect(routesFor(node, '/Api/x').map((r) => r.name)).toEqual(['r-Api'])
    expect(routesFor(node, '/api/x')).toEqual([])
  })

  it('a case-sensitive route goes before a case-insensitive route', () => {
    const table = compile(route('/Api', { name: 'exact', match: { caseSensitive: true } }), route('/api', { name: 'any' }))
    const node = table.find('', '/api')!
    expect(routesFor(node, '/Api').map((r) => r.name)).toEqual(['exact'])
    expect(routesFor(node, '/API').map((r) => r.name)).toEqual(['any'])
  })
})

describe('compiling', () => {
  it('adds HEAD to GET (RFC 9110 §9.3.2), and nothing to others', () => {
    expect(compileOne('/a', { match: { methods: ['GET', 'POST'] } }).methods).toEqual(new Set(['GET', 'POST', 'HEAD']))
    expect(compileOne('/a', { match: { methods: ['POST'] } }).methods).toEqual(new Set(['POST']))
    expect(compileOne('/a').methods).toBeNull()
  })

  it('gives a server its origin and a weight of 1', () => {
    const { servers } = compileOne('/a', { upstream: ['http://a:1/', { url: 'http://b:2', weight: 2 }] })
    expect(servers).toEqual([
      { origin: 'http://a:1', weight: 1, tls: null },
      { origin: 'http://b:2', weight: 2, tls: null },
    ])
  })
})

describe('rewriting', () => {
  it.each([
    ['/api', undefined, '/api/x', '/api/x'],
    ['/api', '/', '/api/x', '/x'],
    ['/api', '/', '/api', '/'],
    ['/api', '/', '/api/', '/'],
    ['/api/', '/', '/api/x', '/x'],
    ['/api', '/v2', '/api/x', '/v2/x'],
    ['/api', '/v2/', '/api/x', '/v2/x'],
    ['/api', '/v2', '/api', '/v2'],
    ['/api', '/v2', '/API/X%20y', '/v2/X%20y'],
    ['/', '/v2', '/x', '/v2/x'],
    ['/', '/', '/x', '/x'],
  ])('%s with prefix %s: %s goes out as %s', (path, prefix, sent, expected) => {
    expect(rewritePath(compileOne(path, prefix ? { rewrite: { prefix } } : {}), sent)).toBe(expected)
  })
})
