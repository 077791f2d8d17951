/**
 * The step-up rule, over every endpoint of the OpenAPI document: an endpoint either needs a recent authentication, with the second factor
 * where there is one, or it is listed with the reason why not. An endpoint in neither list fails.
 */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, call, login, newUser, newUserWithRoles, OPERATOR, type TestUser } from '../support/client.ts'
import { newClient } from '../support/clients.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { rows } from '../support/rows.ts'
import { claimsOf, refresh } from '../support/session.ts'
import { codeOf, enrol, type FactorUser } from '../support/totp.ts'

const NEXT = 'plain zebra of other fields'
const USERS_SECONDS = 300
const ADMINS_SECONDS = 900

let gateway: Gateway
beforeAll(async () => {
  gateway = await startGateway({
    config: {
      server: { publicUrl: 'https://gateway.test' },
      docs: { enabled: true },
      // nobody answers there, and nobody is asked here
      issuers: [{ id: 'work', issuer: 'http://127.0.0.1:1', audience: 'orders', algorithms: ['ES256'] }],
      // an access token outlives the time of the step-up rule
      tokens: { accessTtlSeconds: 3600 },
      auth: {
        apiKeys: { maxPerUser: 1000 },
        browser: { enabled: true },
        passkeys: { enabled: true },
        emailLogin: 'on',
        providers: [{ id: 'github', kind: 'github', clientId: 'x', clientSecretEnv: 'GITHUB_SECRET' }],
      },
    },
    env: { GITHUB_SECRET: 'x' },
  })
})
afterAll(() => gateway.close())

let movedMs = 0
const later = (seconds: number) => {
  movedMs += seconds * 1000
  gateway.clock.advance(seconds * 1000)
}
afterEach(() => {
  gateway.clock.advance(-movedMs)
  movedMs = 0
})

type Ask = (token: string, user: TestUser) => Promise<Answer>
const ask = (method: string, path: string, token: string, body?: unknown) =>
  call(gateway, path, { method, token, ...(body === undefined ? {} : { body }) })

interface Endpoint {
  /** The call, with all else right, and with the password where the endpoint requires it. */
  ask: Ask
  /** The answer when the rule holds. 2xx unless it is given. */
  passes?: string
  /** The same call with a password in the body, where the body takes one. */
  withPassword?: Ask
  /** The same call with a code in the body, where the body takes one. */
  withCode?: (token: string, user: TestUser, code: string) => Promise<Answer>
}

const unlink =
  (body: object): Ask =>
  async (token, { id }) => {
    await rows(
      gateway,
      `INSERT INTO linked_logins (id, user_id, provider, issuer, subject, created_at, last_used_at)
       VALUES (gen_random_uuid(), $1, 'github', 'https://github.com', gen_random_uuid()::text, now(), now()) ON CONFLICT DO NOTHING`,
      [id],
    )
    return ask('DELETE', '/auth/providers/github/link', token, body)
  }

/** A passkey beside a password. */
const removePasskey =
  (body: object): Ask =>
  async (token, { id }) => {
    const [passkey] = await rows<{ id: string }>(
      gateway,
      `INSERT INTO passkeys (id, user_id, credential_id, public_key, rp_id, sign_count, transports, is_backup_eligible, is_backed_up, name, created_at)
       VALUES (gen_random_uuid(), $1, sha256(gen_random_uuid()::text::bytea), '', 'gateway.test', 0, '{}', false, false, 'x', now()) RETURNING id`,
      [id],
    )
    return ask('DELETE', `/auth/passkeys/${passkey!.id}`, token, body)
  }

