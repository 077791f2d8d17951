/** Sign-in with OpenID Connect and with GitHub: accounts, links, factors, re-authentication, logout. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, newUser, proveAddress } from '../../support/client.ts'
import { type FakeGitHub, startFakeGitHub } from '../../support/fake-github.ts'
import { type FakeProvider, startFakeProvider } from '../../support/fake-provider.ts'
import { metric } from '../../support/gateway.ts'
import { mailsTo } from '../../support/mails.ts'
import { rows } from '../../support/rows.ts'
import { linksOf, ORIGIN, SESSION, type SignInGateway, startSignInGateway, userOf } from '../../support/sign-in.ts'
import { codeOf, newFactorUser } from '../../support/totp.ts'

let provider: FakeProvider
let github: FakeGitHub
let gateway: SignInGateway
beforeAll(async () => {
  provider = await startFakeProvider()
  github = await startFakeGitHub()
  gateway = await startSignInGateway({
    openId: provider,
    github,
    settings: { allowedDomains: ['example.com'], trustEmail: true },
  })
})
afterAll(async () => {
  await gateway.close()
  await provider.close()
  await github.close()
})
const ANN = { sub: 'ann', email: 'ann@example.com', email_verified: true }
afterEach(() => {
  provider.person = ANN
  provider.tamper = null
  provider.answer = null
})

let count = 0
const somebody = () => {
  const sub = `person-${count++}`
  provider.person = { sub, email: `${sub}@example.com`, email_verified: true }
  return provider.person as typeof ANN
}

describe('a person whom nobody knows here', () => {
  it('gets an account, a session by cookie, and goes on to where they wanted', async () => {
    const { email } = somebody()
    const agent = gateway.agent()
    const answer = await gateway.signIn(agent, 'acme', '?return_to=%2Fauth%2Fui%2Faccount%2Fprofile')
    expect([answer.status, answer.url.pathname]).toEqual([200, '/auth/ui/account/profile'])
    expect(agent.cookies.get(ORIGIN)!.has(SESSION)).toBe(true)
    expect(await userOf(agent)).toMatchObject({ user: { email, email_verified: true, roles: ['user'] }, session: { amr: ['fed'] } })
    expect(await linksOf(gateway, email)).toEqual([{ provider: 'acme', issuer: provider.issuer, subject: provider.person.sub }])
  })

  it('the same person, later, with another address, is the same user', async () => {
    const { email } = somebody()
    await gateway.signIn(gateway.agent())
    provider.person = { ...provider.person, email: `other-${email}` }
    const again = gateway.agent()
    await gateway.signIn(again)
    expect((await userOf(again))!.user.email).toBe(email)
  })

  it('a username is made from what the provider says, and a taken or reserved name is not', async () => {
    const { sub } = somebody()
    provider.person.preferred_username = 'Ädmin'
    const first = gateway.agent()
    await gateway.signIn(first)
    expect((await userOf(first))!.user.username).toMatch(/^admin-\d+$/)
    provider.person = { ...provider.person, sub: `${sub}-2`, email: `second-${sub}@example.com`, preferred_username: 'José Müller' }
    const second = gateway.agent()
    await gateway.signIn(second)
    expect((await userOf(second))!.user.username).toBe('jose-muller')
  })

  it('is counted and audited', async () => {
    const before = await metric(gateway, 'portcullis_provider_logins_total', { provider: 'acme', outcome: 'success' })
    const { email } = somebody()
    await gateway.signIn(gateway.agent())
    expect(await metric(gateway, 'portcullis_provider_logins_total', { provider: 'acme', outcome: 'success' })).toBe(before + 1)
    const events = await rows(
      gateway,
      `SELECT event, outcome, detail FROM audit_log WHERE user_id = (SELECT id FROM users WHERE email_canonical = $1) ORDER BY at, event`,
      [email],
    )
    expect(events.map(({ event, detail }: any) => `${event}: ${detail}`).sort()).toEqual([
      'login: acme',
      'login_link: acme: new account',
      'register: acme',
    ])
  })
})

describe('a person whose address has an account', () => {
  it('is linked, and gets a mail, when both sides have proven the address', async () => {
    const user = await newUser(gateway)
    await proveAddress(gateway, user)
    provider.person = { sub: `of-${user.username}`, email: user.email.toUpperCase(), email_verified: true }
    const agent = gateway.agent()
    await gateway.signIn(agent)
    expect((await userOf(agent))!.user.id).toBe(user.id)
    expect((await mailsTo(gateway, user.email)).map(({ template }) => template)).toContain('login_linked')
  })

  it('loses everything that a stranger may have added, when the address was never proven', async () => {
    const user = await newUser(gateway)
    provider.person = { sub: `of-${user.username}`, email: user.email, email_verified: true }
    const agent = gateway.agent()
    await gateway.signIn(agent)
    expect((await userOf(agent))!.user).toMatchObject({ id: user.id, email_verified: true })
    expect((await call(gateway, '/auth/login', { body: { login: user.email, password: user.password } })).body.code).toBe(
      'invalid_credentials',
    )
    expect((await call(gateway, '/auth/me', { token: user.token })).status).toBe(401)
  })

  it.each([
    ['the provider does not call the address verified', (person: any) => (person.email_verified = false), 'provider_refused'],
    ['the provider calls it verified by a text', (person: any) => (person.email_verified = 'true'), 'provider_refused'],
    ['the domain is not listed', (person: any) => (person.email = 'eve@example.org'), 'provider_refused'],
  ])('is refused where %s', async (_, change, code) => {
    somebody()
    change(provider.person)
    const answer = await gateway.signIn(gateway.agent())
    expect(answer.status).toBe(401)
    expect(answer.html).toContain('The sign-in was cancelled or refused.')
    expect(
      gateway
        .log()
        .filter((l) => l.msg === 'request')
        .at(-1),
    ).toMatchObject({ outcome: code })
  })

  it('is not linked by itself when the account has a second factor or a role', async () => {
    const user = await newFactorUser(gateway)
    await proveAddress(gateway, user)
    provider.person = { sub: `of-${user.username}`, email: user.email, email_verified: true }
    const answer = await gateway.signIn(gateway.agent())
    expect([answer.status, (await linksOf(gateway, user.email)).length]).toEqual([409, 0])
    expect(answer.html).toContain('The e-mail address is taken.')
  })
})

describe('a user with a second factor', () => {
  it('still enters a code, and the session shows both', async () => {
    somebody()
    const agent = gateway.agent()
    await gateway.signIn(agent)
    const { user } = (await userOf(agent))!
    const { body } = await call(gateway, '/auth/mfa/totp', { ...asPage(agent), body: {} })
    const secret = body.secret as string
    await call(gateway, '/auth/mfa/totp/confirm', { ...asPage(agent), body: { code: codeOf(secret, -1) } })
    const again = gateway.agent()
    const step = await gateway.signIn(again)
    expect(step.headers.refresh).toBe('0;url=/auth/ui/factor')
    expect(await userOf(again)).toBeNull()
    const done = await again.post(`${ORIGIN}/auth/ui/factor`, { code: codeOf(secret) })
    expect(done.status).toBe(200)
    expect(await userOf(again)).toMatchObject({ user: { id: user.id }, session: { amr: ['fed', 'otp', 'mfa'] } })
  })
})

/** The headers of a page of the gateway itself, in the session of an agent. */
function asPage(agent: ReturnType<SignInGateway['agent']>) {
  const cookies = [...agent.cookies.get(ORIGIN)!].map(([name, value]) => `${name}=${value}`).join('; ')
  return { method: 'POST', headers: { cookie: cookies, 'sec-fetch-site': 'same-origin' } }
}

