/** Account administration. Each command also exists as a request under /auth/admin/users. */
import { createInterface } from 'node:readline/promises'
import type { Readable } from 'node:stream'
import { Command } from 'commander'
import type { Source } from '../identity/admin/import/sources.ts'
import type { MetadataPatch } from '../identity/users/metadata.ts'
import type { User } from '../identity/users/users.repo.ts'
import { type ConfigArgs, withConfig } from './configuration.ts'
import { groupOf, withExamples } from './help.ts'
import { type Services, withServices } from './services.ts'
import { type Terminal, table } from './terminal.ts'
import { collect, readNumber, UsageError } from './usage.ts'

interface CreateArgs extends ConfigArgs {
  email?: string
  username?: string
  role?: string[]
  passwordStdin?: boolean
}
interface ListArgs extends ConfigArgs {
  search?: string
  role?: string
  limit?: string
  json?: boolean
}
interface ImportArgs extends ConfigArgs {
  from?: string
  dryRun?: boolean
}

/** An action on one account. The command prints the account afterwards. */
interface Change {
  name: string
  description: string
  apply(services: Services, login: string): Promise<User>
}
interface RoleChange {
  name: string
  description: string
  apply(services: Services, login: string, role: string): Promise<User>
}

const SHOW: Change = {
  name: 'show',
  description: 'prints an account',
  apply: ({ identity: { administration } }, login) => administration.find(login),
}
const ROLE_CHANGES: readonly RoleChange[] = [
  {
    name: 'grant',
    description: 'gives a role to an account',
    apply: ({ identity: { administration }, by }, login, role) => administration.grant(login, role, by),
  },
  {
    name: 'revoke',
    description: 'takes a role from an account',
    apply: ({ identity: { administration }, by }, login, role) => administration.revoke(login, role, by),
  },
]
const CHANGES: readonly Change[] = [
  {
    name: 'disable',
    description: 'disables an account and ends all its sessions',
    apply: ({ identity: { administration }, by }, login) => administration.disable(login, by),
  },
  {
    name: 'enable',
    description: 'enables a disabled account',
    apply: ({ identity: { administration }, by }, login) => administration.enable(login, by),
  },
  {
    name: 'unlock',
    description: 'clears the failed logins and codes of an account',
    apply: ({ identity: { administration }, by }, login) => administration.unlock(login, by),
  },
  {
    name: 'end-sessions',
    description: 'ends all sessions of an account',
    apply: ({ identity: { administration }, by }, login) => administration.endSessions(login, by),
  },
  {
    name: 'force-password-change',
    description: 'ends all sessions; the next session must start with a new password',
    apply: ({ identity: { administration }, by }, login) => administration.forcePasswordChange(login, by),
  },
  {
    name: 'reset-factor',
    description: 'ends all sessions, removes the authenticator app, the passkeys and the backup codes, and informs the user by mail',
    apply: ({ identity: { administration }, by }, login) => administration.resetFactor(login, by),
  },
]

export function usersCommand(terminal: Terminal): Command {
  const group = groupOf('users', 'accounts', [
    createCommand(terminal),
    inviteCommand(terminal),
    invitationsCommand(terminal),
    importCommand(terminal),
    listCommand(terminal),
    changeCommand(terminal, SHOW),
    ...ROLE_CHANGES.map((change) => roleCommand(terminal, change)),
    ...CHANGES.map((change) => changeCommand(terminal, change)),
    metadataCommand(terminal),
    deleteCommand(terminal),
  ])
  return withExamples(
    group,
    `
portcullis users create --email ann@example.com --username ann --role admin
portcullis users list --search ann
portcullis users disable ann@example.com
`,
    'The last admin cannot be removed.',
  )
}

const withLogin = (command: Command) => withConfig(command.argument('<LOGIN>', 'an e-mail address, a username or an id'))

async function printUser({ printJson }: Terminal, user: User, more: object = {}): Promise<void> {
  const { managedViewOf } = await import('../identity/admin/views.ts')
  printJson({ ...managedViewOf(user), ...more })
}

const changeCommand = (terminal: Terminal, { name, description, apply }: Change) =>
  withExamples(
    withLogin(new Command(name).description(description)),
    `portcullis users ${name} ann\nportcullis users ${name} ann@example.com`,
  ).action((login: string, args: ConfigArgs) =>
    withServices(terminal, args, async (services) => printUser(terminal, await apply(services, login))),
  )

const roleCommand = (terminal: Terminal, { name, description, apply }: RoleChange) =>
  withExamples(
    withConfig(
      new Command(name)
        .description(description)
        .argument('<LOGIN>', 'an e-mail address, a username or an id')
        .argument('<ROLE>', 'a role of auth.roles'),
    ),
    `portcullis users ${name} ann@example.com admin`,
    name === 'revoke' ? 'The last admin cannot be removed.' : '',
  ).action((login: string, role: string, args: ConfigArgs) =>
    withServices(terminal, args, async (services) => printUser(terminal, await apply(services, login, role))),
  )

