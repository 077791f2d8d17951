/**
 * Small charts as SVG, drawn on the server: no script, and no style that the Content-Security-Policy would refuse. Labels are HTML, so that
 * they stay readable when the drawing shrinks. The table below a chart is its legend and its text alternative.
 */
import { type Html, html, trustedMarkup } from '../../identity/pages/html.ts'

/** The meaning of a series, as a colour of the style sheet. Lines differ in their dashes, too. */
export type Tone = 'good' | 'plain' | 'warn' | 'bad' | 'soft'

export interface Series {
  name: string
  tone: Tone
  /** One for each column of the chart. Null: nothing is known, and the drawing has a gap. */
  values: readonly (number | null)[]
}

export interface Chart {
  /** Unique in the page. */
  id: string
  title: string
  /** `bars` stand on each other. `states` are good at 1, bad at 0. */
  kind: 'lines' | 'bars' | 'states'
  series: readonly Series[]
  /** A value with its unit, in the reader's language. */
  format(value: number): string
  /** The smallest top of the scale. A scale of its own for tiny values would make noise look like news. */
  atLeast?: number
  /** The values are counts of their columns: the table shows their sum in place of their average. */
  isCount?: boolean
}

export interface ChartTexts {
  /** Of the whole drawing, such as "The last hour". */
  period: string
  start: string
  middle: string
  end: string
  series: string
  last: string
  average: string
  sum: string
  highest: string
  none: string
  good: string
  bad: string
}

const HEIGHT = 100

export function drawChart({ id, title, kind, series, format, atLeast = 0, isCount = false }: Chart, texts: ChartTexts): Html {
  const known = series.some(({ values }) => values.some((value) => value !== null))
  if (!known) return html`<figure class="chart"><figcaption id="${id}">${title}</figcaption><p class="hint">${texts.none}</p></figure>`
  const columns = series[0]!.values.length
  if (kind === 'states')
    return html`<figure class="chart"><figcaption id="${id}">${title}</figcaption>
${series.map(
  (one) =>
    html`<div class="strip"><span>${one.name}</span>${drawing(id, texts, columns, 10, statesOf(one))}<strong class="${isGood(one) ? 'good' : 'bad'}">${
      isGood(one) ? texts.good : texts.bad
    }</strong></div>`,
)}
${timesOf(texts)}
</figure>`
  const top = niceTop(Math.max(atLeast, kind === 'bars' ? highestSum(series) : highestOf(series.flatMap(({ values }) => values))))
  const marks = kind === 'bars' ? barsOf(series, top) : series.map((one) => lineOf(one, top)).join('')
  return html`<figure class="chart"><figcaption id="${id}">${title}</figcaption>
<div class="plot"><div class="scale" aria-hidden="true"><span>${format(top)}</span><span>${format(top / 2)}</span><span>${format(0)}</span></div>
${drawing(id, texts, columns, HEIGHT, `<path class="grid" d="M0 .5h${columns}M0 50h${columns}M0 99.5h${columns}"/>${marks}`)}</div>
${timesOf(texts)}
<table class="legend"><thead><tr><th scope="col">${texts.series}</th><th scope="col">${texts.last}</th><th scope="col">${isCount ? texts.sum : texts.average}</th><th scope="col">${
    texts.highest
  }</th></tr></thead><tbody>${series.map(
    ({ name, tone, values }) =>
      html`<tr><th scope="row"><svg class="key ${tone} ${kind}" viewBox="0 0 16 10" aria-hidden="true">${trustedMarkup(
        kind === 'bars' ? '<path d="M0 0h16v10H0z"/>' : '<path d="M0 5h16"/>',
      )}</svg>${name}</th>${[lastOf(values), isCount ? sumOf(values) : averageOf(values), highestOrNull(values)].map(
        (value) => html`<td>${value === null ? '–' : format(value)}</td>`,
      )}</tr>`,
  )}</tbody></table>
</figure>`
}

