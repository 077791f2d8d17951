/**
 * One strict reading of the request target and of Host, before routing. It rejects and never repairs: the bytes that are authorised are the
 * bytes that are forwarded. A path that some server could read in another way is refused, unless its route allows that form and every other
 * reading still leads to the same route.
 */
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { memoize } from '../../platform/lib/memoize.ts'
import { FORMS, type RouteNode, type RouteTable } from './route-table.ts'

export interface Target {
  /** As sent, from the first `/` up to `?`. */
  path: string
  /** As sent, from `?` on; empty when there is none. */
  query: string
  /** Lower case, for matching. */
  folded: string
  /** Bits of FORMS that occur. */
  forms: number
  /** Some servers may read the path in another way: the same-route rule applies. */
  hasReadings: boolean
}

/** The target of `OPTIONS *`: a question about the server as a whole (RFC 9112 §3.2.4). */
export const WHOLE_SERVER: Target = { path: '*', query: '', folded: '*', forms: 0, hasReadings: false }

/**
 * RFC 9112 §3.2.2: a server must accept a target in absolute form. It is read as its origin form if it names the scheme of the connection and
 * repeats Host, which has no user.
 * @returns the target in origin form, or unchanged when it is not such a target
 */
export function toOriginForm(url: string, host: string, isTls: boolean): string {
  if (url.charCodeAt(0) === 0x2f) return url
  const scheme = isTls ? 'https://' : 'http://'
  const end = scheme.length + host.length
  if (url.slice(0, end).toLowerCase() !== scheme + host.toLowerCase()) return url
  const rest = url.slice(end)
  // an empty path is read as / (RFC 9110 §4.2.3)
  return rest === '' || rest.startsWith('?') ? `/${rest}` : rest.startsWith('/') ? rest : url
}

/** Read before Fastify routes. On the public listener `req.url` is already in this form afterwards. */
export const originForm = ({ url = '', headers: { host }, socket }: IncomingMessage): string =>
  host ? toOriginForm(url, host, (socket as TLSSocket).encrypted === true) : url

