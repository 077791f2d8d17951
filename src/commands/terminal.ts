/** What a command reads from and writes to. Results go to standard output, everything else to standard error. */
import { createInterface } from 'node:readline/promises'
import type { Readable, Writable } from 'node:stream'

/** The part of `process` that commands use, so that tests can hand in their own. */
export interface Io {
  stdin: Readable & { isTTY?: boolean }
  stdout: Writable & { columns?: number; isTTY?: boolean }
  stderr: Writable & { isTTY?: boolean }
  env: NodeJS.ProcessEnv
}

export interface Terminal {
  io: Io
  print(text: string): void
  complain(text: string): void
  /** Somebody can answer questions. */
  isInteractive: boolean
  /** Asks on standard error. @returns true for the answer yes */
  confirm(question: string): Promise<boolean>
  /** Null: the process keeps running after the command has returned. */
  exitCode: number | null
}

export const createTerminal = (io: Io): Terminal => ({
  io,
  print: (text) => void io.stdout.write(`${text}\n`),
  complain: (text) => void io.stderr.write(`${text}\n`),
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
  exitCode: 0,
})

export function table(rows: Record<string, unknown>[]): string {
  if (!rows.length) return '(none)'
  const columns = Object.keys(rows[0]!)
  const cells = [columns, ...rows.map((row) => columns.map((c) => String(row[c])))]
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
