/** An API key reaches no upstream, is guessed by nobody, and is never the second of two credentials. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeApiKey } from '../../src/platform/request/api-key-format.ts'
import { from, newAddress } from '../support/addresses.ts'
import { call, newUser, raw, statusOf, type TestUser } from '../support/client.ts'
import { type Gateway, metric, startGateway, stillClock } from '../support/gateway.ts'
import { newKey, revokeKey, withKey } from '../support/keys.ts'
import { dump } from '../support/rows.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let gateway: Gateway
let user: TestUser
let key: string
beforeAll(async () => {
  upstream = await startUpstream()
  const route = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], ...part })
  gateway = await startGateway({
    routes: [
      route('users', { access: 'authenticated' }),
      route('open', { access: 'public' }),
      route('passed-on', { access: 'public', headers: { forwardAuthorization: true } }),
    ],
  })
  user = await newUser(gateway)
  ;({ key } = await newKey(gateway, user))
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})

const send = async (path: string, ...fields: string[]) => {
  upstream.take()
  const text = await raw(
    gateway.port,
    `GET ${path} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n${fields.map((f) => `${f}\r\n`).join('')}\r\n`,
  )
  return { status: statusOf(text), code: /"code":"(\w+)"/.exec(text)?.[1], seen: upstream.take()[0] }
}
const looksUp = async (work: () => Promise<unknown>) => {
  const count = () => metric(gateway, 'portcullis_db_query_duration_seconds_count', { operation: 'select api_keys' })
  const before = await count()
  await work()
  return (await count()) - before
}

describe('a key with a typo', () => {
  it('is refused without a look-up, whichever character it is', async () => {
    const typos = Array.from(key, (letter, i) => key.slice(0, i) + (letter === 'a' ? 'b' : 'a') + key.slice(i + 1)).slice('pk_live_'.length)
    const hostile = [
      `${key}x`,
      `x${key}`,
      `${key} ${key}`,
      `${key},${key}`,
      `Bearer ${key}`,
      `"${key}"`,
      'pk_live_',
      `pk_live_${'A'.repeat(8000)}`,
    ]
    expect(
      await looksUp(async () => {
        for (const typo of [...typos, ...hostile])
          expect(await send('/users', `X-Api-Key: ${typo}`)).toEqual({ status: 401, code: 'token_invalid', seen: undefined })
      }),
    ).toBe(0)
  })

  it('that was never issued is looked up rarely, however often it is sent', async () => {
    const unknown = makeApiKey()
    const asks = async () => {
      for (let i = 0; i < 5; i++) expect(await withKey(gateway, '/users', unknown)).toBe('token_invalid')
    }
    expect(await looksUp(asks)).toBe(1)
    gateway.clock.advance(11_000)
    expect(await looksUp(asks)).toBe(1)
  })
})

describe('two credentials', () => {
  it.each([
    ['a token and a key', () => [`Authorization: Bearer ${user.token}`, `X-Api-Key: ${key}`]],
    ['a token and a key with a typo', () => [`Authorization: Bearer ${user.token}`, `x-api-key: ${key}x`]],
    ['a key twice, in two fields', () => [`Authorization: Bearer ${key}`, `X-Api-Key: ${key}`]],
    ['a key in two fields of one name', () => [`X-Api-Key: ${key}`, `x-api-key: ${key}`]],
    ['a key and something else in two fields of one name', () => [`X-Api-Key: not-ours`, `X-API-KEY: ${key}`]],
    ['two of somebody else', () => ['X-Api-Key: one', 'X-Api-Key: two']],
    ['an empty bearer and a key', () => ['Authorization: Bearer', `X-Api-Key: ${key}`]],
  ])('are refused before anybody is asked: %s', async (_, fields) => {
    for (const path of ['/users', '/open', '/auth/me'])
      expect(await send(path, ...fields())).toEqual({ status: 400, code: 'header_invalid', seen: undefined })
  })

  it('a key beside Basic, which is no credential here, is the one', async () => {
    expect((await send('/users', 'Authorization: Basic YTpi', `X-Api-Key: ${key}`)).status).toBe(200)
  })
})

describe('what of X-Api-Key an upstream sees', () => {
  it.each([
    'X-Api-Key',
    'x-api-key',
    'X_Api_Key',
    'X-Api_Key',
    'X.Api.Key',
    'X--Api--Key',
    '-x-api-key-',
    'x!api#key',
  ])('never a key of ours, spelled %s, whole or not', async (name) => {
    for (const value of [key, `${key}x`, `x, ${key}`, `Bearer ${key}`, key.slice(0, 20)]) {
      const { seen } = await send('/open', `${name}: ${value}`)
      expect(JSON.stringify(seen ?? {})).not.toContain('pk_live_')
    }
  })

  it('a key of another system unchanged: it is no credential here', async () => {
    for (const value of ['not-ours', 'pk_test_51H', 'sk_live_1', randomBytes(20).toString('hex')]) {
      const { status, seen } = await send('/open', `X-Api-Key: ${value}`)
      expect({ status, value: seen!.headers['x-api-key'] }).toEqual({ status: 200, value })
      expect(seen!.headers).not.toHaveProperty('x-auth-user')
      expect(await send('/users', `X-Api-Key: ${value}`)).toMatchObject({ status: 401, code: 'token_missing' })
    }
    expect((await send('/users', `Authorization: Bearer ${user.token}`, 'X-Api-Key: not-ours')).seen!.headers['x-api-key']).toBe('not-ours')
  })

  it('with forwardAuthorization the checked field, and no other form', async () => {
    expect((await send('/passed-on', `X-Api-Key: ${key}`)).seen!.headers['x-api-key']).toBe(key)
    expect((await send('/passed-on', `Authorization: Bearer ${key}`)).seen!.headers.authorization).toBe(`Bearer ${key}`)
    expect(JSON.stringify((await send('/passed-on', `X_Api_Key: ${key}`)).seen)).not.toContain('pk_live_')
  })

  it('another form is no credential', async () => {
    expect(await send('/users', `X_Api_Key: ${key}`)).toMatchObject({ status: 401, code: 'token_missing' })
  })
})

it('a key stands in no log line, no metric and no row, used or refused', async () => {
  const other = await newKey(gateway, user)
  await withKey(gateway, '/users', other.key)
  await call(gateway, '/users', { token: `${other.key}x` })
  await revokeKey(gateway, user, other.id)
  await withKey(gateway, '/users', other.key)
  const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
  for (const text of [JSON.stringify(gateway.log()), metrics, await dump(gateway)]) expect(text).not.toContain(other.key.slice(12, 36))
})

describe('a client that tries invalid keys', () => {
  it('is stopped after as many as the limit of tokens allows, and good keys of its address go on', async () => {
    const limited = await startGateway({
      clock: stillClock(),
      routes: [{ name: 'users', match: { path: '/users' }, upstream: [upstream.url], access: 'authenticated' }],
      config: {
        server: { trustedProxies: ['127.0.0.1/32'] },
        limits: { exempt: [], credentials: { register: { limit: 100, windowSeconds: 60 }, token: { limit: 5, windowSeconds: 3600 } } },
      },
    })
    const [good, late] = [await newKey(limited, await newUser(limited)), await newKey(limited, await newUser(limited))]
    const address = newAddress()
    const ask = async (guess: string) => (await call(limited, '/users', { headers: { ...from(address), 'x-api-key': guess } })).status
    expect(await ask(good.key)).toBe(200)
    const answers = []
    for (let i = 0; i < 5; i++) answers.push(await ask(i % 2 ? makeApiKey() : `${makeApiKey()}x`))
    for (let i = 0; i < 3; i++) answers.push(await ask(`${makeApiKey()}x`))
    expect(answers).toEqual([401, 401, 401, 401, 401, 429, 429, 429])
    // a key that was never looked up before
    expect(await ask(late.key)).toBe(200)
    const storm = await Promise.all(Array.from({ length: 100 }, () => ask(makeApiKey())))
    expect([401, 429].map((status) => storm.filter((s) => s === status).length)).toEqual([50, 50])
    expect(await ask(good.key)).toBe(200)
    expect((await call(limited, '/users', { headers: { ...from(newAddress()), 'x-api-key': late.key } })).status).toBe(200)
    await limited.close()
  })
})
