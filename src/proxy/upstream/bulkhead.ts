/**
 * Bounds the requests that an upstream has at a time, the queue for a free slot, and the time in the queue. Among requests that wait, no
 * client gets more than its share: a client that sends any number of requests does not keep others from the upstream.
 */
import { type Problem, problem } from '../../platform/lib/errors.ts'

export interface BulkheadOptions {
  max: number
  /** Requests that may wait for a slot. */
  queue: number
  waitMs: number
  /** The part of `max` and of `queue` that one holder may have while others wait: above 0, at most 1. */
  maxShare: number
}

/** Who has a slot: a principal or an address. Null: an exempt or unknown client, which has no share. */
export type Holder = string | null

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
  take(holder: Holder): boolean
  /** Resolves when it has a slot, in the order of arrival among holders below their share. @throws overloaded */
  wait(waiter: Waiter, name: string, holder: Holder): Promise<void>
  giveBack(holder: Holder): void
}

interface Waiting {
  holder: Holder
  /** Hands a slot over. */
  admit(): void
  refuse(cause: string): void
}

export function createBulkhead({ max, queue, waitMs, maxShare }: BulkheadOptions): Bulkhead {
  const shareOf = (whole: number) => Math.max(1, Math.floor(whole * maxShare))
  const [slotShare, queueShare] = [shareOf(max), shareOf(queue)]
  let taken = 0
  /** Slots by holder. */
  const slots = new Map<string, number>()
  /** In the order of arrival. */
  const waiting = new Set<Waiting>()
  /** The same, by holder: a client with many requests costs one look. */
  const waitingBy = new Map<Holder, Set<Waiting>>()

  const slotsOf = (holder: Holder) => (holder === null ? 0 : (slots.get(holder) ?? 0))
  function count(holder: Holder): void {
    if (holder !== null) slots.set(holder, slotsOf(holder) + 1)
  }
  function discount(holder: Holder): void {
    if (holder === null) return
    const left = slotsOf(holder) - 1
    if (left > 0) slots.set(holder, left)
    else slots.delete(holder)
  }
  function enqueue(entry: Waiting): void {
    waiting.add(entry)
    const others = waitingBy.get(entry.holder)
    if (others) others.add(entry)
    else waitingBy.set(entry.holder, new Set([entry]))
  }
  function dequeue(entry: Waiting): void {
    waiting.delete(entry)
    const others = waitingBy.get(entry.holder)!
    others.delete(entry)
    if (others.size === 0) waitingBy.delete(entry.holder)
  }

  /** The first that waits, unless its holder has its share already: then a request of the holder with the fewest slots. */
  function next(): Waiting | undefined {
    const [first] = waiting
    if (!first || waitingBy.size === 1 || slotsOf(first.holder) < slotShare) return first
    let fewest = Number.POSITIVE_INFINITY
    let chosen: Waiting | undefined
    for (const [holder, entries] of waitingBy) {
      const held = slotsOf(holder)
      if (held >= fewest) continue
      fewest = held
      chosen = entries.values().next().value
    }
    return chosen
  }

  /** Makes room in a full queue for a holder below its share. @returns false when no other holder is above its share */
  function makeRoom(holder: Holder): boolean {
    if ((waitingBy.get(holder)?.size ?? 0) >= queueShare) return false
    let most = queueShare
    let largest: Set<Waiting> | undefined
    for (const [other, entries] of waitingBy) {
      if (other === null || entries.size <= most) continue
      most = entries.size
      largest = entries
    }
    if (!largest) return false
    const newest = [...largest].at(-1)!
    newest.refuse('others wait, and its client has more than its share of the queue')
    return true
  }

  return {
    hasFree: () => taken < max,
    load: () => taken + waiting.size,
    take(holder) {
      if (taken >= max) return false
      taken++
      count(holder)
      return true
    },
    wait(waiter, name, holder) {
      const refusal = (cause: string): Problem =>
        problem('overloaded', { cause: `${name}: ${cause}`, headers: { 'retry-after': '1' }, isOfUpstream: true })
      return new Promise((resolve, reject) => {
        if (waiting.size >= queue && !makeRoom(holder)) return reject(refusal(`${taken} requests at a time, ${waiting.size} waiting`))
        const settle = () => {
          clearTimeout(late)
          dequeue(entry)
          waiter.off('close', clientLeft)
        }
        const entry: Waiting = {
          holder,
          admit() {
            settle()
            count(holder)
            resolve()
          },
          refuse(cause) {
            settle()
            reject(refusal(cause))
          },
        }
        const clientLeft = () => entry.refuse('the client left the queue')
        const late = setTimeout(() => entry.refuse(`no slot within ${waitMs} ms`), waitMs)
        waiter.once('close', clientLeft)
        enqueue(entry)
      })
    },
    giveBack(holder) {
      discount(holder)
      // the slot passes directly to a waiting request
      const heir = next()
      if (heir) heir.admit()
      else taken--
    },
  }
}
