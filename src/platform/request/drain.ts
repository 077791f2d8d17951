/** What is left of a body that nobody wants. Closing with unread bytes would reset the connection, and the answer with it (RFC 9112 §9.6). */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Transform } from 'node:stream'
import { systemClock } from '../lib/clock.ts'
import { problem } from '../lib/errors.ts'

const MAX_BYTES = 64 * 1024 * 1024
const MAX_MS = 5000

/** Reads and drops the rest of a body, within bounds; the connection can be used again. */
export function drain(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return
  const stop = bound(request.socket)
  request.once('close', stop).once('end', stop)
  request.on('error', () => {})
  request.resume()
}

/** A body is read from a stream of its own: that can be broken off without the request, and its connection, going too. */
export function pipeApart<S extends Transform>(request: IncomingMessage, stream: S): S {
  // pipe does not pass errors on, and a body that was broken off is no whole one
  const brokeOff = (cause: unknown) => stream.destroy(problem('request_malformed', { cause }))
  request.once('aborted', () => brokeOff('the client broke off'))
  request.once('error', brokeOff)
  // whoever reads it takes his listener along when he goes
  stream.on('error', () => {})
  return request.pipe(stream)
}

const lingering = new WeakSet<Socket>()

/** Nothing that comes on this connection is a request any more. */
export const isLingering = (socket: Socket): boolean => lingering.has(socket)

/** Closes our half after the answer; reads on, and drops it, until the client has closed its own, within bounds. */
export function linger(socket: Socket): void {
  if (lingering.has(socket)) return
  lingering.add(socket)
  // Node calls this when an answer with `connection: close` is written
  socket.destroySoon = () => {
    socket.end()
    socket.once('close', bound(socket))
  }
}

/** @returns stops watching */
function bound(socket: Socket): () => void {
  const { bytesRead } = socket
  const started = systemClock.steady()
  const watch = setInterval(() => {
    if (socket.bytesRead - bytesRead > MAX_BYTES || systemClock.steady() - started > MAX_MS) socket.destroy()
  }, 100).unref()
  const stop = () => {
    clearInterval(watch)
    socket.off('close', stop)
  }
  socket.once('close', stop)
  return stop
}
