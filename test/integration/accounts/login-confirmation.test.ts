/** After an administrator has removed a second factor, the next login needs a mailed link as well. */
import { describe, expect, it } from 'vitest'
import { type Answer, call, login, newUserWithRoles, OPERATOR, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { mailsTo, tokenOf } from '../../support/mails.ts'
import { reset, resetToken } from '../../support/recovery.ts'
import { rows } from '../../support/rows.ts'
import { newFactorUser } from '../../support/totp.ts'

const gateway = useGateway({ config: { limits: { credentials: { mail: { limit: 3, windowSeconds: 600 } } } } })

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
const logIn = (user: TestUser): Promise<Answer> =>
  call(gateway, '/auth/login', { body: { login: user.username, password: user.password }, headers: { 'user-agent': FIREFOX } })
const confirm = (token: string) => call(gateway, '/auth/login/confirm', { body: { token } })
const links = async ({ email }: TestUser) => (await mailsTo(gateway, email)).filter(({ template }) => template === 'confirm_login')

async function resetByAdmin(): Promise<TestUser> {
  const [admin, user] = [await newUserWithRoles(gateway, ['admin']), await newFactorUser(gateway)]
  const { status } = await call(gateway, `/auth/admin/users/${user.id}/reset-factor`, { method: 'POST', token: admin.token })
  expect(status).toBe(200)
  return user
}

describe('a login after the reset by an administrator', () => {
  it('is refused with the right password, and mails a link that names the device', async () => {
    const user = await resetByAdmin()
    expect(await logIn(user)).toMatchObject({ status: 403, body: { code: 'email_confirmation_required' } })
    expect(await rows(gateway, 'SELECT 1 FROM sessions WHERE user_id = $1 AND revoked_at IS NULL', [user.id])).toEqual([])
    const [mail] = await links(user)
    expect(mail!.data).toMatchObject({ minutes: 30, device: 'Firefox on Linux' })
    expect(mail!.data.url).toMatch(/^http:\/\/gateway\.test\/auth\/login\/confirm#token=/)
    const events = await rows(gateway, `SELECT outcome FROM audit_log WHERE user_id = $1 AND event = 'login' ORDER BY at, id`, [user.id])
    expect(events.at(-1)).toEqual({ outcome: 'email_confirmation_required' })
  })

  it('is possible once the link was used; the link works once, and opens no session itself', async () => {
    const user = await resetByAdmin()
    await logIn(user)
    const token = tokenOf((await links(user))[0]!)
    expect(await confirm(token)).toMatchObject({ status: 204, body: '' })
    expect(await rows(gateway, 'SELECT 1 FROM sessions WHERE user_id = $1 AND revoked_at IS NULL', [user.id])).toEqual([])
    expect((await logIn(user)).status).toBe(200)
    expect((await confirm(token)).body.code).toBe('link_invalid')
    expect((await logIn(user)).status).toBe(200)
  })

  it('with a wrong password is answered as ever, and mails nothing', async () => {
    const user = await resetByAdmin()
    expect((await logIn({ ...user, password: 'not the password' })).body.code).toBe('invalid_credentials')
    expect(await links(user)).toEqual([])
  })

  it('mails no more links than the limit of the recipient', async () => {
    const user = await resetByAdmin()
    for (let i = 0; i < 6; i++) expect((await logIn(user)).body.code).toBe('email_confirmation_required')
    expect(await links(user)).toHaveLength(3)
  })

  it('is possible after a password reset by mail, which shows the mailbox as well', async () => {
    const user = await resetByAdmin()
    expect((await reset(gateway, await resetToken(gateway, user.email), 'quite another zebra')).status).toBe(204)
    expect((await logIn({ ...user, password: 'quite another zebra' })).status).toBe(200)
  })

  it('needs the link also after a second reset, which finds no factor', async () => {
    const user = await resetByAdmin()
    const admin = await newUserWithRoles(gateway, ['admin'])
    await call(gateway, `/auth/admin/users/${user.id}/reset-factor`, { method: 'POST', token: admin.token })
    expect((await logIn(user)).body.code).toBe('email_confirmation_required')
  })

  it('is not allowed by a link for another purpose', async () => {
    const user = await resetByAdmin()
    expect((await confirm(await resetToken(gateway, user.email))).body.code).toBe('link_invalid')
    expect((await logIn(user)).body.code).toBe('email_confirmation_required')
  })
})

it('a reset by the command line needs no link, and allows a login that waits for one', async () => {
  const user = await newFactorUser(gateway)
  await gateway.app.identity.administration.resetFactor(user.id, OPERATOR)
  expect((await login(gateway, user)).token).toBeTruthy()

  const waiting = await resetByAdmin()
  expect((await logIn(waiting)).status).toBe(403)
  await gateway.app.identity.administration.resetFactor(waiting.id, OPERATOR)
  expect((await logIn(waiting)).status).toBe(200)
})
