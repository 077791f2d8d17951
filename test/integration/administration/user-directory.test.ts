import { uuidv7 } from 'uuidv7'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { canonicalEmail } from '../../../src/identity/users/canonical-login.ts'
import { type Answer, call, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'

describe.each(['embedded', 'postgres'] as const)('the users that administrators see on %s', (stores) => {
  let gateway: Gateway
  let admin: TestUser
  beforeAll(async () => {
    gateway = await startGateway({ stores })
    admin = await newUserWithRoles(gateway, ['admin'])
  })
  afterAll(() => gateway.close())
  beforeEach(() => rows(gateway, 'DELETE FROM users WHERE id <> $1', [admin.id]))

  const add = async (username: string, { email = `${username}@example.com`, roles = '{user}', disabled = false } = {}) => {
    const id = uuidv7()
    await rows(
      gateway,
      `INSERT INTO users (id, username, email, email_canonical, password_hash, roles, disabled_at) VALUES ($1, $2, $3, $4, 'x', $5::text[], ${disabled ? 'now()' : 'null'})`,
      [id, username, email, canonicalEmail(email), roles],
    )
    return id
  }
  const list = (query: Record<string, string> = {}): Promise<Answer> =>
    call(gateway, `/auth/admin/users?${new URLSearchParams(query)}`, { token: admin.token })
  const found = async (query: Record<string, string>) => {
    const { status, body } = await list(query)
    expect(status).toBe(200)
    return body.users.map((u: { username: string }) => u.username).filter((name: string) => name !== admin.username)
  }

  it('come newest first, 50 to a page unless more are asked for, each once', async () => {
    for (let i = 0; i < 120; i++) await add(`person${i}`)
    expect((await list()).body.users).toHaveLength(50)
    for (const limit of ['1', '7', '50', '200']) {
      const seen: string[] = []
      let cursor: string | null = null
      do {
        const { body }: Answer = await list({ search: 'person', limit, ...(cursor ? { cursor } : {}) })
        expect(body.users.length).toBeLessThanOrEqual(Number(limit))
        seen.push(...body.users.map((u: { username: string }) => u.username))
        cursor = body.next_cursor
      } while (cursor && seen.length <= 200)
      expect(seen).toEqual(Array.from({ length: 120 }, (_, i) => `person${119 - i}`))
    }
  })

  it('are paged through whole while others come and go', async () => {
    const ids: string[] = []
    for (let i = 0; i < 30; i++) ids.push(await add(`steady${i}`))
    const seen: string[] = []
    let cursor: string | null = null
    for (let page = 0; ; page++) {
      const { body }: Answer = await list({ search: 'steady', limit: '4', ...(cursor ? { cursor } : {}) })
      seen.push(...body.users.map((u: { id: string }) => u.id))
      cursor = body.next_cursor
      if (!cursor) break
      // one comes, and the one that the cursor stands on goes
      await add(`steady-late${page}`)
      await rows(gateway, 'DELETE FROM users WHERE id = $1', [cursor])
    }
    expect(seen).toEqual([...ids].reverse())
  })

  it('are found by a part of the name or address in any case, and by id', async () => {
    const id = await add('ann-lee', { email: 'A.Lee@Mail.Example' })
    await add('bob')
    for (const search of ['ann', 'N-L', 'a.lee@', 'MAIL.EXAMPLE', id, id.toUpperCase()])
      expect([search, await found({ search })]).toEqual([search, ['ann-lee']])
    await add('idn', { email: 'Kim@b\u00fccher.example' })
    for (const search of ['B\u00dcCHER', 'kim@b\u00fcch', 'm@B\u00fccher.example', 'xn--bcher', 'kim@xn--'])
      expect([search, await found({ search })]).toEqual([search, ['idn']])
    for (const search of ['annlee', id.slice(0, -1), `${id} `]) expect([search, await found({ search })]).toEqual([search, []])
  })

  it.each([
    ['%', ['percent%x']],
    ['_', ['under_score']],
    ['%_%', []],
    ['\\', ['back\\slash']],
    ["'", ["o'quote"]],
    ["' OR '1'='1", []],
    ["'; DROP TABLE users; --", []],
    ['"', ['dou"ble']],
    ['ä', ['umlaut']],
    ['A\u0308', ['umlaut']],
    ['ЖЕНЯ', ['cyrillic']],
    ['日本', ['kanji']],
    ['🦊', ['fox']],
    ['*', []],
    ['.*', []],
    ['$1', []],
  ])('are found by %j as it stands: nothing in it is a pattern', async (search, expected) => {
    for (const name of ['percent%x', 'under_score', 'back\\slash', "o'quote", 'dou"ble', 'plain']) await add(name)
    await add('umlaut', { email: 'B\u00c4R@example.com' })
    await add('cyrillic', { email: 'женя@пример.рф' })
    await add('kanji', { email: '日本@example.jp' })
    await add('fox', { email: '🦊@example.com' })
    expect(await found({ search })).toEqual(expected)
  })

  it('are found among thousands, wherever they stand, in pages that leave out none', async () => {
    await rows(
      gateway,
      `INSERT INTO users (id, username, email, email_canonical, password_hash, roles, disabled_at)
         SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'crowd' || n, 'crowd' || n || '@mail.example',
           'crowd' || n || '@mail.example', 'x', CASE WHEN n % 1000 = 7 THEN '{user,auditor}' ELSE '{user}' END::text[],
           CASE WHEN n % 900 = 7 THEN now() END FROM generate_series(1, 4500) n`,
    )
    const all = async (query: Record<string, string>) => {
      const seen: string[] = []
      for (let cursor: string | null = null; ; ) {
        const { body }: Answer = await list({ ...query, limit: '200', ...(cursor ? { cursor } : {}) })
        seen.push(...body.users.map((u: { username: string }) => u.username))
        cursor = body.next_cursor
        if (!cursor) return seen
      }
    }
    const crowd = (...numbers: number[]) => numbers.map((n) => `crowd${n}`)
    expect(await all({ search: 'wd4444' })).toEqual(crowd(4444))
    expect(await all({ search: 'WD12@' })).toEqual(crowd(12))
    expect(await all({ search: '12@mail.example' })).toHaveLength(45)
    expect(await all({ search: 'crowd' })).toEqual(Array.from({ length: 4500 }, (_, i) => `crowd${4500 - i}`))
    // each part of three characters occurs, but not this text
    for (const search of ['crowd@mail', 'example.mail', 'wdcro']) expect([search, await all({ search })]).toEqual([search, []])
    expect(await all({ search: '00000000-0000-7000-8000-00000000000c' })).toEqual(crowd(12))
    expect(await all({ role: 'auditor' })).toEqual(crowd(4007, 3007, 2007, 1007, 7))
    expect(await all({ role: 'auditor', search: '07@' })).toEqual(crowd(4007, 3007, 2007, 1007))
    expect(await all({ disabled: 'true', search: '7@' })).toEqual(crowd(3607, 2707, 1807, 907, 7))
    expect(await all({ disabled: 'true', role: 'auditor' })).toEqual(crowd(7))
  })

  it('are filtered by role and by being disabled', async () => {
    await add('in')
    await add('out', { disabled: true })
    await add('auditor', { roles: '{user,auditor}' })
    expect(await found({ disabled: 'true' })).toEqual(['out'])
    expect(await found({ disabled: 'false' })).toEqual(['auditor', 'in'])
    expect(await found({ role: 'auditor' })).toEqual(['auditor'])
    expect(await found({ role: 'user', disabled: 'false', search: 'i' })).toEqual(['auditor', 'in'])
    expect(await found({ role: "x' OR 'x'='x" })).toEqual([])
    expect(await found({ role: 'user,auditor' })).toEqual([])
    expect(await found({ role: '{user}' })).toEqual([])
  })

  it('show no credential', async () => {
    const { body } = await call(gateway, `/auth/admin/users/${admin.id}`, { token: admin.token })
    expect(Object.keys(body).sort()).toEqual([
      'created_at',
      'disabled',
      'disabled_at',
      'email',
      'email_verified',
      'id',
      'last_login_at',
      'metadata',
      'mfa_enabled',
      'password_must_change',
      'roles',
      'username',
    ])
    expect((await list()).body.users).toContainEqual(body)
  })
})
