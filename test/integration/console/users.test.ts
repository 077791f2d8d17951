/** Users in the console. */
import { beforeAll, describe, expect, it } from 'vitest'
import { newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { type Console, consoleOf } from '../../support/console.ts'
import { useGateway } from '../../support/fixtures.ts'
import { rows } from '../../support/rows.ts'

const gateway = useGateway({ config: { auth: { browser: { enabled: true } } } })
let admin: TestUser
let site: Console

beforeAll(async () => {
  admin = await newUserWithRoles(gateway, ['admin'])
  site = await consoleOf(gateway, admin)
})

/** The audit rows of an event, as outcome and actor. */
const audited = (event: string, userId?: string) =>
  rows(gateway, 'SELECT outcome, actor, detail FROM audit_log WHERE event = $1 AND ($2::uuid IS NULL OR user_id = $2) ORDER BY at, id', [
    event,
    userId ?? null,
  ])

const stateOf = async (id: string) => (await rows(gateway, 'SELECT * FROM users WHERE id = $1', [id]))[0] as any

describe('the list', () => {
  it('finds by a part of the name, and leads to the page of the user', async () => {
    const user = await newUser(gateway)
    const { text } = await site.get(`/console/users?search=${user.username.slice(2)}`)
    expect(text).toContain(`href="/console/users/${user.id}"`)
    expect(text).not.toContain(admin.email)
    expect((await site.get('/console/users?search=nobody-has-this-name')).text).toContain('No user matches')
  })

  it.each([
    ['state=disabled', 'UPDATE users SET disabled_at = now() WHERE id = $1'],
    ['address=verified', 'UPDATE users SET email_verified_at = now() WHERE id = $1'],
    ['factor=with', 'UPDATE users SET mfa_enabled = true WHERE id = $1'],
    ['role=admin', `UPDATE users SET roles = '{admin,user}' WHERE id = $1`],
  ])('filters by %s', async (filter, change) => {
    const [matching, other] = [await newUser(gateway), await newUser(gateway)]
    await rows(gateway, change, [matching.id])
    const { text } = await site.get(`/console/users?${filter}`)
    expect(text).toContain(matching.id)
    expect(text).not.toContain(other.id)
    const opposite: Record<string, string> = {
      'state=disabled': 'state=active',
      'address=verified': 'address=unverified',
      'factor=with': 'factor=without',
    }
    if (!opposite[filter]) return
    const rest = (await site.get(`/console/users?${opposite[filter]}`)).text
    expect(rest).toContain(other.id)
    expect(rest).not.toContain(matching.id)
  })

  it.each(['newest', 'oldest', 'email'])('has pages in the order %s, each user once', async (order) => {
    for (let i = 0; i < 51; i++)
      await rows(
        gateway,
        `INSERT INTO users (id, username, email, email_canonical, password_hash, roles) VALUES (gen_random_uuid(), NULL, $1, $1, 'x', '{user}')`,
        [`${order}-${String(i).padStart(2, '0')}@paged.example`],
      )
    const search = `${order}-`
    const first = await site.get(`/console/users?search=${search}&order=${order}`)
    const next = /<a href="([^"]+)" rel="next"/.exec(first.text)![1]!.replaceAll('&amp;', '&')
    const second = await site.get(next)
    const found = (text: string) => [...text.matchAll(new RegExp(`>(${order}-\\d\\d@paged\\.example)<`, 'g'))].map((m) => m[1]!)
    const all = [...found(first.text), ...found(second.text)]
    expect(found(first.text)).toHaveLength(50)
    expect(new Set(all).size).toBe(51)
    if (order === 'email') expect(all).toEqual([...all].sort())
    expect(second.text).not.toContain('rel="next"')
    expect(second.text).toContain('First page')
  })

  it('ignores what an address may hold wrongly', async () => {
    for (const query of [
      'order=shoe',
      'cursor=x',
      'state=maybe',
      'search=%00',
      `search=${'a'.repeat(300)}`,
      'role=',
      'order=oldest&cursor=%27',
    ])
      expect((await site.get(`/console/users?${query}`)).status, query).toBe(200)
  })
})

