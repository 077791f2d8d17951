/**
 * The session cookie in the headers: its name, how it is read, set and cleared (RFC 6265bis). A browser sends a cookie to all ports of a
 * host, so the console has names of its own.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Config } from '../../platform/config/schema.ts'
import { cookieNameOf, cookieValues, trimBlanks } from '../../platform/http/cookies.ts'
import type { Client } from '../../platform/request/client-address.ts'
import type { CookiePurpose, NewCookie } from '../sessions/cookie-values.ts'
import type { CrossSite } from './cross-site.ts'
import { isFlowCookieName } from './page-cookie-names.ts'

export interface SessionCookies {
  /** The one name that is read and set under the scheme of this request. Null: plain http to another host than this machine. */
  nameFor(request: IncomingMessage, client: Client): string | null
  /** The different values of the cookie, in the order in which they were sent. At most four. */
  read(request: IncomingMessage, client: Client): string[]
  /** The values under every name that the cookie may have, whatever the scheme. */
  readAny(headers: IncomingHttpHeaders): string[]
  /** For `Set-Cookie`. Only where `nameFor` has a name. */
  toSet(request: IncomingMessage, client: Client, cookie: NewCookie): string
  /** For `Set-Cookie`, each in a header of its own. */
  toClear(request: IncomingMessage, client: Client): string[]
}

interface Names {
  /** The prefix binds the cookie to one host, over https. */
  host: string
  domain: string
  /** Over plain http, on this machine. */
  local: string
}

const NAMES: Record<CookiePurpose, Names> = {
  browser: { host: '__Host-portcullis', domain: '__Secure-portcullis', local: 'portcullis-dev' },
  console: { host: '__Host-portcullis-console', domain: '__Host-portcullis-console', local: 'portcullis-console-dev' },
}

/** No upstream may see a cookie of these names, or set it. */
export const SESSION_COOKIE_NAMES: ReadonlySet<string> = new Set(Object.values(NAMES).flatMap((names) => Object.values(names)))

/** The name of a browser's session cookie. @param domain `auth.browser.cookieDomain` */
export function sessionCookieName(domain: string | undefined, isSecure: boolean): string {
  const { host, domain: wide, local } = NAMES.browser
  if (!isSecure) return local
  return domain === undefined ? host : wide
}

/** Names this machine only. */
const LOOPBACK = /^(?:http:\/\/)?(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/i

export function createSessionCookies({ auth }: Pick<Config, 'auth'>, crossSite: CrossSite, purpose: CookiePurpose): SessionCookies {
  const domain = purpose === 'browser' ? auth.browser.cookieDomain : undefined
  const { local, ...names } = NAMES[purpose]
  const secureName = domain === undefined ? names.host : names.domain

  function nameFor(request: IncomingMessage, client: Client): string | null {
    if (crossSite.isSecure(client)) return secureName
    // the Host decides: a proxy on this machine is a peer on loopback for everybody
    const host = client.viaTrustedProxy ? crossSite.ownOrigin(request, client) : request.headers.host
    return host && LOOPBACK.test(host) ? local : null
  }

  const attributes = (client: Client, of: string | undefined) =>
    `; Path=/${of === undefined ? '' : `; Domain=${of}`}${crossSite.isSecure(client) ? '; Secure' : ''}; HttpOnly; SameSite=Lax`

  const domainOver = (client: Client) => (crossSite.isSecure(client) ? domain : undefined)

  return {
    nameFor,
    read(request, client) {
      if (request.headers.cookie === undefined) return []
      const name = nameFor(request, client)
      return name === null ? [] : cookieValues(request.headers.cookie, name)
    },
    readAny: ({ cookie }) => (cookie?.includes('portcullis') ? [secureName, local].flatMap((name) => cookieValues(cookie, name)) : []),
    toSet(request, client, { value, maxAgeSeconds }) {
      const name = nameFor(request, client)
      if (name === null) throw new TypeError('the session cookie has no name here')
      const life = maxAgeSeconds === null ? '' : `; Max-Age=${maxAgeSeconds}`
      return `${name}=${value}${attributes(client, domainOver(client))}${life}`
    },
    toClear(request, client) {
      const name = nameFor(request, client)
      if (name === null) return []
      const domains = domain !== undefined && crossSite.isSecure(client) ? [undefined, domain] : [undefined]
      return domains.map((of) => `${name}=${attributes(client, of)}; Max-Age=0`)
    },
  }
}

const isOurs = (name: string): boolean => SESSION_COOKIE_NAMES.has(name) || isFlowCookieName(name)

/** The header without our cookies; the others stay as they were sent. @returns null when no cookie is left */
export function withoutOurCookies(header: string): string | null {
  if (!header.includes('portcullis')) return header
  const parts = header.split(';')
  // upstreams trim more than we do when we read a cookie
  const kept = parts.filter((part) => !isOurs(cookieNameOf(part).trim()))
  if (kept.length === parts.length) return header
  const left = kept.join(';')
  // the blank belonged to the cookie that was removed before it
  const rest = kept[0] === parts[0] ? left : left.replace(/^[ \t]+/, '')
  return trimBlanks(rest) === '' ? null : rest
}
