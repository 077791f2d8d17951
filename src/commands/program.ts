/** All commands in one tree. */
import { Command } from 'commander'
import { VERSION } from '../platform/lib/version.ts'
import { assertNoEmptyArgument, findCommand, usageTextOf } from './arguments.ts'
import { auditCommand } from './audit.ts'
import { backupCommand } from './backup.ts'
import { checkCommand } from './check.ts'
import { cleanupCommand } from './cleanup.ts'
import { clientsCommand } from './clients.ts'
import { demoCommand } from './demo.ts'
import { doctorCommand } from './doctor.ts'
import { healthcheckCommand } from './healthcheck.ts'
import { HELP_FORMAT, withExamples } from './help.ts'
import { initCommand } from './init.ts'
import { keysCommand } from './keys.ts'
import { migrateCommand } from './migrate.ts'
import { policyCommand } from './policy.ts'
import { reloadCommand } from './reload.ts'
import { restoreCommand } from './restore.ts'
import { routesCommand } from './routes.ts'
import { serveCommand } from './serve.ts'
import type { Terminal } from './terminal.ts'
import { textsCommand } from './texts.ts'
import { UsageError } from './usage.ts'
import { usersCommand } from './users.ts'

/** A running gateway runs only these. */
const DATABASE_COMMANDS = [
  migrateCommand,
  keysCommand,
  usersCommand,
  clientsCommand,
  auditCommand,
  cleanupCommand,
  policyCommand,
  doctorCommand,
  backupCommand,
  restoreCommand,
]
const COMMANDS = [
  serveCommand,
  demoCommand,
  initCommand,
  reloadCommand,
  checkCommand,
  routesCommand,
  textsCommand,
  ...DATABASE_COMMANDS,
  healthcheckCommand,
]

export function createProgram(terminal: Terminal): Command {
  const program = new Command('portcullis')
    .description(`Portcullis ${VERSION}: a reverse-proxy auth gateway that owns its users`)
    .usage('COMMAND [options]')
    .version(VERSION, '-v, --version', 'print the version')
  for (const create of terminal.gateway ? DATABASE_COMMANDS : COMMANDS) program.addCommand(create(terminal))
  program.addCommand(helpCommand(program))
  withExamples(
    program,
    `
portcullis demo
portcullis check portcullis.yaml
portcullis serve --config portcullis.yaml
portcullis users create --help
`,
    `Settings: an option overrides the environment, the environment overrides the file.
Environment: PORTCULLIS_SECRET_KEY (32 bytes, base64), DATABASE_URL, REDIS_URL, PORT, PORTCULLIS_<SECTION>__<KEY>; each also as …_FILE.
Exit codes: 0 done, 1 failed at run time, 2 wrong usage or configuration.`,
  )
  setUp(program, terminal)
  return program
}

const helpCommand = (program: Command) =>
  withExamples(
    new Command('help').description('prints the help of a command').argument('[COMMAND...]', 'for example: users create'),
    'portcullis help serve\nportcullis help users create',
  ).action((words: string[]) => {
    const { command, args } = findCommand(program, [...words, '--help'])
    if (args.length > 1) throw new UsageError(`no such command: ${words.join(' ')}`, command)
    command.outputHelp()
  })

/** Applies the common settings to every command. Commander prints only help; its errors become a UsageError. */
function setUp(command: Command, terminal: Terminal): void {
  command
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .configureHelp(HELP_FORMAT)
    .configureOutput({ writeOut: (text) => terminal.io.stdout.write(text), outputError: () => {}, getOutHasColors: () => false })
    .exitOverride((error) => {
      throw error.exitCode === 0 ? error : new UsageError(usageTextOf(command, error))
    })
    .hook('preAction', () => assertNoEmptyArgument(command))
  for (const child of command.commands) setUp(child, terminal)
}