describe('a new user', () => {
  it('gets a password that is shown once, and must change it', async () => {
    const { status, text } = await site.post('/console/users/new', { username: 'made1', email: 'made1@example.com', 'role:user': 'on' })
    expect(status).toBe(200)
    const password = /<code class="secret">([^<]+)</.exec(text)![1]!
    const [user] = (await rows(gateway, `SELECT * FROM users WHERE username = 'made1'`)) as any[]
    expect(user).toMatchObject({ password_must_change: true, roles: ['user'] })
    expect(await gateway.app.identity.passwords.verify(user.password_hash, password, 'stranger')).toBe(true)
    expect(await audited('user_create', user.id)).toEqual([{ outcome: 'success', actor: `user:${admin.id}`, detail: 'user' }])
  })

  it('gets the password that was typed', async () => {
    const fields = {
      username: 'made2',
      email: 'made2@example.com',
      password: 'violet quiet harbour',
      'role:user': 'on',
      'role:admin': 'on',
    }
    const { to } = await site.post('/console/users/new', fields)
    expect(to).toMatch(/^\/console\/users\/[0-9a-f-]{36}\?done=create$/)
    expect((await site.get(to!)).text).toContain('The user was created.')
    expect((await stateOf(to!.slice(15, 51))).roles).toEqual(['admin', 'user'])
  })

  it('a refusal stands at its field, with what was typed but the password', async () => {
    const fields = { username: 'ok-name', email: 'not an address', password: 'password', 'role:admin': 'on' }
    const { status, text } = await site.post('/console/users/new', fields)
    expect(status).toBe(422)
    expect(text).toContain('value="not an address"')
    expect(text).toMatch(/id="email"[^>]*aria-describedby="email-error"[^>]*aria-invalid="true"/)
    expect(text).toMatch(/name="role:admin" checked/)
    expect(text).not.toMatch(/value="password"/)
  })

  it('a taken name is refused', async () => {
    const { status, text } = await site.post('/console/users/new', {
      username: admin.username,
      email: 'free@example.com',
      'role:user': 'on',
    })
    expect([status, text.includes('role="alert"')]).toEqual([409, true])
  })
})

describe('actions', () => {
  it.each([
    ['disable', 'user_disable', (user: any) => user.disabled_at !== null],
    ['end-sessions', 'sessions_end', (user: any) => user.session_epoch > 1],
    ['force-password-change', 'password_change_force', (user: any) => user.password_must_change],
    ['unlock', 'user_unlock', (user: any) => user.unlocks === 1],
  ] as const)('%s asks first, then does it with the administrator as actor', async (name, event, isDone) => {
    const { id, email, username } = await newUser(gateway)
    const path = `/console/users/${id}/${name}`
    const asked = await site.get(path)
    expect([asked.status, asked.text.includes(username ?? email)]).toEqual([200, true])
    expect(isDone(await stateOf(id))).toBe(false)
    const done = await site.post(path)
    expect(done.to).toBe(`/console/users/${id}?done=${name}`)
    expect(isDone(await stateOf(id))).toBe(true)
    expect(await audited(event, id)).toEqual([{ outcome: 'success', actor: `user:${admin.id}`, detail: null }])
    expect((await site.get(done.to!)).text).toContain('role="status"')
  })

  it('enable, and reset of the second factor', async () => {
    const { id } = await newUser(gateway)
    await rows(gateway, 'UPDATE users SET disabled_at = now(), mfa_enabled = true WHERE id = $1', [id])
    await site.post(`/console/users/${id}/enable`)
    await site.post(`/console/users/${id}/reset-factor`)
    expect(await stateOf(id)).toMatchObject({ disabled_at: null, mfa_enabled: false })
  })

  it('delete leads back to the list', async () => {
    const { id } = await newUser(gateway)
    expect((await site.get(`/console/users/${id}/delete`)).text).toContain('cannot be undone')
    const { to } = await site.post(`/console/users/${id}/delete`)
    expect(to).toBe('/console/users?done=delete')
    expect(await stateOf(id)).toBeUndefined()
    expect((await site.get(`/console/users/${id}`)).status).toBe(404)
  })

  it('roles are given and taken, and the page names what they bring', async () => {
    const { id } = await newUser(gateway)
    expect((await site.get(`/console/users/${id}/grant?role=admin`)).text).toContain('Further roles')
    await site.post(`/console/users/${id}/grant?role=admin`)
    expect((await stateOf(id)).roles).toEqual(['admin', 'user'])
    await site.post(`/console/users/${id}/revoke?role=admin`)
    expect((await stateOf(id)).roles).toEqual(['user'])
    expect(await audited('role_grant', id)).toEqual([{ outcome: 'success', actor: `user:${admin.id}`, detail: 'admin' }])
    expect(await audited('role_revoke', id)).toEqual([{ outcome: 'success', actor: `user:${admin.id}`, detail: 'admin' }])
    for (const path of ['grant?role=unknown', 'grant', 'revoke?role=admin'])
      expect((await site.get(`/console/users/${id}/${path}`)).status, path).toBe(404)
    expect((await site.post(`/console/users/${id}/grant?role=unknown`)).status).toBe(404)
    expect((await stateOf(id)).roles).toEqual(['user'])
  })

  it('one session is ended, and only of this user', async () => {
    const [user, other] = [await newUser(gateway), await newUser(gateway)]
    const [session] = await rows(gateway, 'SELECT id FROM sessions WHERE user_id = $1', [user.id])
    const path = (id: string) => `/console/users/${id}/end-session?session=${session.id}`
    expect((await site.get(`/console/users/${user.id}`)).text).toContain(`end-session?session=${session.id}`)
    expect((await site.get(path(user.id))).status).toBe(200)
    expect((await site.post(path(other.id))).status).toBe(404)
    expect((await site.post(path(user.id))).to).toBe(`/console/users/${user.id}?done=end-session`)
    expect((await rows(gateway, 'SELECT revoke_reason FROM sessions WHERE id = $1', [session.id]))[0]).toEqual({
      revoke_reason: 'ended_by_admin',
    })
    for (const wrong of ['x', '', "'"]) expect((await site.post(`/console/users/${user.id}/end-session?session=${wrong}`)).status).toBe(404)
  })

  it('the last administrator stays, and the page says why', async () => {
    const others = await rows(gateway, `SELECT id FROM users WHERE 'admin' = ANY(roles) AND id <> $1`, [admin.id])
    await rows(gateway, `UPDATE users SET roles = '{user}' WHERE 'admin' = ANY(roles) AND id <> $1`, [admin.id])
    for (const path of ['disable', 'delete', 'revoke?role=admin']) {
      const { status, text } = await site.post(`/console/users/${admin.id}/${path}`)
      expect([status, /role="alert"[^<]*>[^<]*last admin/.test(text)], path).toEqual([409, true])
    }
    for (const { id } of others) await rows(gateway, `UPDATE users SET roles = '{admin,user}' WHERE id = $1`, [id])
    expect((await site.get(`/console/users/${admin.id}/disable`)).text).toContain('your own account')
  })
})

