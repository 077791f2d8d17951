/** Finds the command and its arguments in a command line, and reports wrong usage. */
import { type Command, type CommanderError, Help, type Option } from 'commander'
import { nearest } from '../platform/config/nearest.ts'
import { anyOf, collect, shortPathOf, UsageError } from './usage.ts'

/** Options before a command belong to the command. These have a value, which is not the name of a command. */
const BEFORE_COMMAND = ['-c', '--config', '--set', '--port']
const ASKS_FOR_HELP = ['-h', '--help']
const ASKS_FOR_VERSION = ['-v', '--version']

/** The command that the words name, and its own arguments. `--config FILE serve` means `serve --config FILE`. @throws UsageError */
export function findCommand(command: Command, args: readonly string[]): { command: Command; args: readonly string[] } {
  if (!command.commands.length) return { command, args }
  let at = 0
  while (args[at]?.startsWith('-') && args[at] !== '--') at += BEFORE_COMMAND.includes(args[at]!) ? 2 : 1
  const before = args.slice(0, at)
  const has = (flags: readonly string[]) => before.some((arg) => flags.includes(arg))
  if (!command.parent && has(ASKS_FOR_VERSION)) return { command, args: ['--version'] }
  const name = args[at] === '--' ? undefined : args[at]
  const found = command.commands.find((c) => c.name() === name)
  if (found) return findCommand(found, [...before, ...args.slice(at + 1)])
  if (name === undefined && asksForHelp(before)) return { command, args: before }
  const unknown = before.find((arg) => arg.startsWith('-') && ![...BEFORE_COMMAND, ...ASKS_FOR_HELP].includes(flagOf(arg)))
  if (unknown !== undefined) throw new UsageError(unknownOption(command, flagOf(unknown)), command)
  if (name !== undefined) throw unknownCommand(command, name)
  throw new UsageError(missingCommand(command), command)
}

/** `--help` works anywhere on the command line; the command then prints only its help. */
export const asksForHelp = (args: readonly string[]): boolean =>
  args.slice(0, args.includes('--') ? args.indexOf('--') : undefined).some((arg) => ASKS_FOR_HELP.includes(arg))

/** `--flag=value` without the value. */
const flagOf = (arg: string) => arg.replace(/=.*/s, '')

/** Without the commands that are only for other commands. */
const namesIn = (group: Command): string[] => {
  const visible = new Help().visibleCommands(group)
  return group.commands.filter((command) => visible.includes(command)).map((command) => command.name())
}

const missingCommand = (group: Command) =>
  group.parent
    ? `${shortPathOf(group)} takes ${anyOf(namesIn(group))}`
    : 'a command is missing, for example: portcullis serve --config FILE'

function unknownCommand(group: Command, name: string): UsageError {
  const full = (word: string) => [shortPathOf(group), word].filter(Boolean).join(' ')
  const near = nearest(name, namesIn(group))
  const hint = near ? `; did you mean ${full(near)}?` : ''
  return new UsageError(`no such command: ${full(name)}${hint || (group.parent ? `; ${missingCommand(group)}` : '')}`, group)
}

/** Commander's errors in the terms of our help. */
export function usageTextOf(command: Command, { code, message }: CommanderError): string {
  const quoted = /'(.*?)'/s.exec(message)?.[1] ?? ''
  switch (code) {
    case 'commander.unknownOption':
      return unknownOption(command, flagOf(quoted))
    case 'commander.missingArgument':
      return missingArgument(command, quoted)
    case 'commander.excessArguments':
      return unexpectedArgument(command)
    default:
      return message.replace(/^error: /, '').replaceAll("'", '')
  }
}

function unknownOption(command: Command, flag: string): string {
  const known = [...command.options.flatMap(({ long }) => long ?? []), ...(command.commands.length ? BEFORE_COMMAND : []), '--help']
  const near = flag.startsWith('--') ? nearest(flag, known) : undefined
  return `no such option: ${flag}${near ? `; did you mean ${near}?` : ''}`
}

const missingArgument = (command: Command, name: string) => `${shortPathOf(command)} needs a ${name}`

function unexpectedArgument(command: Command): string {
  const taken = command.registeredArguments.map((a) => a.name())
  const extra = command.args[taken.length]!
  const isFile = /\.(ya?ml|json)$/.test(extra) && !taken.includes('FILE') && command.options.some((o) => o.long === '--config')
  const hint = isFile
    ? `did you mean --config ${extra}?`
    : `${shortPathOf(command)} takes ${taken.length ? `only ${taken.join(' and ')}` : 'no argument'}`
  return `unexpected argument: ${extra}; ${hint}`
}

/** @throws UsageError */
export function assertNoEmptyArgument(command: Command): void {
  const empty = command.args.indexOf('')
  if (empty >= 0) throw new UsageError(missingArgument(command, command.registeredArguments[empty]?.name() ?? 'value'))
}

/** Commander would take the next word as a value even when it is an option, and would keep only the last of several values. @throws UsageError */
export function assertValues(command: Command, args: readonly string[]): void {
  const optionOf = (flag: string) => command.options.find(({ long, short }) => flag === long || flag === short)
  const seen = new Set<Option>()
  for (let at = 0; at < args.length && args[at] !== '--'; at++) {
    const [, flag = args[at]!, attached] = /^(--[^=]+)=(.*)$/s.exec(args[at]!) ?? /^(-\w)(.+)$/s.exec(args[at]!) ?? []
    const option = optionOf(flag)
    if (!option?.required) continue
    const value = attached ?? args[++at]
    const needsValue = `${flag} needs a value, as in ${option.long} ${/<(.*)>/.exec(option.flags)![1]}`
    if (!value) throw new UsageError(needsValue)
    if (attached === undefined && value.length > 1 && value.startsWith('-')) {
      const hint = optionOf(flagOf(value)) ? '' : `; a value that starts with a dash is written ${option.long}=${value}`
      throw new UsageError(needsValue + hint)
    }
    if (seen.has(option) && option.parseArg !== collect) throw new UsageError(`${option.long} is given twice: give it once`)
    seen.add(option)
  }
}
