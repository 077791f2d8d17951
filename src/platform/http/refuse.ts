/** Answers on the bare socket, for connections whose bytes never become a request. */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../lib/clock.ts'
import { type ErrorCode, problem, problemBody } from '../lib/errors.ts'

/** Is notified of bytes that never became a request. */
export interface RefusalObserver {
  /** @returns the request's id */
  refused(code: ErrorCode): string
}

/** The methods of `Allow` in answers about the server as a whole. */
export const ALLOWED = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'

/** The response that is being written to a connection, or null. */
export const busyWith = (socket: Socket) => (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage ?? null

const PARSER_CODES: Record<string, ErrorCode> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'body_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
}

/** RFC 9112 §6.1: 501 for an unknown coding. Codings that no coding may follow, or none at all, stay malformed. */
const UNKNOWN_CODING = 'Request has invalid `Transfer-Encoding`'

const codeOf = ({ code = '', reason }: ParserError): ErrorCode =>
  reason === UNKNOWN_CODING ? 'transfer_coding_unsupported' : (PARSER_CODES[code] ?? 'request_malformed')

/** Node adds the reason to errors of its parser. */
type ParserError = Error & { code?: string; reason?: string }

/**
 * Answers, on the bare socket, bytes that Node's parser refuses. Responses that are being written go first.
 * @param fields of the response, besides the usual: name, value, name, value …
 */
export function refuseConnection(
  error: ParserError,
  socket: Socket,
  observer: RefusalObserver,
  clock: Clock,
  fields: readonly string[],
): void {
  // before the end of the TLS handshake the client could read no response, and `end` would wait for the handshake
  if ((socket as { secureConnecting?: boolean }).secureConnecting) return void socket.destroy()
  const busy = busyWith(socket)
  const isAboutNext = busy?.req.complete ?? false
  if (!socket.writable || error.code === 'ECONNRESET' || (busy?.headersSent && !isAboutNext)) {
    socket.destroy(error)
  } else if (busy && isAboutNext) {
    busy.shouldKeepAlive = false
    busy.once('finish', () => socket.destroySoon())
  } else writeRaw(socket, codeOf(error), observer, clock, fields)
}

/** For codes whose detail names no endpoint. */
export function writeRaw(socket: Socket, code: ErrorCode, observer: RefusalObserver, clock: Clock, fields: readonly string[] = []): void {
  const requestId = observer.refused(code)
  const error = problem(code)
  const body = JSON.stringify(problemBody(error, requestId, clock.now(), ''))
  const allow = code === 'method_not_allowed' ? `allow: ${ALLOWED}\r\n` : ''
  const lines = fields.map((text, i) => (i % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join('')
  socket.end(
    `HTTP/1.1 ${error.status} ${error.title}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `${allow}${lines}cache-control: no-store\r\nx-request-id: ${requestId}\r\nconnection: close\r\n\r\n${body}`,
  )
}
