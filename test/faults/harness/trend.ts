/** Does a value grow? Linear regression over means of blocks: neighbouring samples of a process are not independent. */

export interface Sample {
  seconds: number
  value: number
}

export interface Trend {
  /** Per hour. */
  slope: number
  /** Half of the 95 % confidence interval of the slope. */
  error: number
  mean: number
}

const BLOCKS = 20
/** Student's t for 95 %, by degrees of freedom; beyond the list 1.96. */
const T95 = [12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.2, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.1, 2.09, 2.09]

/** Infinite error with fewer than three samples. */
export function trendOf(samples: readonly Sample[]): Trend {
  const blocks = blocksOf(samples)
  const mean = average(blocks.map(({ value }) => value))
  const n = blocks.length
  if (n < 3) return { slope: 0, error: Number.POSITIVE_INFINITY, mean }
  const hours = blocks.map(({ seconds }) => seconds / 3600)
  const middle = average(hours)
  const spread = sum(hours.map((h) => (h - middle) ** 2))
  const slope = sum(blocks.map(({ value }, i) => (hours[i]! - middle) * (value - mean))) / spread
  const residuals = blocks.map(({ value }, i) => value - mean - slope * (hours[i]! - middle))
  const variance = sum(residuals.map((r) => r ** 2)) / (n - 2)
  return { slope, error: (T95[n - 3] ?? 1.96) * Math.sqrt(variance / spread), mean }
}

/** The growth is within its noise, or below the bound. @param bound per hour, in the unit of the value */
export const isFlat = ({ slope, error }: Trend, bound: number): boolean => slope - error <= 0 || slope <= bound

export function textOfTrend({ slope, error, mean }: Trend, unit: string): string {
  const text = (n: number) => (Math.abs(n) >= 10 ? n.toFixed(0) : n.toFixed(2))
  return `${text(mean)}${unit} at ${slope < 0 ? '−' : '+'}${text(Math.abs(slope))} ± ${text(error)}${unit}/h`
}

function blocksOf(samples: readonly Sample[]): Sample[] {
  const size = Math.max(1, Math.ceil(samples.length / BLOCKS))
  const blocks: Sample[] = []
  for (let first = 0; first < samples.length; first += size) {
    const block = samples.slice(first, first + size)
    blocks.push({ seconds: average(block.map(({ seconds }) => seconds)), value: average(block.map(({ value }) => value)) })
  }
  return blocks
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, n) => total + n, 0)
const average = (numbers: readonly number[]) => sum(numbers) / numbers.length
