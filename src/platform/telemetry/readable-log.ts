/** Log lines for people at a terminal: `12:00:00 WARN  redis is not available  reason=redis_away`. */
import { visibleText } from '../lib/visible-text.ts'
import type { LogOutput } from './log-output.ts'

const COLORS: Record<string, string> = { warn: '\x1b[33m', error: '\x1b[31m', fatal: '\x1b[31m', debug: '\x1b[2m', trace: '\x1b[2m' }
const PLAIN = '\x1b[0m'

/** Takes JSON lines and writes readable lines. Other lines stay as they are. */
export const readableOutput = (output: LogOutput, { isColored }: { isColored: boolean }): LogOutput => ({
  ...output,
  write: (lines) => output.write(lines.replace(/^\{.*$/gm, (line) => readableLine(line, isColored))),
})

/** One log line, without its end. A line that is not JSON stays as it is. */
export function readableLine(line: string, isColored = false): string {
  const entry = parse(line)
  if (entry === null) return line
  const { level, time, msg, err, ...fields } = entry
  const word = String(level).toUpperCase().padEnd(5)
  const color = isColored ? (COLORS[String(level)] ?? '') : ''
  const head = [clockOf(String(time)), color ? `${color}${word}${PLAIN}` : word]
  return `${[...head, msg === 'request' ? requestText(fields) : messageText(msg, fields)].join(' ')}${stackText(err)}`
}

type Fields = Record<string, unknown>

function parse(line: string): Fields | null {
  try {
    return JSON.parse(line) as Fields
  } catch {
    return null
  }
}

/** In the time zone of the terminal. */
const clockOf = (time: string) => new Date(time).toTimeString().slice(0, 8)

function requestText({ request_id: _, method = '-', route, status, ms = '-', ip = '-', outcome, ...fields }: Fields): string {
  const result = outcome === 'ok' ? [] : [show(outcome)]
  return [`${show(method)} ${show(status)} ${show(route)} ${show(ms)} ms ${show(ip)}`, ...result, ...pairs(fields)].join('  ')
}

const messageText = (msg: unknown, fields: Fields) => [visibleText(String(msg)), ...pairs(fields)].join('  ')

const pairs = (fields: Fields) => Object.entries(fields).map(([key, value]) => `${key}=${show(value)}`)

/** A client chooses some values: no character of theirs may move the cursor or begin a line. */
const show = (value: unknown): string => {
  if (typeof value !== 'string') return visibleText(JSON.stringify(value) ?? '-')
  return /^[\x21-\x7e]+$/.test(value) ? value : `"${visibleText(value).replaceAll('"', '\\"')}"`
}

function stackText(err: unknown): string {
  const { stack, message } = (err ?? {}) as { stack?: string; message?: string }
  const text = stack ?? message
  return text === undefined
    ? ''
    : text
        .split('\n')
        .map((line) => `\n    ${visibleText(line.trim())}`)
        .join('')
}
