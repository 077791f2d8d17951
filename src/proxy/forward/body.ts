/**
 * A request body on its way to the upstream: its bytes are counted, and it fails when the client stops sending. Its beginning is kept while
 * the request may have to be sent again.
 */
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import type { Route } from '../routing/route-table.ts'

/**
 * Methods that define a meaning for content: RFC 9110 §9.3, RFC 5789, RFC 4918, RFC 3253 and RFC 5323 (WebDAV). Servers
 * need not read the content of any other method (RFC 9110 §9.3.1).
 */
export const CONTENT_METHODS: ReadonlySet<string> = new Set([
  'POST',
  'PUT',
  'PATCH',
  'QUERY',
  'PROPFIND',
  'PROPPATCH',
  'LOCK',
  'REPORT',
  'SEARCH',
])

/** Bytes; null when the request does not declare a length. */
export function declaredLength({ headers }: IncomingMessage): number | null {
  const text = headers['content-length']
  if (text !== undefined) return Number(text)
  return headers['transfer-encoding'] === undefined ? 0 : null
}

/** A longer body is sent once only. */
const KEPT_BYTES = 65_536

export interface Body {
  /**
   * The stream that the upstream reads. It can be destroyed without the request. Fails with body_too_large, request_timeout or
   * upstream_timeout.
   */
  stream: Readable
  /** Some of the body, or its end, was written to the upstream. */
  isBegun(): boolean
  /** Received bytes wait for the upstream to read them: the client is not at fault. */
  isHeldUp(): boolean
  /** All bytes so far are kept: `again` sends the whole body. */
  isKept(): boolean
  /** Replaces `stream` by a new stream of the whole body. */
  again(): void
  /** The body has no reader any more. */
  letGo(): void
}

export function countBody(request: IncomingMessage, { maxBodyBytes, timeouts: { idleMs }, retryMethods }: Route): Body {
  const staysKept = retryMethods.has(request.method!)
  let kept: Buffer[] | null = []
  let bytes = 0
  let isComplete = false
  let isLetGo = false

  const newStream = () => {
    // `resume` is also called before the first chunk
    const stream = new Readable({ read: () => void (isLetGo || request.resume()) })
    const rest = () => {
      if (stream === body.stream) clearTimeout(idle)
    }
    // the reader removes its own listener when it leaves
    return stream
      .on('error', () => {})
      .once('end', rest)
      .once('close', rest)
  }
  const isBegun = () => body.stream.readableDidRead || body.stream.readableEnded
  const isHeldUp = () => body.stream.readableLength > 0
  const fail = (error: Problem) => {
    kept = null
    body.stream.destroy(error)
  }
  const stalled = () =>
    fail(
      isHeldUp()
        ? problem('upstream_timeout', { cause: 'the upstream has stopped reading the body' })
        : problem('request_timeout', { cause: `no bytes of the body for idleMs = ${idleMs}` }),
    )
  let idle = setTimeout(stalled, idleMs)

  function onData(chunk: Buffer): void {
    idle.refresh()
    bytes += chunk.length
    if (bytes > maxBodyBytes) {
      fail(problem('body_too_large', { cause: `more than ${maxBodyBytes} bytes` }))
      return
    }
    if (kept) {
      if (bytes > KEPT_BYTES || (!staysKept && isBegun())) kept = null
      else kept.push(chunk)
    }
    if (body.stream.destroyed || !body.stream.push(chunk)) request.pause()
  }
  function onEnd(): void {
    isComplete = true
    if (!body.stream.destroyed) body.stream.push(null)
  }
  // an aborted body must not look complete
  const onAborted = () => fail(problem('request_malformed', { cause: 'the client broke off' }))
  const onError = (cause: unknown) => fail(problem('request_malformed', { cause }))

  const body: Body = {
    stream: newStream(),
    isBegun,
    isHeldUp,
    isKept: () => kept !== null,
    again() {
      body.stream.destroy()
      body.stream = newStream()
      for (const chunk of kept!) body.stream.push(chunk)
      if (isComplete) body.stream.push(null)
      clearTimeout(idle)
      idle = setTimeout(stalled, idleMs)
    },
    letGo() {
      isLetGo = true
      kept = null
      clearTimeout(idle)
      request.off('data', onData).off('end', onEnd)
      body.stream.destroy()
    },
  }
  request.on('data', onData).once('end', onEnd).once('aborted', onAborted).once('error', onError)
  // the upstream's reading decides when it flows
  request.pause()
  return body
}
