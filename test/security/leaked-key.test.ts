/** A signing key that leaked: its thief makes any token. What is refused here has a right signature and right claims. */
import { type CryptoKey, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { call, login, newUser, type TestUser } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { newKey } from '../support/keys.ts'
import { until } from '../support/processes.ts'
import { startRelay } from '../support/relay.ts'
import { rows } from '../support/rows.ts'
import { claimsOf, headerOf, me, pollRevocations, refresh } from '../support/session.ts'
import { retireCurrent, revokeKey, rotateKey } from '../support/signing-keys.ts'
import { mfaToken, newFactorUser } from '../support/totp.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

// the keys are read again when the test says so
const QUIET = { tokens: { keyPollSeconds: 3600 } }
const now = () => Math.floor(Date.now() / 1000)
const kids = async (gateway: Gateway) => (await call(gateway, '/.well-known/jwks.json')).body.keys.map((k: { kid: string }) => k.kid)

interface Leaked {
  kid: string
  algorithm: string
  privateKey: CryptoKey
}
const leakOf = (gateway: Gateway): Leaked => gateway.app.identity.keyring.signing()

/** What the thief makes of the claims of a good token. */
const forge = ({ kid, algorithm, privateKey }: Leaked, token: string, claims: object = {}, header: object = {}) =>
  new SignJWT({ ...claimsOf(token), roles: ['admin', 'user'], jti: Math.random().toString(36), ...claims })
    .setProtectedHeader({ ...headerOf(token), alg: algorithm, kid, ...header })
    .sign(privateKey)
const fresh = (lifetime = 900) => ({ iat: now(), exp: now() + lifetime })

describe('a key that was removed at once', () => {
  let upstream: Upstream
  let gateway: Gateway
  let user: TestUser
  beforeAll(async () => {
    upstream = await startUpstream()
    const to = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], ...part })
    gateway = await startGateway({
      config: QUIET,
      routes: [to('users', { access: 'authenticated' }), to('admins', { access: { roles: ['admin'] } })],
    })
    user = await newUser(gateway)
  })
  afterAll(async () => {
    await gateway.close()
    await upstream.close()
  })

  it.each([
    ['rotate --now', () => rotateKey(gateway, { now: true })],
    ['revoke', () => revokeKey(gateway, leakOf(gateway).kid)],
  ])('by %s: its tokens are refused, those that were known and those that are new; sessions go on', async (_, remove) => {
    const session = await login(gateway, user)
    const leaked = leakOf(gateway)
    const known = await forge(leaked, session.token, fresh())
    for (const token of [session.token, known]) expect((await call(gateway, '/users', { token })).status).toBe(200)
    expect((await call(gateway, '/admins', { token: known })).status).toBe(200)
    upstream.take()

    await remove()
    expect(await kids(gateway)).not.toContain(leaked.kid)
    const bad = [session.token, known, await forge(leaked, session.token, fresh()), await forge(leaked, session.token, fresh(86_400))]
    for (const token of bad)
      for (const path of ['/users', '/admins', '/auth/me', '/auth/admin/users'])
        expect((await call(gateway, path, { token })).body).toMatchObject({ status: 401, code: 'token_invalid' })
    expect(upstream.take()).toEqual([])

    const { body } = await refresh(gateway, session.refreshToken)
    expect(headerOf(body.access_token).kid).not.toBe(leaked.kid)
    expect((await call(gateway, '/users', { token: body.access_token })).status).toBe(200)
    upstream.take()
  })

  it('its tokens of other kinds are refused, too', async () => {
    const person = await newFactorUser(gateway)
    const half = await mfaToken(gateway, person)
    await rotateKey(gateway, { now: true })
    const { body } = await call(gateway, '/auth/login/mfa', { body: { mfa_token: half, code: person.backupCodes[0] } })
    expect(body).toMatchObject({ status: 401, code: 'mfa_token_invalid' })
  })

  it('two removals at the same time leave one key that signs', async () => {
    await Promise.all([rotateKey(gateway, { now: true }), rotateKey(gateway, { now: true }), rotateKey(gateway, { now: true })])
    const states = (await gateway.app.identity.keyring.list()).map((key) => key.state)
    expect(states.filter((state) => state === 'current')).toHaveLength(1)
    expect(await me(gateway, (await newUser(gateway)).token)).toBe(200)
  })

  it('a revoked next key is no longer published, and the key that signs stays', async () => {
    const { token } = await newUser(gateway)
    const signer = leakOf(gateway).kid
    const next = await rotateKey(gateway)
    expect(await revokeKey(gateway, next.kid)).toMatchObject({ kid: signer, state: 'current' })
    expect(await kids(gateway)).toEqual([signer])
    expect(await me(gateway, token)).toBe(200)
  })

  it('a revoked retired key verifies nothing, and the key that signs stays', async () => {
    const { token } = await newUser(gateway)
    const { kid } = headerOf(token)
    await retireCurrent(gateway)
    expect(await me(gateway, token)).toBe(200)
    const later = await newUser(gateway)
    await revokeKey(gateway, kid)
    expect(await me(gateway, token)).toBe('token_invalid')
    expect(await me(gateway, later.token)).toBe(200)
  })
})

