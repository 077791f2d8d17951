/**
 * Sets of networks. A lookup searches sorted ranges, so that it is fast for a hundred thousand networks, too: `BlockList` of Node 22 compares
 * an address with each network in turn.
 */
import { isIP } from 'node:net'
import { runSteps } from '../lib/run-steps.ts'

/** An address as numbers of 32 bits: one for IPv4, four for IPv6. */
type AddressParts = readonly number[]

/** All addresses from `first` to `last`. */
export interface AddressRange {
  first: AddressParts
  last: AddressParts
}

const ALL_IPV4: AddressRange = { first: [0], last: [0xffffffff] }

/** @returns null when a text is no address, or has a zone id. An IPv4-mapped IPv6 address counts as IPv4. */
function partsOf(text: string): AddressParts | null {
  const version = isIP(text)
  if (version === 4) return [ipv4Of(text)]
  if (version === 0 || text.includes('%')) return null
  const parts = ipv6Of(text)
  return isMapped(parts) ? [parts[3]!] : parts
}

const ipv4Of = (text: string): number => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)

function ipv6Of(text: string): number[] {
  const hex = text.replace(/\d+\.\d+\.\d+\.\d+$/, (tail) => {
    const value = ipv4Of(tail)
    return `${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}`
  })
  const [head = '', tail] = hex.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right].map((g) =>
    Number.parseInt(g, 16),
  )
  return [0, 2, 4, 6].map((i) => groups[i]! * 0x10000 + groups[i + 1]!)
}

const isMapped = (parts: AddressParts) => parts[0] === 0 && parts[1] === 0 && parts[2] === 0xffff

/** @param text an address, or a network such as 10.0.0.0/8. @returns null when it is neither. A wide IPv6 network may hold all of IPv4, too */
export function parseNetwork(text: string): AddressRange[] | null {
  const [address = '', bits, ...more] = text.split('/')
  const version = isIP(address)
  const widest = version === 4 ? 32 : 128
  const prefix = bits === undefined ? widest : /^\d{1,3}$/.test(bits) ? Number(bits) : -1
  if (!version || more.length || prefix < 0 || prefix > widest || address.includes('%')) return null
  const range = rangeOf(version === 4 ? [ipv4Of(address)] : ipv6Of(address), prefix)
  if (version === 4) return [range]
  if (isMapped(range.first) && isMapped(range.last)) return [{ first: range.first.slice(3), last: range.last.slice(3) }]
  const holdsMapped = compare(range.first, 0, MAPPED) <= 0 && compare(range.last, 0, MAPPED) >= 0
  return holdsMapped ? [range, ALL_IPV4] : [range]
}

/** ::ffff:0:0 */
const MAPPED: AddressParts = [0, 0, 0xffff, 0]

function rangeOf(parts: AddressParts, prefix: number): AddressRange {
  const masks = parts.map((_, i) => {
    const bits = Math.min(32, Math.max(0, prefix - 32 * i))
    return bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0
  })
  return { first: parts.map((part, i) => (part & masks[i]!) >>> 0), last: parts.map((part, i) => (part | ~masks[i]!) >>> 0) }
}

/** @returns the order of the address at `at` of a list, and an address */
function compare(list: ArrayLike<number>, at: number, parts: AddressParts): number {
  for (let i = 0; i < parts.length; i++) {
    const difference = list[at + i]! - parts[i]!
    if (difference !== 0) return difference
  }
  return 0
}

export interface AddressSet {
  has(address: string): boolean
  isEmpty: boolean
}

export const addressSetOf = (ranges: readonly AddressRange[]): AddressSet => runSteps(addressSetSteps(ranges))

/** The same in steps, so that a caller can let requests pass between them. */
export function* addressSetSteps(ranges: readonly AddressRange[]): Generator<void, AddressSet> {
  const ipv4 = searchOf(
    yield* sorted(
      ranges.filter(({ first }) => first.length === 1),
      byIpv4,
    ),
    1,
  )
  yield
  const ipv6 = searchOf(
    yield* sorted(
      ranges.filter(({ first }) => first.length === 4),
      byIpv6,
    ),
    4,
  )
  return {
    isEmpty: ranges.length === 0,
    has(address) {
      const parts = ranges.length === 0 ? null : partsOf(address)
      return parts !== null && (parts.length === 1 ? ipv4 : ipv6)(parts)
    },
  }
}

type Order = (a: AddressRange, b: AddressRange) => number

const byIpv4: Order = ({ first: [a = 0] }, { first: [b = 0] }) => a - b
const byIpv6: Order = ({ first: a }, { first: b }) => a[0]! - b[0]! || a[1]! - b[1]! || a[2]! - b[2]! || a[3]! - b[3]!

const SORTED_A_STEP = 4096

/** Sorts parts, and merges them in pairs. */
function* sorted(ranges: readonly AddressRange[], order: Order): Generator<void, readonly AddressRange[]> {
  let parts: AddressRange[][] = []
  for (let at = 0; at < ranges.length; at += SORTED_A_STEP) {
    parts.push(ranges.slice(at, at + SORTED_A_STEP).sort(order))
    yield
  }
  while (parts.length > 1) {
    const merged: AddressRange[][] = []
    for (let i = 0; i < parts.length; i += 2) {
      merged.push(merge(parts[i]!, parts[i + 1] ?? [], order))
      yield
    }
    parts = merged
  }
  return parts[0] ?? []
}

function merge(a: readonly AddressRange[], b: readonly AddressRange[], order: Order): AddressRange[] {
  const all: AddressRange[] = []
  let [i, j] = [0, 0]
  while (i < a.length && j < b.length) all.push(order(a[i]!, b[j]!) <= 0 ? a[i++]! : b[j++]!)
  return [...all, ...a.slice(i), ...b.slice(j)]
}

/** @param ordered sorted by their first addresses. @param width the number of parts of an address */
function searchOf(ordered: readonly AddressRange[], width: number): (parts: AddressParts) => boolean {
  const firsts = new Uint32Array(ordered.length * width)
  const lasts = new Uint32Array(ordered.length * width)
  let count = 0
  for (const { first, last } of ordered) {
    const before = (count - 1) * width
    // of two networks that share an address, one holds the other, and stands before it
    if (count > 0 && compare(lasts, before, first) >= 0) {
      if (compare(lasts, before, last) < 0) lasts.set(last, before)
      continue
    }
    firsts.set(first, count * width)
    lasts.set(last, count * width)
    count++
  }
  return (parts) => {
    let [low, high] = [0, count]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compare(firsts, middle * width, parts) <= 0) low = middle + 1
      else high = middle
    }
    return low > 0 && compare(lasts, (low - 1) * width, parts) >= 0
  }
}
