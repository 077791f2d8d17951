/** What never becomes a request is answered on its bare socket. */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../lib/clock.ts'
import { type ErrorCode, problem, problemBody } from '../lib/errors.ts'

/** Hears of a request that never became one. */
export interface RefusalObserver {
  /** @returns the request's id */
  refused(code: ErrorCode): string
}

/** The response that is being written to a connection, if there is one. */
export const busyWith = (socket: Socket) => (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage ?? null

const PARSER_CODES: Record<string, ErrorCode> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'body_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
}

/** What Node's parser refuses never becomes a request: answered on the bare socket, after the answers that are on their way. */
export function refuseConnection(error: Error & { code?: string }, socket: Socket, observer: RefusalObserver, clock: Clock): void {
  // who has not shaken hands could read no answer, and `end` would wait for the handshake
  if ((socket as { secureConnecting?: boolean }).secureConnecting) return void socket.destroy()
  const busy = busyWith(socket)
  const isAboutNext = busy?.req.complete ?? false
  if (!socket.writable || error.code === 'ECONNRESET' || (busy?.headersSent && !isAboutNext)) {
    socket.destroy(error)
  } else if (busy && isAboutNext) {
    busy.shouldKeepAlive = false
    busy.once('finish', () => socket.destroySoon())
  } else writeRaw(socket, PARSER_CODES[error.code ?? ''] ?? 'request_malformed', observer, clock)
}

export function writeRaw(socket: Socket, code: ErrorCode, observer: RefusalObserver, clock: Clock): void {
  const requestId = observer.refused(code)
  const error = problem(code)
  const body = JSON.stringify(problemBody(error, requestId, clock.now()))
  const allow = code === 'method_not_allowed' ? 'allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n' : ''
  socket.end(
    `HTTP/1.1 ${error.status} ${error.title}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `${allow}cache-control: no-store\r\nx-request-id: ${requestId}\r\nconnection: close\r\n\r\n${body}`,
  )
}
