import type { Command } from 'commander'
import { assertValues, findCommand } from '../../src/commands/arguments.ts'

/** The arguments of a line such as `A=b portcullis audit export > FILE   # comment`, as a shell would split them. */
const argumentsOf = (line: string): string[] =>
  line
    .replace(/^.*?\bportcullis /, '')
    .replace(/\s+#.*/, '')
    .replace(/ [<>|] .*/, '')
    .trim()
    .split(/\s+/)

/** Parses an example of a command line without running it. @throws with the reason when the program would refuse it */
export function assertExample(program: Command, line: string): void {
  const found = findCommand(program, argumentsOf(line))
  assertValues(found.command, found.args)
  const { operands, unknown } = found.command.parseOptions([...found.args])
  const wrong = unknown.filter((arg) => arg !== '--help')
  if (wrong.length) throw new Error(`${line}: no such option: ${wrong.join(' ')}`)
  const taken = found.command.registeredArguments
  if (taken.some((a) => a.variadic) || found.args.includes('--help')) return
  const least = taken.filter((a) => a.required).length
  if (operands.length < least || operands.length > taken.length)
    throw new Error(`${line}: takes ${least} to ${taken.length} arguments, not ${operands.length}`)
}
