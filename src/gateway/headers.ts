/**
 * The headers that go upstream, built anew for each request: what the client sent, less all that is ours, the connection's or a claim about
 * where the request came from; then our own, last, so that nothing can delete them.
 */
import { randomFillSync } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import type { Config } from '../config/schema.ts'
import type { Exchange } from './exchange.ts'

/** RFC 9110 §7.6.1, and what is of this connection alone. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
  'host',
])
/** Claims about the caller or the target that an upstream might believe. Compared by their folded names. */
const CLAIMS = new Set([
  'forwarded',
  'x-real-ip',
  'x-client-ip',
  'true-client-ip',
  'client-ip',
  'cf-connecting-ip',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-request-id',
  'traceparent',
  'remote-user',
  'remote-groups',
  'remote-email',
  'remote-name',
  'x-remote-user',
  'x-remote-addr',
  'x-remote-ip',
  'x-true-ip',
  'x-authenticated-user',
  'x-authenticated-userid',
  'x-webauth-user',
  'x-consumer-username',
  'x-credential-identifier',
  'x-anonymous-consumer',
  'x-user-role',
  'x-user-roles',
  'x-user-email',
  'x-user-id',
  'x-roles',
  'x-pomerium-jwt-assertion',
  'x-goog-iap-jwt-assertion',
  'cf-access-authenticated-user-email',
  'x-amzn-oidc-data',
  'x-host',
  'x-proxy-url',
  'x-http-host-override',
  'proxy-host',
  'proxy',
  'request-uri',
  'real-ip',
  'x-server-name',
])
const CLAIM_PREFIXES = ['x-auth-', 'x-forwarded-', 'x-original-', 'x-rewrite-', 'x-ms-client-principal']

export interface HeaderRules {
  /** Flat name, value, name, value … for the upstream. */
  outgoing(req: IncomingMessage, exchange: Exchange, authority: string): string[]
}

/** `X_Auth.User` reaches CGI, WSGI and PHP applications as the same variable as `X-Auth-User`. */
const fold = (name: string): string => name.replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')

const MAX_REMEMBERED = 1000

export function createHeaderRules(config: Config): HeaderRules {
  const { identity } = config.headers
  const ours = new Set([identity.user, identity.email, identity.roles, identity.session].map((n) => fold(n.toLowerCase())))
  const remembered = new Map<string, boolean>()

  /** By lower-case name; the few names that clients really send are judged once. */
  function isDropped(name: string): boolean {
    const known = remembered.get(name)
    if (known !== undefined) return known
    const folded = fold(name)
    const isClaim = ours.has(folded) || CLAIMS.has(folded) || CLAIM_PREFIXES.some((p) => folded.startsWith(p))
    const dropped = HOP_BY_HOP.has(name) || isClaim
    if (remembered.size < MAX_REMEMBERED) remembered.set(name, dropped)
    return dropped
  }

  return {
    outgoing(req, exchange, authority) {
      const { rawHeaders, headers } = req
      const named = headers.connection === undefined ? null : connectionOptions(headers.connection)
      const trace = TRACEPARENT.exec(String(headers.traceparent ?? ''))
      const keepAuthorization = exchange.route!.forwardAuthorization
      const out = ['host', authority]
      for (let i = 0; i < rawHeaders.length; i += 2) {
        const name = rawHeaders[i]!.toLowerCase()
        if (isDropped(name) || (name === 'authorization' && !keepAuthorization)) continue
        if (name === 'tracestate' && trace === null) continue
        // a client may not delete by Connection what frames the body
        if (named?.has(name) && name !== 'content-length') continue
        out.push(name, rawHeaders[i + 1]!)
      }
      pushOrigin(out, req, exchange)
      pushTrace(out, trace)
      out.push('x-request-id', exchange.requestId)
      if (exchange.principal) out.push(...exchange.principal.identityHeaders)
      return out
    },
  }
}

/** RFC 9110 §7.6.1: the fields that Connection names end here. Null when it names only the usual ones. */
function connectionOptions(value: string): Set<string> | null {
  if (value === 'keep-alive' || value === 'close') return null
  return new Set(
    value
      .toLowerCase()
      .split(',')
      .map((s) => s.trim()),
  )
}

function pushOrigin(out: string[], req: IncomingMessage, { client, host }: Exchange): void {
  const peer = req.socket.remoteAddress ?? ''
  const shownPeer = peer.startsWith('::ffff:') ? peer.slice(7) : peer
  const given = (name: string) => (client.viaTrustedProxy ? (req.headers[name] as string | undefined) : undefined)
  const before = given('x-forwarded-for')
  const proto = given('x-forwarded-proto')
  out.push('x-forwarded-for', before ? `${before}, ${shownPeer}` : shownPeer)
  out.push('x-forwarded-proto', proto === 'https' || proto === 'http' ? proto : (req.socket as TLSSocket).encrypted ? 'https' : 'http')
  out.push('x-forwarded-host', given('x-forwarded-host') ?? req.headers.host ?? host)
}

const TRACEPARENT = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})$/

/** W3C Trace Context: the client's trace goes on under a span of ours; without one, a new trace begins and its tracestate is dropped. */
function pushTrace(out: string[], given: RegExpExecArray | null): void {
  const [, trace = randomHex(16), flags = '00'] = given ?? []
  out.push('traceparent', `00-${trace}-${randomHex(8)}-${flags}`)
}

/** From a pool: a system call for each id would cost more than the rest of the headers. */
const pool = Buffer.alloc(8192)
let used = pool.length
function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += bytes
  return pool.toString('hex', used - bytes, used)
}

/** Visible ASCII as it is; anything else, and `%` itself, percent-encoded UTF-8: a header has no other safe form. */
export const encodeHeaderValue = (value: string): string =>
  /^[\x21-\x24\x26-\x7e]*$/.test(value)
    ? value
    : value.replace(/[^\x21-\x24\x26-\x7e]+/g, (s) => encodeURIComponent(s.toWellFormed()).replaceAll("'", '%27'))

const RESPONSE_HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** The upstream's response headers as they came, less the connection's. `overridden`: lower-case names that the gateway sets itself. */
export function responseHeaders(raw: readonly (Buffer | string)[], overridden: Record<string, unknown>): string[] {
  const out: string[] = []
  let named: Set<string> | null = null
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toString('latin1').toLowerCase()
    if (name === 'connection') named = connectionOptions(raw[i + 1]!.toString('latin1'))
    // Vary grows: what the upstream varies on is still so under our CORS headers
    if (RESPONSE_HOP_BY_HOP.has(name) || (Object.hasOwn(overridden, name) && name !== 'vary')) continue
    // latin1: byte for byte, whatever the upstream meant by them
    out.push(name, raw[i + 1]!.toString('latin1'))
  }
  if (!named) return out
  const kept: string[] = []
  for (let i = 0; i < out.length; i += 2) if (!named.has(out[i]!) || out[i] === 'content-length') kept.push(out[i]!, out[i + 1]!)
  return kept
}
