/** How long a process has waited for a core. Linux counts it for each process. */
import { readFileSync } from 'node:fs'

const NS_IN_MS = 1_000_000

/** Of the main thread, where the event loop runs. */
export interface CpuWait {
  /** Milliseconds in the queue for a core since the process started. */
  waitedMs: number
  /** How often the thread has run. */
  turns: number
}

/** @returns null where it is not counted, or when the process has ended */
export function readCpuWait(pid: number | 'self'): CpuWait | null {
  try {
    // three numbers: nanoseconds on a core, nanoseconds in the queue, turns on a core (Documentation/scheduler/sched-stats.rst of Linux)
    const [, waitedNs, turns] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ').map(Number)
    return Number.isFinite(waitedNs) ? { waitedMs: waitedNs! / NS_IN_MS, turns: turns! } : null
  } catch {
    return null
  }
}
