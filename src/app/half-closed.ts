/**
 * A client may close its half of the connection after a whole request, and still read the answer (RFC 9112 §9.6). A client that has left
 * looks the same until something is written to it, so that an upstream works for it no longer than HEAD_MS in vain.
 */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { busyWith } from '../platform/http/refuse.ts'
import type { Clock } from '../platform/lib/clock.ts'

/** From the client's FIN to the header section of an answer. */
const HEAD_MS = 10_000
const CHECK_MS = 250

/** To be called when the client has closed its half. Node closes ours after the last answer, or at once when none is due. */
export function boundAnswer(socket: Socket, clock: Clock): void {
  const halfClosedAt = clock.steady()
  const check = () => {
    const busy = busyWith(socket)
    if (busy && (busy.headersSent ? isEventStream(busy) : clock.steady() - halfClosedAt >= HEAD_MS)) socket.destroy()
  }
  check()
  if (busyWith(socket) === null || socket.destroyed) return
  const watch = setInterval(check, CHECK_MS)
  socket.once('close', () => clearInterval(watch))
}

/** Nobody half-closes and then reads events. Its events would keep a slot of the upstream. */
function isEventStream(response: ServerResponse): boolean {
  const head = (response as { _header?: string | null })._header ?? ''
  return /^content-type: text\/event-stream\b/im.test(head) && !/^content-length:/im.test(head)
}
