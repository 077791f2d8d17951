import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Answer, call, newUser, OPERATOR, type TestUser } from '../support/client.ts'
import { useGateway } from '../support/fixtures.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { mailsTo, tokenOf } from '../support/mails.ts'
import { rows } from '../support/rows.ts'

/** An answer as somebody sees it who compares: without what differs between any two answers. Seconds until a limit ends are such. */
function seen({ status, headers, body }: Answer) {
  const { request_id, timestamp, ...rest } = body
  const fields = Object.fromEntries(headers)
  for (const name of ['date', 'x-request-id']) delete fields[name]
  if (fields['retry-after']) fields['retry-after'] = String(Number(fields['retry-after']) > 0)
  if (fields.ratelimit) fields.ratelimit = fields.ratelimit.replace(/t=\d+/, 't=…')
  return { status, fields, body: rest }
}

describe('what a login shows about accounts', () => {
  let gateway: Gateway
  let user: TestUser
  beforeAll(async () => {
    gateway = await startGateway()
    user = await newUser(gateway)
  })
  afterAll(() => gateway.close())
  const logIn = async (login: string, password = 'a wrong password') =>
    seen(await call(gateway, '/auth/login', { body: { login, password } }))

  it('an account that is not there, by name or by address, is answered as a wrong password: status, headers and body', async () => {
    const wrong = await logIn(user.username)
    expect(wrong).toMatchObject({ status: 401, body: { code: 'invalid_credentials' } })
    for (const login of [user.email, 'nobody-here', 'nobody@example.com', 'Not A Valid Name!', '@', `${'n'.repeat(250)}@x.y`])
      expect(await logIn(login)).toEqual(wrong)
    for (const login of [user.username, 'nobody-here']) expect(await logIn(login, 'p'.repeat(1025))).toEqual(wrong)
  })

  it('a disabled account is answered so, too, even with the right password', async () => {
    const gone = await newUser(gateway)
    await gateway.app.identity.administration.disable(gone.username, OPERATOR)
    const unknown = await logIn('nobody-here')
    expect(await logIn(gone.username, gone.password)).toEqual(unknown)
    expect(await logIn(gone.username)).toEqual(unknown)
  })

  it('a hash is computed for everybody: once, with no word about the account', async () => {
    const verify = vi.spyOn(gateway.app.identity.passwords, 'verify')
    await logIn('nobody-here')
    await logIn(user.username)
    expect(verify.mock.calls.map(([hash]) => hash === null)).toEqual([true, false])
    verify.mockRestore()
  })

  it('metrics and access log hold neither name', async () => {
    await logIn('nobody-to-be-seen')
    await logIn(user.username)
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    for (const text of [metrics, JSON.stringify(gateway.log())]) {
      expect(text).not.toContain('nobody-to-be-seen')
      expect(text).not.toContain(user.username)
    }
  })
})

describe.each([
  ['per address and account', { login: { limit: 5, windowSeconds: 600 } }, 'login'],
  ['per account', { login: { limit: 1000, windowSeconds: 600 }, account: { limit: 5, windowSeconds: 3600 } }, 'account'],
])('the limit %s', (_, credentials, policy) => {
  const gateway = useGateway({ config: { limits: { exempt: [], credentials } } })

  it('is reached after as many attempts by an unknown account as by a known one, with the same answers', async () => {
    const user = await newUser(gateway)
    const series = async (login: string) => {
      const answers = []
      for (let i = 0; i < 7; i++) answers.push(seen(await call(gateway, '/auth/login', { body: { login, password: 'a wrong password' } })))
      return answers
    }
    const known = await series(user.username)
    expect(known.map((a) => a.status)).toEqual([401, 401, 401, 401, 401, 429, 429])
    expect(known[5]!.fields['ratelimit-policy']).toContain(`"${policy}"`)
    expect(await series('nobody-here')).toEqual(known)
    expect(await series('nobody@example.com')).toEqual(known)
    // however it is typed, it is one account
    expect((await call(gateway, '/auth/login', { body: { login: ' NOBODY-here', password: 'x' } })).status).toBe(429)
    expect((await call(gateway, '/auth/login', { body: { login: user.email.toUpperCase(), password: 'x' } })).status).toBe(429)
  })
})

