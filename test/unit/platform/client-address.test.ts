import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  addressKey,
  createClientReader,
  type Forwarding,
  parseNetworks,
  plainAddress,
} from '../../../src/platform/request/client-address.ts'

describe('networks', () => {
  it.each([
    ['10.0.0.0/8', '10.255.0.1', true],
    ['10.0.0.0/8', '11.0.0.1', false],
    ['192.0.2.1', '192.0.2.1', true],
    ['192.0.2.1', '192.0.2.2', false],
    ['0.0.0.0/0', '203.0.113.9', true],
    ['fd00::/8', 'fdff::1', true],
    ['fd00::/8', 'fe00::1', false],
    ['::1', '::1', true],
    ['10.0.0.0/8', 'nonsense', false],
    ['10.0.0.0/8', '', false],
  ])('%s holds %s: %s', (network, address, expected) => {
    expect(parseNetworks([network])!.has(address)).toBe(expected)
  })

  it.each([
    '',
    'x',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '10.0.0/8',
    'fd00::/129',
    'example.com',
    '10.0.0.0/8 ',
  ])('%j is no network', (text) => {
    expect(parseNetworks(['127.0.0.1', text])).toBeNull()
  })

  it('an empty list of networks holds no address', () => {
    expect(parseNetworks([])).toMatchObject({ isEmpty: true })
    expect(parseNetworks([])!.has('127.0.0.1')).toBe(false)
  })
})

describe('an address as it is counted', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8:0:0:1::', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
  ])('%s is %s', (address, key) => {
    expect(addressKey(address)).toBe(key)
  })

  it.each([
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['0:0:0:0:0:FFFF:c000:0201', '192.0.2.1'],
    ['::fffe:c000:201', '::fffe:c000:201'],
    ['fe80::1%eth0', 'fe80::1'],
    ['2001:db8::1', '2001:db8::1'],
  ])('%s is written %s', (address, plain) => {
    expect(plainAddress(address)).toBe(plain)
  })
})

/** A request from this peer. */
function from(peer: string, headers: Record<string, string> = {}): IncomingMessage {
  const socket = new Socket()
  Object.defineProperty(socket, 'remoteAddress', { value: peer })
  return Object.assign(new IncomingMessage(socket), { headers })
}
const reader = (trusted: string[], exempt: string[] = [], kind?: Forwarding) =>
  createClientReader(parseNetworks(trusted)!, parseNetworks(exempt)!, kind)

it('reports once that a peer sends a forwarding header without being trusted', () => {
  const reports: (string | null)[][] = []
  const read = createClientReader(parseNetworks(['10.0.0.0/8'])!, parseNetworks([])!, 'x-forwarded', (...report) => reports.push(report))
  read(from('203.0.113.9'))
  read(from('10.0.0.1', { 'x-forwarded-for': '198.51.100.1' }))
  expect(reports).toEqual([])
  read(from('203.0.113.9', { forwarded: 'for=198.51.100.1' }))
  read(from('203.0.113.10', { 'x-forwarded-for': '198.51.100.1' }))
  expect(reports).toEqual([['203.0.113.0/24', 'forwarded']])
})

