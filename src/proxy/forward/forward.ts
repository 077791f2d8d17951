/**
 * Sends a request to its upstream and relays the response, both as streams: with back-pressure and abort in both directions, counted bodies
 * and deadlines. The cause of a failure goes to the log, never into the response.
 */
import type { IncomingMessage } from 'node:http'
import type { Dispatcher } from 'undici'
import { systemClock } from '../../platform/lib/clock.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import { drain } from '../../platform/request/drain.ts'
import type { AskedUpstream, Authenticated } from '../routing/exchange.ts'
import { rewritePath } from '../routing/route-table.ts'
import type { Outcome } from '../upstream/circuit-breaker.ts'
import { isTimeout, toProblem } from '../upstream/upstream-errors.ts'
import { type Carrier, isBeingReset, isUnheard, newCarrier, takeConnection } from '../upstream/upstream-sockets.ts'
import type { Upstream, UpstreamSlot, Upstreams } from '../upstream/upstreams.ts'
import { type Body, CONTENT_METHODS, countBody, declaredLength } from './body.ts'
import type { CompressionOf, RouteCompression } from './compression.ts'
import type { HeaderRules } from './headers.ts'
import { beginSending, endSending, sendingAnswered } from './record-request.ts'
import {
  type Answer,
  beginResponse,
  breakOff,
  createResponseRelay,
  cutStream,
  finishResponse,
  sinkOf,
  writeChunk,
} from './response-relay.ts'
import type { StreamEnd } from './streams.ts'
import { clientReads, clientStalls, endWatchdog, expectHeaders, headersCame, type Stalls, startWatchdog } from './watchdog.ts'

export interface ForwardDeps {
  upstreams: Upstreams
  headers: HeaderRules
  compressionOf: CompressionOf
  stalls: Stalls
}

/** A request of which nothing was written is sent again so often. */
const MAX_FRESH = 2

/**
 * Relays the response, or breaks it off. Fails, or throws, with a Problem while the Problem can still be the response. With warm caches it
 * waits only for the upstream.
 */
export type Forward = (request: IncomingMessage, exchange: Authenticated, answer: Answer) => void

