/**
 * A request leaves for its upstream, and the answer comes back, as streams: back-pressure and abort both ways, counted bodies, deadlines, the
 * cause of a failure in the log and none of it in the answer.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TLSSocket } from 'node:tls'
import type { Dispatcher } from 'undici'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import { memoize } from '../../platform/lib/memoize.ts'
import { drain } from '../../platform/request/drain.ts'
import type { Exchange } from '../routing/exchange.ts'
import { type Route, rewritePath } from '../routing/route-table.ts'
import { createDeadlines, type Wait } from '../upstream/deadlines.ts'
import { isBeingReset } from '../upstream/stale-connections.ts'
import { isOutage, isTimeout, neverConnected, toProblem } from '../upstream/upstream-errors.ts'
import type { UpstreamSlot, Upstreams } from '../upstream/upstreams.ts'
import { type Body, countBody, declaredLength } from './body.ts'
import { type HeaderRules, readResponse, removeField } from './headers.ts'
import { rewriteLocations } from './location.ts'
import type { StreamEnd } from './streams.ts'

export interface ForwardDeps {
  upstreams: Upstreams
  headers: HeaderRules
}

/** Fields of ours that go over the upstream's: lower-case name, value, name, value …; read when the answer begins. */
export type OwnFields = () => string[]

/** What the caller decides about the answer. */
export interface Answer {
  response: ServerResponse
  ownFields: OwnFields
  /** Called once, before the first byte: from here on the response is the upstream's. */
  begin(): void
  /** Called at most once, with a Problem, while that can still be the answer. */
  fail(error: Error): void
  /** The answer is an event stream. @param end it must not go on @returns called when it is over @throws streams_exceeded */
  openStream(end: (reason: StreamEnd) => void): (reason: StreamEnd) => void
}

/** RFC 9110 §9.2.2, less those with side effects in practice: may be sent again when the first connection died unused. */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS'])

/** Passes the answer on, or breaks it off; fails, or throws, a Problem while that can still be the answer. Warm, it waits for the upstream alone. */
export type Forward = (request: IncomingMessage, exchange: Exchange, route: Route, answer: Answer) => void

export function createForward({ upstreams, headers }: ForwardDeps): Forward {
  return (request, exchange, route, answer) => {
    const length = declaredLength(request)
    if (length !== null && length > route.maxBodyBytes) throw tooLarge(length)
    const loginCompletion = upstreams.enter(route, answer.response)
    if (loginCompletion instanceof Promise) loginCompletion.then((slot) => send(request, exchange, route, answer, slot), answer.fail)
    else send(request, exchange, route, answer, loginCompletion)
  }

  /** From a slot of an upstream to its release, whatever happens. */
  function send(request: IncomingMessage, exchange: Exchange, route: Route, answer: Answer, first: UpstreamSlot): void {
    const { response } = answer
    let slot = first
    let body: Body | null = null
    let isSecond = false
    let isEnded = false
    exchange.upstream = { name: slot.upstream.name, origin: slot.upstream.origin, askedAt: performance.now() }

    const end = (error?: unknown) => {
      if (isEnded) return
      isEnded = true
      const known = error === undefined ? null : blame(error)
      slot.leave()
      if (body) {
        body.letGo()
        // answered before the body had come: what is left of it is nobody's
        if (!request.complete) drain(request)
      }
      slot.upstream.observe((performance.now() - exchange.upstream!.askedAt) / 1000)
      if (known) answer.fail(known)
    }
    const blame = (error: unknown): Problem => {
      const known = toProblem(error)
      // who breaks off half an upload may have refused it, and its word was lost
      const isHalfSent = body !== null && !body.stream.readableEnded && !neverConnected(error)
      if (isOutage(known) && !isHalfSent) slot.report(false)
      return known
    }
    const ask = () =>
      whenMade(
        () => headers.outgoing(request, exchange, slot.upstream),
        (fields) => {
          if (response.destroyed) return end()
          if (exchange.expectsContinue) {
            exchange.expectsContinue = false
            response.writeContinue()
          }
          if (declaredLength(request) !== 0) body ??= countBody(request, route)
          dispatchOnce({ slot, fields, body, request, exchange, route, answer }, (error) => {
            if (error === undefined || !prepareAgain(error)) return end(error)
            ask()
          })
        },
        end,
      )
    ask()

    /** A connection that died of old age is no fault of its upstream; of one that cannot be reached another takes over. */
    function prepareAgain(error: unknown): boolean {
      if (isSecond || body || !REPEATABLE.has(request.method!) || response.destroyed) return false
      const failed = slot
      if (neverConnected(error)) {
        failed.report(false)
        const second = upstreams.enterAgain(route, failed.upstream)
        if (!second) return false
        failed.leave()
        slot = second
        exchange.upstream!.name = second.upstream.name
        exchange.upstream!.origin = second.upstream.origin
      } else if (!upstreams.diedUnused(error)) return false
      failed.upstream.countRetry()
      isSecond = true
      return true
    }
  }
}

