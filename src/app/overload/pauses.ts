/**
 * Connections whose request was refused because the loop is late. Their next requests stay in the kernel, where they cost nothing, until the
 * loop is in time again. Otherwise clients that ignore Retry-After would keep this process busy with refusals.
 */
import type { Clock } from '../../platform/lib/clock.ts'

/** What is used of a socket. */
export interface PausedSocket {
  pause(): unknown
  resume(): unknown
}

export interface Pauses {
  add(socket: PausedSocket): void
  /** For a timer. @param isBusy the loop is still late */
  tick(isBusy: boolean): void
}

/** No longer than the shortest Retry-After: a client that follows it never waits here. */
const LONGEST_MS = 1000

export function createPauses(clock: Pick<Clock, 'steady'>): Pauses {
  /** In the order of their pauses; by the steady clock. */
  const since = new Map<PausedSocket, number>()
  return {
    add(socket) {
      since.set(socket, clock.steady())
      socket.pause()
    },
    tick(isBusy) {
      const endedBefore = clock.steady() - LONGEST_MS
      for (const [socket, at] of since) {
        if (isBusy && at > endedBefore) return
        since.delete(socket)
        socket.resume()
      }
    },
  }
}
