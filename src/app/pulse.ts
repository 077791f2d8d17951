/** Notices that a worker no longer runs. Each worker sends a sign of life every BEAT_MS. */
import type { Clock } from '../platform/lib/clock.ts'

export const BEAT_MS = 500
/** A worker that has been silent this long is not waited for. */
const SILENT_MS = 1000
/** A worker that has been silent this long is frozen. Its event loop may be blocked for 2 seconds. */
const FROZEN_MS = 3000

export interface Pulse<Worker> {
  beat(worker: Worker): void
  forget(worker: Worker): void
  /** Always false before the first sign of life. */
  isSilent(worker: Worker): boolean
  /** Call it every BEAT_MS. @returns the workers that are frozen, the longest silence first */
  frozen(): Worker[]
}

/** @param waitedForCpuMs how long the worker has waited for a core since its start; null: not known */
export function createPulse<Worker>(clock: Clock, waitedForCpuMs: (worker: Worker) => number | null): Pulse<Worker> {
  const silences = new Map<Worker, { ms: number; waitedMs: number | null }>()
  let lastAt = clock.steady()

  return {
    beat: (worker) => void silences.set(worker, { ms: 0, waitedMs: null }),
    forget: (worker) => void silences.delete(worker),
    isSilent: (worker) => (silences.get(worker)?.ms ?? 0) >= SILENT_MS,
    frozen() {
      const now = clock.steady()
      // after a pause of this process the signs of life are there, but not read yet
      const ranMs = Math.min(now - lastAt, 2 * BEAT_MS)
      lastAt = now
      for (const [worker, silence] of silences) {
        // a worker that waits for a core is not frozen: a new worker would wait, too
        const waitedMs = silence.ms >= SILENT_MS ? waitedForCpuMs(worker) : null
        const waitingMs = waitedMs === null || silence.waitedMs === null ? 0 : waitedMs - silence.waitedMs
        silences.set(worker, { ms: silence.ms + Math.max(0, ranMs - waitingMs), waitedMs })
      }
      return [...silences]
        .filter(([, { ms }]) => ms >= FROZEN_MS)
        .sort(([, a], [, b]) => b.ms - a.ms)
        .map(([worker]) => worker)
    },
  }
}
