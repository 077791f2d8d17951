/**
 * A request leaves for its upstream, and the answer comes back, as streams: back-pressure and abort both ways, counted bodies, deadlines, the
 * cause of a failure in the log and none of it in the answer.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Transform } from 'node:stream'
import { type Dispatcher, errors as undici } from 'undici'
import { Problem, problem } from '../errors.ts'
import { drain } from '../http/drain.ts'
import type { Metrics } from '../metrics.ts'
import type { Exchange } from './exchange.ts'
import { type HeaderRules, responseHeaders } from './headers.ts'
import { type Route, rewritePath } from './routes.ts'
import type { Upstream, Upstreams } from './upstreams.ts'

export interface ForwardDeps {
  upstreams: Upstreams
  headers: HeaderRules
  metrics: Metrics
}

/** What the caller decides about the answer. */
export interface Answer {
  response: ServerResponse
  /** Headers of ours that go over the upstream's; read when the answer begins. */
  ownHeaders(): Record<string, string | number | string[] | undefined>
  /** Called once, before the first byte: from here on the response is the upstream's. */
  begin(): void
  /** The answer is an event stream. @returns called at its end */
  stream(): () => void
}

/** RFC 9110 §9.2.2, less those with side effects in practice: may be sent again when the first connection died unused. */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS'])

/** Resolves when the answer has been passed on or broken off; rejects with a Problem while it can still be one. */
export type Forward = (request: IncomingMessage, exchange: Exchange, route: Route, answer: Answer) => Promise<void>

export function createForward({ upstreams, headers, metrics }: ForwardDeps): Forward {
  return async (request, exchange, route, answer) => {
    const length = declaredLength(request)
    if (length !== null && length > route.maxBodyBytes) throw tooLarge(`declared ${length} bytes`)
    const upstream = upstreams.next(route)
    const giveBack = upstream.admit()
    exchange.upstream = { name: upstream.name, origin: upstream.origin, askedAt: performance.now() }
    if (exchange.expectsContinue) answer.response.writeContinue()
    const body = length === 0 ? null : counted(request, route.maxBodyBytes)

    const options: Dispatcher.DispatchOptions = {
      path: rewritePath(route, exchange.target!.path) + exchange.target!.query,
      method: request.method as Dispatcher.HttpMethod,
      headers: headers.outgoing(request, exchange, upstream.authority),
      body,
      headersTimeout: route.timeouts.headersMs,
      bodyTimeout: route.timeouts.idleMs,
    }
    const attempt = () => passOn(upstream, options, route, answer)
    try {
      await attempt().catch((error) => {
        const mayRepeat = !body && REPEATABLE.has(options.method) && !answer.response.destroyed && upstreams.diedUnused(error)
        if (!mayRepeat) throw error
        metrics.upstreamRetries.inc({ upstream: upstream.name })
        return attempt()
      })
    } catch (error) {
      throw failure(error)
    } finally {
      giveBack()
      if (body && !request.complete) {
        // answered before the body had come: what is left of it is nobody's
        request.unpipe(body)
        drain(request)
      }
      metrics.upstreamSeconds.observe({ upstream: upstream.name }, (performance.now() - exchange.upstream.askedAt) / 1000)
    }
  }
}

