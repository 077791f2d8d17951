import { type DestinationStream, destination, type Logger, pino } from 'pino'

export type { Logger } from 'pino'

/** JSON lines, written asynchronously. Flushed by `flushLogger` before the process ends. */
export function createLogger(level: string, stream?: DestinationStream): Logger {
  return pino(
    {
      level,
      base: undefined,
      timestamp: createTimestamp(),
      formatters: { level: (label) => ({ level: label }) },
    },
    stream ?? createBatches(),
  )
}

export const flushLogger = (logger: Logger): Promise<void> => new Promise((resolve) => logger.flush(() => resolve()))

/** Many lines fall into one millisecond. */
function createTimestamp(): () => string {
  let at = 0
  let text = ''
  return () => {
    const now = Date.now()
    if (now !== at) {
      at = now
      text = `,"time":"${new Date(now).toISOString()}"`
    }
    return text
  }
}

const BATCH_LENGTH = 65_536
const FLUSH_MS = 100

/** Standard output, many lines at a time: a write, and the thread that does it, costs more than a hundred lines. */
function createBatches() {
  let lines: string[] = []
  let length = 0
  let timer: NodeJS.Timeout | null = null
  // at its own end the destination writes what it holds: by then it must hold this, too
  process.on('exit', () => handOver())
  const output = destination({ dest: 1, sync: false, maxWrite: 4 * BATCH_LENGTH })

  function handOver(): void {
    if (timer) clearTimeout(timer)
    timer = null
    if (lines.length) output.write(lines.join(''))
    lines = []
    length = 0
  }

  return {
    write(line: string) {
      lines.push(line)
      length += line.length
      if (length >= BATCH_LENGTH) handOver()
      else timer ??= setTimeout(handOver, FLUSH_MS).unref()
    },
    flush(done?: (error?: Error) => void) {
      handOver()
      output.flush(done)
    },
    /** pino calls it after a fatal line. */
    flushSync() {
      handOver()
      output.flushSync()
    },
  }
}
