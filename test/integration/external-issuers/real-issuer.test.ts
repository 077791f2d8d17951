/** A real OpenID provider as another issuer: its access tokens, its rotation, and its outage. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { call } from '../../support/client.ts'
import { type Gateway, startGateway, stillClock, type TestClock } from '../../support/gateway.ts'
import { type RealProvider, startRealProvider } from '../../support/openid-provider.ts'
import { claimsOf, headerOf } from '../../support/session.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

/** What the gateway does once a second by itself may take longer on a busy machine. */
const BACKGROUND = { timeout: 20_000 }

let upstream: Upstream
let provider: RealProvider
let gateway: Gateway
let clock: TestClock
beforeAll(async () => {
  upstream = await startUpstream()
  provider = await startRealProvider({ gateway: 'http://localhost/auth', id: 'work', people: [] })
  clock = stillClock()
  gateway = await startGateway({
    clock,
    config: {
      issuers: [
        {
          id: 'work',
          issuer: provider.issuer,
          audience: 'api',
          algorithms: ['RS256'],
          scopes: { claim: 'scope', map: { 'orders.read': ['orders:read'] } },
        },
      ],
    },
    routes: [{ name: 'orders', match: { path: '/orders' }, upstream: [upstream.url], access: { scopes: ['orders:read'] } }],
  })
})
afterAll(async () => {
  await gateway.close()
  await provider.close()
  await upstream.close()
})

const ask = async (token: string) => {
  const { status, body } = await call(gateway, '/orders', { token })
  return status === 200 ? 200 : `${status} ${body.code}`
}

it('its access tokens pass, before and after a rotation, and while it is away', async () => {
  const before = await provider.accessToken()
  expect(headerOf(before)).toMatchObject({ typ: 'at+jwt', alg: 'RS256', kid: 'one' })
  await vi.waitFor(async () => expect(await ask(before)).toBe(200), BACKGROUND)
  expect(upstream.take().at(-1)!.headers['x-auth-user']).toBe(`ext:work:${claimsOf(before).sub}`)

  await provider.rotate()
  const after = await provider.accessToken()
  expect(headerOf(after).kid).not.toBe('one')
  expect(await ask(after)).toBe(200)
  expect(await ask(before)).toBe(200)

  const later = await provider.accessToken()
  await provider.close()
  clock.advance(300_000)
  await vi.waitFor(() => expect(gateway.log().some(({ reason }) => reason === 'issuer_keys_unread')).toBe(true), BACKGROUND)
  expect(await ask(later)).toBe(200)
  // its tokens end as ever: they last 600 seconds
  clock.advance(300_000 + 10_000)
  expect(await ask(later)).toBe('401 token_expired')
})
