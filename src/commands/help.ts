/** The form of the help texts. */
import { Command, Help } from 'commander'
import { pathOf } from './usage.ts'

const WIDTH_IN_COLUMNS = 120

const indented = (text: string) => text.trim().replace(/^(?=.)/gm, '  ')

/** Every command shows at least one example. `notes` stand below the examples. */
export function withExamples(command: Command, examples: string, notes = ''): Command {
  const text = `\nExamples:\n${indented(examples)}`
  return command.addHelpText('after', notes ? `${text}\n\n${notes.trim()}` : text)
}

/** `users create`, `users list` …; the description ends with their names. */
export function groupOf(name: string, what: string, commands: readonly Command[]): Command {
  const group = new Command(name).description(`${what}: ${commands.map((c) => c.name()).join(', ')}`)
  for (const command of commands) group.addCommand(command)
  return group
}

const usual = new Help()

/** Lists commands by their full name, as a user types them. */
export const HELP_FORMAT = {
  helpWidth: WIDTH_IN_COLUMNS,
  commandUsage: (command: Command) =>
    command.parent && command.commands.length ? `${pathOf(command)} ACTION [options]` : usual.commandUsage(command),
  commandDescription: (command: Command) =>
    command
      .description()
      .replace(/^./, (first) => first.toUpperCase())
      .replace(/$/, '.'),
  subcommandTerm: (command: Command) => `${pathOf(command.parent!)} ${usual.subcommandTerm(command)}`,
}
