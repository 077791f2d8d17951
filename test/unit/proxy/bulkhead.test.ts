import { EventEmitter } from 'node:events'
import { describe, expect, it } from 'vitest'
import { type Bulkhead, createBulkhead, type Holder } from '../../../src/proxy/upstream/bulkhead.ts'

/** Requests by name: `served` in the order of their slots, `refused` with the cause. */
function requestsAt(bulkhead: Bulkhead) {
  const served: string[] = []
  const refused: [string, unknown][] = []
  const socketOf = new Map<string, EventEmitter>()
  return {
    served,
    refused,
    /** Takes a slot, or waits for one. */
    ask(name: string, holder: Holder): void {
      const socket = new EventEmitter()
      socketOf.set(name, socket)
      if (bulkhead.take(holder)) served.push(name)
      else
        bulkhead.wait(socket, 'orders:0', holder).then(
          () => served.push(name),
          (error) => refused.push([name, error.cause]),
        )
    },
    leave: (name: string) => void socketOf.get(name)!.emit('close'),
    /** Gives slots of a holder back, one after the other. */
    async giveBack(...holders: Holder[]): Promise<void> {
      for (const holder of holders) {
        bulkhead.giveBack(holder)
        await settled()
      }
    },
  }
}
const settled = () => new Promise((resolve) => setImmediate(resolve))
const make = (max: number, queue: number, maxShare = 0.25) => createBulkhead({ max, queue, maxShare, waitMs: 60_000 })

describe('a holder alone', () => {
  it('has all slots and the whole queue, in the order of arrival', async () => {
    const bulkhead = make(2, 3)
    const requests = requestsAt(bulkhead)
    for (const name of ['1', '2', '3', '4', '5', '6']) requests.ask(name, 'ann')
    await settled()
    expect(requests.served).toEqual(['1', '2'])
    expect(requests.refused).toEqual([['6', 'orders:0: 2 requests at a time, 3 waiting']])
    await requests.giveBack('ann', 'ann', 'ann')
    expect(requests.served).toEqual(['1', '2', '3', '4', '5'])
    await requests.giveBack('ann', 'ann')
    expect(bulkhead.load()).toBe(0)
  })
})

describe('while others wait, a holder above its share', () => {
  it('gets no slot before they have theirs', async () => {
    const bulkhead = make(4, 100, 0.5)
    const requests = requestsAt(bulkhead)
    for (const name of ['m1', 'm2', 'm3', 'm4', 'm5', 'm6']) requests.ask(name, 'mallory')
    for (const name of ['a1', 'a2', 'a3']) requests.ask(name, 'ann')
    requests.ask('b1', 'bob')
    await requests.giveBack('mallory', 'mallory')
    expect(requests.served.slice(4)).toEqual(['a1', 'b1'])
    // with one slot of four, the holder that came first is below its share again
    await requests.giveBack('mallory', 'ann', 'bob')
    expect(requests.served.slice(6)).toEqual(['m5', 'a2', 'a3'])
  })

  it('goes behind a holder with fewer slots when both have their share', async () => {
    const requests = requestsAt(make(4, 100))
    for (const name of ['m1', 'm2', 'm3']) requests.ask(name, 'mallory')
    requests.ask('a1', 'ann')
    requests.ask('m4', 'mallory')
    requests.ask('a2', 'ann')
    await requests.giveBack('mallory')
    expect(requests.served.at(-1)).toBe('a2')
  })

  it('loses its newest place in a full queue', async () => {
    const requests = requestsAt(make(1, 4, 0.5))
    for (const name of ['m1', 'm2', 'm3', 'm4', 'm5']) requests.ask(name, 'mallory')
    requests.ask('a1', 'ann')
    requests.ask('a2', 'ann')
    await settled()
    expect(requests.refused).toEqual([
      ['m5', expect.stringContaining('more than its share of the queue')],
      ['m4', expect.stringContaining('more than its share of the queue')],
    ])
    // both have half of the queue now: nobody makes room
    requests.ask('a3', 'ann')
    requests.ask('b1', 'bob')
    requests.ask('m6', 'mallory')
    await settled()
    expect(requests.refused.slice(2).map(([name]) => name)).toEqual(['a3', 'b1', 'm6'])
    await requests.giveBack('mallory', 'ann', 'mallory')
    expect([...requests.served].sort()).toEqual(['a1', 'm1', 'm2', 'm3'])
  })
})

describe('a share', () => {
  it('is at least 1, of slots and of the queue', async () => {
    const requests = requestsAt(make(2, 2, 0.001))
    for (const name of ['m1', 'm2', 'm3', 'm4']) requests.ask(name, 'mallory')
    requests.ask('a1', 'ann')
    await requests.giveBack('mallory')
    expect(requests.served).toEqual(['m1', 'm2', 'a1'])
    expect(requests.refused.map(([name]) => name)).toEqual(['m4'])
  })

  it('of 1 is no limit', async () => {
    const requests = requestsAt(make(1, 3, 1))
    for (const name of ['m1', 'm2', 'm3', 'm4']) requests.ask(name, 'mallory')
    requests.ask('a1', 'ann')
    await settled()
    expect(requests.refused.map(([name]) => name)).toEqual(['a1'])
  })

  it('is not counted for a request without a holder', async () => {
    const requests = requestsAt(make(1, 4))
    for (const name of ['1', '2', '3', '4', '5']) requests.ask(name, null)
    requests.ask('a1', 'ann')
    await settled()
    expect(requests.refused.map(([name]) => name)).toEqual(['a1'])
    await requests.giveBack(null, null)
    expect(requests.served).toEqual(['1', '2', '3'])
  })

  it('is given back by a client that leaves the queue', async () => {
    const bulkhead = make(1, 2)
    const requests = requestsAt(bulkhead)
    for (const name of ['m1', 'm2', 'm3']) requests.ask(name, 'mallory')
    requests.leave('m2')
    requests.ask('a1', 'ann')
    await requests.giveBack('mallory')
    expect(requests.served).toEqual(['m1', 'm3'])
    await requests.giveBack('mallory', 'ann')
    expect(requests.served).toEqual(['m1', 'm3', 'a1'])
    expect(bulkhead.load()).toBe(0)
  })
})