describe('other gateways', () => {
  async function two(stores: 'postgres' | 'postgres+redis') {
    const a = await startGateway({ config: QUIET, stores })
    const shared = { databaseUrl: a.databaseUrl, secretKey: a.secretKey }
    const b = await startGateway({ ...shared, config: QUIET, ...(stores === 'postgres' ? {} : { redisUrl: inject('redisUrl') }) })
    // b polls when the test says so
    b.app.identity.revocations.stop()
    const user = await newUser(a)
    const leaked = leakOf(a)
    const known = await forge(leaked, user.token, fresh())
    for (const token of [user.token, known]) expect(await me(b, token)).toBe(200)
    const isRefused = async () => {
      for (const token of [user.token, known, await forge(leaked, user.token, fresh())]) expect(await me(b, token)).toBe('token_invalid')
      expect(await kids(b)).not.toContain(leaked.kid)
    }
    return { a, b, user, known, leaked, isRefused, close: () => Promise.all([a.close(), b.close()]) }
  }

  it('refuse a removed key after their next poll of the revocations, which is each second', async () => {
    const { a, b, user, known, isRefused, close } = await two('postgres')
    const made = await rotateKey(a, { now: true })
    expect(await me(b, known)).toBe(200)
    await pollRevocations(b)
    await isRefused()
    await until(async () => headerOf((await newUser(b)).token).kid === made.kid, 'the key that signs now')
    expect(await me(b, (await refresh(a, user.refreshToken)).body.access_token)).toBe(200)
    await close()
  })

  it('refuse it without a poll, by Redis', async () => {
    const { a, b, known, isRefused, close } = await two('postgres+redis')
    await until(async () => {
      await a.app.platform.redis!.broadcast.publish(JSON.stringify({ kid: 'a key to try with', until: Date.now() + 60_000 }))
      return b.app.identity.revocations.isKeyRevoked('a key to try with')
    }, 'the subscription')
    expect(await me(b, known)).toBe(200)
    await rotateKey(a, { now: true })
    await until(async () => (await me(b, known)) === 'token_invalid', 'the message from Redis')
    await isRefused()
    await close()
  })

  it('sign with the published key although they cannot read the database', async () => {
    const a = await startGateway({ config: QUIET })
    const relay = await startRelay(Number(new URL(a.databaseUrl).port))
    const shared = { secretKey: a.secretKey, databaseUrl: relay.through(a.databaseUrl) }
    const b = await startGateway({ ...shared, config: QUIET })
    const next = await rotateKey(a)
    await b.app.identity.keyring.reload()
    relay.cut()
    b.app.identity.keyring.forget(leakOf(a).kid)
    expect(leakOf(b).kid).toBe(next.kid)
    relay.mend()
    await Promise.all([a.close(), b.close()])
    await relay.close()
  })

  it('answer 503 instead of signing with a removed key when they know no other', async () => {
    const a = await startGateway({ config: QUIET })
    const relay = await startRelay(Number(new URL(a.databaseUrl).port))
    const b = await startGateway({ secretKey: a.secretKey, databaseUrl: relay.through(a.databaseUrl), config: QUIET })
    relay.cut()
    b.app.identity.keyring.forget(leakOf(a).kid)
    expect(() => b.app.identity.keyring.signing()).toThrow(expect.objectContaining({ code: 'unavailable' }))
    relay.mend()
    await rotateKey(a, { now: true })
    await until(async () => {
      b.clock.advance(1000)
      const { status } = await call(b, '/auth/login', { body: { login: 'nobody', password: 'no password' } })
      return status === 401
    }, 'the database')
    await until(async () => {
      b.clock.advance(1000)
      try {
        return leakOf(b).kid === leakOf(a).kid
      } catch {
        return false
      }
    }, 'the key that signs now')
    await Promise.all([a.close(), b.close()])
    await relay.close()
  })
})