describe('the client behind proxies', () => {
  const read = reader(['10.0.0.0/8', '192.0.2.1', 'fd00::/8'])
  it.each([
    ['a peer that is no proxy is the client, whatever it claims', '203.0.113.9', '198.51.100.1', '203.0.113.9', false],
    ['without a claim the proxy itself is', '10.0.0.1', undefined, '10.0.0.1', true],
    ['the one that the proxy saw', '10.0.0.1', '198.51.100.1', '198.51.100.1', true],
    ['from the right: what a client put before it is not believed', '10.0.0.1', '1.1.1.1, 198.51.100.1', '198.51.100.1', true],
    ['through every trusted proxy', '10.0.0.1', '198.51.100.1, 192.0.2.1, 10.9.9.9', '198.51.100.1', true],
    ['and no further than the first that is none', '10.0.0.1', '1.1.1.1, 198.51.100.1, 192.0.2.1', '198.51.100.1', true],
    ['all of them trusted: the outermost', '10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3', true],
    ['what is no address ends the reading', '10.0.0.1', '198.51.100.1, unknown, 10.0.0.2', '10.0.0.2', true],
    ['blanks and empty members are passed over', '10.0.0.1', ' ,198.51.100.1 ,, ', '198.51.100.1', true],
    ['a port is no part of it', '10.0.0.1', '198.51.100.1:4711', '198.51.100.1', true],
    ['an IPv6 address in brackets, with a port', '10.0.0.1', '[2001:db8::1]:4711', '2001:db8::1', true],
    ['a v4-mapped address is its v4 address', '::ffff:10.0.0.1', '::ffff:198.51.100.1', '198.51.100.1', true],
    ['a trusted proxy on IPv6', 'fd00::1', '2001:db8::1', '2001:db8::1', true],
  ])('%s', (_name, peer, forwarded, address, viaTrustedProxy) => {
    expect(read(from(peer, forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }))).toMatchObject({ address, viaTrustedProxy })
  })

  it('no peer is trusted when no network is named', () => {
    expect(reader([])(from('127.0.0.1', { 'x-forwarded-for': '198.51.100.1' }))).toMatchObject({
      address: '127.0.0.1',
      viaTrustedProxy: false,
    })
  })
})

describe('an exemption', () => {
  const read = reader(['10.0.0.0/8'], ['127.0.0.0/8', '198.51.100.1'])
  it('is for the TCP peer, v4-mapped too', () => {
    expect(read(from('127.0.0.1')).isExempt).toBe(true)
    expect(read(from('::ffff:127.0.0.1')).isExempt).toBe(true)
    expect(read(from('192.0.2.1')).isExempt).toBe(false)
    expect(reader([])(from('127.0.0.1')).isExempt).toBe(false)
  })

  it.each([
    'x-forwarded-for',
    'forwarded',
    'x-real-ip',
    'x-client-ip',
    'true-client-ip',
    'cf-connecting-ip',
    'via',
  ])('ends with %s: the peer speaks for somebody else', (name) => {
    expect(read(from('127.0.0.1', { [name]: '' })).isExempt).toBe(false)
  })

  it('is not to be had by claiming an exempt address', () => {
    expect(read(from('10.0.0.1', { 'x-forwarded-for': '198.51.100.1' }))).toMatchObject({ address: '198.51.100.1', isExempt: false })
  })
})

describe('an address', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::6', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002:ffff::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
  ])('%s is counted as %s', (address, key) => {
    expect(addressKey(plainAddress(address))).toBe(key)
  })

  it.each([
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['192.0.2.1', '192.0.2.1'],
  ])('%s is %s', (address, plain) => {
    expect(plainAddress(address)).toBe(plain)
  })

  it('of IPv6 has one count in every notation and with any interface part', () => {
    const group = fc.integer({ min: 0, max: 0xffff })
    const property = fc.property(
      fc.array(group, { minLength: 4, maxLength: 4 }),
      fc.array(group, { minLength: 4, maxLength: 4 }),
      (net, host) => {
        const hex = (pad: number) => [...net, ...host].map((g) => g.toString(16).padStart(pad, '0')).join(':')
        const canonical = new URL(`http://[${hex(1)}]`).hostname.slice(1, -1)
        const keys = [hex(1), hex(4), hex(4).toUpperCase(), canonical].map(addressKey)
        expect(new Set(keys)).toEqual(new Set([`${net.map((g) => g.toString(16)).join(':')}::/64`]))
      },
    )
    fc.assert(property, { seed: 20_261_101 })
  })
})

