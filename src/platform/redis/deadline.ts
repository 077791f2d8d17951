/** The longest wait for an answer about a limit. */
export const CALL_MS = 50

/** @throws when `answer` does not come in time. Its late result is dropped */
export function withDeadline<T>(answer: Promise<T>, ms = CALL_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const end = new Promise<never>((_, reject) => {
    // an answer that arrived while this process was busy is read before the deadline counts
    timer = setTimeout(() => setImmediate(() => reject(new Error(`no answer within ${ms} ms: timed out`))), ms)
  })
  return Promise.race([answer, end]).finally(() => clearTimeout(timer))
}