/** Changes of the own account. */
const OWN: Record<string, Endpoint> = {
  'PATCH /auth/me': {
    ask: (token) => ask('PATCH', '/auth/me', token, { username: `n${randomUUID().slice(0, 20)}` }),
    withPassword: (token, { password }) =>
      ask('PATCH', '/auth/me', token, { email: `${randomUUID()}@example.com`, current_password: password }),
    withCode: (token, { password }, code) =>
      ask('PATCH', '/auth/me', token, { email: `${randomUUID()}@example.com`, current_password: password, code }),
  },
  'DELETE /auth/me': {
    ask: (token) => ask('DELETE', '/auth/me', token),
    withPassword: (token, { password }) => ask('DELETE', '/auth/me', token, { current_password: password }),
    withCode: (token, _, code) => ask('DELETE', '/auth/me', token, { code }),
  },
  'POST /auth/password/change': {
    ask: (token, { password }) => ask('POST', '/auth/password/change', token, { current_password: password, new_password: NEXT }),
    withPassword: (token, { password }) => ask('POST', '/auth/password/change', token, { current_password: password, new_password: NEXT }),
    withCode: (token, { password }, code) =>
      ask('POST', '/auth/password/change', token, { current_password: password, new_password: NEXT, code }),
  },
  'POST /auth/providers/{id}/link': {
    ask: (token) => ask('POST', '/auth/providers/github/link', token, {}),
    withPassword: (token, { password }) => ask('POST', '/auth/providers/github/link', token, { current_password: password }),
    withCode: (token, _, code) => ask('POST', '/auth/providers/github/link', token, { code }),
  },
  'DELETE /auth/providers/{id}/link': {
    ask: unlink({}),
    withPassword: (token, user) => unlink({ current_password: user.password })(token, user),
    withCode: (token, user, code) => unlink({ code })(token, user),
  },
  'POST /auth/passkeys/register/options': {
    ask: (token) => ask('POST', '/auth/passkeys/register/options', token, {}),
    withPassword: (token, { password }) => ask('POST', '/auth/passkeys/register/options', token, { current_password: password }),
    withCode: (token, _, code) => ask('POST', '/auth/passkeys/register/options', token, { code }),
  },
  'DELETE /auth/passkeys/{id}': {
    ask: removePasskey({}),
    withPassword: (token, user) => removePasskey({ current_password: user.password })(token, user),
    withCode: (token, user, code) => removePasskey({ code })(token, user),
  },
  'POST /auth/mfa/totp': {
    ask: (token, { password }) => ask('POST', '/auth/mfa/totp', token, { password }),
    passes: 'mfa_already_enabled',
    withPassword: (token, { password }) => ask('POST', '/auth/mfa/totp', token, { password }),
  },
  'DELETE /auth/mfa/totp': {
    ask: (token) => ask('DELETE', '/auth/mfa/totp', token),
    withCode: (token, _, code) => ask('DELETE', '/auth/mfa/totp', token, { code }),
  },
  'POST /auth/mfa/backup-codes': {
    ask: (token) => ask('POST', '/auth/mfa/backup-codes', token),
    withCode: (token, _, code) => ask('POST', '/auth/mfa/backup-codes', token, { code }),
  },
  'POST /auth/api-keys': {
    ask: (token) => ask('POST', '/auth/api-keys', token, { name: 'x' }),
    withPassword: (token, { password }) => ask('POST', '/auth/api-keys', token, { name: 'x', current_password: password }),
    withCode: (token, _, code) => ask('POST', '/auth/api-keys', token, { name: 'x', code }),
  },
}

/** The id of a new API key. It is written to the database, since a login of the moved clock's time is an old login there. */
async function keyOf({ id }: TestUser): Promise<string> {
  const [key] = await rows<{ id: string }>(
    gateway,
    `INSERT INTO api_keys (id, user_id, name, hint, key_hash, roles, scopes, created_at)
     VALUES (gen_random_uuid(), $1, 'x', 'pk_live_xxxx', sha256(gen_random_uuid()::text::bytea), '{}', '{}', now()) RETURNING id`,
    [id],
  )
  return key!.id
}

const onUser =
  (method: string, path: string, prepare: (user: TestUser) => Promise<string> = async () => ''): Ask =>
  async (token) => {
    const other = await newUser(gateway)
    return ask(method, `/auth/admin/users/${other.id}${path}${await prepare(other)}`, token)
  }
const newInvitation = async () =>
  (await gateway.app.identity.administration.invite({ email: `${randomUUID()}@example.com`, roles: ['user'] }, OPERATOR)).id
async function newBlock(): Promise<string> {
  const sub = randomUUID()
  await gateway.app.identity.administration.blockExternal({ issuer: 'work', sub }, OPERATOR)
  return sub
}
const onClient =
  (method: string, path: string, body?: unknown): Ask =>
  async (token) =>
    ask(method, `/auth/admin/clients/${(await newClient(gateway)).id}${path}`, token, body)

