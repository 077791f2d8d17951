/** Invitations: by whom, for what, how long, and how they are accepted. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCli } from '../../support/cli.ts'
import { call, login, OPERATOR, type TestUser } from '../../support/client.ts'
import { consoleOf } from '../../support/console.ts'
import { type FakeProvider, startFakeProvider } from '../../support/fake-provider.ts'
import { mailsTo, tokenOf } from '../../support/mails.ts'
import { rows } from '../../support/rows.ts'
import { linksOf, ORIGIN, type SignInGateway, startSignInGateway, userOf } from '../../support/sign-in.ts'

let provider: FakeProvider
let gateway: SignInGateway
let admin: TestUser
beforeAll(async () => {
  provider = await startFakeProvider()
  gateway = await startSignInGateway({
    openId: provider,
    auth: { registration: 'invited', roles: { admin: {}, user: {}, editor: {}, lead: { inherits: ['admin', 'editor'] } } },
  })
  admin = await newUserByInvitation(['user'])
  await rows(gateway, `UPDATE users SET roles = '{editor,admin,user}', token_epoch = token_epoch + 1 WHERE id = $1`, [admin.id])
  admin = await login(gateway, admin)
})
afterAll(async () => {
  await gateway.close()
  await provider.close()
})

const PASSWORD = 'plain zebra umbrella'
const someAddress = () => `invited-${randomBytes(5).toString('hex')}@example.com`
const newToken = async (email: string) =>
  tokenOf((await mailsTo(gateway, email)).filter(({ template }) => template === 'invitation').at(-1)!)

/** Registration is closed for everybody else: `newUser` does not work here. */
async function newUserByInvitation(roles: string[]): Promise<TestUser> {
  const email = someAddress()
  await gateway.app.identity.administration.invite({ email, roles }, OPERATOR)
  const username = email.slice(0, email.indexOf('@'))
  const { status, body } = await call(gateway, `/auth/invitations/${await newToken(email)}`, { body: { username, password: PASSWORD } })
  expect(status).toBe(201)
  return { id: body.user.id, username, email, password: PASSWORD, token: body.access_token, refreshToken: body.refresh_token }
}

const ask = (method: string, path: string, body?: object, by = admin) =>
  call(gateway, `/auth/admin/invitations${path}`, { method, token: by.token, ...(body && { body }) })
/** @returns the address, its invitation and the token of the mail */
async function invite(more: object = {}, by = admin) {
  const email = someAddress()
  const { status, body } = await ask('POST', '', { email, ...more }, by)
  expect([status, body.code]).toEqual([201, undefined])
  return { email, invitation: body, token: await newToken(email) }
}
const accept = (token: string, email: string) =>
  call(gateway, `/auth/invitations/${token}`, { body: { username: email.slice(0, email.indexOf('@')), password: PASSWORD } })

describe('an invited person', () => {
  it('looks as often as they like, and makes an account whose address is proven', async () => {
    const { email, invitation, token } = await invite({ roles: ['editor'] })
    for (let i = 0; i < 3; i++)
      expect((await call(gateway, `/auth/invitations/${token}`)).body).toEqual({
        email,
        expires_at: invitation.expires_at,
        has_account: false,
      })
    const { status, body } = await accept(token, email)
    expect(status).toBe(201)
    expect(body.user).toMatchObject({ email, email_verified: true, roles: ['editor', 'user'] })
    expect((await call(gateway, '/auth/me', { token: body.access_token })).status).toBe(200)
    expect((await ask('GET', '')).body.invitations.map((one: any) => one.email)).not.toContain(email)
  })

  it('accepts once, also when two requests come together', async () => {
    const { email, token } = await invite()
    const answers = await Promise.all([accept(token, email), accept(token, `x${email}`), accept(token, `y${email}`)])
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 400, 400].map((s, i) => (i === 0 ? s : expect.any(Number))))
    expect(await rows(gateway, 'SELECT 1 FROM users WHERE email_canonical = $1', [email])).toHaveLength(1)
    expect((await accept(token, email)).body.code).toBe('invitation_invalid')
  })

  it('with a bad password keeps the invitation', async () => {
    const { email, token } = await invite()
    const { status, body } = await call(gateway, `/auth/invitations/${token}`, { body: { username: 'someone-new', password: 'short' } })
    expect([status, body.errors[0].field]).toEqual([422, 'password'])
    expect((await accept(token, email)).status).toBe(201)
  })

  it.each([
    ['unknown', randomBytes(32).toString('base64url')],
    ['no token', 'abc'],
    ['of another form', `${'a'.repeat(40)}~`],
  ])('with a token that is %s gets one answer', async (_, token) => {
    for (const { status, body } of [await call(gateway, `/auth/invitations/${token}`), await accept(token, someAddress())])
      expect([status, body.code]).toEqual([400, 'invitation_invalid'])
  })

  it('comes too late', async () => {
    const { email, token } = await invite()
    await rows(gateway, 'UPDATE invitations SET expires_at = now() WHERE email = $1', [email])
    expect((await accept(token, email)).body.code).toBe('invitation_invalid')
  })
})

