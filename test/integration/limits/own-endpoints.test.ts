/** The gateway's own endpoints are limited as routes without limits are: users and machines by principal, everybody else by address. */
import { describe, expect, it } from 'vitest'
import { from, newAddress, newUserFrom } from '../../support/addresses.ts'
import { byCookie, cookieLogin } from '../../support/browser-session.ts'
import { call, newUserWithRoles } from '../../support/client.ts'
import { askForToken, newClient } from '../../support/clients.ts'
import { ownEndpoints } from '../../support/endpoints.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { metric } from '../../support/gateway.ts'
import { times } from '../../support/times.ts'

const HOUR = 3600
const upstream = useUpstream()
const routes = () => [{ name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' }]
const limits = {
  default: ['perIp', 'perUser'],
  exempt: [],
  policies: {
    perIp: { limit: 3, windowSeconds: HOUR, key: 'anonymous' },
    perUser: { limit: 3, windowSeconds: HOUR, key: 'principal' },
  },
}
const server = { trustedProxies: ['127.0.0.1/32'] }
const auth = { passkeys: { enabled: true }, emailLogin: 'on' }
const gateway = useGateway(() => ({
  config: { server: { ...server, publicUrl: 'https://gateway.test' }, auth, limits, docs: { enabled: true } },
  routes: routes(),
}))

const inTurn = async <T>(n: number, make: () => Promise<T>): Promise<T[]> => {
  const all: T[] = []
  for (let i = 0; i < n; i++) all.push(await make())
  return all
}
const send = (endpoint: string, address: string, token?: string) => {
  const [method, path] = endpoint.split(' ') as [string, string]
  const url = path.replace(/:[a-zA-Z]+/g, '0190f0f0-0000-7000-8000-000000000000').replace('*', 'static/swagger-ui.css')
  return call(gateway, url, { method, token, headers: from(address) })
}

/** They are answered from memory, to monitors and verifiers that ask often. */
const UNLIMITED = ['GET /health', 'GET /.well-known/jwks.json', 'GET /.well-known/oauth-authorization-server']
/** They take a password, a code, a refresh token, a link or the credential of a machine client, and have limits for that. */
const WITH_CREDENTIAL_LIMITS = [
  'POST /auth/register',
  'POST /auth/login',
  'POST /auth/login/mfa',
  'POST /auth/login/email',
  'POST /auth/login/email/verify',
  'POST /auth/login/confirm',
  'POST /auth/login/confirm/details',
  'POST /auth/refresh',
  'POST /auth/logout',
  'POST /auth/logout-all',
  'POST /auth/email/verify',
  'POST /auth/email/verify/details',
  'POST /auth/email/verify/request',
  'POST /auth/password/forgot',
  'POST /auth/password/reset',
  'POST /auth/password/reset/details',
  'POST /auth/token',
  'POST /auth/introspect',
  'POST /auth/revoke',
  'POST /auth/passkeys/login/verify',
]
/** It begins a login, and takes an access token, too. */
const BY_ADDRESS = ['POST /auth/passkeys/login/options']
const PAGES = /^GET \/auth\/(docs|openapi\.json|email\/verify$|password\/reset$|login\/confirm$)/

describe('every own endpoint', () => {
  it('that this file names exists', () => {
    const all = ownEndpoints(gateway)
    for (const endpoint of [...UNLIMITED, ...WITH_CREDENTIAL_LIMITS, ...BY_ADDRESS]) expect(all).toContain(endpoint)
  })

  it('that needs an access token counts by principal, and without a token by address', async () => {
    const guarded = ownEndpoints(gateway).filter(
      (endpoint) =>
        !UNLIMITED.includes(endpoint) && ![...WITH_CREDENTIAL_LIMITS, ...BY_ADDRESS].includes(endpoint) && !PAGES.test(endpoint),
    )
    expect(guarded.length).toBeGreaterThan(25)
    for (const endpoint of guarded) {
      const user = await newUserFrom(gateway)
      await inTurn(3, () => call(gateway, '/api', { token: user.token, headers: from(newAddress()) }))
      const answer = await send(endpoint, newAddress(), user.token)
      expect([endpoint, answer.status, answer.headers.get('ratelimit-policy')]).toEqual([endpoint, 429, '"perUser";q=3;w=3600'])

      const address = newAddress()
      const anonymous = await inTurn(4, () => send(endpoint, address))
      expect([endpoint, ...anonymous.map(({ status }) => status)]).toEqual([endpoint, 401, 401, 401, 429])
    }
  })

  it('that is a page counts by address', async () => {
    const pages = ownEndpoints(gateway).filter((endpoint) => PAGES.test(endpoint))
    expect(pages.length).toBeGreaterThan(3)
    for (const endpoint of pages) {
      const address = newAddress()
      const statuses = (await inTurn(4, () => send(endpoint, address))).map(({ status }) => status)
      expect([endpoint, statuses[3]]).toEqual([endpoint, 429])
      expect(statuses.slice(0, 3)).not.toContain(429)
    }
  })

  it('that begins a login counts by address', async () => {
    const address = newAddress()
    const ask = () => call(gateway, '/auth/passkeys/login/options', { body: {}, headers: from(address) })
    expect((await inTurn(4, ask)).map(({ status }) => status)).toEqual([200, 200, 200, 429])
  })

  it('that monitors and verifiers ask for is never limited', async () => {
    const address = newAddress()
    for (const endpoint of UNLIMITED)
      for (const { status, headers } of await inTurn(6, () => send(endpoint, address)))
        expect([status, headers.get('ratelimit')]).toEqual([200, null])
  })
})

describe('with a proof of work', () => {
  const withProof = useGateway(() => ({ config: { server, limits, auth: { proofOfWork: { enabled: true } } }, routes: routes() }))

  it('a challenge counts by address', async () => {
    const address = newAddress()
    const ask = () => call(withProof, '/auth/challenge?for=register', { headers: from(address) })
    expect((await inTurn(4, ask)).map(({ status }) => status)).toEqual([200, 200, 200, 429])
    expect((await call(withProof, '/auth/challenge?for=register', { headers: from(newAddress()) })).status).toBe(200)
  })
})

describe('with sessions by cookie', () => {
  const withCookies = useGateway(() => ({ config: { server, limits, auth: { browser: { enabled: true } } }, routes: routes() }))
  const ask = (path: string, cookie: string, address: string) => byCookie(withCookies, path, cookie, { headers: from(address) })

  it('an unknown cookie counts by address, at endpoints and pages', async () => {
    for (const path of ['/auth/me', '/auth/session', '/auth/ui/login']) {
      const address = newAddress()
      const statuses = (await inTurn(4, () => ask(path, `ps_${'A'.repeat(55)}`, address))).map(({ status }) => status)
      expect([path, statuses[3]]).toEqual([path, 429])
      expect(statuses.slice(0, 3)).not.toContain(429)
    }
  })

  it('a session counts by its user, over all addresses', async () => {
    const user = await newUserFrom(withCookies)
    const cookie = await cookieLogin(withCookies, user)
    const answers = await inTurn(4, () => ask('/auth/me', cookie, newAddress()))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429])
  })
})

