/**
 * Rewrites the addresses in the headers of responses: an upstream's own address means nothing to the client, and its paths may differ from
 * ours. An address that leads elsewhere, or has two readings, stays unchanged.
 */
import type { IncomingMessage } from 'node:http'
import { exchangeOf } from '../routing/exchange.ts'
import { isUnder, type Route } from '../routing/route-table.ts'
import { hostsOfClient, prefixOfProxy } from './origin.ts'

/** Rewrites Location, Content-Location (RFC 9110 §10.2.2), Link, Refresh and Set-Cookie among these fields, in place. */
export function rewriteLocations(fields: string[], route: Route, request: IncomingMessage): void {
  let view: View | null = null
  for (let i = 0; i < fields.length; i += 2) {
    const rewrite = isCandidate(fields[i]!) ? REWRITES.get(fields[i]!) : undefined
    if (!rewrite) continue
    view ??= viewOf(request, route)
    fields[i + 1] = rewrite(fields[i + 1]!, view)
  }
}

/** How client and upstream see the same paths. The prefixes have no final slash; the prefix of all paths is empty. */
interface View {
  route: Route
  /** The authorities by which the client may know us. */
  hosts: readonly string[]
  /** For the client. */
  outer: string
  /** For the upstream. */
  inner: string
  /** For an upstream that puts X-Forwarded-Prefix before its own paths; null when none was sent. */
  prefixed: string | null
  /** For the client of the proxy before us, if that proxy removed a prefix. */
  outermost: string
}

function viewOf(request: IncomingMessage, route: Route): View {
  const before = prefixOfProxy(request.headers, exchangeOf(request).client)
  const { outerPrefix: outer, innerPrefix: inner, forwardedPrefix } = route
  const prefixed = forwardedPrefix ? before + forwardedPrefix + inner : null
  return { route, hosts: hostsOfClient(request), outer, inner, prefixed, outermost: before + outer }
}

function publicLocation(value: string, view: View): string {
  // browsers read \ as / and drop tabs
  if (/[\\\t]/.test(value)) return value
  const [, scheme = 'http', authority, rest] = /^(?:(https?):)?\/\/([^/?#]*)(.*)$/i.exec(value) ?? []
  if (authority === undefined) return value.startsWith('/') ? asPath(publicPath(value, view) ?? value) : value
  const host = hostOf(scheme, authority)
  const path = rest!.startsWith('/') ? rest! : `/${rest}`
  if (host !== null && view.route.upstreamHosts.has(host)) return asPath(publicPath(path, view) ?? path)
  // the upstream may have learned our host from X-Forwarded-Host, and not our path
  const isOurs = host !== null && view.hosts.some((ours) => hostOf(scheme, ours) === host)
  const mapped = isOurs ? publicPath(path, view) : null
  return mapped === null ? value : value.slice(0, value.length - rest!.length) + mapped
}

/** In lower case, without the port that the scheme implies. */
const hostOf = (scheme: string, authority: string): string | null =>
  URL.canParse(`${scheme}://${authority}`) ? new URL(`${scheme}://${authority}`).host : null

/** A path must not become a host. */
const asPath = (path: string): string => (path.startsWith('//') ? `/.${path}` : path)

/** Undoes the effect of `rewrite`. @returns null for a path that this route does not reach */
function publicPath(path: string, { route, outer, inner, prefixed, outermost }: View): string | null {
  if (route.rewritePrefix === null) return null
  if (prefixed !== null && isUnder(path, prefixed)) return `${outermost}${path.slice(prefixed.length)}` || '/'
  // a path of the client already: the upstream knows where it is mounted
  if (outer.length > inner.length && isUnder(path, outer)) return path
  return isUnder(path, inner) ? `${outer}${path.slice(inner.length)}` || '/' : null
}

/** RFC 8288 §3: targets stand in angle brackets, texts in quotes. */
const publicLinks = (value: string, view: View): string =>
  value.replace(/<([^<>]*)>|"(?:[^"\\]|\\.)*"?/g, (whole, target?: string) =>
    target === undefined ? whole : `<${publicLocation(target, view)}>`,
  )

/** HTML §4.2.5.3: `5; url=/home`, with or without quotes. */
function publicRefresh(value: string, view: View): string {
  const [, before, quote, rest] = /^([\d.\s]*(?:[;,]\s*)?(?:url\s*=\s*)?)(["']?)(.*)$/i.exec(value) ?? []
  if (rest === undefined) return value
  const end = quote ? rest.indexOf(quote) : -1
  const target = end < 0 ? rest : rest.slice(0, end)
  return `${before}${quote}${publicLocation(target, view)}${rest.slice(target.length)}`
}

/** RFC 6265 §5.2. A cookie for the upstream's own name becomes a cookie for the host that the client asked. */
function publicCookie(value: string, view: View): string {
  const [pair, ...attributes] = value.split(';')
  // RFC 6265bis §4.1.3.2: such a cookie is valid only for the path /
  const isOfHost = /^\s*__host-/i.test(pair!)
  const kept: string[] = [pair!]
  for (const attribute of attributes) {
    const [, before, path] = /^(\s*path\s*=\s*)(\/.*)$/i.exec(attribute) ?? []
    const [, domain] = /^\s*domain\s*=\s*\.?(.*)$/i.exec(attribute) ?? []
    if (path !== undefined && !isOfHost) kept.push(`${before}${publicCookiePath(path.trimEnd(), view)}`)
    else if (domain === undefined || !isForeignName(domain.trim().toLowerCase(), view)) kept.push(attribute)
  }
  return kept.join(';')
}

function publicCookiePath(path: string, view: View): string {
  const { route, outer, inner } = view
  if (route.rewritePrefix === null) return path
  // a path above the prefix covers the whole route; / covers it for the client, too
  const isAbove = path === '/' ? inner === '' : isUnder(inner, path.replace(/\/+$/, ''))
  return isAbove ? outer || '/' : (publicPath(path, view) ?? path)
}

/** True for the name of an upstream, unless the client's host is below that name. */
function isForeignName(domain: string, { route: { upstreamHosts }, hosts }: View): boolean {
  const named = (authority: string) => authority.toLowerCase().replace(/:\d+$/, '')
  return [...upstreamHosts].some((host) => named(host) === domain) && !hosts.some((host) => named(host).endsWith(`.${domain}`))
}

const REWRITES = new Map<string, (value: string, view: View) => string>([
  ['location', publicLocation],
  ['content-location', publicLocation],
  ['link', publicLinks],
  ['refresh', publicRefresh],
  ['set-cookie', publicCookie],
])

/** Spares most fields the lookup. It is true for every key of REWRITES. */
function isCandidate(name: string): boolean {
  switch (name[0]) {
    case 'l':
    case 'r':
    case 's':
      return true
    case 'c':
      return name.length === 16
    default:
      return false
  }
}
