import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findPendingOf } from '../../../src/identity/accounts/pending-registrations.repo.ts'
import { type Answer, call, login, newUser, OPERATOR, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { mailsTo, type PostedMail, tokenOf } from '../../support/mails.ts'
import { until } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'
import { me } from '../../support/session.ts'

let gateway: Gateway
const PASSWORD = 'plain zebra and so on'
let count = 0
const newPerson = () => {
  const username = `person${count++}`
  return { username, email: `${username}@example.com`, password: PASSWORD }
}
const register = (person: object) => call(gateway, '/auth/register', { body: person })
/** With the password of the account or registration, or with the access token of a session. */
const verify = (token: string, password: string | undefined, session?: string) =>
  call(gateway, '/auth/email/verify', { body: { token, password }, token: session })
const patch = (user: TestUser, body: object) => call(gateway, '/auth/me', { method: 'PATCH', body, token: user.token })
const moveTo = (user: TestUser, email: string) => patch(user, { email, current_password: user.password })
const ask = (options: Parameters<typeof call>[2] = {}) => call(gateway, '/auth/email/verify/request', { method: 'POST', ...options })
const linksTo = async (address: string) => (await mailsTo(gateway, address)).filter(({ template }) => template === 'verify_email')
const linkTo = async (address: string): Promise<PostedMail> => (await linksTo(address)).at(-1)!
const templatesTo = async (address: string) => (await mailsTo(gateway, address)).map(({ template }) => template)
const codeOf = ({ status, body }: Answer) => (status < 300 ? status : `${status} ${body.code}`)
const audited = (event: string, userId: string | null) =>
  rows(gateway, 'SELECT outcome FROM audit_log WHERE event = $1 AND user_id IS NOT DISTINCT FROM $2 ORDER BY id', [event, userId])
const whoIs = async (token: string) => (await call(gateway, '/auth/me', { token })).body

describe.each(['postgres', 'embedded'] as const)('an address that need not be proven first, on %s', (stores) => {
  beforeAll(async () => {
    gateway = await startGateway({ stores, config: { limits: { credentials: { mail: { limit: 1000, windowSeconds: 60 } } } } })
  })
  afterAll(() => gateway.close())

  it('is mailed a link at registration, which proves it once and outdates tokens that say otherwise', async () => {
    const user = await newUser(gateway)
    const mail = await linkTo(user.email)
    expect(mail.data).toEqual({
      url: expect.stringMatching(/^http:\/\/gateway\.test\/auth\/email\/verify#token=[\w-]{43}$/),
      minutes: 1440,
      username: user.username,
      at: expect.stringMatching(/Z$/),
      device: null,
      more: [],
    })
    const answer = await verify(tokenOf(mail), user.password)
    expect(answer).toMatchObject({ status: 200, body: { id: user.id, email: user.email, email_verified: true } })
    expect(await me(gateway, user.token)).toBe('token_revoked')
    expect(await whoIs((await login(gateway, user)).token)).toMatchObject({ email_verified: true })
    expect(codeOf(await verify(tokenOf(mail), user.password))).toBe('400 link_invalid')
    expect(await audited('email_verify', user.id)).toEqual([{ outcome: 'success' }])
    expect(await metric(gateway, 'portcullis_account_events_total', { event: 'email_verify', outcome: 'success' })).toBeGreaterThan(0)
  })

  it('that is new counts at once, unverified; the old address gets a notice, the new address a link', async () => {
    const user = await newUser(gateway)
    await verify(tokenOf(await linkTo(user.email)), user.password)
    const before = await login(gateway, user)
    const email = `moved-${user.email}`
    expect((await moveTo(before, email)).body).toMatchObject({ email, email_verified: false })
    expect(await me(gateway, before.token)).toBe('token_revoked')
    const notice = (await mailsTo(gateway, user.email)).at(-1)!
    expect(notice).toMatchObject({ template: 'email_changed', data: { ip: '127.0.0.1', device: 'node' } })
    expect((await verify(tokenOf(await linkTo(email)), user.password)).body).toMatchObject({ email, email_verified: true })
    expect(await templatesTo(email)).toEqual(['verify_email'])
  })

  it('that was given up cannot be proven by its older link', async () => {
    const user = await newUser(gateway)
    const old = await linkTo(user.email)
    await moveTo(user, `moved-${user.email}`)
    expect(codeOf(await verify(tokenOf(old), user.password))).toBe('400 link_invalid')
    expect(await whoIs((await login(gateway, user)).token)).toMatchObject({ email: `moved-${user.email}`, email_verified: false })
  })

  it('gets another link on request, and the older link stays valid until one of them is used; a verified address gets none', async () => {
    const user = await newUser(gateway)
    const [first] = await linksTo(user.email)
    expect(await ask({ token: user.token })).toMatchObject({ status: 202, body: { status: 'accepted' } })
    const second = await linkTo(user.email)
    expect(codeOf(await verify(tokenOf(first!), user.password))).toBe(200)
    expect(codeOf(await verify(tokenOf(second), user.password))).toBe('400 link_invalid')
    const { token } = await login(gateway, user)
    expect((await ask({ token, body: {} })).status).toBe(202)
    expect(await linksTo(user.email)).toHaveLength(2)
    expect(codeOf(await ask())).toBe('401 token_missing')
  })

  it('is not proven by a link from before every session was ended, or after its time', async () => {
    const user = await newUser(gateway)
    await call(gateway, '/auth/logout-all', { method: 'POST', token: user.token })
    expect(codeOf(await verify(tokenOf(await linkTo(user.email)), user.password))).toBe('400 link_invalid')
    const late = await login(gateway, user)
    await ask({ token: late.token })
    await rows(gateway, 'UPDATE links SET expires_at = now() WHERE user_id = $1', [user.id])
    expect(codeOf(await verify(tokenOf(await linkTo(user.email)), user.password))).toBe('400 link_invalid')
    expect(await whoIs(late.token)).toMatchObject({ email_verified: false })
  })

  it.each(['', 'x', '#', 'A'.repeat(43), 'ü'.repeat(43), "' OR 1=1 --"])('is not proven by %j', async (token) => {
    expect(codeOf(await verify(token, PASSWORD))).toBe(token === '' ? '422 validation_failed' : '400 link_invalid')
  })

  it('leaves nothing behind after cleanup: no expired link, no old mail', async () => {
    const user = await newUser(gateway)
    await until(async () => (await rows(gateway, 'SELECT 1 FROM outbox WHERE payload_sealed IS NOT NULL')).length === 0, 'the mails')
    await rows(gateway, `UPDATE links SET expires_at = now() WHERE user_id = $1`, [user.id])
    await rows(gateway, `UPDATE outbox SET created_at = created_at - interval '31 days' WHERE user_id = $1`, [user.id])
    const young = await newUser(gateway)
    await gateway.app.identity.cleanup()
    const left = async (table: string, { id }: TestUser) => (await rows(gateway, `SELECT 1 FROM ${table} WHERE user_id = $1`, [id])).length
    for (const table of ['links', 'outbox']) expect([await left(table, user), await left(table, young)]).toEqual([0, 1])
  })
})

describe.each(['postgres', 'embedded'] as const)('where addresses are proven first, on %s', (stores) => {
  beforeAll(async () => {
    gateway = await startGateway({
      stores,
      config: { auth: { emailVerification: 'required' }, limits: { credentials: { mail: { limit: 1000, windowSeconds: 60 } } } },
    })
  })
  afterAll(() => gateway.close())

  /** Somebody who has registered and opened the link. */
  async function newMember(): Promise<TestUser> {
    const person = newPerson()
    await register(person)
    const { body } = await verify(tokenOf(await linkTo(person.email)), person.password)
    return login(gateway, { ...person, id: body.id, token: '', refreshToken: '' })
  }

  it('a registration becomes a user once its link is opened, and not before', async () => {
    const person = newPerson()
    expect(await register(person)).toMatchObject({ status: 202, body: { status: 'pending' } })
    expect(await rows(gateway, 'SELECT 1 FROM users WHERE username = $1', [person.username])).toEqual([])
    expect(await findPendingOf(gateway.app.platform.db, person.email)).toMatchObject([{ username: person.username }])

    const mail = await linkTo(person.email)
    const answer = await verify(tokenOf(mail), person.password)
    expect(answer).toMatchObject({
      status: 200,
      body: { username: person.username, email: person.email, email_verified: true, roles: ['user'], last_login_at: null },
    })
    expect(codeOf(await verify(tokenOf(mail), person.password))).toBe('400 link_invalid')
    expect((await call(gateway, '/auth/login', { body: { login: person.email, password: person.password } })).body.user.id).toBe(
      answer.body.id,
    )
    expect(await findPendingOf(gateway.app.platform.db, person.email)).toEqual([])
    expect(await audited('email_verify', answer.body.id)).toEqual([{ outcome: 'success' }])
  })

  it('a pending name is taken for every other address, until its time is over; the name of a user for every address', async () => {
    const [member, person] = [await newMember(), newPerson()]
    await register(person)
    for (const email of [newPerson().email, member.email])
      for (const username of [person.username.toUpperCase(), member.username])
        expect(codeOf(await register({ ...person, username, email }))).toBe('409 username_taken')
    expect(codeOf(await register({ ...person, username: member.username }))).toBe('409 username_taken')
    await rows(gateway, 'UPDATE pending_registrations SET expires_at = now() WHERE username = $1', [person.username])
    expect(codeOf(await verify(tokenOf(await linkTo(person.email)), person.password))).toBe('400 link_invalid')
    expect(codeOf(await register({ ...person, email: newPerson().email }))).toBe(202)
    // clearly before now: the time of the cleanup has milliseconds, and this column has microseconds
    await rows(gateway, "UPDATE pending_registrations SET expires_at = now() - interval '1 second' WHERE username = $1", [person.username])
    await gateway.app.identity.cleanup()
    expect(await rows(gateway, 'SELECT 1 FROM pending_registrations WHERE username = $1', [person.username])).toEqual([])
  })

  it('an address that has an account gets no second account: its owner gets a notice, and no link works', async () => {
    const member = await newMember()
    const person = { ...newPerson(), email: member.email.toUpperCase() }
    expect(await register(person)).toMatchObject({ status: 202, body: { status: 'pending' } })
    expect(await templatesTo(member.email)).toEqual(['verify_email', 'already_registered'])
    expect(await mailsTo(gateway, person.email)).toEqual([])
    expect(await rows(gateway, 'SELECT password_hash FROM pending_registrations WHERE username = $1', [person.username])).toEqual([
      { password_hash: null },
    ])
    expect(await findPendingOf(gateway.app.platform.db, member.email)).toEqual([])
  })

  it('of several for one address the first to open its link has it, the others lose theirs', async () => {
    const people = [newPerson(), newPerson(), newPerson()].map((person) => ({ ...person, email: `shared${count}@example.com` }))
    for (const person of people) await register(person)
    const tokens = (await linksTo(people[0]!.email)).map(tokenOf)
    expect(tokens).toHaveLength(3)
    const answers = (await Promise.all([...tokens, ...tokens].map((token) => verify(token, PASSWORD)))).map(codeOf)
    expect(answers.filter((a) => a === 200)).toHaveLength(1)
    expect(answers.filter((a) => a === '400 link_invalid')).toHaveLength(5)
    const names = people.map((p) => p.username)
    expect(await rows(gateway, 'SELECT 1 FROM users WHERE username = ANY($1)', [names])).toHaveLength(1)
    expect(await rows(gateway, 'SELECT 1 FROM pending_registrations WHERE username = ANY($1)', [names])).toEqual([])
  })

  it('name and address may be taken by the time the link is opened: then it says so, and is audited', async () => {
    const [byName, byEmail, member] = [newPerson(), newPerson(), await newMember()]
    await register(byName)
    await register(byEmail)
    // a name that is kept for somebody is not to be had by a change of one's own; an operator may give it away
    expect(codeOf(await patch(member, { username: byName.username }))).toBe('409 username_taken')
    for (const taken of [{ username: byName.username }, { email: byEmail.email }])
      await gateway.app.identity.administration.create({ ...newPerson(), ...taken, roles: ['user'], mustChangePassword: false }, OPERATOR)
    const before = (await audited('email_verify', null)).length
    expect(codeOf(await verify(tokenOf(await linkTo(byName.email)), PASSWORD))).toBe('409 username_taken')
    expect(codeOf(await verify(tokenOf(await linkTo(byEmail.email)), PASSWORD))).toBe('409 email_taken')
    expect((await audited('email_verify', null)).slice(before)).toEqual([{ outcome: 'username_taken' }, { outcome: 'email_taken' }])
  })

  it('of registrations for one name at the same moment one is kept', async () => {
    const person = newPerson()
    const answers = await Promise.all(Array.from({ length: 6 }, (_, i) => register({ ...person, email: `rush${count}x${i}@example.com` })))
    expect(answers.map(codeOf).sort()).toEqual([202, ...Array.from({ length: 5 }, () => '409 username_taken')])
  })

  it('the link is mailed again on request, the older link stays valid; other addresses get no mail, and the answers are the same', async () => {
    const [person, member] = [newPerson(), await newMember()]
    await register(person)
    const answers = []
    for (const email of [person.email.toUpperCase(), member.email, 'nobody@example.com']) {
      const { status, body } = await ask({ body: { email } })
      answers.push({ status, body })
    }
    expect(new Set(answers.map((a) => JSON.stringify(a)))).toEqual(new Set([JSON.stringify({ status: 202, body: { status: 'accepted' } })]))
    const asked = () => rows(gateway, `SELECT outcome FROM audit_log WHERE event = 'email_verify_request' ORDER BY id`)
    await until(async () => (await asked()).length === 3, 'what is done after the answers')
    expect((await asked()).map((r) => r.outcome)).toEqual(['success', 'not_found', 'not_found'])
    const [first, second, ...more] = await linksTo(person.email)
    expect(more).toEqual([])
    expect(await linksTo(member.email)).toHaveLength(1)
    expect(codeOf(await verify(tokenOf(first!), person.password))).toBe(200)
    expect(codeOf(await verify(tokenOf(second!), person.password))).toBe('400 link_invalid')
    expect(codeOf(await ask({ body: { email: 'no address' } }))).toBe('422 validation_failed')
  })

  it('a new address counts once its link is opened; until then the old address stays verified, and no notice is sent', async () => {
    const member = await newMember()
    const email = `moved-${member.email}`
    const answer = await moveTo(member, email)
    expect(answer).toMatchObject({ status: 200, body: { email: member.email, email_verified: true } })
    expect(await me(gateway, member.token)).toBe(200)
    expect(await templatesTo(member.email)).toEqual(['verify_email'])
    expect((await verify(tokenOf(await linkTo(email)), member.password)).body).toMatchObject({ id: member.id, email, email_verified: true })
    expect(await me(gateway, member.token)).toBe('token_revoked')
    expect(await templatesTo(member.email)).toEqual(['verify_email', 'email_changed'])
    expect((await call(gateway, '/auth/login', { body: { login: email, password: member.password } })).status).toBe(200)
    expect((await call(gateway, '/auth/login', { body: { login: member.email, password: member.password } })).status).toBe(401)
  })

  it('a new address of another user gets the same answer, and its owner gets a notice', async () => {
    const [member, other] = [await newMember(), await newMember()]
    const [free, taken] = [await moveTo(member, newPerson().email), await moveTo(member, other.email)]
    expect([taken.status, taken.body]).toEqual([free.status, free.body])
    expect(await templatesTo(other.email)).toEqual(['verify_email', 'already_registered'])
  })

  it('a new address that is taken before its link is opened stays whose it is', async () => {
    const [member, person] = [await newMember(), newPerson()]
    await moveTo(member, person.email)
    const { data } = await linkTo(person.email)
    await register(person)
    expect(codeOf(await verify(tokenOf(await linkTo(person.email)), person.password))).toBe(200)
    expect(codeOf(await verify(tokenOf({ template: '', data }), member.password))).toBe('409 email_taken')
    expect(await whoIs(member.token)).toMatchObject({ email: member.email })
  })

  it('the next change of address replaces the earlier one, also to a taken address; the earlier link shows nothing', async () => {
    const [member, other] = [await newMember(), await newMember()]
    for (const email of [other.email, `free-${member.email}`, member.email]) {
      const first = `first-${email}`
      await moveTo(member, first)
      expect((await moveTo(member, email)).status).toBe(200)
      expect(codeOf(await verify(tokenOf(await linkTo(first)), member.password))).toBe('400 link_invalid')
    }
  })

  it('a change of address ends with the sessions of its requester: a new password cancels that of a thief', async () => {
    const member = await newMember()
    await moveTo(member, `thief-${member.email}`)
    const changed = { current_password: member.password, new_password: 'another plain zebra' }
    expect((await call(gateway, '/auth/password/change', { token: member.token, body: changed })).status).toBe(200)
    const changedTo = changed.new_password
    expect(codeOf(await verify(tokenOf(await linkTo(`thief-${member.email}`)), changedTo))).toBe('400 link_invalid')
  })

  it('a link for a password is of no use once its address is given up, nor one purpose’s token for the other', async () => {
    const member = await newMember()
    const { db } = gateway.app.platform
    const { createLinks } = await import('../../../src/identity/accounts/links.ts')
    const { inTransaction } = await import('../../../src/platform/db/database.ts')
    const links = createLinks(gateway.app.platform.config)
    const asked = { user: member, purpose: 'reset_password', ttlSeconds: 600, sessionId: null, device: null } as const
    const { url } = await inTransaction(db, (trx) => links.issue(trx, asked))
    const token = tokenOf({ template: '', data: { url } })
    expect(url).toBe(`http://gateway.test/auth/password/reset#token=${token}`)
    expect(codeOf(await verify(token, member.password))).toBe('400 link_invalid')
    await moveTo(member, `moved-${member.email}`)
    await verify(tokenOf(await linkTo(`moved-${member.email}`)), member.password)
    expect(await inTransaction(db, (trx) => links.redeem(trx, token, 'reset_password'))).toBeUndefined()
  })
})

describe('mails on request', () => {
  it('are bounded by the recipient’s limit, and the answers do not show it', async () => {
    const limits = { credentials: { mail: { limit: 2, windowSeconds: 3600 } } }
    gateway = await startGateway({ config: { auth: { emailVerification: 'required' }, limits } })
    const email = 'often@example.com'
    const answers = []
    for (let i = 0; i < 4; i++) answers.push(await register({ ...newPerson(), email: i % 2 ? email.toUpperCase() : email }))
    expect(answers.map(codeOf)).toEqual([202, 202, 202, 202])
    expect([...(await linksTo(email)), ...(await linksTo(email.toUpperCase()))]).toHaveLength(2)
    await gateway.close()
  })

  it('are asked for, and their links used, no more often than an address may', async () => {
    const limits = { exempt: [], credentials: { recovery: { limit: 3, windowSeconds: 3600 } } }
    gateway = await startGateway({ config: { limits } })
    const answers = [
      await verify('x', PASSWORD),
      await ask({ body: { email: 'a@example.com' } }),
      await verify('y', PASSWORD),
      await verify('z', PASSWORD),
    ]
    expect(answers.map(codeOf)).toEqual(['400 link_invalid', 202, '400 link_invalid', '429 rate_limited'])
    await gateway.close()
  })
})
