import { randomUUID } from 'node:crypto'
/** `users import --from`: exports of other systems in their real formats. The users log in with the passwords that they have there. */
import { createReadStream } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { linesFrom, type Source } from '../../../src/identity/admin/import/sources.ts'
import { call, OPERATOR } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { rows } from '../../support/rows.ts'
import { codeOf } from '../../support/totp.ts'

const PASSWORD = 'correct horse battery'
const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url))
const read = (name: string) => createReadStream(fixture(name), { highWaterMark: 61 })
async function* bytesOf(text: string | Buffer) {
  yield Buffer.from(text)
}

const LOGINS = { credentials: { login: { limit: 1000, windowSeconds: 60 }, address: { limit: 1000, windowSeconds: 60 } } }
const gateway = useGateway({ config: { auth: { username: 'optional' }, limits: LOGINS } })

async function run(source: Source, input: AsyncIterable<Uint8Array>, { isDryRun = false } = {}) {
  const reported: string[] = []
  const report = (number: number, text: string) => void reported.push(`${number}: ${text}`)
  const { config, clock } = gateway.app.platform
  const lines = linesFrom(source, input, { usernames: config.auth.username, now: new Date(clock.now()), note: report })
  const summary = await gateway.app.identity.importUsers(lines, { isDryRun, by: OPERATOR, report })
  return { ...summary, reported: reported.sort() }
}
const logIn = (login: string, password = PASSWORD) => call(gateway, '/auth/login', { body: { login, password } })
const account = async (email: string) => (await rows(gateway, 'SELECT * FROM users WHERE email = $1', [email]))[0]
const factorOf = (id: string) => rows(gateway, 'SELECT secret_sealed, confirmed_at FROM totp_factors WHERE user_id = $1', [id])

async function expectFactor(login: string, secret: string) {
  const first = await logIn(login)
  expect(first).toMatchObject({ status: 200, body: { mfa_required: true } })
  const finish = (code: string) => call(gateway, '/auth/login/mfa', { body: { mfa_token: first.body.mfa_token, code } })
  expect((await finish(codeOf(secret, 20))).body.code).toBe('invalid_code')
  expect((await finish(codeOf(secret))).status).toBe(200)
}

/** A dry run writes nothing and reports the same. */
async function dryThenReal(source: Source, file: string) {
  const before = (await rows(gateway, 'SELECT count(*)::int AS n FROM users'))[0].n
  const dry = await run(source, read(file), { isDryRun: true })
  expect((await rows(gateway, 'SELECT count(*)::int AS n FROM users'))[0].n).toBe(before)
  const real = await run(source, read(file))
  expect(dry).toEqual(real)
  return real
}

describe('Keycloak', () => {
  it('a realm export: ids, addresses, passwords of each kind and seeds are carried over; roles are not', async () => {
    expect(await dryThenReal('keycloak', 'keycloak-realm.json')).toEqual({
      created: 6,
      skipped: 0,
      failed: 2,
      reported: [
        '6: totp: must be TOTP with SHA1, 6 digits and 30 seconds: the user sets up a new factor here',
        '8: left out: it is the account of a client',
        '9: email: is missing',
      ],
    })
    for (const name of ['kc-sha512', 'kc-sha256', 'kc-sha1', 'kc-argon2']) {
      expect((await logIn(name, 'incorrect horse battery')).status).toBe(401)
      expect((await logIn(name)).status).toBe(200)
    }
    expect(await account('kc-sha512@keycloak.test')).toMatchObject({
      id: '1c5b7a3e-0d1f-4a57-9f0e-000000000001',
      username: 'kc-sha512',
      roles: ['user'],
      email_verified_at: new Date(1711111111111),
      created_at: new Date(1711111111111),
      metadata: { public: { first_name: 'Kay', last_name: 'Cloak' }, admin: { locale: ['en'], tenant: ['north'] } },
    })
    expect(await account('kc.mail@keycloak.test')).toMatchObject({
      username: null,
      password_must_change: true,
      disabled_at: expect.any(Date),
    })
    const { id } = await account('kc-totp@keycloak.test')
    const [factor] = await factorOf(id)
    expect(factor.confirmed_at).toBeInstanceOf(Date)
    expect(factor.secret_sealed).toMatch(/^v1\./)
    // base32 of the text c4FdLqnqVH9hWnQ4sPbK
    await expectFactor('kc-totp', 'MM2EMZCMOFXHCVSIHFUFO3SRGRZVAYSL')
  })

  it('what is no export of users is refused', async () => {
    await expect(run('keycloak', bytesOf('{"realm": "shop"}'))).rejects.toMatchObject({ errors: [{ field: 'file' }] })
    await expect(run('keycloak', bytesOf('no JSON'))).rejects.toMatchObject({ errors: [{ field: 'file' }] })
    await expect(run('keycloak', bytesOf(Buffer.from('{"users": ["é"]}', 'latin1')))).rejects.toMatchObject({ errors: [{ field: 'file' }] })
  })
})

