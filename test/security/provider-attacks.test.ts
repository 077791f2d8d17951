/** Attacks on sign-in with a provider: by other providers, by answers that were changed, by other sites, and by people with accounts of their own. */
import { createHmac } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, newUser, proveAddress } from '../support/client.ts'
import { type FakeProvider, startFakeProvider } from '../support/fake-provider.ts'
import { rows } from '../support/rows.ts'
import { linksOf, ORIGIN, openIdSettings, type SignInGateway, startSignInGateway, userOf } from '../support/sign-in.ts'
import type { WebAgent } from '../support/web-agent.ts'

let provider: FakeProvider
/** A provider of another operator, which attacks. */
let evil: FakeProvider
let gateway: SignInGateway
beforeAll(async () => {
  provider = await startFakeProvider()
  evil = await startFakeProvider()
  gateway = await startSignInGateway({
    auth: {
      providers: [
        openIdSettings(provider, { allowedDomains: ['example.com'], trustEmail: true }),
        openIdSettings(evil, { id: 'evil', clientSecretEnv: 'EVIL_SECRET' }),
      ],
    },
    openId: provider,
    config: { limits: { credentials: { provider: { limit: 1000, windowSeconds: 600 } } } },
    secrets: { EVIL_SECRET: evil.clientSecret },
  })
})
afterAll(async () => {
  await gateway.close()
  await provider.close()
  await evil.close()
})
afterEach(() => {
  for (const one of [provider, evil]) {
    Object.assign(one, { tamper: null, sign: null, answer: null, token: null })
    one.person = { sub: 'ann', email: 'ann@example.com', email_verified: true }
  }
})

let count = 0
const somebody = () => {
  const sub = `person-${count++}`
  provider.person = { sub, email: `${sub}@example.com`, email_verified: true }
}
const last = () =>
  gateway
    .log()
    .filter((l) => l.msg === 'request')
    .at(-1)!
/** Stops before the browser brings the answer back. */
async function begin(agent: WebAgent, id = 'acme', query = ''): Promise<URL> {
  const { trail } = await agent.open(`${ORIGIN}/auth/providers/${id}/start${query}`, (to) => to.pathname.endsWith('/callback'))
  return new URL(trail.at(-1)!)
}
const refused = async (agent: WebAgent, back: URL) => {
  const answer = await agent.open(back.href)
  const lastOutcome = last().outcome
  expect(await userOf(agent)).toBeNull()
  return [answer.status, lastOutcome]
}

