import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Answer, call, newUser, OPERATOR, raw, statusOf, type TestUser } from '../support/client.ts'
import { useGateway } from '../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../support/gateway.ts'
import { until } from '../support/processes.ts'
import { forgot, reset, resetMail, resetMails, resetToken } from '../support/recovery.ts'
import { dump, rows } from '../support/rows.ts'

const PASSWORD = 'tulips by the river'
const CLIENT = '203.0.113.9'
const events = (gateway: Gateway, outcome: string) =>
  metric(gateway, 'portcullis_account_events_total', { event: 'password_forgot', outcome })

function seen({ status, headers, body }: Answer) {
  const { request_id, timestamp, ...rest } = body
  const fields = Object.fromEntries(headers)
  for (const name of ['date', 'x-request-id']) delete fields[name]
  return { status, fields, body: rest }
}

describe('asking for a link', () => {
  let gateway: Gateway
  let user: TestUser
  let disabled: TestUser
  beforeAll(async () => {
    gateway = await startGateway({ config: { limits: { credentials: { mail: { limit: 4, windowSeconds: 600 } } } } })
    user = await newUser(gateway)
    disabled = await newUser(gateway)
    await gateway.app.identity.administration.disable(disabled.username, OPERATOR)
  })
  afterAll(() => gateway.close())

  it('gets the same answer for an account, no account, a disabled account, a malformed address and a recipient at the limit', async () => {
    const answers = []
    for (const email of [
      user.email,
      'nobody@mail.test',
      disabled.email,
      user.username,
      'no address',
      'nul\0@mail.test',
      '😀@',
      ...Array(5).fill(user.email),
    ])
      answers.push(seen(await forgot(gateway, email)))
    for (const answer of answers) expect(answer).toEqual(answers[0])
    expect(answers[0]).toMatchObject({ status: 202, body: { status: 'accepted' } })
    await until(async () => (await events(gateway, 'rate_limited')) === 2, 'the last of them')
    expect(await resetMails(gateway, user.email)).toHaveLength(4)
    expect(await resetMails(gateway, disabled.email)).toEqual([])
    expect(await events(gateway, 'not_found')).toBe(6)
  })

  it('is answered before the account is looked up: also while the table of users is locked', async () => {
    const other = await newUser(gateway)
    const client = new pg.Client(gateway.databaseUrl)
    await client.connect()
    await client.query('BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE')
    for (const email of ['nobody@mail.test', other.email]) expect((await forgot(gateway, email)).status).toBe(202)
    await client.query('COMMIT')
    await client.end()
    expect((await resetMail(gateway, other.email)).template).toBe('reset_password')
  })

  it('that cannot be done is in the log, with its request and without the address', async () => {
    const transaction = vi.spyOn(gateway.app.platform.db, 'transaction').mockImplementation(() => {
      throw new Error('no such luck')
    })
    const { headers } = await forgot(gateway, 'somebody@mail.test')
    const line = await until(() => gateway.log().find((l) => l.cause === 'no such luck'), 'the line')
    transaction.mockRestore()
    expect(line).toMatchObject({ level: 'error', reason: 'internal', request_id: headers.get('x-request-id') })
    expect(JSON.stringify(gateway.log())).not.toContain('somebody')
    await resetToken(gateway, (await newUser(gateway)).email)
  })
})

