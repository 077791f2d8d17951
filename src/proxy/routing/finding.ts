/** A setting that `check` reports. */
export interface Finding {
  path: (string | number)[]
  message: string
  /** What would be right. */
  hint?: string
}
