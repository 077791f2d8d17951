/**
 * The answer to a proxy that asks, when the request of its client may pass. It holds every header that the gateway would vouch for or change,
 * also the empty ones: a proxy that copies them overwrites whatever the client sent under these names.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { identityHeaderNames } from '../../identity/access/identity-headers.ts'
import { withoutOwnSubprotocols } from '../../identity/access/request-credentials.ts'
import { withoutOurCookies } from '../../identity/access/session-cookie.ts'
import type { Config } from '../../platform/config/schema.ts'
import { holdsApiKey } from '../../platform/request/api-key-format.ts'
import type { Dialect } from '../routing/asked-request.ts'
import type { Authenticated } from '../routing/exchange.ts'
import { foldName } from '../routing/reserved-headers.ts'
import { usesStickyCookies } from '../routing/route-table.ts'
import { withoutStickyCookies } from '../upstream/sticky-sessions.ts'

/** Lower-case name, value, name, value … */
export type AllowedFields = (exchange: Authenticated, request: IncomingMessage) => string[]

export function createAllowedFields(config: Config, dialect: Dialect): AllowedFields {
  const hasSticky = usesStickyCookies(config)
  const hasSessions = config.auth.browser.enabled
  const vouched = [...identityHeaderNames(config).map((name) => name.toLowerCase()), 'x-auth-assertion']
  const folded = new Set([...vouched, 'x-api-key'].map(foldName))
  const isVouched = (name: string) => {
    const fold = foldName(name)
    return folded.has(fold) || fold.startsWith('x-auth-')
  }

  function cookieLeft(cookie: string | undefined): string {
    const left = cookie !== undefined && hasSessions ? withoutOurCookies(cookie) : (cookie ?? null)
    return (left !== null && hasSticky ? withoutStickyCookies(left) : left) ?? ''
  }

  function fieldsFor({ principal, route, isPreflight }: Authenticated, headers: IncomingHttpHeaders): string[] {
    // a preflight carries no credential (Fetch standard §3.2.2)
    const given: IncomingHttpHeaders = isPreflight ? {} : headers
    const identity = principal?.identityHeaders ?? []
    const out: string[] = []
    for (const name of vouched) {
      const at = identity.indexOf(name)
      out.push(name, at < 0 ? '' : identity[at + 1]!)
    }
    const key = String(given['x-api-key'] ?? '')
    out.push('cookie', cookieLeft(given.cookie))
    out.push('authorization', route.forwardAuthorization ? (given.authorization ?? '') : '')
    out.push('x-api-key', holdsApiKey(key) && !route.forwardAuthorization ? '' : key)
    // servers refuse an empty offer of subprotocols
    const offer = withoutOwnSubprotocols(headers['sec-websocket-protocol'] ?? '')
    if (offer !== '') out.push('sec-websocket-protocol', offer)
    return out
  }

  return (exchange, { headers, rawHeaders }) => {
    const fields = fieldsFor(exchange, headers)
    if (dialect === 'envoy') fields.push(TO_REMOVE, removedByEnvoy(fields, rawHeaders, isVouched))
    return fields
  }
}

/** Envoy removes the headers that this one names before it sends a request on. */
const TO_REMOVE = 'x-envoy-auth-headers-to-remove'

/** Names without a value, and what the client sent under another spelling of a name that we vouch for. */
function removedByEnvoy(fields: readonly string[], sent: readonly string[], isVouched: (name: string) => boolean): string {
  const answered = new Map<string, string>()
  for (let i = 0; i < fields.length; i += 2) answered.set(fields[i]!, fields[i + 1]!)
  const removed = new Set([...answered].flatMap(([name, value]) => (value === '' ? [name] : [])))
  if (!answered.has('sec-websocket-protocol')) removed.add('sec-websocket-protocol')
  for (let i = 0; i < sent.length; i += 2) {
    const name = sent[i]!.toLowerCase()
    if (!answered.has(name) && isVouched(name)) removed.add(name)
  }
  return [...removed].join(',')
}
