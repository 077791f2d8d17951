/** Client addresses: parses networks, finds the client behind trusted proxies, and derives the key under which limits count an address. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { isIP, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { type AddressSet, addressSetOf, parseNetwork } from './address-set.ts'

export type Networks = AddressSet

/** @returns null when a text is neither an address nor a CIDR network */
export function parseNetworks(texts: readonly string[]): Networks | null {
  const ranges = texts.map(parseNetwork)
  return ranges.includes(null) ? null : addressSetOf(ranges.flatMap((found) => found ?? []))
}

/** `::ffff:192.0.2.1` becomes 192.0.2.1, and so does `::ffff:c000:201`; a zone id is removed. */
export function plainAddress(address: string): string {
  const bare = address.replace(/^([0-9a-f:.]+)%[\w.-]+$/i, '$1')
  if (/^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(bare)) return bare.slice(7)
  const [, high, low] = MAPPED.exec(bare) ?? []
  return high === undefined ? bare : [high, low!].flatMap(bytesOf).join('.')
}

/** An IPv4 address in an IPv6 address (RFC 4291 §2.5.5.2), in hexadecimal. */
const MAPPED = /^(?:::|(?:0{1,4}:){5})ffff:([\da-f]{1,4}):([\da-f]{1,4})$/i

const bytesOf = (group: string): number[] => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]

/** The unit that a limit counts: an IPv4 address, or the /64 of an IPv6 address (a customer has at least a /64). */
export function addressKey(address: string): string {
  if (isIP(address) !== 6) return address
  const [head = '', tail] = address.toLowerCase().split('::')
  const left = head ? head.split(':') : []
  const right = tail ? tail.split(':') : []
  const groups = tail === undefined ? left : [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right]
  return `${groups
    .slice(0, 4)
    .map((g) => g.replace(/^0+(?=.)/, ''))
    .join(':')}::/64`
}

/** A network under which failures of a credential count. The limit of a larger network is a multiple. */
export interface CountedNetwork {
  key: string
  times: number
}

/**
 * The networks of a client, for limits of failures. An IPv6 customer has a /64, a /56 or even a /48, so failures count for all three: the
 * same limit at /64 and /56, eight times the limit at /48. @param limitKey as `addressKey` makes it
 */
export function networksOf(limitKey: string): CountedNetwork[] {
  if (!limitKey.endsWith('::/64')) return [{ key: limitKey, times: 1 }]
  const [a, b, c, d = '0'] = limitKey.slice(0, -'::/64'.length).split(':')
  const wide = (Number.parseInt(d, 16) & 0xff00).toString(16)
  return [
    { key: limitKey, times: 1 },
    { key: `${a}:${b}:${c}:${wide}::/56`, times: 1 },
    { key: `${a}:${b}:${c}::/48`, times: 8 },
  ]
}

/** The network of users without a fixed address: /24, or /64. Null when the address is unknown. */
export function networkOf(address: string | null): string | null {
  if (address === null || isIP(address) === 0) return null
  return isIP(address) === 6 ? addressKey(address) : address.replace(/\d+$/, '0/24')
}

/** The headers that the trusted proxies set. The other kind may come from the client, passed on by a proxy. */
export type Forwarding = 'x-forwarded' | 'forwarded'

const FORWARDING = ['x-forwarded-for', 'forwarded', 'x-real-ip', 'x-client-ip', 'true-client-ip', 'cf-connecting-ip', 'via']

/** Headers that a balancer sets. */
const UNTRUSTED = ['x-forwarded-for', 'forwarded']

