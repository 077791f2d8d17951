/** A request's body on its way: counted as it passes, and given up when the client stops sending. */
import type { IncomingMessage } from 'node:http'
import { Transform } from 'node:stream'
import { problem } from '../../platform/lib/errors.ts'
import { pipeApart } from '../../platform/request/drain.ts'
import type { Route } from '../routing/route-table.ts'

/** Bytes; null when it says nowhere how long it is. */
export function declaredLength({ headers }: IncomingMessage): number | null {
  const text = headers['content-length']
  if (text !== undefined) return Number(text)
  return headers['transfer-encoding'] === undefined ? 0 : null
}

export interface Body {
  /** What the upstream reads: it may be broken off without the request. Fails with body_too_large, request_timeout or upstream_timeout. */
  stream: Transform
  /** What has come waits for its reader: the client is not to blame. */
  isHeldUp(): boolean
  /** Nobody reads it any more. */
  letGo(): void
}

export function countBody(request: IncomingMessage, { maxBodyBytes, timeouts: { idleMs } }: Route): Body {
  let bytes = 0
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      idle.refresh()
      bytes += chunk.length
      if (bytes > maxBodyBytes) done(problem('body_too_large', { cause: `more than ${maxBodyBytes} bytes` }))
      else done(null, chunk)
    },
  })
  const isHeldUp = () => stream.writableNeedDrain || stream.readableLength > 0
  const idle = setTimeout(() => {
    const cause = `nothing of the body for idleMs = ${idleMs}`
    stream.destroy(
      isHeldUp() ? problem('upstream_timeout', { cause: 'the upstream takes no more of the body' }) : problem('request_timeout', { cause }),
    )
  }, idleMs)
  const rest = () => clearTimeout(idle)
  stream.once('end', rest).once('close', rest)
  pipeApart(request, stream)
  return {
    stream,
    isHeldUp,
    letGo() {
      request.unpipe(stream)
      stream.destroy()
    },
  }
}
