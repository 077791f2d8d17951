/** An account with the address of another person must not become a way to write to that person. */
import { describe, expect, it } from 'vitest'
import { call, login, newUser, proveAddress, type TestUser } from '../support/client.ts'
import { useGateway } from '../support/fixtures.ts'
import { mailsTo } from '../support/mails.ts'
import { until } from '../support/processes.ts'
import { forgot, resetMails } from '../support/recovery.ts'
import { rows } from '../support/rows.ts'
import { refresh } from '../support/session.ts'

const EVIL = 'Account locked! Verify: https://evil.example/login'
const MAIL = { limit: 3, windowSeconds: 3600 }

describe('an address that is not proven', () => {
  const gateway = useGateway(() => ({
    config: { auth: { refresh: { onRetry: 'reject', graceSeconds: 0 } }, limits: { credentials: { mail: MAIL } } },
  }))
  const templates = async ({ email }: TestUser) => (await mailsTo(gateway, email)).map(({ template }) => template)
  const makeKeys = async ({ token }: TestUser, n: number) => {
    for (let i = 0; i < n; i++) await call(gateway, '/auth/api-keys', { body: { name: `${EVIL}?${i}` }, token })
  }
  const logIn = ({ username, password }: TestUser, agent: string) =>
    call(gateway, '/auth/login', { body: { login: username, password }, headers: { 'user-agent': agent } })
  /** Ends the session, and the user is warned. */
  async function reuse(user: TestUser): Promise<void> {
    const { refreshToken } = await login(gateway, user)
    const next = (await refresh(gateway, refreshToken)).body.refresh_token
    await refresh(gateway, next)
    expect((await refresh(gateway, refreshToken)).body.code).toBe('refresh_reused')
  }

  it('gets no notice of what the account does: neither keys, nor devices, nor passwords', async () => {
    const user = await newUser(gateway)
    await makeKeys(user, 8)
    for (let i = 0; i < 3; i++) expect((await logIn(user, `evil.example-verify-now.${i}/1`)).status).toBe(200)
    const changed = { current_password: user.password, new_password: 'another plain zebra' }
    expect((await call(gateway, '/auth/password/change', { token: user.token, body: changed })).status).toBe(200)
    expect(await templates(user)).toEqual(['verify_email'])
  })

  it('gets alerts about others, without a word of a user, and no more than its budget', async () => {
    const user = await newUser(gateway)
    for (let i = 0; i < MAIL.limit + 2; i++) await reuse(user)
    const alerts = (await mailsTo(gateway, user.email)).filter(({ template }) => template === 'refresh_reused')
    expect(alerts).toHaveLength(MAIL.limit)
    // `node` is not in the list of devices
    for (const { data } of alerts) expect(data).toEqual({ at: expect.any(String), ip: '127.0.0.1', device: null })
  })

  it('has a budget that another address does not share', async () => {
    const [first, second] = [await newUser(gateway), await newUser(gateway)]
    for (let i = 0; i < MAIL.limit; i++) await reuse(first)
    await reuse(second)
    expect(await templates(second)).toContain('refresh_reused')
  })

  it('that was proven gets both, with names, and each kind within its budget', async () => {
    const user = await newUser(gateway)
    await proveAddress(gateway, user)
    await makeKeys(user, 19)
    await reuse(user)
    const mails = await mailsTo(gateway, user.email)
    expect(mails.filter(({ template }) => template === 'api_key_created')).toHaveLength(6 * MAIL.limit)
    expect(mails.find(({ template }) => template === 'api_key_created')!.data.name).toContain(EVIL)
    expect(mails.find(({ template }) => template === 'refresh_reused')!.data.device).toBe('node')
  })

  it('is written to as proven when an operator gave it', async () => {
    const user = await newUser(gateway)
    await rows(gateway, 'UPDATE users SET is_email_vouched = true WHERE id = $1', [user.id])
    await makeKeys(user, 1)
    expect(await templates(user)).toContain('api_key_created')
  })
})

describe('requests by strangers', () => {
  const gateway = useGateway(() => ({
    config: { server: { trustedProxies: ['127.0.0.1/32'] }, limits: { credentials: { mail: MAIL } } },
  }))
  const from = (address: string) => ({ 'x-forwarded-for': address })
  const asked = async (n: number) =>
    until(async () => (await rows(gateway, `SELECT 1 FROM audit_log WHERE event = 'password_forgot'`)).length >= n, 'the work')

  it('for a new password leave the owner the own budget: from a known network the mail still goes', async () => {
    const user = await newUser(gateway)
    const entered = { body: { login: user.username, password: user.password }, headers: from('198.51.100.7') }
    expect((await call(gateway, '/auth/login', entered)).status).toBe(200)
    for (let i = 0; i < MAIL.limit + 2; i++) await forgot(gateway, user.email, from('203.0.113.9'))
    await asked(MAIL.limit + 2)
    expect(await resetMails(gateway, user.email)).toHaveLength(MAIL.limit)
    await forgot(gateway, user.email, from('198.51.100.7'))
    await until(async () => (await resetMails(gateway, user.email)).length === MAIL.limit + 1, 'the mail of the owner')
  })

  it('for an address leave the session of its account the own budget for links', async () => {
    const user = await newUser(gateway)
    const other = await newUser(gateway)
    for (let i = 0; i < MAIL.limit + 1; i++)
      await call(gateway, '/auth/me', {
        method: 'PATCH',
        body: { email: user.email, current_password: other.password },
        token: other.token,
      })
    const links = async () => (await mailsTo(gateway, user.email)).filter(({ template }) => template === 'verify_email').length
    const before = await links()
    expect((await call(gateway, '/auth/email/verify/request', { method: 'POST', token: user.token })).status).toBe(202)
    expect(await links()).toBe(before + 1)
  })
})
