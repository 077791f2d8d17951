/** Standard output as the log writes to it: no write waits in this process, and no error ends it. */
import { constants, fstatSync, openSync, type Stats, write, writeSync } from 'node:fs'
import { isatty } from 'node:tty'

export interface LogSink {
  /** One write at a time. `done` gets the number of bytes that were taken, also with an error. */
  write(bytes: Buffer, done: (error: NodeJS.ErrnoException | null, taken: number) => void): void
  /** Writes what can be written at once, at the end of the process. */
  writeLast(bytes: Buffer): void
}

const STDOUT = 1

export function openStandardOutput(): LogSink {
  const stats = fstatSync(STDOUT)
  return isStream(stats) ? streamSink() : fileSink(isatty(STDOUT) ? reopened() : STDOUT)
}

const ignore = () => {}

/** Each failed write emits an error, for example when the reader of a pipe has ended. Without a listener it would end the process. */
export function survive(stream: NodeJS.WriteStream): void {
  if (!stream.listeners('error').includes(ignore)) stream.on('error', ignore)
}

const isStream = (stats: Stats): boolean => stats.isFIFO() || stats.isSocket()

/** A pipe. A write from a thread would wait for a reader that has stopped, and the process could not end before it. */
function streamSink(): LogSink {
  survive(process.stdout)
  return {
    write: (bytes, done) => void process.stdout.write(bytes, (error) => done(error ?? null, error ? 0 : bytes.length)),
    writeLast: (bytes) => void process.stdout.write(bytes),
  }
}

function fileSink(fd: number): LogSink {
  return {
    write: (bytes, done) => write(fd, bytes, 0, bytes.length, null, (error, taken) => done(error, error ? 0 : taken)),
    writeLast(bytes) {
      try {
        for (let rest = bytes; rest.length > 0; ) rest = rest.subarray(writeSync(fd, rest))
      } catch {
        // a full disk, or a terminal that has stopped: the process ends all the same
      }
    },
  }
}

/** A terminal that has stopped (Ctrl-S) answers EAGAIN to this descriptor. Others that use the terminal do not notice. */
function reopened(): number {
  try {
    return openSync(`/proc/self/fd/${STDOUT}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  } catch {
    return STDOUT
  }
}
