/**
 * Under which host names, and over which connections, the console answers. A page elsewhere can point its own name at this machine (DNS
 * rebinding), so an unknown name is refused. Plain http is refused unless the browser runs on this machine.
 */
import type { IncomingMessage } from 'node:http'
import type { CrossSite } from '../../identity/access/cross-site.ts'
import type { SessionCookies } from '../../identity/access/session-cookie.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type Client, publicAuthority } from '../../platform/request/client-address.ts'
import { consoleHostsOf } from '../../proxy/routing/console-hosts.ts'
import { readHost } from '../../proxy/routing/request-target.ts'

/** `host`: the name is not listed. `transport`: plain http from another machine. Null: the console answers. */
export type HostRefusal = 'host' | 'transport' | null

export type JudgeHost = (request: IncomingMessage, client: Client) => HostRefusal

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/

export function createJudgeHost(
  config: Config,
  { isSecure }: Pick<CrossSite, 'isSecure'>,
  { nameFor }: Pick<SessionCookies, 'nameFor'>,
): JudgeHost {
  const { server, auth, routes } = config
  const listed = consoleHostsOf(config)
  // a page of an upstream on the same host could act as the administrator
  const isServed = (host: string) =>
    auth.browser.console === 'public' && routes.some(({ match }) => match.host === undefined || match.host.toLowerCase() === host)

  return (request, client) => {
    const host = readHost(publicAuthority(request.headers, client, server.forwardedBy, isSecure(client)) ?? undefined)
    if (host === null || isServed(host)) return 'host'
    if (!LOOPBACK.test(host) && !listed.has(host)) return 'host'
    // without a name for its cookie, the console could keep no login
    return nameFor(request, client) === null ? 'transport' : null
  }
}
