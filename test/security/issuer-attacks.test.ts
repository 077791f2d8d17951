/** Attacks with tokens of other issuers: each is signed with keys that an attacker can have, and says what would pass if it were believed. */
import { createHmac, type KeyObject, randomBytes } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { call, newUser } from '../support/client.ts'
import { type ExternalIssuer, type IssuerSigningKey, newSigningKey, publicJwkOf, startExternalIssuer } from '../support/external-issuer.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { claimsOf } from '../support/session.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/** What the gateway does once a second by itself may take longer on a busy machine. */
const BACKGROUND = { timeout: 20_000 }

let upstream: Upstream
let work: ExternalIssuer
let other: ExternalIssuer
let gateway: Gateway
let rsa: IssuerSigningKey
/** What an attacker would have the gateway fetch. */
let bait: { url: string; seen: string[]; close(): void }

beforeAll(async () => {
  upstream = await startUpstream()
  ;[work, other] = [await startExternalIssuer(), await startExternalIssuer()]
  rsa = newSigningKey('RS256')
  work.keys.push(rsa)
  const seen: string[] = []
  const server = http.createServer((request, response) => {
    seen.push(request.url!)
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: [] }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  bait = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, close: () => server.close() }
  const to = (name: string, access: unknown) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], access })
  gateway = await startGateway({
    config: {
      issuers: [work.settings({ algorithms: ['ES256', 'RS256'] }), other.settings({ id: 'other', audience: 'other', roles: undefined })],
    },
    routes: [to('users', 'authenticated'), to('staff', { roles: ['user'] }), to('admins', { roles: ['admin'] }), to('open', 'public')],
  })
  await vi.waitFor(async () => expect((await call(gateway, '/users', { token: await work.token() })).status).toBe(200), BACKGROUND)
  await vi.waitFor(
    async () => expect((await call(gateway, '/users', { token: await other.token({ aud: 'other' }) })).status).toBe(200),
    BACKGROUND,
  )
  upstream.take()
})
afterAll(async () => {
  await gateway.close()
  await Promise.all([work.close(), other.close(), upstream.close()])
  bait.close()
})

async function isRefused(attack: string, code = 'token_invalid'): Promise<void> {
  for (const path of ['/users', '/open', '/auth/me']) {
    const { status, body } = await call(gateway, path, { headers: { authorization: `Bearer ${attack}` } })
    expect({ path, status, code: body.code }).toEqual({ path, status: 401, code })
  }
  expect(upstream.take()).toEqual([])
}

const encode = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const seconds = () => Math.floor(Date.now() / 1000)
const claims = (changed: object = {}) => ({
  iss: work.issuer,
  aud: 'orders',
  sub: 'ann',
  iat: seconds(),
  exp: seconds() + 300,
  groups: ['staff'],
  ...changed,
})
const unsigned = (header: object, payload: unknown, signature = '') =>
  `${encode({ typ: 'at+jwt', ...header })}.${encode(payload)}.${signature}`

describe('the algorithm', () => {
  it.each(['none', 'None', 'NONE', 'none ', '', 0, null, true, ['ES256']])('no signature, alg %j', async (alg) => {
    const { kid } = work.keys[0]!
    const [, , signature] = (await work.token()).split('.')
    for (const header of [{ alg, kid }, { alg }]) {
      await isRefused(unsigned(header, claims()))
      await isRefused(unsigned(header, claims(), signature))
    }
  })

  it('a public key, in any of its spellings, as the secret of an HMAC', async () => {
    for (const key of [work.keys[0]!, rsa]) {
      const jwk = await publicJwkOf(key)
      const pem = key.publicKey.export({ type: 'spki', format: 'pem' }) as string
      const secrets = ['', key.kid, pem, pem.trim(), key.publicKey.export({ type: 'spki', format: 'der' }), JSON.stringify(jwk)]
      for (const secret of secrets)
        for (const alg of ['HS256', key.alg]) {
          const input = unsigned({ alg, kid: key.kid }, claims()).slice(0, -1)
          await isRefused(
            `${input}.${createHmac('sha256', secret as string)
              .update(input)
              .digest('base64url')}`,
          )
        }
    }
  })

  it('an algorithm that the configuration does not name, with a good key of the issuer', async () => {
    for (const alg of ['PS256', 'RS384', 'RS512'])
      await isRefused(await new SignJWT(claims()).setProtectedHeader({ alg, typ: 'at+jwt', kid: rsa.kid }).sign(rsa.privateKey))
  })

  it('an algorithm of another key', async () => {
    await isRefused(unsigned({ alg: 'RS256', kid: work.keys[0]!.kid }, claims(), (await work.token()).split('.')[2]))
    await isRefused(await work.signed(JSON.stringify(claims()), { kid: work.keys[0]!.kid }, rsa))
  })

  it.each(['the zero signature', 'an empty signature', 'the signature of another token'])('%s', async (kind) => {
    const token = await work.token()
    const input = token.slice(0, token.lastIndexOf('.'))
    const signature = { 'the zero signature': Buffer.alloc(64).toString('base64url'), 'an empty signature': '' }[kind]
    await isRefused(`${input}.${signature ?? (await work.token({ sub: 'bob' })).split('.')[2]}`)
  })
})

