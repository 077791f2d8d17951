/** Clients that leave at any moment, beside others that stay: whatever anybody gets is his own, and nothing of those who left goes on. */
import { once } from 'node:events'
import { until } from '../../support/processes.ts'
import { inParallel, markOf, randomOf, strangers } from './random.ts'
import { marked, type StormUpstream } from './upstream.ts'
import { openClient } from './wire-client.ts'

export interface AbortStormResult {
  left: number
  /** Answers of those who stayed. */
  kept: number
  /** What must stay empty. */
  broken: string[]
}

const STEADY = 8
const MAX_BODY = 100_000
const MAX_ANSWER = 100_000

const request = (mark: string, sent: number, bytes: number, isChunked: boolean) => {
  const body = marked(mark, sent)
  const target = `/marked/${mark}?sent=${sent}&bytes=${bytes}${isChunked ? '&chunked' : ''}`
  return `POST ${target} HTTP/1.1\r\nHost: gateway.test\r\nX-Mark: ${mark}\r\nContent-Length: ${sent}\r\n\r\n${body}`
}

export async function aborts({
  port,
  upstream,
  count,
  width,
  seed,
}: {
  port: number
  upstream: StormUpstream
  count: number
  width: number
  seed: number
}): Promise<AbortStormResult> {
  const result: AbortStormResult = { left: 0, kept: 0, broken: [] }

  async function leave(index: number): Promise<void> {
    const r = randomOf(seed, index)
    const mark = markOf(index)
    const client = await openClient(port)
    const { socket } = client
    const gone = once(socket, 'close')
    const go = () => (r.below(2) ? socket.destroy() : socket.resetAndDestroy())
    const write = (text: string) => new Promise((resolve) => socket.write(text, 'latin1', resolve))
    const bytes = r.below(MAX_ANSWER)
    const ask = request(mark, r.below(MAX_BODY), bytes, r.below(2) === 1)
    const head = ask.indexOf('\r\n\r\n') + 4
    const moment = r.pick(['in the head', 'in the body', 'before the answer', 'in the answer', 'after an answer, in the next head'])
    if (moment === 'in the head') await write(ask.slice(0, r.below(head)))
    else if (moment === 'in the body') await write(ask.slice(0, head + r.below(ask.length - head)))
    else if (moment === 'before the answer') {
      await write(`GET /never/${mark} HTTP/1.1\r\nHost: gateway.test\r\n\r\n`)
      await until(() => upstream.hasSeen(mark), `${mark} at the upstream`)
    } else if (moment === 'in the answer') {
      await write(ask)
      const enough = r.below(bytes + 1)
      await new Promise<void>((resolve) => {
        socket.on('data', () => client.rest().length >= enough && resolve())
        socket.on('close', resolve)
      })
    } else {
      check(mark, await client.ask(ask), bytes)
      await write(ask.slice(0, r.below(head)))
    }
    if (strangers(client.rest(), mark).length) result.broken.push(`one who left got another's bytes: seed ${seed}, number ${index}`)
    go()
    await gone
    result.left++
  }

  function check(mark: string, answer: { status: number; head: string; body: string; isWhole: boolean }, bytes: number): void {
    if (strangers(answer.head + answer.body, mark).length) result.broken.push(`one who stayed got another's bytes: ${mark}`)
    if (answer.status !== 200 || !answer.isWhole || answer.body !== marked(mark, bytes))
      result.broken.push(`one who stayed got ${answer.status}, whole: ${answer.isWhole}, ${answer.body.length} bytes: ${mark}`)
    else result.kept++
  }

  let isOver = false
  const stayers = Array.from({ length: STEADY }, async (_, n) => {
    const client = await openClient(port)
    for (let i = 0; !isOver; i++) {
      const r = randomOf(seed + n, i)
      const mark = markOf(1_000_000 * (n + 1) + i)
      const bytes = r.below(MAX_ANSWER)
      check(mark, await client.ask(request(mark, r.below(MAX_BODY), bytes, i % 2 === 1)), bytes)
      if (!client.isOpen()) throw new Error('the connection of one who stayed was closed')
    }
    client.socket.destroy()
  })
  await inParallel(count, width, leave).finally(() => {
    isOver = true
  })
  await Promise.all(stayers)
  return result
}
