/** The same policy at every place where a password is set; and what a change of one leaves behind. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { COMMAND_LINE } from '../../../src/platform/audit/audit.ts'
import { Problem } from '../../../src/platform/lib/errors.ts'
import { type Answer, call, newUser, newUserWithRoles, proveAddress, type TestUser } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { mailsTo } from '../../support/mails.ts'
import { reset, resetToken } from '../../support/recovery.ts'
import { rows } from '../../support/rows.ts'
import { me } from '../../support/session.ts'

let gateway: Gateway
let admin: TestUser
beforeAll(async () => {
  gateway = await startGateway({ config: { docs: { enabled: true } } })
  admin = await newUserWithRoles(gateway, ['admin'])
})
afterAll(() => gateway.close())

let people = 0
const change = ({ token, password }: TestUser, new_password: string, current_password = password) =>
  call(gateway, '/auth/password/change', { token, body: { current_password, new_password } })
const names = () => ({ username: `marigold${people++}`, email: `marigold${people++}@mail.test` })

interface PasswordField {
  field: string
  /** Sets it for somebody whose username is `username`. */
  set(password: string, user: TestUser): Promise<Pick<Answer, 'status' | 'body'>>
}
const PASSWORD_FIELDS: Record<string, PasswordField> = {
  'POST /auth/register': {
    field: 'password',
    set: (password) => call(gateway, '/auth/register', { body: { ...names(), password } }),
  },
  'POST /auth/password/change': { field: 'new_password', set: (password, user) => change(user, password) },
  'POST /auth/password/reset': {
    field: 'new_password',
    set: async (password, user) => reset(gateway, await resetToken(gateway, user.email), password),
  },
  'POST /auth/admin/users': {
    field: 'password',
    set: async (password) => call(gateway, '/auth/admin/users', { body: { ...names(), password }, token: admin.token }),
  },
  'users create': {
    field: 'password',
    set: (password) =>
      gateway.app.identity.administration
        .create({ ...names(), password, roles: ['user'], mustChangePassword: false }, { actor: 'test', context: COMMAND_LINE })
        .then(
          (user) => ({ status: 201, body: user }),
          (error) => ({
            status: error.status,
            body: error instanceof Problem ? { code: error.code, detail: error.detail, errors: error.errors } : error,
          }),
        ),
  },
}
/** They take a password that is there already. */
const NOT_NEW = [
  'POST /auth/login',
  'POST /auth/email/verify',
  'POST /auth/reauthenticate',
  'POST /auth/mfa/totp',
  'DELETE /auth/mfa/totp',
  'POST /auth/mfa/backup-codes',
]

it('the places below are all endpoints that take a password', async () => {
  const { paths } = (await call(gateway, '/auth/openapi.json')).body
  const takers = Object.entries<any>(paths).flatMap(([path, methods]) =>
    Object.entries<any>(methods)
      .filter(([, { requestBody }]) => {
        const properties = Object.keys(requestBody?.content['application/json']?.schema?.properties ?? {})
        return properties.includes('password') || properties.includes('new_password')
      })
      .map(([method]) => `${method.toUpperCase()} ${path}`),
  )
  expect(takers.sort()).toEqual([...NOT_NEW, ...Object.keys(PASSWORD_FIELDS).filter((place) => place.startsWith('POST'))].sort())
})

describe.each(Object.keys(PASSWORD_FIELDS))('%s', (place) => {
  const { field, set } = PASSWORD_FIELDS[place]!

  it.each([
    ['is short', 'tulips', 'too_short', 'must be at least 12 characters long'],
    ['is longer than 1 KiB', 'é'.repeat(513), 'too_long', 'must be at most 1024 bytes long'],
    ['is common', 'Password2026!', 'too_common', 'is too common: attackers try it first'],
    [
      'is the name of the service',
      'gateway.test',
      'contains_name',
      'must be more than your username, your e-mail address or the name of this service',
    ],
    ['is no text', `correct horse \ud800`, 'format', 'must be Unicode text'],
  ])('refuses a password that %s, by name', async (_, password, code, detail) => {
    const { status, body } = await set(password, await newUser(gateway))
    expect([status, body.code, body.errors]).toEqual([422, 'validation_failed', [{ field, code, detail }]])
    expect(body.detail).toBe(`The ${field.replace('_', ' ')} ${detail}.`)
  })

  it.each([
    ['64 characters', 'x'.repeat(64)],
    ['1 KiB', 'é'.repeat(512)],
    ['any characters', ' \u0000\u{1f40e} "\'<>&;--%00\n'],
    ['digits alone', '837261940582'],
  ])('takes %s', async (_, password) => {
    expect((await set(password, await newUser(gateway))).status).toBeLessThan(300)
  })
})

describe('a password change', () => {
  const events = (outcome: string) => metric(gateway, 'portcullis_account_events_total', { event: 'password_change', outcome })
  const audited = ({ id }: TestUser, event: string) =>
    rows(
      gateway,
      'SELECT outcome, ip, request_id FROM audit_log l JOIN audit_personal p ON p.event_id = l.id WHERE event = $1 AND l.user_id = $2',
      [event, id],
    )

  it('is mailed to the owner, and is in the audit log and in the metrics', async () => {
    const user = await newUser(gateway)
    await proveAddress(gateway, user)
    const before = await events('success')
    const { status, headers } = await change(user, 'tulips by the river')
    expect([status, await events('success')]).toEqual([200, before + 1])
    expect((await mailsTo(gateway, user.email)).at(-1)).toMatchObject({ template: 'password_changed', data: { ip: '127.0.0.1' } })
    expect(await audited(user, 'password_change')).toEqual([
      { outcome: 'success', ip: '127.0.0.1', request_id: headers.get('x-request-id') },
    ])
  })

  it('with a wrong current password changes nothing, sends no mail, and is in the audit log and in the metrics', async () => {
    const user = await newUser(gateway)
    const before = await events('invalid_credentials')
    const answer = await change(user, 'tulips by the river', 'a wrong password')
    expect([answer.status, answer.body.code, answer.body.detail]).toEqual([401, 'invalid_credentials', 'The current password is wrong.'])
    expect(await audited(user, 'password_check')).toEqual([
      { outcome: 'invalid_credentials', ip: '127.0.0.1', request_id: answer.body.request_id },
    ])
    expect(await events('invalid_credentials')).toBe(before + 1)
    expect((await mailsTo(gateway, user.email)).map((m) => m.template)).not.toContain('password_changed')
    expect(await me(gateway, user.token)).toBe(200)
  })

  it('to the same one is refused, however it is typed', async () => {
    const user = await newUser(gateway)
    const password = 'café au lait, s’il vous plaît'
    const { body } = await change(user, password)
    const again = await change({ ...user, token: body.access_token, password }, password.normalize('NFD'))
    expect(again.body.errors).toEqual([{ field: 'new_password', code: 'same_as_current', detail: 'must differ from the current password' }])
  })

  it('that is refused leaves every session as it is', async () => {
    const user = await newUser(gateway)
    expect((await change(user, 'Password2026!')).status).toBe(422)
    expect(await me(gateway, user.token)).toBe(200)
  })
})