describe('metadata', () => {
  const editOf = async (id: string) => {
    const { text } = await site.get(`/console/users/${id}/metadata`)
    return /name="seen" value="([^"]+)"/.exec(text)![1]!
  }

  it('are replaced as they were written, and only the differences are audited', async () => {
    const { id } = await newUser(gateway)
    const write = async (open: string, admin: string) =>
      site.post(`/console/users/${id}/metadata`, { seen: await editOf(id), public: open, admin })
    expect((await write('{"plan":"gold","seats":{"a":1,"b":2}}', '{"tenant":7}')).to).toContain('done=metadata')
    await write('{"seats":{"a":1,"c":[null]}}', '{"tenant":7}')
    expect((await stateOf(id)).metadata).toEqual({ public: { seats: { a: 1, c: [null] } }, admin: { tenant: 7 } })
    expect((await audited('metadata_change', id)).map((row: any) => row.detail).at(-1)).toBe('public.plan public.seats')
  })

  it.each([
    ['{', 'not valid JSON'],
    ['[1]', 'must be a JSON object'],
    ['"text"', 'must be a JSON object'],
    ['{"a":null}', 'must not be null'],
  ])('refuses %s at its field', async (bad, why) => {
    const { id } = await newUser(gateway)
    const { status, text } = await site.post(`/console/users/${id}/metadata`, { seen: await editOf(id), public: bad, admin: '{"kept":1}' })
    expect(status).toBe(422)
    expect(text).toMatch(new RegExp(`id="public-error">[^<]*${why}`))
    expect(text).toContain('{&quot;kept&quot;:1}')
    expect((await stateOf(id)).metadata).toEqual({})
  })

  it('a change that came between is not overwritten', async () => {
    const { id } = await newUser(gateway)
    const seen = await editOf(id)
    await site.post(`/console/users/${id}/metadata`, { seen, public: '{"a":1}' })
    const late = await site.post(`/console/users/${id}/metadata`, { seen, public: '{"b":2}' })
    expect([late.status, late.text.includes('by somebody else meanwhile')]).toEqual([422, true])
    expect((await stateOf(id)).metadata).toEqual({ public: { a: 1 } })
  })

  it('too large metadata are refused', async () => {
    const { id } = await newUser(gateway)
    const { status, text } = await site.post(`/console/users/${id}/metadata`, {
      seen: await editOf(id),
      public: JSON.stringify({ a: 'x'.repeat(5000) }),
    })
    expect([status, text.includes('is too long')]).toEqual([422, true])
  })
})

it('a user that does not exist is a page', async () => {
  for (const id of ['0197aaaa-0000-7000-8000-000000000000', 'x', admin.username]) {
    const { status, text } = await site.get(`/console/users/${encodeURIComponent(id)}`)
    expect([status, text.includes('<nav class="sections"')], id).toEqual([404, true])
  }
})