/** Changes by administrators. */
const ADMINS: Record<string, Endpoint> = {
  'POST /auth/admin/users': {
    ask: (token) =>
      ask('POST', '/auth/admin/users', token, { username: `n${randomUUID().slice(0, 20)}`, email: `${randomUUID()}@example.com` }),
  },
  'DELETE /auth/admin/users/{id}': { ask: onUser('DELETE', '') },
  'POST /auth/admin/external/block': {
    ask: (token) => ask('POST', '/auth/admin/external/block', token, { issuer: 'work', sub: randomUUID() }),
  },
  'POST /auth/admin/external/unblock': {
    ask: async (token) => ask('POST', '/auth/admin/external/unblock', token, { issuer: 'work', sub: await newBlock() }),
  },
  'POST /auth/admin/invitations': {
    ask: (token) => ask('POST', '/auth/admin/invitations', token, { email: `${randomUUID()}@example.com` }),
  },
  'POST /auth/admin/invitations/{id}/resend': {
    ask: async (token) => ask('POST', `/auth/admin/invitations/${await newInvitation()}/resend`, token, {}),
  },
  'DELETE /auth/admin/invitations/{id}': {
    ask: async (token) => ask('DELETE', `/auth/admin/invitations/${await newInvitation()}`, token, {}),
  },
  ...Object.fromEntries(
    ['disable', 'enable', 'unlock', 'end-sessions', 'force-password-change', 'reset-factor'].map((action) => [
      `POST /auth/admin/users/{id}/${action}`,
      { ask: onUser('POST', `/${action}`) },
    ]),
  ),
  'PUT /auth/admin/users/{id}/roles/{role}': { ask: onUser('PUT', '/roles/admin') },
  'DELETE /auth/admin/users/{id}/roles/{role}': { ask: onUser('DELETE', '/roles/user') },
  'PATCH /auth/admin/users/{id}/metadata': {
    async ask(token) {
      const { id } = await newUser(gateway)
      return ask('PATCH', `/auth/admin/users/${id}/metadata`, token, { public: { plan: 'gold' } })
    },
  },
  'DELETE /auth/admin/users/{id}/sessions/{sessionId}': {
    ask: onUser('DELETE', '/sessions/', async ({ token }) => claimsOf(token).sid),
  },
  'DELETE /auth/admin/users/{id}/api-keys/{keyId}': {
    ask: onUser('DELETE', '/api-keys/', keyOf),
  },
  'POST /auth/admin/keys/rotate': { ask: (token) => ask('POST', '/auth/admin/keys/rotate', token, {}) },
  'POST /auth/admin/keys/{kid}/revoke': {
    async ask(token) {
      const { kid } = await gateway.app.identity.administration.rotateKey({ now: false }, OPERATOR)
      return ask('POST', `/auth/admin/keys/${kid}/revoke`, token, {})
    },
  },
  'POST /auth/admin/clients': {
    ask: (token) => ask('POST', '/auth/admin/clients', token, { name: `client ${randomUUID().slice(0, 20)}` }),
  },
  'PATCH /auth/admin/clients/{id}': { ask: onClient('PATCH', '', { roles: ['user'] }) },
  'DELETE /auth/admin/clients/{id}': { ask: onClient('DELETE', '') },
  'POST /auth/admin/clients/{id}/rotate-secret': { ask: onClient('POST', '/rotate-secret') },
  'POST /auth/admin/clients/{id}/disable': { ask: onClient('POST', '/disable') },
  'POST /auth/admin/clients/{id}/enable': { ask: onClient('POST', '/enable') },
}

const AUTHENTICATES = 'authenticates the caller itself'
const READS = 'changes nothing'
const ENDS = 'takes access away: an owner who finds a thief must be quick'
const MACHINE = 'for machine clients, which have no session'
const LINK = 'the mailed link is the proof'