describe('a key that the token brings along', () => {
  let thief: IssuerSigningKey
  beforeAll(() => {
    thief = newSigningKey('ES256', work.keys[0]!.kid)
  })

  it.each(['jwk', 'jku', 'x5u', 'x5c', 'all of them'])('%s: it is not used, and nothing is fetched', async (name) => {
    const all = {
      jwk: await publicJwkOf(thief),
      jku: `${bait.url}/jwks`,
      x5u: `${bait.url}/cert`,
      x5c: [thief.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')],
    }
    const header = name === 'all of them' ? all : { [name]: all[name as keyof typeof all] }
    await isRefused(await work.token({}, header, thief))
    await isRefused(await work.token({}, { ...header, kid: `${bait.url}/jwks` }, thief))
    // they do not make a good token bad either: they are ignored
    expect((await call(gateway, '/users', { token: await work.token({}, header) })).status).toBe(200)
    upstream.take()
    expect(bait.seen).toEqual([])
  })

  it.each([
    ['crit', { crit: ['exp'], exp: 1 }],
    ['crit of nothing', { crit: [] }],
    ['b64', { b64: true }],
    ['zip', { zip: 'DEF' }],
  ])('%s in a header, with a good signature', async (_, header) => {
    const input = `${encode({ alg: 'ES256', typ: 'at+jwt', kid: work.keys[0]!.kid, ...header })}.${encode(claims())}`
    const signature = await signRaw(input, work.keys[0]!.privateKey)
    await isRefused(`${input}.${signature}`)
  })
})

async function signRaw(input: string, key: KeyObject): Promise<string> {
  const { sign } = await import('node:crypto')
  return sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')
}

describe('the issuer', () => {
  it('one issuer speaks for no other', async () => {
    // the key and the kid of one, the iss of the other
    await isRefused(await work.signed(JSON.stringify(claims({ iss: other.issuer, aud: 'other' }))))
    await isRefused(await other.signed(JSON.stringify(claims())))
    await isRefused(await other.signed(JSON.stringify(claims()), { kid: work.keys[0]!.kid }))
    // the audience of the other entry
    await isRefused(await work.token({ aud: 'other' }))
    await isRefused(await other.token({ aud: 'orders' }))
  })

  it('a stranger speaks for none', async () => {
    const stranger = newSigningKey()
    await isRefused(await work.token({}, {}, stranger))
    await isRefused(await work.token({}, { kid: work.keys[0]!.kid }, stranger))
    await isRefused(await work.token({}, { kid: undefined }, stranger))
  })

  it.each<[string, unknown]>([
    ['a slash more', '/'],
    ['in capitals', 'UP'],
    ['in a list', 'list'],
    ['with a blank', ' '],
    ['with NUL', '\0'],
    ['with a port that is the same', ':80'],
  ])('iss %s is another issuer', async (_, change) => {
    const iss = change === 'UP' ? work.issuer.toUpperCase() : change === 'list' ? [work.issuer] : `${work.issuer}${change}`
    await isRefused(await work.token({ iss }))
  })

  it('iss twice: no parser decides', async () => {
    const { iss, ...rest } = claims()
    const tail = JSON.stringify(rest).slice(1)
    for (const [first, second] of [
      [iss, other.issuer],
      [other.issuer, iss],
      [iss, gateway.app.platform.config.tokens.issuer],
    ])
      await isRefused(await work.signed(`{"iss":${JSON.stringify(first)},"iss":${JSON.stringify(second)},${tail}`))
  })

  it.each(['sub', 'exp', 'aud', 'groups'])('%s twice', async (name) => {
    const all: any = claims()
    await isRefused(await work.signed(`{${JSON.stringify(name)}:${JSON.stringify(all[name])},${JSON.stringify(all).slice(1)}`))
  })

  it('our own issuer is never another: not with a key of another issuer, and no other with our key', async () => {
    const { token } = await newUser(gateway)
    const { privateKey, algorithm, kid } = gateway.app.identity.keyring.signing()
    const ours = claimsOf(token)
    for (const key of [work.keys[0]!, other.keys[0]!])
      for (const named of [key.kid, kid])
        await isRefused(await work.signed(JSON.stringify({ ...ours, roles: ['admin'] }), { kid: named }, key))
    for (const changed of [{ iss: work.issuer }, { iss: work.issuer, aud: 'orders' }])
      for (const named of [kid, work.keys[0]!.kid])
        await isRefused(
          await new SignJWT({ ...ours, ...changed }).setProtectedHeader({ alg: algorithm, typ: 'at+jwt', kid: named }).sign(privateKey),
        )
    expect((await call(gateway, '/users', { token })).status).toBe(200)
    upstream.take()
  })
})

describe('what a token says of itself', () => {
  it('gives no role of ours, no session, no factor and no identity of a user', async () => {
    const { id, token } = await newUser(gateway)
    const all = {
      ...claimsOf(token),
      ...claims(),
      sub: id,
      roles: ['admin'],
      groups: ['admin', 'toString', 'constructor', '__proto__', 'hasOwnProperty'],
      scope: 'introspect admin',
      client_id: id,
      amr: ['mfa'],
      auth_time: seconds(),
    }
    const forged = await work.token(all)
    expect((await call(gateway, '/users', { token: forged })).status).toBe(200)
    const { headers } = upstream.take()[0]!
    expect(headers['x-auth-user']).toBe(`ext:work:${id}`)
    expect(headers['x-auth-roles']).toBeUndefined()
    expect(headers['x-auth-email']).toBeUndefined()
    expect(headers['x-auth-session']).toBeUndefined()
    for (const path of ['/admins', '/staff']) expect((await call(gateway, path, { token: forged })).status).toBe(403)
    expect((await call(gateway, '/auth/me', { token: forged })).body.code).toBe('forbidden')
    expect((await call(gateway, '/auth/admin/users', { token: forged })).body.code).toBe('forbidden')
  })

  it.each<[string, object]>([
    ['exp without end', { exp: 1e300 }],
    ['iat of long ago', { iat: 0 }],
    ['negative times', { iat: -300, exp: -1 }],
    ['exp before iat, both to come', { iat: seconds() + 50, exp: seconds() - 100 }],
  ])('%s', async (_, times) => {
    const { status } = await call(gateway, '/users', { token: await work.token(times) })
    expect(status).toBe(401)
  })

  it('1e999 is no time', async () => {
    const text = JSON.stringify(claims()).replace(/"exp":\d+/, '"exp":1e999')
    await isRefused(await work.signed(text))
    await isRefused(await work.signed(JSON.stringify(claims()).replace(/"iat":\d+/, '"iat":-1e999')))
  })

  it('deep nesting and long names end no process', async () => {
    await isRefused(await work.signed(`{"iss":${JSON.stringify(work.issuer)},"x":${'['.repeat(2500)}${']'.repeat(2500)}}`))
    await isRefused(`${encode('['.repeat(2000))}.${encode(claims())}.x`)
    await isRefused(await work.token({}, { kid: 'k'.repeat(300) }))
  })

  it('bytes that are no UTF-8, a byte order mark, and base64url with stray bits', async () => {
    const json = JSON.stringify(claims())
    const key = work.keys[0]!
    const head = encode({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
    for (const bytes of [
      Buffer.concat([Buffer.from(json.slice(0, -1)), Buffer.from(',"x":"\xff"}', 'latin1')]),
      Buffer.from(`\ufeff${json}`),
    ]) {
      const input = `${head}.${bytes.toString('base64url')}`
      await isRefused(`${input}.${await signRaw(input, key.privateKey)}`)
    }
    const token = await work.token()
    const last = token.at(-1)!
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    await isRefused(token.slice(0, -1) + alphabet[(alphabet.indexOf(last) & 0b110000) | ((alphabet.indexOf(last) + 1) & 0b001111)])
  })

  it('parts too few, too many, or empty', async () => {
    const [header, payload, signature] = (await work.token()).split('.')
    for (const attack of [
      `${header}.${payload}`,
      `${header}.${payload}.${signature}.`,
      `.${payload}.${signature}`,
      `${header}..${signature}`,
    ])
      await isRefused(attack)
  })
})

it('another key under a known kid in the set of another issuer changes nothing', async () => {
  const forged = newSigningKey('ES256', work.keys[0]!.kid)
  other.keys.push(forged)
  await isRefused(await work.signed(JSON.stringify(claims()), {}, forged))
  other.keys.pop()
})

it('no key, token or text of an issuer is in the log', async () => {
  const secret = randomBytes(12).toString('hex')
  await call(gateway, '/users', { token: await work.token({ aud: secret, sub: secret }) })
  const text = JSON.stringify(gateway.log())
  expect(text).not.toContain(secret)
  expect(text).not.toContain((await exportJWK(work.keys[0]!.publicKey)).x)
})
