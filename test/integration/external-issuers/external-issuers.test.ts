import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { call, newUserWithRoles, OPERATOR, type TestUser } from '../../support/client.ts'
import { type ExternalIssuer, newSigningKey, startExternalIssuer } from '../../support/external-issuer.ts'
import { type Gateway, startGateway, stillClock, type TestClock } from '../../support/gateway.ts'
import { claimsOf } from '../../support/session.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

/** What the gateway does once a second by itself may take longer on a busy machine. */
const BACKGROUND = { timeout: 20_000 }

const routes = (upstream: Upstream) => {
  const to = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], ...part })
  return [
    to('users', { access: 'authenticated' }),
    to('staff', { access: { roles: ['user'] } }),
    to('orders', { access: { scopes: ['orders:read'] } }),
    to('public', { access: 'public' }),
    to('mfa', { access: { mfa: true } }),
    to('fresh', { access: { maxAuthAgeSeconds: 300 } }),
  ]
}

const codeOf = async (gateway: Gateway, token: string, path = '/users/x') => {
  const { status, body } = await call(gateway, path, { token })
  return status === 200 ? 200 : `${status} ${body.code}`
}

/** The gateway reads the keys in the background: until then it answers 503. */
const untilKeysAreRead = (issuer: ExternalIssuer, count = 1) =>
  vi.waitFor(() => expect(issuer.count('/jwks')).toBeGreaterThanOrEqual(count), BACKGROUND)

