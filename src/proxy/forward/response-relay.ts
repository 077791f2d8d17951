/** Relays an upstream's response to the client. Once begun, the response must end complete or with a broken connection. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { problem } from '../../platform/lib/errors.ts'
import type { Route } from '../routing/route-table.ts'
import { writeStickyCookie } from '../upstream/sticky-sessions.ts'
import { readResponse, removeField } from './headers.ts'
import { rewriteLocations } from './location.ts'
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
  /** For an endless response. @param end called when it must end @returns a function to call when it has ended @throws streams_exceeded */
  openStream(end: (reason: StreamEnd) => void): (reason: StreamEnd) => void
}

/** Plain data and functions: each request has a relay, and one object costs less than an object of closures. */
export interface ResponseRelay {
  readonly request: IncomingMessage
  readonly route: Route
  readonly answer: Answer
  /** Bytes were written to the client, or will be: a Problem can no longer be the response. */
  hasBegun: boolean
  /** Of the body in bytes; null where the upstream does not declare it. */
  length: number | null
  /** A complete short body, which is sent together with the headers. */
  small: Buffer | null
  isEventStream: boolean
  /** The body ends by a length or a last chunk, not by the end of the upstream's connection. */
  isDelimited: boolean
  /** Gives back the slot of an endless response. */
  closeStream: ((reason: StreamEnd) => void) | null
}

export const createResponseRelay = (request: IncomingMessage, route: Route, answer: Answer): ResponseRelay => ({
  request,
  route,
  answer,
  hasBegun: false,
  length: null,
  small: null,
  isEventStream: false,
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
  const { route, answer } = relay
  const { response } = answer
  const { fields, coding, contentType, length } = readResponse(raw, answer.ownFields(), route.responseHeaders)
  if (coding !== '' && coding.trimEnd() !== 'chunked')
    throw problem('upstream_invalid', { cause: `the transfer coding ${coding}, which the request did not ask for` })
  rewriteLocations(fields, route)
  if (route.hasStickyCookies) writeStickyCookie(fields, relay.request)
  relay.length = length
  // RFC 9110 §8.6
  if (status === 204) removeField(fields, 'content-length')
  relay.isDelimited = coding !== '' || length !== null
  relay.isEventStream = EVENTS.test(contentType)
  if (relay.isEventStream || ENDLESS.test(contentType)) relay.closeStream = answer.openStream(endStream)
  relay.hasBegun = true
  answer.begin()
  response.writeHead(status, PLAIN_REASON.test(statusText) ? statusText : '', fields)
  // RFC 9110 §8.6: these may declare the length of a body that does not follow
  if (status === 304 || status === 204) return false
  // the first byte of an event stream may take long; its headers must not wait for it
  if (length === null) response.write(NOTHING)
  return true
}

/** @returns false when the client must read before more is written */
export function writeChunk(relay: ResponseRelay, chunk: Buffer): boolean {
  if (chunk.length !== relay.length || relay.length > SMALL_BYTES) return relay.answer.response.write(chunk)
  relay.small = chunk
  return true
}

/** The upstream has sent everything. The listener bounds how long the client may take to read it. */
export function finishResponse({ small, answer: { response } }: ResponseRelay): void {
  if (small) response.end(small.toString('latin1'), 'latin1')
  else response.end()
}

/** Ends an event stream as if the upstream had ended it: the client reconnects and is authenticated again. */
export function finishStream(relay: ResponseRelay): void {
  if (relay.isEventStream && relay.length === null) finishResponse(relay)
  else relay.answer.response.destroy()
}

export function breakOff({ request: { httpVersion, socket }, length, answer: { response } }: ResponseRelay): void {
  // HTTP/1.0 without a length treats the end of the connection as success: so the connection is reset
  if (httpVersion === '1.0' && length === null && !(socket as TLSSocket).encrypted) socket.resetAndDestroy()
  else response.destroy()
}

/** A complete body up to this length is sent as text together with its headers, in one write instead of a vector of two. */
const SMALL_BYTES = 4096

/** Unlike flushHeaders, writing this sends the header section as Latin-1. */
const NOTHING = Buffer.alloc(0)

/** Node refuses to write any other reason phrase; RFC 9112 §4 lets a reason be dropped. */
const PLAIN_REASON = /^[\t\x20-\x7e]*$/

/** Responses without an end of their own. An event stream is complete after each event; in the others a cut looks like the end. */
const EVENTS = /^text\/event-stream\b/i
const ENDLESS = /^(multipart\/x-mixed-replace|application\/(x-)?(ndjson|jsonl|jsonlines|json-seq|stream\+json)|application\/grpc-web)/i
