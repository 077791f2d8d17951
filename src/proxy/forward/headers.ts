/**
 * The request headers for the upstream, built anew for each request. The client's fields pass, except fields of the connection, the names
 * that the gateway sets, and names that upstreams trust only from a gateway. The gateway's own fields come last, so that nothing can delete them.
 */
import type { IncomingMessage } from 'node:http'
import { identityHeaderNames } from '../../identity/access/identity-headers.ts'
import { withoutOwnSubprotocols } from '../../identity/access/request-credentials.ts'
import { withoutOurCookies } from '../../identity/access/session-cookie.ts'
import type { Assertions } from '../../identity/tokens/assertions.ts'
import type { Config } from '../../platform/config/schema.ts'
import { memoize } from '../../platform/lib/memoize.ts'
import { holdsApiKey } from '../../platform/request/api-key-format.ts'
import { traceparentOf } from '../../platform/request/trace-context.ts'
import type { Authenticated, Exchange } from '../routing/exchange.ts'
import type { HeaderEdits } from '../routing/header-edits.ts'
import { CONNECTION_FIELDS, foldName, isReservedHeader } from '../routing/reserved-headers.ts'
import { usesStickyCookies } from '../routing/route-table.ts'
import { withoutStickyCookies } from '../upstream/sticky-sessions.ts'
import type { Upstream } from '../upstream/upstreams.ts'
import { pushOrigin } from './origin.ts'

/** Fields of one connection only. */
const HOP_BY_HOP = new Set<string>([...CONNECTION_FIELDS, 'proxy-authorization', 'http2-settings', 'expect', 'host'])

export interface HeaderRules {
  /** A flat list for the upstream: name, value, name, value … A promise only while an assertion is being signed. */
  outgoing(req: IncomingMessage, exchange: Authenticated, upstream: Pick<Upstream, 'authority' | 'origin'>): string[] | Promise<string[]>
}

/** Fetch standard §3.2.2: a preflight carries no credential. Nobody was authenticated, so that the operator's are not sent either. */
const CREDENTIAL_FIELDS = new Set(['authorization', 'cookie', 'x-api-key'])
const withoutCredentials = (fields: readonly string[]): string[] =>
  fields.filter((_, i) => !CREDENTIAL_FIELDS.has(foldName(fields[i - (i % 2)]!)))

const MAX_REMEMBERED = 1000

/** What happens to a field of the client. */
type FieldRule = 'dropped' | 'reserved' | 'passed' | 'unless it holds a key' | 'without our subprotocols' | 'without our cookies'

export function createHeaderRules(config: Config, assertions: Assertions): HeaderRules {
  const { via } = config.headers
  const believesXForwarded = config.server.forwardedBy === 'x-forwarded'
  const hasSticky = usesStickyCookies(config)
  const hasSessions = config.auth.browser.enabled
  const ours = new Set(identityHeaderNames(config).map((name) => foldName(name.toLowerCase())))

  /** By lower-case name; memoized, because clients send few different names. */
  const ruleFor = memoize((name: string): FieldRule => {
    const folded = foldName(name)
    // CGI and WSGI read Content_Length as Content-Length
    const isFraming = HOP_BY_HOP.has(folded) || (folded === 'content-length' && name !== folded)
    if (isFraming || ours.has(folded) || name === 'tracestate') return 'dropped'
    if (isReservedHeader(name)) return 'reserved'
    if (folded === 'sec-websocket-protocol') return 'without our subprotocols'
    if ((hasSticky || hasSessions) && folded === 'cookie') return 'without our cookies'
    return folded === 'x-api-key' ? 'unless it holds a key' : 'passed'
  }, MAX_REMEMBERED)

  /** The value without what belongs to the gateway. Null: nothing is left. */
  function ownPartLeftOut(rule: FieldRule, value: string): string | null {
    if (rule === 'without our subprotocols') return withoutOwnSubprotocols(value) || null
    if (rule !== 'without our cookies') return value
    const left = hasSessions ? withoutOurCookies(value) : value
    return left !== null && hasSticky ? withoutStickyCookies(left) : left
  }

  function build(req: IncomingMessage, exchange: Authenticated, authority: string, assertion: string | null): string[] {
    const { rawHeaders, headers } = req
    const { isPreflight, route, trace, recording } = exchange
    const { forwardAuthorization, requestHeaders, passedReserved, preserveHost } = route
    const named = headers.connection === undefined ? null : connectionOptions(headers.connection)
    const out = ['host', (preserveHost && headers.host) || authority]
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i]!.toLowerCase()
      const rule = ruleFor(name)
      if (
        rule === 'dropped' ||
        (rule === 'reserved' && !passedReserved?.has(name)) ||
        // a gateway API key is a credential, as Authorization is; other values of this field are between client and upstream
        (rule === 'unless it holds a key' && holdsApiKey(rawHeaders[i + 1]!) && !(forwardAuthorization && name === 'x-api-key')) ||
        (requestHeaders.dropped.size > 0 && requestHeaders.dropped.has(foldName(name))) ||
        (name === 'authorization' && !forwardAuthorization) ||
        (isPreflight && CREDENTIAL_FIELDS.has(foldName(name)))
      )
        continue
      // Connection must not remove the field that frames the body
      if (named?.has(name) && name !== 'content-length') continue
      const value = rule === 'passed' || rule === 'reserved' ? rawHeaders[i + 1]! : ownPartLeftOut(rule, rawHeaders[i + 1]!)
      if (value !== null) out.push(name, value)
    }
    pushOrigin(out, req, exchange, believesXForwarded)
    if (via.request) pushVia(out, req, exchange)
    out.push('traceparent', traceparentOf(trace, recording?.sending?.id ?? trace.spanId))
    if (trace.state !== '' && !named?.has('tracestate') && !requestHeaders.dropped.has('tracestate')) out.push('tracestate', trace.state)
    out.push('x-request-id', exchange.requestId, ...(isPreflight ? withoutCredentials(requestHeaders.set) : requestHeaders.set))
    if (exchange.principal) out.push(...exchange.principal.identityHeaders)
    if (assertion !== null) out.push('x-auth-assertion', assertion)
    return out
  }

  return {
    outgoing(req, exchange, { authority, origin }) {
      const { principal, route } = exchange
      if (!route.assertion || !principal) return build(req, exchange, authority, null)
      const assertion = assertions.of(principal, origin)
      if (typeof assertion === 'string') return build(req, exchange, authority, assertion)
      return assertion.then((made) => build(req, exchange, authority, made))
    },
  }
}