describe('a token of another issuer', () => {
  let upstream: Upstream
  let issuer: ExternalIssuer
  let gateway: Gateway
  beforeAll(async () => {
    upstream = await startUpstream()
    issuer = await startExternalIssuer()
    gateway = await startGateway({ config: { issuers: [issuer.settings()] }, routes: routes(upstream) })
    await untilKeysAreRead(issuer)
  })
  afterAll(async () => {
    await gateway.close()
    await issuer.close()
    await upstream.close()
  })

  it('passes to upstreams, which know its subject by the id of the issuer', async () => {
    upstream.take()
    const token = await issuer.token({ groups: ['staff', 'admin', '__proto__'], email: 'ann@example.com', email_verified: true, sid: 's' })
    expect(await codeOf(gateway, token)).toBe(200)
    const { headers } = upstream.take()[0]!
    const identity = Object.entries(headers).filter(([name]) => name.startsWith('x-auth-'))
    expect(Object.fromEntries(identity)).toEqual({ 'x-auth-user': 'ext:work:ann', 'x-auth-roles': 'user' })
    expect(headers.authorization).toBeUndefined()
  })

  it('is judged by the roles and scopes that the configuration maps to it, and by nothing else', async () => {
    expect(await codeOf(gateway, await issuer.token(), '/staff/x')).toBe('403 forbidden')
    expect(await codeOf(gateway, await issuer.token({ groups: 'staff' }), '/staff/x')).toBe(200)
    expect(await codeOf(gateway, await issuer.token({ groups: ['other'], roles: ['user'] }), '/staff/x')).toBe('403 forbidden')
    expect(await codeOf(gateway, await issuer.token({ scope: 'openid orders.read' }), '/orders/x')).toBe(200)
    expect(await codeOf(gateway, await issuer.token({ scope: 'orders:read' }), '/orders/x')).toBe('403 forbidden')
  })

  it('has no second factor and is never fresh', async () => {
    const token = await issuer.token({ amr: ['mfa', 'otp'], auth_time: Math.floor(Date.now() / 1000) })
    expect(await codeOf(gateway, token, '/mfa/x')).toBe('403 mfa_required')
    expect(await codeOf(gateway, token, '/fresh/x')).toBe('401 reauthentication_required')
  })

  it.each([
    ['with blanks', 'Ann Müller', 'ext:work:Ann%20M%C3%BCller'],
    ['with a percent sign', 'a%20b', 'ext:work:a%2520b'],
    ['with a colon, as another issuer', 'other:bob', 'ext:work:other:bob'],
    ['like a user id', '018f0000-0000-7000-8000-000000000000', 'ext:work:018f0000-0000-7000-8000-000000000000'],
    ['with a comma and quotes', `a,"b'`, `ext:work:a,"b'`],
    ['of 512 characters', 'x'.repeat(512), `ext:work:${'x'.repeat(512)}`],
  ])('may have a subject %s, which upstreams can read back', async (_, sub, header) => {
    upstream.take()
    expect(await codeOf(gateway, await issuer.token({ sub }))).toBe(200)
    const shown = upstream.take()[0]!.headers['x-auth-user'] as string
    expect(shown).toBe(header)
    expect(decodeURIComponent(shown)).toBe(`ext:work:${sub}`)
  })

  it.each([
    ['missing', undefined],
    ['empty', ''],
    ['a number', 7],
    ['with a line break', 'a\r\nX-Auth-Roles: admin'],
    ['with NUL', 'a\0'],
    ['with half a character', 'a\ud800'],
    ['of 513 characters', 'x'.repeat(513)],
  ])('is refused with a subject that is %s', async (_, sub) => {
    expect(await codeOf(gateway, await issuer.token({ sub }))).toBe('401 token_invalid')
  })

  it.each<[string, (issuer: ExternalIssuer) => Promise<string>, string]>([
    ['another audience', (i) => i.token({ aud: 'billing' }), 'token_invalid'],
    ['a list of other audiences', (i) => i.token({ aud: ['billing', 'order'] }), 'token_invalid'],
    ['an audience that is no text', (i) => i.token({ aud: [['orders']] }), 'token_invalid'],
    ['no audience', (i) => i.token({ aud: undefined }), 'token_invalid'],
    ['no exp', (i) => i.token({ exp: undefined }), 'token_invalid'],
    ['no iat', (i) => i.token({ iat: undefined }), 'token_invalid'],
    ['exp as text', (i) => i.token({ exp: '9999999999' }), 'token_invalid'],
    ['another type', (i) => i.token({}, { typ: 'JWT' }), 'token_invalid'],
    ['no type', (i) => i.token({}, { typ: undefined }), 'token_invalid'],
    ['the type none', (i) => i.token({}, { typ: 'none' }), 'token_invalid'],
    ['a type that is no text', (i) => i.token({}, { typ: ['at+jwt'] }), 'token_invalid'],
    ['a time that is expired', (i) => i.token({ iat: seconds() - 400, exp: seconds() - 10 }), 'token_expired'],
    ['a time to come', (i) => i.token({ iat: seconds() + 120, exp: seconds() + 300 }), 'token_invalid'],
    ['nbf to come', (i) => i.token({ nbf: seconds() + 120 }), 'token_invalid'],
    ['a life that is too long', (i) => i.token({ exp: seconds() + 3700 }), 'token_invalid'],
    ['jti that is no text', (i) => i.token({ jti: 7 }), 'token_invalid'],
    ['claims that are a list', (i) => i.signed('[]'), 'token_invalid'],
    ['claims that are null', (i) => i.signed('null'), 'token_invalid'],
    ['more than 8 KiB', (i) => i.token({ groups: Array.from({ length: 900 }, (_, n) => `group-${n}`) }), 'token_invalid'],
  ])('with %s is refused', async (_, make, code) => {
    expect(await codeOf(gateway, await make(issuer))).toBe(`401 ${code}`)
  })

  it.each<[string, (issuer: ExternalIssuer) => Promise<string>]>([
    ['a list of audiences with ours', (i) => i.token({ aud: ['billing', 'orders'] })],
    ['the type in the form of a media type', (i) => i.token({}, { typ: 'application/AT+JWT' })],
    ['a clock that is ahead by less than a minute', (i) => i.token({ iat: seconds() + 50, nbf: seconds() + 50, exp: seconds() + 350 })],
    ['a clock that is behind by some seconds', (i) => i.token({ iat: seconds() - 300, exp: seconds() - 3 })],
    ['no jti', (i) => i.token({ jti: undefined })],
    ['no kid, where the issuer has one key', (i) => i.token({}, { kid: undefined })],
    [
      'JSON with blanks',
      (i) => i.signed(JSON.stringify({ iss: i.issuer, aud: 'orders', sub: 'é', iat: seconds(), exp: seconds() + 60 }, null, 2)),
    ],
    ['5 KB of groups', (i) => i.token({ groups: Array.from({ length: 400 }, (_, n) => `group-${n}`) })],
    ['x5t in its header', (i) => i.token({}, { x5t: 'abc' })],
  ])('with %s is accepted', async (_, make) => {
    expect(await codeOf(gateway, await make(issuer))).toBe(200)
  })

  it('that was refused for its life says so in the log', async () => {
    await codeOf(gateway, await issuer.token({ exp: seconds() + 3700 }))
    expect(JSON.stringify(gateway.log())).toContain('longer than issuers[work].maxTtlSeconds: 3600')
  })
})

