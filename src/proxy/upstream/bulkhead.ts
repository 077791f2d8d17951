/** Bounds the requests that an upstream has at a time, the queue for a free slot, and the time in the queue. */
import { type Problem, problem } from '../../platform/lib/errors.ts'

export interface BulkheadOptions {
  max: number
  /** Requests that may wait for a slot. */
  queue: number
  waitMs: number
}

/** Leaves the queue when it closes. */
export interface Waiter {
  once(event: 'close', listener: () => void): unknown
  off(event: 'close', listener: () => void): unknown
}

export interface Bulkhead {
  hasFree(): boolean
  /** Requests that have a slot, and requests that wait for a slot. */
  load(): number
  /** @returns false when all slots are taken */
  take(): boolean
  /** Resolves when it has a slot, in the order of arrival. @throws overloaded */
  wait(waiter: Waiter, name: string): Promise<void>
  giveBack(): void
}

export function createBulkhead({ max, queue, waitMs }: BulkheadOptions): Bulkhead {
  let taken = 0
  /** In the order of arrival; each call hands a slot over. */
  const waiting = new Set<() => void>()

  return {
    hasFree: () => taken < max,
    load: () => taken + waiting.size,
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
        const late = setTimeout(() => settle(() => reject(refuse(`no slot within ${waitMs} ms`))), waitMs)
        waiter.once('close', clientLeft)
        waiting.add(admit)
      })
    },
    giveBack() {
      const [next] = waiting
      // the slot passes directly to the next waiter
      if (next) next()
      else taken--
    },
  }
}
