/** Compiles YAML into `Route` objects once, at start. Each request only looks them up and compares. */

import { type Access, compileAccess, isPublicAccess } from '../../identity/access/access-policy.ts'
import type { Config, RouteConfig } from '../../platform/config/schema.ts'
import { type Networks, parseNetworks } from '../../platform/request/client-address.ts'
import { CORS_FIELDS, type CorsRule, compileCors } from './cors-rule.ts'
import { type CountryRule, compileCountries } from './country-rule.ts'
import { compileEdits, compileResponseEdits, type HeaderEdits, withoutFields } from './header-edits.ts'
import { foldName } from './reserved-headers.ts'

/** Forms of a path that are refused unless the route allows them by name. */
export const FORMS = { encodedSlash: 1, doubleSlash: 2, semicolon: 4, percent: 8 } as const
export const FORM_TEXTS = [
  [FORMS.encodedSlash, '%2F'],
  [FORMS.doubleSlash, '//'],
  [FORMS.semicolon, ';'],
  [FORMS.percent, '%25 before two hex digits'],
] as const

export interface Route {
  name: string
  host: string | null
  path: string
  /** Null: all methods. */
  methods: ReadonlySet<string> | null
  caseSensitive: boolean
  access: Access
  servers: readonly Server[]
  /** Requests that each server takes at a time, and requests that may wait for a slot. */
  connections: { max: number; queue: number; waitMs: number; maxShare: number; keepAliveMs: number }
  /** Methods whose requests are sent again after a connection that was lost, in addition to GET, HEAD and OPTIONS. */
  retryMethods: ReadonlySet<string>
  breaker: { failures: number; openAfterMs: number; openMs: number; statuses: ReadonlySet<number> }
  balance: 'roundRobin' | 'leastConnections' | 'sticky'
  stickyBy: 'cookie' | 'address'
  /** Some route of the configuration has sticky cookies: they are hidden from all upstreams. */
  hasStickyCookies: boolean
  /** Browsers have a session cookie: it is hidden from all upstreams, and its answers are of one user. */
  hasSessionCookies: boolean
  /** Active checks of each server; null: only its ordinary requests show its health. */
  health: { path: string; intervalMs: number; timeoutMs: number; expect: ReadonlySet<number>; failures: number; successes: number } | null
  /** Replaces `path` upstream; null: the path is sent unchanged. */
  rewritePrefix: string | null
  limits: readonly string[]
  onRedisDown: 'local' | 'open' | 'closed'
  timeouts: { connectMs: number; headersMs: number; idleMs: number; totalMs: number }
  maxBodyBytes: number
  /** Bits of FORMS that are allowed in the path below the prefix. */
  allowedForms: number
  websocket: boolean
  /** Scripts of service workers may be loaded. */
  serviceWorker: boolean
  /** How the session cookie counts on this route. */
  cookieRule: { isStrict: boolean; isPublic: boolean }
  /** Null: responses pass as they came. `withCredentials`: compressed also for requests with cookies or credentials. */
  compress: { withCredentials: boolean } | null
  forwardAuthorization: boolean
  /** A signed X-Auth-Assertion is sent. */
  assertion: boolean
  /** Sent in place of the upstream's own authority. */
  hostHeader: string | null
  /** The client's Host is sent to the upstream. */
  preserveHost: boolean
  /** `path` and the path that the upstream receives for it, without a final slash; the prefix of all paths is empty. */
  outerPrefix: string
  innerPrefix: string
  /** X-Forwarded-Prefix: what the upstream may put before its own paths; empty without one. Null: `headers.request` sets it. */
  forwardedPrefix: string | null
  /** `headers.request` sets X-Forwarded-Port. */
  setsForwardedPort: boolean
  /** All hosts by which its upstreams may name themselves, in lower case. */
  upstreamHosts: ReadonlySet<string>
  requestHeaders: HeaderEdits
  /** Reserved headers of the client that pass all the same, in lower case. Null: none. */
  passedReserved: ReadonlySet<string> | null
  responseHeaders: HeaderEdits
  cors: CorsRule
  /** Null: any network. */
  networks: { allows(address: string): boolean } | null
  /** Null: any country. */
  countries: CountryRule | null
}

/** One server behind a route. */
export interface Server {
  origin: string
  weight: number
  /** PEM files. */
  tls: { ca?: string; cert?: string; key?: string } | null
}

/** All routes of one host and path; or a path of the gateway itself. */
export interface RouteNode {
  folded: string
  /** The gateway's own endpoint: never forwarded. `exact`: there are no paths below it. */
  own: boolean
  exact: boolean
  routes: Route[]
}

