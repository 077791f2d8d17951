/** Load with a fixed rate: a request does not wait for the answer to the request before it. */
import { pause } from './fault-row.ts'

export interface Load {
  /** Requests that were sent. */
  sent(): number
  /** Ends the load and waits for what is under way. */
  stop(): Promise<void>
}

/** Calls `run` this often a second, until `stop`. `run` must not throw. @param atMost requests under way; more are skipped */
export function openLoop(perSecond: number, run: (index: number) => Promise<void>, atMost = 2000): Load {
  const underWay = new Set<Promise<void>>()
  const started = performance.now()
  let sent = 0
  let skipped = 0
  let isOver = false
  const pacing = (async () => {
    while (!isOver) {
      const due = Math.floor(((performance.now() - started) / 1000) * perSecond)
      while (sent + skipped < due) {
        if (underWay.size >= atMost) {
          skipped++
          continue
        }
        const one = run(sent++).finally(() => underWay.delete(one))
        underWay.add(one)
      }
      await pause(5)
    }
  })()
  return {
    sent: () => sent,
    async stop() {
      isOver = true
      await pacing
      await Promise.all(underWay)
    },
  }
}

/** Calls `run` again and again, `width` calls at a time, until `stop`. */
export function closedLoop(width: number, run: () => Promise<void>): { stop(): Promise<void> } {
  let isOver = false
  const loops = Array.from({ length: width }, async () => {
    while (!isOver) await run()
  })
  return {
    async stop() {
      isOver = true
      await Promise.all(loops)
    },
  }
}
