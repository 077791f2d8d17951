import { createRemoteJWKSet, jwtVerify } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { call, newUser, newUserWithRoles, raw, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let gateway: Gateway
let user: TestUser
beforeAll(async () => {
  upstream = await startUpstream((_req, res) => {
    res.setHeaders(
      new Map([
        ['server', 'nginx/1.2.3'],
        ['x-powered-by', 'Express'],
        ['cache-control', 'private'],
        ['x-frame-options', 'DENY'],
        ['link', `<${upstream.url}/items>; rel="next"`],
      ]),
    )
    res.setHeader('set-cookie', ['sid=1; Path=/account', '__Host-a=1; Secure; Path=/'])
    return false
  })
  const route = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], access: 'public', ...part })
  gateway = await startGateway({
    config: { server: { trustedProxies: ['127.0.0.1/32'] } },
    routes: [
      route('edited', {
        headers: {
          request: { set: { 'X-Tenant': 'acme', 'X-Api-Version': '2', Host: 'orders.internal' }, remove: ['Cookie', 'X-Debug'] },
          response: { set: { 'Cache-Control': 'no-store', 'X-Request-Id': 'theirs' }, remove: ['Server', 'x-powered-by'] },
        },
      }),
      route('proven', { access: 'authenticated', headers: { assertion: true }, websocket: true }),
      route('proven-public', { headers: { assertion: true } }),
      route('office', { networks: { allow: ['192.0.2.0/24', '2001:db8::/32'], deny: ['192.0.2.66/32'] } }),
      route('not-them', { networks: { deny: ['198.51.100.0/24'] } }),
      route('office-users', { access: 'authenticated', networks: { allow: ['192.0.2.0/24'] } }),
    ],
  })
  user = await newUser(gateway)
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})
beforeEach(() => void upstream.take())

describe('a route that edits headers', () => {
  it('sets and removes them on the way to the upstream, whatever the client sent', async () => {
    const spelled = { x_tenant: 'evil', 'x.debug': '1', content_length: '7', transfer_encoding: 'chunked' }
    await call(gateway, '/edited', { headers: { 'x-tenant': 'other', cookie: 'a=b', 'X-DEBUG': '1', 'x-kept': 'yes', ...spelled } })
    const [{ headers, rawHeaders }] = upstream.take() as [any]
    expect(headers).toMatchObject({ 'x-tenant': 'acme', 'x-api-version': '2', 'x-kept': 'yes', host: 'orders.internal' })
    expect(rawHeaders.filter(([name]: [string]) => /^(cookie|x.debug|x_tenant|content_length|transfer_encoding)$/i.test(name))).toEqual([])
    expect(rawHeaders.filter(([name]: [string]) => name === 'x-tenant')).toHaveLength(1)
  })

  it('and on the way back; what the gateway says itself stands', async () => {
    const { headers } = await call(gateway, '/edited', { headers: { 'x-request-id': 'mine' } })
    expect([headers.get('cache-control'), headers.get('server'), headers.get('x-powered-by')]).toEqual(['no-store', null, null])
    expect([headers.get('x-frame-options'), headers.get('x-request-id')]).toEqual(['DENY', 'mine'])
  })
})