const seconds = () => Math.floor(Date.now() / 1000)

describe('required claims', () => {
  let upstream: Upstream
  let issuer: ExternalIssuer
  let gateway: Gateway
  beforeAll(async () => {
    upstream = await startUpstream()
    issuer = await startExternalIssuer()
    const settings = issuer.settings({
      jwksUri: undefined,
      typ: ['JWT', 'none'],
      require: { '/kubernetes.io/namespace': ['shop', 'billing'], 'https://example.com/kind': ['access'], verified: [true], tier: [2] },
      roles: { claim: '/realm_access/roles', map: { staff: ['user'] } },
      scopes: undefined,
    })
    gateway = await startGateway({ config: { issuers: [settings] }, routes: routes(upstream) })
    await untilKeysAreRead(issuer)
  })
  afterAll(async () => {
    await gateway.close()
    await issuer.close()
    await upstream.close()
  })

  const GOOD = {
    'kubernetes.io': { namespace: 'shop' },
    'https://example.com/kind': ['access', 'other'],
    verified: true,
    tier: 2,
    realm_access: { roles: ['staff'] },
  }
  const headers = { typ: 'JWT' }

  it('the keys are found by discovery, and a token with all claims is accepted, with a nested claim for its roles', async () => {
    expect(issuer.count('/.well-known/openid-configuration')).toBe(1)
    expect(await codeOf(gateway, await issuer.token(GOOD, headers), '/staff/x')).toBe(200)
    expect(await codeOf(gateway, await issuer.token(GOOD, { typ: undefined }), '/staff/x')).toBe(200)
  })

  it.each([
    ['another value', { 'kubernetes.io': { namespace: 'kube-system' } }],
    ['no claim', { 'kubernetes.io': undefined }],
    ['the path as a name', { 'kubernetes.io': undefined, '/kubernetes.io/namespace': 'shop', 'kubernetes.io/namespace': 'shop' }],
    ['the name as a path', { 'https://example.com/kind': undefined, 'https:': { '': { 'example.com': { kind: 'access' } } } }],
    ['a text for a boolean', { verified: 'true' }],
    ['1 for a boolean', { verified: 1 }],
    ['a text for a number', { tier: '2' }],
    ['a value inside an object', { 'kubernetes.io': { namespace: { shop: true } } }],
    ['a nonce, as an ID token has', { nonce: 'n' }],
    ['at_hash, as an ID token has', { at_hash: 'h' }],
    ['events, as a logout token has', { events: {} }],
  ])('a token with %s is refused', async (_, changed) => {
    expect(await codeOf(gateway, await issuer.token({ ...GOOD, ...changed }, headers))).toBe('401 token_invalid')
  })
})

