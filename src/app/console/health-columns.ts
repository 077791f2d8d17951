/** Brings samples to the columns of a chart: equal parts of the last hour, whatever the distance of the samples. */
import type { HealthSample } from './health-history.ts'

export const COLUMNS = 120
const PERIOD_MS = 3_600_000

/** @param now milliseconds since the epoch */
export function columnsOf(samples: readonly HealthSample[], now: number): HealthSample[][] {
  const columns: HealthSample[][] = Array.from({ length: COLUMNS }, () => [])
  for (const sample of samples) {
    const at = COLUMNS - 1 - Math.floor(((now - sample.at) / PERIOD_MS) * COLUMNS)
    columns[at]?.push(sample)
  }
  return columns
}

/** Null for a column without a value. */
export const averages = (columns: readonly HealthSample[][], of: (sample: HealthSample) => number | null): (number | null)[] =>
  columns.map((column) => {
    const values = column.map(of).filter((value) => value !== null)
    return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
  })

export const sums = (columns: readonly HealthSample[][], of: (sample: HealthSample) => number): (number | null)[] =>
  columns.map((column) => (column.length === 0 ? null : column.reduce((sum, sample) => sum + of(sample), 0)))

export const highest = (columns: readonly HealthSample[][], of: (sample: HealthSample) => number | null): (number | null)[] =>
  columns.map((column) => {
    const values = column.map(of).filter((value) => value !== null)
    return values.length === 0 ? null : Math.max(...values)
  })

export const lowest = (columns: readonly HealthSample[][], of: (sample: HealthSample) => number | null): (number | null)[] =>
  columns.map((column) => {
    const values = column.map(of).filter((value) => value !== null)
    return values.length === 0 ? null : Math.min(...values)
  })