describe('an ID token is refused', () => {
  const later = () => Math.floor(Date.now() / 1000)
  it.each<[string, (claims: any, header: any) => void]>([
    ['of another audience', (claims) => (claims.aud = 'another')],
    ['of several audiences without azp', (claims) => (claims.aud = ['gateway', 'another'])],
    ['whose azp is another client', (claims) => Object.assign(claims, { aud: ['gateway', 'another'], azp: 'another' })],
    ['of another issuer', (claims) => (claims.iss = 'https://accounts.example.org')],
    ['with another nonce', (claims) => (claims.nonce = 'x'.repeat(43))],
    ['without a nonce', (claims) => (claims.nonce = undefined)],
    ['that has expired', (claims) => (claims.exp = later() - 300)],
    ['without an end', (claims) => (claims.exp = undefined)],
    ['without a subject', (claims) => (claims.sub = undefined)],
    ['of an unknown key', (_, header) => (header.kid = 'unknown')],
  ])('%s', async (_, tamper) => {
    somebody()
    provider.tamper = tamper
    const agent = gateway.agent()
    expect(await refused(agent, await begin(agent))).toEqual([401, 'provider_refused'])
  })

  it('that is signed by nobody', async () => {
    somebody()
    provider.sign = (claims) =>
      `${[{ alg: 'none' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')}.`
    const agent = gateway.agent()
    expect(await refused(agent, await begin(agent))).toEqual([401, 'provider_refused'])
  })

  it.each([
    ['the public key as the secret', async () => Buffer.from(JSON.stringify(await provider.publicJwk()))],
    ['the client secret', async () => Buffer.from(provider.clientSecret)],
  ])('that is signed by HMAC with %s', async (_, secret) => {
    somebody()
    const key = await secret()
    provider.sign = (claims, header) => {
      const input = [{ ...header, alg: 'HS256' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
      return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`
    }
    const agent = gateway.agent()
    expect(await refused(agent, await begin(agent))).toEqual([401, 'provider_refused'])
  })

  it('of another key than the published key', async () => {
    somebody()
    provider.sign = (claims, header) => evil.logoutToken({ ...claims, events: undefined }, { ...header, typ: 'JWT' })
    const agent = gateway.agent()
    expect(await refused(agent, await begin(agent))).toEqual([401, 'provider_refused'])
  })
})

describe('keys', () => {
  it('that were rotated in the middle of a flow are read again', async () => {
    somebody()
    await gateway.signIn(gateway.agent())
    // the cooldown between two reads of unknown keys
    await new Promise((resolve) => setTimeout(resolve, 1100))
    const agent = gateway.agent()
    const back = await begin(agent)
    provider.rotate()
    expect((await agent.open(back.href)).status).toBe(200)
  })
})

describe('mix-up', () => {
  it('an answer of another issuer is refused (RFC 9207)', async () => {
    somebody()
    provider.answer = (parameters) => parameters.set('iss', evil.issuer)
    const agent = gateway.agent()
    expect(await refused(agent, await begin(agent))).toEqual([401, 'provider_refused'])
  })

  it('an answer without an issuer is refused where the provider says that it sends it', async () => {
    somebody()
    provider.answer = (parameters) => parameters.delete('iss')
    const agent = gateway.agent()
    expect(await refused(agent, await begin(agent))).toEqual([401, 'provider_refused'])
  })

  it('a code of one provider is not sent to another', async () => {
    somebody()
    const agent = gateway.agent()
    const back = await begin(agent)
    const before = evil.count('/token')
    back.pathname = back.pathname.replace('/acme/', '/evil/')
    expect(await refused(agent, back)).toEqual([400, 'flow_invalid'])
    expect(evil.count('/token')).toBe(before)
  })

  it('metadata of another issuer are refused', async () => {
    const liar = await startFakeProvider()
    liar.metadata = { issuer: provider.issuer }
    const other = await startSignInGateway({ openId: liar })
    const answer = await other.signIn(other.agent())
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(liar.count('/authorize')).toBe(0)
    await other.close()
    await liar.close()
  })
})

describe('a code', () => {
  it('of another flow is refused: the verifier does not fit', async () => {
    somebody()
    const [one, two] = [gateway.agent(), gateway.agent()]
    const [backOne, backTwo] = [await begin(one), await begin(two)]
    backTwo.searchParams.set('code', backOne.searchParams.get('code')!)
    expect(await refused(two, backTwo)).toEqual([401, 'provider_refused'])
  })

  it('is refused without a state, with two states, and with the state of another browser', async () => {
    somebody()
    const victim = gateway.agent()
    const attacker = gateway.agent()
    const back = await begin(attacker)
    const without = new URL(back)
    without.searchParams.delete('state')
    const twice = new URL(back)
    twice.searchParams.append('state', 'x')
    for (const url of [without, twice, back]) expect(await refused(victim, url)).toEqual([400, 'flow_invalid'])
  })
})

describe('where the browser goes on', () => {
  it.each([
    'https://evil.test/',
    '//evil.test/',
    '/\\evil.test',
    'javascript:alert(1)',
    '/auth/providers/acme/start',
    'https:evil.test',
  ])('never to %s', async (target) => {
    somebody()
    const agent = gateway.agent()
    const { trail } = await gateway.signIn(agent, 'acme', `?return_to=${encodeURIComponent(target)}`)
    const own = trail.filter((to) => !to.startsWith(provider.issuer))
    for (const to of own) expect(new URL(to).origin).toBe(ORIGIN)
    expect(trail.at(-1)).toBe(`${ORIGIN}/auth/ui/account`)
  })
})

describe('an account of another person', () => {
  it('is not reached by a provider whose users write any address', async () => {
    const user = await newUser(gateway)
    await proveAddress(gateway, user)
    evil.person = { sub: 'eve', email: user.email, email_verified: true }
    const agent = gateway.agent()
    const answer = await gateway.signIn(agent, 'evil')
    expect([answer.status, last().outcome, await userOf(agent)]).toEqual([409, 'email_taken', null])
    expect(await linksOf(gateway, user.email)).toEqual([])
  })

  it('does not keep what a stranger added before the owner came', async () => {
    // the stranger registers with the address, and waits
    const stranger = await newUser(gateway)
    provider.person = { sub: `owner-${stranger.username}`, email: stranger.email, email_verified: true }
    const owner = gateway.agent()
    await gateway.signIn(owner)
    expect((await userOf(owner))!.user.email).toBe(stranger.email)
    expect((await call(gateway, '/auth/me', { token: stranger.token })).status).toBe(401)
    expect((await call(gateway, '/auth/refresh', { body: { refresh_token: stranger.refreshToken } })).status).toBe(401)
    expect((await call(gateway, '/auth/login', { body: { login: stranger.email, password: stranger.password } })).status).toBe(401)
  })

  it('is not linked by a flow that another session has begun', async () => {
    somebody()
    const victim = gateway.agent()
    await gateway.signIn(victim)
    const id = (await userOf(victim))!.user.id
    somebody()
    const attacker = gateway.agent()
    await gateway.signIn(attacker)
    evil.person = { sub: `mallory-${count}`, email: 'mallory@example.org', email_verified: true }
    const { url } = await beginLink(attacker, 'evil')
    const { trail } = await attacker.open(url, (to) => to.pathname.endsWith('/callback'))
    // the victim gets the answer, and even the cookie of the flow
    for (const [name, value] of attacker.cookies.get(ORIGIN)!) if (name.includes('flow')) victim.cookies.get(ORIGIN)!.set(name, value)
    const answer = await victim.open(trail.at(-1)!)
    expect([answer.status, last().outcome]).toEqual([400, 'flow_invalid'])
    expect(await rows(gateway, 'SELECT 1 FROM linked_logins WHERE user_id = $1 AND issuer = $2', [id, evil.issuer])).toEqual([])
  })

  it('has one login of a kind at most, and a login has one account', async () => {
    somebody()
    const first = gateway.agent()
    await gateway.signIn(first)
    evil.person = { sub: `shared-${count}`, email: 'shared@example.org', email_verified: false }
    const one = await beginLink(first, 'evil')
    expect((await first.open(one.url)).status).toBe(200)
    somebody()
    const second = gateway.agent()
    await gateway.signIn(second)
    const two = await beginLink(second, 'evil')
    const answer = await second.open(two.url)
    expect([answer.status, last().outcome]).toEqual([409, 'already_linked'])
  })
})

/** As a page of the gateway does. */
async function beginLink(agent: WebAgent, id: string): Promise<{ url: string }> {
  const cookie = [...agent.cookies.get(ORIGIN)!].map(([name, value]) => `${name}=${value}`).join('; ')
  const { status, body, headers } = await call(gateway, `/auth/providers/${id}/link`, {
    body: {},
    headers: { cookie, 'sec-fetch-site': 'same-origin' },
  })
  if (status !== 200) throw new Error(`link answered ${status}: ${JSON.stringify(body)}`)
  for (const set of headers.getSetCookie()) {
    const pair = set.split(';')[0]!
    agent.cookies.get(ORIGIN)!.set(pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1))
  }
  return body
}

describe('a logout token', () => {
  const send = (token: string) =>
    call(gateway, '/auth/providers/acme/backchannel-logout', {
      method: 'POST',
      body: new URLSearchParams({ logout_token: token }).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    })

  it('ends the sessions of its subject, once', async () => {
    somebody()
    const agent = gateway.agent()
    await gateway.signIn(agent)
    const token = await provider.logoutToken()
    expect((await send(token)).status).toBe(200)
    expect(await userOf(agent)).toBeNull()
    const again = gateway.agent()
    await gateway.signIn(again)
    const replayed = await send(token)
    expect([replayed.status, replayed.body.code, replayed.headers.get('cache-control')]).toEqual([400, 'logout_token_invalid', 'no-store'])
    expect(await userOf(again)).not.toBeNull()
  })

  it('ends only the session that it names', async () => {
    somebody()
    provider.person.sid = `sid-${count}`
    const named = gateway.agent()
    await gateway.signIn(named)
    provider.person.sid = `other-${count}`
    const other = gateway.agent()
    await gateway.signIn(other)
    expect((await send(await provider.logoutToken({ sub: undefined, sid: `sid-${count}` }))).status).toBe(200)
    expect(await userOf(named)).toBeNull()
    expect(await userOf(other)).not.toBeNull()
  })

  it.each<[string, object, object]>([
    ['with a nonce', { nonce: 'x' }, {}],
    ['without the event', { events: {} }, {}],
    ['of another event', { events: { 'http://schemas.openid.net/event/other': {} } }, {}],
    ['for another client', { aud: 'another' }, {}],
    ['of another issuer', { iss: 'https://accounts.example.org' }, {}],
    ['of more than ten minutes', { iat: Math.floor(Date.now() / 1000) - 700, exp: Math.floor(Date.now() / 1000) + 60 }, {}],
    ['that has expired', { exp: Math.floor(Date.now() / 1000) - 120 }, {}],
    ['without a subject and without a session', { sub: undefined }, {}],
    ['without an id', { jti: undefined }, {}],
    ['that is an access token', {}, { typ: 'at+jwt' }],
  ])('%s is refused', async (_, claims, header) => {
    const { status, body } = await send(await provider.logoutToken(claims, header))
    expect([status, body.code]).toEqual([400, 'logout_token_invalid'])
  })

  it('that is an ID token, or no token, is refused', async () => {
    for (const token of ['', 'a.b.c', 'eyJhbGciOiJub25lIn0.e30.']) expect((await send(token)).body.code).toBe('logout_token_invalid')
  })
})