describe('the keys of an issuer', () => {
  let upstream: Upstream
  let issuer: ExternalIssuer
  let gateway: Gateway
  let clock: TestClock
  beforeAll(async () => {
    upstream = await startUpstream()
  })
  afterAll(() => upstream.close())

  async function run(work: () => Promise<void>, settings: object = {}, before: (issuer: ExternalIssuer) => void = () => {}): Promise<void> {
    issuer = await startExternalIssuer()
    before(issuer)
    clock = stillClock()
    gateway = await startGateway({ clock, config: { issuers: [issuer.settings(settings)] }, routes: routes(upstream) })
    try {
      await work()
    } finally {
      await gateway.close()
      await issuer.close()
    }
  }

  it('are read again for a key that is not known, once for any number of tokens', () =>
    run(async () => {
      await untilKeysAreRead(issuer)
      const before = await issuer.token()
      expect(await codeOf(gateway, before)).toBe(200)
      // a rotation: the next key is published, and signs at once
      issuer.keys.unshift(newSigningKey())
      expect(await codeOf(gateway, await issuer.token())).toBe(200)
      expect(issuer.count('/jwks')).toBe(2)
      // both keys count
      expect(await codeOf(gateway, await issuer.token({}, {}, issuer.keys[1]))).toBe(200)

      const stranger = newSigningKey()
      const flood = await Promise.all(Array.from({ length: 30 }, (_, n) => issuer.token({}, { kid: `unknown-${n}` }, stranger)))
      expect(new Set(await Promise.all(flood.map((token) => codeOf(gateway, token))))).toEqual(new Set(['401 token_invalid']))
      expect(issuer.count('/jwks')).toBe(2)
      clock.advance(10_001)
      expect(new Set(await Promise.all(flood.map((token) => codeOf(gateway, token))))).toEqual(new Set(['401 token_invalid']))
      expect(issuer.count('/jwks')).toBe(3)
    }))

  it('that are gone from the set verify nothing more, also what they verified before', () =>
    run(async () => {
      await untilKeysAreRead(issuer)
      const token = await issuer.token()
      expect(await codeOf(gateway, token)).toBe(200)
      issuer.keys = [newSigningKey()]
      clock.advance(300_000)
      await untilKeysAreRead(issuer, 2)
      await vi.waitFor(async () => expect(await codeOf(gateway, token)).toBe('401 token_invalid'), BACKGROUND)
      expect(await codeOf(gateway, await issuer.token())).toBe(200)
    }))

  it('cannot be had at the start: the gateway starts, is ready, and answers 503 until they can', () =>
    run(
      async () => {
        const { status, body, headers } = await call(gateway, '/users/x', { token: await issuer.token() })
        expect([status, body.code]).toEqual([503, 'issuer_unavailable'])
        expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
        expect((await fetch(`${gateway.adminUrl}/readyz`)).status).toBe(200)
        // another token of nobody is not worth 503
        expect(await codeOf(gateway, await issuer.token({ iss: 'https://other.test' }))).toBe('401 token_invalid')
        expect(await codeOf(gateway, await issuer.token(), '/public/x')).toBe('503 issuer_unavailable')
        const log = gateway.log().filter(({ reason }) => reason === 'issuer_keys_unread')
        expect(log).toHaveLength(1)
        expect(log[0]).toMatchObject({ msg: 'issuer work: jwksUri answered text/html, expected a JSON key set' })
        issuer.everything = null
        clock.advance(60_000)
        await vi.waitFor(async () => expect(await codeOf(gateway, await issuer.token())).toBe(200), BACKGROUND)
        expect(gateway.log().filter(({ msg }) => msg === 'the keys of the issuer can be read again')).toHaveLength(1)
        const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
        expect(metrics).toMatch(/portcullis_issuer_key_reads_total\{issuer="work",outcome="failure"\} [1-9]/)
        expect(metrics).toMatch(/portcullis_issuer_keys_age_seconds\{issuer="work"\} 0/)
      },
      {},
      (other) => {
        other.everything = (response) => void response.setHeader('content-type', 'text/html').end('<html>login</html>')
      },
    ))

  it.each<[string, (issuer: ExternalIssuer) => void, string]>([
    ['JSON that is no key set', (i) => (i.publish = () => ({ error: 'secret <text>' })), 'answered JSON without a list of keys'],
    ['an empty set', (i) => (i.publish = () => ({ keys: [] })), 'answered a key set without a key for ES256'],
    ['keys of another algorithm', (i) => (i.keys = [newSigningKey('RS256')]), 'answered a key set without a key for ES256'],
    ['a private key', (i) => (i.publish = (keys) => ({ keys: keys.map((key) => ({ ...key, d: key.x })) })), 'without a key for ES256'],
    [
      'keys for encryption',
      (i) => (i.publish = (keys) => ({ keys: keys.map((key) => ({ ...key, use: 'enc' })) })),
      'without a key for ES256',
    ],
    [
      'half of a JSON',
      (i) => (i.everything = (r) => void r.setHeader('content-type', 'application/json').end('{"keys": [')),
      'that is no JSON',
    ],
    [
      'a redirect',
      (i) => (i.everything = (r) => void r.writeHead(302, { location: `${i.issuer}/elsewhere` }).end()),
      'redirects are not followed',
    ],
    ['an error', (i) => (i.everything = (r) => void r.writeHead(500).end('secret <text>')), 'jwksUri answered status 500'],
    ['2 MB', (i) => (i.publish = (keys) => ({ keys, fill: 'x'.repeat(2_000_000) })), 'jwksUri cannot be read: terminated'],
    ['nothing', (i) => (i.everything = (r) => void r.destroy()), 'jwksUri cannot be read'],
  ])('that were read go on while the issuer answers with %s', (_, spoil, cause) =>
    run(async () => {
      await untilKeysAreRead(issuer)
      const good = issuer.keys[0]!
      const early = await issuer.token()
      expect(await codeOf(gateway, early)).toBe(200)
      spoil(issuer)
      clock.advance(300_000)
      await vi.waitFor(() => expect(gateway.log().filter(({ reason }) => reason === 'issuer_keys_unread')).toHaveLength(1), BACKGROUND)
      expect(JSON.stringify(gateway.log().find(({ reason }) => reason === 'issuer_keys_unread'))).toContain(cause)
      expect(JSON.stringify(gateway.log())).not.toContain('secret <text>')
      expect(issuer.count('/elsewhere')).toBe(0)
      // the test's clock moved on by 300 s
      const fresh = { iat: seconds() + 300, exp: seconds() + 600 }
      expect(await codeOf(gateway, await issuer.token(fresh, {}, good))).toBe(200)
      // what could not be looked up is not what does not exist
      expect(await codeOf(gateway, await issuer.token(fresh, {}, newSigningKey()))).toBe('503 issuer_unavailable')
    }))

  it('go on for a day without the issuer, and no longer', () =>
    run(async () => {
      await untilKeysAreRead(issuer)
      expect(await codeOf(gateway, await issuer.token())).toBe(200)
      issuer.everything = (response) => void response.writeHead(500).end()
      const at = (offset: number) => ({ iat: seconds() + offset, exp: seconds() + offset + 300 })
      clock.advance(23 * 3_600_000)
      expect(await codeOf(gateway, await issuer.token(at(23 * 3600)))).toBe(200)
      clock.advance(2 * 3_600_000)
      await vi.waitFor(() => expect(gateway.log().some(({ reason }) => reason === 'issuer_keys_too_old')).toBe(true), BACKGROUND)
      expect(await codeOf(gateway, await issuer.token(at(25 * 3600)))).toBe('503 issuer_unavailable')
    }))

  it('are asked for with the token of a file, which may change', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'portcullis-issuer-'))
    const tokenFile = join(dir, 'token')
    writeFileSync(tokenFile, 'first\n')
    await run(
      async () => {
        await untilKeysAreRead(issuer)
        writeFileSync(tokenFile, 'second')
        clock.advance(300_000)
        await untilKeysAreRead(issuer, 2)
        expect(issuer.seen.map(({ authorization }) => authorization)).toEqual(['Bearer first', 'Bearer second'])
      },
      { tokenFile },
    )
    rmSync(dir, { recursive: true })
  })
})

