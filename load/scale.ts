/**
 * Loads a Postgres database with many users and a sealed audit log, and measures what administrators and the gateway do with it: lists, searches,
 * `audit verify`, `audit export`, `cleanup`. Prints a Markdown table.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { type App, buildApp } from '../src/app/app.ts'
import { loadConfig } from '../src/app/load-config.ts'
import { headOf } from '../src/platform/audit/chain.ts'
import { rootOf } from '../src/platform/audit/merkle.ts'
import { commitmentOf, leafOf, ROW_MAC, textOf } from '../src/platform/audit/row.ts'
import { openDatabase } from '../src/platform/db/database.ts'
import { migrateDown, migrateUp } from '../src/platform/db/migrate.ts'
import { textOfEvent } from '../src/platform/db/migration-events.ts'
import { createLogger } from '../src/platform/telemetry/logger.ts'
import { createSecrets, type Secrets } from '../src/platform/vault/secrets.ts'
import { startPostgres } from '../test/support/postgres.ts'

const HELP = `node load/scale.ts [options]

  --users N        users (100000)
  --rows N         rows of the audit log (1000000)
  --database URL   an empty Postgres database, which keeps the data; without it a new Postgres is started and removed
  --count N        requests of each kind (20)
  --clients N      how many clients ask at once in the last part (50)`

const { values } = parseArgs({
  options: {
    users: { type: 'string', default: '100000' },
    rows: { type: 'string', default: '1000000' },
    database: { type: 'string' },
    count: { type: 'string', default: '20' },
    clients: { type: 'string', default: '50' },
    help: { type: 'boolean', short: 'h' },
  },
})
const [USERS, ROWS, COUNT, CLIENTS] = [values.users, values.rows, values.count, values.clients].map(Number) as [
  number,
  number,
  number,
  number,
]

const DAY_MS = 86_400_000
const AUDIT_DAYS = 400
const BATCH_ROWS = 1000
const BEFORE_INDEXES = '0015-usernames-and-metadata'
const ADMIN = { email: 'root@example.com', password: 'plain zebra of fields 7' }
const [STAFF, BUSY] = ['00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002']

/** Ids rise with the number, as those of accounts rise with the time. */
const USERS_SQL = `
  INSERT INTO users (id, username, email, email_canonical, password_hash, roles, disabled_at, email_verified_at)
  SELECT (lpad(to_hex(1700000000000 + n * 1000), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
    name, name || '@' || host, name || '@' || host, '$argon2id$v=19$m=19456,t=2,p=1$' || repeat('x', 65),
    CASE WHEN n % 1000 = 0 THEN '{user,auditor}' ELSE '{user}' END::text[], CASE WHEN n % 500 = 0 THEN now() END, now()
  FROM (
    SELECT n, (array['ann', 'bob', 'carla', 'dieter', 'eva', 'frank', 'gina', 'hugo', 'ivan', 'jane'])[1 + (n * 7) % 10] || '.' || substr(md5(n::text), 1, 3 + n % 5) || n AS name,
      CASE WHEN n % 10 < 5 THEN 'gmail.com' WHEN n % 10 < 7 THEN 'outlook.com' WHEN n % 10 < 9 THEN 'firm-' || n % 200 || '.example'
        ELSE 'uni-' || n % 40 || '.edu.example' END AS host
    FROM generate_series(1, $1::int) n
  ) AS made`