describe('X-Auth-Assertion', () => {
  const assertionOf = async (token: string | undefined, path = '/proven') => {
    await call(gateway, path, { token, headers: { 'x-auth-assertion': 'forged' } })
    return upstream.take()[0]!.headers['x-auth-assertion'] as string | undefined
  }
  const jwks = () => createRemoteJWKSet(new URL(`${gateway.url}/.well-known/jwks.json`))
  const verify = (assertion: string) =>
    jwtVerify(assertion, jwks(), {
      typ: 'assertion+jwt',
      issuer: 'http://gateway.test',
      audience: upstream.url,
      currentDate: new Date(gateway.clock.now()),
    })

  it('proves to this upstream who calls, by the key of the JWKS, for a minute', async () => {
    const admin = await newUserWithRoles(gateway, ['admin'])
    const { payload, protectedHeader } = await verify((await assertionOf(admin.token))!)
    expect(payload).toMatchObject({ sub: admin.id, roles: ['admin', 'user'], aud: upstream.url, scope: '' })
    expect(payload.exp! - payload.iat!).toBe(60)
    expect(protectedHeader.alg).toBe('ES256')
    expect(Object.keys(payload)).toEqual(['sid', 'roles', 'scope', 'iss', 'aud', 'sub', 'iat', 'exp', 'jti'])
  })

  it('is sent again while fresh, and replaced before it expires', async () => {
    const first = await assertionOf(user.token)
    expect(await assertionOf(user.token)).toBe(first)
    gateway.clock.advance(41_000)
    const second = (await assertionOf(user.token))!
    expect(second).not.toBe(first)
    await verify(second)
  })

  it('expires with the token that it is made from', async () => {
    const someone = await newUser(gateway)
    const { exp } = JSON.parse(Buffer.from(someone.token.split('.')[1]!, 'base64url').toString())
    gateway.clock.advance(880_000)
    const assertion = (await assertionOf(someone.token))!
    const { payload } = await verify(assertion)
    expect(payload.exp).toBe(exp)
    expect(await assertionOf(someone.token)).toBe(assertion)
    gateway.clock.advance(-880_000)
  })

  it('is not sent for an anonymous request, nor on a route without the setting', async () => {
    expect(await assertionOf(undefined, '/proven-public')).toBeUndefined()
    expect(await assertionOf(user.token, '/proven-public')).toBeDefined()
    expect(await assertionOf(user.token, '/edited')).toBeUndefined()
  })

  it('opens nothing here', async () => {
    const assertion = (await assertionOf(user.token))!
    expect((await call(gateway, '/proven', { token: assertion })).body.code).toBe('token_invalid')
    expect((await call(gateway, '/auth/me', { token: assertion })).status).toBe(401)
  })

  it('is sent with a WebSocket, too', async () => {
    const seen = new Promise<string>((resolve) =>
      upstream.server.once('upgrade', (req, socket) => {
        resolve(String(req.headers['x-auth-assertion']))
        socket.end('HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n')
      }),
    )
    new WebSocket(`ws://127.0.0.1:${gateway.port}/proven`, { headers: { authorization: `Bearer ${user.token}` } }).on('error', () => {})
    expect((await verify(await seen)).payload.sub).toBe(user.id)
  })
})

describe('a route that is open to some networks', () => {
  const from = async (address: string, path: string) => (await call(gateway, path, { headers: { 'x-forwarded-for': address } })).status

  it.each([
    ['/office', '192.0.2.1', 200],
    ['/office', '2001:db8::7', 200],
    ['/office', '::ffff:192.0.2.1', 200],
    ['/office', '192.0.2.66', 403],
    ['/office', '192.0.3.1', 403],
    ['/office', '2001:db9::7', 403],
    ['/not-them', '198.51.100.7', 403],
    ['/not-them', '203.0.113.1', 200],
    // before anybody is asked who he is
    ['/office-users', '203.0.113.1', 403],
    ['/office-users', '192.0.2.1', 401],
  ])('%s from %s is %i', async (path, address, status) => {
    expect(await from(address, path)).toBe(status)
    expect(upstream.take()).toHaveLength(status === 200 ? 1 : 0)
  })

  it('is closed to who makes the word of the proxy unreadable', async () => {
    const strict = await startGateway({
      config: { server: { trustedProxies: ['127.0.0.1/32'], forwardedBy: 'forwarded' } },
      routes: [{ name: 'inside', match: { path: '/' }, upstream: [upstream.url], access: 'public', networks: { allow: ['127.0.0.0/8'] } }],
    })
    const from = async (forwarded: string) => (await call(strict, '/', { headers: { forwarded } })).status
    expect([await from('for=203.0.113.7'), await from('x, for=203.0.113.7'), await from('for=127.0.0.1')]).toEqual([403, 400, 200])
    await strict.close()
  })

  it('does not say so to who is outside', async () => {
    const { body } = await call(gateway, '/office', { headers: { 'x-forwarded-for': '203.0.113.1' } })
    expect(body).toMatchObject({ code: 'forbidden', detail: 'You may not do this. Ask the operator of this service for access.' })
  })
})

describe('Via', () => {
  const seen = async (via: string | undefined, to = gateway) => {
    await call(to, '/proven-public', { headers: via ? { via } : {} })
    return upstream.take()[0]!.headers.via
  }
  it('names us without a version, after what a trusted proxy says (RFC 9110 §7.6.3)', async () => {
    expect(await seen(undefined)).toBe('1.1 portcullis')
    expect(await seen('2 edge')).toBe('2 edge, 1.1 portcullis')
  })
  it.each([
    [undefined, '1.1 portcullis', null],
    [{ request: false, response: true }, undefined, '1.1 portcullis'],
    [{ request: true, response: true }, '1.1 portcullis', '1.1 portcullis'],
  ])('under headers.via = %j is %j for the upstream and %j for the client', async (via, toUpstream, toClient) => {
    const routes = [{ name: 'all', match: { path: '/' }, upstream: [upstream.url], access: 'public' }]
    const some = await startGateway({ routes, ...(via && { config: { headers: { via } } }) })
    const { headers } = await call(some, '/')
    expect([upstream.take()[0]!.headers.via, headers.get('via')]).toEqual([toUpstream, toClient])
    await some.close()
  })
  it('of a stranger is not believed', async () => {
    const open = await startGateway({ routes: [{ name: 'all', match: { path: '/' }, upstream: [upstream.url], access: 'public' }] })
    expect(await seen('2 edge', open)).toBe('1.1 portcullis')
    await open.close()
  })
})

