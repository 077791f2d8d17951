/** Runs a command line and returns its exit code: 0 done, 1 failed at run time, 2 wrong usage or configuration. */
import { CommanderError } from 'commander'
import { causeText, Problem } from '../platform/lib/errors.ts'
import { asksForHelp, assertValues, findCommand } from './arguments.ts'
import { createProgram } from './program.ts'
import { createTerminal, type Gateway, type Io, type Terminal } from './terminal.ts'
import { pathOf, UsageError } from './usage.ts'

/** @param argv without the names of Node and of the program @param gateway the gateway that runs the command @returns null when the command keeps running, as `serve` does */
export async function run(argv: readonly string[], io: Io, gateway: Gateway | null = null): Promise<number | null> {
  const terminal = createTerminal({ io, argv, gateway, run })
  const program = createProgram(terminal)
  let called = program
  try {
    const { command, args } = findCommand(program, argv)
    called = command
    if (asksForHelp(args)) {
      command.outputHelp()
      return 0
    }
    assertValues(command, args)
    await command.parseAsync(args, { from: 'user' })
    return terminal.exitCode
  } catch (error) {
    // the version was printed
    if (error instanceof CommanderError) return error.exitCode
    if (error instanceof UsageError) {
      terminal.complain(`${error.message}\nSee: ${pathOf(error.see ?? called)} --help`)
      return 2
    }
    return reportError(terminal, error, pathOf(called))
  }
}

/** A command has no headers. */
const FOR_CLIENTS = / Try again after Retry-After\.$/
/** The answer says that something is away, and the cause says what. */
const SHOWS_CAUSE = new Set(['unavailable', 'issuer_unavailable'])

async function reportError({ complain }: Terminal, error: unknown, command: string): Promise<number> {
  if (error instanceof Problem) {
    const { DatabaseUnavailable, unavailableText } = await import('../platform/db/unavailable.ts')
    if (error instanceof DatabaseUnavailable) {
      complain(unavailableText(error))
      return 1
    }
    complain(
      [
        ...(error.errors?.map((e) => `${e.field}: ${e.detail}`) ?? [error.message.replace(FOR_CLIENTS, '')]),
        ...(error.code === 'validation_failed' ? [`See: ${command} --help`] : []),
        ...(SHOWS_CAUSE.has(error.code) ? [causeText(error.cause)] : []),
      ].join('\n'),
    )
    return error.code === 'validation_failed' || error.code === 'not_found' ? 2 : 1
  }
  // imported late: code that throws these errors has loaded the files already
  const [{ ConfigError }, { problemLines }, { AddressError }, { WrongSecretKey }, { DataFileUnread }] = await Promise.all([
    import('../app/load-config.ts'),
    import('../platform/config/source.ts'),
    import('../app/listen.ts'),
    import('../platform/vault/secrets.ts'),
    import('../platform/geo/client-data.ts'),
  ])
  if (error instanceof ConfigError) {
    complain(error.problems.map(problemLines).join('\n'))
    return 2
  }
  if (error instanceof DataFileUnread) {
    complain(`${error.message}\n  ${error.hint}`)
    return 2
  }
  if (error instanceof WrongSecretKey) {
    const text = error.message.replace('PORTCULLIS_SECRET_KEY is', 'PORTCULLIS_SECRET_KEY: is')
    complain(`${text}\n  set that key, or give it as PORTCULLIS_SECRET_KEY_PREVIOUS to replace it`)
    return 2
  }
  complain(error instanceof AddressError ? `${error.what}\n  ${error.hint}` : causeText(error))
  return 1
}
