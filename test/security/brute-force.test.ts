/** Every endpoint that takes a credential, as the OpenAPI document tells them, stops who guesses. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, type CallOptions, call, newUser, type TestUser } from '../support/client.ts'
import { newClient, post as postForm, type TestClient } from '../support/clients.ts'
import { askForCode } from '../support/email-login.ts'
import { type Gateway, startGateway, stillClock } from '../support/gateway.ts'
import { freePort } from '../support/processes.ts'
import { rows } from '../support/rows.ts'
import { enrol, mfaToken } from '../support/totp.ts'

const FEW = { limit: 3, windowSeconds: 600 }
/** Secrets of 256 random bits are checked on at this pace each second, because a limit must not refuse a valid secret of the same address. */
const PACE = 50
const PACED = [
  'POST /auth/passkeys/login/options',
  'POST /auth/passkeys/login/verify',
  'POST /auth/refresh',
  'POST /auth/token',
  'POST /auth/introspect',
  'POST /auth/revoke',
]

let gateway: Gateway
let user: TestUser
let factorUser: TestUser
let halfway: string
let [enrolled, other]: TestUser[] = []
/** Of somebody who has begun to set a factor up. */
let enrolling: string
let machine: TestClient
/** Of a code that was mailed. */
let flow: string
beforeAll(async () => {
  const many = { limit: 1000, windowSeconds: 600 }
  const credentials = {
    register: many,
    login: FEW,
    address: many,
    account: FEW,
    mfa: FEW,
    recovery: FEW,
    passkey: FEW,
    refresh: FEW,
    client: FEW,
    token: FEW,
    emailLogin: FEW,
  }
  gateway = await startGateway({
    clock: stillClock(),
    // without Redis every count is in Postgres, where a window can be ended
    redisUrl: `redis://127.0.0.1:${await freePort()}`,
    config: {
      server: { trustedProxies: ['127.0.0.1/32'], publicUrl: 'https://gateway.test' },
      docs: { enabled: true },
      forwardAuth: { dialect: 'haproxy' },
      limits: { exempt: [], credentials },
      auth: { passkeys: { enabled: true }, emailLogin: 'on' },
    },
    routes: [{ name: 'asked', match: { path: '/asked' }, access: 'authenticated', forwardAuth: true }],
  })
  user = await newUser(gateway)
  factorUser = await enrol(gateway, await newUser(gateway))
  halfway = await mfaToken(gateway, factorUser)
  enrolled = await enrol(gateway, await newUser(gateway))
  other = await enrol(gateway, await newUser(gateway))
  const { token, password } = await newUser(gateway)
  await call(gateway, '/auth/mfa/totp', { body: { password }, token })
  enrolling = token
  machine = await newClient(gateway)
  flow = await askForCode(gateway, user.email, { 'x-forwarded-for': '10.1.3.1' })
})
afterAll(() => gateway.close())

/** Each endpoint is guessed at from an address of its own. */
let address = ''
const ask = (path: string, options: CallOptions) => call(gateway, path, { ...options, headers: { 'x-forwarded-for': address } })
const post = (path: string, options: CallOptions) => ask(path, { method: 'POST', ...options })
const form = (path: string, fields: Record<string, string>) => postForm(gateway, path, fields, { 'x-forwarded-for': address })
const wrong = 'a wrong password'
const random = (i: number, length: number) => String(i).padStart(length, 'x')

const NO_PASSKEY = { rawId: 'eA', type: 'public-key', response: { clientDataJSON: '', authenticatorData: '', signature: '' } }

