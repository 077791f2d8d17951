/** `auth.username`: accounts with and without a username. */
import { describe, expect, it } from 'vitest'
import { call, newUser, newUserWithRoles, OPERATOR, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { mailsTo, tokenOf } from '../../support/mails.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf } from '../../support/session.ts'

const PASSWORD = 'tulips by the river'
let count = 0
const newEmail = () => `nameless${count++}@example.com`
const register = (gateway: { url: string }, body: object) => call(gateway, '/auth/register', { body: { password: PASSWORD, ...body } })
const logIn = (gateway: { url: string }, login: string) => call(gateway, '/auth/login', { body: { login, password: PASSWORD } })

async function* linesOf(...lines: object[]) {
  yield Buffer.from(lines.map((line) => JSON.stringify(line)).join('\n'))
}
async function runImport(gateway: ReturnType<typeof useGateway>, ...lines: object[]) {
  const reported: string[] = []
  const report = (line: number, text: string) => void reported.push(`${line}: ${text}`)
  const summary = await gateway.app.identity.importUsers(linesOf(...lines), { isDryRun: false, by: OPERATOR, report })
  return { ...summary, reported }
}

describe.each(['embedded', 'postgres'] as const)('usernames that are optional, on %s', (stores) => {
  const gateway = useGateway({ stores, config: { auth: { username: 'optional' } } })

  it('an e-mail address is enough to register and to log in; the username is null, and the token names none', async () => {
    const email = newEmail()
    const registered = await register(gateway, { email })
    expect(registered).toMatchObject({ status: 201, body: { user: { username: null, email } } })
    expect(await logIn(gateway, email.toUpperCase())).toMatchObject({ status: 200, body: { user: { username: null } } })
    expect(claimsOf(registered.body.access_token)).toMatchObject({ email })
    expect(claimsOf(registered.body.access_token)).not.toHaveProperty('preferred_username')
    for (const login of ['null', 'undefined', '-', ' ']) expect((await logIn(gateway, login)).status).toBe(401)
  })

  it('many accounts have none, and a name and an address are still unique', async () => {
    const [email, named] = [newEmail(), await newUser(gateway)]
    expect((await register(gateway, { email })).status).toBe(201)
    expect((await register(gateway, { email })).body.code).toBe('email_taken')
    expect((await register(gateway, { email: newEmail(), username: named.username })).body.code).toBe('username_taken')
    expect((await register(gateway, { email: newEmail(), username: 'no' })).body.errors).toMatchObject([{ field: 'username' }])
  })

  it('the account takes a username later, and logs in with it', async () => {
    const { body } = await register(gateway, { email: newEmail() })
    const username = `later${count++}`
    const named = await call(gateway, '/auth/me', { method: 'PATCH', body: { username }, token: body.access_token })
    expect(named).toMatchObject({ status: 200, body: { username } })
    expect((await logIn(gateway, username)).status).toBe(200)
  })

  it('an authenticator app shows the e-mail address, and the password is not part of it', async () => {
    const email = newEmail()
    const { body } = await register(gateway, { email })
    const begun = await call(gateway, '/auth/mfa/totp', { body: { password: PASSWORD }, token: body.access_token })
    expect(decodeURIComponent(begun.body.otpauth_uri)).toContain(`:${email}?`)
    const refused = await register(gateway, { email: 'gardenia.hedge@example.com', password: 'gardenia.hedge12' })
    expect(refused.body.errors).toMatchObject([{ field: 'password', code: 'contains_name' }])
  })

  it('an admin creates, finds and lists it', async () => {
    const admin = await newUserWithRoles(gateway, ['admin'])
    const email = newEmail()
    const made = await call(gateway, '/auth/admin/users', { body: { email }, token: admin.token })
    expect(made).toMatchObject({ status: 201, body: { user: { username: null, email } } })
    const found = await call(gateway, `/auth/admin/users?search=${email}`, { token: admin.token })
    expect(found.body.users).toMatchObject([{ username: null, email }])
  })

  it('an import needs no username, and an account without one is not taken for another', async () => {
    const [ann, ben] = [{ email: newEmail() }, { email: newEmail() }]
    expect(await runImport(gateway, ann, ben)).toMatchObject({ created: 2, reported: [] })
    expect(await runImport(gateway, ann, { email: newEmail() })).toEqual({
      created: 1,
      skipped: 1,
      failed: 0,
      reported: ['1: skipped: the e-mail address is there already'],
    })
    expect(await rows(gateway, 'SELECT username FROM users WHERE email = $1', [ann.email])).toEqual([{ username: null }])
  })
})

describe('usernames that are optional, where addresses are proven first', () => {
  const gateway = useGateway({ config: { auth: { username: 'optional', emailVerification: 'required' } } })

  it('registrations without a username wait side by side, and the mailed link with the password makes the account', async () => {
    const [email, other] = [newEmail(), newEmail()]
    for (const address of [email, other]) expect((await register(gateway, { email: address })).status).toBe(202)
    const mail = (await mailsTo(gateway, email)).at(-1)!
    const verified = await call(gateway, '/auth/email/verify', { body: { token: tokenOf(mail), password: PASSWORD } })
    expect(verified).toMatchObject({ status: 200, body: { username: null, email, email_verified: true } })
    expect((await logIn(gateway, email)).status).toBe(200)
    expect((await logIn(gateway, other)).status).toBe(401)
  })
})

describe('usernames that are off', () => {
  const gateway = useGateway({ config: { auth: { username: 'off' } } })
  const nameless = async (): Promise<TestUser> => {
    const { body } = await register(gateway, { email: newEmail() })
    return { ...body.user, token: body.access_token, refreshToken: body.refresh_token, password: PASSWORD }
  }

  it('are refused at registration, by PATCH and to admins, with the name of the field', async () => {
    const refusal = { status: 422, body: { code: 'validation_failed', errors: [{ field: 'username', code: 'unknown' }] } }
    expect(await register(gateway, { email: newEmail(), username: 'carla' })).toMatchObject(refusal)
    const user = await nameless()
    expect(await call(gateway, '/auth/me', { method: 'PATCH', body: { username: 'carla' }, token: user.token })).toMatchObject(refusal)
    await rows(gateway, `UPDATE users SET roles = '{admin,user}' WHERE id = $1`, [user.id])
    const { token } = { token: (await logIn(gateway, user.email)).body.access_token }
    const made = await call(gateway, '/auth/admin/users', { body: { email: newEmail(), username: 'carla' }, token })
    expect(made).toMatchObject(refusal)
    expect((await call(gateway, '/auth/admin/users', { body: { email: newEmail() }, token })).status).toBe(201)
  })

  it('an import with one is reported; an existing username still logs in', async () => {
    expect(await runImport(gateway, { email: newEmail(), username: 'dora' })).toMatchObject({
      failed: 1,
      reported: ['1: username: is not used here: accounts have an e-mail address only'],
    })
    const user = await nameless()
    await rows(gateway, `UPDATE users SET username = 'from-before' WHERE id = $1`, [user.id])
    expect(await logIn(gateway, 'from-before')).toMatchObject({ status: 200, body: { user: { username: 'from-before' } } })
  })
})

describe('usernames that are required', () => {
  const gateway = useGateway()

  it('a registration, an account of an admin and an import without one are refused', async () => {
    expect(await register(gateway, { email: newEmail() })).toMatchObject({
      status: 422,
      body: { errors: [{ field: 'username', code: 'required' }] },
    })
    const admin = await newUserWithRoles(gateway, ['admin'])
    const made = await call(gateway, '/auth/admin/users', { body: { email: newEmail() }, token: admin.token })
    expect(made).toMatchObject({ status: 422, body: { errors: [{ field: 'username', code: 'required' }] } })
    const command = gateway.app.identity.administration.create({ email: newEmail(), roles: ['user'], mustChangePassword: true }, OPERATOR)
    await expect(command).rejects.toMatchObject({ code: 'validation_failed', errors: [{ field: 'username', code: 'required' }] })
    expect(await runImport(gateway, { email: newEmail() })).toMatchObject({ failed: 1, reported: ['1: username: is missing'] })
  })
})
