/**
 * One strict reading of the request target and of Host, before routing. It rejects and never repairs: what is authorised is,
 * byte for byte, what is forwarded. A path that some kind of server could read in another way is refused, unless its route
 * opts in to that form and every other reading still leads to the same route.
 */
import { FORMS, type RouteNode, type RouteTable } from './routes.ts'

export interface Target {
  /** As sent, from the first `/` up to `?`. */
  path: string
  /** As sent, from `?` on; empty when there is none. */
  query: string
  /** Lower case, for matching. */
  folded: string
  /** Bits of FORMS that occur. */
  forms: number
  /** Servers of some kind may read the path in another way: the same-route rule is to be held. */
  hasReadings: boolean
}

/** RFC 3986 pchar without `;` and `%`, plus `/`: a path of these alone has one reading, apart from `//` and dot segments. */
const PLAIN = /^\/[A-Za-z0-9\-._~!$&'()*+,=:@/]*$/
const DOT_SEGMENT = /(?:^|\/)\.{1,2}(?:\/|$)/
const CONTROL = /[\x00-\x1f\x7f]/
/** Windows drops dots and blanks at the end of a name. */
const TRAILING_DOT = /\.(?:\/|$)/
const QUERY_REFUSED = /[\x00-\x20\x7f#]/
const PATH_REFUSED = /[^\x21-\x7e]|[\\#?]/
const MALFORMED_ESCAPE = /%(?![0-9A-Fa-f]{2})/
// encoded NUL, controls and backslash; overlong UTF-8, which lenient decoders turn into ASCII (RFC 3629 §3)
const ESCAPE_REFUSED = /%(?:[01][0-9A-Fa-f]|7[Ff]|5[Cc])|%[Cc][01]%[89ABab]|%[Ee]0%[89]|%[Ff]0%8/

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
    if (ESCAPE_REFUSED.test(path)) return 'an encoded control, an encoded \\ or overlong UTF-8 in the path'
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
 * The same-route rule: the raw, once- and twice-decoded, slash-merged, `;`-stripped, `\`-turned and end-trimmed forms of the path, all
 * without regard to case, lead to the same node of the table and hold no dot segment.
 * @returns the node, null when nothing matches, or the reason for the refusal.
 */
export function matchTarget(table: RouteTable, host: string, target: Target): RouteNode | null | string {
  const node = table.find(host, target.folded)
  if (!target.hasReadings) return node
  for (const form of readings(target.path)) {
    if (CONTROL.test(form)) return 'an encoded control in the path'
    if (DOT_SEGMENT.test(form)) return 'a dot segment in an encoded form of the path'
    if (table.find(host, form.toLowerCase()) !== node) return 'another reading of the path leads to another route'
  }
  return node
}

/** The path as servers that decode before they cut the query off, turn backslashes, drop parameters, merge slashes or trim names read it, in any combination. */
function readings(path: string): Set<string> {
  const once = decode(path)
  let forms = new Set([path, once, decode(once)])
  for (const [pattern, replacement] of HABITS) forms = new Set([...forms, ...[...forms].map((form) => form.replace(pattern, replacement))])
  return forms
}

const HABITS: [RegExp, string][] = [
  [/[?#].*$/s, ''],
  [/\\/g, '/'],
  [/;[^/]*/g, ''],
  [/\/{2,}/g, '/'],
  [/ +(?=\/|$)/g, ''],
  [/[. ]+(?=\/|$)/g, ''],
  // again: what was trimmed may have stood between two of them
  [/\/{2,}/g, '/'],
]

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // not UTF-8: byte for byte, as a Latin-1 server reads it
    return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  }
}

const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])\.?(?::\d{1,5})?$/

/** @returns the host in lower case without port and final dot; null when it is malformed (RFC 9110 §7.2). */
export function readHost(value: string | undefined): string | null {
  if (value === undefined || !HOST.test(value)) return null
  return value.replace(/\.?(?::\d+)?$/, '').toLowerCase()
}

/** Fields of which a second one, or a list, could be read in two ways. */
const SINGLE = new Set(['host', 'authorization', 'content-length', 'transfer-encoding', 'content-type', 'expect'])

/** @returns the name of a field that occurs twice and may not, else null. Node merges or drops these before any hook sees them. */
export function repeatedField(rawHeaders: readonly string[]): string | null {
  let seen: string | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const raw = rawHeaders[i]!
    const { length } = raw
    if (length !== 4 && length !== 13 && length !== 14 && length !== 17 && length !== 12 && length !== 6) continue
    const name = raw.toLowerCase()
    if (!SINGLE.has(name)) continue
    if (seen?.includes(`${name},`)) return name
    seen = `${seen ?? ''}${name},`
  }
  return null
}
