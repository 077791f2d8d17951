/** Handles the rest of an unwanted body. Closing with unread bytes would reset the connection and lose the response (RFC 9112 §9.6). */
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

/** Pipes a body into a stream of its own, which can be destroyed without destroying the request and its connection. */
export function pipeApart<S extends Transform>(request: IncomingMessage, stream: S): S {
  // pipe does not pass errors on, and an aborted body must not look complete
  const brokeOff = (cause: unknown) => stream.destroy(problem('request_malformed', { cause }))
  request.once('aborted', () => brokeOff('the client broke off'))
  request.once('error', brokeOff)
  // the reader removes its own listener when it leaves
  stream.on('error', () => {})
  return request.pipe(stream)
}

const lingering = new WeakSet<Socket>()

/** Bytes on this connection are no longer read as requests. */
export const isLingering = (socket: Socket): boolean => lingering.has(socket)

/** Closes our half after the response. Reads and drops further bytes until the client has closed its half, within bounds. */
export function linger(socket: Socket): void {
  if (lingering.has(socket)) return
  lingering.add(socket)
  // Node calls this when an answer with `connection: close` is written
  socket.destroySoon = () => {
    socket.end()
    socket.once('close', bound(socket))
  }
}

/** @returns stops the watch */
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
