import { BlockList, isIP } from 'node:net'
import { describe, expect, test } from 'vitest'
import { addressSetOf, parseNetwork } from '../../../src/platform/request/address-set.ts'

const setOf = (...texts: string[]) => addressSetOf(texts.flatMap((text) => parseNetwork(text)!))

/** A seeded generator (mulberry32), so that a failure can be repeated. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

describe('a set of networks', () => {
  test.each([
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.1.2.3/8', '10.0.0.0', true],
    ['192.0.2.7', '192.0.2.7', true],
    ['192.0.2.7', '192.0.2.8', false],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['2001:db8::/32', '2001:db8:ffff::1', true],
    ['2001:db8::/32', '2001:db9::', false],
    ['fe80::/10', 'febf::1', true],
    ['192.0.2.0/24', '::ffff:192.0.2.9', true],
    ['192.0.2.0/24', '::ffff:c000:209', true],
    ['::ffff:192.0.2.0/120', '192.0.2.9', true],
    ['::ffff:192.0.2.0/120', '192.0.3.9', false],
    ['::/0', '192.0.2.1', true],
    ['::/0', '2001:db8::1', true],
    ['192.0.2.0/24', 'no address', false],
    ['192.0.2.0/24', '', false],
  ])('%s holds %s: %s', (network, address, expected) => {
    expect(setOf(network).has(address)).toBe(expected)
  })

  test.each([
    '',
    'x',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '10.0.0.0/-1',
    '::/129',
    '10.0.0',
    '010.0.0.1',
    'fe80::1%eth0',
    '10.0.0.0/8 ',
  ])('no network is made of %j', (text) => {
    expect(parseNetwork(text)).toBeNull()
  })

  test('nothing is in the empty set', () => {
    expect(setOf()).toMatchObject({ isEmpty: true })
    expect(setOf().has('192.0.2.1')).toBe(false)
  })

  test('networks inside networks, in any order, count once', () => {
    const set = setOf('10.1.0.0/16', '10.0.0.0/8', '10.0.0.0/30', '10.255.0.0/16', '11.0.0.0/8')
    for (const address of ['10.0.0.9', '10.200.0.1', '10.255.255.255', '11.0.0.1']) expect(set.has(address), address).toBe(true)
    expect(set.has('12.0.0.0')).toBe(false)
  })

  test.each([1, 2, 3, 4, 5, 6, 7, 8])('it answers as a search of each network in turn does (seed %i)', (seed) => {
    const random = randomFrom(seed)
    // few values for each part, so that addresses meet networks
    const ipv4 = () => [random(3), random(3), random(256), random(256)].join('.')
    const ipv6 = () => (random(4) === 0 ? `::ffff:${ipv4()}` : `2001:${random(3)}:${random(3)}::${random(4).toString(16)}`)
    const network = () => (random(2) ? `${ipv4()}/${1 + random(32)}` : `${ipv6()}/${1 + random(128)}`)
    const networks = Array.from({ length: 1 + random(60) }, network)
    const naive = new BlockList()
    for (const text of networks) {
      const [address = '', bits] = text.split('/')
      naive.addSubnet(address, Number(bits), isIP(address) === 4 ? 'ipv4' : 'ipv6')
    }
    const set = setOf(...networks)
    for (let i = 0; i < 3000; i++) {
      const address = random(2) ? ipv4() : ipv6()
      const expected = naive.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')
      expect(set.has(address), `${address} in ${networks.join(' ')}`).toBe(expected)
    }
  })
})