export interface RouteTable {
  routes: readonly Route[]
  /** Longest path first, on segment boundaries. Own paths go first, then the host's, then paths of any host. */
  find(host: string, folded: string): RouteNode | null
}

export const OWN_EXACT = ['/health', '/.well-known/jwks.json', '/.well-known/oauth-authorization-server']

/** The networks of a file. */
export type NetworksOf = (file: string) => Networks

/** @param networksOf null where no request is judged: a route with files of networks then refuses all of them */
export function compileRoutes(config: Config, networksOf: NetworksOf | null = null): RouteTable {
  const routes = config.routes.map((route) => compileRoute(route, config, networksOf))
  const own = [node(config.auth.prefix, true, false), ...OWN_EXACT.map((path) => node(path, true, true))]
  const byHost = new Map<string | null, RouteNode[]>()
  for (const route of routes) {
    const nodes = byHost.get(route.host) ?? []
    byHost.set(route.host, nodes)
    const folded = fold(route.path)
    const at = nodes.find((n) => n.folded === folded)
    if (at) at.routes.push(route)
    else nodes.push({ ...node(folded, false, false), routes: [route] })
  }
  for (const nodes of byHost.values()) nodes.sort((a, b) => b.folded.length - a.folded.length)
  const anyHost = byHost.get(null) ?? []

  return {
    routes,
    find: (host, folded) => longest(own, folded) ?? longest(byHost.get(host) ?? [], folded) ?? longest(anyHost, folded),
  }
}

const node = (path: string, own: boolean, exact: boolean): RouteNode => ({ folded: fold(path), own, exact, routes: [] })

/** `/api/` and `/API` are one prefix; `/` is the empty prefix. */
const fold = (path: string): string => path.toLowerCase().replace(/\/+$/, '')

function longest(nodes: readonly RouteNode[], folded: string): RouteNode | null {
  for (const n of nodes) {
    const { length } = n.folded
    if (folded.length === length ? folded === n.folded : !n.exact && folded.charCodeAt(length) === 0x2f && folded.startsWith(n.folded))
      return n
  }
  return null
}

/** The routes of a node that match the case of this path: a case-sensitive route goes before the others. */
export function routesFor(n: RouteNode, path: string): readonly Route[] {
  if (!n.routes.some((r) => r.caseSensitive)) return n.routes
  const exact = n.routes.filter((r) => r.caseSensitive && path.startsWith(r.path.replace(/\/+$/, '')))
  return exact.length ? exact : n.routes.filter((r) => !r.caseSensitive)
}