/** Rows that the cleanup removes, of each kind. Each session has three tokens. */
const EXPIRED_SQL = [
  `INSERT INTO sessions (id, user_id, amr, auth_time, created_at, last_used_at, expires_at, revoked_at)
   SELECT gen_random_uuid(), id, '{pwd}', now() - interval '90 days', now() - interval '90 days', now(),
     CASE WHEN right(id::text, 1) < '8' THEN now() + interval '20 days' ELSE now() - interval '31 days' END,
     CASE WHEN right(id::text, 1) < '4' THEN now() - interval '31 days' END FROM users`,
  `INSERT INTO refresh_tokens (id, session_id, token_hash, created_at, expires_at, rotated_at)
   SELECT gen_random_uuid(), s.id, decode(md5(s.id::text || n), 'hex'), now() - interval '90 days',
     CASE WHEN n = 3 THEN s.expires_at ELSE now() - interval '40 days' END, CASE WHEN n < 3 THEN now() - interval '40 days' END
   FROM sessions s, generate_series(1, 3) n`,
  `INSERT INTO devices (id, user_id, first_seen_at, last_seen_at)
   SELECT gen_random_uuid(), id, now() - interval '400 days', now() - interval '200 days' FROM users`,
  `INSERT INTO device_tokens (device_id, token_hash, created_at, presented_at)
   SELECT id, decode(md5(id::text), 'hex'), first_seen_at, last_seen_at FROM devices`,
  `INSERT INTO used_tokens SELECT 'mfa', n::text, now() - interval '1 day' FROM generate_series(1, $1::int) n`,
  `INSERT INTO revocations (id, session_id, expires_at)
   SELECT gen_random_uuid(), gen_random_uuid(), now() - interval '1 day' FROM generate_series(1, $1::int)`,
  `INSERT INTO limit_counters SELECT 'login|' || n, 1, now() - interval '1 hour' FROM generate_series(1, $1::int) n`,
  `INSERT INTO outbox (id, key, template, created_at, expires_at, sent_at)
   SELECT gen_random_uuid(), 'm' || n, 'new_login', now() - interval '40 days', now() - interval '39 days', now() - interval '40 days'
   FROM generate_series(1, $1::int) n`,
]

type Row = Parameters<typeof leafOf>[0] & { salt: string | null; ip: string | null; user_agent: string | null }

/** What happened in one row of a hundred. */
function eventOf(n: number, users: string[]): Pick<Row, 'event' | 'outcome' | 'user_id' | 'actor'> {
  const user_id = users[(n * 7919) % users.length]!
  const kind = n % 100
  if (kind < 55) return { event: 'login', outcome: 'success', user_id, actor: null }
  if (kind < 75) return { event: 'login', outcome: 'invalid_credentials', user_id: kind < 57 ? BUSY : user_id, actor: null }
  if (kind < 85) return { event: 'logout', outcome: 'success', user_id, actor: null }
  if (kind < 90) return { event: 'mfa', outcome: 'success', user_id, actor: null }
  if (kind < 94) return { event: 'password_change', outcome: 'success', user_id, actor: null }
  if (kind < 97) return { event: 'role_grant', outcome: 'success', user_id, actor: `user:${STAFF}` }
  if (kind < 99) return { event: 'user_import', outcome: 'success', user_id, actor: 'command line' }
  return { event: 'user_disable', outcome: n % 1000 === 99 ? 'last_admin' : 'success', user_id, actor: `user:${STAFF}` }
}

