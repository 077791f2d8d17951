/** The right to compute a password hash, for workers that are more than the hashes that may be computed at the same time. */

export interface HashPermits<Worker> {
  /** Resolves when the worker may hash. A worker holds one permit at most. */
  take(worker: Worker): Promise<void>
  /** Also for a worker that still waits, or that has ended. */
  give(worker: Worker): void
}

export function createHashPermits<Worker>(permits: number): HashPermits<Worker> {
  const holders = new Set<Worker>()
  const waiting = new Map<Worker, () => void>()

  return {
    async take(worker) {
      if (holders.size < permits) holders.add(worker)
      else await new Promise<void>((resolve) => waiting.set(worker, resolve))
    },
    give(worker) {
      waiting.delete(worker)
      if (!holders.delete(worker)) return
      const [next] = waiting
      if (!next) return
      const [other, resolve] = next
      waiting.delete(other)
      holders.add(other)
      resolve()
    },
  }
}