describe('an inviter', () => {
  it('gives only roles of their own, also by inheritance', async () => {
    const lead = await login(gateway, await withRoles(await newUserByInvitation(['user']), ['lead', 'user']))
    expect((await ask('POST', '', { email: someAddress(), roles: ['editor'] }, lead)).status).toBe(201)
    const plain = await login(gateway, await withRoles(await newUserByInvitation(['user']), ['admin', 'user']))
    const { status, body } = await ask('POST', '', { email: someAddress(), roles: ['user', 'editor'] }, plain)
    const detail = 'must be roles of your own, and editor is not'
    expect([status, body.errors]).toEqual([422, [{ field: 'roles', code: 'not_allowed', detail }]])
  })

  it.each([
    ['an unknown role', { roles: ['captain'] }, 'role'],
    ['eight days', { expires_in_seconds: 8 * 86_400 }, 'expires_in_seconds'],
    ['a moment', { expires_in_seconds: 1 }, 'expires_in_seconds'],
    ['no address', { email: 'nobody' }, 'email'],
  ])('who asks for %s learns which field is wrong', async (_, change, field) => {
    const { status, body } = await ask('POST', '', { email: someAddress(), ...change })
    expect([status, body.errors?.[0]?.field]).toEqual([422, field])
  })

  it('must be an administrator', async () => {
    const user = await newUserByInvitation(['user'])
    expect((await ask('POST', '', { email: someAddress() }, user)).body.code).toBe('forbidden')
  })

  it('sends again: the link before ends, and the time begins anew', async () => {
    const { email, invitation, token } = await invite({ expires_in_seconds: 3600 })
    await rows(
      gateway,
      `UPDATE invitations SET created_at = created_at - interval '30 min', expires_at = expires_at - interval '30 min'`,
      [],
    )
    const { status, body } = await ask('POST', `/${invitation.id}/resend`, {})
    expect(status).toBe(200)
    expect(Date.parse(body.expires_at) - Date.now()).toBeGreaterThan(3_500_000)
    expect((await accept(token, email)).body.code).toBe('invitation_invalid')
    expect((await accept(await newToken(email), email)).status).toBe(201)
  })

  it('withdraws, and the link ends', async () => {
    const { email, invitation, token } = await invite()
    expect((await ask('DELETE', `/${invitation.id}`, {})).status).toBe(204)
    expect((await accept(token, email)).body.code).toBe('invitation_invalid')
    for (const answer of [await ask('DELETE', `/${invitation.id}`, {}), await ask('POST', '/nothing/resend', {})])
      expect(answer.body.code).toBe('not_found')
  })

  it('who invites an address again replaces the invitation', async () => {
    const { email, token } = await invite()
    await ask('POST', '', { email: email.toUpperCase() })
    expect((await accept(token, email)).body.code).toBe('invitation_invalid')
    expect((await rows(gateway, 'SELECT 1 FROM invitations WHERE email_canonical = $1', [email])).length).toBe(1)
  })

  it.each([
    ['is no longer an administrator', `UPDATE users SET roles = '{editor,user}' WHERE id = $1`],
    ['lost a role that the invitation gives', `UPDATE users SET roles = '{admin,user}' WHERE id = $1`],
    ['is disabled', 'UPDATE users SET disabled_at = now() WHERE id = $1'],
    ['is gone', 'DELETE FROM users WHERE id = $1'],
  ])('who %s leaves no door open', async (_, change) => {
    const inviter = await login(gateway, await withRoles(await newUserByInvitation(['user']), ['admin', 'editor', 'user']))
    const { email, token } = await invite({ roles: ['editor'] }, inviter)
    await rows(gateway, change, [inviter.id])
    expect((await call(gateway, `/auth/invitations/${token}`)).body.code).toBe('invitation_invalid')
    expect((await accept(token, email)).body.code).toBe('invitation_invalid')
    expect(await rows(gateway, 'SELECT 1 FROM users WHERE email_canonical = $1', [email])).toEqual([])
  })
})

