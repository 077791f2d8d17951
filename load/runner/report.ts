/** Writes the results of a run: a Markdown table for the terminal, and a page without external resources. */
import { writeFileSync } from 'node:fs'
import type { Figure } from '../lib/figure.ts'
import type { Sample } from './vitals.ts'

export interface Report {
  title: string
  /** How it was measured, one sentence each. */
  notes: string[]
  figures: Figure[]
  memory: Sample[]
  /** File name beside the page; null when k6 wrote no charts. */
  chartsFile: string | null
}

const COLUMNS = ['figure', 'value', 'bound', '']
const cellsOf = ({ name, value, bound, isKept }: Figure) => [
  name,
  value,
  bound ?? '',
  isKept === undefined ? '' : isKept ? 'kept' : 'MISSED',
]

export function toMarkdown({ title, notes, figures }: Report): string {
  const rows = [COLUMNS, COLUMNS.map(() => '---'), ...figures.map(cellsOf)]
  const table = rows.map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
  return [`## ${title}`, '', ...notes.map((note) => `- ${note}`), '', ...table, ''].join('\n')
}

export function writePage(file: string, { title, notes, figures, memory, chartsFile }: Report): void {
  const row = (cells: string[], tag: string) => `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('')}</tr>`
  writeFileSync(
    file,
    `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>${escaped(title)}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
  table { border-collapse: collapse }
  th, td { text-align: left; padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid #ccc }
  .missed { color: #b00020; font-weight: bold }
  svg { width: 100%; height: 10rem; border: 1px solid #ccc }
</style>
<h1>${escaped(title)}</h1>
<ul>${notes.map((note) => `<li>${escaped(note)}`).join('')}</ul>
<table>
${row(COLUMNS, 'th')}
${figures.map((figure) => row(cellsOf(figure), 'td').replace('<tr>', figure.isKept === false ? '<tr class="missed">' : '<tr>')).join('\n')}
</table>
<h2>Memory of the gateway</h2>
${memoryChart(memory)}
${chartsFile ? `<p><a href="${escaped(chartsFile)}">The charts of k6</a></p>` : ''}
</html>
`,
  )
}

/** Starts at zero, so that a small slope looks small. */
function memoryChart(samples: Sample[]): string {
  const most = Math.max(...samples.map(({ rssMiB }) => rssMiB))
  const end = samples.at(-1)!.seconds
  const points = samples.map(({ seconds, rssMiB }) => `${((seconds / end) * 1000).toFixed(1)},${(100 - (rssMiB / most) * 95).toFixed(1)}`)
  return `<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="resident memory">
<polyline points="${points.join(' ')}" fill="none" stroke="#06c" vector-effect="non-scaling-stroke"/></svg>
<p>0 to ${Math.round(end)} s; at most ${most.toFixed(0)} MiB</p>`
}

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