it('passes where another proxy asks, until it is blocked', async () => {
  const issuer = await startExternalIssuer()
  const gateway = await startGateway({
    config: {
      issuers: [issuer.settings()],
      forwardAuth: { dialect: 'nginx' },
      server: { trustedProxies: ['127.0.0.1/32'] },
    },
    routes: [{ name: 'asked', match: { path: '/asked' }, access: { roles: ['user'] }, forwardAuth: true }],
  })
  try {
    const token = await issuer.token({ groups: ['staff'] })
    const headers = { 'x-original-method': 'GET', 'x-original-uri': '/asked', 'x-forwarded-for': '192.0.2.1' }
    const ask = () => call(gateway, '/auth/verify', { token, headers })
    await vi.waitFor(async () => expect((await ask()).status).toBe(200), BACKGROUND)
    const { headers: answered } = await ask()
    expect(['x-auth-user', 'x-auth-roles', 'x-auth-session', 'authorization'].map((name) => answered.get(name))).toEqual([
      'ext:work:ann',
      'user',
      '',
      '',
    ])
    const admin = await newUserWithRoles(gateway, ['admin'])
    const block = { issuer: 'work', sub: 'ann' }
    expect((await call(gateway, '/auth/admin/external/block', { token: admin.token, body: block })).status).toBe(204)
    expect((await ask()).body).toMatchObject({ code: 'token_revoked' })
  } finally {
    await gateway.close()
    await issuer.close()
  }
})