async function withRoles(user: TestUser, roles: string[]): Promise<TestUser> {
  await rows(gateway, 'UPDATE users SET roles = $2, token_epoch = token_epoch + 1 WHERE id = $1', [user.id, roles])
  return user
}

/** Opens the link as a browser without scripts does: the person pastes it. */
async function openLink(agent: ReturnType<SignInGateway['agent']>, email: string) {
  const link = (await mailsTo(gateway, email)).filter(({ template }) => template === 'invitation').at(-1)!.data.url
  return agent.post(`${ORIGIN}/auth/ui/invitation`, { link })
}

describe('the page', () => {
  it('leads a new person to a session', async () => {
    const { email } = await invite()
    const agent = gateway.agent()
    const shown = await openLink(agent, email)
    expect([shown.status, shown.url.search]).toEqual([200, '?step=2'])
    expect(shown.html).toContain(email)
    expect(shown.html).toContain('Continue with Acme')
    const done = await agent.post(shown.url.href, { action: 'create', username: email.slice(0, email.indexOf('@')), password: PASSWORD })
    expect(done.status).toBe(200)
    expect((await userOf(agent))!.user).toMatchObject({ email, email_verified: true })
  })

  it('asks the owner of an account to log in, and gives the roles', async () => {
    const user = await newUserByInvitation(['user'])
    await ask('POST', '', { email: user.email, roles: ['editor'] })
    const agent = gateway.agent()
    const shown = await openLink(agent, user.email)
    expect(shown.html).toContain('There is an account with this address.')
    expect(shown.html).not.toContain('type="password"')
    expect((await accept(await newToken(user.email), user.email)).body.code).toBe('email_taken')
    await agent.post(`${ORIGIN}/auth/ui/login`, { login: user.username, password: PASSWORD })
    const again = await agent.open(`${ORIGIN}/auth/ui/invitation?step=2`)
    expect(again.html).toContain(`Accept the invitation for your account ${user.email}.`)
    const done = await agent.post(again.url.href, { action: 'accept' })
    expect(done.html).toContain('The invitation is accepted.')
    expect((await userOf(agent))!.user.roles).toEqual(['editor', 'user'])
  })

  it('refuses another account', async () => {
    const other = await newUserByInvitation(['user'])
    const user = await newUserByInvitation(['user'])
    await ask('POST', '', { email: user.email, roles: ['editor'] })
    const agent = gateway.agent()
    await agent.post(`${ORIGIN}/auth/ui/login`, { login: other.username, password: PASSWORD })
    const shown = await openLink(agent, user.email)
    expect(shown.html).toContain('you are logged in to another account')
    const done = await agent.post(`${ORIGIN}/auth/ui/invitation?step=2`, { action: 'accept' })
    expect(done.status).toBe(400)
    expect((await userOf(agent))!.user.roles).toEqual(['user'])
  })

  it('of a link that was used says so', async () => {
    const { email, token } = await invite()
    await accept(token, email)
    const { html, status } = await openLink(gateway.agent(), email)
    expect([status, html.includes('Please ask for a new invitation.')]).toEqual([400, true])
  })
})

describe('with a provider', () => {
  it('the invited address gets the account, whatever address the provider names', async () => {
    const { email } = await invite({ roles: ['editor'] })
    provider.person = { sub: `p-${email}`, email: 'private@example.org', email_verified: true, preferred_username: 'someone' }
    const agent = gateway.agent()
    await openLink(agent, email)
    await gateway.signIn(agent)
    expect(await userOf(agent)).toMatchObject({
      user: { email, email_verified: true, roles: ['editor', 'user'] },
      session: { amr: ['fed'] },
    })
    expect(await linksOf(gateway, email)).toHaveLength(1)
    expect(await rows(gateway, 'SELECT 1 FROM invitations WHERE email = $1', [email])).toEqual([])
    const next = gateway.agent()
    await gateway.signIn(next)
    expect((await userOf(next))!.user.email).toBe(email)
  })

  it('nobody comes in without an invitation', async () => {
    provider.person = { sub: 'stranger', email: 'stranger@example.com', email_verified: true }
    const answer = await gateway.signIn(gateway.agent())
    expect(answer.status).toBe(403)
    expect(await rows(gateway, `SELECT 1 FROM users WHERE email = 'stranger@example.com'`, [])).toEqual([])
  })

  it('nobody registers with a password', async () => {
    const { status, body } = await call(gateway, '/auth/register', {
      body: { username: 'stranger', email: 'stranger@example.com', password: PASSWORD },
    })
    expect([status, body.code]).toEqual([403, 'registration_closed'])
  })
})

