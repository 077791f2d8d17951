#!/usr/bin/env node
/** The commands, thin: read the words, call the story, print, exit. 0 done, 1 failed at run time, 2 wrong usage or configuration. */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import { parseArgs } from 'node:util'
import { viewOf } from './accounts/user-view.ts'
import type { Core } from './app.ts'
import { COMMAND_LINE } from './audit/audit.repo.ts'
import { ConfigError, type Loaded, loadConfig } from './config/load.ts'
import { formatProblem } from './config/source.ts'
import { causeText, Problem } from './errors.ts'
import { compileRoutes } from './gateway/routes.ts'
import { createLogger, createLogOutput, flushLogger } from './logger.ts'
import { WrongSecretKey } from './tokens/secrets.ts'
import { VERSION } from './version.ts'

const HELP = `portcullis ${VERSION}: a reverse-proxy auth gateway that owns its users

  portcullis serve --config FILE           run the gateway
  portcullis demo                          a small API behind a gateway, to try things out
  portcullis check --config FILE           judge a configuration; needs no secrets
  portcullis routes --config FILE          the routes as they are matched
  portcullis migrate up|down|status        the database schema
  portcullis keys list|rotate              signing keys
  portcullis users create|list|disable|enable|grant|revoke
  portcullis cleanup                       remove dead sessions and tokens now
  portcullis healthcheck                   exit 0 when the gateway is ready

Options
  --config FILE        configuration (default ./portcullis.yaml when it is there)
  --set a.b=value      one setting, over environment over file; repeatable
  --port N             the same as --set server.port=N
  --help               of a command: more on it
  --version

Environment: PORTCULLIS_SECRET_KEY (32 bytes, base64), DATABASE_URL, REDIS_URL, PORT, PORTCULLIS_<SECTION>__<KEY>; each also as …_FILE.
Exit codes: 0 done, 1 failed at run time, 2 wrong usage or configuration.`

const COMMAND_HELP: Record<string, string> = {
  serve: `portcullis serve --config FILE

  PORTCULLIS_SECRET_KEY=$(openssl rand -base64 32) portcullis serve --config portcullis.yaml
  DATABASE_URL=postgres://… REDIS_URL=redis://… portcullis serve --config portcullis.yaml --port 8080

Stops on SIGTERM: not ready, finishes what is in flight, closes.`,
  demo: `portcullis demo [--config FILE]

  portcullis demo

Starts a small API (orders, an event feed, a WebSocket) behind the gateway, on an embedded database in ./data/demo. Needs nothing else.`,
  check: `portcullis check --config FILE [--print | --json]

  portcullis check --config portcullis.yaml            every problem as file:line:col: path: what is wrong; exit 2
  portcullis check --config portcullis.yaml --print    the configuration with all defaults, as YAML
  portcullis check --config portcullis.yaml --json     {"ok": …, "problems": […], "warnings": […]}`,
  routes: `portcullis routes --config FILE [--json]

  portcullis routes --config portcullis.yaml`,
  migrate: `portcullis migrate up|down|status --config FILE

  portcullis migrate up       to the newest schema (serve does it, too)
  portcullis migrate down     takes the newest step back
  portcullis migrate status`,
  keys: `portcullis keys list|rotate [--now] --config FILE

  portcullis keys list
  portcullis keys rotate         publishes a new key; it signs once every gateway and every cached JWKS knows it
  portcullis keys rotate --now   signs with it at once: for a key that is compromised`,
  users: `portcullis users create|list|disable|enable|grant|revoke --config FILE

  portcullis users create --email ann@example.com --username ann --role admin     prints a generated password
  portcullis users create --email bob@example.com --username bob --password-stdin < file
  portcullis users list [--json]
  portcullis users grant LOGIN ROLE          LOGIN is an e-mail address or a username
  portcullis users revoke LOGIN ROLE
  portcullis users disable LOGIN             ends every session
  portcullis users enable LOGIN`,
  cleanup: `portcullis cleanup --config FILE

  portcullis cleanup`,
  healthcheck: `portcullis healthcheck [--config FILE]

  portcullis healthcheck        asks /readyz of the admin listener; for containers`,
}

class UsageError extends Error {}

const print = (text: string) => void process.stdout.write(`${text}\n`)
const complain = (text: string) => void process.stderr.write(`${text}\n`)

interface Words {
  values: {
    config?: string
    set?: string[]
    port?: string
    help?: boolean
    version?: boolean
    print?: boolean
    json?: boolean
    now?: boolean
    email?: string
    username?: string
    role?: string[]
    'password-stdin'?: boolean
  }
  positionals: string[]
}