describe('a caller of own endpoints', () => {
  it('has one count for routes and own endpoints, over all addresses; others have theirs', async () => {
    const [user, other] = [await newUserFrom(gateway), await newUserFrom(gateway)]
    const me = (token: string) => call(gateway, '/auth/me', { token, headers: from(newAddress()) })
    const first = await me(user.token)
    expect([first.status, first.headers.get('ratelimit-policy')]).toEqual([200, '"perUser";q=3;w=3600'])
    expect(first.headers.get('ratelimit')).toMatch(/^"perUser";r=2;t=\d+$/)
    expect((await call(gateway, '/api', { token: user.token, headers: from(newAddress()) })).headers.get('ratelimit')).toMatch(/r=1;/)
    expect((await me(user.token)).status).toBe(200)
    const refused = await me(user.token)
    expect(refused.body).toMatchObject({ status: 429, code: 'rate_limited' })
    expect(refused.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    expect((await me(other.token)).status).toBe(200)
    expect(await metric(gateway, 'portcullis_limit_decisions_total', { policy: 'perUser', decision: 'limited' })).toBeGreaterThan(0)
  })

  it('that is limited has not failed with its credential: the budgets of logins and codes are untouched', async () => {
    const [user, address] = [await newUserFrom(gateway), newAddress()]
    await inTurn(3, () => call(gateway, '/api', { token: user.token, headers: from(newAddress()) }))
    const change = () =>
      call(gateway, '/auth/password/change', {
        body: { current_password: 'wrong', new_password: 'another horse battery' },
        token: user.token,
        headers: from(address),
      })
    for (const { status } of await inTurn(10, change)) expect(status).toBe(429)
    const login = await call(gateway, '/auth/login', { body: { login: user.username, password: user.password }, headers: from(address) })
    expect(login.status).toBe(200)
  })

  it('that is limited still logs out', async () => {
    const user = await newUserFrom(gateway)
    await inTurn(4, () => call(gateway, '/auth/me', { token: user.token, headers: from(newAddress()) }))
    const logout = await call(gateway, '/auth/logout', { method: 'POST', token: user.token, headers: from(newAddress()) })
    expect(logout.status).toBe(204)
  })

  it('is an administrator, too', async () => {
    const admin = await newUserWithRoles(gateway, ['admin'])
    const answers = await inTurn(4, () => call(gateway, '/auth/admin/users', { token: admin.token, headers: from(newAddress()) }))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429])
  })

  it('is a machine client, at the OAuth endpoints and on routes', async () => {
    const client = await newClient(gateway)
    const token = () => askForToken(gateway, client)
    const first = await token()
    expect(first.status).toBe(200)
    expect((await call(gateway, '/api', { token: first.body.access_token })).status).toBe(200)
    expect((await token()).status).toBe(200)
    const refused = await token()
    expect([refused.status, refused.headers.get('ratelimit-policy')]).toEqual([429, '"perUser";q=3;w=3600'])
    expect((await call(gateway, '/api', { token: first.body.access_token })).status).toBe(429)
  })
})

describe('an operator', () => {
  const open = useGateway(() => ({ config: { server, limits: { ...limits, default: [] } }, routes: routes() }))
  const usual = useGateway(() => ({ config: { server, limits: { exempt: [], default: ['perIp', 'perUser'] } }, routes: routes() }))

  it('who names no default policies has no such limits', async () => {
    const user = await newUserFrom(open)
    for (const { status, headers } of await inTurn(6, () => call(open, '/auth/me', { token: user.token, headers: from(newAddress()) })))
      expect([status, headers.get('ratelimit')]).toEqual([200, null])
  })

  it('who says nothing has 600 a minute for a user, and 60 for an address without a token', async () => {
    const [user, address] = [await newUserFrom(usual), newAddress()]
    const answers = await Promise.all(times(70, () => call(usual, '/api', { headers: from(address) })))
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(10)
    const known = []
    for (let i = 0; i < 13; i++)
      known.push(...(await Promise.all(times(50, () => call(usual, '/api', { token: user.token, headers: from(address) })))))
    expect(known.filter(({ status }) => status === 200)).toHaveLength(600)
    expect(known.filter(({ status }) => status === 429)).toHaveLength(50)
  })
})
