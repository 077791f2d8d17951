/** Somebody registers with the address of another person. The first proof of the address leaves them nothing. */
import { describe, expect, it } from 'vitest'
import { type Answer, call, login, newUser, OPERATOR, type TestUser } from '../support/client.ts'
import { useGateway } from '../support/fixtures.ts'
import { mailsTo, tokenOf } from '../support/mails.ts'
import { reset, resetToken } from '../support/recovery.ts'
import { rows } from '../support/rows.ts'
import { me } from '../support/session.ts'
import { enrol, type FactorUser } from '../support/totp.ts'

const OWNERS = 'the owners own passphrase'
const codeOf = ({ status, body }: Answer) => (status < 300 ? status : `${status} ${body.code}`)

describe.each(['postgres', 'embedded'] as const)('the first proof of an address, on %s', (stores) => {
  const gateway = useGateway({ stores })
  const makeKey = async ({ token }: TestUser) => (await call(gateway, '/auth/api-keys', { body: { name: 'k' }, token })).body.key as string
  const logIn = ({ email }: TestUser, password: string) => call(gateway, '/auth/login', { body: { login: email, password } })
  /** `forbidden` while the key is valid: keys may not list sessions. */
  const stateOf = async (key: string) => (await call(gateway, '/auth/sessions', { token: key })).body.code
  const auditOf = async ({ id }: TestUser) =>
    (await rows(gateway, 'SELECT event FROM audit_log WHERE user_id = $1 ORDER BY at, id', [id])).map(({ event }) => event)

  /** An account with a session, an API key and a second factor. */
  async function equipped(user: TestUser): Promise<{ user: FactorUser; key: string }> {
    const key = await makeKey(user)
    return { user: await enrol(gateway, user), key }
  }

  it('by a reset removes the factor, the keys, the devices and the sessions of the person who never proved it', async () => {
    const { user, key } = await equipped(await newUser(gateway))
    expect((await reset(gateway, await resetToken(gateway, user.email), OWNERS)).status).toBe(204)
    const entered = await logIn(user, OWNERS)
    expect(entered.body).toMatchObject({ access_token: expect.any(String), user: { mfa_enabled: false, email_verified: true } })
    expect([await me(gateway, user.token), await stateOf(key)]).toEqual(['token_revoked', 'token_revoked'])
    for (const table of ['totp_factors', 'backup_codes'])
      expect(await rows(gateway, `SELECT 1 FROM ${table} WHERE user_id = $1`, [user.id])).toEqual([])
    // the device of the owner's login
    expect(await rows(gateway, 'SELECT 1 FROM devices WHERE user_id = $1', [user.id])).toHaveLength(1)
    expect(await auditOf(user)).toEqual(expect.arrayContaining(['mfa_disable', 'api_key_revoke', 'password_reset']))
  })

  it('keeps no key, even when the page asks for it', async () => {
    const user = await newUser(gateway)
    const key = await makeKey(user)
    expect((await reset(gateway, await resetToken(gateway, user.email), OWNERS, true)).status).toBe(204)
    expect(await stateOf(key)).toBe('token_revoked')
  })

  it('with the password of the account removes nothing: maker and owner are the same person', async () => {
    const { user, key } = await equipped(await newUser(gateway))
    const token = tokenOf((await mailsTo(gateway, user.email))[0]!)
    const proof = { token, password: user.password }
    // setting up the factor has ended the links: a new one
    await call(gateway, '/auth/email/verify/request', { method: 'POST', token: user.token })
    proof.token = tokenOf((await mailsTo(gateway, user.email)).findLast(({ template }) => template === 'verify_email')!)
    expect(codeOf(await call(gateway, '/auth/email/verify', { body: proof }))).toBe(200)
    expect((await logIn(user, user.password)).body.mfa_required).toBe(true)
    expect(await stateOf(key)).toBe('forbidden')
    // a later reset is not the first proof
    expect((await reset(gateway, await resetToken(gateway, user.email), OWNERS, true)).status).toBe(204)
    expect((await logIn(user, OWNERS)).body.mfa_required).toBe(true)
    expect(await stateOf(key)).toBe('forbidden')
  })

  it('is no first proof for an account that an operator made', async () => {
    const person = { username: `made${stores}`, email: `made-${stores}@example.com`, password: 'a plain zebra of fields' }
    const made = await gateway.app.identity.administration.create({ ...person, roles: ['user'], mustChangePassword: false }, OPERATOR)
    const { user, key } = await equipped(await login(gateway, { ...person, id: made.user.id, token: '', refreshToken: '' }))
    expect((await reset(gateway, await resetToken(gateway, user.email), OWNERS, true)).status).toBe(204)
    expect((await logIn(user, OWNERS)).body.mfa_required).toBe(true)
    expect(await stateOf(key)).toBe('forbidden')
  })

  it('concerns a new address as well, unless its link was opened', async () => {
    const user = await newUser(gateway)
    await call(gateway, '/auth/email/verify', {
      body: { token: tokenOf((await mailsTo(gateway, user.email))[0]!), password: user.password },
    })
    const back = await login(gateway, user)
    const email = `given-${user.email}`
    await call(gateway, '/auth/me', { method: 'PATCH', token: back.token, body: { email, current_password: user.password } })
    const { key } = await equipped({ ...(await login(gateway, user)), email })
    expect((await reset(gateway, await resetToken(gateway, email), OWNERS)).status).toBe(204)
    expect((await logIn({ ...user, email }, OWNERS)).body.mfa_required).toBeUndefined()
    expect(await stateOf(key)).toBe('token_revoked')
  })

  it('is not repeated for the same address in other letter case: the factor stays', async () => {
    const user = await newUser(gateway)
    await reset(gateway, await resetToken(gateway, user.email), OWNERS)
    const { user: owner } = await equipped({ ...(await login(gateway, { ...user, password: OWNERS })), password: OWNERS })
    const email = user.email.toUpperCase()
    const input = { email, current_password: OWNERS }
    const { body } = await call(gateway, '/auth/me', { method: 'PATCH', token: owner.token, body: input })
    expect(body).toMatchObject({ email, email_verified: true, mfa_enabled: true })
    expect((await reset(gateway, await resetToken(gateway, email), 'another passphrase of the owner')).status).toBe(204)
    expect((await logIn(user, 'another passphrase of the owner')).body.mfa_required).toBe(true)
  })

  it('raced with a new key and a new factor leaves neither', async () => {
    const user = await newUser(gateway)
    const token = await resetToken(gateway, user.email)
    const [done] = await Promise.all([
      reset(gateway, token, OWNERS),
      ...Array.from({ length: 4 }, () => makeKey(user)),
      enrol(gateway, user).catch(() => undefined),
    ])
    // a factor that is set up first ends the sessions, and with them the link: then the owner asks again
    if (done.status !== 204) expect((await reset(gateway, await resetToken(gateway, user.email, 2), OWNERS)).status).toBe(204)
    expect((await logIn(user, OWNERS)).body.mfa_required).toBeUndefined()
    expect(await rows(gateway, 'SELECT 1 FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL', [user.id])).toEqual([])
    expect(await rows(gateway, 'SELECT 1 FROM totp_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL', [user.id])).toEqual([])
  })
})