describe('GitHub', () => {
  it('signs in with the primary verified address', async () => {
    const agent = gateway.agent()
    const answer = await gateway.signIn(agent, 'github')
    expect(answer.status).toBe(200)
    expect((await userOf(agent))!.user).toMatchObject({ email: 'octocat@example.com', username: 'octocat', email_verified: true })
    expect(await linksOf(gateway, 'octocat@example.com')).toEqual([{ provider: 'github', issuer: github.issuer, subject: '583231' }])
  })

  it('says that it may not read the addresses', async () => {
    github.statuses['/api/v3/user/emails'] = 403
    const answer = await gateway.signIn(gateway.agent(), 'github')
    github.statuses = {}
    expect(answer.status).toBe(401)
    expect(
      gateway
        .log()
        .filter((l) => l.msg === 'request')
        .at(-1),
    ).toMatchObject({ outcome: 'provider_refused', cause: '/user/emails is not allowed' })
  })

  it('an error that comes with status 200 is an error', async () => {
    github.tokenError = 'bad_verification_code'
    const answer = await gateway.signIn(gateway.agent(), 'github')
    github.tokenError = null
    expect(answer.status).toBe(401)
  })
})

describe('a flow', () => {
  const started = async (agent = gateway.agent()) => {
    const answer = await agent.open(`${ORIGIN}/auth/providers/acme/start`, (to) => to.pathname.endsWith('/callback'))
    return { agent, back: answer.trail.at(-1)! }
  }
  const reasonOf = () =>
    gateway
      .log()
      .filter((l) => l.msg === 'request')
      .at(-1)!.outcome

  it('works once', async () => {
    somebody()
    const { agent, back } = await started()
    expect((await agent.open(back)).status).toBe(200)
    expect((await agent.open(back)).status).toBe(400)
    expect(reasonOf()).toBe('flow_invalid')
  })

  it('works in no other browser, and the right browser goes on', async () => {
    somebody()
    const { agent, back } = await started()
    expect((await gateway.agent().open(back)).status).toBe(400)
    expect((await agent.open(back)).status).toBe(200)
  })

  it('of two tabs both come back', async () => {
    somebody()
    const agent = gateway.agent()
    const [one, two] = [await started(agent), await started(agent)]
    expect((await agent.open(two.back)).status).toBe(200)
    expect((await agent.open(one.back)).status).toBe(200)
  })

  it('ends after ten minutes', async () => {
    somebody()
    const { agent, back } = await started()
    await rows(gateway, `UPDATE login_flows SET expires_at = now()`, [])
    expect((await agent.open(back)).status).toBe(400)
  })

  it('of another provider is refused', async () => {
    somebody()
    const { agent, back } = await started()
    expect((await agent.open(back.replace('/acme/', '/github/'))).status).toBe(400)
    expect(reasonOf()).toBe('flow_invalid')
  })
})
