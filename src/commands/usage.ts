/** Wrong usage, and the checks of arguments that several commands share. */
import type { Command } from 'commander'
import { fileErrorText } from '../platform/lib/errors.ts'

/** The command line was not written correctly. Exit code 2. */
export class UsageError extends Error {
  /** The command whose help shows the right usage, when it is not the command that was called. */
  readonly see: Command | undefined
  constructor(message: string, see?: Command) {
    super(message)
    this.see = see
  }
}

/** `portcullis users create` */
export const pathOf = (command: Command): string => (command.parent ? `${pathOf(command.parent)} ` : '') + command.name()

/** The same without the name of the program. */
export const shortPathOf = (command: Command): string => pathOf(command).replace(/^\S+ ?/, '')

/** `a, b or c` */
export const anyOf = (words: readonly string[]): string =>
  words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`

/** For an option that may be given several times: every value. */
export const collect = (value: string, previous: string[] = []): string[] => [...previous, value]

/** @throws UsageError */
export function readNumber(flag: string, text: string, { min, max }: { min: number; max: number }): number {
  const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (!(number >= min && number <= max)) throw new UsageError(`${flag} takes a number from ${min} to ${max}, not ${text}`)
  return number
}

/** @throws UsageError */
export function readChoice<T extends string>(flag: string, text: string, choices: readonly T[]): T {
  const choice = choices.find((known) => known === text)
  if (choice === undefined) throw new UsageError(`${flag} takes ${anyOf(choices)}, not ${text}`)
  return choice
}

/** For a file that the command line names. */
export const cannotRead = (file: string, error: unknown): UsageError => new UsageError(`${file}: cannot be read: ${fileErrorText(error)}`)