describe('who the client is', () => {
  const read = (peer: string, headers: Record<string, string>, trusted: string[] = ['10.0.0.0/8', 'fd00::/8'], exempt: string[] = []) =>
    reader(trusted, exempt)(from(peer, headers))

  it.each([
    ['the last address that a trusted proxy did not add itself', '10.0.0.1', '203.0.113.9, 10.0.0.2', '203.0.113.9'],
    ['not what the client wrote before it', '10.0.0.1', '198.51.100.1, 203.0.113.9', '203.0.113.9'],
    ['with a port', '10.0.0.1', '203.0.113.9:4711', '203.0.113.9'],
    ['IPv6 in brackets with a port', 'fd00::1', '[2001:db8::9]:4711', '2001:db8::9'],
    ['v4-mapped as v4', '::ffff:10.0.0.1', '::ffff:203.0.113.9', '203.0.113.9'],
    ['the proxy itself when what it says is no address', '10.0.0.1', 'unknown', '10.0.0.1'],
    ['the last good one before rubbish', '10.0.0.1', 'rubbish, 10.0.0.2', '10.0.0.2'],
    ['the proxy when it says nothing', '10.0.0.1', '', '10.0.0.1'],
  ])('is %s', (_, peer, header, address) => {
    expect(read(peer, header ? { 'x-forwarded-for': header } : {})).toMatchObject({ address, viaTrustedProxy: true })
  })

  describe('behind a proxy that speaks RFC 7239', () => {
    const reported = (headers: Record<string, string>) => reader(['10.0.0.0/8'], [], 'forwarded')(from('10.0.0.1', headers))
    it.each([
      ['for=198.51.100.1;proto=https', '198.51.100.1', true],
      ['for="198.51.100.1:4711"; proto=http', '198.51.100.1', false],
      ['For="[2001:db8::7]:4711";Proto=HTTPS;by=_x', '2001:db8::7', true],
      ['for=203.0.113.1, for=198.51.100.1;proto=https, for=10.1.1.1', '198.51.100.1', false],
      ['for=_hidden', '10.0.0.1', false],
      ['for=198.51.100.1:80;host=a.test:8080, , ', '198.51.100.1', false],
      // who added the last element did not say for whom
      ['for=198.51.100.1, proto=https', '10.0.0.1', true],
      ['', '10.0.0.1', false],
      ['for=198.51.100.1;by="x, for=10.9.9.9"', '198.51.100.1', false],
    ])('%s is %s, secure: %s', (forwarded, address, isSecure) => {
      expect(reported({ forwarded })).toMatchObject({ address, isSecure })
    })

    // what a client left open would swallow what the proxy added
    it.each([
      'for="10.9.9.9%, for="[2001:db8::77]:4711"',
      'x, for=198.51.100.1',
      'for=;',
    ])('%s cannot be read, and nobody is vouched for', (forwarded) => {
      expect(reported({ forwarded }).isReadable).toBe(false)
    })

    it('a client’s X-Forwarded-* are not believed', () => {
      expect(reported({ forwarded: 'for=198.51.100.1', 'x-forwarded-for': '10.9.9.9', 'x-forwarded-proto': 'https' })).toMatchObject({
        address: '198.51.100.1',
        isSecure: false,
      })
    })
  })

  it('an address with something behind a % is no address', () => {
    expect(read('10.0.0.1', { 'x-forwarded-for': '192.168.0.1%"x' })).toMatchObject({ address: '10.0.0.1' })
  })

  it("is the peer, whatever a stranger's headers say", () => {
    expect(read('203.0.113.9', { 'x-forwarded-for': '198.51.100.1', forwarded: 'for=198.51.100.1' })).toEqual({
      address: '203.0.113.9',
      limitKey: '203.0.113.9',
      peer: '203.0.113.9',
      viaTrustedProxy: false,
      isProxy: false,
      isReadable: true,
      isSecure: false,
      forwardedFor: '',
      isExempt: false,
    })
    expect(read('10.0.0.1', { 'x-forwarded-for': '198.51.100.1' }, [])).toMatchObject({ address: '10.0.0.1', viaTrustedProxy: false })
  })

  it.each([
    'x-forwarded-for',
    'forwarded',
    'x-real-ip',
    'x-client-ip',
    'true-client-ip',
    'cf-connecting-ip',
    'via',
  ])('is exempt with its peer inside, but not with %s', (name) => {
    const exempt = ['192.168.0.0/16', '::1']
    expect(read('192.168.1.1', {}, [], exempt).isExempt).toBe(true)
    expect(read('::1', {}, [], exempt).isExempt).toBe(true)
    expect(read('192.169.1.1', {}, [], exempt).isExempt).toBe(false)
    expect(read('192.168.1.1', { [name]: '192.168.1.2' }, [], exempt).isExempt).toBe(false)
  })
})