/** @param marks SVG that was made here, of numbers alone */
const drawing = (id: string, { period }: ChartTexts, columns: number, height: number, marks: string): Html =>
  html`<svg viewBox="0 0 ${columns} ${height}" preserveAspectRatio="none" role="img" aria-labelledby="${id}"><desc>${period}</desc>${trustedMarkup(marks)}</svg>`

const timesOf = ({ start, middle, end }: ChartTexts): Html =>
  html`<div class="times" aria-hidden="true"><span>${start}</span><span>${middle}</span><span>${end}</span></div>`

/** One decimal: the drawing has a hundred units. */
const y = (value: number, top: number): number => Math.round((HEIGHT - (value / top) * HEIGHT) * 10) / 10

/** A line through the middles of the columns. A lone value is a short stroke. */
function lineOf({ tone, values }: Series, top: number): string {
  const path = runsOf(values)
    .map(({ from, values: run }) => {
      const points = run.map((value, i) => `${i === 0 ? 'M' : 'L'}${from + i + 0.5} ${y(value, top)}`).join('')
      return run.length === 1 ? `${points}h.5` : points
    })
    .join('')
  return `<path class="line ${tone}" d="${path}"/>`
}

/** Steps, from the highest sum to the lowest: each is drawn over the one before. */
function barsOf(series: readonly Series[], top: number): string {
  const sums = series.map((_, i) =>
    series[0]!.values.map((first, column) =>
      first === null ? null : series.slice(0, i + 1).reduce((sum, { values }) => sum + (values[column] ?? 0), 0),
    ),
  )
  return series
    .map(({ tone }, i) => {
      const path = runsOf(sums[i]!)
        .map(({ from, values }) => `M${from} ${HEIGHT}${values.map((value) => `V${y(value, top)}h1`).join('')}V${HEIGHT}z`)
        .join('')
      return `<path class="bar ${tone}" d="${path}"/>`
    })
    .reverse()
    .join('')
}

/** A full band while good, and a band of another height while bad: the difference is not colour alone. */
function statesOf({ values }: Series): string {
  const band = (wanted: (value: number) => boolean, tone: Tone, height: number) => {
    const path = runsOf(values.map((value) => (value !== null && wanted(value) ? value : null)))
      .map(({ from, values: run }) => `M${from} ${10 - height}h${run.length}v${height}h-${run.length}z`)
      .join('')
    return path === '' ? '' : `<path class="bar ${tone}" d="${path}"/>`
  }
  return band((value) => value >= 1, 'good', 10) + band((value) => value < 1, 'bad', 5)
}

const isGood = ({ values }: Series): boolean => (lastOf(values) ?? 1) >= 1

interface Run {
  from: number
  values: number[]
}

/** The parts of a series without gaps. */
function runsOf(values: readonly (number | null)[]): Run[] {
  const runs: Run[] = []
  let run: Run | null = null
  for (const [i, value] of values.entries()) {
    if (value === null) run = null
    else if (run) run.values.push(value)
    else {
      run = { from: i, values: [value] }
      runs.push(run)
    }
  }
  return runs
}

const knownOf = (values: readonly (number | null)[]): number[] => values.filter((value) => value !== null)
const highestOf = (values: readonly (number | null)[]): number => Math.max(0, ...knownOf(values))
const highestOrNull = (values: readonly (number | null)[]): number | null => (knownOf(values).length === 0 ? null : highestOf(values))
const lastOf = (values: readonly (number | null)[]): number | null => knownOf(values).at(-1) ?? null
const highestSum = (series: readonly Series[]): number =>
  highestOf(series[0]!.values.map((_, column) => series.reduce((sum, { values }) => sum + (values[column] ?? 0), 0)))

const sumOf = (values: readonly (number | null)[]): number => knownOf(values).reduce((sum, value) => sum + value, 0)

function averageOf(values: readonly (number | null)[]): number | null {
  const known = knownOf(values)
  return known.length === 0 ? null : sumOf(known) / known.length
}

/** The next of 1, 2, 5, 10, 20 …: half of it is a round number, too. */
export function niceTop(highest: number): number {
  if (highest <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(highest))
  const step = [1, 2, 5, 10].find((times) => times * power >= highest * (1 - 1e-9))!
  return step * power
}
