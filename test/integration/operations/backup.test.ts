/** The restore drill: a gateway is backed up while it serves, its database is lost, and another one is restored. */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { openDatabase } from '../../../src/platform/db/database.ts'
import { migrateDown, migrateUp, STEPS } from '../../../src/platform/db/migrate.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { createSecrets } from '../../../src/platform/vault/secrets.ts'
import { sealAll } from '../../support/audit.ts'
import { type Ran, runCli } from '../../support/cli.ts'
import { call, login, newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { useKeep } from '../../support/fixtures.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { addPasskey, newAuthenticator, sign, startPasskeyGateway } from '../../support/passkeys.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { bare, start, until } from '../../support/processes.ts'
import { me, refresh } from '../../support/session.ts'
import { codeOf, enrol, type FactorUser, mfaToken } from '../../support/totp.ts'

const SERVER = inject('postgresUrl')
const dir = mkdtempSync(join(tmpdir(), 'portcullis-backup-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const keep = useKeep()
const newKey = () => randomBytes(32).toString('base64')

let made = 0
/** A database without any table. */
async function emptyDatabase(): Promise<string> {
  const name = `backup_${process.pid}_${Date.now().toString(36)}_${made++}`
  await query(SERVER, `CREATE DATABASE ${name}`)
  return SERVER.replace(/\/postgres$/, `/${name}`)
}

const envOf = (databaseUrl: string, secretKey: string) => ({ DATABASE_URL: databaseUrl, PORTCULLIS_SECRET_KEY: secretKey })
const backup = (file: string, { databaseUrl, secretKey }: Pick<Gateway, 'databaseUrl' | 'secretKey'>): Promise<Ran> =>
  runCli(['backup', file], envOf(databaseUrl, secretKey))
const restore = (databaseUrl: string, secretKey: string, file: string, ...args: string[]): Promise<Ran> =>
  runCli(['restore', file, ...args], envOf(databaseUrl, secretKey))

/** Every row of a table, without what belongs to the server. */
async function contentOf(url: string, table: string): Promise<string[]> {
  const rows = await query<{ row: string }>(url, `SELECT (to_jsonb(t) - 'xid')::text AS row FROM ${table} t`)
  return rows.map(({ row }) => row).sort()
}

const KEPT = [
  ...['users', 'signing_keys', 'secret_canary', 'audit_personal', 'audit_batches', 'totp_factors', 'backup_codes', 'backup_code_keys'],
  ...['passkeys', 'devices', 'device_tokens', 'device_networks', 'api_keys', 'clients', 'revocations', 'used_tokens'],
]

describe('a gateway that is backed up, and restored at another place', () => {
  let before: Gateway
  let after: Gateway
  let ann: TestUser
  let factor: FactorUser
  let admin: TestUser
  let apiKey: string
  let head: string
  let made: Ran
  let restored: Ran
  const passkey = newAuthenticator()
  const file = join(dir, 'drill.gz')

  beforeAll(async () => {
    before = await startPasskeyGateway()
    ann = await newUser(before)
    factor = await enrol(before, await newUser(before))
    admin = await newUserWithRoles(before, ['admin'])
    await addPasskey(before, admin, passkey)
    apiKey = (await call(before, '/auth/api-keys', { body: { name: 'billing' }, token: ann.token })).body.key
    await query(before.databaseUrl, `UPDATE users SET metadata = '{"public":{"plan":"gold","n":12345678901234567890.5,"ö":"€\\u2028"}}'`)
    head = await sealAll(before)
    // the gateway serves meanwhile
    let isOver = false
    const traffic = (async () => {
      while (!isOver) await newUser(before)
    })()
    made = await backup(file, before)
    isOver = true
    await traffic
    await before.close()
    const url = await emptyDatabase()
    restored = await restore(url, before.secretKey, file)
    after = await startPasskeyGateway({ databaseUrl: url, secretKey: before.secretKey })
  })
  afterAll(() => after?.close())

  it('the backup names the key that it needs, and the head of the audit log; nobody else can read the file', () => {
    const keyId = createSecrets(Buffer.from(before.secretKey, 'base64')).keyId
    expect(made.code, made.stderr).toBe(0)
    expect(made.stdout).toBe('')
    expect(made.stderr).toContain(`a restore needs the secret key with the key id ${keyId}`)
    expect(made.stderr).toContain(`head of the audit log ${head}`)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readdirSync(dir).filter((name) => name.endsWith('.part'))).toEqual([])
  })

  it('the restore verifies the audit log', async () => {
    expect(restored.code, restored.stderr).toBe(0)
    expect(restored.stderr).toMatch(/the audit log is intact: [1-9]\d* rows in [1-9]\d* batches/)
    const { code, stdout } = await runCli(['audit', 'verify', '--head', head], envOf(after.databaseUrl, after.secretKey))
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^intact; /)])
  })

  it.each(KEPT)('%s has each row of the backup, to the microsecond', async (table) => {
    const lines = gunzipSync(readFileSync(file)).toString().split('\n')
    const first = lines.findIndex((line) => line.startsWith(`["${table}"`)) + 1
    const rows = lines.slice(
      first,
      lines.findIndex((line, i) => i >= first && line.startsWith('[')),
    )
    const there = await contentOf(after.databaseUrl, table)
    for (const row of rows) expect(there).toContain(row)
  })

  it('users log in with their password, their second factor and their passkey, and API keys go on', async () => {
    const back = await login(after, ann)
    expect(await me(after, back.token)).toBe(200)
    const proof = { mfa_token: await mfaToken(after, factor), code: codeOf(factor.secret) }
    expect((await call(after, '/auth/login/mfa', { body: proof })).status).toBe(200)
    expect((await sign(after, passkey)).status).toBe(200)
    expect((await call(after, '/auth/me', { headers: { 'x-api-key': apiKey } })).status).not.toBe(401)
  })

  it('nobody is still logged in', async () => {
    expect((await refresh(after, ann.refreshToken)).body.code).toBe('refresh_invalid')
    expect(await query(after.databaseUrl, 'SELECT 1 FROM sessions WHERE created_at < now() - interval $$1 hour$$')).toEqual([])
  })

  it('the audit log says who made the backup and who restored it', async () => {
    const rows = await query(after.databaseUrl, "SELECT event, actor, detail FROM audit_log WHERE event IN ('backup', 'restore')")
    expect(rows).toEqual([
      { event: 'restore', actor: 'command line', detail: expect.stringMatching(/^backup of \d{4}-.*Z, without sessions$/) },
    ])
    const [made] = await query(before.databaseUrl, "SELECT actor, detail FROM audit_log WHERE event = 'backup'")
    expect(made).toEqual({ actor: 'command line', detail: expect.stringMatching(/^\d+ rows$/) })
  })

  it('rows of the restored log are sealed and verified with the new rows', async () => {
    await sealAll(after)
    const { stdout } = await runCli(['audit', 'verify'], envOf(after.databaseUrl, after.secretKey))
    expect(stdout).toMatch(/^intact; .* 0 not sealed yet/)
  })

  it('--keep-sessions keeps users logged in', async () => {
    const url = await emptyDatabase()
    const { code, stderr } = await restore(url, before.secretKey, file, '--keep-sessions')
    expect(code, stderr).toBe(0)
    const other = await keep(startPasskeyGateway({ databaseUrl: url, secretKey: before.secretKey }))
    expect((await refresh(other, ann.refreshToken)).status).toBe(200)
  })

  it('--check reads the file without a database, and changes nothing', async () => {
    const { code, stdout, stderr } = await runCli(
      ['restore', '--check', file],
      envOf('postgres://nobody@127.0.0.1:1/none', before.secretKey),
    )
    expect([code, stderr]).toEqual([0, expect.stringContaining('schema ')])
    expect(stdout).toMatch(/^users +[1-9]/m)
  })

  it('a database that is in use is refused, and keeps its rows', async () => {
    const users = await contentOf(after.databaseUrl, 'users')
    const { code, stderr } = await restore(after.databaseUrl, after.secretKey, file)
    expect([code, stderr]).toEqual([1, expect.stringContaining('the database is not empty')])
    expect(await contentOf(after.databaseUrl, 'users')).toEqual(users)
  })

  it('after a change of the secret key the backup needs its old key, and goes on with the new one', async () => {
    const secretKey = newKey()
    const url = await emptyDatabase()
    const refused = await restore(url, secretKey, file)
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('the backup belongs to another secret key')])
    expect(await query(url, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'")).toEqual([])
    const env = { ...envOf(url, secretKey), PORTCULLIS_SECRET_KEY_PREVIOUS: before.secretKey }
    expect((await runCli(['restore', file], env)).code).toBe(0)
    const changed = await keep(startGateway({ databaseUrl: url, secretKey, env: { PORTCULLIS_SECRET_KEY_PREVIOUS: before.secretKey } }))
    expect((await login(changed, ann)).token).toBeTruthy()
  })

  describe('a file that is not what was written', () => {
    let text: string
    /** All of them meet the same database. */
    let url: string
    beforeAll(async () => {
      text = gunzipSync(readFileSync(file)).toString()
      url = await emptyDatabase()
    })
    const withoutEnd = (whole: string) => `${whole.trimEnd().split('\n').slice(0, -1).join('\n')}\n`

    it.each<[what: string, bytes: () => Buffer, message: string]>([
      ['a file that is cut off', () => readFileSync(file).subarray(0, -40), 'the backup is cut off'],
      ['a file whose last line is missing', () => gzipSync(withoutEnd(text)), 'the backup is cut off'],
      ['a file whose last line is not whole', () => gzipSync(text.slice(0, -8)), 'the backup is cut off'],
      ['a changed row', () => gzipSync(text.replace('"roles": ["user"]', '"roles": ["admin"]')), 'the backup was changed'],
      ['a removed row', () => gzipSync(text.replace(/^\{"id.*\n/m, '')), 'the backup was changed'],
      ['a row after the end', () => gzipSync(`${text}{"id": 1}\n`), 'the backup was changed'],
      ['another table', () => gzipSync(text.replace('["users",', '["pg_authid",')), 'a table pg_authid that its schema does not have'],
      [
        'another column',
        () => gzipSync(text.replace('["users",["id"', '["users",["nothing"')),
        'a table users that its schema does not have',
      ],
      ['an empty file', () => Buffer.alloc(0), 'the backup is cut off'],
      ['a text', () => Buffer.from('hello'), 'not in the format gzip'],
      ['another gzip', () => gzipSync('hello\n'), 'the file is no backup of Portcullis'],
      ['a newer format', () => gzipSync(text.replace('"portcullis_backup":1', '"portcullis_backup":2')), 'the backup has the format 2'],
      [
        'a newer schema',
        () => gzipSync(text.replace(/"schema":"[^"]*"/, '"schema":"9001-later"')),
        'with the step 9001-later, which this version does not know',
      ],
    ])('%s is refused, and no row stays', async (_, bytes, message) => {
      const broken = join(dir, 'broken.gz')
      writeFileSync(broken, bytes())
      const { code, stderr } = await restore(url, before.secretKey, broken)
      expect([code, stderr]).toEqual([1, expect.stringContaining(message)])
      expect(stderr).not.toContain('    at ')
      const [{ there }] = (await query(url, "SELECT to_regclass('users') IS NOT NULL AS there")) as [{ there: boolean }]
      if (there) expect(await query(url, 'SELECT 1 FROM users')).toEqual([])
    })

    it('the same database takes the right file afterwards', async () => {
      const { code, stderr } = await restore(url, before.secretKey, file)
      expect(code, stderr).toBe(0)
      const references = "SELECT 1 FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace"
      expect((await query(url, references)).length).toBe((await query(before.databaseUrl, references)).length)
    })
  })
})

it('a backup of an older version gets the newer steps', async () => {
  const secretKey = newKey()
  const old = await startGateway({ secretKey })
  const ann = await newUser(old)
  const file = join(dir, 'old.gz')
  await backup(file, old)
  await old.close()
  // as the version before would have written it
  const names = Object.keys(STEPS)
  const [last, lastButOne] = [names.at(-1)!, names.at(-2)!]
  const earlier = await createDatabase(SERVER)
  const open = await openDatabase({ url: earlier, dataDir: '', poolSize: 2 }, createLogger('silent'))
  await migrateDown(open, { to: lastButOne })
  const columns = new Map<string, string[]>()
  for (const { table, name } of await query<{ table: string; name: string }>(
    earlier,
    `SELECT table_name AS table, column_name AS name FROM information_schema.columns WHERE table_schema = 'public'`,
  ))
    columns.set(table, [...(columns.get(table) ?? []), name])
  await migrateUp(open)
  await open.close()
  const seal = (await import('../../../src/platform/backup/format.ts')).createSeal(createSecrets(Buffer.from(secretKey, 'base64')))
  let isGone = false
  const lines: string[] = []
  for (const line of gunzipSync(readFileSync(file)).toString().trimEnd().split('\n').slice(0, -1)) {
    let text = line.replace(last, lastButOne)
    if (line.startsWith('[')) {
      const [table, all] = JSON.parse(line)
      isGone = !columns.has(table)
      text = JSON.stringify([table, all.filter((name: string) => columns.get(table)?.includes(name))])
    }
    if (isGone) continue
    lines.push(`${text}\n`)
    seal.add(`${text}\n`, text.startsWith('{') && lines.length > 1 ? 1 : 0)
  }
  writeFileSync(file, gzipSync(lines.join('') + seal.line()))
  const url = await emptyDatabase()
  const { code, stderr } = await restore(url, secretKey, file)
  expect([code, stderr]).toEqual([0, expect.stringContaining(`applied newer steps: ${last}`)])
  const after = await keep(startGateway({ databaseUrl: url, secretKey }))
  expect((await login(after, ann)).token).toBeTruthy()
})

describe('a backup that cannot be made', () => {
  it('an existing file is kept', async () => {
    const file = join(dir, 'there.gz')
    writeFileSync(file, 'kept')
    const { code, stderr } = await backup(file, { databaseUrl: SERVER, secretKey: newKey() })
    expect([code, stderr]).toEqual([2, `${file} exists already: name a new file\nSee: portcullis backup --help\n`])
    expect(readFileSync(file, 'utf8')).toBe('kept')
  })

  it('two backups at the same time do not share a file: one is whole, and the other is refused', async () => {
    const gateway = await keep(startGateway())
    await newUser(gateway)
    const file = join(dir, 'twice.gz')
    const both = await Promise.all([backup(file, gateway), backup(file, gateway)])
    expect(both.map(({ code }) => code).sort()).toEqual([0, 2])
    expect((await runCli(['restore', '--check', file], envOf(gateway.databaseUrl, gateway.secretKey))).code).toBe(0)
    expect(readdirSync(dir).filter((name) => name.startsWith('twice'))).toEqual(['twice.gz'])
  })

  it('a folder that is not there is named', async () => {
    const { code, stderr } = await backup(join(dir, 'nowhere/x.gz'), { databaseUrl: SERVER, secretKey: newKey() })
    expect([code, stderr]).toEqual([2, expect.stringContaining('nowhere/x.gz: cannot be written')])
  })

  it.each<[what: string, url: () => Promise<string>, message: string]>([
    ['an empty database', emptyDatabase, 'the database is empty: there is nothing to back up'],
    ['a database that was never used', () => createDatabase(SERVER), 'the database was never used'],
    ['a database that is away', async () => 'postgres://nobody@127.0.0.1:1/none', 'ECONNREFUSED'],
  ])('%s: nothing is left behind', async (_, url, message) => {
    const file = join(dir, 'never.gz')
    const { code, stderr } = await backup(file, { databaseUrl: await url(), secretKey: newKey() })
    expect([code, stderr]).toEqual([1, expect.stringContaining(message)])
    expect(readdirSync(dir).filter((name) => name.startsWith('never'))).toEqual([])
  })

  it('another secret key is refused: nobody could restore the backup', async () => {
    const gateway = await keep(startGateway())
    const file = join(dir, 'other-key.gz')
    const { code, stderr } = await backup(file, { databaseUrl: gateway.databaseUrl, secretKey: newKey() })
    expect([code, stderr]).toEqual([2, expect.stringContaining('is not the key that this database was set up with')])
    expect(existsSync(file)).toBe(false)
  })
})

it('an embedded database moves to Postgres: the running gateway writes the backup', async () => {
  const dataDir = join(dir, 'data')
  const secretKey = newKey()
  const { createDataDir } = await import('../../support/embedded.ts')
  await createDataDir(dataDir)
  const gateway = start(process.execPath, ['src/cli.ts', 'serve', '--port', '0', '--set', 'admin.port=0'], {
    env: { ...bare(), PORTCULLIS_DATABASE__DATA_DIR: dataDir, PORTCULLIS_SECRET_KEY: secretKey },
  })
  const file = join(dir, 'embedded.gz')
  let ann: TestUser
  try {
    const port = await until(() => /"port":(\d+).*is listening/.exec(gateway.output())?.[1], 'the gateway to listen', 60_000)
    ann = await newUser({ url: `http://127.0.0.1:${port}` })
    const { code, stderr } = await runCli(['backup', file], { PORTCULLIS_DATABASE__DATA_DIR: dataDir })
    expect([code, stderr]).toEqual([0, expect.stringContaining('through the running gateway')])
    expect(stderr).toContain('a restore needs the secret key')
  } finally {
    await gateway.stop()
  }
  const url = await emptyDatabase()
  expect((await restore(url, secretKey, file)).code).toBe(0)
  const after = await keep(startGateway({ databaseUrl: url, secretKey }))
  expect((await login(after, ann)).token).toBeTruthy()
}, 120_000)
