import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Answer, call, newUser, type TestUser } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'

/** An answer as somebody sees it who compares: without what differs between any two answers. Seconds until a limit ends are such. */
function seen({ status, headers, body }: Answer) {
  const { request_id, timestamp, ...rest } = body
  const fields = Object.fromEntries(headers)
  for (const name of ['date', 'x-request-id']) delete fields[name]
  if (fields['retry-after']) fields['retry-after'] = String(Number(fields['retry-after']) > 0)
  if (fields.ratelimit) fields.ratelimit = fields.ratelimit.replace(/t=\d+/, 't=…')
  return { status, fields, body: rest }
}

describe('what a login tells about accounts', () => {
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
    await gateway.app.core.administration.disable(gone.username, { actor: 'test', origin: { ip: null, userAgent: null, requestId: null } })
    const unknown = await logIn('nobody-here')
    expect(await logIn(gone.username, gone.password)).toEqual(unknown)
    expect(await logIn(gone.username)).toEqual(unknown)
  })

  it('a hash is computed for everybody: once, with no word about the account', async () => {
    const verify = vi.spyOn(gateway.app.core.passwords, 'verify')
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
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await startGateway({ stores: 'postgres+redis', config: { limits: { exempt: [], credentials } } })
  })
  afterAll(() => gateway.close())

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