export interface Client {
  /** The client's address, v4-mapped as v4. */
  address: string
  /** The key under which address limits count the client. */
  limitKey: string
  /** The TCP peer's address, v4-mapped as v4. */
  peer: string
  /** The TCP peer is a trusted proxy: its headers about the client are believed. */
  viaTrustedProxy: boolean
  /** The address is a trusted proxy's: the proxy did not say who the client is. */
  isProxy: boolean
  /** False: the forwarding header is malformed, and the client is unknown. */
  isReadable: boolean
  /** The client uses TLS, with us or with a trusted proxy. */
  isSecure: boolean
  /** The addresses before us as trusted proxies sent them; empty without a proxy. */
  forwardedFor: string
  /** Address limits do not apply to this request. */
  isExempt: boolean
}

/** The facts of a connection that are the same for all its requests. */
interface Peer {
  /** The reader that judged it. A connection may outlive the configuration of a reader. */
  reader: object
  address: string
  isEncrypted: boolean
  isTrusted: boolean
  isExempt: boolean
  /** The client, if the peer is not a trusted proxy. */
  origin: Client
}
const PEER = Symbol('portcullis.peer')
type Carrier = Socket & { [PEER]?: Peer }

/** Takes the network of a peer that is not trusted, and the forwarding header that it sent. */
export type ReportUntrusted = (network: string | null, header: string) => void

/**
 * Finds the client of a request. X-Forwarded-For is read from the right, and only as far as trusted proxies vouch for it.
 * `reportUntrusted` is called at most once: perhaps a balancer is missing in the trusted networks.
 */
