/** A request body on its way to the upstream: its bytes are counted, and it fails when the client stops sending. */
import type { IncomingMessage } from 'node:http'
import { Transform } from 'node:stream'
import { problem } from '../../platform/lib/errors.ts'
import { pipeApart } from '../../platform/request/drain.ts'
import type { Route } from '../routing/route-table.ts'

/** Bytes; null when the request does not declare a length. */
export function declaredLength({ headers }: IncomingMessage): number | null {
  const text = headers['content-length']
  if (text !== undefined) return Number(text)
  return headers['transfer-encoding'] === undefined ? 0 : null
}

export interface Body {
  /**
   * The stream that the upstream reads. It can be destroyed without the request. Fails with body_too_large, request_timeout or
   * upstream_timeout.
   */
  stream: Transform
  /** Received bytes wait for the upstream to read them: the client is not at fault. */
  isHeldUp(): boolean
  /** The body has no reader any more. */
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
    const cause = `no bytes of the body for idleMs = ${idleMs}`
    stream.destroy(
      isHeldUp()
        ? problem('upstream_timeout', { cause: 'the upstream has stopped reading the body' })
        : problem('request_timeout', { cause }),
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
