/** The results of a run, one figure a line. Used by k6 and by Node. */

export interface Figure {
  name: string
  value: string
  bound?: string
  /** False makes the run fail. Undefined: the figure has no bound. */
  isKept?: boolean
}

export const rounded = (value: number) => String(Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3)))

export const reported = (name: string, value: number, unit = ''): Figure => ({ name, value: rounded(value) + unit })

/** A value that was not measured is NaN, and misses its bound. */
export const atMost = (name: string, value: number, bound: number, unit = ''): Figure => ({
  ...reported(name, value, unit),
  bound: `≤ ${rounded(bound)}${unit}`,
  isKept: value <= bound,
})

export const atLeast = (name: string, value: number, bound: number, unit = ''): Figure => ({
  ...reported(name, value, unit),
  bound: `≥ ${rounded(bound)}${unit}`,
  isKept: value >= bound,
})
