/** The only file that reads the time. */

/** Code whose decisions depend on the time takes a clock as an argument, so that tests can move the time. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds since an arbitrary moment; never goes back. */
  steady(): number
}

/** The real clock. Used directly only where no test moves the time: log timestamps, socket time-outs, libraries with their own clock. */
export const systemClock: Clock = { now: () => Date.now(), steady: () => performance.now() }
