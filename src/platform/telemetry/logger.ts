import type { Readable } from 'node:stream'
import { type DestinationStream, type Logger, pino } from 'pino'
import { systemClock } from '../lib/clock.ts'
import { visibleText, visibleValue } from '../lib/visible-text.ts'
import { createLogOutput, type LogOutput } from './log-output.ts'

export type { Logger } from 'pino'

/** Writes JSON lines asynchronously. Call `flushLogger` before the process ends. */
export function createLogger(level: string, output: DestinationStream | LogOutput = createLogOutput()): Logger {
  const logger = pino(
    {
      level,
      base: null,
      timestamp: createTimestamp(),
      formatters: { level: (label) => ({ level: label }) },
    },
    visibleOutput(output),
  )
  if ('onResumed' in output) {
    output.onResumed((dropped) =>
      logger.error({ reason: 'log_lines_dropped', dropped }, 'log lines were dropped: standard output did not take them'),
    )
  }
  return logger
}

/** The outputs behind `visibleOutput`. */
const plainOutputs = new WeakMap<DestinationStream, DestinationStream>()

/** What is not plain, besides the JSON of plain text. */
const UNUSUAL = /[^\x20-\x7e\n]|\\[bfnrtu]/

/** pino escapes only C0 characters, and as JSON: a program that prints the value prints the character. */
function visibleOutput(output: DestinationStream): DestinationStream {
  const visible = { ...output, write: (line: string) => void output.write(UNUSUAL.test(line) ? visibleLine(line) : line) }
  plainOutputs.set(visible, output)
  return visible
}

function visibleLine(line: string): string {
  try {
    return `${JSON.stringify(visibleValue(JSON.parse(line)))}\n`
  } catch {
    return `${visibleText(line.trimEnd())}\n`
  }
}

export const flushLogger = (logger: Logger): Promise<void> => new Promise((resolve) => logger.flush(() => resolve()))

/**
 * Writes the access log's lines in pino's format. It is faster than pino, which walks through the keys of an object.
 * @returns takes the level, and the JSON members that follow level and time: visible text only
 */
export function createLineWriter(logger: Logger): (level: 'info' | 'error', fields: string) => void {
  const stream = (logger as unknown as Record<symbol, DestinationStream>)[pino.symbols.streamSym]!
  const output = plainOutputs.get(stream) ?? stream
  const timestamp = createTimestamp()
  return (level, fields) => {
    if (logger.isLevelEnabled(level)) output.write(`{"level":"${level}"${timestamp()},${fields}}\n`)
  }
}

/** Keeps the text of the current millisecond, because many lines share it. */
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

/** Copies another process's output in whole lines: several writers of the same pipe would mix their lines. */
export function collectLines(from: Readable, output: Pick<LogOutput, 'write'>): void {
  let rest = ''
  from.setEncoding('utf8').on('data', (text: string) => {
    const end = text.lastIndexOf('\n') + 1
    if (end > 0) output.write(rest + text.slice(0, end))
    rest = end > 0 ? text.slice(end) : rest + text
  })
  from.on('end', () => {
    if (rest) output.write(`${rest}\n`)
  })
}

const MAX_WAITING_BYTES = 65_536

/** Copies another process's standard error. While the reader of ours has stopped, the other process does not wait, and its text is lost. */
export function copyStandardError(from: Readable): void {
  from.on('data', (text: Buffer) => {
    if (process.stderr.writableLength < MAX_WAITING_BYTES) process.stderr.write(text)
  })
}