export function createClientReader(
  trusted: Networks,
  exempt: Networks,
  kind: Forwarding = 'x-forwarded',
  reportUntrusted?: ReportUntrusted,
): (req: IncomingMessage) => Client {
  const reader = {}
  let report = reportUntrusted
  // only the first request of a connection is looked at, so that the others cost nothing
  const reportOnce = ({ isTrusted, address }: Peer, headers: IncomingHttpHeaders) => {
    const header = isTrusted ? undefined : UNTRUSTED.find((name) => name in headers)
    if (header === undefined) return
    report?.(networkOf(address), header)
    report = undefined
  }
  const peerOf = (socket: Carrier): Peer => {
    const address = plainAddress(socket.remoteAddress ?? '')
    const isEncrypted = (socket as Carrier & TLSSocket).encrypted === true
    return {
      reader,
      address,
      isEncrypted,
      isTrusted: !trusted.isEmpty && trusted.has(address),
      isExempt: !exempt.isEmpty && exempt.has(address),
      origin: {
        address,
        limitKey: addressKey(address),
        peer: address,
        viaTrustedProxy: false,
        isProxy: false,
        isReadable: true,
        isSecure: isEncrypted,
        forwardedFor: '',
        isExempt: false,
      },
    }
  }
  return ({ socket, headers }) => {
    const carrier: Carrier = socket
    let peer = carrier[PEER]
    if (peer?.reader !== reader) {
      peer = carrier[PEER] = peerOf(socket)
      if (report) reportOnce(peer, headers)
    }
    const isExempt = peer.isExempt && !FORWARDING.some((name) => name in headers)
    if (!peer.isTrusted) return isExempt ? { ...peer.origin, isExempt } : peer.origin
    let { address } = peer
    let isProxy = true
    const { hops, proto, isReadable } = readForwarding(headers, kind)
    for (const hop of hops.toReversed()) {
      const next = plainAddress(hop.replace(/^\[(.*)\](?::\d+)?$/, '$1').replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1'))
      if (!isIP(next)) break
      address = next
      if (!trusted.has(next)) {
        isProxy = false
        break
      }
    }
    const isSecure = proto === 'https' || (proto !== 'http' && peer.isEncrypted)
    const forwarded = { address, limitKey: addressKey(address), isProxy, isReadable, isSecure, forwardedFor: hops.join(', '), isExempt }
    return { ...forwarded, peer: peer.address, viaTrustedProxy: true }
  }
}

/**
 * The authority by which a browser knows this server: `Host`, or the host that a trusted proxy sends. A proxy may send the port apart.
 * @param isSecure the browser uses https
 * @returns null when the request names no host
 */
export function publicAuthority(
  headers: IncomingHttpHeaders,
  { viaTrustedProxy }: Client,
  kind: Forwarding,
  isSecure: boolean,
): string | null {
  const host = (viaTrustedProxy ? forwardedHost(headers, kind) : undefined) ?? headers.host
  if (host === undefined || host === '') return null
  const port = viaTrustedProxy && kind === 'x-forwarded' ? portOfProxy(headers) : undefined
  // the default port of the other scheme is the port of a connection between two proxies
  const isPublic = port !== undefined && port !== (isSecure ? '80' : '443')
  return isPublic && !/:\d+$/.test(host) ? `${host}:${port}` : host
}

const forwardedHost = (headers: IncomingHttpHeaders, kind: Forwarding): string | undefined =>
  kind === 'x-forwarded'
    ? lastOf(headers['x-forwarded-host'])
    : parseForwarded(String(headers.forwarded ?? ''))
        ?.at(-1)
        ?.get('host')

/** The port that a trusted proxy sends apart. */
export function portOfProxy(headers: IncomingHttpHeaders): string | undefined {
  const port = lastOf(headers['x-forwarded-port'])
  return port !== undefined && /^\d{1,5}$/.test(port) ? port : undefined
}

/** The last item of a list: the nearest proxy added it. */
export const lastOf = (value: string | string[] | undefined): string | undefined =>
  String(value ?? '')
    .split(',')
    .at(-1)!
    .trim() || undefined

interface ForwardingInfo {
  hops: string[]
  proto: string | undefined
  isReadable: boolean
}

/** Reads the headers of a trusted proxy. Of two values, the last is the proxy's own. */
function readForwarding(headers: IncomingHttpHeaders, kind: Forwarding): ForwardingInfo {
  if (kind === 'forwarded') {
    const elements = parseForwarded(String(headers.forwarded ?? ''))
    if (!elements) return { hops: [], proto: undefined, isReadable: false }
    // an element without an address hides the client: addresses before it are not vouched for
    const hops = elements.map((e) => e.get('for') ?? 'unknown')
    return { hops, proto: elements.at(-1)?.get('proto')?.toLowerCase(), isReadable: true }
  }
  const listOf = (name: string) =>
    String(headers[name] ?? '')
      .split(',')
      .map((s) => s.trim())
      .filter(Boolean)
  return { hops: listOf('x-forwarded-for'), proto: listOf('x-forwarded-proto').at(-1)?.toLowerCase(), isReadable: true }
}

/**
 * RFC 7239 §4: `name=value` or `name="quoted"`, joined by `;`, elements by `,`. Also accepts unquoted colons and brackets: they are common
 * and unambiguous.
 */
const FORWARDED_PAIR = /\s*([!#$%&'*+.^_`|~\w-]+)=(?:([^\s",;]+)|"((?:[^"\\]|\\.)*)")\s*(?:;|(?=,|$))/y
const ELEMENT_END = /[\s,]*/y

/** Null when a part is malformed: an open quote from a client would turn the proxy's own element into text. */
function parseForwarded(text: string): Map<string, string>[] | null {
  const elements: Map<string, string>[] = []
  const skip = (from: number) => {
    ELEMENT_END.lastIndex = from
    return from + ELEMENT_END.exec(text)![0].length
  }
  for (let at = skip(0); at < text.length; at = skip(at)) {
    const element = new Map<string, string>()
    do {
      FORWARDED_PAIR.lastIndex = at
      const pair = FORWARDED_PAIR.exec(text)
      if (!pair) return null
      const [, name, value, quoted = ''] = pair
      element.set(name!.toLowerCase(), value ?? quoted.replace(/\\(.)/g, '$1'))
      at = FORWARDED_PAIR.lastIndex
    } while (text[at - 1] === ';' && at < text.length)
    elements.push(element)
  }
  return elements
}