/** No step-up, with the reason. */
const NONE: Record<string, string> = {
  'POST /auth/register': AUTHENTICATES,
  'POST /auth/login': AUTHENTICATES,
  'POST /auth/login/mfa': AUTHENTICATES,
  'POST /auth/login/email': AUTHENTICATES,
  'POST /auth/login/email/verify': AUTHENTICATES,
  'POST /auth/reauthenticate': AUTHENTICATES,
  'POST /auth/refresh': 'continues a session, and keeps the time of its authentication',
  'POST /auth/mfa/totp/confirm': 'finishes what POST /mfa/totp began under the rule; only its answer shows the seed',
  'POST /auth/passkeys/login/options': AUTHENTICATES,
  'POST /auth/passkeys/login/verify': AUTHENTICATES,
  'POST /auth/passkeys/register/verify': 'finishes what its options began under the rule; only their answer has the flow token',
  'GET /auth/passkeys': READS,
  'PATCH /auth/passkeys/{id}': 'changes a name that only the owner sees',
  'POST /auth/password/forgot': LINK,
  'POST /auth/password/reset': LINK,
  'POST /auth/login/confirm': LINK,
  'POST /auth/login/confirm/details': LINK,
  'POST /auth/password/reset/details': LINK,
  'POST /auth/email/verify/details': LINK,
  'POST /auth/email/verify': LINK,
  'POST /auth/email/verify/request': LINK,
  'POST /auth/logout': ENDS,
  'POST /auth/logout-all': ENDS,
  'DELETE /auth/session': ENDS,
  'DELETE /auth/sessions': ENDS,
  'DELETE /auth/sessions/{id}': ENDS,
  'DELETE /auth/api-keys/{id}': ENDS,
  'POST /auth/revoke': ENDS,
  'POST /auth/token': MACHINE,
  'POST /auth/introspect': MACHINE,
  'POST /auth/providers/{id}/backchannel-logout': ENDS,
  'GET /auth/invitations/{token}': LINK,
  'POST /auth/invitations/{token}': LINK,
  'GET /auth/providers': READS,
  'GET /auth/providers/linked': READS,
  'GET /auth/admin/external/blocks': READS,
  'GET /auth/admin/invitations': READS,
  'GET /auth/me': READS,
  'GET /auth/session': READS,
  'GET /auth/mfa': READS,
  'GET /auth/sessions': READS,
  'GET /auth/api-keys': READS,
  'GET /auth/admin/users': READS,
  'GET /auth/admin/users/{id}': READS,
  'GET /auth/admin/users/{id}/sessions': READS,
  'GET /auth/admin/users/{id}/api-keys': READS,
  'GET /auth/admin/clients': READS,
  'GET /auth/admin/audit': READS,
  'GET /auth/admin/audit/export': READS,
  'GET /auth/admin/keys': READS,
  'GET /auth/admin/errors': READS,
  'GET /auth/admin/explain': READS,
  'GET /auth/admin/config': READS,
}

it('every endpoint of the OpenAPI document is under the rule, or is listed with the reason why not', async () => {
  const { body } = await call(gateway, '/auth/openapi.json')
  const methods = ['get', 'post', 'put', 'patch', 'delete']
  const endpoints = Object.entries<object>(body.paths).flatMap(([path, operations]) =>
    Object.keys(operations).flatMap((method) => (methods.includes(method) ? [`${method.toUpperCase()} ${path}`] : [])),
  )
  const listed = [OWN, ADMINS, NONE].flatMap((list) => Object.keys(list))
  const own = endpoints.filter((endpoint) => endpoint.includes(' /auth/'))
  expect(listed.sort()).toEqual(own.sort())
  // outside the prefix there is nothing that changes an account
  expect(endpoints.filter((endpoint) => !own.includes(endpoint) && !endpoint.startsWith('GET '))).toEqual([])
})

const refusal = ({ status, body, headers }: Answer) => ({ status, code: body?.code, challenge: headers.get('www-authenticate') })
const refused = (maxAgeSeconds: number) => ({
  status: 401,
  code: 'reauthentication_required',
  challenge: `Bearer error="insufficient_user_authentication", max_age="${maxAgeSeconds}"`,
})
function expectPassed({ status, body }: Answer, code?: string): void {
  if (code) expect(body.code).toBe(code)
  else expect([200, 201, 204], JSON.stringify(body)).toContain(status)
}

/** A user with a factor: the first token is of a session without the factor, the second shows it. Both are of a moment ago. */
async function withFactor(begin: () => Promise<TestUser>): Promise<{ plain: string; user: FactorUser }> {
  const before = await begin()
  const user = await enrol(gateway, before)
  expect([claimsOf(before.token).amr, claimsOf(user.token).amr]).toEqual([['pwd'], ['pwd', 'otp', 'mfa']])
  return { plain: before.token, user }
}

