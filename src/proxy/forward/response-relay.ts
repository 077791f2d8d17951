/** Relays an upstream's response to the client. Once begun, the response must end complete or with a broken connection. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Writable } from 'node:stream'
import { endsByClose, resetConnection } from '../../platform/http/cut.ts'
import { problem } from '../../platform/lib/errors.ts'
import { exchangeOf } from '../routing/exchange.ts'
import type { Route } from '../routing/route-table.ts'
import { writeStickyCookie } from '../upstream/sticky-sessions.ts'
import { declaredLength } from './body.ts'
import type { RouteCompression } from './compression.ts'
import type { Coder } from './compression-coder.ts'
import { type ResponseHead, readResponse, removeField } from './headers.ts'
import { rewriteLocations } from './location.ts'
import { guardSession } from './session-answers.ts'
import type { StreamEnd } from './streams.ts'

/** Fields of the gateway that replace the upstream's: lower-case name, value, name, value …; read when the response begins. */
export type OwnFields = () => string[]

/** The destination of a response, and the caller's decisions about it. */
export interface Answer {
  response: ServerResponse
  ownFields: OwnFields
  /** Called once, before the first byte: from here on the upstream's response is written. */
  begin(): void
  /** Called at most once, with a Problem, while the Problem can still be the response. */
  fail(error: Error): void
  /**
   * For a response that may be endless. @param isAnswer its client waits for its end @param end called when it must end
   * @returns a function to call when it has ended @throws streams_exceeded
   */
  openStream(isAnswer: boolean, end: (reason: StreamEnd) => void): (reason: StreamEnd) => void
}

/** Plain data and functions: each request has a relay, and one object costs less than an object of closures. */
export interface ResponseRelay {
  readonly request: IncomingMessage
  readonly route: Route
  readonly answer: Answer
  /** Null: the route compresses nothing. */
  readonly compression: RouteCompression | null
  /** Compresses the body; null: it passes as it came. */
  coder: Coder | null
  /** Bytes were written to the client, or will be: a Problem can no longer be the response. */
  hasBegun: boolean
  /** Of the body in bytes; null where the upstream does not declare it, and where the body is compressed here. */
  length: number | null
  /** A complete short body, which is sent together with the headers. */
  small: Buffer | null
  /** An event stream whose client reconnects by itself after each end. */
  isEventSource: boolean
  /** The body ends by a length or a last chunk, not by the end of the upstream's connection. */
  isDelimited: boolean
  /** Gives back the slot of an endless response. */
  closeStream: ((reason: StreamEnd) => void) | null
}

export const createResponseRelay = (
  request: IncomingMessage,
  route: Route,
  answer: Answer,
  compression: RouteCompression | null,
): ResponseRelay => ({
  request,
  route,
  answer,
  compression,
  coder: null,
  hasBegun: false,
  length: null,
  small: null,
  isEventSource: false,
  isDelimited: true,
  closeStream: null,
})

/**
 * Writes the header section. @param endStream called when an event stream must not go on
 * @returns false when no body follows. @throws Problem when the response cannot be relayed
 */
export function beginResponse(
  relay: ResponseRelay,
  status: number,
  raw: Buffer[],
  statusText: string,
  endStream: (reason: StreamEnd) => void,
): boolean {
  const { request, route, answer } = relay
  const { response } = answer
  const head = readResponse(raw, answer.ownFields(), route.responseHeaders)
  const { fields, coding, contentType, length } = head
  if (coding !== '' && coding.trimEnd() !== 'chunked')
    throw problem('upstream_invalid', { cause: `the transfer coding ${coding}, which the request did not ask for` })
  rewriteLocations(fields, route, request)
  if (route.hasSessionCookies) guardSession(fields, exchangeOf(request).principal)
  if (route.hasStickyCookies) writeStickyCookie(fields, request)
  relay.length = length
  // RFC 9110 §8.6
  if (status === 204) removeField(fields, 'content-length')
  relay.isDelimited = coding !== '' || length !== null
  // a response of a known length ends by itself, whatever its type
  if (length === null) {
    const isEvents = EVENTS.test(contentType)
    relay.isEventSource = isEvents && isFromEventSource(request)
    if (isEvents || ENDLESS.test(contentType)) relay.closeStream = answer.openStream(!relay.isEventSource, endStream)
  }
  if (relay.compression) compress(relay, relay.compression, status, head)
  relay.hasBegun = true
  answer.begin()
  response.writeHead(status, PLAIN_REASON.test(statusText) ? statusText : '', fields)
  // RFC 9110 §8.6: these may declare the length of a body that does not follow
  if (status === 304 || status === 204) return false
  // the first byte of an event stream may take long; its headers must not wait for it
  if (length === null) response.write(NOTHING)
  return true
}

function compress(relay: ResponseRelay, compression: RouteCompression, status: number, head: ResponseHead): void {
  relay.coder = compression.begin(relay.request, relay.answer.response, status, head, relay.closeStream !== null)
  if (relay.coder) relay.length = null
}

/** @returns false when the client must read before more is written */
export function writeChunk(relay: ResponseRelay, chunk: Buffer): boolean {
  if (relay.coder) return relay.coder.write(chunk)
  if (chunk.length !== relay.length || relay.length > SMALL_BYTES) return relay.answer.response.write(chunk)
  relay.small = chunk
  return true
}

/** Emits `drain` when more may be written. */
export const sinkOf = ({ coder, answer }: ResponseRelay): Writable => coder?.stream ?? answer.response

/** The upstream has sent everything. The listener bounds how long the client may take to read it. */
export function finishResponse({ small, coder, answer: { response } }: ResponseRelay): void {
  if (coder) coder.stream.end()
  else if (small) response.end(small.toString('latin1'), 'latin1')
  else response.end()
}

/**
 * Ends a stream in the middle. For an EventSource it ends as if the upstream had ended it: the client reconnects and is authenticated
 * again. Any other client would take the part for the whole, so its response is broken off.
 */
export function cutStream(relay: ResponseRelay): void {
  if (relay.isEventSource) finishResponse(relay)
  else breakOff(relay)
}

export function breakOff({ request, length, answer: { response } }: ResponseRelay): void {
  if (length === null && endsByClose(request)) resetConnection(request.socket)
  else response.destroy()
}

/** HTML §9.2: an EventSource sends GET with this Accept and no body. A list in Accept is of another client. */
const isFromEventSource = (request: IncomingMessage): boolean =>
  request.method === 'GET' && ONLY_EVENTS.test(request.headers.accept ?? '') && declaredLength(request) === 0

/** A complete body up to this length is sent as text together with its headers, in one write instead of a vector of two. */
const SMALL_BYTES = 4096

/** Unlike flushHeaders, writing this sends the header section as Latin-1. */
const NOTHING = Buffer.alloc(0)

/** Node refuses to write any other reason phrase; RFC 9112 §4 lets a reason be dropped. */
const PLAIN_REASON = /^[\t\x20-\x7e]*$/

/** Responses that may have no end of their own. */
const EVENTS = /^text\/event-stream\b/i
const ONLY_EVENTS = /^text\/event-stream[ \t]*(;[^,]*)?$/i
const ENDLESS = /^(multipart\/x-mixed-replace|application\/(x-)?(ndjson|jsonl|jsonlines|json-seq|stream\+json)|application\/grpc-web)/i
