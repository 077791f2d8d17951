/** Providers that are away, slow, or answer something else. Users see a page with the other ways, and never a text of the provider. */
import type { ServerResponse } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { createAuthority } from '../../support/certificates.ts'
import { call, newUser } from '../../support/client.ts'
import { type FakeProvider, type FakeProviderOptions, startFakeProvider } from '../../support/fake-provider.ts'
import { ORIGIN, type SignInGateway, type SignInOptions, startSignInGateway, userOf } from '../../support/sign-in.ts'

let provider: FakeProvider
let gateway: SignInGateway
async function start(options: FakeProviderOptions = {}, more: SignInOptions = {}): Promise<void> {
  provider = await startFakeProvider(options)
  gateway = await startSignInGateway({ openId: provider, ...more })
}
afterEach(async () => {
  await gateway.close()
  await provider.close()
})

const lastRequest = () =>
  gateway
    .log()
    .filter(({ msg }) => msg === 'request')
    .at(-1)!

const TEXT = '<b>a text of the provider</b>'

describe('before the sign-in', () => {
  it.each<[string, (response: ServerResponse) => void]>([
    ['answers 500', (response) => void response.writeHead(500).end(TEXT)],
    ['answers with a page', (response) => void response.setHeader('content-type', 'text/html').end(TEXT)],
    ['answers with no JSON', (response) => void response.setHeader('content-type', 'application/json').end('{"issuer":')],
    ['answers without an end', (response) => void response.setHeader('content-type', 'application/json').end('x'.repeat(2_000_000))],
    ['leads elsewhere', (response) => void response.writeHead(302, { location: 'http://127.0.0.1:9/' }).end()],
    ['hangs up', (response) => void response.socket!.destroy()],
  ])('a provider that %s', async (_, answer) => {
    await start()
    provider.everything = answer
    const page = await gateway.signIn(gateway.agent())
    expect([page.status, lastRequest().outcome]).toEqual([503, 'provider_unavailable'])
    expect(page.headers['retry-after']).toMatch(/^[1-5]$/)
    expect(page.html).toContain('Log in in another way')
    expect(page.html).not.toContain('a text of the provider')
    // the other ways stay open, and the provider is asked again
    const user = await newUser(gateway)
    expect((await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })).status).toBe(200)
    provider.everything = null
    expect((await gateway.signIn(gateway.agent())).status).toBe(200)
  })

  it('a provider that is away does not keep the gateway from starting', async () => {
    await start()
    await provider.close()
    expect((await gateway.signIn(gateway.agent())).status).toBe(503)
    expect((await fetch(`${gateway.adminUrl}/readyz`)).status).toBe(200)
  })
})

describe('after the sign-in', () => {
  it.each<[string, number, (response: ServerResponse) => void, string]>([
    ['answers 500', 503, (response) => void response.writeHead(500).end(TEXT), 'provider_unavailable'],
    ['hangs up', 503, (response) => void response.socket!.destroy(), 'provider_unavailable'],
    [
      'knows this client no more',
      401,
      (response) =>
        void response
          .writeHead(401, { 'content-type': 'application/json' })
          .end(`{"error":"invalid_client","error_description":"${TEXT}"}`),
      'provider_refused',
    ],
    [
      'sends no ID token',
      401,
      (response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"access_token":"a","token_type":"Bearer"}'),
      'provider_refused',
    ],
  ])('a token endpoint that %s: %i', async (_, status, answer, outcome) => {
    await start()
    provider.token = answer
    const agent = gateway.agent()
    const page = await gateway.signIn(agent)
    expect([page.status, lastRequest().outcome]).toEqual([status, outcome])
    expect(page.html).toContain('Log in in another way')
    expect(page.html + JSON.stringify(gateway.log())).not.toContain('a text of the provider')
    expect(await userOf(agent)).toBeNull()
    provider.token = null
    expect((await gateway.signIn(agent)).status).toBe(200)
  })

  it('an error of the authorization endpoint is not shown raw', async () => {
    await start()
    provider.answer = (parameters) => {
      parameters.delete('code')
      parameters.set('error', `access_denied${TEXT}`)
      parameters.set('error_description', TEXT)
      parameters.set('error_uri', 'https://evil.example.com')
    }
    const page = await gateway.signIn(gateway.agent())
    expect([page.status, lastRequest().outcome]).toEqual([401, 'provider_refused'])
    expect(page.html + JSON.stringify(gateway.log())).not.toMatch(/a text of the provider|evil\.example/)
  })
})

describe('over TLS', () => {
  it('a provider with a certificate of the own CA is believed by caFile alone', async () => {
    const authority = await createAuthority()
    const certificate = await authority.issue()
    await start({ certificate }, { settings: { caFile: authority.certFile } })
    // the provider is TLS, too, so that the agent does not follow: only what the gateway asks counts
    const begun = await gateway.agent().open(`${ORIGIN}/auth/providers/acme/start`, () => true)
    expect([begun.status, new URL(begun.trail[0]!).origin]).toEqual([303, provider.issuer])
    const without = await startSignInGateway({ openId: provider })
    const refused = await without.signIn(without.agent())
    expect(refused.status).toBe(503)
    await without.close()
    authority.close()
  })
})
