/** What is left of a body that nobody wants. */
import type { IncomingMessage } from 'node:http'

const MAX_BYTES = 64 * 1024 * 1024
const MAX_MS = 5000

/**
 * Reads and drops it, within bounds, so that a client that is still sending gets its answer: closing with unread bytes would reset the
 * connection, and the answer with it (RFC 9112 §9.6).
 */
export function drain(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return
  let bytes = 0
  const late = setTimeout(() => request.socket.destroy(), MAX_MS).unref()
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > MAX_BYTES) request.socket.destroy()
  })
  request.once('close', () => clearTimeout(late)).once('end', () => clearTimeout(late))
  request.on('error', () => {})
  request.resume()
}
