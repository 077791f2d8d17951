/** The log's buffer, before a destination that the test plays. */
import { expect, it } from 'vitest'
import { createLogOutput } from '../../../src/platform/telemetry/log-output.ts'
import type { LogSink } from '../../../src/platform/telemetry/log-sink.ts'
import { createLogger, flushLogger } from '../../../src/platform/telemetry/logger.ts'
import { until } from '../../support/processes.ts'

type Mode = 'takes' | 'stands' | 'full' | 'half'

function createDestination() {
  let mode: Mode = 'takes'
  let taken = Buffer.alloc(0)
  let held: (() => void) | null = null
  const sink: LogSink = {
    write(bytes, done) {
      const take = () => {
        taken = Buffer.concat([taken, bytes])
        done(null, bytes.length)
      }
      if (mode === 'stands') held = take
      else if (mode === 'full') setImmediate(() => done(Object.assign(new Error('no space left'), { code: 'ENOSPC' }), 0))
      else if (mode === 'half') {
        const part = bytes.subarray(0, Math.ceil(bytes.length / 2))
        taken = Buffer.concat([taken, part])
        setImmediate(() => done(null, part.length))
      } else setImmediate(take)
    },
    writeLast(bytes) {
      taken = Buffer.concat([taken, bytes])
    },
  }
  return {
    sink,
    text: () => taken.toString(),
    lines: () => taken.toString().split('\n').slice(0, -1),
    become(next: Mode) {
      mode = next
      if (next === 'stands') return
      held?.()
      held = null
    },
  }
}

const flush = (output: ReturnType<typeof createLogOutput>) => new Promise<void>((resolve) => output.flush(() => resolve()))
const LINE = `${'x'.repeat(999)}\n`

it('writes all lines in their order, whatever part of a write is taken', async () => {
  const destination = createDestination()
  const output = createLogOutput(destination.sink)
  destination.become('half')
  const lines = Array.from({ length: 500 }, (_, i) => `line ${i} ä ${'x'.repeat(300)}`)
  for (const line of lines) output.write(`${line}\n`)
  await flush(output)
  expect(destination.lines()).toEqual(lines)
})

it('a destination that stands still: the buffer is bounded, and what is lost is counted and reported', async () => {
  const destination = createDestination()
  const output = createLogOutput(destination.sink)
  const logger = createLogger('info', output)
  let dropped = 0
  output.onDropped((lines) => {
    dropped += lines
  })
  destination.become('stands')
  for (let i = 0; i < 10_000; i++) output.write(LINE)
  expect(dropped).toBeGreaterThan(5000)
  const kept = 10_000 - dropped
  destination.become('takes')
  await until(() => destination.text().includes('log_lines_dropped'), 'the report')
  logger.info('after')
  await flushLogger(logger)
  const lines = destination.lines()
  expect(lines.filter((line) => line === LINE.trimEnd())).toHaveLength(kept)
  const reports = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line))
  expect(reports).toMatchObject([{ level: 'error', reason: 'log_lines_dropped', dropped }, { msg: 'after' }])
})

it('a full disk: lines of the first moments are kept, later lines are dropped and counted, and no line is cut', async () => {
  const destination = createDestination()
  const output = createLogOutput(destination.sink)
  createLogger('info', output)
  destination.become('full')
  let written = 0
  let dropped = 0
  output.onDropped((lines) => {
    dropped += lines
  })
  await until(() => {
    output.write(LINE)
    written++
    return dropped > 0
  }, 'a line that is dropped')
  destination.become('takes')
  await until(() => destination.text().includes('log_lines_dropped'), 'the report')
  expect(destination.lines().filter((line) => line === LINE.trimEnd())).toHaveLength(written - dropped)
})

it('lines that were dropped before anyone listened are counted, too', () => {
  const destination = createDestination()
  const output = createLogOutput(destination.sink)
  destination.become('stands')
  for (let i = 0; i < 5000; i++) output.write(`${LINE}${LINE}`)
  let dropped = 0
  output.onDropped((lines) => {
    dropped += lines
  })
  expect(dropped).toBeGreaterThan(5000)
  expect(dropped % 2).toBe(0)
})

it('the flush at the end does not wait for a destination that stands still', async () => {
  const destination = createDestination()
  const output = createLogOutput(destination.sink)
  destination.become('stands')
  output.write(LINE)
  await flush(output)
  expect(destination.text()).toBe('')
  // nor does a line of level fatal
  output.flushSync()
  output.write(LINE)
  output.flushSync()
  expect(destination.lines()).toEqual([LINE.trimEnd()])
})