describe('what a registration shows about accounts, where addresses are verified first', () => {
  let gateway: Gateway
  const OWNER = { username: 'the-owner', email: 'owner@example.com', password: 'plain zebra and so on' }
  beforeAll(async () => {
    gateway = await startGateway({
      config: { auth: { emailVerification: 'required' }, limits: { credentials: { mail: { limit: 100_000, windowSeconds: 60 } } } },
    })
    await call(gateway, '/auth/register', { body: OWNER })
    await call(gateway, '/auth/email/verify', {
      body: { token: tokenOf((await mailsTo(gateway, OWNER.email))[0]!), password: OWNER.password },
    })
  })
  afterAll(() => gateway.close())
  let count = 0
  const register = (email: string, more: object = {}) =>
    call(gateway, '/auth/register', { body: { username: `newcomer${count++}`, email, password: 'plain zebra and so on', ...more } })
  const newAddress = () => `newcomer${count}@example.com`

  it('an address that has an account, has a registration, or is new is answered alike: status, headers and body', async () => {
    const first = seen(await register(newAddress()))
    expect(first).toMatchObject({ status: 202, body: { status: 'pending' } })
    for (const email of [OWNER.email, 'OWNER@Example.com', 'newcomer0@example.com', newAddress()])
      expect(seen(await register(email))).toEqual(first)
  })

  it('so is everything else that is wrong with it', async () => {
    for (const more of [{ username: 'the-owner' }, { username: '!' }, { password: 'short' }, { role: 'admin' }]) {
      const [taken, free] = [seen(await register(OWNER.email, more)), seen(await register(newAddress(), more))]
      expect(taken).toEqual(free)
      expect(taken.status).toBeGreaterThanOrEqual(409)
    }
  })

  it('the same name again is answered alike, too: accepted for its address, refused for another', async () => {
    const twice = async (email: string, username: string, then: string) => {
      await register(email, { username })
      return seen(await register(then, { username }))
    }
    const email = newAddress()
    const again = await twice(OWNER.email, 'twice-taken', OWNER.email)
    expect(await twice(email, 'twice-new', email)).toEqual(again)
    expect(again).toMatchObject({ status: 202, body: { status: 'pending' } })
    const elsewhere = await twice(OWNER.email, 'other-taken', newAddress())
    expect(await twice(newAddress(), 'other-new', OWNER.email)).toEqual(elsewhere)
    expect(elsewhere).toMatchObject({ status: 409, body: { code: 'username_taken' } })
  })

  it('a login does not show that a name or an address is registered', async () => {
    const logIns = async (email: string) => {
      const username = `newcomer${count}`
      expect((await register(email)).status).toBe(202)
      const answers = []
      for (const login of [username, email])
        answers.push(seen(await call(gateway, '/auth/login', { body: { login, password: OWNER.password } })))
      return answers
    }
    const other = { ...OWNER, password: 'quite another zebra' }
    await rows(gateway, 'UPDATE users SET password_hash = $2 WHERE username = $1', [
      OWNER.username,
      await gateway.app.identity.passwords.hash(other.password),
    ])
    const [taken, free] = [await logIns(OWNER.email), await logIns(newAddress())]
    expect(taken).toEqual(free)
    expect(free[0]).toMatchObject({ status: 401, body: { code: 'invalid_credentials' } })
  })

  it('the same work is done for all of them: a hash, and the same statements', async () => {
    const hash = vi.spyOn(gateway.app.identity.passwords, 'hash')
    const statements = async (email: string) => {
      const before = await counts()
      expect((await register(email)).status).toBe(202)
      const after = await counts()
      return Object.fromEntries([...after].map(([operation, n]) => [operation, n - (before.get(operation) ?? 0)]))
    }
    await register(newAddress())
    await register(OWNER.email)
    const [taken, free] = [await statements(OWNER.email), await statements(newAddress())]
    expect(taken).toEqual(free)
    expect(taken).toMatchObject({ 'insert pending_registrations': 1, 'insert outbox': 1 })
    expect(hash).toHaveBeenCalledTimes(4)
    hash.mockRestore()
  })

  /** Statements so far, by operation, without those of background jobs. */
  async function counts(): Promise<Map<string, number>> {
    const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    const lines = [...text.matchAll(/^portcullis_db_query_duration_seconds_count\{operation="([^"]+)"\} (\d+)$/gm)]
    return new Map(
      lines
        .filter(([, operation]) => /users|pending|audit|insert outbox/.test(operation!))
        .map(([, operation, n]) => [operation!, Number(n)]),
    )
  }
})
