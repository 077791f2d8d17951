/**
 * The summary that a scenario gives to `load/run.ts`: its own figures, which no k6 threshold can express, failed checks, and k6's
 * thresholds.
 */
import { atMost, type Figure, rounded } from './figure.ts'

interface Metric {
  contains: string
  values: Record<string, number | undefined>
  thresholds?: Record<string, { ok: boolean }>
}

interface Group {
  checks: { name: string; passes: number; fails: number }[]
  groups: Group[]
}

/** The part of k6's handleSummary data that is used here. */
export interface Summary {
  metrics: Record<string, Metric | undefined>
  root_group: Group
}

/** @param own the scenario's own figures */
export const handOver =
  (own: (summary: Summary) => Figure[] = () => []) =>
  (summary: Summary): Record<string, string> => {
    const figures = [...own(summary), ...failedChecks(summary.root_group), ...thresholds(summary)]
    // the return value of setup holds tokens
    const file = { figures, ...summary, setup_data: undefined }
    return { [__ENV.SUMMARY_FILE ?? 'stdout']: JSON.stringify(file, null, 2) }
  }

/** NaN when nothing was measured. */
export const read = ({ metrics }: Summary, metric: string, statistic: string): number => metrics[metric]?.values[statistic] ?? Number.NaN

/** The quantiles of a trend in milliseconds. Needs `STATISTICS`. */
export function times(summary: Summary, name: string, metric: string): Figure {
  const values = STATISTICS.map((statistic) => rounded(read(summary, metric, statistic)))
  return { name: `${name}: p50, p95, p99, most`, value: `${values.join(', ')} ms` }
}

export const STATISTICS = ['med', 'p(95)', 'p(99)', 'max']

/** k6 drops an iteration when all its clients wait. With many drops, the load was lower than intended. Needs `countIterations`. */
export function dropped(summary: Summary, scenario: string): Figure {
  const count = read(summary, `dropped_iterations{scenario:${scenario}}`, 'count') || 0
  const begun = read(summary, `iterations{scenario:${scenario}}`, 'count') || 0
  return atMost(`${scenario}: dropped iterations, ${count} of ${count + begun}`, (count / (count + begun)) * 100, 0.1, ' %')
}

/** k6 shows a metric for one scenario only when a threshold names it; these thresholds are empty and always hold. */
export const apart = (metric: string, ...scenarios: string[]): Record<string, string[]> =>
  Object.fromEntries(scenarios.map((scenario) => [`${metric}{scenario:${scenario}}`, []]))

export const countIterations = (...scenarios: string[]) => ({
  ...apart('dropped_iterations', ...scenarios),
  ...apart('iterations', ...scenarios),
})

const thresholds = ({ metrics }: Summary): Figure[] =>
  Object.entries(metrics).flatMap(([name, metric]) =>
    Object.entries(metric?.thresholds ?? {}).map(([bound, { ok }]) => {
      const value = metric?.values[bound.split(/[<>=!]/)[0]!.trim()] ?? Number.NaN
      // not rounded: a rate of nearly 1 is not 1
      const text = metric?.contains === 'time' ? `${rounded(value)} ms` : String(value)
      return { name, value: text, bound, isKept: ok }
    }),
  )

const failedChecks = ({ checks, groups }: Group): Figure[] => [
  ...checks
    .filter(({ fails }) => fails > 0)
    .map(({ name, passes, fails }) => ({ name, value: `${fails} of ${passes + fails} failed`, isKept: false })),
  ...groups.flatMap(failedChecks),
]
