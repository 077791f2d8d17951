/** `portcullis users …`: the actions of the administration, by command. */
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline/promises'
import type { Administration } from '../identity/admin/administration.service.ts'
import type { Actor } from '../identity/admin/audited-action.ts'
import type { ImportUsers } from '../identity/admin/import.service.ts'
import { managedViewOf } from '../identity/admin/views.ts'
import type { User, UserFilter } from '../identity/users/users.repo.ts'
import { COMMAND_LINE } from '../platform/audit/audit.ts'
import { causeText } from '../platform/lib/errors.ts'
import { complain, print, table, UsageError } from '../platform/lib/terminal.ts'

export const USERS_HELP = `portcullis users ACTION --config FILE

  portcullis users create --email ann@example.com --username ann --role admin     prints a generated password
  portcullis users create --email bob@example.com --username bob --password-stdin < file
  portcullis users list [--search TEXT] [--role ROLE] [--limit N] [--json]        newest first; TEXT is a part of a name or address, or an id
  portcullis users show LOGIN                LOGIN is an e-mail address, a username or an id
  portcullis users grant LOGIN ROLE          a role of auth.roles
  portcullis users revoke LOGIN ROLE
  portcullis users disable LOGIN             ends every session
  portcullis users enable LOGIN
  portcullis users unlock LOGIN              failed logins and codes so far count no more
  portcullis users end-sessions LOGIN
  portcullis users force-password-change LOGIN    ends every session; the next one must begin with a new password
  portcullis users reset-factor LOGIN        ends every session, removes the second factor and its backup codes, tells the user by mail
  portcullis users delete LOGIN              with all personal data; the audit log stays whole
  portcullis users import FILE [--dry-run]   FILE (- for standard input) has a JSON object a line:
      username, email; if you like email_verified, password_hash, password_must_change, roles, disabled, created_at, id
      password_hash: bcrypt or Argon2id (PHC string), renewed at the first login; none: a mailed link sets the first password
      Who is there already is skipped, so that it can be run again; every bad line is told, and then it exits 1

Nothing takes away the last admin.`

export interface UsersArgs {
  values: {
    json?: boolean
    search?: string
    limit?: string
    email?: string
    username?: string
    role?: string[]
    'password-stdin'?: boolean
    'dry-run'?: boolean
  }
  positionals: string[]
}

interface Services {
  administration: Administration
  importUsers: ImportUsers
}

/** @returns the exit code */
type Run = (services: Services) => Promise<number>

export const BY_OPERATOR: Actor = { actor: 'command line', context: COMMAND_LINE }
const DEFAULT_LIMIT = '1000'

const CHANGES: Record<string, (administration: Administration, login: string) => Promise<User>> = {
  show: (a, login) => a.find(login),
  disable: (a, login) => a.disable(login, BY_OPERATOR),
  enable: (a, login) => a.enable(login, BY_OPERATOR),
  unlock: (a, login) => a.unlock(login, BY_OPERATOR),
  'end-sessions': (a, login) => a.endSessions(login, BY_OPERATOR),
  'force-password-change': (a, login) => a.forcePasswordChange(login, BY_OPERATOR),
  'reset-factor': (a, login) => a.resetFactor(login, BY_OPERATOR),
}
const ROLE_CHANGES: Record<string, (administration: Administration, login: string, role: string) => Promise<User>> = {
  grant: (a, login, role) => a.grant(login, role, BY_OPERATOR),
  revoke: (a, login, role) => a.revoke(login, role, BY_OPERATOR),
}
const ACTIONS = ['create', 'import', 'list', ...Object.keys(CHANGES), ...Object.keys(ROLE_CHANGES), 'delete']

const done =
  (work: (services: Services) => Promise<unknown>): Run =>
  async (services) => {
    await work(services)
    return 0
  }
const printUser = (user: User, more: object = {}) => print(JSON.stringify({ ...managedViewOf(user), ...more }))

/** Reads the arguments. A fault in them is reported before the stores are opened. @throws UsageError */
export async function readUsersCommand({ values, positionals }: UsersArgs): Promise<Run> {
  const [action = '', login = '', role = ''] = positionals
  if (!ACTIONS.includes(action)) throw new UsageError(`users takes ${ACTIONS.slice(0, -1).join(', ')} or ${ACTIONS.at(-1)}`)
  if (action === 'create') return readCreate(values)
  if (action === 'import') return readImport(values, login)
  if (action === 'list') return readList(values)
  if (!login) throw new UsageError(`users ${action} needs a LOGIN`)
  if (action === 'delete')
    return done(async ({ administration }) => {
      const { id } = await administration.find(login)
      await administration.remove(id, BY_OPERATOR)
      print(JSON.stringify({ id, deleted: true }))
    })
  const [changeRole, change] = [ROLE_CHANGES[action], CHANGES[action]]
  if (changeRole && !role) throw new UsageError(`users ${action} needs a LOGIN and a ROLE`)
  return done(async ({ administration }) =>
    printUser(changeRole ? await changeRole(administration, login, role) : await change!(administration, login)),
  )
}

function readCreate({ email, username, role: roles = ['user'], 'password-stdin': isGiven }: UsersArgs['values']): Run {
  if (!email || !username) throw new UsageError('users create needs --email and --username')
  return done(async ({ administration }) => {
    const given = isGiven ? await readLine() : undefined
    // a password that was shown must be changed
    const input = { username, email, password: given, roles, mustChangePassword: given === undefined }
    const { user, password } = await administration.create(input, BY_OPERATOR)
    printUser(user, password === null ? {} : { password })
  })
}

function readList({ search, role, limit = DEFAULT_LIMIT, json }: UsersArgs['values']): Run {
  if (!/^[1-9]\d{0,8}$/.test(limit)) throw new UsageError('--limit takes a number')
  if (role && role.length > 1) throw new UsageError('users list takes one --role')
  const filter: UserFilter = { search, role: role?.[0] }
  return done(async ({ administration }) => {
    const { users, nextCursor } = await administration.list(filter, Number(limit))
    const rows = users.map((u) => ({
      id: u.id,
      username: u.username,
      email: u.email,
      roles: u.roles.join(','),
      disabled: u.disabled_at !== null,
      last_login: u.last_login_at?.toISOString() ?? '-',
    }))
    print(json ? JSON.stringify(rows) : table(rows))
    if (nextCursor) complain(`there are more than ${limit}: narrow it down with --search or --role, or raise --limit`)
  })
}

async function readImport({ 'dry-run': isDryRun = false }: UsersArgs['values'], file: string): Promise<Run> {
  if (!file) throw new UsageError('users import needs a FILE, or - for standard input')
  const input = file === '-' ? process.stdin : await openFile(file)
  return async ({ importUsers }) => {
    const summary = await importUsers(input, {
      isDryRun,
      by: BY_OPERATOR,
      report: (line, text) => complain(`line ${line}: ${text}`),
      progress: (lines) => process.stderr.isTTY && complain(`${lines} lines`),
    })
    print(JSON.stringify(summary))
    return summary.failed ? 1 : 0
  }
}

async function openFile(path: string) {
  try {
    return (await open(path)).createReadStream()
  } catch (error) {
    throw new UsageError(`${path}: ${causeText(error)}`)
  }
}

async function readLine(): Promise<string> {
  for await (const line of createInterface({ input: process.stdin })) return line
  throw new UsageError('--password-stdin: nothing came')
}