export function createForward({ upstreams, headers, compressionOf, stalls }: ForwardDeps): Forward {
  return (request, exchange, answer) => {
    const { route } = exchange
    const length = declaredLength(request)
    if (length !== null && length > route.maxBodyBytes) throw tooLarge(length)
    const slot = upstreams.enter(route, answer.response, request)
    if (slot instanceof Promise) slot.then((acquired) => send(request, exchange, answer, acquired), answer.fail)
    else send(request, exchange, answer, slot)
  }

  /** Uses a slot of an upstream and always releases it. */
  function send(request: IncomingMessage, exchange: Authenticated, answer: Answer, first: UpstreamSlot): void {
    const { route } = exchange
    const { response } = answer
    const compression = compressionOf(route)
    let slot = first
    let body: Body | null = null
    let carrier = newCarrier()
    /** Upstreams without a connection. */
    let unreachable: Upstream[] | null = null
    let unwritten = 0
    /** Also the times that it was not written. Counted for spans. */
    let sent = 0
    let isRepeated = false
    let isEnded = false
    const asked: AskedUpstream = { name: slot.upstream.name, origin: slot.upstream.origin, askedAt: systemClock.steady() }
    exchange.upstream = asked

    const end = (error?: unknown) => {
      if (isEnded) return
      isEnded = true
      const known = error === undefined ? null : blame(error)
      slot.leave()
      if (body) {
        body.letGo()
        // the response came before the whole body: the rest is read and dropped
        if (!request.complete) drain(request)
      }
      slot.upstream.observe((systemClock.steady() - asked.askedAt) / 1000, exchange.trace.isSampled ? exchange.trace : null)
      if (known) answer.fail(known)
    }
    const blame = (error: unknown): Problem => {
      const known = toProblem(error)
      const outcome = outcomeOf(error, known)
      if (outcome) slot.report(outcome, exchange.target.path)
      return known
    }
    /** Null: the error says nothing about the health of the upstream. */
    const outcomeOf = (error: unknown, { code }: Problem): Outcome | null => {
      if (upstreams.couldNotConnect(error)) return 'unreachable'
      // an upstream that breaks off half an upload may have refused it, and its response was lost
      if (carrier.socket === null || (body !== null && !body.stream.readableEnded)) return null
      if (code === 'upstream_timeout') return 'unanswered'
      return code === 'upstream_unreachable' && !carrier.isReused ? 'unanswered' : null
    }
    const ask = () => {
      if (exchange.recording) beginSending(exchange.recording, slot.upstream, request.method!, sent++)
      whenMade(
        () => headers.outgoing(request, exchange, slot.upstream),
        (fields) => {
          if (response.destroyed) return end()
          if (exchange.expectsContinue) {
            exchange.expectsContinue = false
            response.writeContinue()
          }
          if (declaredLength(request) !== 0) body ??= countBody(request, route)
          compression?.restoreTags(fields, request)
          const isAgain = unwritten > 0 || isRepeated
          const connection = isAgain ? slot.upstream.freshConnection() : slot.upstream.pool()
          dispatchOnce({ slot, connection, carrier, fields, body, request, exchange, answer, compression, stalls }, (error) => {
            if (exchange.recording) endSending(exchange.recording, error)
            if (error === undefined || !prepareAgain(error)) return end(error)
            ask()
          })
          // it closes once the request is done
          if (isAgain) connection.close().catch(() => {})
        },
        end,
      )
    }
    if (route.retryMethods.has(request.method!)) ask()
    else afterPoll(ask)

    /**
     * A request of which nothing was written may be sent again, whatever its method. Once it was written, it may have been done: then only
     * a method that may be repeated is sent again, once, and only after a kept connection, which may have died idle.
     */
    function prepareAgain(error: unknown): boolean {
      if (error instanceof Problem || response.destroyed || (body && !body.isKept())) return false
      const { upstream } = slot
      if (carrier.socket === null || (body && !body.isBegun())) {
        if (unwritten === MAX_FRESH) return false
        if (upstreams.couldNotConnect(error) && !moveOn()) return false
        unwritten++
      } else if (!isRepeated && carrier.isReused && isUnheard(carrier) && route.retryMethods.has(request.method!)) isRepeated = true
      else return false
      upstream.countRetry()
      body?.again()
      carrier = newCarrier()
      return true
    }

    /** Another upstream takes over from an upstream that cannot be reached. */
    function moveOn(): boolean {
      const failed = slot
      failed.report('unreachable', exchange.target.path)
      unreachable = [...(unreachable ?? []), failed.upstream]
      const next = upstreams.enterAgain(route, unreachable, request)
      if (!next) return false
      failed.leave()
      slot = next
      asked.name = next.upstream.name
      asked.origin = next.upstream.origin
      return true
    }
  }
}

/**
 * Calls back once the event loop has read what its sockets received. A kept connection that the upstream has closed is then known to be
 * closed, and a request that must not be sent twice is not written to it.
 */
function afterPoll(then: () => void): void {
  setImmediate(() => setImmediate(then))
}

/** Calls `then` at once, or when the promise resolves. Every error goes to `fail`. */
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
  connection: Dispatcher
  carrier: Carrier
  /** Name, value, name, value … */
  fields: string[]
  body: Body | null
  request: IncomingMessage
  exchange: Authenticated
  answer: Answer
  compression: RouteCompression | null
  stalls: Stalls
}