describe.each(Object.entries(OWN))('%s', (name, { ask: change, passes, withPassword }) => {
  const begin = () => newUser(gateway)

  it('is refused in an old session of a user with a factor, and changes nothing', async () => {
    const { user } = await withFactor(begin)
    const before = await rows(gateway, 'SELECT * FROM users WHERE id = $1', [user.id])
    later(USERS_SECONDS + 1)
    expect(refusal(await change(user.token, user))).toEqual(refused(USERS_SECONDS))
    expect(await rows(gateway, 'SELECT * FROM users WHERE id = $1', [user.id])).toEqual(before)
  })

  it('is refused in a fresh session that did not show the factor of the user', async () => {
    const { plain, user } = await withFactor(begin)
    expect(refusal(await change(plain, user))).toEqual(refused(USERS_SECONDS))
    if (withPassword) expect(refusal(await withPassword(plain, user))).toEqual(refused(USERS_SECONDS))
  })

  it('passes in a fresh session that showed the factor', async () => {
    const { user } = await withFactor(begin)
    expectPassed(await change(user.token, user), passes)
  })

  it('of a user without a factor needs a recent login, or the password', async () => {
    const user = await begin()
    later(USERS_SECONDS + 1)
    const asksForPassword = name === 'POST /auth/mfa/totp' || name === 'POST /auth/password/change'
    if (!asksForPassword) expect(refusal(await change(user.token, user))).toEqual(refused(USERS_SECONDS))
    if (!withPassword) return
    const wrong = { ...user, password: 'not the password' }
    expect((await withPassword(user.token, wrong)).body.code).toBe('invalid_credentials')
    expectPassed(await withPassword(user.token, user))
  })
})

const TAKE_CODE = Object.entries(OWN).flatMap(([name, { withCode }]) => (withCode ? [[name, withCode] as const] : []))
describe.each(TAKE_CODE)('%s with a code in the body', (_name, withCode) => {
  it('passes in an old session with a code; a wrong code is refused, and counts as an attempt', async () => {
    const { plain, user } = await withFactor(() => newUser(gateway))
    later(USERS_SECONDS + 1)
    expect((await withCode(plain, user, '000000')).body.code).toBe('invalid_code')
    expectPassed(await withCode(plain, user, codeOf(user.secret)))

    const guessed = await withFactor(() => newUser(gateway))
    const codes: string[] = []
    while (codes.length < 10 && codes.at(-1) !== 'rate_limited')
      codes.push((await withCode(guessed.plain, guessed.user, '000000')).body.code)
    expect(codes.at(-1)).toBe('rate_limited')
    expect((await withCode(guessed.plain, guessed.user, guessed.user.backupCodes[0]!)).body.code).toBe('rate_limited')
  })
})

describe.each(Object.entries(ADMINS))('%s', (_name, { ask: change }) => {
  const begin = () => newUserWithRoles(gateway, ['admin'])
  const changes = (admin: TestUser) => rows(gateway, `SELECT outcome FROM audit_log WHERE actor = $1`, [`user:${admin.id}`])

  it('is refused in an old session of an administrator, and the refusal has an audit row', async () => {
    const admin = await begin()
    later(ADMINS_SECONDS + 1)
    expect(refusal(await change(admin.token, admin))).toEqual(refused(ADMINS_SECONDS))
    expect(await changes(admin)).toEqual([{ outcome: 'reauthentication_required' }])
  })

  it('is refused in a fresh session that did not show the factor of the administrator', async () => {
    const { plain, user } = await withFactor(begin)
    expect(refusal(await change(plain, user))).toEqual(refused(ADMINS_SECONDS))
  })

  it('passes in a session of a quarter of an hour that showed the factor', async () => {
    const { user } = await withFactor(begin)
    later(ADMINS_SECONDS - 60)
    expectPassed(await change(user.token, user))
  })
})

