/** A deadline for an answer that comes over a socket. */
import { systemClock } from '../lib/clock.ts'

const LATE_MS = 100
const MORE_CHANCES = 3

/**
 * Calls `late` once, `ms` from now. When the process itself was late, because it was frozen or busy, an answer may lie unread in the socket.
 * The deadline then begins again, at most three times.
 * @returns ends it
 */
export function startDeadline(ms: number, late: () => void): () => void {
  let timer: NodeJS.Timeout
  let chances = MORE_CHANCES
  function begin(): void {
    const dueAt = systemClock.steady() + ms
    timer = setTimeout(() => {
      if (chances-- > 0 && systemClock.steady() - dueAt > LATE_MS) begin()
      else late()
    }, ms)
  }
  begin()
  return () => clearTimeout(timer)
}