/** Sends once. @param done called once; with undici's error or a Problem only while the response has not begun */
function dispatchOnce(
  { slot, connection, carrier, fields, body, request, exchange, answer, compression, stalls }: Sending,
  done: (error?: unknown) => void,
): void {
  const { route, target } = exchange
  const relay = createResponseRelay(request, route, answer, compression)
  const watchdog = startWatchdog(route.timeouts, giveUp)
  /** Set to undici's function once it has a connection. */
  let abort = (_cause: Error): void => {}
  let isOver = false

  /** @param settle ends the exchange for the client and the caller; only the first call of `over` runs it */
  function over(settle: () => void, reason: StreamEnd): void {
    if (isOver) return
    isOver = true
    endWatchdog(watchdog)
    relay.closeStream?.(reason)
    settle()
  }
  function finish(): void {
    finishResponse(relay)
    done()
  }
  function fail(error: unknown, reason: StreamEnd = 'upstream'): void {
    over(() => {
      if (!relay.hasBegun) return done(error)
      exchange.error = toProblem(error)
      breakOff(relay)
      done()
    }, reason)
  }
  /** Aborts the request at the upstream, too. */
  function refuse(error: Error, reason?: StreamEnd): void {
    fail(error, reason)
    abort(error)
  }
  function giveUp(cause: string): void {
    // while the client is still sending, the upstream is not at fault
    const isClients = !relay.hasBegun && body !== null && !request.complete && !body.isHeldUp()
    refuse(problem(isClients ? 'request_timeout' : 'upstream_timeout', { cause }), 'idle')
  }
  function endStream(reason: StreamEnd): void {
    over(() => {
      cutStream(relay)
      done()
    }, reason)
    abort(new Error(`the stream was ended: ${reason}`))
  }

  /** Also called after every complete response. */
  function clientLeft(): void {
    if (isOver) return
    over(done, 'client')
    abort(new Error('the client left'))
  }

  // a function that has a name: V8 allocates a function literal that is assigned to a property in the old generation, and through it every
  // request would live until the next full collection
  exchange.onClosed = clientLeft
  // an upstream may wait for the whole body before it answers
  if (body) body.stream.once('end', () => expectHeaders(watchdog))
  else expectHeaders(watchdog)

  connection.dispatch(
    {
      path: rewritePath(route, target.path) + target.query,
      method: request.method as Dispatcher.HttpMethod,
      headers: fields,
      body: body?.stream ?? null,
      bodyTimeout: route.timeouts.idleMs,
      // an upstream may leave such a body unread, and take it for its next request. `Connection: close` says that no request follows, and
      // the connection is closed after the answer
      reset: body !== null && !CONTENT_METHODS.has(request.method!) ? true : undefined,
      // undici takes it from Host otherwise, and opens a new connection at each change; missing in its types
      servername: route.preserveHost ? slot.upstream.address.host : undefined,
    } as Dispatcher.DispatchOptions,
    createHandler(),
  )

  /** undici's older kind of handler: undici would wrap a newer one in it, and parse the headers for it. */
  function createHandler(): Dispatcher.DispatchHandler {
    let resume = (): void => {}
    return {
      onConnect(giveUpRequest: (cause: Error) => void) {
        abort = giveUpRequest
        if (isOver) return abort(new Error('the client left'))
        takeConnection(carrier)
        slot.connected()
      },
      onHeaders(status: number, raw: Buffer[], resumeAnswer: () => void, statusText: string) {
        // interim responses (RFC 9110 §15.2) are not relayed: many HTTP/1.1 clients take a 103 for the final response (RFC 8297 §3)
        if ((status >= 100 && status < 200) || isOver) return true
        if (status < 100) refuse(problem('upstream_invalid', { cause: 'a malformed status line' }))
        else begin(status, raw, statusText)
        resume = resumeAnswer
        return true
      },
      onData(chunk: Buffer) {
        if (isOver || writeChunk(relay, chunk)) return true
        sinkOf(relay).once('drain', () => {
          clientReads(watchdog)
          resume()
        })
        clientStalls(watchdog, relay.closeStream ? null : stalls)
        return false
      },
      onComplete() {
        if (!relay.isDelimited && isBeingReset()) fail(new Error('the connection was reset'))
        else over(finish, 'upstream')
      },
      onError(error: Error) {
        fail(error, isTimeout(error) ? 'idle' : 'upstream')
      },
    }
  }

  function begin(status: number, raw: Buffer[], statusText: string): void {
    headersCame(watchdog)
    if (exchange.recording) sendingAnswered(exchange.recording, status)
    slot.report(route.breaker.statuses.has(status) ? 'failing' : 'answered', target.path)
    try {
      if (!beginResponse(relay, status, raw, statusText, endStream)) over(finish, 'upstream')
    } catch (error) {
      refuse(error as Error)
    }
  }
}

const tooLarge = (length: number) => problem('body_too_large', { cause: `declared ${length} bytes` })