describe('the signed identity for an upstream', () => {
  it('names the subject, its mapped roles and scopes, and ends with the token', async () => {
    const upstream = await startUpstream()
    const issuer = await startExternalIssuer()
    const asserting = {
      name: 'signed',
      match: { path: '/users' },
      upstream: [upstream.url],
      access: 'authenticated',
      headers: { assertion: true },
    }
    const gateway = await startGateway({ config: { issuers: [issuer.settings()] }, routes: [asserting] })
    try {
      const exp = seconds() + 30
      const token = await issuer.token({ groups: ['staff'], scope: 'orders.read', exp })
      await vi.waitFor(async () => expect(await codeOf(gateway, token)).toBe(200), BACKGROUND)
      const claims = claimsOf(upstream.take().at(-1)!.headers['x-auth-assertion'] as string)
      expect(claims).toMatchObject({ sub: 'ext:work:ann', roles: ['user'], scope: 'orders:read', aud: upstream.url })
      expect(claims.exp).toBeLessThanOrEqual(exp)
      expect(claims.sid).toBeUndefined()
    } finally {
      await gateway.close()
      await Promise.all([issuer.close(), upstream.close()])
    }
  })
})

describe('a WebSocket', () => {
  it.each([
    ['block', 4401],
    ['reload', 1012],
  ])('of a token of another issuer ends by a %s', async (how, code) => {
    const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    await once(sockets, 'listening')
    const { port } = sockets.address() as AddressInfo
    const issuer = await startExternalIssuer()
    const own = [{ name: 'ws', match: { path: '/ws' }, upstream: [`http://127.0.0.1:${port}`], access: 'authenticated', websocket: true }]
    const gateway = await startGateway({ config: { issuers: [issuer.settings()] }, routes: own })
    try {
      await untilKeysAreRead(issuer)
      const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`, {
        headers: { authorization: `Bearer ${await issuer.token()}` },
      })
      await once(socket, 'open')
      const closed = once(socket, 'close')
      if (how === 'block') await gateway.app.identity.administration.blockExternal({ issuer: 'work', sub: 'ann' }, OPERATOR)
      else await gateway.reload({ config: { issuers: [issuer.settings({ audience: 'billing' })] }, routes: own })
      expect((await closed)[0]).toBe(code)
    } finally {
      await gateway.close()
      await issuer.close()
      sockets.close()
    }
  })
})

describe('a reload', () => {
  it('adds and removes issuers while the gateway runs, and keeps the keys of those that stay', async () => {
    const upstream = await startUpstream()
    const [first, second] = [await startExternalIssuer(), await startExternalIssuer()]
    const own = routes(upstream)
    const gateway = await startGateway({ routes: own })
    const firstSettings = first.settings({ id: 'first' })
    try {
      const [ofFirst, ofSecond] = [await first.token(), await second.token()]
      expect(await codeOf(gateway, ofFirst)).toBe('401 token_invalid')
      const reload = async (issuers: object[]) =>
        expect(await gateway.reload({ config: { issuers }, routes: own })).toMatchObject({ status: 'reloaded', needsRestart: [] })
      await reload([firstSettings])
      await vi.waitFor(async () => expect(await codeOf(gateway, ofFirst)).toBe(200), BACKGROUND)
      await reload([firstSettings, second.settings({ id: 'second' })])
      await vi.waitFor(async () => expect(await codeOf(gateway, ofSecond)).toBe(200), BACKGROUND)
      expect(await codeOf(gateway, ofFirst)).toBe(200)
      expect(first.count('/jwks')).toBe(1)
      await reload([second.settings({ id: 'second', audience: 'billing' })])
      expect(await codeOf(gateway, ofFirst)).toBe('401 token_invalid')
      expect(await codeOf(gateway, ofSecond)).toBe('401 token_invalid')
    } finally {
      await gateway.close()
      await Promise.all([first.close(), second.close(), upstream.close()])
    }
  })

  it('that is refused leaves no issuer behind', async () => {
    const [upstream, issuer] = [await startUpstream(), await startExternalIssuer()]
    const dir = mkdtempSync(join(tmpdir(), 'portcullis-issuer-'))
    const pem = join(dir, 'client.pem')
    writeFileSync(pem, '-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n')
    const own = routes(upstream)
    const gateway = await startGateway({ routes: own })
    try {
      const tls = { url: 'https://127.0.0.1:1', tls: { cert: pem, key: pem } }
      const away = { name: 'away', match: { path: '/away' }, access: 'public', upstream: [tls] }
      const result = await gateway.reload({ config: { issuers: [issuer.settings()] }, routes: [...own, away] })
      expect(result).toMatchObject({ status: 'refused', problems: [expect.stringContaining('route away')] })
      const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
      expect(metrics).toContain('# TYPE portcullis_issuer_keys_age_seconds')
      expect(metrics).not.toContain('portcullis_issuer_keys_age_seconds{')
    } finally {
      await gateway.close()
      await Promise.all([issuer.close(), upstream.close()])
      rmSync(dir, { recursive: true, force: true })
    }
  })
})

describe('the block of a subject or token', () => {
  let upstream: Upstream
  let issuer: ExternalIssuer
  let gateway: Gateway
  let admin: TestUser
  beforeAll(async () => {
    upstream = await startUpstream((req, res) => {
      if (req.url !== '/users/stream') return false
      res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: first\n\n')
      return true
    })
    issuer = await startExternalIssuer()
    gateway = await startGateway({ config: { issuers: [issuer.settings()] }, routes: routes(upstream) })
    admin = await newUserWithRoles(gateway, ['admin'])
    await untilKeysAreRead(issuer)
  })
  afterAll(async () => {
    await gateway.close()
    await issuer.close()
    await upstream.close()
  })
  const act = async (action: 'block' | 'unblock', body: object) => {
    const answer = await call(gateway, `/auth/admin/external/${action}`, { body, token: admin.token })
    return answer.status === 204 ? 204 : `${answer.status} ${answer.body.code}`
  }
  const listed = async () => (await call(gateway, '/auth/admin/external/blocks', { token: admin.token })).body.blocks

  it('ends every token of the subject at once, and no other, until it is lifted', async () => {
    const [bob, again, eve] = await Promise.all(['bob', 'bob', 'eve'].map((sub) => issuer.token({ sub })))
    expect(await codeOf(gateway, bob!)).toBe(200)
    expect(await act('block', { issuer: 'work', sub: 'bob' })).toBe(204)
    expect(await codeOf(gateway, bob!)).toBe('401 token_revoked')
    expect(await codeOf(gateway, again!)).toBe('401 token_revoked')
    expect(await codeOf(gateway, eve!)).toBe(200)
    expect(await listed()).toEqual([{ issuer: issuer.issuer, sub: 'bob', blocked_at: expect.any(String), until: null }])
    expect(await act('block', { issuer: issuer.issuer, sub: 'bob' })).toBe(204)
    expect(await listed()).toHaveLength(1)
    expect(await act('unblock', { issuer: 'work', sub: 'bob' })).toBe(204)
    await vi.waitFor(async () => expect(await codeOf(gateway, bob!)).toBe(200), BACKGROUND)
    expect(await listed()).toEqual([])
    expect(await act('unblock', { issuer: 'work', sub: 'bob' })).toBe('404 not_found')
    expect(await act('block', { issuer: 'work', sub: 'bob' })).toBe(204)
    expect(await codeOf(gateway, bob!)).toBe('401 token_revoked')
  })

  it('ends one token by its jti, for longer than any token lives', async () => {
    const [one, two] = [await issuer.token({ jti: 'one' }), await issuer.token({ jti: 'two' })]
    expect(await act('block', { issuer: 'work', jti: 'one' })).toBe(204)
    expect(await codeOf(gateway, one)).toBe('401 token_revoked')
    expect(await codeOf(gateway, two)).toBe(200)
    const [{ until }] = (await listed()).filter(({ jti }: { jti?: string }) => jti === 'one')
    expect(Date.parse(until) - Date.now()).toBeGreaterThan(86_400_000)
  })

  it('ends open streams', async () => {
    const response = await fetch(`${gateway.url}/users/stream`, {
      headers: { authorization: `Bearer ${await issuer.token({ sub: 'streaming' })}` },
    })
    const reader = response.body!.getReader()
    await reader.read()
    await act('block', { issuer: 'work', sub: 'streaming' })
    // a stream that ends, or is cut off
    await expect(
      (async () => {
        while (!(await reader.read()).done);
      })().catch(() => undefined),
    ).resolves.toBeUndefined()
  })

  it('works at another gateway, without Redis, within 2 seconds, and after a restart', async () => {
    const { databaseUrl, secretKey } = gateway
    const start = () => startGateway({ databaseUrl, secretKey, config: { issuers: [issuer.settings()] }, routes: routes(upstream) })
    let other = await start()
    try {
      const token = await issuer.token({ sub: 'everywhere' })
      await vi.waitFor(async () => expect(await codeOf(other, token)).toBe(200), BACKGROUND)
      await act('block', { issuer: 'work', sub: 'everywhere' })
      await vi.waitFor(async () => expect(await codeOf(other, token)).toBe('401 token_revoked'), BACKGROUND)
      await other.close()
      other = await start()
      await vi.waitFor(async () => expect(await codeOf(other, token)).toBe('401 token_revoked'), BACKGROUND)
      await act('unblock', { issuer: 'work', sub: 'everywhere' })
      await vi.waitFor(async () => expect(await codeOf(other, token)).toBe(200), BACKGROUND)
    } finally {
      await other.close()
    }
  })

  it.each([
    [{ issuer: 'unknown', sub: 'x' }],
    [{ issuer: 'work' }],
    [{ issuer: 'work', sub: 'x', jti: 'y' }],
    [{ issuer: 'work', sub: '' }],
    [{ issuer: 'work', sub: 'a\0' }],
    [{ issuer: 'work', sub: 7 }],
    [{ issuer: 'work', sub: 'x', more: 1 }],
  ])('needs a known issuer and one name: %j is refused', async (body) => {
    expect(await act('block', body)).toBe('422 validation_failed')
  })

  it('works with the embedded database', async () => {
    const embedded = await startGateway({ stores: 'embedded', config: { issuers: [issuer.settings()] }, routes: routes(upstream) })
    try {
      const { administration } = embedded.app.identity
      const token = await issuer.token({ sub: 'embedded' })
      await vi.waitFor(async () => expect(await codeOf(embedded, token)).toBe(200), BACKGROUND)
      await administration.blockExternal({ issuer: 'work', sub: 'embedded' }, OPERATOR)
      expect(await codeOf(embedded, token)).toBe('401 token_revoked')
      expect(await administration.externalBlocks()).toMatchObject([{ sub: 'embedded', until: null }])
      await administration.unblockExternal({ issuer: 'work', sub: 'embedded' }, OPERATOR)
      await vi.waitFor(async () => expect(await codeOf(embedded, token)).toBe(200), BACKGROUND)
    } finally {
      await embedded.close()
    }
  })

  it('writes who blocked and what into the audit log', async () => {
    await act('block', { issuer: 'work', sub: 'logged' })
    const { body } = await call(gateway, '/auth/admin/audit?event=external_block', { token: admin.token })
    expect(body.events[0]).toMatchObject({
      event: 'external_block',
      outcome: 'success',
      actor: `user:${admin.id}`,
      detail: 'work sub logged',
    })
  })

  it('is for administrators', async () => {
    const token = await issuer.token({ groups: ['staff'] })
    for (const path of ['block', 'unblock'])
      expect((await call(gateway, `/auth/admin/external/${path}`, { body: { issuer: 'work', sub: 'x' }, token })).status).toBe(403)
  })
})
