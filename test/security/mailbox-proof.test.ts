/** A mailed link proves a mailbox, and nothing else: completing something needs the one who asked for it as well. */
import { describe, expect, it } from 'vitest'
import { surplusOf } from '../../src/identity/accounts/pending-registration.service.ts'
import { type Answer, call, login, newUser, proveAddress, type TestUser } from '../support/client.ts'
import { useGateway } from '../support/fixtures.ts'
import { mailsTo, type PostedMail, tokenOf } from '../support/mails.ts'
import { until } from '../support/processes.ts'
import { resetToken } from '../support/recovery.ts'
import { rows } from '../support/rows.ts'

const codeOf = ({ status, body }: Answer) => (status < 300 ? status : `${status} ${body.code}`)
const MANY = { limit: 1000, windowSeconds: 60 }
const FIREFOX = { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0' }

describe('a registration whose address is proven first', () => {
  const gateway = useGateway(() => ({
    config: {
      auth: { emailVerification: 'required' },
      server: { trustedProxies: ['127.0.0.1/32'] },
      limits: { credentials: { mail: MANY } },
    },
  }))
  let count = 0
  const newPair = () => {
    const email = `shared${++count}@example.com`
    return {
      victim: { username: `victim${count}`, email, password: 'the victims own passphrase' },
      mallory: { username: `mallory${count}`, email, password: 'the passphrase of mallory' },
    }
  }
  const register = (body: object, headers = {}) => call(gateway, '/auth/register', { body, headers })
  const verify = (token: string, password?: string) => call(gateway, '/auth/email/verify', { body: { token, password } })
  const links = (email: string) => mailsTo(gateway, email)
  async function askAgain(email: string): Promise<PostedMail> {
    const before = (await links(email)).length
    await call(gateway, '/auth/email/verify/request', { body: { email } })
    await until(async () => (await links(email)).length > before, 'the mail')
    return (await links(email)).at(-1)!
  }
  const logIn = (login: string, password: string) => call(gateway, '/auth/login', { body: { login, password } })
  const usersWith = (email: string) => rows(gateway, 'SELECT username FROM users WHERE email_canonical = $1', [email])

  it('is not completed by its link alone, nor with a wrong password, and neither uses the link up', async () => {
    const { victim } = newPair()
    await register(victim)
    const token = tokenOf((await links(victim.email))[0]!)
    const bare = await verify(token)
    expect(bare).toMatchObject({ status: 422, body: { code: 'validation_failed', errors: [{ field: 'password', code: 'required' }] } })
    expect(codeOf(await verify(token, 'a wrong password'))).toBe('401 invalid_credentials')
    expect(await usersWith(victim.email)).toEqual([])
    expect((await verify(token, victim.password)).body).toMatchObject({ username: victim.username, email_verified: true })
    const [refusal] = await rows(gateway, `SELECT outcome FROM audit_log WHERE event = 'email_verify' AND outcome = 'invalid_credentials'`)
    expect(refusal).toBeDefined()
  })

  it('of a stranger never gets the address: the link that the owner asked for again makes the account of the owner', async () => {
    const { victim, mallory } = newPair()
    await register(victim)
    await register(mallory)
    const mail = await askAgain(victim.email)
    expect(mail.data).toMatchObject({ username: mallory.username, more: [{ username: victim.username }] })
    expect(codeOf(await verify(tokenOf(mail)))).toBe('422 validation_failed')
    expect((await verify(tokenOf(mail), victim.password)).body).toMatchObject({ username: victim.username, email_verified: true })
    expect(codeOf(await logIn(victim.email, mallory.password))).toBe('401 invalid_credentials')
    expect(codeOf(await logIn(mallory.username, mallory.password))).toBe('401 invalid_credentials')
    expect(codeOf(await logIn(victim.email, victim.password))).toBe(200)
    expect(await rows(gateway, 'SELECT 1 FROM pending_registrations WHERE email_canonical = $1', [victim.email])).toEqual([])
  })

  it('keeps its first link while a stranger registers and asks again', async () => {
    const { victim, mallory } = newPair()
    await register(victim)
    const token = tokenOf((await links(victim.email))[0]!)
    await register(mallory)
    await askAgain(victim.email)
    expect((await verify(token, victim.password)).body).toMatchObject({ username: victim.username })
  })

  it('may be made again with its name while it waits, each with its own password', async () => {
    const { victim } = newPair()
    await register({ ...victim, password: 'a forgotten passphrase' })
    expect(codeOf(await register(victim))).toBe(202)
    expect(codeOf(await register({ ...victim, email: `other-${victim.email}` }))).toBe('409 username_taken')
    const [first, second] = (await links(victim.email)).map(tokenOf)
    expect(codeOf(await verify(second!, 'a wrong password'))).toBe('401 invalid_credentials')
    expect((await verify(second!, victim.password)).body).toMatchObject({ username: victim.username })
    expect(codeOf(await verify(first!, 'a forgotten passphrase'))).toBe('400 link_invalid')
    expect(codeOf(await logIn(victim.username, 'a forgotten passphrase'))).toBe('401 invalid_credentials')
  })

  it('names its account and the device in the mail, from a fixed list', async () => {
    const { victim, mallory } = newPair()
    await register(victim, FIREFOX)
    await register(mallory, { 'user-agent': 'evil.example-verify-now/1' })
    const [own, strange] = await links(victim.email)
    expect(own!.data).toMatchObject({ username: victim.username, device: 'Firefox on Linux' })
    expect(strange!.data).toMatchObject({ username: mallory.username, device: null })
  })

  it('is described by its link, which stays as it is; an unknown link describes nothing', async () => {
    const { victim } = newPair()
    await register(victim, FIREFOX)
    const token = tokenOf((await links(victim.email))[0]!)
    const details = (value: string) => call(gateway, '/auth/email/verify/details', { body: { token: value } })
    const requested_at = expect.stringMatching(/Z$/)
    const expected = { username: victim.username, email: victim.email, requested_at, device: 'Firefox on Linux' }
    for (let i = 0; i < 2; i++) expect((await details(token)).body).toEqual(expected)
    expect(codeOf(await details('x'.repeat(43)))).toBe('400 link_invalid')
    expect((await verify(token, victim.password)).status).toBe(200)
    expect(codeOf(await details(token))).toBe('400 link_invalid')
  })

  it('is not dropped by the registrations of one network: those drop each other', async () => {
    const { victim } = newPair()
    await register(victim, { 'x-forwarded-for': '198.51.100.7' })
    for (let i = 0; i < 8; i++) await register({ ...victim, username: `flood${count}x${i}` }, { 'x-forwarded-for': `203.0.113.${i}` })
    expect(await rows(gateway, 'SELECT 1 FROM pending_registrations WHERE email_canonical = $1', [victim.email])).toHaveLength(5)
    const token = tokenOf((await links(victim.email))[0]!)
    expect((await verify(token, victim.password)).body).toMatchObject({ username: victim.username })
  })

  it('and another that are completed at the same moment: one of them gets the address', async () => {
    const { victim, mallory } = newPair()
    await register(victim)
    await register(mallory)
    const [own, strange] = (await links(victim.email)).map(tokenOf)
    const attempts = [own, strange, own, strange].map((token, i) => verify(token!, i % 2 ? mallory.password : victim.password))
    const answers = (await Promise.all(attempts)).map(codeOf)
    expect(answers.sort()).toEqual([200, '400 link_invalid', '400 link_invalid', '400 link_invalid'])
    expect(await usersWith(victim.email)).toHaveLength(1)
  })

  it('that is completed while others register its address and name: no other registration gets the address afterwards', async () => {
    const { victim, mallory } = newPair()
    await register(victim)
    const token = tokenOf((await links(victim.email))[0]!)
    const racing = Array.from({ length: 6 }, (_, i) =>
      register(i % 2 ? { ...mallory, username: `${mallory.username}x${i}` } : victim, { 'x-forwarded-for': '203.0.113.9' }),
    )
    const [completed] = await Promise.all([verify(token, victim.password), ...racing])
    expect(codeOf(completed)).toBe(200)
    for (const mail of await links(victim.email))
      if (mail.template === 'verify_email')
        for (const { password } of [victim, mallory])
          expect(codeOf(await verify(tokenOf(mail), password))).toMatch(/^(400 link_invalid|401 invalid_credentials|409 \w+_taken)$/)
    expect(await usersWith(victim.email)).toEqual([{ username: victim.username }])
  })
})

describe('an address of an account', () => {
  const gateway = useGateway(() => ({ config: { limits: { credentials: { mail: MANY } } } }))
  const verify = (token: string, { password, session }: { password?: string; session?: string | undefined } = {}) =>
    call(gateway, '/auth/email/verify', { body: { token, password }, token: session })
  const linkTo = async ({ email }: Pick<TestUser, 'email'>) => tokenOf((await mailsTo(gateway, email)).at(-1)!)

  it('is proven with the session that asked, and with no other session', async () => {
    const user = await newUser(gateway)
    const [elsewhere, stranger] = [await login(gateway, user), await newUser(gateway)]
    const token = await linkTo(user)
    for (const session of [undefined, elsewhere.token, stranger.token])
      expect(codeOf(await verify(token, { session }))).toBe('422 validation_failed')
    expect(codeOf(await verify(token, { session: user.token }))).toBe(200)
  })

  it('is not proven by a session that has ended, unless the password is there', async () => {
    const user = await newUser(gateway)
    const token = await linkTo(user)
    await call(gateway, '/auth/logout', { method: 'POST', token: user.token })
    expect(codeOf(await verify(token, { session: user.token }))).toBe('401 token_revoked')
    expect(codeOf(await verify(token, { session: user.token, password: user.password }))).toBe(200)
  })

  it('is not proven by a wrong password, which leaves the link valid and is counted before it is looked at', async () => {
    const user = await newUser(gateway)
    const token = await linkTo(user)
    expect(codeOf(await verify(token, { password: 'a wrong password' }))).toBe('401 invalid_credentials')
    // in the database: the limits of this gateway except the address of the tests
    for (let i = 0; i < 29; i++) await verify(token, { password: `wrong password ${i}` })
    expect(codeOf(await verify(token, { password: user.password }))).toBe('429 rate_limited')
    // the owner's login has a budget of its own
    expect((await login(gateway, user)).token).toBeTruthy()
  })

  it('that is new needs the account as well: the mailbox alone takes nothing over', async () => {
    const user = await newUser(gateway)
    const email = `new-${user.email}`
    const body = { email, current_password: user.password }
    const fresh = await login(gateway, user)
    expect((await call(gateway, '/auth/me', { method: 'PATCH', token: fresh.token, body })).status).toBe(200)
    const token = await linkTo({ email })
    expect(codeOf(await verify(token))).toBe('422 validation_failed')
    expect(codeOf(await verify(token, { password: 'a wrong password' }))).toBe('401 invalid_credentials')
    const refreshed = await call(gateway, '/auth/refresh', { body: { refresh_token: fresh.refreshToken } })
    expect((await verify(token, { session: refreshed.body.access_token })).body).toMatchObject({ email, email_verified: true })
  })

  it('is described by its link with the account, and by a password link with the keys that may stay', async () => {
    const user = await newUser(gateway)
    const verifying = await call(gateway, '/auth/email/verify/details', { body: { token: await linkTo(user) } })
    expect(verifying.body).toMatchObject({ username: user.username, email: user.email, device: null })
    const token = await resetToken(gateway, user.email)
    const details = async () => (await call(gateway, '/auth/password/reset/details', { body: { token } })).body
    expect(await details()).toMatchObject({ username: user.username, can_keep_api_keys: false })
    await call(gateway, '/auth/api-keys', { body: { name: 'k' }, token: user.token })
    expect(await details()).toMatchObject({ can_keep_api_keys: false })
    await proveAddress(gateway, user)
    expect(await details()).toMatchObject({ can_keep_api_keys: true })
    expect(codeOf(await call(gateway, '/auth/password/reset/details', { body: { token: await linkTo(user) } }))).not.toBe(
      '400 link_invalid',
    )
    expect(codeOf(await call(gateway, '/auth/email/verify/details', { body: { token } }))).toBe('400 link_invalid')
  })

  it('is proven once, by two links at the same moment', async () => {
    const user = await newUser(gateway)
    await call(gateway, '/auth/email/verify/request', { method: 'POST', token: user.token })
    const tokens = (await mailsTo(gateway, user.email)).map(tokenOf)
    expect(tokens).toHaveLength(2)
    const answers = await Promise.all([...tokens, ...tokens].map((token) => verify(token, { password: user.password })))
    expect(answers.map(codeOf).sort()).toEqual([200, '400 link_invalid', '400 link_invalid', '400 link_invalid'])
  })
})

it('the registration that makes room is the oldest of the network with the most', () => {
  const newestFirst = (...networks: string[]) => networks.map((network, i) => ({ network, age: i }))
  expect(surplusOf(newestFirst('b', 'b', 'b', 'b', 'a'))).toMatchObject({ network: 'b', age: 3 })
  expect(surplusOf(newestFirst('a', 'b', 'c'))).toMatchObject({ network: 'c', age: 2 })
  expect(surplusOf([])).toBeUndefined()
})
