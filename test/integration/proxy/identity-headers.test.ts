import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { query } from '../../support/postgres.ts'
import { type Seen, startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let gateway: Gateway
let user: TestUser
const routesTo = (url: string) => [
  { name: 'private', match: { path: '/private' }, upstream: [url], access: 'authenticated' },
  { name: 'public', match: { path: '/public' }, upstream: [url], access: 'public' },
  { name: 'passing', match: { path: '/passing' }, upstream: [url], access: 'public', headers: { forwardAuthorization: true } },
]
beforeAll(async () => {
  upstream = await startUpstream()
  gateway = await startGateway({ routes: routesTo(upstream.url) })
  user = await newUserWithRoles(gateway, ['reader', 'admin'])
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
/** The one request that reached the upstream. */
async function seen(path: string, headers: Record<string, string> = {}, at = gateway): Promise<Seen> {
  upstream.take()
  const { status } = await call(at, path, { headers })
  expect(status).toBe(200)
  const [request, ...more] = upstream.take()
  expect(more).toEqual([])
  return request!
}
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const lines = (request: Seen, pattern: RegExp) =>
  request.rawHeaders.filter(([name]) => pattern.test(name)).map(([name, value]) => `${name}: ${value}`)
const claims = (token: string) => JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString())

describe('identity', () => {
  it('has these bytes: user, roles sorted and joined by a comma, session; no e-mail address that is not verified', async () => {
    const { sid } = claims(user.token)
    expect(user.id).toMatch(UUID)
    expect(sid).toMatch(UUID)
    expect(lines(await seen('/private', bearer(user.token)), /^x-auth/i)).toEqual([
      `x-auth-user: ${user.id}`,
      'x-auth-roles: admin,reader,user',
      `x-auth-session: ${sid}`,
    ])
  })

  it('is the same with a token that was proven before', async () => {
    const [first, second] = [await seen('/private', bearer(user.token)), await seen('/private', bearer(user.token))]
    expect(lines(second, /^x-auth/i)).toEqual(lines(first, /^x-auth/i))
  })

  it('holds the e-mail address once it is verified', async () => {
    const person = await newUserWithRoles(gateway, ['reader'])
    await query(gateway.databaseUrl, 'UPDATE users SET email_verified_at = now() WHERE id = $1', [person.id])
    const { body } = await call(gateway, '/auth/login', { body: { login: person.username, password: person.password } })
    const request = await seen('/private', bearer(body.access_token))
    expect(lines(request, /^x-auth-email$/i)).toEqual([`x-auth-email: ${person.email}`])
  })

  it('has the names of the configuration, and the unverified e-mail address in percent-encoding where that is asked for', async () => {
    const named = await startGateway({
      routes: routesTo(upstream.url),
      config: {
        headers: {
          identity: { user: 'Remote-User', email: 'Remote-Email', roles: 'R-Roles', session: 'R-Session', unverifiedEmail: true },
        },
      },
    })
    try {
      const { body } = await call(named, '/auth/register', {
        body: { username: 'zoe', email: 'zo\u00eb%x@example.com', password: 'correct horse battery' },
      })
      expect(lines(await seen('/private', bearer(body.access_token), named), /^(x-auth|remote|r-)/i)).toEqual([
        `remote-user: ${body.user.id}`,
        'remote-email: zo%C3%AB%25x@example.com',
        'r-roles: user',
        `r-session: ${claims(body.access_token).sid}`,
      ])
    } finally {
      await named.close()
    }
  })

  it('on a public route: anonymous without a token, the user with a valid token, 401 with an invalid token', async () => {
    expect(lines(await seen('/public'), /^x-auth/i)).toEqual([])
    expect(lines(await seen('/public', bearer(user.token)), /^x-auth-user/i)).toEqual([`x-auth-user: ${user.id}`])
    upstream.take()
    const refused = await call(gateway, '/public', { token: `${user.token.slice(0, -4)}AAAA` })
    expect(refused).toMatchObject({ status: 401, body: { code: 'token_invalid' } })
    expect(refused.headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
    expect(upstream.take()).toEqual([])
  })
})

describe('Authorization', () => {
  it('is not forwarded unless the route says so', async () => {
    expect(lines(await seen('/private', bearer(user.token)), /^authorization$/i)).toEqual([])
    expect(lines(await seen('/public', { authorization: 'Basic YTpi' }), /^authorization$/i)).toEqual([])
    expect(lines(await seen('/passing', bearer(user.token)), /^authorization$/i)).toEqual([`authorization: Bearer ${user.token}`])
  })
})

describe('X-Request-Id', () => {
  it('of the client is kept, and comes back', async () => {
    upstream.take()
    const { headers } = await call(gateway, '/public', { headers: { 'x-request-id': 'Abc.1_2-3' } })
    expect(headers.get('x-request-id')).toBe('Abc.1_2-3')
    expect(lines(upstream.take()[0]!, /^x-request-id$/i)).toEqual(['x-request-id: Abc.1_2-3'])
  })

  it.each(['with blank', 'x'.repeat(65), '', 'a/b', '<b>'])('is made when the client’s is %j', async (given) => {
    upstream.take()
    const { headers } = await call(gateway, '/public', { headers: { 'x-request-id': given } })
    const made = headers.get('x-request-id')
    expect(made).toMatch(/^[0-9a-f-]{36}$/)
    expect(lines(upstream.take()[0]!, /^x-request-id$/i)).toEqual([`x-request-id: ${made}`])
  })

  it('is the same in the log', async () => {
    await call(gateway, '/public', { headers: { 'x-request-id': 'find-me' } })
    expect(gateway.log()).toContainEqual(expect.objectContaining({ request_id: 'find-me', route: 'public', status: 200, outcome: 'ok' }))
  })
})

describe('traceparent', () => {
  const trace = '0af7651916cd43dd8448eb211c80319c'
  it('goes on under a span of ours, without the flag of a stranger', async () => {
    const { headers } = await seen('/public', { traceparent: `00-${trace}-b7ad6b7169203331-01` })
    expect(headers.traceparent).toMatch(new RegExp(`^00-${trace}-(?!b7ad6b7169203331)[0-9a-f]{16}-00$`))
  })
  it('begins where there was none', async () => {
    expect((await seen('/public')).headers.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-02$/)
  })
})

describe('X-Forwarded-For, -Proto, -Host and -Port', () => {
  const claim = { 'x-forwarded-for': '198.51.100.1', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'public.test' }
  it('are set anew, whatever a client sends', async () => {
    expect(lines(await seen('/public', claim), /^x-forwarded/i)).toEqual([
      'x-forwarded-for: 127.0.0.1',
      'x-forwarded-proto: http',
      `x-forwarded-host: 127.0.0.1:${gateway.port}`,
      `x-forwarded-port: ${gateway.port}`,
    ])
  })

  it('of a trusted proxy go on, with its address added; the log has the client', async () => {
    const behind = await startGateway({ routes: routesTo(upstream.url), config: { server: { trustedProxies: ['127.0.0.0/8'] } } })
    try {
      expect(lines(await seen('/public', claim, behind), /^x-forwarded/i)).toEqual([
        'x-forwarded-for: 198.51.100.1, 127.0.0.1',
        'x-forwarded-proto: https',
        'x-forwarded-host: public.test',
        'x-forwarded-port: 443',
      ])
      expect(behind.log()).toContainEqual(expect.objectContaining({ route: 'public', ip: '198.51.100.1' }))
    } finally {
      await behind.close()
    }
  })
})