/** At once, or when the promise is kept. Whatever throws meanwhile goes to `fail`. */
function whenMade<T>(make: () => T | Promise<T>, then: (made: T) => void, fail: (error: unknown) => void): void {
  try {
    const made = make()
    if (made instanceof Promise) made.then(then).catch(fail)
    else then(made)
  } catch (error) {
    fail(error)
  }
}

interface Sending {
  slot: UpstreamSlot
  /** Name, value, name, value … */
  fields: string[]
  body: Body | null
  request: IncomingMessage
  exchange: Exchange
  route: Route
  answer: Answer
}

/** Sends once. @param done called once; with undici's error, or a Problem, only while nothing has been answered */
function dispatchOnce({ slot, fields, body, request, exchange, route, answer }: Sending, done: (error?: unknown) => void): void {
  const { upstream, report } = slot
  const { response } = answer
  const { totalMs, headersMs, idleMs } = route.timeouts
  const deadlines = deadlinesOf(headersMs)
  /** Undici's, once it has a connection. */
  let abort = (_cause: Error): void => {}
  let resume = (): void => {}
  let hasBegun = false
  let isOver = false
  let stalled: NodeJS.Timeout | undefined
  let silent: Wait | undefined
  let closeStream: ((reason: StreamEnd) => void) | null = null
  let length: number | null = null
  let small: Buffer | null = null
  let isWhole = false
  let isDelimited = true

  const over = (settle: () => void, reason: StreamEnd) => {
    if (isOver) return
    isOver = true
    clearTimeout(deadline)
    clearTimeout(stalled)
    if (silent) deadlines.end(silent)
    closeStream?.(reason)
    settle()
  }
  const clientLeft = () => {
    // also called after every answer
    if (isOver) return
    over(done, 'client')
    abort(new Error('the client left'))
  }
  /** The upstream has done its part. `end` may call back late, or never: server.ts bounds what a client does not read. */
  const finish = () => {
    if (small) response.end(small.toString('latin1'), 'latin1')
    else response.end()
    done()
  }
  const fail = (error: unknown, reason: StreamEnd = 'upstream') => {
    if (!hasBegun) return over(() => done(error), reason)
    over(() => {
      exchange.error = toProblem(error)
      breakOff(request, response, length !== null)
      done()
    }, reason)
  }
  /** The upstream is not to go on either. */
  const refuse = (error: Error, reason?: StreamEnd) => {
    fail(error, reason)
    abort(error)
  }
  const giveUp = (cause: string) => {
    // a client that is still sending says nothing of the upstream
    const isClients = !hasBegun && body !== null && !request.complete && !body.isHeldUp()
    refuse(problem(isClients ? 'request_timeout' : 'upstream_timeout', { cause }), 'idle')
  }
  /** An event stream that must not go on ends as if the upstream had ended it: its client comes back, and is judged anew. */
  const endStream = (reason: StreamEnd) => {
    over(() => {
      if (isWhole && length === null) return finish()
      response.destroy()
      done()
    }, reason)
    abort(new Error(`the stream was ended: ${reason}`))
  }
  const expectHeaders = () => {
    if (!hasBegun && !isOver) silent = deadlines.begin(() => giveUp(`no response headers within headersMs = ${headersMs}`))
  }
  const deadline = totalMs > 0 ? setTimeout(() => giveUp(`not done in totalMs = ${totalMs}`), totalMs) : undefined
  // an upstream may wait for the whole body before it says anything
  if (body) body.stream.once('end', expectHeaders)
  else expectHeaders()

  exchange.onClosed = clientLeft

  upstream.pool().dispatch(
    {
      path: rewritePath(route, exchange.target!.path) + exchange.target!.query,
      method: request.method as Dispatcher.HttpMethod,
      headers: fields,
      body: body?.stream ?? null,
      bodyTimeout: idleMs,
    },
    // undici wraps its newer kind of handler in this one, and parses the headers for it
    {
      onConnect(giveUpRequest) {
        abort = giveUpRequest
        if (isOver) abort(new Error('the client left'))
      },
      onHeaders(status, raw, resumeAnswer, statusText) {
        // interim answers (RFC 9110 §15.2): not passed on, since many clients of HTTP/1.1 take a 103 for the answer (RFC 8297 §3)
        if ((status >= 100 && status < 200) || isOver) return true
        begin(status, raw, statusText)
        resume = () => {
          clearTimeout(stalled)
          resumeAnswer()
        }
        return true
      },
      onData(chunk) {
        if (isOver) return true
        if (chunk.length === length && length <= SMALL_BYTES) {
          small = chunk
          return true
        }
        if (response.write(chunk)) return true
        response.once('drain', resume)
        // undici's own deadline rests while it is paused
        stalled = setTimeout(() => giveUp(`the client has read nothing for idleMs = ${idleMs}`), idleMs)
        return false
      },
      onComplete() {
        if (!isDelimited && isBeingReset()) fail(new Error('the connection was reset'))
        else over(finish, 'upstream')
      },
      onError(error) {
        fail(error, isTimeout(error) ? 'idle' : 'upstream')
      },
    },
  )

  function begin(status: number, raw: Buffer[], statusText: string) {
    if (status < 100) return refuse(problem('upstream_invalid', { cause: 'a status line that is none' }))
    if (silent) deadlines.end(silent)
    silent = undefined
    report(!route.breaker.statuses.has(status))
    const { fields, coding, contentType, ...head } = readResponse(raw, answer.ownFields(), route.responseHeaders)
    if (coding !== '' && coding.trimEnd() !== 'chunked')
      return refuse(problem('upstream_invalid', { cause: `the transfer coding ${coding}, which nobody asked for` }))
    rewriteLocations(fields, route)
    length = head.length
    // RFC 9110 §8.6
    if (status === 204) removeField(fields, 'content-length')
    isDelimited = coding !== '' || length !== null
    isWhole = EVENTS.test(contentType)
    if (isWhole || ENDLESS.test(contentType)) {
      try {
        closeStream = answer.openStream(endStream)
      } catch (tooMany) {
        return refuse(tooMany as Error)
      }
    }
    hasBegun = true
    answer.begin()
    response.writeHead(status, PLAIN_REASON.test(statusText) ? statusText : '', fields)
    // RFC 9110 §8.6: these may tell the length of a body that does not come
    if (status === 304 || status === 204) return over(finish, 'upstream')
    // an event stream's first byte may be long in coming; its headers are not to wait for it
    if (length === null) response.write(NOTHING)
  }
}

