import { expect, it } from 'vitest'
import { readableLine, readableOutput } from '../../../src/platform/telemetry/readable-log.ts'

const time = '2026-11-26T12:00:00.000Z'
const at = new Date(time).toTimeString().slice(0, 8)
const line = (fields: object) => readableLine(JSON.stringify({ level: 'info', time, ...fields }))

it.each<[what: string, fields: object, text: string]>([
  ['a message', { msg: 'stopped' }, 'INFO  stopped'],
  [
    'a message with fields',
    { level: 'warn', reason: 'redis_away', cause: 'connection closed', msg: 'redis' },
    'WARN  redis  reason=redis_away  cause="connection closed"',
  ],
  [
    'a request',
    { request_id: 'x', method: 'GET', route: 'orders', status: 200, ms: 3.2, ip: '192.0.2.1', outcome: 'ok', msg: 'request' },
    'INFO  GET 200 orders 3.2 ms 192.0.2.1',
  ],
  [
    'a refused request',
    {
      request_id: 'x',
      method: 'GET',
      route: 'none',
      status: 404,
      ms: 1,
      ip: '::1',
      outcome: 'route_not_found',
      path: '/a',
      msg: 'request',
    },
    'INFO  GET 404 none 1 ms ::1  route_not_found  path=/a',
  ],
  [
    'an error with its stack',
    { level: 'error', msg: 'no', err: { message: 'm', stack: 'Error: m\n    at a' } },
    'ERROR no\n    Error: m\n    at a',
  ],
  ['no character moves the cursor', { msg: 'a\x1b[2J\nb', path: '/\x9b\u202e' }, 'INFO  a\\u{1b}[2J\\u{a}b  path="/\\u{9b}\\u{202e}"'],
])('%s', (_, fields, text) => {
  expect(line(fields)).toBe(`${at} ${text}`)
})

it('lines that are not JSON stay as they are', () => {
  const written: string[] = []
  const output = {
    write: (text: string) => void written.push(text),
    flush: () => {},
    flushSync: () => {},
    onDropped: () => {},
    onResumed: () => {},
  }
  const readable = readableOutput(output, { isColored: true })
  readable.write(`{"level":"warn","time":"${time}","msg":"a"}\n{broken\nplain\n`)
  expect(written).toEqual([`${at} \x1b[33mWARN \x1b[0m a\n{broken\nplain\n`])
})