function readWords(argv: string[]): Words {
  try {
    return parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        config: { type: 'string', short: 'c' },
        set: { type: 'string', multiple: true },
        port: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'v' },
        print: { type: 'boolean' },
        json: { type: 'boolean' },
        now: { type: 'boolean' },
        email: { type: 'string' },
        username: { type: 'string' },
        role: { type: 'string', multiple: true },
        'password-stdin': { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

const DEFAULT_CONFIG = 'portcullis.yaml'

const flagsOf = ({ set = [], port }: Words['values']): string[] => [...set, ...(port ? [`server.port=${port}`] : [])]

function load({ values }: Words, needSecrets = true): Loaded {
  const file = values.config ?? (existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : undefined)
  return loadConfig({ file, flags: flagsOf(values), needSecrets })
}

/** Opens the stores for one command. Logs go nowhere: the command prints what it did. */
async function withCore<T>(words: Words, work: (core: Core) => Promise<T>, { needsKeys = true } = {}): Promise<T> {
  const { config, secrets } = load(words)
  const [{ buildCore }, { migrateUp }] = await Promise.all([import('./app.ts'), import('./db/migrate.ts')])
  const core = await buildCore({ config, secrets, logger: createLogger('silent') })
  try {
    if (needsKeys) {
      await migrateUp(core.db)
      await core.keyring.load()
    }
    return await work(core)
  } finally {
    await core.close()
  }
}

const BY_OPERATOR = { actor: 'command line', origin: COMMAND_LINE }

const commands: Record<string, (words: Words) => Promise<number>> = {
  async serve(words) {
    const { config, secrets, warnings } = load(words)
    const { serve } = await import('./main.ts') // heavy parts are loaded by the commands that need them: a health check is asked often
    const output = createLogOutput()
    const logger = createLogger(config.log.level, output)
    for (const warning of warnings) logger.warn({ reason: 'config' }, formatProblem(warning))
    try {
      await serve({ config, secrets, logger, output })
    } catch (error) {
      await flushLogger(logger)
      throw error
    }
    return -1 // runs on
  },

  async demo(words) {
    const { runDemo } = await import('./demo/demo.ts')
    await runDemo({ file: words.values.config, flags: flagsOf(words.values) })
    return -1
  },

  async check(words) {
    const { json, print: shouldPrint } = words.values
    try {
      const { config, warnings } = load(words, false)
      for (const warning of warnings) if (!json) complain(`warning: ${formatProblem(warning)}`)
      if (json) print(JSON.stringify({ ok: true, problems: [], warnings: warnings.map(formatProblem) }))
      else if (shouldPrint) print((await import('yaml')).stringify(withoutPasswords(config)).trimEnd())
      else print('the configuration is valid')
      return 0
    } catch (error) {
      if (!json || !(error instanceof ConfigError)) throw error
      print(JSON.stringify({ ok: false, problems: error.problems.map(formatProblem), warnings: [] }))
      return 2
    }
  },

  async routes(words) {
    const { config } = load(words, false)
    const rows = compileRoutes(config).routes.map((r) => ({
      name: r.name,
      host: r.host ?? '*',
      path: r.path,
      methods: r.methods ? [...r.methods].join(',') : '*',
      access: r.access.label,
      limits: r.limits.join(',') || '-',
      upstream: r.servers.map((s) => s.origin).join(','),
      websocket: r.websocket,
    }))
    rows.sort((a, b) => a.host.localeCompare(b.host) || b.path.length - a.path.length)
    print(words.values.json ? JSON.stringify(rows) : table(rows))
    return 0
  },

  async migrate(words) {
    const [action] = words.positionals
    if (!['up', 'down', 'status'].includes(action ?? '')) throw new UsageError('migrate takes up, down or status')
    const { migrateDown, migrateUp, migrationStatus } = await import('./db/migrate.ts')
    return withCore(
      words,
      async ({ db }) => {
        if (action === 'status')
          print(table((await migrationStatus(db)).map((m) => ({ step: m.name, applied: m.executedAt?.toISOString() ?? 'no' }))))
        else {
          const steps = action === 'up' ? await migrateUp(db) : await migrateDown(db)
          print(steps.length ? `${action}: ${steps.join(', ')}` : 'nothing to do')
        }
        return 0
      },
      { needsKeys: false },
    )
  },

  async keys(words) {
    const [action] = words.positionals
    if (action !== 'list' && action !== 'rotate') throw new UsageError('keys takes list or rotate')
    return withCore(words, async ({ keyring }) => {
      if (action === 'rotate') {
        const key = await keyring.rotate({ now: words.values.now ?? false })
        complain(
          key.state === 'current' ? `${key.kid} signs now` : `${key.kid} is published and will sign from ${key.activatesAt.toISOString()}`,
        )
      }
      const rows = (await keyring.list()).map((k) => ({
        kid: k.kid,
        algorithm: k.algorithm,
        state: k.state,
        created: k.createdAt.toISOString(),
        signs_from: k.activatesAt.toISOString(),
        retired: k.retiredAt?.toISOString() ?? '-',
      }))
      print(words.values.json ? JSON.stringify(rows) : table(rows))
      return 0
    })
  },

  async users(words) {
    const [action = '', login = '', role = ''] = words.positionals
    const change = ['disable', 'enable', 'grant', 'revoke'].includes(action)
    if (!change && action !== 'create' && action !== 'list')
      throw new UsageError('users takes create, list, disable, enable, grant or revoke')
    if (change && !login) throw new UsageError(`users ${action} needs a LOGIN`)
    if ((action === 'grant' || action === 'revoke') && !role) throw new UsageError(`users ${action} needs a LOGIN and a ROLE`)
    return withCore(words, async (core) => {
      const { administration: admin, db } = core
      if (action === 'list') {
        const rows = (await (await import('./accounts/users.repo.ts')).listUsers(db, 1000)).map((u) => ({
          id: u.id,
          username: u.username,
          email: u.email,
          roles: u.roles.join(','),
          disabled: u.disabled_at !== null,
          last_login: u.last_login_at?.toISOString() ?? '-',
        }))
        print(words.values.json ? JSON.stringify(rows) : table(rows))
        return 0
      }
      if (action === 'create') return createUser(core, words)
      const user =
        action === 'grant'
          ? await admin.grant(login, role, BY_OPERATOR)
          : action === 'revoke'
            ? await admin.revoke(login, role, BY_OPERATOR)
            : action === 'disable'
              ? await admin.disable(login, BY_OPERATOR)
              : await admin.enable(login, BY_OPERATOR)
      print(JSON.stringify({ ...viewOf(user), disabled: user.disabled_at !== null }))
      return 0
    })
  },

  async cleanup(words) {
    return withCore(words, async ({ cleanup }) => {
      const result = await cleanup()
      print(result ? JSON.stringify(result) : 'another gateway is cleaning up')
      return 0
    })
  },

  async healthcheck(words) {
    const { admin } = load(words, false).config
    const host = admin.host === '0.0.0.0' || admin.host === '::' ? '127.0.0.1' : admin.host
    const status = await fetch(`http://${host}:${admin.port}/readyz`, { signal: AbortSignal.timeout(3000) }).then(
      (r) => r.status,
      () => 0,
    )
    print(status === 200 ? 'ready' : status === 0 ? 'no answer' : 'not ready')
    return status === 200 ? 0 : 1
  },
}

async function createUser({ administration }: Core, { values }: Words): Promise<number> {
  const { email, username, role } = values
  if (!email || !username) throw new UsageError('users create needs --email and --username')
  const given = values['password-stdin'] ? await readLine() : null
  const password = given ?? randomBytes(18).toString('base64url')
  // a password that somebody else has seen must be changed
  const user = await administration.create(
    { username, email, password, roles: role ?? ['user'], mustChangePassword: given === null },
    BY_OPERATOR,
  )
  print(JSON.stringify({ ...viewOf(user), ...(given === null ? { password } : {}) }))
  return 0
}

async function readLine(): Promise<string> {
  for await (const line of createInterface({ input: process.stdin })) return line
  throw new UsageError('--password-stdin: nothing came')
}

/** A connection string may hold a password; what is shown does not. */
function withoutPasswords(config: Loaded['config']): unknown {
  const hide = (url: string) => url.replace(/(:\/\/[^:/@]*):.*@/, '$1:***@').replace(/([?&]password=)[^&]*/gi, '$1***')
  return { ...config, database: { ...config.database, url: hide(config.database.url) }, redis: { url: hide(config.redis.url) } }
}

function table(rows: Record<string, unknown>[]): string {
  if (!rows.length) return '(none)'
  const columns = Object.keys(rows[0]!)
  const cells = [columns, ...rows.map((row) => columns.map((c) => String(row[c])))]
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i]!.length)))
  return cells
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function done(text: string): number {
  print(text)
  return 0
}

