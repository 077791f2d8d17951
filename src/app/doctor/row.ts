/** One line of the doctor's table. */

export type State = 'ok' | 'warn' | 'fail' | 'not checked'

export interface Finding {
  state: State
  /** What was found. Without secrets. */
  found: string
  /** What an operator should do. Null: nothing. */
  advice: string | null
}

export interface Row extends Finding {
  /** What was looked at, such as `port 8080`. */
  check: string
}

export const ok = (found: string): Finding => ({ state: 'ok', found, advice: null })
export const warn = (found: string, advice: string): Finding => ({ state: 'warn', found, advice })
export const fail = (found: string, advice: string): Finding => ({ state: 'fail', found, advice })
/** Never instead of a failure: only where nothing can be said. */
export const notChecked = (reason: string, advice: string | null = null): Finding => ({ state: 'not checked', found: reason, advice })

export const rowOf = (check: string, finding: Finding): Row => ({ check, ...finding })
