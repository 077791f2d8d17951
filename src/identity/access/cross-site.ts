/**
 * The origin rule: which site sent a request that a cookie authenticates. A browser sends the cookie whatever page began the request, so the
 * cookie alone does not show that the user wanted it. Fetch Metadata and `Origin` (RFC 6454) show the page. No form needs a token.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Config } from '../../platform/config/schema.ts'
import { problem } from '../../platform/lib/errors.ts'
import { type Client, publicAuthorities } from '../../platform/request/client-address.ts'

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
  const isPublicSecure = server.publicUrl.startsWith('https:')
  const isSecure = (client: Client) => isPublicSecure || client.isSecure

  const ownOrigins = (request: IncomingMessage, client: Client): string[] =>
    publicAuthorities(request.headers, client, server.forwardedBy).flatMap((host) => {
      const url = URL.parse(`${isSecure(client) ? 'https' : 'http'}://${host}`)
      return url && url.pathname === '/' && url.search === '' && url.username === '' ? [url.origin] : []
    })

  /** A page of our own host, or of a listed origin. The value `null` matches nothing. */
  function isTrusted(origin: string | undefined, request: IncomingMessage, client: Client): boolean {
    if (origin === undefined) return false
    return listed.has(origin) || ownOrigins(request, client).includes(origin)
  }

  function isTrustedWrite(request: IncomingMessage, client: Client): boolean {
    const { 'sec-fetch-site': site, origin } = request.headers
    return site === 'same-origin' || site === 'none' || isTrusted(origin, request, client)
  }

  function isTrustedRead(request: IncomingMessage, client: Client, isStrict: boolean): boolean {
    const { headers } = request
    const site = headers['sec-fetch-site']
    if (site === 'same-origin' || site === 'none' || (site === undefined && !isStrict)) return true
    if (!isStrict && isTopLevelNavigation(headers)) return true
    return isTrusted(headers.origin ?? originOf(headers.referer), request, client)
  }

  return {
    admitsCookie(request, client, isUpgrade, isStrict) {
      if (SAFE.has(request.method!) && !isUpgrade) return isTrustedRead(request, client, isStrict)
      if (!isTrustedWrite(request, client)) throw untrusted(request)
      return true
    },
    requireTrustedOrigin(request, client) {
      if (!isTrustedWrite(request, client)) throw untrusted(request)
    },
    ownOrigin: (request, client) => ownOrigins(request, client)[0] ?? null,
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
