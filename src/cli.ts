#!/usr/bin/env node
/** The commands, thin: read the args, call the story, print, exit. 0 done, 1 failed at run time, 2 wrong usage or configuration. */
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { ConfigError, type Loaded, loadConfig } from './app/load-config.ts'
import type { Services } from './app/services.ts'
import { withoutSecrets } from './platform/config/shown.ts'
import { formatProblem } from './platform/config/source.ts'
import { causeText, Problem } from './platform/lib/errors.ts'
import { complain, print, table, UsageError } from './platform/lib/terminal.ts'
import { VERSION } from './platform/lib/version.ts'
import { createLogger, createLogOutput, flushLogger } from './platform/telemetry/logger.ts'
import { WrongSecretKey } from './platform/vault/secrets.ts'
import { compileRoutes } from './proxy/routing/route-table.ts'

const HELP = `portcullis ${VERSION}: a reverse-proxy auth gateway that owns its users

  portcullis serve --config FILE           run the gateway
  portcullis demo                          a small API behind a gateway, to try things out
  portcullis check --config FILE           judge a configuration; needs no secrets
  portcullis routes --config FILE          the routes as they are matched
  portcullis migrate up|down|status        the database schema
  portcullis keys list|rotate              signing keys
  portcullis users ACTION                  create, list, show, grant, revoke, disable, enable, unlock, delete, import …
  portcullis clients ACTION                machine clients: create, list, disable, enable, delete, rotate-secret
  portcullis audit verify|export           the audit log: is it whole; all of it, as NDJSON
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

const COMMAND_HELP: Record<string, string | (() => Promise<string>)> = {
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
  users: async () => (await import('./commands/users.ts')).USERS_HELP,
  clients: async () => (await import('./commands/clients.ts')).CLIENTS_HELP,
  audit: async () => (await import('./commands/audit.ts')).AUDIT_HELP,
  cleanup: `portcullis cleanup --config FILE

  portcullis cleanup`,
  healthcheck: `portcullis healthcheck [--config FILE]

  portcullis healthcheck        asks /readyz of the admin listener; for containers`,
}

interface Args {
  values: {
    config?: string
    set?: string[]
    port?: string
    help?: boolean
    version?: boolean
    print?: boolean
    json?: boolean
    now?: boolean
    search?: string
    limit?: string
    email?: string
    username?: string
    role?: string[]
    name?: string
    scope?: string[]
    jwks?: string
    'password-stdin'?: boolean
    head?: string
    user?: string
    event?: string
    since?: string
    until?: string
    'dry-run'?: boolean
  }
  positionals: string[]
}

function readArgs(argv: string[]): Args {
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
        search: { type: 'string' },
        limit: { type: 'string' },
        email: { type: 'string' },
        username: { type: 'string' },
        role: { type: 'string', multiple: true },
        name: { type: 'string' },
        scope: { type: 'string', multiple: true },
        jwks: { type: 'string' },
        'password-stdin': { type: 'boolean' },
        head: { type: 'string' },
        user: { type: 'string' },
        event: { type: 'string' },
        since: { type: 'string' },
        until: { type: 'string' },
        'dry-run': { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

const DEFAULT_CONFIG = 'portcullis.yaml'

const flagsOf = ({ set = [], port }: Args['values']): string[] => [...set, ...(port ? [`server.port=${port}`] : [])]

function load({ values }: Args, needSecrets = true): Loaded {
  const file = values.config ?? (existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : undefined)
  return loadConfig({ file, flags: flagsOf(values), needSecrets })
}

/** Opens the stores for one command. Logs go nowhere: the command prints what it did. */
async function withCore<T>(args: Args, work: (services: Services) => Promise<T>, { needsKeys = true } = {}): Promise<T> {
  const { config, secrets } = load(args)
  const [{ openServices }, { migrateUp }] = await Promise.all([import('./app/services.ts'), import('./platform/db/migrate.ts')])
  const services = await openServices({ config, secrets, logger: createLogger('silent') })
  try {
    if (needsKeys) {
      await migrateUp(services.platform.db)
      await services.identity.keyring.load()
    }
    return await work(services)
  } finally {
    await services.close()
  }
}

const commands: Record<string, (args: Args) => Promise<number>> = {
  async serve(args) {
    const { config, secrets, warnings } = load(args)
    const { serve } = await import('./app/serve.ts') // heavy parts are loaded by the commands that need them: a health check is asked often
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

  async demo(args) {
    const { runDemo } = await import('./demo/demo.ts')
    await runDemo({ file: args.values.config, flags: flagsOf(args.values) })
    return -1
  },

  async check(args) {
    const { json, print: shouldPrint } = args.values
    try {
      const { config, warnings } = load(args, false)
      for (const warning of warnings) if (!json) complain(`warning: ${formatProblem(warning)}`)
      if (json) print(JSON.stringify({ ok: true, problems: [], warnings: warnings.map(formatProblem) }))
      else if (shouldPrint) print((await import('yaml')).stringify(withoutSecrets(config)).trimEnd())
      else print('the configuration is valid')
      return 0
    } catch (error) {
      if (!json || !(error instanceof ConfigError)) throw error
      print(JSON.stringify({ ok: false, problems: error.problems.map(formatProblem), warnings: [] }))
      return 2
    }
  },

  async routes(args) {
    const { config } = load(args, false)
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
    print(args.values.json ? JSON.stringify(rows) : table(rows))
    return 0
  },

  async migrate(args) {
    const [action] = args.positionals
    if (!['up', 'down', 'status'].includes(action ?? '')) throw new UsageError('migrate takes up, down or status')
    const { migrateDown, migrateUp, migrationStatus } = await import('./platform/db/migrate.ts')
    return withCore(
      args,
      async ({ platform: { db } }) => {
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

  async keys(args) {
    const [action] = args.positionals
    if (action !== 'list' && action !== 'rotate') throw new UsageError('keys takes list or rotate')
    return withCore(args, async ({ identity: { administration } }) => {
      if (action === 'rotate') {
        const { BY_OPERATOR } = await import('./commands/users.ts')
        const key = await administration.rotateKey({ now: args.values.now ?? false }, BY_OPERATOR)
        complain(
          key.state === 'current' ? `${key.kid} signs now` : `${key.kid} is published and will sign from ${key.activatesAt.toISOString()}`,
        )
      }
      const rows = (await administration.keys()).map((k) => ({
        kid: k.kid,
        algorithm: k.algorithm,
        state: k.state,
        created: k.createdAt.toISOString(),
        signs_from: k.activatesAt.toISOString(),
        retired: k.retiredAt?.toISOString() ?? '-',
      }))
      print(args.values.json ? JSON.stringify(rows) : table(rows))
      return 0
    })
  },

  async users(args) {
    const { readUsersCommand } = await import('./commands/users.ts')
    const command = await readUsersCommand(args)
    return withCore(args, ({ identity }) => command(identity))
  },

  async clients(args) {
    const { readClientsCommand } = await import('./commands/clients.ts')
    const command = readClientsCommand(args)
    return withCore(args, async ({ identity: { clients } }) => {
      await command(clients)
      return 0
    })
  },

  async audit(args) {
    const { readAuditCommand } = await import('./commands/audit.ts')
    // it only reads: the database is left at its schema
    const command = readAuditCommand(args)
    return withCore(args, ({ platform }) => command(platform), { needsKeys: false })
  },

  async cleanup(args) {
    return withCore(args, async ({ identity: { cleanup } }) => {
      const result = await cleanup()
      print(result ? JSON.stringify(result) : 'another gateway is cleaning up')
      return 0
    })
  },

  async healthcheck(args) {
    const { admin } = load(args, false).config
    const host = admin.host === '0.0.0.0' || admin.host === '::' ? '127.0.0.1' : admin.host
    const status = await fetch(`http://${host}:${admin.port}/readyz`, { signal: AbortSignal.timeout(3000) }).then(
      (r) => r.status,
      () => 0,
    )
    print(status === 200 ? 'ready' : status === 0 ? 'no answer' : 'not ready')
    return status === 200 ? 0 : 1
  },
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
  const args = readArgs(argv)
  const [name, ...positionals] = args.positionals
  if (args.values.version) return done(VERSION)
  if (!name) return args.values.help ? done(HELP) : misused(HELP)
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (!command) throw new UsageError(`no such command: ${name}`)
  const help = COMMAND_HELP[name]!
  if (args.values.help) return done(typeof help === 'string' ? help : await help())
  return command({ ...args, positionals })
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
    return error.code === 'validation_failed' || error.code === 'not_found' ? 2 : 1
  }
  complain(causeText(error))
  return 1
}

const code = await run(process.argv.slice(2)).catch(exitCodeOf)
if (code >= 0) process.exit(code)