/** The path is the prefix, or a whole segment follows. @param prefix without a final slash */
export const isUnder = (path: string, prefix: string): boolean => path.startsWith(prefix) && /^([/?#]|$)/.test(path.slice(prefix.length))

/** The path that the upstream receives. The part below the prefix stays as it was sent. */
export function rewritePath(route: Route, path: string): string {
  if (route.rewritePrefix === null) return path
  const below = path.slice(route.path === '/' ? 0 : route.path.length)
  const joined = `${route.rewritePrefix === '/' ? '' : route.rewritePrefix}${below}`
  return joined.startsWith('/') ? joined : `/${joined}`
}

function compileRoute(route: RouteConfig, config: Config, networksOf: NetworksOf | null): Route {
  const trimmed = (path: string) => (path === '/' ? path : path.replace(/\/+$/, ''))
  const servers = route.upstream.map((u) => {
    const { url, weight = 1, tls = null } = typeof u === 'string' ? { url: u } : u
    return { origin: new URL(url).origin, weight, tls }
  })
  const hostHeader = valueUnder(route.headers.request.set, 'host')
  const cors = compileCors(config, route.cors)
  const requestHeaders = compileEdits(route.headers.request, foldName, 'host')
  const responseHeaders = compileResponseEdits(route.headers.response, config.headers.via.response)
  const rewritePrefix = route.rewrite ? trimmed(route.rewrite.prefix) : null
  const outerPrefix = withoutRoot(trimmed(route.match.path))
  const innerPrefix = rewritePrefix === null ? outerPrefix : withoutRoot(rewritePrefix)
  return {
    name: route.name,
    host: route.match.host?.toLowerCase() ?? null,
    path: trimmed(route.match.path),
    methods: route.match.methods ? new Set(withHead(route.match.methods)) : null,
    caseSensitive: route.match.caseSensitive,
    access: compileAccess(route.access),
    servers,
    connections: route.connections,
    retryMethods: new Set([...SAFE_METHODS, ...route.retry.methods]),
    breaker: { ...route.breaker, statuses: new Set(route.breaker.statuses) },
    balance: route.balance,
    stickyBy: route.sticky.by,
    hasStickyCookies: usesStickyCookies(config),
    hasSessionCookies: config.auth.browser.enabled,
    health: route.health ? { ...route.health, expect: new Set([route.health.expect].flat()) } : null,
    rewritePrefix,
    limits: route.limits ?? config.limits.default,
    onRedisDown: route.onRedisDown,
    timeouts: route.timeouts,
    maxBodyBytes: route.body.maxBytes,
    allowedForms: route.allow.reduce((bits, form) => bits | FORMS[form], 0),
    websocket: route.websocket,
    serviceWorker: route.serviceWorker,
    cookieRule: { isStrict: route.browser.safeMethods === 'strict', isPublic: isPublicAccess(route.access) },
    compress: compileCompress(route.compress),
    forwardAuthorization: route.headers.forwardAuthorization,
    assertion: route.headers.assertion,
    hostHeader,
    preserveHost: route.preserveHost,
    outerPrefix,
    innerPrefix,
    forwardedPrefix: requestHeaders.dropped.has('x-forwarded-prefix') ? null : prefixBefore(outerPrefix, innerPrefix),
    setsForwardedPort: requestHeaders.dropped.has('x-forwarded-port'),
    upstreamHosts: new Set([...servers.map(({ origin }) => new URL(origin).host), ...(hostHeader ? [hostHeader.toLowerCase()] : [])]),
    requestHeaders,
    passedReserved: route.headers.passReserved.length ? new Set(route.headers.passReserved.map((name) => name.toLowerCase())) : null,
    responseHeaders: withoutFields(responseHeaders, [
      ...(cors.isOwn ? CORS_FIELDS : []),
      ...(config.auth.browser.enabled ? [WIDER_SCOPE] : []),
    ]),
    cors,
    networks: compileNetworks(route.networks, networksOf),
    countries: compileCountries(route.access),
  }
}

/** The scope of a service worker is its own folder at most: a wider scope would cover the pages of the gateway. */
const WIDER_SCOPE = 'service-worker-allowed'

export const usesStickyCookies = ({ routes }: Config): boolean =>
  routes.some(({ balance, sticky }) => balance === 'sticky' && sticky.by === 'cookie')

/** RFC 9110 §9.2.1, less methods with side effects in practice. */
const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS']

const withoutRoot = (path: string) => (path === '/' ? '' : path)

/** What stands before the upstream's path in the client's path. An upstream that gets another prefix undoes what it can. */
const prefixBefore = (outer: string, inner: string): string => (outer.endsWith(inner) ? outer.slice(0, outer.length - inner.length) : outer)

const valueUnder = (fields: Record<string, string>, wanted: string): string | null =>
  Object.entries(fields).find(([name]) => name.toLowerCase() === wanted)?.[1] ?? null

/** `deny` goes first; an `allow` list, or a file of one, denies every other address. A file may change at any time. */
function compileNetworks(networks: RouteConfig['networks'], networksOf: NetworksOf | null): Route['networks'] {
  const { allow, deny, allowFile, denyFile } = networks
  const files = [allowFile, denyFile].filter((file) => file !== undefined)
  if (!allow.length && !deny.length && !files.length) return null
  const [allowed, denied] = [parseNetworks(allow), parseNetworks(deny)]
  // check-config.ts reports invalid networks; should it miss one, nobody is allowed
  if (!allowed || !denied || (files.length > 0 && networksOf === null)) return { allows: () => false }
  const [allowedOfFile, deniedOfFile] = [allowFile, denyFile].map((file) => (file === undefined ? null : networksOf!(file)))
  const isAnyAllowed = allowed.isEmpty && !allowedOfFile
  return {
    allows: (address) =>
      !denied.has(address) && !deniedOfFile?.has(address) && (isAnyAllowed || allowed.has(address) || allowedOfFile?.has(address) === true),
  }
}

const compileCompress = (compress: RouteConfig['compress']): Route['compress'] => {
  if (typeof compress === 'boolean') return compress ? { withCredentials: false } : null
  return compress
}

/** RFC 9110 §9.3.2: a server that supports GET supports HEAD. */
const withHead = (methods: string[]) => (methods.includes('GET') ? [...methods, 'HEAD'] : methods)