interface MetadataArgs extends ConfigArgs {
  merge?: string
}

const metadataCommand = (terminal: Terminal) =>
  withExamples(
    withLogin(new Command('metadata').description('prints or changes the metadata of an account')).option(
      '--merge <JSON>',
      'merge this object into the metadata (RFC 7396); null removes a member',
    ),
    `
portcullis users metadata ann@example.com
portcullis users metadata ann@example.com --merge '{"public":{"plan":"gold"},"admin":{"tenant":null}}'
`,
    'The user may read the part public, and never the part admin.',
  ).action(async (login: string, { merge, ...args }: MetadataArgs) => {
    const patch = merge === undefined ? null : await readPatch(merge)
    await withServices(terminal, args, async ({ identity: { administration }, by }) => {
      const { metadataViewOf } = await import('../identity/users/metadata.ts')
      const { metadata } = await (patch ? administration.patchMetadata(login, patch, by) : administration.find(login))
      terminal.printJson(metadataViewOf(metadata))
    })
  })

async function readPatch(text: string): Promise<MetadataPatch> {
  const { isMetadataPatch } = await import('../identity/users/metadata.ts')
  const fault = new UsageError('--merge takes a JSON object with the members public and admin, each an object or null')
  let patch: unknown
  try {
    patch = JSON.parse(text)
  } catch {
    throw fault
  }
  if (!isMetadataPatch(patch)) throw fault
  return patch
}

const deleteCommand = (terminal: Terminal) =>
  withExamples(
    withLogin(new Command('delete').description('deletes an account with all personal data; the audit log stays intact')),
    'portcullis users delete ann@example.com',
  ).action((login: string, args: ConfigArgs) =>
    withServices(terminal, args, async ({ identity: { administration }, by }) => {
      const { id } = await administration.find(login)
      await administration.remove(id, by)
      terminal.printJson({ id, deleted: true })
    }),
  )

const createCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('create').description('creates an account and prints a generated password'))
      .option('--email <EMAIL>', 'required')
      .option('--username <NAME>', 'required unless auth.username is optional or off')
      .option('--role <ROLE>', 'a role of auth.roles; may be repeated (default: user)', collect)
      .option('--password-stdin', 'read the password from the first line of standard input; none is printed'),
    `
portcullis users create --email ann@example.com --username ann --role admin
portcullis users create --email bob@example.com --username bob --password-stdin < file
`,
    'A generated password must be changed at the first login.',
  ).action(async ({ email, username, role: roles = ['user'], passwordStdin = false, ...args }: CreateArgs) => {
    if (!email) throw new UsageError('users create needs --email')
    const line = passwordStdin ? await terminal.openInput('-') : null
    await withServices(terminal, args, async ({ identity: { administration }, by }) => {
      const given = line ? await readLine(line) : undefined
      // a generated password was shown on a terminal
      const input = { username, email, password: given, roles, mustChangePassword: given === undefined }
      const { user, password } = await administration.create(input, by)
      await printUser(terminal, user, password === null ? {} : { password })
    })
  })

interface InviteArgs extends ConfigArgs {
  role?: string[]
  days?: string
}

const MAX_DAYS = 7
const DAY_SECONDS = 86_400

const inviteCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('invite').description('invites a person by mail').argument('<EMAIL>', 'the address that gets the link'))
      .option('--role <ROLE>', 'a role of auth.roles; may be repeated (default: user)', collect)
      .option('--days <N>', `how long the link is valid (default: ${MAX_DAYS}, the longest)`),
    'portcullis users invite ann@example.com\nportcullis users invite bob@example.com --role editor --days 2',
    'The link makes an account, or gives the roles to the account that the address has. A later invitation replaces an earlier one.',
  ).action(async (email: string, { role: roles = [], days: text = String(MAX_DAYS), ...args }: InviteArgs) => {
    const days = readNumber('--days', text, { min: 1, max: MAX_DAYS })
    await withServices(terminal, args, async ({ identity: { administration }, by }) => {
      const { invitationViewOf } = await import('../identity/admin/views.ts')
      terminal.printJson(invitationViewOf(await administration.invite({ email, roles, expiresInSeconds: days * DAY_SECONDS }, by)))
    })
  })

interface InvitationsArgs extends ConfigArgs {
  resend?: string
  withdraw?: string
  json?: boolean
}

const invitationsCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('invitations').description('prints the open invitations, newest first'))
      .option('--resend <ID>', 'mail a new link; the link before is no longer valid')
      .option('--withdraw <ID>', 'the link is no longer valid')
      .option('--json', 'print JSON instead of a table'),
    'portcullis users invitations\nportcullis users invitations --withdraw 0199a7c4-2f6e-7c3a-9d1b-6a5e4f3b2c1d',
  ).action(async ({ resend, withdraw, json, ...args }: InvitationsArgs) => {
    if (resend !== undefined && withdraw !== undefined) throw new UsageError('users invitations takes --resend or --withdraw, not both')
    await withServices(terminal, args, async ({ identity: { administration }, by }) => {
      const { invitationViewOf } = await import('../identity/admin/views.ts')
      if (resend !== undefined) return terminal.printJson(invitationViewOf(await administration.resendInvitation(resend, by)))
      if (withdraw !== undefined)
        return terminal.printJson({ ...invitationViewOf(await administration.withdrawInvitation(withdraw, by)), withdrawn: true })
      const rows = (await administration.invitations()).map((one) => ({ ...invitationViewOf(one), roles: one.roles.join(',') }))
      json
        ? terminal.printJson(rows)
        : terminal.print(table(rows.map(({ id, email, roles, expires_at }) => ({ id, email, roles, expires_at }))))
    })
  })

const DEFAULT_LIMIT = '1000'
const MAX_LIMIT = 999_999_999

const listCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('list').description('prints accounts, newest first'))
      .option('--search <TEXT>', 'only accounts with this text in their username or e-mail address, or with this id')
      .option('--role <ROLE>', 'only accounts with this role')
      .option('--limit <N>', `at most this many (default: ${DEFAULT_LIMIT})`)
      .option('--json', 'print JSON instead of a table'),
    `
portcullis users list
portcullis users list --search example.com --role admin --limit 20 --json
`,
  ).action(async ({ search, role, limit: text = DEFAULT_LIMIT, json, ...args }: ListArgs) => {
    const limit = readNumber('--limit', text, { min: 1, max: MAX_LIMIT })
    await withServices(terminal, args, async ({ identity: { administration } }) => {
      const { users, nextCursor } = await administration.list({ search, role }, limit)
      const rows = users.map((u) => ({
        id: u.id,
        username: u.username ?? '-',
        email: u.email,
        roles: u.roles.join(','),
        disabled: u.disabled_at !== null,
        last_login: u.last_login_at?.toISOString() ?? '-',
      }))
      json ? terminal.printJson(rows) : terminal.print(table(rows))
      if (nextCursor) terminal.complain(`there are more than ${limit}: narrow it down with --search or --role, or raise --limit`)
    })
  })

const SOURCE_NAMES: readonly Source[] = ['keycloak', 'supabase', 'auth0', 'firebase', 'django']

function sourceNamed(name: string): Source {
  const source = SOURCE_NAMES.find((known) => known === name)
  if (source === undefined) throw new UsageError(`--from takes one of these: ${SOURCE_NAMES.join(', ')}`)
  return source
}

const importCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(
      new Command('import').description('creates accounts from a file').argument('<FILE>', 'one JSON object a line; - for standard input'),
    )
      .option('--dry-run', 'check every user and create nothing')
      .option('--from <SYSTEM>', `the file is an export of this system: ${SOURCE_NAMES.join(', ')}`),
    `
portcullis users import users.ndjson --dry-run
portcullis users import - < users.ndjson
portcullis users import realm-export.json --from keycloak --dry-run
`,
    `Fields of a line:
  email              required
  username           required, unless auth.username is optional; refused when it is off
  email_verified, password_must_change, roles, disabled, created_at, id
  totp               {secret: base32}: the second factor (SHA1, 6 digits, 30 seconds)
  metadata           {public: {…}, admin: {…}}, at most 4 KiB
  password_hash      bcrypt, Argon2, PBKDF2, scrypt, or a hash of Django, WordPress, Firebase
                     or better-auth (docs/import.md); renewed at the first login.
                     Without it the user sets the first password by a mailed link.

An account that exists already is skipped, so the same file can be imported again.
Every bad line is reported, and the exit code is then 1.`,
  ).action(async (file: string, { dryRun: isDryRun = false, from, ...args }: ImportArgs) => {
    const source = from === undefined ? null : sourceNamed(from)
    const { io, complain } = terminal
    const input = await terminal.openInput(file)
    await withServices(terminal, args, async ({ platform: { config, clock }, identity: { importUsers }, by }) => {
      const { linesFrom } = await import('../identity/admin/import/sources.ts')
      const noun = source ? 'user' : 'line'
      const report = (number: number, text: string) => complain(`${noun} ${number}: ${text}`)
      const lines = source ? linesFrom(source, input, { usernames: config.auth.username, now: new Date(clock.now()), note: report }) : input
      const summary = await importUsers(lines, {
        isDryRun,
        by,
        report,
        progress: (count) => io.stderr.isTTY && complain(`${count} ${noun}s`),
      })
      terminal.printJson(summary)
      if (summary.failed) terminal.exitCode = 1
    })
  })

async function readLine(input: Readable): Promise<string> {
  for await (const line of createInterface({ input })) return line
  throw new UsageError('--password-stdin: standard input is empty')
}
