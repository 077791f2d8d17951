/**
 * Requests by which another proxy asks whether a request of its client may pass (forward-auth). The dialect of the proxy names the only
 * headers that describe the client's request. What they say replaces the question, so that every later reader judges the client's request.
 */
import type { IncomingMessage } from 'node:http'
import type { Config } from '../../platform/config/schema.ts'
import { ALLOWED } from '../../platform/http/refuse.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import type { Exchange } from './exchange.ts'
import { isProxied } from './proxied-methods.ts'
import { readHost, toOriginForm } from './request-target.ts'

export type Dialect = NonNullable<Config['forwardAuth']>['dialect']

export interface AskedRequests {
  isAsked(req: IncomingMessage): boolean
  /** Puts the method, target and host of the client's request in the place of the question's. @returns why the question is refused, or null */
  describe(req: IncomingMessage, exchange: Exchange): Problem | null
}

/** What the headers say, not yet judged. */
interface Description {
  method: string
  target: string
  host: string | undefined
  /** Null: as for every request, by the headers of trusted proxies. */
  isSecure: boolean | null
}

export const verifyPathOf = (authPrefix: string): string => `${authPrefix}/verify`

/** RFC 9110 §5.6.2 */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** Some proxies name the scheme of a WebSocket. */
const SCHEME = /^(?:http|ws)(s?)$/i

/** They describe the question, or the client's request under another name: no later reader may see them. */
const SPENT = [
  'x-original-method',
  'x-original-uri',
  'x-forwarded-method',
  'x-forwarded-uri',
  'x-forwarded-host',
  'x-forwarded-port',
  'upgrade',
]

/** These proxies let a request pass after 200 only. The others take each 2xx as a yes. */
const TAKES_200_ONLY: ReadonlySet<Dialect> = new Set(['haproxy', 'envoy'])

/** @returns null without `forwardAuth` */
export function createAskedRequests({ forwardAuth, auth }: Pick<Config, 'forwardAuth' | 'auth'>): AskedRequests | null {
  if (!forwardAuth) return null
  const { dialect } = forwardAuth
  const path = verifyPathOf(auth.prefix)
  const describe = DESCRIBE[dialect]

  return {
    isAsked: ({ url = '' }) => url.startsWith(path) && /^(?:$|[/?])/.test(url.slice(path.length, path.length + 1)),
    describe(req, exchange) {
      const asked = { target: '', isAllowed: false, admitsAll2xx: !TAKES_200_ONLY.has(dialect) }
      exchange.asked = asked
      exchange.label = 'auth.verify'
      if (!exchange.client.viaTrustedProxy) return invalid('the peer is not in server.trustedProxies')
      const description = describe(req, path)
      if (typeof description === 'string') return invalid(description)
      const { method, target, host, isSecure } = description
      if (!TOKEN.test(method)) return invalid('the method is malformed')
      if (target === '') return invalid('the target is empty')
      if (readHost(host) === null) return invalid('the host is malformed')
      const { headers } = req
      exchange.isUpgrade = isHandshake(req)
      for (const name of SPENT) delete headers[name]
      headers.host = host
      if (isSecure !== null) exchange.client = { ...exchange.client, isSecure }
      // HAProxy writes the targets of HTTP/2 in absolute form
      req.url = asked.target = toOriginForm(target, host!, exchange.client.isSecure)
      // Node knows no such method, so that no stage could judge it
      if (!isProxied(method)) return problem('method_not_allowed', { headers: { allow: ALLOWED } })
      req.method = method
      return null
    },
  }
}

const invalid = (cause: string): Problem => problem('proxy_headers_invalid', { cause })

/** Some proxies keep `Upgrade` for themselves. A browser sends the key with each handshake, and no page can set it otherwise. */
const isHandshake = ({ headers }: IncomingMessage): boolean =>
  headers['sec-websocket-key'] !== undefined || /(?:^|[\s,])websocket(?:[\s,/]|$)/i.test(headers.upgrade ?? '')

/** @returns the value of a header that was sent once; else the reason for the refusal */
function only(req: IncomingMessage, name: string): { value: string } | string {
  let value: string | undefined
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    if (req.rawHeaders[i]!.toLowerCase() !== name) continue
    if (value !== undefined) return `the header ${name} is repeated`
    value = req.rawHeaders[i + 1]!
  }
  return value === undefined ? `the header ${name} is missing` : { value }
}

/** @returns the values in the order of the names, or the reason for the refusal */
function each(req: IncomingMessage, names: readonly string[]): string[] | string {
  const values: string[] = []
  for (const name of names) {
    const found = only(req, name)
    if (typeof found === 'string') return found
    values.push(found.value)
  }
  return values
}

type Describe = (req: IncomingMessage, path: string) => Description | string

const byOriginal: Describe = (req) => {
  const values = each(req, ['x-original-method', 'x-original-uri', 'host'])
  if (typeof values === 'string') return values
  const [method, target, host] = values as [string, string, string]
  return { method, target, host, isSecure: null }
}

const byForwarded: Describe = (req) => {
  const values = each(req, ['x-forwarded-method', 'x-forwarded-uri', 'x-forwarded-host', 'x-forwarded-proto'])
  if (typeof values === 'string') return values
  const [method, target, host, scheme] = values as [string, string, string, string]
  const known = SCHEME.exec(scheme)
  return known ? { method, target, host, isSecure: known[1] !== '' } : 'the header x-forwarded-proto is malformed'
}

/** The proxy puts the path of the endpoint before the client's target. */
const byItself: Describe = (req, path) => {
  const host = only(req, 'host')
  if (typeof host === 'string') return host
  const target = req.url!.slice(path.length)
  return target.startsWith('/') ? { method: req.method!, target, host: host.value, isSecure: null } : 'the target is missing after the path'
}

const DESCRIBE: Record<Dialect, Describe> = {
  nginx: byOriginal,
  haproxy: byOriginal,
  traefik: byForwarded,
  caddy: byForwarded,
  envoy: byItself,
}