describe('what was made of a token before its key was removed', () => {
  let upstream: Upstream
  let gateway: Gateway
  beforeAll(async () => {
    upstream = await startUpstream((request, response) => {
      if (!request.url!.startsWith('/events')) return false
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n')
      return true
    })
    const to = (name: string, part: object) => ({
      name,
      match: { path: `/${name}` },
      upstream: [upstream.url],
      access: 'authenticated',
      ...part,
    })
    gateway = await startGateway({
      config: QUIET,
      routes: [to('events', {}), to('asserted', { headers: { assertion: true } })],
    })
  })
  afterAll(async () => {
    await gateway.close()
    await upstream.close()
  })

  it('a stream ends', async () => {
    const { token } = await newUser(gateway)
    const key = (await newKey(gateway, await newUser(gateway))).key
    const open = async (headers: Record<string, string>) => {
      const response = await fetch(`${gateway.url}/events`, { headers: { accept: 'text/event-stream', ...headers } })
      const reader = response.body!.getReader()
      await reader.read()
      return reader
    }
    const [ofToken, ofKey] = [await open({ authorization: `Bearer ${token}` }), await open({ 'x-api-key': key })]
    await rotateKey(gateway, { now: true })
    await ofToken.read().then(
      ({ done }) => expect(done).toBe(true),
      () => {},
    )
    // an API key is signed by nothing: its stream goes on
    const rest = ofKey.read()
    expect(await Promise.race([rest.then(() => 'ended'), me(gateway, 'x').then(() => 'open')])).toBe('open')
    await ofKey.cancel()
  })

  it('an assertion for an upstream is signed again', async () => {
    const { key } = await newKey(gateway, await newUser(gateway))
    const kidOfAssertion = async () => {
      await call(gateway, '/asserted', { headers: { 'x-api-key': key } })
      return headerOf(upstream.take()[0]!.headers['x-auth-assertion'] as string).kid
    }
    const old = await kidOfAssertion()
    expect(await kidOfAssertion()).toBe(old)
    const made = await rotateKey(gateway, { now: true })
    expect(await kidOfAssertion()).toBe(made.kid)
  })
})

