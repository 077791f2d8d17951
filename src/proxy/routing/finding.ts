/** A setting that `check` reports. */
export interface Finding {
  path: (string | number)[]
  message: string
  /** What would be right. */
  hint?: string
  /** The rule that found it, for programs. Default: `setting`. */
  rule?: string
}

export interface Findings {
  problems: Finding[]
  warnings: Finding[]
  /** Harmless: what an operator may want to know. */
  notes: Finding[]
}