/** RFC 9110 §7.6.1: the fields that Connection names end here. Null when it names no others than the usual. */
function connectionOptions(value: string): Set<string> | null {
  if (value === '' || value === 'keep-alive' || value === 'close') return null
  return new Set(
    value
      .toLowerCase()
      .split(',')
      .map((s) => s.trim()),
  )
}

/** RFC 9110 §7.6.3: names this gateway, without its version. */
function pushVia(out: string[], { headers, httpVersion }: IncomingMessage, { client }: Exchange): void {
  const before = client.viaTrustedProxy && headers.via ? `${headers.via}, ` : ''
  out.push('via', `${before}${httpVersion} portcullis`)
}

/** Lists that are kept from both sides: a response depends on the upstream's fields and on ours, and scripts may read both. */
const UNITED = new Set(['vary', 'access-control-expose-headers'])

const RESPONSE_HOP_BY_HOP = new Set<string>(CONNECTION_FIELDS)

/** The header section of an upstream's response. */
export interface ResponseHead {
  /** In the form of Node's `writeHead`: lower-case name, value, name, value … */
  fields: string[]
  /** Of the body in bytes; null when the response does not declare it. */
  length: number | null
  /** Transfer-Encoding as received, in lower case; empty without the field. */
  coding: string
  contentType: string
}

/**
 * The upstream's fields, less those of the connection, with the edits of the route; then the gateway's own fields. All in one pass, because
 * each field costs time.
 * @param own lower-case name, value, name, value …; they replace the upstream's fields
 */
export function readResponse(raw: readonly (Buffer | string)[], own: readonly string[], edits: HeaderEdits): ResponseHead {
  const head: ResponseHead = { fields: [], length: null, coding: '', contentType: '' }
  let connection = ''
  for (let i = 0; i < raw.length; i += 2) {
    const name = lowered(raw[i]!.toString('latin1'))
    if (name === 'connection') connection += `${raw[i + 1]!.toString('latin1')},`
    else if (name === 'transfer-encoding') head.coding += `${head.coding && ', '}${raw[i + 1]!.toString('latin1').toLowerCase()}`
    if (RESPONSE_HOP_BY_HOP.has(name) || edits.dropped.has(name) || (hasField(own, name) && !UNITED.has(name))) continue
    // latin1 keeps every byte, whatever encoding the upstream used
    const value = raw[i + 1]!.toString('latin1')
    if (name === 'content-length') head.length = Number(value)
    else if (name === 'content-type') head.contentType ||= value
    head.fields.push(name, value)
  }
  const named = connectionOptions(connection.slice(0, -1))
  if (named) head.fields = withoutNamed(head.fields, named)
  for (let i = 0; i < edits.set.length; i += 2) {
    const [name, value] = [edits.set[i]!, edits.set[i + 1]!]
    if (hasField(own, name) && !UNITED.has(name)) continue
    head.fields.push(name, value)
    if (name === 'content-type') head.contentType = value
  }
  for (const text of own) head.fields.push(text)
  return head
}

function withoutNamed(fields: readonly string[], named: ReadonlySet<string>): string[] {
  const left: string[] = []
  for (let i = 0; i < fields.length; i += 2)
    if (!named.has(fields[i]!) || fields[i] === 'content-length') left.push(fields[i]!, fields[i + 1]!)
  return left
}

/** Changes the list in place. */
export function removeField(fields: string[], name: string): void {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return void fields.splice(i, 2)
}

/** Memoized: upstreams send few different names. */
const lowered = memoize((name: string) => name.toLowerCase(), MAX_REMEMBERED)

function hasField(fields: readonly string[], name: string): boolean {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return true
  return false
}
