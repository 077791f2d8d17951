/** An upstream's answer on its way to the client. Once it has begun, its only honest end is a whole one or a broken connection. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { problem } from '../../platform/lib/errors.ts'
import type { Route } from '../routing/route-table.ts'
import { readResponse, removeField } from './headers.ts'
import { rewriteLocations } from './location.ts'
import type { StreamEnd } from './streams.ts'

/** Fields of ours that go over the upstream's: lower-case name, value, name, value …; read when the answer begins. */
export type OwnFields = () => string[]

/** Where an answer goes, and what the caller decides about it. */
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

export interface ResponseRelay {
  /** The client has been given a byte, or will be: a Problem can no longer be the answer. */
  hasBegun(): boolean
  /**
   * Writes the header section. @param endStream called when an event stream must not go on
   * @returns false when no body follows. @throws Problem when the answer cannot be passed on
   */
  begin(status: number, raw: Buffer[], statusText: string, endStream: (reason: StreamEnd) => void): boolean
  /** @returns false when the client must read before more is written */
  write(chunk: Buffer): boolean
  /** The body ends by a length or a last chunk, not by the end of the upstream's connection. */
  isDelimited(): boolean
  /** The upstream has done its part. The client may take its time, or never read: the listener bounds that. */
  finish(): void
  /** An event stream ends as if the upstream had ended it: the client comes back, and is judged anew. */
  finishStream(): void
  breakOff(): void
  /** No more of it: an event stream gives back its place. */
  close(reason: StreamEnd): void
}

export function createResponseRelay(request: IncomingMessage, route: Route, answer: Answer): ResponseRelay {
  const { response } = answer
  let hasBegun = false
  let length: number | null = null
  let small: Buffer | null = null
  let isEventStream = false
  let isDelimited = true
  let closeStream: ((reason: StreamEnd) => void) | null = null

  function begin(status: number, raw: Buffer[], statusText: string, endStream: (reason: StreamEnd) => void): boolean {
    const { fields, coding, contentType, ...head } = readResponse(raw, answer.ownFields(), route.responseHeaders)
    if (coding !== '' && coding.trimEnd() !== 'chunked')
      throw problem('upstream_invalid', { cause: `the transfer coding ${coding}, which nobody asked for` })
    rewriteLocations(fields, route)
    length = head.length
    // RFC 9110 §8.6
    if (status === 204) removeField(fields, 'content-length')
    isDelimited = coding !== '' || length !== null
    isEventStream = EVENTS.test(contentType)
    if (isEventStream || ENDLESS.test(contentType)) closeStream = answer.openStream(endStream)
    hasBegun = true
    answer.begin()
    response.writeHead(status, PLAIN_REASON.test(statusText) ? statusText : '', fields)
    // RFC 9110 §8.6: these may tell the length of a body that does not come
    if (status === 304 || status === 204) return false
    // an event stream's first byte may be long in coming; its headers are not to wait for it
    if (length === null) response.write(NOTHING)
    return true
  }

  function finish(): void {
    if (small) response.end(small.toString('latin1'), 'latin1')
    else response.end()
  }

  return {
    hasBegun: () => hasBegun,
    begin,
    write(chunk) {
      if (chunk.length !== length || length > SMALL_BYTES) return response.write(chunk)
      small = chunk
      return true
    },
    isDelimited: () => isDelimited,
    finish,
    finishStream() {
      if (isEventStream && length === null) finish()
      else response.destroy()
    },
    breakOff() {
      const { httpVersion, socket } = request
      // to HTTP/1.0 without a length the end of the connection is a good end: it is reset
      if (httpVersion === '1.0' && length === null && !(socket as TLSSocket).encrypted) socket.resetAndDestroy()
      else response.destroy()
    },
    close: (reason) => closeStream?.(reason),
  }
}

/** A body that comes whole and is no longer than this leaves as text behind its headers, in one write instead of a vector of two. */
const SMALL_BYTES = 4096

/** Unlike flushHeaders it writes the header section as Latin-1. */
const NOTHING = Buffer.alloc(0)

/** Node refuses to write any other; RFC 9112 §4 lets a reason be dropped. */
const PLAIN_REASON = /^[\t\x20-\x7e]*$/

/** Answers without an end of their own. An event stream is whole after each event; of the others nobody could tell a cut from the end. */
const EVENTS = /^text\/event-stream\b/i
const ENDLESS = /^(multipart\/x-mixed-replace|application\/(x-)?(ndjson|jsonl|jsonlines|json-seq|stream\+json)|application\/grpc-web)/i
