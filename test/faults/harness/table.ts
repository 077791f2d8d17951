/** The generated table of docs/reliability.md: one line for each row of the matrix that was run. */
import type { FaultResult, FaultRow } from './fault-row.ts'

const BEGIN = '<!-- generated: faults -->'
const END = '<!-- end -->'
const HEAD = '| id | fault | what was run | counts | result |\n|---|---|---|---|---|'

/** @returns the page with the lines of these rows in place of their former lines. A row that was skipped keeps its line. */
export function withRows(page: string, results: readonly { row: FaultRow; result: FaultResult }[]): string {
  const from = page.indexOf(BEGIN)
  const to = page.indexOf(END, from)
  if (from < 0 || to < 0) throw new Error(`the page has no ${BEGIN} … ${END}`)
  const lines = new Map(
    page
      .slice(from + BEGIN.length, to)
      .split('\n')
      .filter((line) => /^\| [A-Z]\d+ \|/.test(line))
      .map((line) => [/^\| (\w+)/.exec(line)![1]!, line]),
  )
  for (const { row, result } of results) if (!result.isSkipped) lines.set(row.id, lineOf(row, result))
  const sorted = [...lines].sort(([a], [b]) => rankOf(a) - rankOf(b))
  return `${page.slice(0, from)}${BEGIN}\n${[HEAD, ...sorted.map(([, line]) => line)].join('\n')}\n${page.slice(to)}`
}

/** The groups of the matrix: processes, database, Redis, clients, upstreams, load, size, network, histories. */
const GROUPS = 'PDRCUASNH'

/** The order of the ids in the table. */
export const rankOf = (id: string): number => GROUPS.indexOf(id[0]!) * 100 + Number(id.slice(1))

function lineOf({ id, fault, promise }: FaultRow, { what, counts, broken }: FaultResult): string {
  const kinds = [...Map.groupBy(broken, (line) => line.replace(/\d+/g, 'N')).values()].map(([first]) =>
    first!.split('\n')[0]!.slice(0, 200),
  )
  const result = kinds.length ? `**missed**: ${kinds.join('; ')}` : `held: ${promise}`
  return `| ${[id, fault, what, counts, result].map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`
}