describe('a retired key, whose thief chooses iat and exp', () => {
  let gateway: Gateway
  let user: TestUser
  let leaked: Leaked
  let known: string
  beforeAll(async () => {
    gateway = await startGateway({ config: QUIET })
    user = await newUser(gateway)
    leaked = leakOf(gateway)
    known = await forge(leaked, user.token, fresh())
    expect(await me(gateway, known)).toBe(200)
    // nor does the key verify it while it signs
    expect(await me(gateway, await forge(leaked, user.token, fresh(86_400)))).toBe('token_invalid')
    await retireCurrent(gateway)
    expect(await me(gateway, user.token)).toBe(200)
    await retiredAgo(gateway, 300)
  })
  afterAll(() => gateway.close())

  const within = (age: number, lifetime: number, claims: object = {}) =>
    forge(leaked, user.token, { iat: now() - age, exp: now() - age + lifetime, ...claims })

  it('verifies what was issued before its retirement and lasts no longer than its tokens did', async () => {
    for (const [age, lifetime] of [
      [310, 900],
      [310, 320],
      [890, 900],
    ] as const)
      expect(await me(gateway, await within(age, lifetime))).toBe(200)
  })

  it.each([
    ['issued now', 0, 900],
    ['issued now, for a moment', 0, 30],
    ['issued between the retirement and now', 250, 900],
    ['issued a moment after the retirement, beyond what clocks differ', 290, 900],
    ['issued in the future', -50, 900],
    ['that lasts a second too long', 310, 901],
    ['that lasts for a day', 310, 86_400],
    ['that lasts for a day, from long ago', 80_000, 86_400],
  ])('verifies no token %s', async (_, age, lifetime) => {
    expect(await me(gateway, await within(age, lifetime))).toBe('token_invalid')
  })

  it('no longer verifies a token from after the retirement, although it was known before', async () => {
    expect(await me(gateway, known)).toBe('token_invalid')
  })

  it('verifies a token for a second factor only from before its retirement, with the lifetime of that kind', async () => {
    const person = await newFactorUser(gateway)
    const claims = claimsOf(await mfaToken(gateway, person))
    const half = (age: number, lifetime: number) =>
      new SignJWT({ ...claims, jti: crypto.randomUUID(), iat: now() - age, exp: now() - age + lifetime })
        .setProtectedHeader({ alg: leaked.algorithm, typ: 'mfa+jwt', kid: leaked.kid })
        .sign(leaked.privateKey)
    const codeFor = async (mfa_token: string, code: string) => (await call(gateway, '/auth/login/mfa', { body: { mfa_token, code } })).body
    for (const token of [await half(0, 300), await half(200, 300), await half(310, 900)])
      expect((await codeFor(token, person.backupCodes[0]!)).code).toBe('mfa_token_invalid')
    await retiredAgo(gateway, 0)
    expect((await codeFor(await half(10, 300), person.backupCodes[0]!)).access_token).toBeDefined()
    await retiredAgo(gateway, 300)
  })

  // last: it takes the key away
  it('is deleted once the last token that it can verify has expired', async () => {
    const has = async () => {
      await gateway.app.identity.keyring.reload()
      return (await kids(gateway)).includes(leaked.kid)
    }
    await retiredAgo(gateway, 900)
    expect(await has()).toBe(true)
    await retiredAgo(gateway, 912)
    expect(await has()).toBe(false)
    expect(await me(gateway, await within(914, 920))).toBe('token_invalid')
  })
})

describe('the lifetime that is stored with a key', () => {
  const lifetimes = async (gateway: Gateway) =>
    (await rows(gateway, 'SELECT lifetime_seconds FROM signing_keys ORDER BY created_at')).map((row) => row.lifetime_seconds)

  it('is the longest that the configuration had while the key could sign', async () => {
    const withTtl = (accessTtlSeconds: number) => ({ tokens: { ...QUIET.tokens, accessTtlSeconds } })
    const first = await startGateway({ config: withTtl(600) })
    expect(await lifetimes(first)).toEqual([600])
    const shared = { databaseUrl: first.databaseUrl, secretKey: first.secretKey }
    await first.close()
    const longer = await startGateway({ ...shared, config: withTtl(1800) })
    expect(await lifetimes(longer)).toEqual([1800])
    const user = await newUser(longer)
    await longer.close()

    const shorter = await startGateway({ ...shared, config: withTtl(60) })
    const leaked = leakOf(shorter)
    await retireCurrent(shorter)
    expect(await lifetimes(shorter)).toEqual([1800, 60])
    const of = (lifetime: number) => forge(leaked, user.token, { iat: now() - 10, exp: now() - 10 + lifetime })
    for (const token of [user.token, await of(1800)]) expect(await me(shorter, token)).toBe(200)
    expect(await me(shorter, await of(1801))).toBe('token_invalid')
    await shorter.close()

    // a retired key signs no longer
    const later = await startGateway({ ...shared, config: withTtl(3600) })
    expect(await lifetimes(later)).toEqual([1800, 3600])
    await later.close()
  })

  it('of a key from before it was stored is that of the configuration', async () => {
    const gateway = await startGateway({ config: QUIET })
    await retireCurrent(gateway)
    await rows(gateway, 'UPDATE signing_keys SET lifetime_seconds = NULL')
    const shared = { databaseUrl: gateway.databaseUrl, secretKey: gateway.secretKey }
    await gateway.close()
    const again = await startGateway({ ...shared, config: QUIET })
    expect(await lifetimes(again)).toEqual([900, 900])
    await again.close()
  })
})

/** Moves the retirement into the past. */
async function retiredAgo(gateway: Gateway, seconds: number): Promise<void> {
  await rows(gateway, `UPDATE signing_keys SET retired_at = clock_timestamp() - make_interval(secs => $1) WHERE state = 'retired'`, [
    seconds,
  ])
  await gateway.app.identity.keyring.reload()
}
