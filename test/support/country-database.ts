/** Writes databases in the MaxMind DB format 2.0, https://maxmind.github.io/MaxMind-DB/. */
import { isIP } from 'node:net'

export interface DatabaseOptions {
  ipVersion?: 4 | 6
  recordSize?: 24 | 28 | 32
  type?: string
  /** Seconds since the epoch. */
  builtAt?: number
  /** Makes the record of a network. Default: as GeoLite2-Country has it. */
  recordOf?: (country: string) => Value
}

type Value = string | number | Value[] | { [name: string]: Value }
/** Null: no record. A number: the data of this record. */
type Node = [Node, Node] | number | null

const SEPARATOR = Buffer.alloc(16)
const MARKER = Buffer.from('abcdef4d61784d696e642e636f6d', 'hex')

/** @param countries by network, such as `{ '192.0.2.0/24': 'DE' }`. Networks do not lie in each other */
export function countryDatabase(countries: Record<string, string>, options: DatabaseOptions = {}): Buffer {
  const { ipVersion = 6, recordSize = 28, type = 'Test-Country', builtAt = 1_750_000_000 } = options
  const { recordOf = (iso_code) => ({ country: { iso_code, names: { en: iso_code } } }) } = options
  const data: Buffer[] = []
  const offsets = new Map<string, number>()
  let root: Node = [null, null]
  let length = 0
  for (const [network, country] of Object.entries(countries)) {
    if (!offsets.has(country)) {
      const record = encode(recordOf(country))
      offsets.set(country, length)
      data.push(record)
      length += record.length
    }
    root = insert(root, bitsOf(network, ipVersion), offsets.get(country)!)
  }
  const nodes = [root as [Node, Node]]
  for (let i = 0; i < nodes.length; i++) for (const child of nodes[i]!) if (Array.isArray(child)) nodes.push(child)
  const numbers = new Map(nodes.map((node, i) => [node, i]))
  const pointerTo = (child: Node): number => {
    if (child === null) return nodes.length
    return Array.isArray(child) ? numbers.get(child)! : nodes.length + SEPARATOR.length + child
  }
  const tree = nodes.map(([left, right]) => nodeOf(pointerTo(left), pointerTo(right), recordSize))
  const metadata = encode({
    binary_format_major_version: 2,
    binary_format_minor_version: 0,
    build_epoch: builtAt,
    database_type: type,
    description: { en: 'made by a test' },
    ip_version: ipVersion,
    languages: ['en'],
    node_count: nodes.length,
    record_size: recordSize,
  })
  return Buffer.concat([...tree, SEPARATOR, ...data, MARKER, metadata])
}

function insert(node: Node, [bit, ...rest]: readonly number[], data: number): Node {
  if (bit === undefined) return data
  const [left, right] = Array.isArray(node) ? node : [null, null]
  return bit === 0 ? [insert(left, rest, data), right] : [left, insert(right, rest, data)]
}

/** In a tree of IPv6, IPv4 lies in ::/96. */
function bitsOf(network: string, ipVersion: 4 | 6): number[] {
  const [address = '', prefix] = network.split('/')
  const isFour = isIP(address) === 4
  const groups = isFour ? address.split('.').map(Number) : groupsOf(address)
  const width = isFour ? 8 : 16
  const bits = groups.flatMap((group) => Array.from({ length: width }, (_, i) => (group >> (width - 1 - i)) & 1)).slice(0, Number(prefix))
  return isFour && ipVersion === 6 ? [...Array.from({ length: 96 }, () => 0), ...bits] : bits
}

function groupsOf(address: string): number[] {
  const [head = '', tail = ''] = address.split('::')
  const [left, right] = [head, tail].map((part) => part.split(':').filter(Boolean))
  const zeros = Array.from({ length: 8 - left!.length - right!.length }, () => '0')
  return [...left!, ...zeros, ...right!].map((group) => Number.parseInt(group, 16))
}

function nodeOf(left: number, right: number, recordSize: 24 | 28 | 32): Buffer {
  const node = Buffer.alloc(recordSize / 4)
  if (recordSize === 32) {
    node.writeUInt32BE(left, 0)
    node.writeUInt32BE(right, 4)
    return node
  }
  node.writeUIntBE(left & 0xffffff, 0, 3)
  node.writeUIntBE(right & 0xffffff, recordSize === 24 ? 3 : 4, 3)
  if (recordSize === 28) node[3] = ((left >>> 24) << 4) | (right >>> 24)
  return node
}

function encode(value: Value): Buffer {
  if (typeof value === 'string') return Buffer.concat([head(2, Buffer.byteLength(value)), Buffer.from(value)])
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(value)
    return Buffer.concat([head(6, 4), bytes])
  }
  if (Array.isArray(value)) return Buffer.concat([head(11, value.length), ...value.map(encode)])
  const entries = Object.entries(value)
  return Buffer.concat([head(7, entries.length), ...entries.flatMap(([name, part]) => [encode(name), encode(part)])])
}

/** The control byte. Sizes below 285 are enough here. */
function head(type: number, size: number): Buffer {
  const sizes = size < 29 ? [size] : [29, size - 29]
  const [first, ...more] = sizes
  return Buffer.from(type < 8 ? [(type << 5) | first!, ...more] : [first!, type - 7, ...more])
}
