/** What a command reads from and writes to. Results go to standard output, everything else to standard error. */
import { open, readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline/promises'
import { Readable, type Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { Services } from '../app/services.ts'
import { visibleJson, visibleLines, visibleText } from '../platform/lib/visible-text.ts'
import { cannotRead } from './usage.ts'

/** The part of `process` that commands use, so that tests can hand in their own. */
export interface Io {
  stdin: Readable & { isTTY?: boolean }
  stdout: Writable & { columns?: number; isTTY?: boolean }
  stderr: Writable & { isTTY?: boolean }
  env: NodeJS.ProcessEnv
}

/** The services of the running gateway that runs a command. */
export type Gateway = Pick<Services, 'platform' | 'identity'>

/** Runs a command line. @returns the exit code; null when the command keeps running */
export type Run = (argv: readonly string[], io: Io, gateway?: Gateway | null) => Promise<number | null>

export type Ask = (question: string) => Promise<string | null>

export interface Terminal {
  io: Io
  /** The command line, without the names of Node and of the program. */
  argv: readonly string[]
  /** Null: this process opens the services itself. */
  gateway: Gateway | null
  /** Runs another command line. */
  run: Run
  /** Characters from outside that could move the cursor or hide text are shown as numbers. */
  print(text: string): void
  printJson(value: unknown): void
  complain(text: string): void
  /** Somebody can answer questions. */
  isInteractive: boolean
  /** Asks on standard error. @returns true for the answer yes */
  confirm(question: string): Promise<boolean>
  /** Asks several questions on standard error. `ask` returns null at the end of the input. */
  withQuestions<T>(work: (ask: Ask) => Promise<T>): Promise<T>
  /** Opens the one file that a command reads; `-` is standard input. @throws UsageError */
  openInput(file: string): Promise<Readable>
  /** Reads that file. @param flag the option that names it, for the error @throws UsageError */
  readInput(file: string, flag: string): Promise<string>
  /** What the command reads, for the gateway that runs it. Null: nothing. */
  input: Readable | null
  /** Null: the process keeps running after the command has returned. */
  exitCode: number | null
}

export function createTerminal({ io, argv, gateway, run }: Pick<Terminal, 'io' | 'argv' | 'gateway' | 'run'>): Terminal {
  const terminal: Terminal = {
    io,
    argv,
    gateway,
    run,
    print: (text) => void io.stdout.write(`${visibleLines(text)}\n`),
    printJson: (value) => void io.stdout.write(`${visibleJson(value)}\n`),
    complain: (text) => void io.stderr.write(`${visibleLines(text)}\n`),
    isInteractive: Boolean(io.stdin.isTTY && io.stderr.isTTY),
    async confirm(question) {
      const asking = createInterface({ input: io.stdin, output: io.stderr, terminal: false })
      try {
        // the end of the input is an answer, too
        const ended = new Promise<string>((resolve) => asking.once('close', () => resolve('')))
        const answer = await Promise.race([asking.question(`${question} [yes/no] `), ended])
        return answer.trim().toLowerCase() === 'yes'
      } finally {
        asking.close()
      }
    },
    async withQuestions(work) {
      // one reader for all questions: it keeps lines that arrive before their question
      const asking = createInterface({ input: io.stdin, terminal: false })
      const lines = asking[Symbol.asyncIterator]()
      try {
        return await work(async (question) => {
          io.stderr.write(question)
          const { done, value } = await lines.next()
          return done ? null : value
        })
      } finally {
        asking.close()
      }
    },
    // a running gateway does not open files: the caller sends the content as standard input
    async openInput(file) {
      terminal.input = gateway || file === '-' ? io.stdin : await openFile(file)
      return terminal.input
    },
    async readInput(file, flag) {
      if (gateway) return text(io.stdin)
      const content = await readFile(file, 'utf8').catch((error) => {
        throw cannotRead(`${flag} ${file}`, error)
      })
      terminal.input = Readable.from([content])
      return content
    },
    input: null,
    exitCode: 0,
  }
  return terminal
}

async function openFile(path: string): Promise<Readable> {
  try {
    return (await open(path)).createReadStream()
  } catch (error) {
    throw cannotRead(path, error)
  }
}

export function table(rows: Record<string, unknown>[]): string {
  if (!rows.length) return '(none)'
  const columns = Object.keys(rows[0]!)
  const cells = [columns, ...rows.map((row) => columns.map((c) => visibleText(String(row[c]))))]
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i]!.length)))
  return cells
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
