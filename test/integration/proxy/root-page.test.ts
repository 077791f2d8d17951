import { describe, expect, it } from 'vitest'
import { call } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'

const upstream = useUpstream()

describe('where no route takes /', () => {
  const gateway = useGateway(() => ({
    config: { docs: { enabled: true } },
    routes: [
      { name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' },
      { name: 'site', match: { path: '/', host: 'site.example.com' }, upstream: [upstream.url], access: 'authenticated' },
    ],
  }))

  it('/ says what this is, and where its parts are', async () => {
    const { status, headers, body } = await call(gateway, '/?from=somewhere')
    expect([status, headers.get('content-type'), headers.get('cache-control')]).toEqual([
      200,
      'application/json; charset=utf-8',
      'no-store',
    ])
    expect(headers.get('x-request-id')).not.toBeNull()
    expect(body).toEqual({
      summary: 'Portcullis: a gateway in front of APIs. No route leads to this path.',
      links: {
        docs: '/auth/docs',
        openapi: '/auth/openapi.json',
        health: '/health',
        login: '/auth/login',
        register: '/auth/register',
        keys: '/.well-known/jwks.json',
      },
    })
    for (const name of ['docs', 'openapi', 'health', 'keys']) expect((await call(gateway, body.links[name])).status).toBe(200)
  })

  it('a browser gets a page without scripts', async () => {
    const answer = await fetch(`${gateway.url}/`, { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } })
    expect([answer.status, answer.headers.get('content-type'), answer.headers.get('vary')]).toEqual([
      200,
      'text/html; charset=utf-8',
      'Accept',
    ])
    expect(answer.headers.get('content-security-policy')).toBe("default-src 'none'; frame-ancestors 'none'")
    const html = await answer.text()
    expect(html).toContain('<a href="/auth/docs">')
    expect(html).not.toContain('<script')
    const head = await fetch(`${gateway.url}/`, { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])
  })

  it.each([
    ['another path', '/nowhere', {}],
    ['another method', '/', { method: 'DELETE' }],
    ['a request with a body', '/', { method: 'POST', body: {} }],
  ])('%s is still 404', async (_, path, options) => {
    const { status, body } = await call(gateway, path, options)
    expect([status, body.code]).toEqual([404, 'route_not_found'])
  })

  it('is counted and logged as root', async () => {
    await call(gateway, '/')
    expect(await (await fetch(`${gateway.adminUrl}/metrics`)).text()).toMatch(
      /^portcullis_http_requests_total\{method="GET",route="root",status="200"\} \d/m,
    )
  })
})

describe('where a route takes /', () => {
  const gateway = useGateway(() => ({
    routes: [{ name: 'site', match: { path: '/' }, upstream: [upstream.url], access: 'authenticated' }],
  }))

  it('the route answers', async () => {
    expect((await call(gateway, '/')).status).toBe(401)
  })
})