describe('a link', () => {
  const gateway = useGateway(() => ({ config: { server: { publicUrl: 'https://api.example.com', trustedProxies: ['127.0.0.1/32'] } } }))

  it.each<[string, Record<string, string>]>([
    ['Host', { host: 'evil.test' }],
    ['Host with a port', { host: 'api.example.com:evil.test' }],
    ['X-Forwarded-Host', { 'x-forwarded-host': 'evil.test' }],
    ['X-Forwarded-Proto', { 'x-forwarded-proto': 'http', 'x-forwarded-host': 'evil.test' }],
    ['Forwarded', { forwarded: 'host=evil.test;proto=http' }],
    ['X-Original-Host and its like', { 'x-original-host': 'evil.test', 'x-host': 'evil.test', 'x-forwarded-server': 'evil.test' }],
    ['Origin and Referer', { origin: 'https://evil.test', referer: 'https://evil.test/' }],
  ])('is built from publicUrl alone, whatever is in %s', async (_, fields) => {
    const user = await newUser(gateway)
    const body = JSON.stringify({ email: user.email })
    const headers = { host: 'x', 'content-type': 'application/json', 'content-length': String(body.length), connection: 'close', ...fields }
    const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const status = statusOf(await raw(gateway.port, `POST /auth/password/forgot HTTP/1.1\r\n${head.join('')}\r\n${body}`))
    // a Host that is none
    if (fields.host?.includes(':')) return expect([status, await resetMails(gateway, user.email)]).toEqual([400, []])
    expect(status).toBe(202)
    const { data } = await resetMail(gateway, user.email)
    expect(data.url).toMatch(/^https:\/\/api\.example\.com\/auth\/password\/reset#token=[\w-]{43}$/)
    expect(JSON.stringify(data)).not.toContain('evil')
  })

  it('is not in the database and not in the log, nor is the address in the log', async () => {
    const user = await newUser(gateway)
    const token = await resetToken(gateway, user.email)
    for (const text of [await dump(gateway), JSON.stringify(gateway.log())]) expect(text).not.toContain(token)
    await reset(gateway, token, PASSWORD)
    const log = JSON.stringify(gateway.log())
    for (const secret of [token, user.email, PASSWORD]) expect(log).not.toContain(secret)
  })

  it('is not found by what looks like one, nor by one for another purpose', async () => {
    const user = await newUser(gateway)
    const token = await resetToken(gateway, user.email)
    const [link] = await rows(gateway, 'SELECT id, token_hash FROM links WHERE user_id = $1', [user.id])
    const lookalikes = [
      `${token}A`,
      token.slice(1),
      token.toUpperCase(),
      ` ${token}`,
      `${token}\0`,
      link.id,
      link.token_hash.toString('hex'),
      link.token_hash.toString('base64url'),
      "' OR 1=1 --",
    ]
    for (const guess of lookalikes) expect((await reset(gateway, guess, PASSWORD)).body.code).toBe('link_invalid')
    await rows(gateway, `UPDATE links SET purpose = 'verify_email' WHERE user_id = $1`, [user.id])
    expect((await reset(gateway, token, PASSWORD)).body.code).toBe('link_invalid')
    await rows(gateway, `UPDATE links SET purpose = 'reset_password' WHERE user_id = $1`, [user.id])
    expect((await reset(gateway, token, PASSWORD)).status).toBe(204)
  })

  it('that is none costs no hash', async () => {
    const hash = vi.spyOn(gateway.app.identity.passwords, 'hash')
    expect((await reset(gateway, 'x'.repeat(43), PASSWORD)).body.code).toBe('link_invalid')
    expect(hash).not.toHaveBeenCalled()
    hash.mockRestore()
  })
})

describe('a client with too many requests and invalid tokens', () => {
  let gateway: Gateway
  beforeAll(async () => {
    const credentials = { recovery: { limit: 4, windowSeconds: 600 }, register: { limit: 100, windowSeconds: 60 } }
    gateway = await startGateway({
      config: { server: { trustedProxies: ['127.0.0.1/32'] }, limits: { exempt: [], credentials } },
    })
  })
  afterAll(() => gateway.close())
  const from = (address: string, path: string, body: object) => call(gateway, path, { body, headers: { 'x-forwarded-for': address } })

  it('has to wait, by address, for an account as for none', async () => {
    const user = await newUser(gateway)
    const series = async (address: string, email: string) => {
      const answers = []
      for (let i = 0; i < 6; i++) answers.push(await from(address, '/auth/password/forgot', { email }))
      return answers
    }
    for (const [address, email] of [
      ['203.0.113.1', user.email],
      ['203.0.113.2', 'nobody@mail.test'],
    ] as const) {
      const answers = await series(address, email)
      expect(answers.map((a) => a.status)).toEqual([202, 202, 202, 202, 429, 429])
      expect(answers[4]!.body.code).toBe('rate_limited')
      expect(Number(answers[4]!.headers.get('retry-after'))).toBeGreaterThan(0)
    }
  })

  it('has no more attempts at tokens than requests, even with a valid token', async () => {
    const user = await newUser(gateway)
    const token = await resetToken(gateway, user.email)
    const guess = (value: string) => from(CLIENT, '/auth/password/reset', { token: value, new_password: PASSWORD })
    for (let i = 0; i < 4; i++) expect((await guess('x'.repeat(43))).status).toBe(400)
    expect((await guess(token)).status).toBe(429)
    expect((await from('203.0.113.10', '/auth/password/reset', { token, new_password: PASSWORD })).status).toBe(204)
  })

  it('cannot fill a mailbox from many addresses', async () => {
    const user = await newUser(gateway)
    for (let i = 0; i < 9; i++)
      expect(
        (await from(`198.51.100.${i}`, '/auth/password/forgot', { email: i % 2 ? user.email : ` ${user.email.toUpperCase()} ` })).status,
      ).toBe(202)
    await until(async () => (await events(gateway, 'rate_limited')) === 4, 'the last of them')
    expect(await resetMails(gateway, user.email)).toHaveLength(5)
  })

  it('does not keep an owner from a new password by giving the address away for an own one', async () => {
    const [owner, stranger] = [await newUser(gateway), await newUser(gateway)]
    for (let i = 0; i < 5; i++) {
      const { status, body } = await call(gateway, '/auth/me', {
        method: 'PATCH',
        body: { email: owner.email, current_password: stranger.password },
        token: stranger.token,
        headers: { 'x-forwarded-for': CLIENT },
      })
      expect({ status, code: body.code }).toEqual({ status: 409, code: 'email_taken' })
    }
    expect((await from('203.0.113.20', '/auth/password/forgot', { email: owner.email })).status).toBe(202)
    expect((await resetMail(gateway, owner.email)).template).toBe('reset_password')
  })
})
