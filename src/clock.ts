/** Milliseconds since the epoch. Tests move it; nothing else reads the wall clock for a decision. */
export interface Clock {
  now(): number
}

export const systemClock: Clock = { now: () => Date.now() }
