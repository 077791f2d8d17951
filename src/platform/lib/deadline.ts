/** Deadlines for answers that come over a socket. A process that was frozen or busy itself reads the answers before it counts the time. */
import { systemClock } from './clock.ts'

const LATE_MS = 100
const MORE_CHANCES = 3

/**
 * Calls `late` once, `ms` from now, after the answers that have arrived. When the process itself was much too late, the deadline begins again,
 * at most three times.
 * @returns ends it
 */
export function startDeadline(ms: number, late: () => void): () => void {
  let timer: NodeJS.Timeout
  let isOver = false
  let chances = MORE_CHANCES
  function begin(): void {
    const dueAt = systemClock.steady() + ms
    // Node runs timers before it reads sockets, and immediates afterwards
    timer = setTimeout(() => setImmediate(check, dueAt), ms)
  }
  function check(dueAt: number): void {
    if (isOver) return
    if (chances-- > 0 && systemClock.steady() - dueAt > LATE_MS) begin()
    else late()
  }
  begin()
  return () => {
    isOver = true
    clearTimeout(timer)
  }
}

/** @throws when `answer` does not come in time. Its late result is dropped */
export function withDeadline<T>(answer: Promise<T>, ms: number): Promise<T> {
  let end = () => {}
  const silence = new Promise<never>((_, reject) => {
    end = startDeadline(ms, () => reject(new Error(`no answer within ${ms} ms: timed out`)))
  })
  return Promise.race([answer, silence]).finally(end)
}