/** One guess, with all else right. */
const GUESSES: Record<string, (i: number) => Promise<Answer>> = {
  'POST /auth/login': () => post('/auth/login', { body: { login: user.username, password: wrong } }),
  'POST /auth/login/mfa': () => post('/auth/login/mfa', { body: { mfa_token: halfway, code: '000000' } }),
  'POST /auth/login/email/verify': () => post('/auth/login/email/verify', { body: { flow_token: flow, code: 'no code' } }),
  'POST /auth/refresh': (i) => post('/auth/refresh', { body: { refresh_token: `rt_${random(i, 43)}` } }),
  'POST /auth/reauthenticate': () => post('/auth/reauthenticate', { body: { password: wrong }, token: user.token }),
  'PATCH /auth/me': () =>
    ask('/auth/me', { method: 'PATCH', body: { email: 'new@example.com', current_password: wrong }, token: user.token }),
  'DELETE /auth/me': () => ask('/auth/me', { method: 'DELETE', body: { current_password: wrong }, token: user.token }),
  'POST /auth/password/change': () =>
    post('/auth/password/change', { body: { current_password: wrong, new_password: 'plain zebra of fields' }, token: user.token }),
  'POST /auth/password/reset': (i) =>
    post('/auth/password/reset', { body: { token: random(i, 43), new_password: 'plain zebra of fields' } }),
  'POST /auth/login/confirm/details': (i) => post('/auth/login/confirm/details', { body: { token: random(i, 43) } }),
  'POST /auth/login/confirm': (i) => post('/auth/login/confirm', { body: { token: random(i, 43) } }),
  'POST /auth/password/reset/details': (i) => post('/auth/password/reset/details', { body: { token: random(i, 43) } }),
  'POST /auth/email/verify/details': (i) => post('/auth/email/verify/details', { body: { token: random(i, 43) } }),
  'POST /auth/email/verify': (i) => post('/auth/email/verify', { body: { token: random(i, 43) } }),
  'POST /auth/mfa/totp': () => post('/auth/mfa/totp', { body: { password: wrong }, token: user.token }),
  'POST /auth/mfa/totp/confirm': () => post('/auth/mfa/totp/confirm', { body: { code: '000000' }, token: enrolling }),
  'DELETE /auth/mfa/totp': () => ask('/auth/mfa/totp', { method: 'DELETE', body: { code: '000000' }, token: enrolled!.token }),
  'POST /auth/passkeys/login/options': (i) => post('/auth/passkeys/login/options', { body: { mfa_token: random(i, 43) } }),
  'POST /auth/passkeys/login/verify': (i) =>
    post('/auth/passkeys/login/verify', { body: { flow_token: random(i, 43), credential: { ...NO_PASSKEY, id: random(i, 43) } } }),
  'POST /auth/passkeys/register/options': () =>
    post('/auth/passkeys/register/options', { body: { current_password: wrong }, token: user.token }),
  'DELETE /auth/passkeys/{id}': () =>
    ask(`/auth/passkeys/${randomUUID()}`, { method: 'DELETE', body: { current_password: wrong }, token: user.token }),
  'POST /auth/token': () => form('/auth/token', { grant_type: 'client_credentials', client_id: machine.id, client_secret: wrong }),
  'POST /auth/introspect': () => form('/auth/introspect', { token: user.token, client_id: machine.id, client_secret: wrong }),
  'POST /auth/revoke': () => form('/auth/revoke', { token: user.token, client_id: machine.id, client_secret: wrong }),
  'POST /auth/api-keys': () => post('/auth/api-keys', { body: { name: 'a key', current_password: wrong }, token: user.token }),
  'POST /auth/mfa/backup-codes': () => post('/auth/mfa/backup-codes', { body: { code: '000000' }, token: other!.token }),
}

/** Takes a secret, and no guess is worth anything. */
const NO_ORACLE: Record<string, string> = {
  'POST /auth/logout': '204 for every refresh token, good or not',
  'POST /auth/logout-all': '204 for every refresh token, good or not',
  'POST /auth/register': 'sets a password; limited by address',
  'POST /auth/admin/users': 'sets a password, for an admin',
}

const SECRETS = ['password', 'current_password', 'code', 'token', 'mfa_token', 'refresh_token', 'client_secret', 'client_assertion']

