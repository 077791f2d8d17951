import { describe, expect, it } from 'vitest'
import { call, newUser, newUserWithRoles, OPERATOR, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { rows } from '../../support/rows.ts'

const password = 'correct horse battery of zebras'
const gateway = useGateway()
let count = 0

const register = (person: { username?: string; email?: string }) => {
  const username = `names${count++}`
  return call(gateway, '/auth/register', { body: { username, email: `${username}@example.com`, password, ...person } })
}
const outcomeOf = async (answer: ReturnType<typeof register>) => {
  const { status, body } = await answer
  return `${status} ${body.code ?? ''}`.trim()
}
const rename = ({ token }: Pick<TestUser, 'token'>, username: string) =>
  call(gateway, '/auth/me', { method: 'PATCH', token, body: { username } })

describe('a mailbox', () => {
  it.each([
    ['a U-label and its A-label', 'info@b\u00fccher.example', 'info@xn--bcher-kva.example'],
    ['full-width letters', 'ann@one.example', 'ann@\uff4fne.example'],
    ['an ideographic full stop', 'eve@two.example', 'eve@two\u3002example'],
    ['upper case of other letters', 'zoe@\u00e9t\u00e9.example', 'zoe@\u00c9T\u00c9.example'],
  ])('is one account, opened by every form of its domain: %s', async (_name, first, second) => {
    expect(await outcomeOf(register({ email: first }))).toBe('201')
    for (const email of [first, second, second.toUpperCase()]) {
      expect(await outcomeOf(register({ email }))).toBe('409 email_taken')
      expect((await call(gateway, '/auth/login', { body: { login: email, password } })).status).toBe(200)
    }
  })

  it('is shown with ordinary letters', async () => {
    expect((await register({ email: 'Ann@\uff33hop.example' })).body.user.email).toBe('Ann@shop.example')
    expect((await register({ email: 'Ann@m\u00fcller.example' })).body.user.email).toBe('Ann@m\u00fcller.example')
  })

  it.each([
    ['a zero-width space', 'an\u200bn@example.com'],
    ['a zero-width joiner in the domain', 'ann@exam\u200dple.com'],
    ['full-width letters before the @', '\uff41nn@example.com'],
    ['a domain that IDNA refuses', 'ann@\u0378.example'],
    ['an escape', 'ann@ex%61mple.com'],
  ])('with %s is refused by name', async (_name, email) => {
    const { status, body } = await register({ email })
    expect([status, body.errors[0].field]).toEqual([422, 'email'])
    const user = await newUser(gateway)
    const change = { email, current_password: user.password }
    expect((await call(gateway, '/auth/me', { method: 'PATCH', token: user.token, body: change })).body.errors[0].field).toBe('email')
  })
})

describe('a reserved username', () => {
  it.each(['admin', 'Root', 'support', 'no-reply', 'postmaster'])('%s cannot be chosen', async (username) => {
    expect(await outcomeOf(register({ username }))).toBe('409 username_taken')
    expect(await outcomeOf(rename(await newUser(gateway), username))).toBe('409 username_taken')
  })

  it('can be given by an operator, and is kept', async () => {
    const admin = await newUserWithRoles(gateway, ['admin'])
    const body = { username: 'helpdesk', email: 'helpdesk@example.com' }
    expect((await call(gateway, '/auth/admin/users', { token: admin.token, body })).status).toBe(201)
    const user = await newUser(gateway)
    await rows(gateway, `UPDATE users SET username = 'support' WHERE id = $1`, [user.id])
    expect((await rename(user, 'support')).status).toBe(200)
  })

  it('is what the configuration says', async () => {
    expect(gateway.app.platform.config.auth.reservedUsernames.length).toBeGreaterThan(35)
  })
})

describe('a list of reserved usernames', () => {
  const other = useGateway({ config: { auth: { reservedUsernames: ['captain'] } } })

  it('replaces the default', async () => {
    const ask = (username: string) => call(other, '/auth/register', { body: { username, email: `${username}@example.com`, password } })
    expect([(await ask('captain')).status, (await ask('helpdesk')).status]).toEqual([409, 201])
  })
})

describe('a username that was given up', () => {
  const endHold = () => rows(gateway, 'UPDATE held_usernames SET held_until = now()')

  it('is held for its user while access tokens with it are valid, and is free then', async () => {
    const [user, other] = [await newUser(gateway), await newUser(gateway)]
    expect((await rename(user, `${user.username}-b`)).status).toBe(200)
    expect(await outcomeOf(rename(other, user.username))).toBe('409 username_taken')
    expect(await outcomeOf(register({ username: user.username }))).toBe('409 username_taken')
    const [{ seconds }] = await rows(gateway, 'SELECT round(extract(epoch FROM held_until - now()))::int AS seconds FROM held_usernames')
    expect(Math.abs(seconds - 900)).toBeLessThan(60)
    // its user may take it back
    expect((await rename(user, user.username)).status).toBe(200)
    expect((await rename(user, `${user.username}-c`)).status).toBe(200)
    await endHold()
    expect((await rename(other, user.username)).status).toBe(200)
  })

  it.each(['by the user', 'by an operator'])('by the deletion of the account %s is held, too, and leaves no name behind', async (by) => {
    const user = await newUser(gateway)
    if (by === 'by the user') await call(gateway, '/auth/me', { method: 'DELETE', token: user.token })
    else await gateway.app.identity.administration.remove(user.id, OPERATOR)
    expect(await outcomeOf(register({ username: user.username }))).toBe('409 username_taken')
    const held = JSON.stringify(await rows(gateway, 'SELECT t::text AS row FROM held_usernames t'))
    expect(held).not.toContain(user.username)
    await endHold()
    expect(await outcomeOf(register({ username: user.username }))).toBe('201')
  })

  it.each([true, false])('is not given away by an import (dry run: %s)', async (isDryRun) => {
    const user = await newUser(gateway)
    await rename(user, `${user.username}-e`)
    const reported: string[] = []
    async function* lines() {
      for (const username of [user.username, `${user.username}-f`])
        yield Buffer.from(`${JSON.stringify({ username, email: `${username}-${isDryRun}@import.example` })}\n`)
    }
    const report = (line: number, text: string) => void reported.push(`${line}: ${text}`)
    expect(await gateway.app.identity.importUsers(lines(), { isDryRun, by: OPERATOR, report })).toEqual({
      created: 1,
      skipped: 1,
      failed: 0,
    })
    expect(reported).toEqual(['1: skipped: the username was given up a moment ago, and is held for a while'])
    expect(await rows(gateway, 'SELECT 1 FROM users WHERE username = $1', [user.username])).toEqual([])
  })

  it('is not given to a registration that races with the change', async () => {
    const user = await newUser(gateway)
    const answers = await Promise.all([
      rename(user, `${user.username}-d`),
      ...Array.from({ length: 8 }, () => register({ username: user.username })),
    ])
    expect(answers.map(({ status }) => status)).toEqual([200, ...Array(8).fill(409)])
  })
})
