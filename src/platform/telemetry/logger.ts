import type { Readable } from 'node:stream'
import { type DestinationStream, destination, type Logger, pino } from 'pino'
import { systemClock } from '../lib/clock.ts'

export type { Logger } from 'pino'

/** Takes whole lines. */
export interface LogOutput extends DestinationStream {
  write(lines: string): void
  flush(done?: (error?: Error) => void): void
  /** pino calls it after a fatal line. */
  flushSync(): void
}

/** JSON lines, written asynchronously. Flushed by `flushLogger` before the process ends. */
export function createLogger(level: string, output: DestinationStream = createLogOutput()): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: createTimestamp(),
      formatters: { level: (label) => ({ level: label }) },
    },
    output,
  )
}

export const flushLogger = (logger: Logger): Promise<void> => new Promise((resolve) => logger.flush(() => resolve()))

/**
 * For the line that each request has: as pino would write it, without its walk through an object's keys.
 * @returns takes the level and what stands between the braces after level and time
 */
export function createLineWriter(logger: Logger): (level: 'info' | 'error', fields: string) => void {
  const output = (logger as unknown as Record<symbol, DestinationStream>)[pino.symbols.streamSym]!
  const timestamp = createTimestamp()
  return (level, fields) => {
    if (logger.isLevelEnabled(level)) output.write(`{"level":"${level}"${timestamp()},${fields}}\n`)
  }
}

/** Many lines fall into one millisecond. */
function createTimestamp(): () => string {
  let at = 0
  let text = ''
  return () => {
    const now = systemClock.now()
    if (now !== at) {
      at = now
      text = `,"time":"${new Date(now).toISOString()}"`
    }
    return text
  }
}

/** The types of sonic-boom know strings alone; with `contentMode: 'buffer'` it takes buffers alone. */
const asContent = (lines: string): string => Buffer.from(lines) as unknown as string

const BATCH_LENGTH = 65_536
const FLUSH_MS = 100

/** Standard output, many lines at a time: a write, and the thread that does it, costs more than a hundred lines. */
export function createLogOutput(): LogOutput {
  let lines = ''
  let timer: NodeJS.Timeout | null = null
  // at its own end the destination writes what it holds: by then it must hold this, too
  process.on('exit', () => handOver())
  const output = destination({ dest: 1, sync: false, contentMode: 'buffer' })

  function handOver(): void {
    if (timer) clearTimeout(timer)
    timer = null
    if (lines) output.write(asContent(lines))
    lines = ''
  }

  return {
    write(text) {
      lines += text
      if (lines.length >= BATCH_LENGTH) handOver()
      else timer ??= setTimeout(handOver, FLUSH_MS).unref()
    },
    flush(done) {
      handOver()
      output.flush(done)
    },
    flushSync() {
      handOver()
      output.flushSync()
    },
  }
}

/** What another process writes, line by line: in a pipe of several writers their lines would run into each other. */
export function collectLines(from: Readable, output: LogOutput): void {
  let begun = ''
  from.setEncoding('utf8').on('data', (text: string) => {
    const end = text.lastIndexOf('\n') + 1
    if (end > 0) output.write(begun + text.slice(0, end))
    begun = end > 0 ? text.slice(end) : begun + text
  })
  from.on('end', () => {
    if (begun) output.write(`${begun}\n`)
  })
}