async function loadAudit(client: pg.Client, secrets: Secrets): Promise<void> {
  const users = (await client.query('SELECT id FROM users')).rows.map((row) => row.id as string)
  const begin = Date.now() - AUDIT_DAYS * DAY_MS
  const stepMs = (AUDIT_DAYS * DAY_MS) / ROWS
  let head: string | null = null
  const batches: object[] = []
  for (let first = 0, number = 1; first < ROWS; first += BATCH_ROWS, number++) {
    const rows: (Row & { batch: number })[] = []
    for (let n = first; n < Math.min(first + BATCH_ROWS, ROWS); n++) {
      const at = new Date(Math.floor(begin + n * stepMs))
      const hasPerson = n % 10 < 8
      const personal = hasPerson
        ? { salt: randomBytes(32).toString('hex'), ip: `203.0.113.${n % 256}`, user_agent: 'Mozilla/5.0 (X11; Linux x86_64)' }
        : { salt: null, ip: null, user_agent: null }
      const id = `${at
        .getTime()
        .toString(16)
        .padStart(12, '0')
        .replace(/(.{8})/, '$1-')}-7${(n % 4096).toString(16).padStart(3, '0')}-8000-${n.toString(16).padStart(12, '0')}`
      const facts = {
        id,
        at,
        ...eventOf(n, users),
        session_id: null,
        detail: null,
        request_id: id,
        personal: hasPerson ? commitmentOf(personal as never) : null,
      }
      rows.push({ ...facts, mac: secrets.mac(ROW_MAC, textOf(facts)), batch: number, ...personal })
    }
    rows.sort((a, b) => (a.id < b.id ? -1 : 1))
    const contents = {
      number,
      previous: head,
      sealed_at: rows.at(-1)!.at,
      size: rows.length,
      root: rootOf(rows.map(leafOf)),
      is_adopted: false,
      removed_through: 0,
    }
    head = headOf(contents)
    batches.push({ ...contents, head, mac: secrets.mac('audit batch', head) })
    const json = JSON.stringify(rows)
    await client.query(
      'INSERT INTO audit_log (id, at, event, outcome, user_id, session_id, actor, detail, request_id, personal, mac, batch) SELECT id, at, event, outcome, user_id, session_id, actor, detail, request_id, personal, mac, batch FROM json_populate_recordset(null::audit_log, $1)',
      [json],
    )
    await client.query(
      'INSERT INTO audit_personal SELECT * FROM json_to_recordset($1) AS r (id uuid, salt text, ip text, user_agent text) WHERE salt IS NOT NULL',
      [json],
    )
    if (number % 100 === 0) console.error(`audit log: ${first + rows.length} of ${ROWS} rows`)
  }
  await client.query('INSERT INTO audit_batches SELECT * FROM json_populate_recordset(null::audit_batches, $1)', [JSON.stringify(batches)])
}

async function load(url: string, secrets: Secrets): Promise<void> {
  const database = await openDatabase({ url, dataDir: '', poolSize: 1 }, createLogger('silent'))
  await migrateUp(database)
  // the step that makes most indexes comes after the rows, as in an upgrade
  await migrateDown(database, { to: BEFORE_INDEXES })
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(USERS_SQL, [USERS])
  for (const id of [STAFF, BUSY])
    await client.query(
      `INSERT INTO users (id, username, email, email_canonical, password_hash, roles) VALUES ($1, $2, $3, $3, 'x', '{user,support}')`,
      [id, `staff-${id.slice(-1)}`, `staff${id.slice(-1)}@example.com`],
    )
  console.error(`users: ${USERS}`)
  for (const text of EXPIRED_SQL) await client.query(text, text.includes('$1') ? [USERS] : [])
  await loadAudit(client, secrets)
  await migrateUp(database, { report: (event) => console.error(textOfEvent(event)) })
  await database.close()
  // as autovacuum does some minutes later
  await client.query('VACUUM ANALYZE')
  await client.end()
}

const median = (times: number[]) => times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)]!
const ms = (n: number) => `${n.toFixed(1)} ms`

type Get = (path: string) => Promise<{ next_cursor: string | null; [list: string]: unknown }>

