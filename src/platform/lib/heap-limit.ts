/** The size of the JavaScript heap that this process may have. Caches share it. */
import { getHeapStatistics } from 'node:v8'

const MIB = 1024 * 1024
/** V8 counts three semi-spaces of 64 MiB in its limit. The rest holds everything that lives longer than a moment. */
const YOUNG_BYTES = 3 * 64 * MIB
/** Caches have their full size in a heap as large as this. */
const ROOMY_BYTES = 1024 * MIB

/** What `--max-old-space-size` says, on the command line or in NODE_OPTIONS; the last one counts. Null: nothing. */
export function givenHeapBytes(args: readonly string[]): number | null {
  const given = args.flatMap((arg) => /^--max[-_]old[-_]space[-_]size=(\d+)$/.exec(arg)?.[1] ?? [])
  return given.length > 0 ? Number(given.at(-1)) * MIB : null
}

const words = [...(process.env.NODE_OPTIONS ?? '').split(/\s+/), ...process.execArgv]

/** Bytes of the old generation: when they are used up, V8 ends the process. */
export const HEAP_BYTES: number = givenHeapBytes(words) ?? getHeapStatistics().heap_size_limit - YOUNG_BYTES

/** The size of a cache: smaller in a small heap, so that the caches of a process together never fill it. At least 1. */
export const shareOfHeap = (size: number, heapBytes: number = HEAP_BYTES): number =>
  Math.max(1, Math.floor(size * Math.min(1, heapBytes / ROOMY_BYTES)))