describe('a route under another prefix', () => {
  const own = () => `127.0.0.1:${upstream.port}`
  const routes = () =>
    [{ name: 'mounted', rewrite: { prefix: '/' } }, { name: 'plain' }, { name: 'virtual', preserveHost: true }].map((part) => ({
      ...part,
      match: { path: `/${part.name}` },
      upstream: [upstream.url],
      access: 'public',
    }))
  const behind = useGateway(() => ({ routes: routes(), config: { server: { trustedProxies: ['127.0.0.1/32'] } } }))
  const open = useGateway(() => ({ routes: routes() }))
  const sent = async (path: string, fields: string[], to = behind) => {
    await raw(to.port, [`GET ${path} HTTP/1.1`, ...fields, 'Connection: close', '', ''].join('\r\n'))
    const { headers } = upstream.take()[0]!
    return [headers.host, headers['x-forwarded-host'], headers['x-forwarded-port'], headers['x-forwarded-prefix']]
  }

  it('tells the upstream the prefix, the port and the host of the client; a trusted proxy’s go before', async () => {
    expect(await sent('/mounted/x', ['Host: a.test:81'])).toEqual([own(), 'a.test:81', '81', '/mounted'])
    const proxys = ['X-Forwarded-Host: b.test', 'X-Forwarded-Port: 8443', 'X-Forwarded-Prefix: /outer']
    expect(await sent('/mounted/x', ['Host: a.test', ...proxys])).toEqual([own(), 'b.test', '8443', '/outer/mounted'])
    expect(await sent('/plain', ['Host: a.test', ...proxys])).toEqual([own(), 'b.test', '8443', '/outer'])
  })

  it('does not tell what a stranger claims', async () => {
    for (const name of ['X-Forwarded-Prefix', 'X_Forwarded_Prefix']) {
      const claims = ['Host: a.test', 'X-Forwarded-Port: 1', `${name}: /evil`]
      expect(await sent('/mounted/x', claims, open)).toEqual([own(), 'a.test', '80', '/mounted'])
      expect(await sent('/plain', claims, open)).toEqual([own(), 'a.test', '80', undefined])
    }
  })

  it('and with preserveHost passes the Host of the client as it was sent', async () => {
    expect(await sent('/virtual', ['Host: Shop.test:81'])).toEqual(['Shop.test:81', 'Shop.test:81', '81', undefined])
  })

  it('has the cookies and links of its upstream mapped', async () => {
    const { headers } = await call(behind, '/mounted/x')
    expect(headers.getSetCookie()).toEqual(['sid=1; Path=/mounted/account', '__Host-a=1; Secure; Path=/'])
    expect(headers.get('link')).toBe('</mounted/items>; rel="next"')
  })
})

describe('an identity that would not fit the headers of an upstream', () => {
  const many = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`department.number-${i}`, {}]))
  const roles = { user: {}, ...many, everything: { inherits: Object.keys(many) } }

  it('is refused when its token would be issued, and the reason is logged', async () => {
    const gateway = await startGateway({
      config: { auth: { roles } },
      routes: [{ name: 'all', match: { path: '/' }, upstream: [upstream.url], access: 'authenticated' }],
    })
    const few = await newUserWithRoles(gateway, ['department.number-1'])
    expect((await call(gateway, '/', { token: few.token })).status).toBe(200)
    // the configuration may have given a role more scopes after its grant
    await rows(gateway, `UPDATE users SET roles = '{everything}' WHERE id = $1`, [few.id])
    const { status, body } = await call(gateway, '/auth/login', { body: { login: few.username, password: few.password } })
    expect([status, body.code]).toEqual([403, 'identity_too_large'])
    expect(body.detail).not.toContain(few.id)
    expect(gateway.log().find((l) => l.outcome === 'identity_too_large')).toMatchObject({ cause: expect.stringMatching(/characters long/) })
    await gateway.close()
  })
})
