/** Files of networks: an address or a network on each line. `#` begins a comment. */
import { readFileSync } from 'node:fs'
import { isFileName, notShown } from '../config/harmless.ts'
import type { ConfigProblem } from '../config/source.ts'
import { fileErrorText } from '../lib/errors.ts'
import { runSteps } from '../lib/run-steps.ts'
import { type AddressRange, type AddressSet, addressSetSteps, parseNetwork } from './address-set.ts'

export const MAX_NETWORK_FILE_BYTES = 16 * 1024 * 1024
const MAX_NETWORKS = 250_000
/** Further problems are only counted. */
const MAX_PROBLEMS = 10
/** After so many lines, other work may go on. */
const LINES_A_STEP = 2000

/** The file cannot be used. */
export class NetworkFileError extends Error {
  readonly problems: ConfigProblem[]
  constructor(problems: ConfigProblem[]) {
    super(problems.map(({ where, message }) => `${where} ${message}`).join('\n'))
    this.problems = problems
  }
}

const FORM = 'write one address or network on each line, such as 192.0.2.7 or 10.0.0.0/8; # begins a comment'

/**
 * Reads the content of a file in steps, so that a caller can let requests pass between them.
 * @param file its name, for problems @throws NetworkFileError
 */
export function* readNetworks(file: string, content: Buffer): Generator<void, AddressSet> {
  const name = isFileName(file) ? file : 'the file of networks'
  const fail = (message: string, hint: string) => new NetworkFileError([{ where: name, path: '', message, hint }])
  if (content.length > MAX_NETWORK_FILE_BYTES) throw fail(`is larger than ${MAX_NETWORK_FILE_BYTES} bytes`, 'join networks to larger ones')
  const text = content.toString('utf8').replace(/^\ufeff/, '')
  // a program that writes a file in two steps leaves it empty for a moment
  if (text.trim() === '') throw fail('is empty', 'write the networks, or a comment such as # none')
  const ranges: AddressRange[] = []
  const problems: ConfigProblem[] = []
  let wrong = 0
  let number = 0
  for (const line of text.split('\n')) {
    number++
    if (number % LINES_A_STEP === 0) yield
    const network = line.split('#', 1)[0]!.trim()
    if (network === '') continue
    const found = parseNetwork(network)
    if (found) ranges.push(...found)
    else if (++wrong <= MAX_PROBLEMS)
      problems.push({ where: `${name}:${number}`, path: '', message: `is no address and no network${notShown(network)}`, hint: FORM })
    if (ranges.length > MAX_NETWORKS) throw fail(`has more than ${MAX_NETWORKS} networks`, 'join networks to larger ones')
  }
  if (wrong > MAX_PROBLEMS) problems.push({ where: name, path: '', message: `${wrong - MAX_PROBLEMS} further lines are wrong`, hint: FORM })
  if (wrong > 0) throw new NetworkFileError(problems)
  return yield* addressSetSteps(ranges)
}

/** @returns what is wrong with a file; none for a file that is not on this machine */
export function problemsOfNetworkFile(file: string): ConfigProblem[] {
  try {
    runSteps(readNetworks(file, readFileSync(file)))
    return []
  } catch (error) {
    return error instanceof NetworkFileError ? error.problems : unreadable(file, error)
  }
}

function unreadable(file: string, error: unknown): ConfigProblem[] {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
  const where = isFileName(file) ? file : 'a file of networks'
  return [{ where, path: '', message: `cannot be read: ${fileErrorText(error)}`, hint: 'name a text file that this user can read' }]
}
