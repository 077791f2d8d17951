/** How commands speak: results to standard output, everything else beside it. */

/** The command was not written as it must be. Exit code 2. */
export class UsageError extends Error {}

export const print = (text: string) => void process.stdout.write(`${text}\n`)
export const complain = (text: string) => void process.stderr.write(`${text}\n`)

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
