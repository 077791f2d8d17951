import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { call, newUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { createDatabase } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { startRelay } from '../../support/relay.ts'
import { rows } from '../../support/rows.ts'
import { headerOf, me } from '../../support/session.ts'
import { activateNext as activate, revokeKey, rotateKey } from '../../support/signing-keys.ts'

// keys are read again when the test says so
const QUIET = { tokens: { keyPollSeconds: 3600 } }
const jwks = async (gateway: Gateway) => (await call<{ keys: any[] }>(gateway, '/.well-known/jwks.json')).body.keys
const kids = async (gateway: Gateway) => (await jwks(gateway)).map((k) => k.kid)

describe.each(['EdDSA', 'ES256', 'RS256', 'HS256'])('a token signed with %s', (algorithm) => {
  const gateway = useGateway({ config: { tokens: { algorithm } } })

  it('says so and works', async () => {
    const { token } = await newUser(gateway)
    expect(headerOf(token)).toEqual({ alg: algorithm, typ: 'at+jwt', kid: gateway.app.identity.keyring.signing().kid })
    expect(await me(gateway, token)).toBe(200)
  })

  it('can be verified by others with public parts only: nothing under HS256', async () => {
    const keys = await jwks(gateway)
    if (algorithm === 'HS256') return expect(keys).toEqual([])
    expect(keys).toHaveLength(1)
    expect(keys[0]).toMatchObject({ alg: algorithm, use: 'sig', kid: gateway.app.identity.keyring.signing().kid })
    const publicParts = { EdDSA: ['crv', 'kty', 'x'], ES256: ['crv', 'kty', 'x', 'y'], RS256: ['e', 'kty', 'n'] }[algorithm]!
    expect(Object.keys(keys[0]).sort()).toEqual(['alg', 'kid', 'use', ...publicParts].sort())
  })
})

describe('rotation, seen by two gateways', () => {
  let a: Gateway
  let b: Gateway
  beforeAll(async () => {
    a = await startGateway({ config: QUIET })
    b = await startGateway({ config: QUIET, databaseUrl: a.databaseUrl, secretKey: a.secretKey })
  })
  afterAll(() => Promise.all([a.close(), b.close()]))

  it('publishes the next key before it signs, keeps the old one until its tokens are gone', async () => {
    const signer = (gateway: Gateway) => gateway.app.identity.keyring.signing().kid
    const old = await newUser(a)
    const oldKid = headerOf(old.token).kid

    const next = await rotateKey(a)
    expect(next.state).toBe('next')
    // 2 × the key poll + the JWKS max-age, less the moment that writing it took
    expect(next.activatesAt.getTime() - next.createdAt.getTime()).toBeGreaterThan((2 * 3600 + 300 - 60) * 1000)
    expect(await kids(a)).toEqual([oldKid, next.kid])
    await b.app.identity.keyring.reload()
    expect(await kids(b)).toEqual([oldKid, next.kid])
    expect([signer(a), signer(b)]).toEqual([oldKid, oldKid])

    await activate(a)
    await b.app.identity.keyring.reload()
    expect([signer(a), signer(b)]).toEqual([oldKid, next.kid])
    const [fromA, fromB] = [await newUser(a), await newUser(b)]
    expect([fromA, fromB].map((u) => headerOf(u.token).kid)).toEqual([oldKid, next.kid])
    // neither has to look anything up for the other's tokens
    for (const gateway of [a, b]) for (const { token } of [old, fromA, fromB]) expect(await me(gateway, token)).toBe(200)

    await a.app.identity.keyring.reload()
    expect(signer(a)).toBe(next.kid)
    expect((await a.app.identity.keyring.list()).map((k) => k.state)).toEqual(['retired', 'current'])
    expect(await kids(a)).toEqual([oldKid, next.kid])
    expect(await me(a, old.token)).toBe(200)

    await rows(a, `UPDATE signing_keys SET retired_at = retired_at - interval '1 day' WHERE state = 'retired'`)
    for (const gateway of [a, b]) {
      await gateway.app.identity.keyring.reload()
      expect(await kids(gateway)).toEqual([next.kid])
      expect(await me(gateway, old.token)).toBe('token_invalid')
      expect(await me(gateway, fromB.token)).toBe(200)
    }
  })

  it('at once signs with a new key at once, and removes the old key; another gateway looks the new key up when it meets it', async () => {
    const old = await newUser(a)
    const made = await rotateKey(a, { now: true })
    expect(made.state).toBe('current')
    const fresh = await newUser(a)
    expect(headerOf(fresh.token).kid).toBe(made.kid)
    expect(await me(a, old.token)).toBe('token_invalid')
    expect(await kids(a)).toEqual([made.kid])
    b.clock.advance(1000)
    expect(await me(b, fresh.token)).toBe(200)
    expect(headerOf((await newUser(b)).token).kid).toBe(made.kid)
  })

  it('replaces a next key that has not signed yet', async () => {
    const [first, second] = [await rotateKey(a), await rotateKey(a)]
    expect(await kids(a)).toContain(second.kid)
    expect(await kids(a)).not.toContain(first.kid)
  })

  it('at once promotes the published key, and publishes a new one', async () => {
    const [, published] = await kids(a)
    const made = await rotateKey(a, { now: true })
    expect(made).toMatchObject({ kid: published, state: 'current' })
    expect((await a.app.identity.keyring.list()).map((k) => k.state)).toEqual(['current', 'next'])
    expect(await kids(a)).toHaveLength(2)
  })

  it('a gateway signs with a due key by its own clock, before the keys are read again', async () => {
    const old = a.app.identity.keyring.signing().kid
    const next = await rotateKey(a)
    a.clock.advance(next.activatesAt.getTime() - Date.now() - 5000)
    expect(a.app.identity.keyring.signing().kid).toBe(old)
    a.clock.advance(10_000)
    expect(a.app.identity.keyring.signing().kid).toBe(next.kid)
  })
})

describe('a token with an unknown kid', () => {
  const forge = (gateway: Gateway, kid: string) => {
    const { privateKey, algorithm } = gateway.app.identity.keyring.signing()
    return new SignJWT({ sid: 's', ver: 1, roles: [] }).setProtectedHeader({ alg: algorithm, typ: 'at+jwt', kid }).sign(privateKey)
  }

  it('causes one reading of the keys, however many there are, and none within a second of it', async () => {
    let now = Date.now()
    const clock = {
      now: () => now,
      steady: () => now,
      advance: (ms: number) => {
        now += ms
      },
    }
    const gateway = await startGateway({ config: QUIET, clock })
    const readings = () => metric(gateway, 'portcullis_db_query_duration_seconds_count', { operation: 'select signing_keys' })
    const ask = async (burst: string) =>
      new Set(await Promise.all(Array.from({ length: 20 }, async (_, i) => me(gateway, await forge(gateway, `${burst}${i}`)))))
    const refused = new Set(['token_invalid'])
    const before = await readings()
    expect(await ask('first')).toEqual(refused)
    expect(await readings()).toBe(before + 1)
    clock.advance(999)
    expect(await ask('second')).toEqual(refused)
    expect(await readings()).toBe(before + 1)
    clock.advance(1)
    expect(await ask('third')).toEqual(refused)
    expect(await readings()).toBe(before + 2)
    await gateway.close()
  })

  it('gets 503, not 401, while the database is away; a known key still works', async () => {
    const databaseUrl = await createDatabase(inject('postgresUrl'))
    const relay = await startRelay(Number(new URL(databaseUrl).port))
    const gateway = await startGateway({ config: QUIET, databaseUrl: relay.through(databaseUrl), routes: [] })
    const { token } = await newUser(gateway)
    expect(await me(gateway, token)).toBe(200)
    relay.cut()
    gateway.clock.advance(1000)
    // the first one looks, the second one knows that looking has failed
    for (const kid of ['unknown', 'another']) {
      const { body, headers } = await call(gateway, '/auth/me', { token: await forge(gateway, kid) })
      expect(body).toMatchObject({ status: 503, code: 'unavailable' })
      expect(headers.get('retry-after')).toMatch(/^[123]$/)
      expect(headers.get('www-authenticate')).toBeNull()
    }
    // /auth/admin/errors needs a bearer token and no database; this token lacks the role
    expect((await call(gateway, '/auth/admin/errors', { token })).body.code).toBe('forbidden')
    relay.mend()
    await until(async () => {
      gateway.clock.advance(1000)
      return (await me(gateway, await forge(gateway, 'unknown'))) === 'token_invalid'
    }, 'the database')
    await gateway.close()
    await relay.close()
  })
})

describe('no algorithm in the configuration', () => {
  const algorithmsOf = async (gateway: Gateway) => (await gateway.app.identity.keyring.list()).map((key) => key.algorithm)

  it('means ES256 for an empty database', async () => {
    const gateway = await startGateway({ config: QUIET })
    expect(headerOf((await newUser(gateway)).token).alg).toBe('ES256')
    await rotateKey(gateway)
    expect(await algorithmsOf(gateway)).toEqual(['ES256', 'ES256'])
    await gateway.close()
  })

  it.each(['EdDSA', 'RS256', 'HS256'])('keeps %s, which an earlier configuration named, through every rotation', async (algorithm) => {
    const before = await startGateway({ config: { tokens: { ...QUIET.tokens, algorithm } } })
    await before.close()
    const gateway = await startGateway({ databaseUrl: before.databaseUrl, secretKey: before.secretKey, config: QUIET })
    expect(await algorithmsOf(gateway)).toEqual([algorithm])
    await rotateKey(gateway)
    await rotateKey(gateway)
    expect(await algorithmsOf(gateway)).toEqual([algorithm, algorithm])
    await activate(gateway)
    await rotateKey(gateway)
    expect(await algorithmsOf(gateway)).toEqual([algorithm, algorithm, algorithm])
    await rotateKey(gateway, { now: true })
    await rotateKey(gateway, { now: true })
    expect(new Set(await algorithmsOf(gateway))).toEqual(new Set([algorithm]))
    const { next } = await revokeNext(gateway)
    expect(next).toBe(algorithm)
    await rotateKey(gateway, { now: true })
    expect(new Set(await algorithmsOf(gateway))).toEqual(new Set([algorithm]))
    expect(headerOf((await newUser(gateway)).token).alg).toBe(algorithm)
    await gateway.close()
  })

  async function revokeNext(gateway: Gateway) {
    const next = (await gateway.app.identity.keyring.list()).find(({ state }) => state === 'next')!
    await revokeKey(gateway, next.kid)
    return { next: next.algorithm }
  }
})

describe('another algorithm in the configuration', () => {
  it('is published first and signs later, as every new key; old tokens stay valid meanwhile', async () => {
    const before = await startGateway({ config: { tokens: { ...QUIET.tokens, algorithm: 'EdDSA' } } })
    const old = await newUser(before)
    await before.close()
    const shared = { databaseUrl: before.databaseUrl, secretKey: before.secretKey }
    const gateway = await startGateway({ ...shared, config: { tokens: { keyPollSeconds: 3600, algorithm: 'ES256' } } })
    expect((await jwks(gateway)).map((k) => k.alg)).toEqual(['EdDSA', 'ES256'])
    expect(headerOf((await newUser(gateway)).token).alg).toBe('EdDSA')
    await activate(gateway)
    await gateway.app.identity.keyring.reload()
    const fresh = await newUser(gateway)
    expect(headerOf(fresh.token).alg).toBe('ES256')
    for (const { token } of [old, fresh]) expect(await me(gateway, token)).toBe(200)
    await gateway.close()
  })

  it('starts no second change when the gateway restarts meanwhile', async () => {
    const before = await startGateway({ config: QUIET })
    await before.close()
    const shared = { databaseUrl: before.databaseUrl, secretKey: before.secretKey }
    const config = { tokens: { keyPollSeconds: 3600, algorithm: 'RS256' } }
    const first = await startGateway({ ...shared, config })
    const next = (await kids(first))[1]
    await first.close()
    const second = await startGateway({ ...shared, config })
    expect((await kids(second))[1]).toBe(next)
    await second.close()
  })
})