/** Sends once. Rejects with undici's error, or a Problem, only while nothing has been answered. */
function passOn(upstream: Upstream, options: Dispatcher.DispatchOptions, route: Route, answer: Answer): Promise<void> {
  const { response } = answer
  const { totalMs, idleMs } = route.timeouts
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | null = null
    let hasBegun = false
    let isOver = false
    let stalled: NodeJS.Timeout | undefined
    let closed = () => {}

    const over = (settle: () => void) => {
      if (isOver) return
      isOver = true
      clearTimeout(deadline)
      clearTimeout(stalled)
      closed()
      response.off('drain', resume)
      response.off('close', clientLeft)
      settle()
    }
    const resume = () => {
      clearTimeout(stalled)
      controller?.resume()
    }
    const clientLeft = () => {
      over(resolve)
      controller?.abort(new Error('the client left'))
    }
    const fail = (error: unknown) => {
      // once the answer has begun its only honest end is a broken one
      if (!hasBegun) return over(() => reject(error))
      over(() => {
        response.destroy()
        resolve()
      })
    }
    const giveUp = (cause: string) => {
      const late = problem('upstream_timeout', { cause })
      fail(late)
      controller?.abort(late)
    }
    const deadline = totalMs > 0 ? setTimeout(() => giveUp(`not done in totalMs = ${totalMs}`), totalMs) : undefined

    response.on('drain', resume)
    response.on('close', clientLeft)

    upstream.pool.dispatch(options, {
      onRequestStart(started) {
        controller = started
        if (isOver) started.abort(new Error('the client left'))
      },
      onResponseStart(started, status, _headers, statusText) {
        // interim answers (RFC 9110 §15.2) are of this connection
        if ((status >= 100 && status < 200) || isOver) return
        if (status < 100) {
          fail(problem('upstream_invalid', { cause: 'a status line that is none' }))
          return started.abort(new Error('refused'))
        }
        hasBegun = true
        answer.begin()
        const own = answer.ownHeaders()
        const out = responseHeaders((started as { rawHeaders?: Buffer[] }).rawHeaders ?? [], own)
        for (const [name, value] of Object.entries(own)) if (value !== undefined) for (const v of [value].flat()) out.push(name, String(v))
        response.writeHead(status, PLAIN_REASON.test(statusText ?? '') ? statusText : '', out)
        // RFC 9110 §8.6: these may tell the length of a body that does not come
        if (status === 304 || status === 204) return over(() => response.end(resolve))
        // an event stream's first byte may be long in coming; its headers are not to wait for it
        if (!hasLength(out)) response.flushHeaders()
        if (isEventStream(out)) closed = answer.stream()
      },
      onResponseData(started, chunk) {
        if (isOver || response.write(chunk)) return
        started.pause()
        // undici's own deadline rests while it is paused
        clearTimeout(stalled)
        stalled = setTimeout(() => giveUp(`the client has read nothing for idleMs = ${idleMs}`), idleMs)
      },
      onResponseEnd() {
        over(() => response.end(resolve))
      },
      onResponseError(_controller, error) {
        fail(error)
      },
    })
  })
}

/** Node refuses to write any other; RFC 9112 §4 lets a reason be dropped. */
const PLAIN_REASON = /^[\t\x20-\x7e]*$/

function isEventStream(headers: readonly string[]): boolean {
  const at = headers.indexOf('content-type')
  return at >= 0 && headers[at + 1]!.startsWith('text/event-stream')
}

function hasLength(headers: readonly string[]): boolean {
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === 'content-length') return true
  return false
}

const tooLarge = (cause: string) => problem('body_too_large', { cause })

function declaredLength({ headers }: IncomingMessage): number | null {
  const text = headers['content-length']
  if (text !== undefined) return Number(text)
  return headers['transfer-encoding'] === undefined ? 0 : null
}

/** Counted as it passes: a chunked body says nowhere how long it will be. And undici may break off what it reads from, which must not be the request. */
function counted(request: IncomingMessage, maxBytes: number): Transform {
  let bytes = 0
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      if (bytes > maxBytes) done(tooLarge(`more than ${maxBytes} bytes`))
      else done(null, chunk)
    },
  })
  // pipe does not pass errors on: a client that breaks off must break off the upstream's request too
  request.once('aborted', () => counter.destroy(new Error('the client broke off')))
  request.once('error', (error) => counter.destroy(error))
  return request.pipe(counter)
}

/** undici's words for answers that it takes for none. */
const BAD_ANSWER = /^(bad (response|upgrade)|invalid status)/i
const TIMEOUTS = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT'])

/** The cause is for the log: it may name an internal address. */
function failure(error: unknown): Problem {
  if (error instanceof Problem) return error
  const code = (error as { code?: string }).code ?? ''
  if (TIMEOUTS.has(code)) return problem('upstream_timeout', { cause: error })
  const isMalformed =
    error instanceof undici.HTTPParserError ||
    code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' ||
    BAD_ANSWER.test((error as Error).message) ||
    code === 'UND_ERR_HEADERS_OVERFLOW' ||
    code.startsWith('HPE_') ||
    code === 'UND_ERR_INVALID_ARG'
  return problem(isMalformed ? 'upstream_invalid' : 'upstream_unreachable', { cause: error })
}
