/** Where the console is, and under which names it answers. */
import http from 'node:http'
import { describe, expect, it } from 'vitest'
import { useGateway } from '../../support/fixtures.ts'

/** A GET with a Host of its own choice, which fetch does not allow. */
const get = (
  url: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: http.IncomingHttpHeaders; text: string }> =>
  new Promise((resolve, reject) => {
    http
      .get(url, { headers, agent: false }, (answer) => {
        let text = ''
        answer.setEncoding('utf8')
        answer.on('data', (chunk: string) => {
          text += chunk
        })
        answer.on('end', () => resolve({ status: answer.statusCode!, headers: answer.headers, text }))
      })
      .on('error', reject)
  })

const withConsole = (browser: object = {}) => ({ config: { auth: { browser: { enabled: true, ...browser } } } })

describe('the console on the admin listener', () => {
  const gateway = useGateway(withConsole({ consoleHosts: ['console.example.com'] }))

  it('leads to its first section, and there to the login', async () => {
    const first = await get(`${gateway.adminUrl}/console`)
    expect([first.status, first.headers.location]).toEqual([303, '/console/users'])
    const users = await get(`${gateway.adminUrl}/console/users?search=a`)
    expect([users.status, users.headers.location]).toEqual([303, '/console/login?return_to=%2Fconsole%2Fusers%3Fsearch%3Da'])
    expect(users.headers['cache-control']).toBe('no-store')
    expect(users.headers['content-security-policy']).toContain("frame-ancestors 'none'")
    expect(users.headers['access-control-allow-origin']).toBeUndefined()
  })

  it('probes and metrics need no login, whatever their host name', async () => {
    for (const path of ['/livez', '/readyz', '/metrics'])
      expect((await get(`${gateway.adminUrl}${path}`, { host: 'elsewhere.example' })).status, path).toBe(200)
  })

  it.each(['localhost', 'localhost:9090', '127.0.0.1', '[::1]:9090'])('answers under the loopback name %s', async (host) => {
    expect((await get(`${gateway.adminUrl}/console`, { host })).status).toBe(303)
  })

  it.each([
    'rebound.example',
    'localhost.rebound.example',
    '127.0.0.1.rebound.example',
    '192.0.2.7',
    'a@localhost',
    'localhost.',
  ])('refuses the host name %s', async (host) => {
    const { status, headers } = await get(`${gateway.adminUrl}/console/users`, { host })
    expect(status).toBeGreaterThanOrEqual(400)
    expect(headers['set-cookie']).toBeUndefined()
  })

  it('refuses a listed name over plain http, and says why', async () => {
    for (const host of ['console.example.com', 'gateway.test']) {
      const { status, text } = await get(`${gateway.adminUrl}/console/users`, { host })
      expect([status, text.includes('only over https')], host).toEqual([403, true])
    }
  })

  it.each([
    ['application/json', '{}', 415],
    ['application/x-www-form-urlencoded', `login=${'a'.repeat(70_000)}`, 413],
  ])('refuses a body of %s that no form of its pages sends', async (type, body, status) => {
    const headers = { 'content-type': type, 'sec-fetch-site': 'same-origin' }
    const answer = await fetch(`${gateway.adminUrl}/console/login`, { method: 'POST', headers, body })
    expect([answer.status, answer.headers.get('content-type')]).toEqual([status, 'text/html; charset=utf-8'])
  })

  it('logs a request with its name', async () => {
    await get(`${gateway.adminUrl}/console/users`)
    expect(gateway.log()).toContainEqual(expect.objectContaining({ msg: 'request', route: 'console.users', outcome: 'token_missing' }))
  })
})

describe('behind a trusted proxy that speaks TLS', () => {
  const gateway = useGateway({
    config: { auth: { browser: { enabled: true, consoleHosts: ['console.example.com'] } }, server: { trustedProxies: ['127.0.0.1/32'] } },
  })

  it('answers under the listed name that the proxy sends', async () => {
    const forwarded = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'console.example.com', 'x-forwarded-for': '192.0.2.7' }
    expect((await get(`${gateway.adminUrl}/console`, forwarded)).status).toBe(303)
    const other = await get(`${gateway.adminUrl}/console`, { ...forwarded, 'x-forwarded-host': 'rebound.example' })
    expect(other.status).toBe(403)
    const plain = await get(`${gateway.adminUrl}/console`, { ...forwarded, 'x-forwarded-proto': 'http' })
    expect(plain.status).toBe(403)
  })
})

describe.each([
  ['console: off', withConsole({ console: 'off' })],
  ['console: public', withConsole({ console: 'public' })],
  ['browser.enabled: false', {}],
])('%s', (_name, options) => {
  const gateway = useGateway(options)

  it('the admin listener has no console', async () => {
    expect((await get(`${gateway.adminUrl}/console`)).status).toBe(404)
    expect((await get(`${gateway.adminUrl}/console/login`)).status).toBe(404)
  })
})
