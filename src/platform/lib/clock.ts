/** The only file that reads the time. */

/** Whoever decides by the time takes a clock as an argument: tests move it. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds that never go back, since no particular moment. */
  steady(): number
}

/** For what no test moves: the log's time, the bounds of a socket, libraries with a clock of their own. */
export const systemClock: Clock = { now: () => Date.now(), steady: () => performance.now() }
