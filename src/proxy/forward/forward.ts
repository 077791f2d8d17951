/**
 * Sends a request to its upstream and relays the response, both as streams: with back-pressure and abort in both directions, counted bodies
 * and deadlines. The cause of a failure goes to the log, never into the response.
 */
import type { IncomingMessage } from 'node:http'
import type { Dispatcher } from 'undici'
import { systemClock } from '../../platform/lib/clock.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import { drain } from '../../platform/request/drain.ts'
import type { AskedUpstream, Authenticated } from '../routing/exchange.ts'
import { rewritePath } from '../routing/route-table.ts'
import { isBeingReset } from '../upstream/stale-connections.ts'
import { isOutage, isTimeout, neverConnected, toProblem } from '../upstream/upstream-errors.ts'
import type { UpstreamSlot, Upstreams } from '../upstream/upstreams.ts'
import { type Body, countBody, declaredLength } from './body.ts'
import type { HeaderRules } from './headers.ts'
import { type Answer, beginResponse, breakOff, createResponseRelay, finishResponse, finishStream, writeChunk } from './response-relay.ts'
import type { StreamEnd } from './streams.ts'
import { clientReads, clientStalls, endWatchdog, expectHeaders, headersCame, startWatchdog } from './watchdog.ts'

export interface ForwardDeps {
  upstreams: Upstreams
  headers: HeaderRules
}

/** RFC 9110 §9.2.2, less methods with side effects in practice: may be sent again when the first connection was stale. */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS'])

/**
 * Relays the response, or breaks it off. Fails, or throws, with a Problem while the Problem can still be the response. With warm caches it
 * waits only for the upstream.
 */
export type Forward = (request: IncomingMessage, exchange: Authenticated, answer: Answer) => void

export function createForward({ upstreams, headers }: ForwardDeps): Forward {
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
    let slot = first
    let body: Body | null = null
    let isSecond = false
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
      slot.upstream.observe((systemClock.steady() - asked.askedAt) / 1000)
      if (known) answer.fail(known)
    }
    const blame = (error: unknown): Problem => {
      const known = toProblem(error)
      // an upstream that breaks off half an upload may have refused it, and its response was lost
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
          dispatchOnce({ slot, fields, body, request, exchange, answer }, (error) => {
            if (error === undefined || !prepareAgain(error)) return end(error)
            ask()
          })
        },
        end,
      )
    ask()

    /** A stale connection is no fault of its upstream. For an upstream that cannot be reached, another upstream takes over. */
    function prepareAgain(error: unknown): boolean {
      if (isSecond || body || !REPEATABLE.has(request.method!) || response.destroyed) return false
      const failed = slot
      if (neverConnected(error)) {
        failed.report(false)
        const second = upstreams.enterAgain(route, failed.upstream, request)
        if (!second) return false
        failed.leave()
        slot = second
        asked.name = second.upstream.name
        asked.origin = second.upstream.origin
      } else if (!upstreams.wasStale(error)) return false
      failed.upstream.countRetry()
      isSecond = true
      return true
    }
  }
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
  /** Name, value, name, value … */
  fields: string[]
  body: Body | null
  request: IncomingMessage
  exchange: Authenticated
  answer: Answer
}

/** Sends once. @param done called once; with undici's error or a Problem only while the response has not begun */
function dispatchOnce({ slot, fields, body, request, exchange, answer }: Sending, done: (error?: unknown) => void): void {
  const { upstream, report } = slot
  const { route, target } = exchange
  const { response } = answer
  const relay = createResponseRelay(request, route, answer)
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
      finishStream(relay)
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

  upstream.pool().dispatch(
    {
      path: rewritePath(route, target.path) + target.query,
      method: request.method as Dispatcher.HttpMethod,
      headers: fields,
      body: body?.stream ?? null,
      bodyTimeout: route.timeouts.idleMs,
    },
    createHandler(),
  )

  /** undici's older kind of handler: undici would wrap a newer one in it, and parse the headers for it. */
  function createHandler(): Dispatcher.DispatchHandler {
    let resume = (): void => {}
    return {
      onConnect(giveUpRequest: (cause: Error) => void) {
        abort = giveUpRequest
        if (isOver) abort(new Error('the client left'))
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
        response.once('drain', () => {
          clientReads(watchdog)
          resume()
        })
        clientStalls(watchdog)
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
    report(!route.breaker.statuses.has(status))
    try {
      if (!beginResponse(relay, status, raw, statusText, endStream)) over(finish, 'upstream')
    } catch (error) {
      refuse(error as Error)
    }
  }
}

const tooLarge = (length: number) => problem('body_too_large', { cause: `declared ${length} bytes` })
