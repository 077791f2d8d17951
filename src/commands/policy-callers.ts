/**
 * Callers that only the database knows, for `policy explain` and `policy test`. The commands judge by their own configuration, also where a
 * running gateway has the embedded database open: then the gateway only looks the callers up, by the hidden command `policy callers`.
 */
import { existsSync } from 'node:fs'
import { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { Command } from 'commander'
import type { Config, Secrets } from '../platform/config/schema.ts'
import type { Caller, CallerUser } from '../proxy/policy/callers.ts'
import { runInGateway, socketOf } from './command-socket.ts'
import { type ConfigArgs, load, sourceOf, withConfig } from './configuration.ts'
import { withExamples } from './help.ts'
import type { Terminal } from './terminal.ts'
import { collect, UsageError } from './usage.ts'

export interface StoredQuestion {
  /** Logins: e-mail addresses, usernames or ids. */
  users: readonly string[]
  /** Null: no token. */
  token: string | null
}

export interface StoredCallers {
  /** By login. Users who do not exist are missing. */
  users: Map<string, CallerUser>
  /** The caller of the token. */
  byToken: Caller | null
}

/** What the hidden command prints. */
interface Answer {
  /** By login, without users who do not exist. */
  users: Record<string, CallerUser>
  byToken: (Omit<Caller, 'principal'> & { principal: object | null }) | null
}

export interface PolicyArgs extends ConfigArgs {
  json?: boolean
}

const isServed = ({ database }: Config) => database.url === 'embedded' && existsSync(socketOf(database.dataDir))

/** @param needsToken tokens are sealed under the secret key; users are not @throws ConfigError without a configuration */
export async function loadForPolicy(
  terminal: Terminal,
  args: ConfigArgs,
  { needsToken = false }: { needsToken?: boolean } = {},
): Promise<{ config: Config; secrets: Secrets }> {
  if (sourceOf(args.config) === undefined) {
    const [{ ConfigError }, { noFile }] = await Promise.all([import('../app/load-config.ts'), import('./configuration.ts')])
    throw new ConfigError([noFile()])
  }
  return load(terminal, args, { needSecrets: (config) => needsToken && !isServed(config) })
}

/** @throws DatabaseUnavailable */
export async function findCallers(
  terminal: Terminal,
  { config, secrets }: { config: Config; secrets: Secrets },
  question: StoredQuestion,
): Promise<StoredCallers> {
  if (question.users.length === 0 && question.token === null) return { users: new Map(), byToken: null }
  const served = isServed(config) ? await askGateway(terminal, config, question) : null
  const { users, byToken } = served ?? (await askDatabase(terminal, config, secrets, question))
  return { users: new Map(Object.entries(users)), byToken: byToken && revive(byToken) }
}

export const NAME_A_USER = 'name an e-mail address, a username or an id; a role needs no account'

/** @returns null when the socket was left by a gateway that was killed */
async function askGateway(terminal: Terminal, config: Config, { users, token }: StoredQuestion): Promise<Answer | null> {
  let printed = ''
  const stdout = new Writable({
    decodeStrings: false,
    write(chunk, _, done) {
      printed += chunk
      done()
    },
  })
  const exitCode = await runInGateway(config.database.dataDir, {
    ...terminal,
    io: { ...terminal.io, stdout },
    argv: ['policy', 'callers', ...users.map((login) => `--user=${login}`), ...(token === null ? [] : ['--token', '-'])],
    input: token === null ? null : Readable.from([token]),
  })
  if (exitCode === null) return null
  if (exitCode !== 0) throw new Error('the gateway could not look the callers up')
  return JSON.parse(printed)
}

async function askDatabase(terminal: Terminal, config: Config, secrets: Secrets, question: StoredQuestion): Promise<Answer> {
  const [{ openDatabase }, { describeDatabase, isDatabaseThere }, { createLogger }, { createSecrets }] = await Promise.all([
    import('../platform/db/database.ts'),
    import('../platform/db/describe-database.ts'),
    import('../platform/telemetry/logger.ts'),
    import('../platform/vault/secrets.ts'),
  ])
  if (!isDatabaseThere(config.database)) throw await (await import('./services.ts')).noDatabase(config.database.dataDir)
  terminal.complain(`database: ${describeDatabase(config.database)}`)
  const database = await openDatabase(config.database, createLogger('silent', { write: () => {} }))
  try {
    const vault = secrets.secretKey === null ? null : createSecrets(secrets.secretKey, secrets.previousSecretKey)
    return await readAnswer(question, { db: database.db, config, secrets: vault })
  } finally {
    await database.close()
  }
}

type Db = import('../platform/db/database.ts').Db
type Vault = import('../platform/vault/secrets.ts').Secrets

async function readAnswer(
  { users, token }: StoredQuestion,
  { db, config, secrets }: { db: Db; config: Config; secrets: Vault | null },
): Promise<Answer> {
  const { findStoredUsers, findTokenCaller } = await import('../app/stored-callers.ts')
  const stored = users.length === 0 ? new Map<string, CallerUser>() : await findStoredUsers(db, users)
  const found = Object.fromEntries(Array.from(stored, ([login, user]) => [login, factsOf(user)]))
  const byToken = token === null ? null : await findTokenCaller(token, { db, config, secrets: secrets! })
  return { users: found, byToken: byToken && { ...byToken, principal: byToken.principal && plain(byToken.principal) } }
}

/** Without the hash of the password. */
const factsOf = (user: CallerUser): CallerUser => ({
  id: user.id,
  email: user.email,
  email_verified_at: user.email_verified_at,
  metadata: user.metadata,
  roles: user.roles,
  disabled_at: user.disabled_at,
  password_must_change: user.password_must_change,
  mfa_enabled: user.mfa_enabled,
})

type Principal = NonNullable<Caller['principal']>
const plain = (principal: Principal) => ({ ...principal, roles: [...principal.roles], scopes: [...principal.scopes] })

function revive({ principal, refusal }: NonNullable<Answer['byToken']>): Caller {
  if (principal === null) return { principal, refusal }
  const { roles, scopes, ...rest } = principal as ReturnType<typeof plain>
  return { principal: { ...rest, roles: new Set(roles), scopes: new Set(scopes) }, refusal }
}

/** The token stands alone on standard input, with or without the word Bearer. @throws UsageError */
export async function readToken({ io }: Terminal): Promise<string> {
  if (io.stdin.isTTY) io.stderr.write('Paste the token, then press Enter and Ctrl-D:\n')
  const token = (await text(io.stdin)).trim().replace(/^bearer +/i, '')
  if (token === '')
    throw new UsageError('standard input holds no token: write it there, as in `policy explain GET /orders --token - < FILE`')
  return token
}

interface CallersArgs extends ConfigArgs {
  user?: string[]
  token?: string
}

/** A running gateway runs this command for the commands above. Without one it prints the same. */
export const callersCommand = (terminal: Terminal): Command =>
  withExamples(
    withConfig(new Command('callers').description('prints what the database knows of callers, for the other commands'))
      .option('--user <LOGIN>', 'an e-mail address, a username or an id; may be repeated', collect)
      .option('--token <->', 'reads a token from standard input'),
    'portcullis policy callers --user ann@example.com',
  ).action(async (args: CallersArgs) => {
    const question = { users: args.user ?? [], token: args.token === undefined ? null : await readToken(terminal) }
    if (terminal.gateway) {
      const { db, config, secrets } = terminal.gateway.platform
      return terminal.printJson(await readAnswer(question, { db, config, secrets }))
    }
    const { config, secrets } = await loadForPolicy(terminal, args, { needsToken: question.token !== null })
    terminal.printJson(await askDatabase(terminal, config, secrets, question))
  })