/** The pages that administrators ask for: frequent and rare values, none, combinations, deep pages. */
const pages = (cursors: { users: string; events: string }): Record<string, string> => ({
  'users, first page': '/users?limit=50',
  'users, 200 after 50,000': `/users?limit=200&cursor=${cursors.users}`,
  'users, half of them: gmail.com': '/users?search=gmail.com',
  'users, one in ten: ANN': '/users?search=ANN',
  'users, a name': `/users?search=${encodeURIComponent('.c4')}`,
  'users, a domain: firm-77': '/users?search=firm-77.example',
  'users, one character: z': '/users?search=z',
  'users, nothing: zq9': '/users?search=zq9',
  'users, nothing of frequent parts: com.gmail': '/users?search=com.gmail',
  'users, role auditor': '/users?role=auditor',
  'users, disabled': '/users?disabled=true',
  'users, role auditor, disabled, gmail': '/users?role=auditor&disabled=true&search=gmail',
  'audit, first page': '/audit?limit=50',
  'audit, 200 after 500,000': `/audit?limit=200&cursor=${cursors.events}`,
  'audit, a user': `/audit?user=${BUSY}`,
  'audit, a user without rows of the event': `/audit?user=${BUSY}&event=role_grant`,
  'audit, event login': '/audit?event=login',
  'audit, outcome last_admin': '/audit?outcome=last_admin',
  'audit, event login, outcome invalid_credentials': '/audit?event=login&outcome=invalid_credentials',
  'audit, event logout, outcome invalid_credentials: none': '/audit?event=logout&outcome=invalid_credentials',
  'audit, an administrator': `/audit?actor=user:${STAFF}`,
  'audit, an administrator, event login: none': `/audit?actor=user:${STAFF}&event=login`,
  'audit, an administrator, outcome last_admin': `/audit?actor=user:${STAFF}&outcome=last_admin`,
  'audit, an actor without rows': '/audit?actor=nobody',
  'audit, a day of last year': `/audit?since=${new Date(Date.now() - 380 * DAY_MS).toISOString()}&until=${new Date(Date.now() - 379 * DAY_MS).toISOString()}`,
  'audit, event user_import, a day': `/audit?event=user_import&since=${new Date(Date.now() - 300 * DAY_MS).toISOString()}&until=${new Date(Date.now() - 299 * DAY_MS).toISOString()}`,
})

async function measurePages(get: Get): Promise<void> {
  const [users] = (await get('/users?limit=1')).users as { id: string }[]
  const middle = `${(1_700_000_000_000 + (USERS / 2) * 1000)
    .toString(16)
    .padStart(12, '0')
    .replace(/(.{8})/, '$1-')}-7000-8000-000000000000`
  const half = new Date(Date.now() - (AUDIT_DAYS / 2) * DAY_MS).toISOString()
  const events = Buffer.from(`${half} ${users!.id}`).toString('base64url')
  console.log('\n| page | rows | median | slowest |\n|---|---|---|---|')
  for (const [name, path] of Object.entries(pages({ users: middle, events }))) {
    const times: number[] = []
    let size = 0
    // the first is not counted: the promise is about a warm cache
    for (let i = -1; i < COUNT; i++) {
      const start = performance.now()
      const body = await get(path)
      if (i >= 0) times.push(performance.now() - start)
      size = ((body.users ?? body.events) as unknown[]).length
    }
    console.log(`| ${name} | ${size} | ${ms(median(times))} | ${ms(Math.max(...times))} |`)
  }
}

async function measureCrowd(get: Get): Promise<void> {
  console.log(`\n| ${CLIENTS} clients at once | requests/s | median | slowest |\n|---|---|---|---|`)
  for (const path of ['/users?search=gmail.com', '/users?search=firm-77.example', '/audit?event=login', `/audit?user=${BUSY}`]) {
    const times: number[] = []
    const start = performance.now()
    const client = async () => {
      for (let i = 0; i < COUNT; i++) {
        const asked = performance.now()
        await get(path)
        times.push(performance.now() - asked)
      }
    }
    await Promise.all(Array.from({ length: CLIENTS }, client))
    console.log(
      `| ${path} | ${Math.round((times.length / (performance.now() - start)) * 1000)} | ${ms(median(times))} | ${ms(Math.max(...times))} |`,
    )
  }
}

