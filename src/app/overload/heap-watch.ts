/** Watches the JavaScript heap. V8 ends a process whose heap is full, so that requests are refused before. */
import { getHeapSpaceStatistics } from 'node:v8'
import type { LoadLevel } from './loop-watch.ts'

export interface HeapWatch {
  level(): LoadLevel
  /** For a timer: measures. */
  tick(): void
}

/** Shares of the heap that is in use. */
const RAISE = [0.92, 0.96] as const
const LOWER = 0.9
/** The lowest of these measurements counts: the others hold garbage that V8 has not collected yet. */
const MEASUREMENTS = 5

/** @param usedBytes of the old generation */
export function createHeapWatch(heapBytes: number, usedBytes: () => number = oldGenerationBytes): HeapWatch {
  const recent: number[] = []
  let level: LoadLevel = 0
  return {
    level: () => level,
    tick() {
      recent.push(usedBytes() / heapBytes)
      if (recent.length < MEASUREMENTS) return
      if (recent.length > MEASUREMENTS) recent.shift()
      const share = Math.min(...recent)
      if (share > RAISE[1]) level = 2
      else if (share > RAISE[0]) level = Math.max(level, 1) as LoadLevel
      else if (share < LOWER) level = 0
    },
  }
}

/** About what a connection and a request need, generously: most of it lives until its end. */
const CONNECTION_BYTES = 20_000
const REQUEST_BYTES = 40_000

/** What fits into the rest of the heap: a third for connections, a third for requests, and a third for everything else. */
export function roomInHeap(heapBytes: number, usedBytes: number = oldGenerationBytes()): { connections: number; requests: number } {
  const third = Math.max(0, heapBytes - usedBytes) / 3
  return { connections: Math.max(8, Math.floor(third / CONNECTION_BYTES)), requests: Math.max(4, Math.floor(third / REQUEST_BYTES)) }
}

const oldGenerationBytes = (): number =>
  getHeapSpaceStatistics().reduce(
    (sum, { space_name, space_used_size }) => (space_name.startsWith('new_') ? sum : sum + space_used_size),
    0,
  )
