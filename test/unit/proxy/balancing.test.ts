import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { highestScore, leastBusy, takeTurn } from '../../../src/proxy/upstream/balancing.ts'

interface Server {
  name: string
  weight: number
  credit: number
  bulkhead: { load(): number }
}
const server = (name: string, weight = 1, load = 0): Server => ({ name, weight, credit: 0, bulkhead: { load: () => load } })
const hashOf = (client: string) => (candidate: Server) => createHash('sha256').update(`${client}|${candidate.name}`).digest()
const serverOf = (servers: Server[], client: string) => highestScore(servers, hashOf(client))

describe('round robin', () => {
  it('spreads the turns of a server between those of the others', () => {
    const servers = [server('a', 3), server('b', 1)]
    expect(Array.from({ length: 8 }, () => takeTurn(servers)!.name).join('')).toBe('aabaaaba')
  })

  it('has no turn without a server', () => {
    expect(takeTurn([])).toBe(null)
  })
})

describe('the least busy servers', () => {
  it('are those with the fewest requests relative to their weights', () => {
    expect(leastBusy([server('a', 1, 2), server('b', 4, 4), server('c', 1, 1)]).map(({ name }) => name)).toEqual(['b', 'c'])
  })

  it('of no servers are none', () => {
    expect(leastBusy([])).toEqual([])
  })
})

describe('rendezvous hashing', () => {
  const names = fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 2, maxLength: 8 })
  const ring = names.chain((list) =>
    fc.array(fc.integer({ min: 1, max: 100 }), { minLength: list.length, maxLength: list.length }).map((weights) => {
      return list.map((name, i) => server(name, weights[i]))
    }),
  )
  const clients = fc.uniqueArray(fc.string(), { minLength: 1, maxLength: 50 })

  it('a lost server moves only its own clients', () => {
    fc.assert(
      fc.property(ring, clients, fc.nat(), (servers, all, n) => {
        const lost = servers[n % servers.length]!
        const left = servers.filter((s) => s !== lost)
        for (const client of all) {
          const before = serverOf(servers, client)
          if (before !== lost) expect(serverOf(left, client)).toBe(before)
        }
      }),
    )
  })

  it('an added server takes clients, and moves none between the others', () => {
    fc.assert(
      fc.property(ring, clients, fc.integer({ min: 1, max: 100 }), (servers, all, weight) => {
        const added = server('the added server', weight)
        for (const client of all) {
          const after = serverOf([...servers, added], client)
          if (after !== added) expect(after).toBe(serverOf(servers, client))
        }
      }),
    )
  })

  it('the order of the servers has no influence', () => {
    fc.assert(fc.property(ring, clients, (servers, all) => all.every((c) => serverOf(servers, c) === serverOf(servers.toReversed(), c))))
  })

  it('clients are shared in proportion to the weights', () => {
    const servers = [server('a', 1), server('b', 2), server('c', 7)]
    const counts = { a: 0, b: 0, c: 0 }
    for (let i = 0; i < 20_000; i++) counts[serverOf(servers, `client ${i}`)!.name as 'a']++
    const shares = Object.values(counts).map((n) => n / 20_000)
    for (const [i, weight] of [0.1, 0.2, 0.7].entries()) expect(Math.abs(shares[i]! - weight)).toBeLessThan(0.02)
  })

  it.each([
    ['the lowest', 0x00],
    ['the highest', 0xff],
  ])('%s hash has a finite score', (_, byte) => {
    const [heavy, light] = [server('heavy', 2), server('light', 1)]
    expect(highestScore([light, heavy], () => Buffer.alloc(6, byte))).toBe(heavy)
  })
})
