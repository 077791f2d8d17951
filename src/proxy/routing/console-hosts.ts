/** The host names of the console, besides the names of this machine. */
import type { Config } from '../../platform/config/schema.ts'
import { readHost } from './request-target.ts'

/** In the form of `readHost`: lower case, and an IPv6 address in brackets. */
export function consoleHostsOf({ admin, server, auth }: Config): ReadonlySet<string> {
  const hosts = [bracketed(admin.host), new URL(server.publicUrl).hostname, ...auth.browser.consoleHosts.map(bracketed)]
  return new Set(hosts.flatMap((host) => readHost(host) ?? []))
}

const bracketed = (host: string): string => (host.includes(':') && !host.startsWith('[') ? `[${host}]` : host)