async function endpointsWithSecrets(): Promise<string[]> {
  const { body } = await call(gateway, '/auth/openapi.json')
  return Object.entries<any>(body.paths).flatMap(([path, methods]) =>
    Object.entries<any>(methods).flatMap(([method, { requestBody }]) => {
      const schemas = Object.values<any>(requestBody?.content ?? {}).map(({ schema }) => schema)
      const names = schemas.flatMap(({ properties = {} }) => Object.keys(properties))
      return names.some((name) => SECRETS.includes(name)) ? [`${method.toUpperCase()} ${path}`] : []
    }),
  )
}

it('the attempts below, and the endpoints that reveal nothing, are all the endpoints that take a secret', async () => {
  expect([...Object.keys(GUESSES), ...Object.keys(NO_ORACLE)].sort()).toEqual((await endpointsWithSecrets()).sort())
})

describe('invalid attempts', () => {
  it.each(Object.keys(GUESSES))('at %s are stopped, with the seconds to wait', async (endpoint) => {
    address = `10.1.1.${Object.keys(GUESSES).indexOf(endpoint)}`
    const statuses: number[] = []
    let last: Answer | undefined
    const most = FEW.limit + (PACED.includes(endpoint) ? PACE : 0)
    while (last?.status !== 429 && statuses.length <= most) {
      last = await GUESSES[endpoint]!(statuses.length)
      statuses.push(last.status)
    }
    expect(statuses.at(-1), statuses.join(' ') + JSON.stringify(last!.body)).toBe(429)
    expect(
      statuses.slice(0, -1).every((status) => status === 400 || status === 401),
      statuses.join(' '),
    ).toBe(true)
    expect(statuses.length).toBeLessThanOrEqual(most + 1)
    // RFC 6749 knows no word of its own for it
    expect(last!.body.code ?? last!.body.error).toBe(last!.body.error ? 'temporarily_unavailable' : 'rate_limited')
    expect(Number(last!.headers.get('retry-after'))).toBeGreaterThan(0)
  })
})

it('invalid tokens of requests that a proxy asks about count for the client of the proxy', async () => {
  const guess = (from: string, i: number) =>
    call(gateway, '/auth/verify', {
      headers: { 'x-forwarded-for': from, 'x-original-method': 'GET', 'x-original-uri': '/asked' },
      token: `guess${i}`,
    })
  const statuses: number[] = []
  while (statuses.at(-1) !== 429 && statuses.length <= FEW.limit) statuses.push((await guess('10.1.4.1', statuses.length)).status)
  expect(statuses).toEqual([...Array(FEW.limit).fill(401), 429])
  expect((await guess('10.1.4.2', 0)).status).toBe(401)
})

/** A random secret of 256 bits cannot be guessed, so its attempts need no longer windows. */
const LINKS = ['password/reset', 'email/verify', 'login/confirm'].flatMap((path) => [`POST /auth/${path}`, `POST /auth/${path}/details`])
/** Five codes end the flow, and twenty a day are checked for an account: see email-login-attacks.test.ts. */
const BY_DAY = 'POST /auth/login/email/verify'
const GUESSABLE = Object.keys(GUESSES).filter((endpoint) => ![...PACED, ...LINKS, BY_DAY].includes(endpoint))

describe('a client that goes on when a window has ended', () => {
  /** Ends the windows of these limits, or of all. */
  const end = (...names: string[]) =>
    rows(gateway, `UPDATE limit_counters SET resets_at = now() - interval '1 second' WHERE split_part(key, ':', 2) = ANY($1) OR $2`, [
      names,
      names.length === 0,
    ])
  const attempts = async (endpoint: string): Promise<number> => {
    for (let checked = 0; ; checked++) if ((await GUESSES[endpoint]!(checked)).status === 429) return checked
  }

  it.each(GUESSABLE)('at %s has twice as many attempts in a window ten times as long', async (endpoint) => {
    await end()
    address = `10.1.2.${GUESSABLE.indexOf(endpoint)}`
    halfway = await mfaToken(gateway, factorUser)
    const rounds: number[] = []
    for (let round = 0; round < 3; round++) {
      rounds.push(await attempts(endpoint))
      await end('login', 'account', 'mfa')
    }
    expect(rounds).toEqual([FEW.limit, FEW.limit, 0])
  })
})
