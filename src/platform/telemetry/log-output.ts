/**
 * Writes log lines to standard output. Lines wait in a bounded buffer while they cannot be written: a full disk or a reader that has stopped
 * costs lines, and never a request.
 */
import type { DestinationStream } from 'pino'
import { type LogSink, openStandardOutput, survive } from './log-sink.ts'

/** Accepts complete lines only. */
export interface LogOutput extends DestinationStream {
  write(lines: string): void
  /** Calls `done` when all lines are written, or after a second. */
  flush(done?: (error?: Error) => void): void
  /** pino calls it after a line of level fatal. */
  flushSync(): void
  /** The listener gets the number of lines that were dropped: first those until now, then each further loss. */
  onDropped(listener: (lines: number) => void): void
  /** The listener gets the number of lines that were dropped before lines could be written again. */
  onResumed(listener: (dropped: number) => void): void
}

/** One write, with its thread, costs more than a hundred lines. */
const BATCH_LENGTH = 65_536
const BATCH_MS = 100
const MAX_WAITING_LENGTH = 4 * 1024 * 1024
/** A destination that has taken nothing for so long gets no further lines until it takes some. */
const STUCK_MS = 2000
const AGAIN_MS = 500
/** For EAGAIN: a terminal goes on at any moment. */
const SOON_MS = 50
const LAST_FLUSH_MS = 1000

export function createLogOutput(sink: LogSink = openStandardOutput()): LogOutput {
  /** The batch that is being collected. */
  let lines = ''
  let waiting: string[] = []
  let waitingLength = 0
  /** The rest of the batch that is being written. */
  let rest: Buffer | null = null
  let isWriting = false
  let isStuck = false
  let droppedInAll = 0
  /** Not in a log line yet. */
  let dropped = 0
  let batchTimer: NodeJS.Timeout | null = null
  let againTimer: NodeJS.Timeout | undefined
  let stuckTimer: NodeJS.Timeout | null = null
  const dropListeners: ((lines: number) => void)[] = []
  const resumeListeners: ((dropped: number) => void)[] = []
  let idle: (() => void)[] = []

  function write(text: string): void {
    if (isStuck || lines.length + waitingLength + text.length > MAX_WAITING_LENGTH) {
      drop(text)
      return
    }
    lines += text
    if (lines.length >= BATCH_LENGTH) handOver()
    else batchTimer ??= setTimeout(handOver, BATCH_MS).unref()
  }

  function drop(text: string): void {
    let count = 0
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', end + 1)) count++
    dropped += count
    droppedInAll += count
    for (const listener of dropListeners) listener(count)
  }

  function handOver(): void {
    if (batchTimer) clearTimeout(batchTimer)
    batchTimer = null
    if (lines) {
      waiting.push(lines)
      waitingLength += lines.length
      lines = ''
    }
    if (!isWriting && !rest) writeNext()
  }

  function writeNext(): void {
    const batch = waiting[0]
    if (batch === undefined) {
      for (const done of idle) done()
      idle = []
      return
    }
    rest = Buffer.from(batch)
    writeRest()
  }

  function writeRest(): void {
    isWriting = true
    stuckTimer ??= setTimeout(() => {
      isStuck = true
    }, STUCK_MS).unref()
    sink.write(rest!, (error, taken) => {
      isWriting = false
      rest = rest!.subarray(taken)
      if (taken > 0) tookSome()
      if (error && rest.length > 0) {
        clearTimeout(againTimer)
        againTimer = setTimeout(writeRest, error.code === 'EAGAIN' ? SOON_MS : AGAIN_MS).unref()
      } else if (rest.length > 0) writeRest()
      else {
        rest = null
        waitingLength -= waiting.shift()!.length
        if (dropped > 0 && waitingLength < MAX_WAITING_LENGTH / 2) reportDropped()
        writeNext()
      }
    })
  }

  function tookSome(): void {
    isStuck = false
    if (stuckTimer) clearTimeout(stuckTimer)
    stuckTimer = null
  }

  function reportDropped(): void {
    const count = dropped
    dropped = 0
    for (const listener of resumeListeners) listener(count)
  }

  /** A batch that a thread or the pipe has already is not written twice. */
  function writeLast(): void {
    const parts = [...(isWriting ? [] : [rest ?? Buffer.from(waiting[0] ?? '')]), ...waiting.slice(1).map((batch) => Buffer.from(batch))]
    const all = Buffer.concat([...parts, Buffer.from(lines)])
    lines = ''
    waiting = isWriting ? waiting.slice(0, 1) : []
    waitingLength = waiting[0]?.length ?? 0
    if (!isWriting) rest = null
    clearTimeout(againTimer)
    if (all.length > 0) sink.writeLast(all)
  }

  process.on('exit', writeLast)
  survive(process.stderr)

  return {
    write,
    flush(done) {
      let timer: NodeJS.Timeout | undefined
      const settle = () => {
        clearTimeout(timer)
        timer = undefined
        done?.()
      }
      timer = setTimeout(settle, LAST_FLUSH_MS)
      idle.push(() => void (timer && settle()))
      handOver()
    },
    flushSync: writeLast,
    onDropped(listener) {
      if (droppedInAll > 0) listener(droppedInAll)
      dropListeners.push(listener)
    },
    onResumed: (listener) => void resumeListeners.push(listener),
  }
}