function misused(text: string): number {
  complain(text)
  return 2
}

async function run(argv: string[]): Promise<number> {
  const words = readWords(argv)
  const [name, ...positionals] = words.positionals
  if (words.values.version) return done(VERSION)
  if (!name) return words.values.help ? done(HELP) : misused(HELP)
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (!command) throw new UsageError(`no such command: ${name}`)
  if (words.values.help) return done(COMMAND_HELP[name]!)
  return command({ ...words, positionals })
}

function exitCodeOf(error: unknown): number {
  if (error instanceof ConfigError) {
    complain(error.message)
    return 2
  }
  if (error instanceof UsageError) {
    complain(`${error.message}\nSee: portcullis --help`)
    return 2
  }
  if (error instanceof WrongSecretKey) {
    complain(`PORTCULLIS_SECRET_KEY: ${error.message}`)
    return 2
  }
  if (error instanceof Problem) {
    complain(
      [
        error.detail,
        ...(error.errors ?? []).map((e) => `${e.field}: ${e.detail}`),
        ...(error.code === 'unavailable' ? [causeText(error.cause)] : []),
      ].join('\n'),
    )
    return error.code === 'validation_failed' ? 2 : 1
  }
  complain(causeText(error))
  return 1
}

const code = await run(process.argv.slice(2)).catch(exitCodeOf)
if (code >= 0) process.exit(code)