describe('Supabase', () => {
  it('auth.users as CSV: bcrypt and Firebase hashes, seeds and metadata are carried over', async () => {
    expect(await dryThenReal('supabase', 'supabase-users.csv')).toEqual({
      created: 5,
      skipped: 0,
      failed: 0,
      reported: ['5: left out: it was deleted', '6: left out: it is anonymous'],
    })
    expect((await logIn('su@supabase.test')).status).toBe(200)
    expect((await logIn('fb@supabase.test', 'user1password')).status).toBe(200)
    expect((await logIn('google@supabase.test')).status).toBe(401)
    expect(await account('su@supabase.test')).toMatchObject({
      id: '2c5b7a3e-0d1f-4a57-9f0e-000000000001',
      username: null,
      email_verified_at: new Date('2024-01-02T03:04:05.123Z'),
      metadata: { public: { full_name: 'Su, "Pa" Base' }, admin: { tenant: 'north' } },
    })
    expect(await account('banned@supabase.test')).toMatchObject({ disabled_at: expect.any(Date), email_verified_at: null })
    await expectFactor('totp@supabase.test', 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP')
  })

  it('a ban that has ended does not disable the account', async () => {
    const until = { past: '2024-01-01 00:00:00+00', future: '2999-01-01 00:00:00+00', ever: 'infinity' }
    const users = Object.entries(until).map(([name, time]) => `${randomUUID()},${name}@ban.test,,"${time}"\n`)
    await run('supabase', bytesOf(`id,email,encrypted_password,banned_until\n${users.join('')}`))
    const disabled = async (name: string) => (await account(`${name}@ban.test`)).disabled_at !== null
    expect([await disabled('past'), await disabled('future'), await disabled('ever')]).toEqual([false, true, true])
  })

  it('a row of more characters than a line of the import may have is refused', async () => {
    const file = `id,email,encrypted_password\n1,${'x'.repeat(70_000)},y\n`
    await expect(run('supabase', bytesOf(file))).rejects.toMatchObject({ errors: [{ field: 'file' }] })
  })

  it('a file without the columns, or cut inside a field, is refused', async () => {
    await expect(run('supabase', bytesOf('id,name\n1,x\n'))).rejects.toMatchObject({ errors: [{ field: 'file' }] })
    await expect(run('supabase', bytesOf('id,email,encrypted_password\n1,"x'))).rejects.toMatchObject({ errors: [{ field: 'file' }] })
  })
})

describe('Auth0', () => {
  it('a bulk export, one object a line: bcrypt hashes are carried over', async () => {
    expect(await dryThenReal('auth0', 'auth0-users.ndjson')).toEqual({
      created: 3,
      skipped: 0,
      failed: 0,
      reported: ['3: it has no password hash: the user sets a password by a mailed link'],
    })
    for (const login of ['au@auth0.test', 'named-auth0']) expect((await logIn(login)).status).toBe(200)
    expect(await account('export@auth0.test')).toMatchObject({
      disabled_at: expect.any(Date),
      created_at: new Date('2020-10-06T15:35:03Z'),
      metadata: { public: { name: 'Au Zero', theme: 'dark' }, admin: { plan: 'gold', auth0_id: 'auth0|5f7c8ec7c33c6c004bbafe82' } },
    })
  })

  it('a list is refused with a hint', async () => {
    await expect(run('auth0', bytesOf('[{"email": "a@b.test"}]'))).rejects.toMatchObject({
      errors: [{ field: 'file', detail: 'is a list: write one JSON object a line' }],
    })
  })
})

describe('Firebase', () => {
  it('auth:export after the hash parameters: scrypt hashes are carried over, and the signer key is not stored', async () => {
    expect(await dryThenReal('firebase', 'firebase-users.txt')).toEqual({
      created: 2,
      skipped: 0,
      failed: 1,
      reported: [
        '2: it has no password: the user sets one by a mailed link',
        '3: email: is missing',
        '3: it has no password: the user sets one by a mailed link',
      ],
    })
    const user = await account('user1@test.com')
    expect(user).toMatchObject({
      username: null,
      email_verified_at: null,
      created_at: new Date(1508893925000),
      metadata: { public: { name: 'Test User 1' }, admin: { tier: 'pro', firebase_uid: 'kYi4EvWQlQTKSfnJ3dRSP6IH3ed2' } },
    })
    expect(user.password_hash).toMatch(/^\$firebase-scrypt\$ln=14,r=8,p=1\$/)
    expect(user.password_hash).not.toContain('jxspr8Ki0RYycVU8')
    expect((await logIn('user1@test.com', 'user1passworD')).status).toBe(401)
    expect((await logIn('user1@test.com', 'user1password')).status).toBe(200)
    expect((await account('user1@test.com')).password_hash).toMatch(/^\$argon2id\$/)
  })

  it('an export without the parameters is refused', async () => {
    await expect(run('firebase', bytesOf('{"users": []}'))).rejects.toMatchObject({ errors: [{ field: 'file' }] })
  })
})

describe('Django', () => {
  it('dumpdata: hashes of each hasher and seeds of django-otp are carried over', async () => {
    expect(await dryThenReal('django', 'django-dumpdata.json')).toEqual({
      created: 5,
      skipped: 0,
      failed: 1,
      reported: [
        '3: is_superuser and is_staff are left out: grant roles afterwards',
        '4: the password is left out: its hash is of another kind. The user sets a new password by a mailed link',
        '5: the password is left out: it is unusable. The user sets a new password by a mailed link',
        '5: the username is left out: it has another form than usernames here',
        '6: email: is missing',
        '6: the password is left out: it is unusable. The user sets a new password by a mailed link',
      ],
    })
    for (const login of ['dj-bcrypt', 'dj-argon2@django.test']) expect((await logIn(login)).status).toBe(200)
    await expectFactor('dj-pbkdf2', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ')
    expect(await account('dj-argon2@django.test')).toMatchObject({
      roles: ['user'],
      metadata: { public: { first_name: 'Dja', last_name: 'Ngo' }, admin: { django_id: 3 } },
    })
    expect(await account('plus@django.test')).toMatchObject({ username: null, disabled_at: expect.any(Date) })
  })
})

describe('a second factor in a line of users import', () => {
  const importLine = (line: object) => {
    const reported: string[] = []
    const report = (number: number, text: string) => void reported.push(`${number}: ${text}`)
    const options = { isDryRun: false, by: OPERATOR, report }
    return gateway.app.identity.importUsers(bytesOf(JSON.stringify(line)), options).then((summary) => ({ ...summary, reported }))
  }

  it.each([
    ['a short secret', { secret: 'GEZDGNBVGY3TQ' }, 'totp: its secret must be base32, of 10 to 64 bytes'],
    ['a secret that is no base32', { secret: '0189 0189 0189 0189 0189' }, 'totp: its secret must be base32, of 10 to 64 bytes'],
    ['8 digits', { secret: 'JBSWY3DPEHPK3PXP', digits: 8 }, 'totp: must be TOTP with SHA1, 6 digits and 30 seconds'],
    ['60 seconds', { secret: 'JBSWY3DPEHPK3PXP', period: 60 }, 'totp: must be TOTP with SHA1, 6 digits and 30 seconds'],
    ['SHA256', { secret: 'JBSWY3DPEHPK3PXP', algorithm: 'SHA256' }, 'totp: must be TOTP with SHA1, 6 digits and 30 seconds'],
  ])('with %s is refused: no account is made without its factor', async (_, totp, why) => {
    const { failed, reported } = await importLine({ email: 'factor@mail.test', totp })
    expect([failed, reported]).toEqual([1, [expect.stringContaining(why)]])
    expect(reported.join()).not.toContain(totp.secret)
    expect(await account('factor@mail.test')).toBeUndefined()
  })

  it('typed with spaces and in lower case is the same secret', async () => {
    const password_hash = 'pbkdf2_sha256$20000$seasalt2seasalt2$hOFaxvklYhpEG80oD27NC7xKC8cqNwq6sf4xaRXw4To='
    const line = {
      email: 'spaced@mail.test',
      password_hash,
      totp: { secret: 'jbsw y3dp ehpk 3pxp', algorithm: 'sha-1', digits: 6, period: 30 },
    }
    expect(await importLine(line)).toMatchObject({ created: 1, reported: [] })
    await expectFactor('spaced@mail.test', 'JBSWY3DPEHPK3PXP')
    expect((await account('spaced@mail.test')).mfa_enabled).toBe(true)
  })
})
