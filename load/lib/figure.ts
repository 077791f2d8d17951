/** What a run found, line by line. Read by k6 and by Node. */

export interface Figure {
  name: string
  value: string
  bound?: string
  /** False makes the run fail. Without it the figure is only told. */
  isKept?: boolean
}

export const rounded = (value: number) => String(Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3)))

export const told = (name: string, value: number, unit = ''): Figure => ({ name, value: rounded(value) + unit })

/** What was not measured is NaN, and misses its bound. */
export const atMost = (name: string, value: number, bound: number, unit = ''): Figure => ({
  ...told(name, value, unit),
  bound: `≤ ${rounded(bound)}${unit}`,
  isKept: value <= bound,
})

export const atLeast = (name: string, value: number, bound: number, unit = ''): Figure => ({
  ...told(name, value, unit),
  bound: `≥ ${rounded(bound)}${unit}`,
  isKept: value >= bound,
})