/** RFC 3986 pchar without `;` and `%`, plus `/`: a path of only these has one reading, apart from `//` and dot segments. */
const PLAIN = /^\/[A-Za-z0-9\-._~!$&'()*+,=:@/]*$/
/** `new URL` reads %2e as a dot, even after earlier decoding. */
const DOT_SEGMENT = /(?:^|\/)(?:\.|%2e){1,2}(?:\/|$)/i
const CONTROL = /[\x00-\x1f\x7f]/
/** Windows drops dots and spaces at the end of a name. */
const TRAILING_DOT = /\.(?:\/|$)/
const QUERY_REFUSED = /[\x00-\x20\x7f#]/
const PATH_REFUSED = /[^\x21-\x7e]|[\\#?]/
const MALFORMED_ESCAPE = /%(?![0-9A-Fa-f]{2})/
const ESCAPE_REFUSED = /%(?:[01][0-9A-Fa-f]|7[Ff]|5[Cc])/

/** @returns the target, or the reason for its refusal. */
export function readTarget(url: string): Target | string {
  const mark = url.indexOf('?')
  const path = mark < 0 ? url : url.slice(0, mark)
  const query = mark < 0 ? '' : url.slice(mark)
  if (path.charCodeAt(0) !== 0x2f) return 'the target does not start with /'
  if (query !== '' && QUERY_REFUSED.test(query)) return 'a control, a blank or # in the query'
  const plain = PLAIN.test(path)
  let forms = 0
  if (!plain) {
    if (PATH_REFUSED.test(path)) return 'a control, a blank, a non-ASCII byte, \\ or # in the path'
    if (MALFORMED_ESCAPE.test(path)) return 'a % without two hex digits in the path'
    if (ESCAPE_REFUSED.test(path)) return 'an encoded control or an encoded \\ in the path'
    // RFC 3629 §3: lenient decoders turn overlong forms into ASCII; Fastify's router would refuse the rest without a reason
    if (!isUtf8(path)) return 'escapes that are no UTF-8, or overlong UTF-8, in the path'
    if (/%2f/i.test(path)) forms |= FORMS.encodedSlash
    if (/%25[0-9a-f]{2}/i.test(path)) forms |= FORMS.percent
    if (path.includes(';')) forms |= FORMS.semicolon
  }
  if (path.includes('//')) forms |= FORMS.doubleSlash
  if (path.includes('/.') && DOT_SEGMENT.test(path)) return 'a dot segment in the path'
  const hasReadings = forms !== 0 || path.includes('%') || TRAILING_DOT.test(path)
  return { path, query, folded: path.toLowerCase(), forms, hasReadings }
}

/**
 * The same-route rule: every reading of the path (see `readings`), compared without case, leads to the same node of the table and holds no
 * dot segment.
 * @returns the node, null when nothing matches, or the reason for the refusal.
 */
export function matchTarget(table: RouteTable, host: string, target: Target): RouteNode | null | string {
  const node = table.find(host, target.folded)
  if (!target.hasReadings) return node
  const forms = readings(target.path)
  if (forms === null) return 'the path can be read in too many ways'
  const becomesRoot = node?.routes.some((r) => r.rewritePrefix === '/') ?? false
  for (const form of forms) {
    if (CONTROL.test(form)) return 'an encoded control in the path'
    if (DOT_SEGMENT.test(form)) return 'a dot segment in an encoded form of the path'
    if (table.find(host, form.toLowerCase()) !== node) return 'another reading of the path leads to another route'
    // without its prefix, a path that begins with // would begin with a host (see NORMALIZATIONS)
    if (becomesRoot && form.startsWith('//', node!.folded.length)) return 'the path would begin with // once its prefix is rewritten'
  }
  return node
}

/** An ordinary path has two or three. Each reading costs time, so a path with many is refused. */
const MAX_READINGS = 32

/**
 * The path decoded up to twice. Before, between and after the decodings, any of the NORMALIZATIONS is applied in any order.
 * Null: there are too many readings.
 */
function readings(path: string): Set<string> | null {
  const all = new Set<string>()
  let level = new Set([path])
  for (let decodings = 0; level.size > 0; decodings++) {
    // the loop also visits what is added while it runs
    for (const form of level) {
      all.add(form)
      if (all.size > MAX_READINGS) return null
      for (const normalize of NORMALIZATIONS) {
        const changed = normalize(form)
        if (!all.has(changed)) level.add(changed)
      }
    }
    if (decodings === 2) break
    level = new Set([...level].flatMap(decoded).filter((form) => !all.has(form)))
  }
  return all
}

/** Changes that servers make to a path. */
const NORMALIZATIONS: ((path: string) => string)[] = [
  // some servers decode before they look for the query
  (p) => p.replace(/[?#].*$/s, ''),
  (p) => p.replaceAll('\\', '/'),
  (p) => p.replace(/;[^/]*/g, ''),
  (p) => p.replace(/\/{2,}/g, '/'),
  // RFC 3986 §4.2: a reference that begins with // begins with a host; `new URL(request.url, base)`
  (p) => p.replace(/^\/{2,}[^/]*/, ''),
  // Windows drops dots and spaces at the end of a name; other systems trim. A run is tried once, not from each of its characters
  (p) => p.replace(/(?<![\s\x85])[\s\x85]+(?=\/|$)/g, ''),
  (p) => p.replace(/(?<![\s\x85.])[\s\x85.]+(?=\/|$)/g, ''),
  (p) => (NON_ASCII.test(p) ? toAscii(p) : p),
]
const NON_ASCII = /[^\x00-\x7f]/

/** Converts letters and marks that case folding (ſ, ı, İ, K) or a best-fit character set (／, ａ, ∕) turns into ASCII. */
const toAscii = (text: string) => text.normalize('NFKC').replaceAll('İ', 'i').replace(/[∕⁄]/g, '/').toUpperCase().toLowerCase()

/**
 * Decodes once, as UTF-8. Bytes that are not UTF-8 are decoded in two ways: as a lenient UTF-8 server does, and as a Latin-1 server does.
 */
function decoded(text: string): string[] {
  if (!text.includes('%')) return []
  try {
    return [decodeURIComponent(text)]
  } catch {
    // IIS decodes %uXXXX
    const known = text.replace(/%u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    const as = (charset: 'utf8' | 'latin1') =>
      known.replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) => Buffer.from(run.replaceAll('%', ''), 'hex').toString(charset))
    return [as('utf8'), as('latin1')]
  }
}

function isUtf8(path: string): boolean {
  try {
    decodeURIComponent(path)
    return true
  } catch {
    return false
  }
}

const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])\.?(?::\d{1,5})?$/

const MAX_HOSTS = 1000
/** Memoized: clients send few different hosts. */
const hostOf = memoize(
  (value: string): string | null => (HOST.test(value) ? value.replace(/\.?(?::\d+)?$/, '').toLowerCase() : null),
  MAX_HOSTS,
)

/** @returns the host in lower case without port and final dot; null when it is malformed (RFC 9110 §7.2) */
export const readHost = (value: string | undefined): string | null => (value === undefined ? null : hostOf(value))

/** Fields whose second occurrence, or list value, could be read in two ways. */
const SINGLE = new Set(['host', 'authorization', 'content-length', 'transfer-encoding', 'content-type', 'expect', 'x-api-key'])

/** @returns the name of a field that occurs twice but must not, else null. Node merges or drops these fields before any hook sees them. */
export function repeatedField(rawHeaders: readonly string[]): string | null {
  let seen: string | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const raw = rawHeaders[i]!
    const { length } = raw
    if (length !== 4 && length !== 13 && length !== 14 && length !== 17 && length !== 12 && length !== 6 && length !== 9) continue
    const name = raw.toLowerCase()
    if (!SINGLE.has(name)) continue
    if (seen?.includes(`${name},`)) return name
    seen = `${seen ?? ''}${name},`
  }
  return null
}
