/**
 * Cross-origin requests (Fetch standard §3.2), for the gateway's own endpoints and for routes. Each route says who decides about them: the
 * gateway, by `cors.origins` and `auth.browser.origins`, or the upstream.
 */
import type { IncomingMessage } from 'node:http'
import type { Config } from '../platform/config/schema.ts'
import { type CorsRule, compileCors, sessionOriginsOf } from './routing/cors-rule.ts'
import type { Exchange, Received, Routed } from './routing/exchange.ts'
import { findRoute } from './routing/match-route.ts'
import { isProxied } from './routing/proxied-methods.ts'
import { originForm, readHost, readTarget } from './routing/request-target.ts'
import { type Route, type RouteTable, routesFor } from './routing/route-table.ts'

/** All of these change the fields of the response. */
export interface Cors {
  /**
   * For requests whose route is not known yet. Marks a preflight that an upstream answers.
   * @returns true for a preflight that the gateway answers: its response has only the fields of the exchange
   */
  enter(exchange: Received, request: IncomingMessage): boolean
  /** For requests whose route is known. */
  addFields(exchange: Routed, request: IncomingMessage): void
  /** Lets the page read an error of the gateway. */
  addToError(exchange: Pick<Exchange, 'route' | 'node' | 'fields'>, request: IncomingMessage): void
  /** Lets the page read an error of a request that has no exchange. @returns lower-case name, value … */
  errorFields(request: IncomingMessage): string[]
  /** For refusals of bytes that are no request: lower-case name, value. */
  rawFields: readonly string[]
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

/** RFC 6454 §6.2, and what browsers send for extensions and apps. Anything else is not repeated in a response. */
const ORIGIN = /^(?:null|[a-z][a-z0-9+.-]*:\/\/[^\s"'<>,;\\/?#]+)$/i

export function createCors(config: Pick<Config, 'cors' | 'auth'>, table: Pick<RouteTable, 'find'>): Cors {
  const { origins, credentials, maxAgeSeconds } = config.cors
  const isAny = origins.includes('*')
  const allowed = new Set(origins.map((origin) => origin.toLowerCase()))
  const withSession = new Set(sessionOriginsOf(config).map((origin) => new URL(origin).origin))
  const hasOrigins = origins.length > 0 || withSession.size > 0
  const dependsOnOrigin = withSession.size > 0 || (!isAny && origins.length > 0)
  /** For paths without a route. */
  const byDefault = compileCors(config, {})
  const ownEndpoints: CorsRule = { ...byDefault, isOwn: true }

  /** @returns true where the page may read the response */
  function allow(fields: string[], origin: string | undefined): boolean {
    if (dependsOnOrigin && !fields.includes('vary')) fields.push('vary', 'Origin')
    if (origin === undefined) return false
    const usesSession = withSession.has(origin)
    if (!(usesSession || isAny || allowed.has(origin.toLowerCase()))) return false
    // browsers send no credentials where the answer names any origin
    fields.push('access-control-allow-origin', isAny && !usesSession ? '*' : origin)
    if (credentials || usesSession) fields.push('access-control-allow-credentials', 'true')
    return true
  }

  /** Adds the fields of an ordinary response. */
  function expose(fields: string[], origin: string | undefined, { exposed }: CorsRule): void {
    if (allow(fields, origin)) fields.push('access-control-expose-headers', exposed)
  }

  function addToError(
    { route, node, fields }: Pick<Exchange, 'route' | 'node' | 'fields'>,
    { headers: { origin } }: IncomingMessage,
  ): void {
    if (origin === undefined || fields.includes('access-control-allow-origin')) return
    const rule = route?.cors ?? (node === null ? byDefault : node.own ? ownEndpoints : node.routes[0]!.cors)
    if (rule.isOwn) expose(fields, origin, rule)
    // without Allow-Credentials a page learns nothing that its own server could not ask for
    else if (ORIGIN.test(origin))
      fields.push('vary', 'Origin', 'access-control-allow-origin', origin, 'access-control-expose-headers', rule.exposed)
  }

  /** A browser treats a preflight response without these fields as a refusal. */
  function answerPreflight({ fields }: Exchange, { headers: asked }: IncomingMessage, rule: CorsRule, routes: readonly Route[]): true {
    if (!allow(fields, asked.origin)) return true
    const methods = rule.methods ?? methodsOf(routes, asked['access-control-request-method']!).join(', ')
    const headers = rule.headers ?? asked['access-control-request-headers']
    fields.push('access-control-allow-methods', methods, 'access-control-max-age', String(maxAgeSeconds))
    if (headers) fields.push('access-control-allow-headers', headers)
    return true
  }

  return {
    enter(exchange, request) {
      const { node, target, fields } = exchange
      if (node !== null && !node.own) {
        if (!isPreflight(request)) return false
        const candidates = routesFor(node, target.path)
        const asked = request.headers['access-control-request-method']!
        const route = isProxied(asked) ? findRoute(candidates, asked) : undefined
        const rule = (route ?? candidates[0])?.cors
        if (rule?.isOwn) return answerPreflight(exchange, request, rule, route ? [route] : candidates)
        exchange.isPreflight = route !== undefined && !exchange.isUpgrade && !hasBody(request)
        return false
      }
      if (!hasOrigins) return false
      if (isPreflight(request)) return answerPreflight(exchange, request, ownEndpoints, [])
      expose(fields, request.headers.origin, ownEndpoints)
      return false
    },
    addFields({ route: { cors }, fields }, { headers }) {
      if (cors.isOwn) expose(fields, headers.origin, cors)
    },
    addToError,
    errorFields(request) {
      const fields: string[] = []
      const { origin, host: given } = request.headers
      if (origin === undefined) return fields
      const host = readHost(given)
      const target = readTarget(originForm(request))
      const isReadable = host !== null && typeof target !== 'string'
      const node = isReadable ? table.find(host, target.folded) : null
      const route = isReadable && node !== null ? findRoute(routesFor(node, target.path), request.method!) : undefined
      if (node === null) expose(fields, origin, ownEndpoints)
      addToError({ route: route ?? null, node, fields }, request)
      return fields
    },
    // the origin is unknown: these responses tell nothing but the reason of the refusal
    rawFields: hasOrigins ? ['access-control-allow-origin', '*'] : [],
  }
}

const isPreflight = ({ method, headers }: IncomingMessage): boolean =>
  method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0

/** The usual methods always: a page can then read the 405. Others only where a route takes them. */
function methodsOf(routes: readonly Route[], asked: string): string[] {
  const others = routes.flatMap(({ methods }) => (methods === null ? (isProxied(asked) ? [asked] : []) : [...methods]))
  return [...new Set([...METHODS, ...others])]
}