/** Routes with the same headersMs share them. */
const deadlinesOf = memoize(createDeadlines)

/** Once an answer has begun its only honest end is a broken one. To HTTP/1.0 without a length the end of the connection is a good end: it is reset. */
function breakOff({ httpVersion, socket }: IncomingMessage, response: ServerResponse, hasLength: boolean): void {
  if (httpVersion === '1.0' && !hasLength && !(socket as TLSSocket).encrypted) socket.resetAndDestroy()
  else response.destroy()
}

/** A body that comes whole and is no longer than this leaves as text behind its headers, in one write instead of a vector of two. */
const SMALL_BYTES = 4096

/** Unlike flushHeaders it writes the header section as Latin-1. */
const NOTHING = Buffer.alloc(0)

/** Node refuses to write any other; RFC 9112 §4 lets a reason be dropped. */
const PLAIN_REASON = /^[\t\x20-\x7e]*$/

/** Answers without an end of their own. One of events is whole after each; of the others nobody could tell a cut from the end. */
const EVENTS = /^text\/event-stream\b/i
const ENDLESS = /^(multipart\/x-mixed-replace|application\/(x-)?(ndjson|jsonl|jsonlines|json-seq|stream\+json)|application\/grpc-web)/i

const tooLarge = (length: number) => problem('body_too_large', { cause: `declared ${length} bytes` })
