/** What a provider says about when a person showed a credential, and what it is worth here. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call } from '../../support/client.ts'
import { type FakeGitHub, startFakeGitHub } from '../../support/fake-github.ts'
import { type FakeProvider, startFakeProvider } from '../../support/fake-provider.ts'
import { rows } from '../../support/rows.ts'
import { ORIGIN, type SignInGateway, startSignInGateway, userOf } from '../../support/sign-in.ts'
import { codeOf } from '../../support/totp.ts'
import type { WebAgent } from '../../support/web-agent.ts'

let provider: FakeProvider
let github: FakeGitHub
let gateway: SignInGateway
beforeAll(async () => {
  provider = await startFakeProvider()
  github = await startFakeGitHub()
  gateway = await startSignInGateway({ openId: provider, github })
})
afterAll(async () => {
  await gateway.close()
  await provider.close()
  await github.close()
})
afterEach(() => {
  provider.tamper = null
  github.user = { id: 583231, login: 'octocat' }
})

let count = 0
async function signedIn(authTime: (now: number) => unknown): Promise<WebAgent> {
  provider.person = { sub: `fresh-${count++}`, email: `fresh-${count}@example.com`, email_verified: true }
  provider.tamper = (claims) => {
    claims.auth_time = authTime(claims.iat)
  }
  const agent = gateway.agent()
  await gateway.signIn(agent)
  return agent
}

/** What only a recent login may do. */
const newKey = (agent: WebAgent) => {
  const cookie = [...agent.cookies.get(ORIGIN)!].map(([name, value]) => `${name}=${value}`).join('; ')
  return call(gateway, '/auth/api-keys', { headers: { cookie, 'sec-fetch-site': 'same-origin' }, body: { name: 'key' } })
}
const proveAgain = (agent: WebAgent, id = 'acme') => gateway.signIn(agent, id, '?reauthenticate=1')

describe('a sign-in', () => {
  it.each<[string, (now: number) => unknown, boolean]>([
    ['now', (now) => now, true],
    ['in the future', (now) => now + 3600, true],
    ['an hour ago', (now) => now - 3600, false],
    ['nothing', () => undefined, false],
  ])('with auth_time %s', async (_, authTime, isFresh) => {
    const { status, body } = await newKey(await signedIn(authTime))
    expect([status, body.code]).toEqual(isFresh ? [201, undefined] : [401, 'reauthentication_required'])
  })

  it('with GitHub is no recent login', async () => {
    const agent = gateway.agent()
    await gateway.signIn(agent, 'github')
    expect((await newKey(agent)).body.code).toBe('reauthentication_required')
    const page = await agent.open(`${ORIGIN}/auth/ui/login`)
    expect(page.html).toContain('Set a password by mail')
    expect(page.html).not.toContain('reauthenticate=1')
    const refused = await proveAgain(agent, 'github')
    expect(refused.status).toBe(401)
  })
})

describe('a user proves again who they are', () => {
  it('the provider is asked with max_age=0, and says when it asked', async () => {
    const agent = await signedIn((now) => now - 3600)
    const page = await agent.open(`${ORIGIN}/auth/ui/login`)
    expect(page.html).toContain('/auth/providers/acme/start?reauthenticate=1')
    provider.tamper = null
    const before = await rows(gateway, 'SELECT count(*) FROM sessions', [])
    expect((await proveAgain(agent)).status).toBe(200)
    const asked = provider.seen.filter(({ path }) => path === '/authorize').at(-1)!
    expect([asked.query.get('max_age'), asked.query.get('prompt')]).toEqual(['0', 'login'])
    expect((await newKey(agent)).status).toBe(201)
    expect(await rows(gateway, 'SELECT count(*) FROM sessions', [])).toEqual(before)
  })

  it.each<[string, (claims: any) => void]>([
    ['that it did not ask', (claims) => (claims.auth_time -= 3600)],
    ['nothing about it', (claims) => (claims.auth_time = undefined)],
    ['it in words', (claims) => (claims.auth_time = 'now')],
    ['it of another person', (claims) => (claims.sub = 'somebody-else')],
  ])('and is refused where the provider says %s', async (_, tamper) => {
    const agent = await signedIn((now) => now - 3600)
    provider.tamper = tamper
    expect((await proveAgain(agent)).status).toBe(401)
    expect((await newKey(agent)).body.code).toBe('reauthentication_required')
  })

  it('in another session than the one that began it, and is refused', async () => {
    const [agent, other] = [await signedIn((now) => now - 3600), await signedIn((now) => now - 3600)]
    provider.tamper = null
    const begun = await agent.open(`${ORIGIN}/auth/providers/acme/start?reauthenticate=1`, (to) => to.pathname.endsWith('/callback'))
    const session = [...other.cookies.get(ORIGIN)!].find(([name]) => name === '__Host-portcullis')!
    agent.cookies.get(ORIGIN)!.set(...session)
    expect((await agent.open(begun.trail.at(-1)!)).status).toBe(400)
    expect((await newKey(agent)).body.code).toBe('reauthentication_required')
  })

  it('a second factor is not proven by it', async () => {
    const agent = await signedIn((now) => now)
    const cookie = () => [...agent.cookies.get(ORIGIN)!].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = () => ({ cookie: cookie(), 'sec-fetch-site': 'same-origin' })
    const { secret } = (await call(gateway, '/auth/mfa/totp', { headers: headers(), body: {} })).body
    expect((await call(gateway, '/auth/mfa/totp/confirm', { headers: headers(), body: { code: codeOf(secret, -1) } })).status).toBe(200)
    const fresh = gateway.agent()
    provider.tamper = (claims) => Object.assign(claims, { amr: ['pwd', 'otp', 'mfa'], acr: 'phr' })
    const step = await gateway.signIn(fresh)
    expect(await userOf(fresh)).toBeNull()
    expect(step.headers.refresh).toBe('0;url=/auth/ui/factor')
  })
})
