/** `portcullis doctor` in real conditions: stores that lack something, taken ports, wrong files, a full disk, a wrong clock. */
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { generate } from 'selfsigned'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Authority, createAuthority, type Issued } from '../../support/certificates.ts'
import { runCli } from '../../support/cli.ts'
import { createDataDir } from '../../support/embedded.ts'
import { environmentOf, FAKETIME } from '../../support/faketime.ts'
import { useUpstream } from '../../support/fixtures.ts'
import { CLI, type GatewayProcess, startGatewayProcess } from '../../support/gateway-process.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { bare, freePort } from '../../support/processes.ts'
import { startRedis, type TestRedis } from '../../support/redis.ts'

interface Row {
  check: string
  state: string
  found: string
  advice?: string
}

const dir = mkdtempSync(join(tmpdir(), 'portcullis-doctor-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const KEY = randomBytes(32).toString('base64')
const upstream = useUpstream()
let databaseUrl: string
beforeAll(async () => {
  databaseUrl = await createDatabase(inject('postgresUrl'))
})

let count = 0
/** In a folder of its own. The ports are free. */
async function fileWith(config: object, name = 'portcullis.json'): Promise<string> {
  const folder = join(dir, String(count++))
  mkdirSync(folder)
  const file = join(folder, name)
  const [port, adminPort] = [await freePort(), await freePort()]
  const routes = [{ name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' }]
  // so few that every machine that runs tests allows them
  const server = { host: '127.0.0.1', port, workers: 1, maxConnections: 500 }
  writeFileSync(
    file,
    JSON.stringify({ server, admin: { port: adminPort }, database: { dataDir: join(folder, 'data') }, routes, ...config }),
  )
  return file
}

const rowsOf = (stdout: string): Row[] => JSON.parse(stdout).checks

async function doctor(file: string, more: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  const { code, stdout, stderr } = await runCli(['doctor', '--config', file, '--json', ...more], env)
  expect(stderr).toBe('')
  const rows = rowsOf(stdout)
  // whatever fails comes with what to do
  for (const { check, state, advice } of rows) if (state === 'fail' || state === 'warn') expect(advice, check).toBeTruthy()
  return { code, stdout, rows, row: (check: string) => rows.find((row) => row.check === check) }
}

const onPostgres = (url = databaseUrl) => ({ DATABASE_URL: url, REDIS_URL: inject('redisUrl'), PORTCULLIS_SECRET_KEY: KEY })

describe('before the first start', () => {
  it('on Postgres and Redis: nothing fails, exit 0', async () => {
    const file = await fileWith({})
    const { code, rows, row } = await doctor(file, [], onPostgres())
    expect(rows.filter(({ state }) => state === 'fail')).toEqual([])
    expect(code).toBe(0)
    for (const check of [
      'Node.js',
      'configuration',
      'environment',
      'Postgres',
      'schema',
      'Postgres rights',
      'Postgres connections',
      'clock',
    ])
      expect(row(check), check).toMatchObject({ state: 'ok' })
    for (const check of ['Redis rights', `upstream ${upstream.url}`, 'open files', 'memory'])
      expect(row(check), check).toMatchObject({ state: 'ok' })
    expect(rows.filter(({ check }) => check.startsWith('port ')).map(({ state, found }) => [state, found])).toEqual([
      ['ok', 'free, for server.port'],
      ['ok', 'free, for admin.port'],
    ])
    expect(row('running gateway')).toMatchObject({ state: 'not checked' })
    expect(row('secret key')).toMatchObject({ state: 'not checked', found: 'the database has no keys yet' })
  })

  it('as a table: one line for what was found, and below it what to do', async () => {
    const file = await fileWith({ routes: [{ name: 'a', match: { path: '/a' }, upstream: ['http://127.0.0.1:1'], access: 'public' }] })
    const { code, stdout } = await runCli(['doctor', '--config', file])
    expect(code).toBe(1)
    const [header, ...lines] = stdout.split('\n')
    expect(header).toMatch(/^check +state +what was found, and what to do$/)
    const at = lines.findIndex((line) => line.startsWith('upstream http://127.0.0.1:1 '))
    expect(lines[at]).toMatch(/ fail +TCP: connect ECONNREFUSED 127\.0\.0\.1:1$/)
    expect(lines[at + 1]).toMatch(/^ +→ start it, or correct routes\[0\]\.upstream\[0\]$/)
    expect(stdout).toMatch(/\n\d+ ok, \d+ warnings, 1 failures, \d+ not checked\n$/)
  })

  it('with the embedded database: it is not made', async () => {
    const file = await fileWith({})
    const { code, row } = await doctor(file, [], { PORTCULLIS_SECRET_KEY: KEY })
    expect(code).toBe(0)
    expect(row('embedded database')).toMatchObject({
      state: 'not checked',
      found: expect.stringContaining('it is made at the first start'),
    })
    expect(row('folder database.dataDir')).toMatchObject({ state: 'ok' })
    expect(existsSync(join(file, '../data'))).toBe(false)
  })

  it('without the variables of the gateway: says where they are', async () => {
    const file = await fileWith({})
    const envFile = join(file, '../.env')
    writeFileSync(envFile, `DATABASE_URL=${databaseUrl}\nREDIS_URL=${inject('redisUrl')}\nPORTCULLIS_SECRET_KEY=${KEY}\n`, { mode: 0o600 })
    const without = await doctor(file)
    expect(without.rows.filter(({ check }) => check === 'environment')).toMatchObject([
      { state: 'not checked' },
      { state: 'warn', found: expect.stringContaining('DATABASE_URL, PORTCULLIS_SECRET_KEY, REDIS_URL'), advice: `--env-file ${envFile}` },
    ])
    const withFile = await doctor(file, ['--env-file', envFile])
    expect(withFile.row('environment')).toMatchObject({ state: 'ok' })
    expect(withFile.row('Postgres')).toMatchObject({ state: 'ok' })
  })
})

it('an existing embedded database is read', async () => {
  const file = await fileWith({})
  await createDataDir(join(file, '../data'))
  const { row } = await doctor(file)
  expect(row('embedded database')).toMatchObject({ state: 'ok' })
  expect(row('schema')).toMatchObject({ state: 'ok', found: 'every step is applied' })
  // the first test that needs such a folder makes the template
}, 120_000)

describe('while the gateway runs', () => {
  let gateway: GatewayProcess
  beforeAll(async () => {
    gateway = await startGatewayProcess({ routes: [{ name: 'a', match: { path: '/a' }, upstream: [upstream.url], access: 'public' }] })
  }, 60_000)
  afterAll(() => gateway?.stop())

  it('its ports are its own, and it answers for the embedded database that it has open', async () => {
    const { code, rows, row } = await doctor(gateway.file)
    expect(rows.filter(({ state }) => state === 'fail')).toEqual([])
    expect(code).toBe(0)
    expect(row('running gateway')).toMatchObject({
      state: 'ok',
      found: expect.stringMatching(new RegExp(`^version .*, process ${gateway.pid}, is ready$`)),
    })
    expect(row(`port ${gateway.port}`)).toMatchObject({
      state: 'ok',
      found: `used by the running gateway (process ${gateway.pid}), for server.port`,
    })
    expect(row('embedded database')).toMatchObject({ state: 'ok' })
    expect(row('schema')).toMatchObject({ state: 'ok' })
    expect(row('open files')!.found).toContain(`in the running gateway (process ${gateway.pid})`)
  })

  it('another configuration than its own is noticed', async () => {
    const port = await freePort()
    const { code, row } = await doctor(gateway.file, ['--set', `server.port=${port}`])
    expect(code).toBe(1)
    expect(row(`port ${port}`)).toMatchObject({ state: 'fail', found: 'the running gateway does not listen here, at server.port' })
  })
})

describe('a wrong configuration, exit 2', () => {
  it('what does not depend on the wrong section is examined all the same', async () => {
    const file = await fileWith({ server: { prot: 1 } })
    const { code, row } = await doctor(file, [], onPostgres())
    expect(code).toBe(2)
    expect(row('configuration')).toMatchObject({ state: 'fail', found: expect.stringContaining('server.prot: unknown key') })
    expect(row('ports')).toMatchObject({ state: 'not checked', found: 'the section server of the configuration is wrong' })
    expect(row('Redis rights')).toMatchObject({ state: 'ok' })
    expect(row(`upstream ${upstream.url}`)).toMatchObject({ state: 'ok' })
  })

  it('a wrong database URL is never taken for the embedded database', async () => {
    const { code, rows, row } = await doctor(await fileWith({ database: { url: 'mysql://a:hidden-word@db/x' } }))
    expect(code).toBe(2)
    expect(row('database')).toMatchObject({ state: 'not checked' })
    expect(rows.some(({ check }) => check.startsWith('embedded'))).toBe(false)
    expect(JSON.stringify(rows)).not.toContain('hidden-word')
  })

  it('a file that cannot be understood', async () => {
    const file = join(dir, 'broken.yaml')
    writeFileSync(file, 'server:\n\tport: 1\n')
    const { code, row } = await doctor(file)
    expect(code).toBe(2)
    expect(row('configuration')).toMatchObject({ state: 'fail', found: expect.stringContaining('Tabs are not allowed') })
    for (const check of ['database', 'Redis', 'ports', 'servers', 'disk']) expect(row(check), check).toMatchObject({ state: 'not checked' })
    expect(row('Node.js')).toMatchObject({ state: 'ok' })
  })

  it('a secret key of a wrong form is not shown', async () => {
    const { code, stdout, row } = await doctor(await fileWith({}), [], { PORTCULLIS_SECRET_KEY: 'c2VjcmV0LXdvcmQ=' })
    expect(code).toBe(2)
    expect(row('environment')).toMatchObject({ state: 'fail', found: 'PORTCULLIS_SECRET_KEY has a wrong form' })
    expect(stdout).not.toContain('c2VjcmV0')
  })

  it('a file of variables that is not there', async () => {
    const file = await fileWith({})
    expect(await runCli(['doctor', '--config', file, '--env-file', '/nowhere'])).toEqual({
      code: 2,
      stdout: '',
      stderr: '--env-file /nowhere: cannot be read: ENOENT: no such file or directory\nSee: portcullis doctor --help\n',
    })
  })
})

describe('Postgres', () => {
  const withUser = (url: string, user: string, password = '') => url.replace('postgres@', `${user}${password && `:${password}`}@`)

  it('away: says so in bounded time, and examines the rest', async () => {
    const silent = net.createServer(() => {}).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    try {
      for (const url of ['postgres://a:hidden-word@127.0.0.1:1/x', `postgres://a:hidden-word@127.0.0.1:${port}/x`]) {
        const { code, stdout, row } = await doctor(await fileWith({}), [], onPostgres(url))
        expect(code).toBe(1)
        expect(row('Postgres')).toMatchObject({ state: 'fail', advice: 'start it, or correct DATABASE_URL (database.url)' })
        expect(row('Redis rights')).toMatchObject({ state: 'ok' })
        expect(stdout).not.toContain('hidden-word')
      }
    } finally {
      silent.close()
    }
  })

  it('too few connections', async () => {
    const { code, row } = await doctor(await fileWith({}), ['--set', 'database.poolSize=500'], onPostgres())
    expect(code).toBe(1)
    expect(row('Postgres connections')).toMatchObject({
      state: 'fail',
      found: expect.stringContaining('up to 502 for this gateway; the server allows'),
    })
  })

  it('a user without rights', async () => {
    await query(databaseUrl, `CREATE ROLE doctor_${process.pid} LOGIN`)
    const { code, row } = await doctor(await fileWith({}), [], onPostgres(withUser(databaseUrl, `doctor_${process.pid}`)))
    expect(code).toBe(1)
    expect(row('Postgres rights')).toMatchObject({
      state: 'fail',
      found: expect.stringContaining('may not create tables in the schema public'),
      advice: expect.stringContaining('GRANT USAGE, CREATE ON SCHEMA public'),
    })
    await query(databaseUrl, `GRANT CREATE ON SCHEMA public TO doctor_${process.pid}`)
    const later = await doctor(await fileWith({}), [], onPostgres(withUser(databaseUrl, `doctor_${process.pid}`)))
    expect(later.row('Postgres rights')).toMatchObject({ state: 'fail', found: expect.stringContaining('may not read and write') })
    await query(databaseUrl, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO doctor_${process.pid}`)
    const last = await doctor(await fileWith({}), [], onPostgres(withUser(databaseUrl, `doctor_${process.pid}`)))
    expect(last.row('Postgres rights')).toMatchObject({ state: 'warn', found: expect.stringContaining('belong to another user') })
    await query(databaseUrl, `DROP OWNED BY doctor_${process.pid}; DROP ROLE doctor_${process.pid}`)
  })

  it('an empty database, and one of a newer version', async () => {
    const name = `doctor_${process.pid}`
    await query(inject('postgresUrl'), `CREATE DATABASE ${name}`)
    const empty = await doctor(await fileWith({}), [], onPostgres(inject('postgresUrl').replace(/\/postgres$/, `/${name}`)))
    expect(empty.row('schema')).toMatchObject({ state: 'warn', found: expect.stringMatching(/^\d+ steps are missing: 0001-accounts to /) })
    expect(empty.row('secret key')).toMatchObject({ state: 'not checked' })
    const newer = await createDatabase(inject('postgresUrl'))
    await query(newer, `INSERT INTO kysely_migration (name, timestamp) VALUES ('9999-future', now()::text)`)
    await query(newer, `UPDATE schema_minimum SET step = '9999-future'`)
    const { code, row } = await doctor(await fileWith({}), [], onPostgres(newer))
    expect(code).toBe(1)
    expect(row('schema')).toMatchObject({ state: 'fail', found: expect.stringContaining('9999-future') })
  })

  it('the secret key of another database', async () => {
    const url = await createDatabase(inject('postgresUrl'))
    const file = await fileWith({})
    expect((await runCli(['keys', 'list', '--config', file], onPostgres(url))).code).toBe(0)
    expect((await doctor(file, [], onPostgres(url))).row('secret key')).toMatchObject({ state: 'ok' })
    const other = { ...onPostgres(url), PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64') }
    const { code, row } = await doctor(file, [], other)
    expect(code).toBe(1)
    expect(row('secret key')).toMatchObject({ state: 'fail' })
  })

  it.runIf(FAKETIME !== null)('a wrong clock of this machine', async () => {
    const file = await fileWith({})
    const run = (clock: string) =>
      spawnSync(process.execPath, [CLI, 'doctor', '--config', file, '--json'], {
        env: { ...bare(), ...onPostgres(), ...environmentOf(clock) },
        encoding: 'utf8',
      })
    const ahead = run('+300s')
    expect(ahead.status).toBe(1)
    expect(rowsOf(ahead.stdout).find(({ check }) => check === 'clock')).toMatchObject({
      state: 'fail',
      found: 'this machine is 300 s ahead of the database',
    })
    expect(rowsOf(run('-10s').stdout).find(({ check }) => check === 'clock')).toMatchObject({ state: 'warn' })
  })
})

describe('Redis', () => {
  let redis: TestRedis
  let admin: Redis
  const redisUrl = (user = '') => `redis://${user && `${user}@`}127.0.0.1:${redis.port}`
  const examine = async (url: string) => doctor(await fileWith({}), [], { REDIS_URL: url, PORTCULLIS_SECRET_KEY: KEY })
  beforeAll(async () => {
    redis = await startRedis()
    admin = new Redis(redis.url)
  })
  afterAll(async () => {
    admin.disconnect()
    await redis.stop()
  })

  it('the documented rights are enough', async () => {
    const rights = '~portcullis:* &portcullis:* +@connection +@scripting +@transaction +@read +@write +@pubsub +time'
    await admin.call('ACL', 'SETUSER', 'documented', 'on', '>hidden-word', ...rights.split(' '))
    const { code, stdout, rows, row } = await examine(redisUrl('documented:hidden-word'))
    expect(row('Redis rights')).toMatchObject({ state: 'ok' })
    expect(row(`Redis 127.0.0.1:${redis.port}`)).toMatchObject({ state: 'ok', found: expect.stringMatching(/^version \d/) })
    // INFO is not among them
    expect(row('Redis memory')).toMatchObject({ state: 'not checked' })
    expect(rows.filter(({ state }) => state === 'fail')).toEqual([])
    expect(code).toBe(0)
    expect(stdout).not.toContain('hidden-word')
  })

  it('a right that is missing', async () => {
    await admin.call('ACL', 'SETUSER', 'weak', 'on', '>hidden-word', '~portcullis:*', '&portcullis:*', '+@all', '-@scripting')
    const { code, stdout, row } = await examine(redisUrl('weak:hidden-word'))
    expect(code).toBe(1)
    expect(row('Redis rights')).toMatchObject({
      state: 'fail',
      found: expect.stringMatching(/^scripts with TIME and SET: NOPERM/),
      advice: expect.stringContaining('ACL SETUSER the_user ~portcullis:*'),
    })
    expect(stdout).not.toContain('hidden-word')
  })

  it('a wrong password, and a server that is away', async () => {
    const wrong = await examine(redisUrl('weak:another-word'))
    expect(wrong.row(`Redis 127.0.0.1:${redis.port}`)).toMatchObject({
      state: 'fail',
      advice: expect.stringContaining('correct the user and the password'),
    })
    expect(wrong.stdout).not.toContain('another-word')
    const away = await examine('redis://:hidden-word@127.0.0.1:1')
    expect(away.row('Redis 127.0.0.1:1')).toMatchObject({ state: 'fail', found: expect.stringContaining('ECONNREFUSED') })
    expect(away.stdout).not.toContain('hidden-word')
  })

  it('a server that evicts keys, and one that is full', async () => {
    await admin.call('CONFIG', 'SET', 'maxmemory', '100mb', 'maxmemory-policy', 'allkeys-lru')
    expect((await examine(redisUrl())).row('Redis memory')).toMatchObject({ state: 'warn', found: expect.stringContaining('allkeys-lru') })
    await admin.call('CONFIG', 'SET', 'maxmemory', '1', 'maxmemory-policy', 'noeviction')
    const { row } = await examine(redisUrl())
    expect(row('Redis memory')).toMatchObject({ state: 'warn' })
    expect(row('Redis rights')).toMatchObject({
      state: 'fail',
      found: expect.stringContaining('OOM'),
      advice: expect.stringContaining('maxmemory'),
    })
    await admin.call('CONFIG', 'SET', 'maxmemory', '0')
  })
})

describe('ports', () => {
  it('taken by another program: its name and its process', async () => {
    const owner = net.createServer().listen(0, '127.0.0.1')
    await once(owner, 'listening')
    const { port } = owner.address() as AddressInfo
    try {
      const { code, row } = await doctor(await fileWith({}), ['--set', `server.port=${port}`])
      expect(code).toBe(1)
      expect(row(`port ${port}`)).toMatchObject({
        state: 'fail',
        found: expect.stringMatching(new RegExp(`^taken by .+ \\(process ${process.pid}\\)$`)),
        advice: `stop it: kill ${process.pid}; or set server.port to another port`,
      })
    } finally {
      owner.close()
    }
  })

  it('an address of another machine', async () => {
    const { code, rows } = await doctor(await fileWith({}), ['--set', 'server.host=203.0.113.9'])
    expect(code).toBe(1)
    expect(rows).toContainEqual(expect.objectContaining({ state: 'fail', found: '203.0.113.9 is no address of this machine' }))
  })
})

describe('files', () => {
  let authority: Authority
  let issued: Issued
  beforeAll(async () => {
    authority = await createAuthority()
    issued = await authority.issue(['api.example.com'])
  })
  afterAll(() => authority.close())

  const withTls = (cert: string, key: string) =>
    fileWith({ server: { host: '127.0.0.1', port: 0, publicUrl: 'https://api.example.com', tls: { cert, key } } })

  it('a good certificate', async () => {
    const { row } = await doctor(await withTls(issued.certFile, issued.keyFile))
    expect(row('certificate server.tls')).toMatchObject({ state: 'ok', found: expect.stringContaining('api.example.com') })
  })

  it.each([
    ['expired', -30, -1, 'fail', ' expired on '],
    ['not yet valid', 1, 30, 'fail', ' is not valid before '],
    ['near its end', -30, 5, 'warn', 'valid until '],
  ])('a certificate that is %s', async (_, fromDays, toDays, state, found) => {
    const day = (days: number) => new Date(Date.now() + days * 86_400_000)
    const made = await generate([{ name: 'commonName', value: 'api.example.com' }], {
      notBeforeDate: day(fromDays),
      notAfterDate: day(toDays),
      keyType: 'ec',
      algorithm: 'sha256',
      extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: 'api.example.com' }] }],
    })
    const [cert, key] = [join(dir, `${count}.pem`), join(dir, `${count++}.key`)]
    writeFileSync(cert, made.cert)
    writeFileSync(key, made.private, { mode: 0o600 })
    expect((await doctor(await withTls(cert, key))).row('certificate server.tls')).toMatchObject({
      state,
      found: expect.stringContaining(found),
    })
  })

  it('a key of another certificate, a missing file, and a wrong name', async () => {
    const other = await authority.issue(['other.example.com'])
    expect((await doctor(await withTls(issued.certFile, other.keyFile))).row('certificate server.tls')).toMatchObject({ state: 'fail' })
    const missing = await doctor(await withTls('/nowhere.pem', issued.keyFile))
    expect(missing.row('certificate server.tls')).toMatchObject({
      state: 'fail',
      found: expect.stringContaining('/nowhere.pem: cannot be read'),
    })
    const wrong = await doctor(await withTls(other.certFile, other.keyFile))
    expect(wrong.row('certificate for server.publicUrl')).toMatchObject({
      state: 'fail',
      found: expect.stringContaining('does not cover api.example.com'),
    })
  })

  it('secrets that others may read', async () => {
    const file = await fileWith({ redis: { url: 'redis://:hidden-word@127.0.0.1:1' } })
    chmodSync(file, 0o644)
    const envFile = join(file, '../.env')
    writeFileSync(envFile, 'A=1\n')
    chmodSync(envFile, 0o644)
    const { row, stdout } = await doctor(file, ['--env-file', envFile])
    expect(row('file .env')).toMatchObject({ state: 'fail', advice: `chmod go-rwx ${envFile}` })
    expect(row('file portcullis.json')).toMatchObject({
      state: 'fail',
      found: expect.stringContaining('a URL with a password'),
      advice: `chmod 640 ${file}`,
    })
    expect(stdout).not.toContain('hidden-word')
    chmodSync(envFile, 0o600)
    chmodSync(file, 0o640)
    const later = await doctor(file)
    expect([later.row('file .env')?.state, later.row('file portcullis.json')?.state]).toEqual(['ok', 'ok'])
    chmodSync(file, 0o666)
    expect((await doctor(file)).row('file portcullis.json')).toMatchObject({ state: 'fail', advice: `chmod o-w ${file}` })
  })

  it('the private key of the listener', async () => {
    chmodSync(issued.keyFile, 0o644)
    const file = await withTls(issued.certFile, issued.keyFile)
    expect((await doctor(file)).row('file server.tls.key')).toMatchObject({ state: 'fail' })
    chmodSync(issued.keyFile, 0o640)
    expect((await doctor(file)).row('file server.tls.key')).toMatchObject({ state: 'ok' })
  })

  it('a folder that is no folder', async () => {
    const { code, row } = await doctor(await fileWith({ database: { dataDir: CLI } }))
    expect(code).toBe(1)
    expect(row('folder database.dataDir')).toMatchObject({ state: 'fail', found: `${CLI} is not a folder` })
  })

  it.runIf(process.getuid?.() === 0)('a folder of another user', async () => {
    const file = await fileWith({})
    const data = join(file, '../data')
    mkdirSync(data)
    execFileSync('chown', ['12345', data])
    expect((await doctor(file)).row('folder database.dataDir')).toMatchObject({
      state: 'not checked',
      found: expect.stringContaining('belongs to the user 12345'),
    })
  })

  it.runIf(process.getuid?.() === 0)('a full disk', async ({ skip }) => {
    const disk = mkdtempSync(join(dir, 'disk-'))
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]).status !== 0) skip('this machine cannot mount a tmpfs')
    try {
      const { code, row } = await doctor(await fileWith({ database: { dataDir: disk } }))
      expect(code).toBe(1)
      expect(row('disk database.dataDir')).toMatchObject({ state: 'fail', found: `64.0 KiB of 64.0 KiB free at ${disk}` })
    } finally {
      execFileSync('umount', [disk])
    }
  })
})

it('few descriptors', async () => {
  const file = await fileWith({})
  const command = ['sh', '-c', 'ulimit -n 200; exec "$@"', 'sh', process.execPath, CLI, 'doctor', '--config', file, '--json']
  const { stdout, status } = spawnSync(command[0]!, command.slice(1), { env: bare(), encoding: 'utf8' })
  expect(status).toBe(1)
  expect(rowsOf(stdout).find(({ check }) => check === 'open files')).toMatchObject({
    state: 'fail',
    found: expect.stringMatching(/^200 in this shell: enough for \d+ of 500 connections in each worker$/),
  })
})

it('the name of an upstream that does not exist', async () => {
  const routes = [{ name: 'a', match: { path: '/a' }, upstream: ['http://no-such-host.invalid:3000'], access: 'public' }]
  const { row } = await doctor(await fileWith({ routes }))
  expect(row('upstream http://no-such-host.invalid:3000')).toMatchObject({
    state: 'fail',
    advice: 'the name is not known here: correct routes[0].upstream[0], or see: getent hosts no-such-host.invalid',
  })
})