/** Commands run in processes of their own, as an operator runs them. */
async function measureCommands(file: string, env: NodeJS.ProcessEnv): Promise<void> {
  console.log('\n| command | seconds | CPU seconds | peak memory | result |\n|---|---|---|---|---|')
  for (const args of [['audit', 'verify'], ['audit', 'export'], ['cleanup'], ['audit', 'verify'], ['cleanup']]) {
    const start = performance.now()
    const child = spawn(process.execPath, ['src/cli.ts', ...args, '--config', file], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    let [lines, last] = [0, '']
    let used = { peakKiB: 0, cpuSeconds: 0 }
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      lines += text.split('\n').length - 1
      if (args[1] !== 'export') last += text
    })
    const timer = setInterval(() => void useOf(child.pid!).then((now) => (used = now ?? used)), 100)
    const [code] = await once(child, 'close')
    clearInterval(timer)
    const result = args[1] === 'export' ? `${lines} lines` : last.split('\n')[0]
    console.log(
      `| ${args.join(' ')} | ${((performance.now() - start) / 1000).toFixed(1)} | ${used.cpuSeconds.toFixed(1)} | ${Math.round(used.peakKiB / 1024)} MiB | exit ${code}: ${result} |`,
    )
  }
}

/** From /proc, whose times are in ticks of 10 ms. Null: the process has ended. */
async function useOf(pid: number): Promise<{ peakKiB: number; cpuSeconds: number } | null> {
  const read = (name: string) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')
  const [status, stat] = await Promise.all([read('status'), read('stat')])
  const peakKiB = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0)
  const [user, system] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number)
  return peakKiB > 0 ? { peakKiB, cpuSeconds: ((user ?? 0) + (system ?? 0)) / 100 } : null
}

async function signIn(url: string): Promise<string> {
  const post = async (path: string, body: object, token?: string) => {
    const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
    const response = await fetch(`${url}/auth${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    return (await response.json()) as { access_token: string }
  }
  const { access_token } = await post('/login', { login: ADMIN.email, password: ADMIN.password })
  const changed = await post('/password/change', { current_password: ADMIN.password, new_password: `${ADMIN.password} 8` }, access_token)
  return changed.access_token
}

async function main(): Promise<void> {
  if (values.help) return console.log(HELP)
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-scale-'))
  const postgres = values.database ? null : await startPostgres()
  const url = values.database ?? postgres!.url
  const key = randomBytes(32)
  const file = join(dir, 'portcullis.json')
  writeFileSync(
    file,
    JSON.stringify({
      server: { host: '127.0.0.1', port: 0, publicUrl: 'http://127.0.0.1:1' },
      admin: { port: 0 },
      limits: { default: [], exempt: ['127.0.0.0/8'] },
      log: { level: 'error' },
      auth: { audit: { retentionDays: 390 } },
      routes: [],
    }),
  )
  const env = {
    ...process.env,
    DATABASE_URL: url,
    PORTCULLIS_SECRET_KEY: key.toString('base64'),
    PORTCULLIS_ADMIN_EMAIL: ADMIN.email,
    PORTCULLIS_ADMIN_PASSWORD: ADMIN.password,
  }
  let app: App | null = null
  try {
    const start = performance.now()
    await load(url, createSecrets(key))
    console.log(`${USERS} users and ${ROWS} audit rows were loaded in ${Math.round((performance.now() - start) / 1000)} s`)
    const { config, secrets } = loadConfig({ file, env })
    app = await buildApp({ config, secrets, logger: createLogger('error') })
    await app.start()
    const address = await app.server.listen({ host: '127.0.0.1', port: 0 })
    const token = await signIn(address)
    const get: Get = async (path) => {
      const response = await fetch(`${address}/auth/admin${path}`, { headers: { authorization: `Bearer ${token}` } })
      if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`)
      return (await response.json()) as Awaited<ReturnType<Get>>
    }
    await measurePages(get)
    await measureCrowd(get)
    await app.stop()
    app = null
    await measureCommands(file, env)
  } finally {
    await app?.stop()
    await postgres?.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}

await main()
