/** `users import`: people who have a password already. */
import { randomBytes } from 'node:crypto'
import bcrypt from 'bcryptjs'
import { describe, expect, it } from 'vitest'
import { COMMAND_LINE } from '../../../src/platform/audit/audit.ts'
import { call, newUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { reset, resetToken } from '../../support/recovery.ts'
import { rows } from '../../support/rows.ts'

describe.each(['embedded', 'postgres'] as const)('an import on %s', (stores) => {
  const gateway = useGateway({ stores })

  async function run(lines: (object | string)[] | AsyncIterable<Uint8Array>, { isDryRun = false, batch = 500 } = {}) {
    const text = Array.isArray(lines) ? lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n') : ''
    const reported: string[] = []
    const options = {
      isDryRun,
      batch,
      by: { actor: 'test', context: COMMAND_LINE },
      report: (line: number, why: string) => void reported.push(`${line}: ${why}`),
    }
    const input = Array.isArray(lines) ? chunks(Buffer.from(text)) : lines
    return { ...(await gateway.app.identity.importUsers(input, options)), reported }
  }
  /** Cut anywhere, as a pipe may. */
  async function* chunks(bytes: Buffer, size = 7) {
    for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size)
  }
  const person = (more: object = {}) => {
    const username = `import-${randomBytes(5).toString('hex')}`
    return { username, email: `${username}@mail.test`, ...more }
  }
  const account = async (username: string) => (await rows(gateway, 'SELECT * FROM users WHERE username = $1', [username.toLowerCase()]))[0]
  const logIn = (login: string, password: string) => call(gateway, '/auth/login', { body: { login, password } })
  const count = async () => (await rows(gateway, 'SELECT count(*)::int AS n FROM users'))[0].n

  it('brings people with all that is known of them, each with an audit row', async () => {
    const id = '11111111-2222-4333-8444-555555555555'
    const ann = person({
      id,
      email_verified: true,
      roles: ['editor', 'user', 'user'],
      created_at: '2019-04-01T12:00:00+02:00',
      disabled: true,
    })
    const ben = person({ password_must_change: true })
    expect(await run([{ ...ann, username: ann.username.toUpperCase() }, '', ben])).toEqual({
      created: 2,
      skipped: 0,
      failed: 0,
      reported: [],
    })
    expect(await account(ann.username)).toMatchObject({
      id,
      email: ann.email,
      email_verified_at: new Date('2019-04-01T10:00:00Z'),
      roles: ['editor', 'user'],
      created_at: new Date('2019-04-01T10:00:00Z'),
      disabled_at: expect.any(Date),
      last_login_at: null,
    })
    const made = await account(ben.username)
    expect(made).toMatchObject({ email_verified_at: null, roles: ['user'], disabled_at: null, password_must_change: true })
    expect(await rows(gateway, `SELECT user_id, outcome, actor FROM audit_log WHERE event = 'user_import' ORDER BY id`)).toEqual([
      { user_id: id, outcome: 'success', actor: 'test' },
      { user_id: made.id, outcome: 'success', actor: 'test' },
    ])
  })

  it('a password of bcrypt is good, and its hash is Argon2id from the first login on', async () => {
    const hashes = { a: '$2a$', b: '$2b$', y: '$2y$' }
    for (const prefix of Object.values(hashes)) {
      const hash = (await bcrypt.hash('my old password', 4)).replace('$2b$', prefix)
      const ann = person({ password_hash: hash })
      expect((await run([ann])).created).toBe(1)
      expect((await logIn(ann.username, 'another password')).body.code).toBe('invalid_credentials')
      expect((await account(ann.username)).password_hash).toBe(hash)
      // shorter than the policy wants, and theirs all the same
      expect((await logIn(ann.email, 'my old password')).status).toBe(200)
      const upgraded = (await account(ann.username)).password_hash
      expect(upgraded).toMatch(/^\$argon2id\$v=19\$/)
      expect((await logIn(ann.username, 'my old password')).status).toBe(200)
      expect((await account(ann.username)).password_hash).toBe(upgraded)
    }
  })

  it('a password of Argon2id with other parameters is good, and is renewed', async () => {
    const { default: argon2 } = await import('argon2')
    const hash = await argon2.hash('my old password', { memoryCost: 2048, timeCost: 3, parallelism: 2 })
    const ann = person({ password_hash: hash })
    await run([ann])
    expect((await logIn(ann.username, 'my old password')).status).toBe(200)
    expect((await account(ann.username)).password_hash).toMatch(/m=1024/)
  })

  it.each([
    ['PBKDF2 of Django', 'pbkdf2_sha256$20000$seasalt2seasalt2$hOFaxvklYhpEG80oD27NC7xKC8cqNwq6sf4xaRXw4To='],
    ['bcrypt_sha256 of Django', 'bcrypt_sha256$$2b$05$cdCzwV/UAFQkqilM3LNxpeN/2jfjOmMo299lA2WFMALKIqmZx8tj2'],
    ['Argon2i', '$argon2i$v=19$m=1024,t=2,p=1$hnU0kovsc9VX2YYYrqdgjw$sc3wFey1s3rnQDbmY91/AkQhSBwn6jVE7yVEsXudP+I'],
    ['scrypt', '$scrypt$ln=10,r=8,p=1$JoQQAkDIWeu911qrde49Jw$EeV46nwW8GLkoOEcFQ5aTRUmiOTtuUwgWsXqs69kYPA'],
    ['WordPress', '$wp$2y$05$9a.cCX9WuZDbIBj13ugWVehTZbPEiWmE0FUnsju74uW.vL0sCwa3O'],
    ['phpass', '$P$6DbttB.34Pidukle1oIB7WYfUxsRb6.'],
  ])('a password of %s is good, and its hash is Argon2id from the first login on', async (_, password_hash) => {
    const ann = person({ password_hash })
    expect(await run([ann])).toMatchObject({ created: 1, reported: [] })
    expect((await logIn(ann.username, 'incorrect horse battery')).body.code).toBe('invalid_credentials')
    expect((await account(ann.username)).password_hash).not.toMatch(/argon2id/)
    expect((await logIn(ann.email, 'correct horse battery')).status).toBe(200)
    const upgraded = (await account(ann.username)).password_hash
    expect(upgraded).toMatch(/^\$argon2id\$v=19\$/)
    expect((await logIn(ann.username, 'correct horse battery')).status).toBe(200)
    expect((await account(ann.username)).password_hash).toBe(upgraded)
  })

  it('who comes without a hash is let in by no password, and sets one by a mailed link', async () => {
    const ann = person()
    await run([ann])
    for (const password of ['!', '', 'null', 'undefined']) expect((await logIn(ann.username, password || ' ')).status).toBe(401)
    const token = await resetToken(gateway, ann.email)
    expect((await reset(gateway, token, 'tulips by the river')).status).toBe(204)
    expect((await logIn(ann.username, 'tulips by the river')).status).toBe(200)
  })

  it('users who exist already stay as they are, so that an import can be repeated', async () => {
    const [there, ann, ben] = [await newUser(gateway), person(), person()]
    const lines = [ann, person({ email: there.email.toUpperCase(), roles: ['admin'] }), person({ username: there.username }), ben]
    const before = await account(there.username)
    expect(await run(lines)).toEqual({
      created: 2,
      skipped: 2,
      failed: 0,
      reported: [
        '2: skipped: the e-mail address is there already',
        '3: skipped: the username is there already, with another e-mail address',
      ],
    })
    const again = await run(lines)
    expect(again).toMatchObject({ created: 0, skipped: 4, failed: 0 })
    expect(again.reported[0]).toBe('1: skipped: the e-mail address is there already')
    expect(await account(there.username)).toEqual(before)
    expect(await run([person({ id: there.id })])).toMatchObject({ skipped: 1, reported: ['1: skipped: the id is there already'] })
  })

  it('a dry run reports the same and writes nothing', async () => {
    const there = await newUser(gateway)
    const lines = [person(), person({ email: there.email }), person({ roles: ['Not A Role'] }), person()]
    const before = await count()
    const dry = await run(lines, { isDryRun: true })
    expect(await count()).toBe(before)
    expect(dry).toMatchObject({ created: 2, skipped: 1, failed: 1 })
    expect(await run(lines)).toEqual(dry)
    expect(await count()).toBe(before + 2)
  })

  it.each<[string, object | string, string[]]>([
    ['no JSON', '{"username": ', ['is not valid JSON']],
    ['a list', '[]', ['must be an object']],
    ['null', 'null', ['must be an object']],
    ['nothing that is needed', {}, ['username: is missing', 'email: is missing']],
    [
      'a field that is not known',
      { username: 'carl', email: 'c@mail.test', password: 'plain', is_admin: true },
      ['password: is not known here', 'is_admin: is not known here'],
    ],
    ['a __proto__', '{"username": "carl", "email": "c@mail.test", "__proto__": {"roles": ["admin"]}}', ['__proto__: is not known here']],
    [
      'bad names',
      { username: 'no spaces here', email: 'nowhere' },
      ['username: must be 3 to 32 characters of a-z 0-9 . _ - and begin with a letter or digit', 'email: must be an e-mail address'],
    ],
    [
      'a NUL',
      { username: 'carl\0', email: 'c\0@mail.test' },
      ['username: must be 3 to 32 characters of a-z 0-9 . _ - and begin with a letter or digit', 'email: must be an e-mail address'],
    ],
    ['a text for a truth', { username: 'carl', email: 'c@mail.test', disabled: 'false' }, ['disabled: must be a boolean']],
    [
      'a role that is none',
      { username: 'carl', email: 'c@mail.test', roles: ['user', 'Big Boss'] },
      [expect.stringMatching(/^roles\.1: must match/) as never],
    ],
    ['an id that is none', { username: 'carl', email: 'c@mail.test', id: '42' }, [expect.stringMatching(/^id: must match/) as never]],
    [
      'a day that is none',
      { username: 'carl', email: 'c@mail.test', created_at: '2020-13-45T00:00:00Z' },
      ['created_at: must be a date and time that has passed'],
    ],
    [
      'a day to come',
      { username: 'carl', email: 'c@mail.test', created_at: '2999-01-01T00:00:00Z' },
      ['created_at: must be a date and time that has passed'],
    ],
    [
      'a hash that would stop the gateway',
      { username: 'carl', email: 'c@mail.test', password_hash: `$2b$31$${'C'.repeat(53)}` },
      ['password_hash: its cost must be 4 to 14: it is 31'],
    ],
    [
      'a password in place of a hash',
      { username: 'carl', email: 'c@mail.test', password_hash: 'hunter2 hunter2' },
      [expect.stringMatching(/^password_hash: must be bcrypt/) as never],
    ],
    [
      'a line of 100 KB',
      JSON.stringify({ username: 'carl', email: 'c@mail.test', id: 'x'.repeat(100_000) }),
      ['is longer than 65536 characters'],
    ],
  ])('a line with %s is reported with its number and field, never with its value; the other lines are imported', async (_, bad, reported) => {
    const [ann, ben] = [person(), person()]
    const before = await count()
    const { reported: lines, ...summary } = await run([ann, bad, ben])
    expect(summary).toEqual({ created: 2, skipped: 0, failed: 1 })
    expect(lines.map((line) => line.slice(0, 3))).toEqual(lines.map(() => '2: '))
    expect(lines.map((line) => line.slice(3))).toEqual(reported)
    expect(lines.join()).not.toMatch(/hunter2|CCCC|Big Boss/)
    expect(await count()).toBe(before + 2)
  })

  it('of two lines with the same name the second is reported, with the number of the first', async () => {
    const ann = person()
    const { reported, ...summary } = await run([ann, person({ username: ann.username }), person({ email: ann.email.toUpperCase() })], {
      batch: 1,
    })
    expect(summary).toEqual({ created: 1, skipped: 0, failed: 2 })
    expect(reported).toEqual(['2: username: is that of line 1, too', '3: email: is that of line 1, too'])
  })

  it('Windows line ends, a byte order mark and characters split between chunks are read; Latin-1 is reported', async () => {
    const ann = person({ email: `zoë.${randomBytes(4).toString('hex')}@mail.test` })
    const text = `\ufeff${JSON.stringify(ann)}\r\n${JSON.stringify(person())}\r\n`
    expect(await run(chunks(Buffer.from(text), 1))).toMatchObject({ created: 2, failed: 0 })
    expect((await account(ann.username)).email).toBe(ann.email)
    const latin = Buffer.from(JSON.stringify(person({ email: 'zoë@mail.test' })), 'latin1')
    expect(await run(chunks(latin))).toMatchObject({ created: 0, failed: 1, reported: ['1: is not valid UTF-8'] })
  })

  it('a batch that fails leaves those before it, and nothing of itself', async () => {
    const people = Array.from({ length: 6 }, () => person())
    const { audit } = gateway.app.platform
    const { record } = audit
    let rowsLeft = 4
    audit.record = (...args) => (rowsLeft-- > 0 ? record(...args) : Promise.reject(new Error('no such luck')))
    const before = await count()
    await expect(run(people, { batch: 3 })).rejects.toThrow('no such luck')
    audit.record = record
    expect(await count()).toBe(before + 3)
    expect(await run(people, { batch: 3 })).toMatchObject({ created: 3, skipped: 3 })
  })
})
