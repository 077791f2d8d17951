/** What we tell an upstream about where its request came from: the client's address, and the scheme, host, port and path that it used. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { type Client, lastOf, portOfProxy } from '../../platform/request/client-address.ts'
import { type Exchange, exchangeOf } from '../routing/exchange.ts'
import type { Route } from '../routing/route-table.ts'

/** @param isBelieved false where trusted proxies set Forwarded: they may pass on a client's X-Forwarded-Host */
export function pushOrigin(
  out: string[],
  req: IncomingMessage,
  { client, host, route }: Exchange & { route: Route },
  isBelieved: boolean,
): void {
  const { peer, viaTrustedProxy, isSecure, forwardedFor } = client
  const { headers } = req
  const isProxys = viaTrustedProxy && isBelieved
  const authority = (isProxys && lastOf(headers['x-forwarded-host'])) || headers.host || host
  out.push('x-forwarded-for', forwardedFor ? `${forwardedFor}, ${peer}` : peer)
  out.push('x-forwarded-proto', isSecure ? 'https' : 'http')
  // HTTP/1.0 has no Host
  if (authority !== '') out.push('x-forwarded-host', authority)
  if (!route.setsForwardedPort) {
    out.push('x-forwarded-port', (isProxys && portOfProxy(headers)) || portOf(authority, isSecure))
  }
  if (route.forwardedPrefix === null) return
  const prefix = isProxys ? prefixOfProxy(headers, client) + route.forwardedPrefix : route.forwardedPrefix
  if (prefix !== '') out.push('x-forwarded-prefix', prefix)
}

/** Of an authority, else of the scheme. */
function portOf(authority: string, isSecure: boolean): string {
  const at = authority.lastIndexOf(':')
  // an IPv6 address ends with ]
  if (at >= 0 && !authority.endsWith(']')) return authority.slice(at + 1)
  return isSecure ? '443' : '80'
}

/** The path prefix that trusted proxies before us removed, without a final slash; empty when they sent none. */
export function prefixOfProxy(headers: IncomingHttpHeaders, { viaTrustedProxy }: Client): string {
  const sent = viaTrustedProxy ? headers['x-forwarded-prefix'] : undefined
  if (sent === undefined) return ''
  // proxies in a row send a list: each removed a prefix from what the proxy before it had left
  const prefixes = String(sent)
    .split(',')
    .map((part) => part.trim().replace(/\/+$/, ''))
  return prefixes.every((prefix) => prefix === '' || PREFIX.test(prefix)) ? prefixes.join('') : ''
}

/** A path, and not the beginning of a host. */
const PREFIX = /^(\/[A-Za-z0-9_.~!$&'()*+:@%-]+)+$/

/** The authorities by which the client may know us. An upstream builds absolute URLs of them. */
export function hostsOfClient(req: IncomingMessage): string[] {
  const { headers } = req
  const { viaTrustedProxy } = exchangeOf(req).client
  const hosts = [viaTrustedProxy ? lastOf(headers['x-forwarded-host']) : undefined, headers.host].filter((host) => host !== undefined)
  const port = viaTrustedProxy ? portOfProxy(headers) : undefined
  return port === undefined ? hosts : [...hosts, ...hosts.map((host) => `${host}:${port}`)]
}
