import { type DestinationStream, destination, type Logger, pino } from 'pino'

export type { Logger } from 'pino'

/** JSON lines, written asynchronously. Flushed by `flushLogger` before the process ends. */
export function createLogger(level: string, stream?: DestinationStream): Logger {
  // pino's default destination is synchronous: one write(2) a line would stand in the hot path
  const target = stream ?? destination({ dest: 1, sync: false, minLength: 4096, periodicFlush: 200 })
  return pino(
    {
      level,
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    target,
  )
}

export const flushLogger = (logger: Logger): Promise<void> => new Promise((resolve) => logger.flush(() => resolve()))
