/** What a row of the fault matrix is. Each file of test/faults/rows exports one row. */

export interface FaultOptions {
  /** The form for `npm test`: a few seconds. */
  short: boolean
  /** How long the fault lasts, in place of the row's own length. */
  seconds?: number
  /** Another seed gives other cases. */
  seed: number
}

export interface FaultResult {
  /** What was run, and how long. */
  what: string
  counts: string
  /** Promises that did not hold. Empty: the row has passed. */
  broken: string[]
  /** True: something that the row needs is missing. Nothing was tried. */
  isSkipped?: boolean
}

/** @param lack what is missing */
export const skipped = (lack: string): FaultResult => ({ what: `nothing: ${lack}`, counts: '', broken: [], isSkipped: true })

export interface FaultRow {
  id: string
  fault: string
  promise: string
  /** True: `npm test` runs the short form. */
  isQuick?: boolean
  run(options: FaultOptions): Promise<FaultResult>
}

/** The length of a row: what `--seconds` says, else the short or the usual length. */
export const lengthOf = ({ short, seconds }: FaultOptions, usual: number, brief: number): number => seconds ?? (short ? brief : usual)

/** How often each thing happened, and which promises did not hold. */
export interface Tally {
  add(what: string, n?: number): void
  get(what: string): number
  /** Counts with this beginning. */
  sum(prefix: string): number
  /** `a 3, b 1`, in the order of the first occurrence. */
  text(): string
  /** Adds a broken promise when `isKept` is false. */
  promise(isKept: boolean, broken: string): void
  broken: string[]
}

export function createTally(): Tally {
  const counts = new Map<string, number>()
  const broken: string[] = []
  return {
    broken,
    add: (what, n = 1) => void counts.set(what, (counts.get(what) ?? 0) + n),
    get: (what) => counts.get(what) ?? 0,
    sum: (prefix) => [...counts].reduce((sum, [what, n]) => (what.startsWith(prefix) ? sum + n : sum), 0),
    text: () => [...counts].map(([what, n]) => `${what} ${n}`).join(', '),
    promise(isKept, text) {
      if (!isKept) broken.push(text)
    },
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