it('in the console an administrator invites, sends again, and withdraws', async () => {
  const site = await consoleOf(gateway, admin)
  const email = someAddress()
  expect((await site.post('/console/invitations/new', { email, 'role:editor': 'on' })).to).toBe('/console/invitations?done=create')
  const list = (await site.get('/console/invitations')).text
  expect(list).toContain(email)
  const id = /\/console\/invitations\/([0-9a-f-]+)\/resend/.exec(list.slice(list.indexOf(email)))![1]!
  const first = await newToken(email)
  expect((await site.get(`/console/invitations/${id}/resend`)).text).toContain(email)
  expect((await site.post(`/console/invitations/${id}/resend`)).to).toBe('/console/invitations?done=resend')
  const second = await newToken(email)
  expect(second).not.toBe(first)
  expect((await site.post(`/console/invitations/${id}/withdraw`)).to).toBe('/console/invitations?done=withdraw')
  expect((await site.get('/console/invitations')).text).not.toContain(email)
  expect((await accept(second, email)).body.code).toBe('invitation_invalid')
  const refused = await site.post('/console/invitations/new', { email: 'nobody', 'role:user': 'on' })
  expect([refused.status, refused.text.includes('value="nobody"')]).toEqual([422, true])
})

it('by the command line an operator invites with any role, lists and withdraws', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-invite-'))
  const file = join(dir, 'config.json')
  writeFileSync(
    file,
    JSON.stringify({
      server: { publicUrl: ORIGIN },
      database: { url: gateway.databaseUrl },
      redis: { url: 'memory' },
      auth: { browser: { enabled: true }, roles: { admin: {}, user: {}, editor: {}, lead: { inherits: ['admin'] } } },
      routes: [{ name: 'all', match: { path: '/' }, upstream: ['http://127.0.0.1:9'], access: 'authenticated' }],
    }),
  )
  const portcullis = (...args: string[]) =>
    runCli(['users', ...args, '--config', file], { PORTCULLIS_SECRET_KEY: gateway.secretKey, HOME: dir })
  const email = someAddress()
  const made = await portcullis('invite', email, '--role', 'lead', '--days', '1')
  expect(made.code).toBe(0)
  const { id } = JSON.parse(made.stdout)
  expect(made.stdout).not.toContain(await newToken(email))
  expect((await portcullis('invitations')).stdout).toContain(email)
  const again = await portcullis('invitations', '--resend', id)
  expect(JSON.parse(again.stdout)).toMatchObject({ id, email, roles: ['lead'] })
  expect(JSON.parse((await portcullis('invitations', '--withdraw', id)).stdout)).toMatchObject({ id, withdrawn: true })
  for (const args of [
    ['invite', email, '--days', '8'],
    ['invite', 'nobody'],
    ['invite', email, '--role', 'captain'],
    ['invitations', '--resend', id, '--withdraw', id],
  ]) {
    const { code, stderr } = await portcullis(...args)
    expect([code, /^ {4}at /m.test(stderr)]).toEqual([expect.toSatisfy((c: number) => c > 0), false])
  }
  rmSync(dir, { recursive: true })
})

it('no token is in a log, an audit row or the table', async () => {
  const { email, token } = await invite()
  await call(gateway, `/auth/invitations/${token}`)
  await accept(token, email)
  const places = JSON.stringify([
    gateway.log(),
    await rows(gateway, 'SELECT * FROM audit_log', []),
    await rows(gateway, 'SELECT * FROM invitations', []),
  ])
  expect(places).not.toContain(token)
  const events = (await rows(gateway, `SELECT event FROM audit_log WHERE event LIKE 'invitation%'`, [])) as { event: string }[]
  expect(new Set(events.map(({ event }) => event))).toEqual(
    new Set(['invitation_create', 'invitation_resend', 'invitation_withdraw', 'invitation_accept']),
  )
})
