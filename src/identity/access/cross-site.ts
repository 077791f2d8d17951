/**
 * The origin rule: which site sent a request that a cookie authenticates. A browser sends the cookie whatever page began the request, so the
 * cookie alone does not show that the user wanted it. Fetch Metadata and `Origin` (RFC 6454) show the page. No form needs a token.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Config } from '../../platform/config/schema.ts'
import { problem } from '../../platform/lib/errors.ts'
import { type Client, publicAuthority } from '../../platform/request/client-address.ts'

export interface CrossSite {
  /**
   * For a request that the session cookie would authenticate, before anything is done with the cookie.
   * @param isStrict the route's GET requests have effects
   * @returns false when the cookie counts as not sent
   * @throws origin_untrusted for a request that may change something
   */
  admitsCookie(request: IncomingMessage, client: Client, isUpgrade: boolean, isStrict: boolean): boolean
  /** For a login, a logout, and every form of a page. @throws origin_untrusted */
  requireTrustedOrigin(request: IncomingMessage, client: Client): void
  /** The origin of a request's own host, such as `https://api.example.com`. Null without a host. */
  ownOrigin(request: IncomingMessage, client: Client): string | null
  /** The scheme under which browsers reach this request's host. */
  isSecure(client: Client): boolean
}

type Settings = {
  server: Pick<Config['server'], 'publicUrl' | 'forwardedBy'>
  auth: { browser: Pick<Config['auth']['browser'], 'origins'> }
}

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS'])

export function createCrossSite({ server, auth }: Settings): CrossSite {
  const listed: ReadonlySet<string> = new Set(auth.browser.origins.map((origin) => new URL(origin).origin))
  const publicUrl = new URL(server.publicUrl)
  const isPublicSecure = publicUrl.protocol === 'https:'
  const isSecure = (client: Client) => isPublicSecure || client.isSecure

  /** Scheme, host and port of the request itself. */
  function ownUrl({ headers }: IncomingMessage, client: Client): URL | null {
    const scheme = isSecure(client) ? 'https' : 'http'
    const authority = publicAuthority(headers, client, server.forwardedBy, isSecure(client))
    const url = authority === null ? null : URL.parse(`${scheme}://${authority}`)
    // a host holds no path and no user
    return url?.pathname === '/' && url.search === '' && url.hash === '' && url.username === '' ? url : null
  }

  function isOwn(origin: string, request: IncomingMessage, client: Client): boolean {
    const own = ownUrl(request, client)
    if (own === null) return false
    // a proxy may hide the port that browsers use; publicUrl names it
    return origin === own.origin || (client.viaTrustedProxy && own.hostname === publicUrl.hostname && origin === publicUrl.origin)
  }

  /** A page of our own host or of a listed origin sent the request. The value `null` matches nothing. */
  function isTrustedWrite(request: IncomingMessage, client: Client): boolean {
    const { 'sec-fetch-site': site, origin } = request.headers
    if (site === 'same-origin' || site === 'none') return true
    return origin !== undefined && (listed.has(origin) || isOwn(origin, request, client))
  }

  /** A Referer of our own host shows nothing: a redirect of another site keeps the Referer of the page that began. */
  function isTrustedRead({ headers }: IncomingMessage): boolean {
    const site = headers['sec-fetch-site']
    if (site === 'same-origin' || site === 'none' || site === undefined || isTopLevelNavigation(headers)) return true
    const origin = headers.origin ?? originOf(headers.referer)
    return origin !== undefined && listed.has(origin)
  }

  return {
    admitsCookie(request, client, isUpgrade, isStrict) {
      if (SAFE.has(request.method!) && !isUpgrade) return isStrict ? isTrustedWrite(request, client) : isTrustedRead(request)
      if (!isTrustedWrite(request, client)) throw untrusted(request)
      return true
    },
    requireTrustedOrigin(request, client) {
      if (!isTrustedWrite(request, client)) throw untrusted(request)
    },
    ownOrigin: (request, client) => ownUrl(request, client)?.origin ?? null,
    isSecure,
  }
}

/** A service worker that passes a navigation on sends the destination `empty`. */
const isTopLevelNavigation = (headers: IncomingHttpHeaders): boolean =>
  headers['sec-fetch-mode'] === 'navigate' && (headers['sec-fetch-dest'] === 'document' || headers['sec-fetch-dest'] === 'empty')

const originOf = (url: string | undefined): string | undefined => (url === undefined ? undefined : URL.parse(url)?.origin)

const untrusted = ({ headers }: IncomingMessage) =>
  problem('origin_untrusted', {
    cause: `Sec-Fetch-Site ${headers['sec-fetch-site'] ?? 'none sent'}, Origin ${headers.origin ?? 'none sent'}`,
  })