describe('an administrator', () => {
  it('changes the own account only after a login within five minutes', async () => {
    const admin = await newUserWithRoles(gateway, ['admin'])
    await newUserWithRoles(gateway, ['admin'])
    later(USERS_SECONDS + 1)
    for (const action of ['unlock', 'reset-factor', 'force-password-change'])
      expect(refusal(await ask('POST', `/auth/admin/users/${admin.id}/${action}`, admin.token))).toEqual(refused(USERS_SECONDS))
    const other = await newUser(gateway)
    expectPassed(await ask('POST', `/auth/admin/users/${other.id}/unlock`, admin.token))
  })

  it('goes on after POST /reauthenticate, which asks for the code as well', async () => {
    const { user: admin } = await withFactor(() => newUserWithRoles(gateway, ['admin']))
    const other = await newUser(gateway)
    const disable = (token: string) => ask('POST', `/auth/admin/users/${other.id}/disable`, token)
    // what the session showed was long ago
    await rows(gateway, `UPDATE sessions SET auth_time = auth_time - interval '1 hour' WHERE user_id = $1`, [admin.id])
    const old = (await refresh(gateway, admin.refreshToken)).body.access_token
    expect((await disable(old)).body.code).toBe('reauthentication_required')
    expect((await ask('POST', '/auth/reauthenticate', old, { password: admin.password })).status).toBe(422)
    const again = await ask('POST', '/auth/reauthenticate', old, { password: admin.password, code: codeOf(admin.secret) })
    expectPassed(await disable(again.body.access_token))
  })

  it('at the command line needs no session', async () => {
    const user = await newUser(gateway)
    expect((await gateway.app.identity.administration.unlock(user.id, OPERATOR)).id).toBe(user.id)
  })

  it('with another limit in the configuration is held to that limit', async () => {
    const strict = await startGateway({
      config: { tokens: { accessTtlSeconds: 3600 }, auth: { admin: { maxAuthAgeSeconds: 60 } } },
    })
    try {
      const admin = await newUserWithRoles(strict, ['admin'])
      const rotate = (token: string) => call(strict, '/auth/admin/keys/rotate', { method: 'POST', token })
      expect((await rotate(admin.token)).status).toBe(200)
      strict.clock.advance(61_000)
      expect(refusal(await rotate(admin.token))).toEqual(refused(60))
      const own = await call(strict, `/auth/admin/users/${admin.id}/unlock`, { method: 'POST', token: admin.token })
      expect(refusal(own)).toEqual(refused(60))
    } finally {
      await strict.close()
    }
  })
})

describe('taking access away', () => {
  it.each<[string, Ask]>([
    ['POST /logout', (token) => ask('POST', '/auth/logout', token)],
    ['POST /logout-all', (token) => ask('POST', '/auth/logout-all', token)],
    ['DELETE /sessions', (token) => ask('DELETE', '/auth/sessions', token)],
    [
      'DELETE /sessions/:id',
      async (token, user) => ask('DELETE', `/auth/sessions/${claimsOf((await login(gateway, user)).token).sid}`, token),
    ],
    ['DELETE /api-keys/:id', async (token, user) => ask('DELETE', `/auth/api-keys/${await keyOf(user)}`, token)],
  ])('by %s works in an old session', async (_name, end) => {
    const user = await newUser(gateway)
    later(1800)
    expect((await end(user.token, user)).status).toBe(204)
  })
})

it('the password and the code of one request are both checked', async () => {
  const { plain, user } = await withFactor(() => newUser(gateway))
  const remove = (body: object) => ask('DELETE', '/auth/mfa/totp', plain, body)
  expect((await remove({ password: 'not the password', code: user.backupCodes[0] })).body.code).toBe('invalid_credentials')
  expect((await remove({ password: user.password, code: '000000' })).body.code).toBe('invalid_code')
  expect((await remove({ password: user.password, code: user.backupCodes[0] })).status).toBe(204)
})

it('a password that would not be enough is not compared, so that it cannot be guessed there', async () => {
  const { plain, user } = await withFactor(() => newUser(gateway))
  for (const password of [user.password, 'not the password'])
    expect((await ask('DELETE', '/auth/mfa/totp', plain, { password })).body.code).toBe('reauthentication_required')
  expect(await rows(gateway, `SELECT 1 FROM audit_log WHERE user_id = $1 AND event = 'password_check'`, [user.id])).toEqual([])
})

it('a code of a user without a second factor is refused', async () => {
  const { token, password } = await newUser(gateway)
  expect((await ask('DELETE', '/auth/me', token, { code: '123456' })).body.code).toBe('mfa_not_enabled')
  expect(
    (await ask('POST', '/auth/password/change', token, { current_password: password, new_password: NEXT, code: '123456' })).status,
  ).toBe(409)
})

it('a password change with a code opens a session that has shown the factor now', async () => {
  const { plain, user } = await withFactor(() => newUser(gateway))
  const body = { current_password: user.password, new_password: NEXT, code: codeOf(user.secret) }
  const changed = await ask('POST', '/auth/password/change', plain, body)
  expect(claimsOf(changed.body.access_token).amr).toEqual(['pwd', 'otp', 'mfa'])
  expectPassed(await ask('POST', '/auth/api-keys', changed.body.access_token, { name: 'x' }))
})
