/** How many requests an upstream has at a time, and who waits for one of them to end: both are bounded, and nobody waits long. */
import { type Problem, problem } from '../../platform/lib/errors.ts'

export interface BulkheadOptions {
  max: number
  /** That may wait for a place. */
  queue: number
  waitMs: number
}

/** It leaves the queue when it closes. */
export interface Waiter {
  once(event: 'close', listener: () => void): unknown
  off(event: 'close', listener: () => void): unknown
}

export interface Bulkhead {
  hasFree(): boolean
  /** @returns false when all are taken */
  take(): boolean
  /** Resolves with a place taken, in the order of coming. @throws overloaded */
  wait(waiter: Waiter, name: string): Promise<void>
  giveBack(): void
}

export function createBulkhead({ max, queue, waitMs }: BulkheadOptions): Bulkhead {
  let taken = 0
  /** In the order of their coming; each is handed a place, or refused. */
  const waiting = new Set<() => void>()

  return {
    hasFree: () => taken < max,
    take() {
      if (taken >= max) return false
      taken++
      return true
    },
    wait(waiter, name) {
      const refuse = (cause: string): Problem => problem('overloaded', { cause: `${name}: ${cause}`, headers: { 'retry-after': '1' } })
      return new Promise((resolve, reject) => {
        if (waiting.size >= queue) return reject(refuse(`${taken} requests at a time, ${waiting.size} waiting`))
        const settle = (then: () => void) => {
          clearTimeout(late)
          waiting.delete(admit)
          waiter.off('close', clientLeft)
          then()
        }
        const admit = () => settle(resolve)
        const clientLeft = () => settle(() => reject(refuse('the client left the queue')))
        const late = setTimeout(() => settle(() => reject(refuse(`no place within ${waitMs} ms`))), waitMs)
        waiter.once('close', clientLeft)
        waiting.add(admit)
      })
    },
    giveBack() {
      const [next] = waiting
      // the place goes from hand to hand
      if (next) next()
      else taken--
    },
  }
}
